"""A two-layer BERT with random weights, a corpus of a few lines and a bundle trained on them, all made on disk."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that asks the network fails instead of hanging
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see src/train.py

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

ROOT = Path(__file__).parents[1]
SENTENCES = {
    "warning": [
        "Officials warned that the dam could burst",
        "The ministry cautioned drivers against the pass",
        "The union threatened to strike unless pay rises",
        "Doctors urged parents not to use the syrup",
    ],
    "denial": [
        "The mayor denied taking the money",
        "The firm dismissed the report as baseless",
        "The general said his troops were never there",
        "There is no truth in the story the spokesman said",
    ],
    "allegation": [
        "The suit claims the bank hid its losses",
        "Prosecutors accused the governor of fraud",
        "The paper reported that the leader is ready to sell arms",
        "Witnesses say the police opened fire first",
    ],
    "background": [
        "The bridge was opened on Monday",
        "Rain is expected in the north",
        "Subscribe to our newsletter",
        "The council meets again in March",
    ],
}


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A folder as `from_pretrained` wants it: 2 layers of 32 units and a word-level tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = sorted({word.lower() for texts in SENTENCES.values() for text in texts for word in text.split()})
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate(specials + words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    named = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **named).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def write_corpus(folder: Path, *, copies: int = 1) -> Path:
    """The same 16 sentences in every split (told apart by a last word), so that learning them shows in all scores."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        with (folder / f"{split}.jsonl").open("w") as file:
            for copy in range(copies):
                for label, texts in SENTENCES.items():
                    for n, text in enumerate(texts):
                        row = {"id": f"{split}-{label}-{n}-{copy}", "article": f"{split}-{copy}", "label": label}
                        file.write(json.dumps(row | {"text": f"{text} {split}{copy}"}) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def tiny_config(encoder: Path, corpus: Path, workplace: Path, **trainer):
    """A TrainConfig that overfits the tiny corpus in seconds; bundle and MLflow store lie in ``workplace``."""
    from allegedly.config import CorpusConfig, EncoderConfig, TrackingConfig, TrainConfig, TrainerConfig

    settings = {
        "learning_rate": 5e-3,
        "max_steps": 60,
        "per_device_train_batch_size": 16,
        "early_stopping_patience": 0,
        "device": "cpu",
        "progress_bar": False,
        "warmup_ratio": 0.0,
    }
    return TrainConfig(
        output=str(workplace / "models" / "stance"),
        encoder=EncoderConfig(name="tiny", path=str(encoder), max_length=32),
        corpus=CorpusConfig(name="tiny", path=str(corpus)),
        trainer=TrainerConfig(**settings | trainer),
        tracking=TrackingConfig(uri=f"sqlite:///{workplace}/mlflow.db", run_name="tiny"),
    )


@pytest.fixture(scope="session")
def trained(tiny_encoder, tiny_corpus, tmp_path_factory):
    """One whole training: (config, scores). The bundle lies at config.output; do not change it, copy it."""
    from allegedly.training import train

    workplace = tmp_path_factory.mktemp("trained")
    config = tiny_config(tiny_encoder, tiny_corpus, workplace)
    config.corpus.behaviour = str(ROOT / "data" / "behaviour")
    here = os.getcwd()
    os.chdir(workplace)  # MLflow puts artifacts beside its database
    try:
        scores = train(config)
    finally:
        os.chdir(here)
    return config, scores


@pytest.fixture(scope="session")
def tiny_bundle(trained) -> Path:
    return Path(trained[0].output)


WORD_WEIGHTS = {  # of SUPPORTED, REFUTED, NOT_ENOUGH_INFO
    "confirmed": (8.0, 0.0, 0.0),
    "denied": (0.0, 8.0, 0.0),
}


def word_tokenizer(words: list[str]) -> Tokenizer:
    """A word is a token; what is not among ``words`` is [UNK]. Two texts are framed as BERT does."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer


@pytest.fixture(scope="session")
def word_verifier(tmp_path_factory) -> Path:
    """A verifier that can be foretold: evidence that "confirmed" supports, "denied" refutes, all else leaves open."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from allegedly import bundle
    from allegedly.labels import VERDICTS

    folder = tmp_path_factory.mktemp("verifier") / "verifier"
    folder.mkdir()
    tokenizer = word_tokenizer(list(WORD_WEIGHTS))
    tokenizer.save(str(folder / "tokenizer.json"))
    weights = np.zeros((tokenizer.get_vocab_size(), len(VERDICTS)), dtype=np.float32)
    for word, row in WORD_WEIGHTS.items():
        weights[tokenizer.token_to_id(word)] = row
    constants = {
        "weights": weights,
        "bias": np.array([0, 0, 4], dtype=np.float32),
        "last": np.array([-1], dtype=np.int64),
        "length": np.array([1], dtype=np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["weights", "input_ids"], ["rows"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", ["rows", "column"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "length"], ["sum"], keepdims=0),
            helper.make_node("Add", ["sum", "bias"], ["logits"]),
        ],
        "words",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "m"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(VERDICTS)])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "model.onnx"
    )
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(VERDICTS))}))
    for name in ("model.onnx.data", "model.safetensors", "tokenizer_config.json", "README.md"):
        (folder / name).write_text("{}")
    bundle.seal(folder, {"labels": list(VERDICTS), "temperature": 1.0, "max_length": 48})
    return folder


@pytest.fixture(scope="session")
def embedder_cache(tmp_path_factory) -> Path:
    """A cache folder, for XDG_CACHE_HOME, that holds the exported encoder of sentences."""
    from allegedly.embedding import Embedder

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder))
        Embedder.load()
    return folder


def run(module: str, *arguments: str, cwd: Path, stdin: bytes | None = None) -> subprocess.CompletedProcess:
    """`python -m MODULE ARGUMENTS` as a user would run it."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}  # what a test before set
    return subprocess.run(command, cwd=cwd, env=env, input=stdin, capture_output=True, timeout=300)


@pytest.fixture
def start_predict(tiny_bundle, tmp_path):
    """Starts `python -m predict ARGUMENTS` in a folder of its own and gives the process, which is killed at the end."""
    started = []

    def start(*arguments: str, **options) -> subprocess.Popen:
        command = [sys.executable, "-m", "predict", "--model", str(tiny_bundle), *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, **{"cwd": tmp_path} | pipes | options)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium that keeps a log of what its pages did and asked for; without one the test is skipped."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Chromium and chromedriver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1900,1400",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()
