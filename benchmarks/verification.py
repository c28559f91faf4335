"""Measures a verifier on claims of your own, and prints tables in Markdown:

    python benchmarks/verification.py --model models/verifier --gold PAIRS.jsonl --yardsticks
    python benchmarks/verification.py --claims CLAIMS.jsonl --documents DOCUMENTS.jsonl

`--gold`: verdicts given the evidence; lines of {"id", "dataset", "claim", "evidence": [sentence, …], "label"}.
`--claims` with `--documents`: what is found, the whole way from documents to verdicts, and how long 50 claims against
20 documents take; lines of {"id", "claim", "label", "gold": [{"doc_id", "sents": [number, …]}]} and of
{"doc_id", "title", "sentences": [sentence, …]}.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from hydra import compose, initialize_config_dir
from sklearn.metrics import accuracy_score, f1_score

import verify as command
from allegedly import baselines, corpus, training, verification
from allegedly import config as schema
from allegedly.claim_reading import Claim
from allegedly.embedding import MPNET, Embedder
from allegedly.labels import VERDICTS
from allegedly.retrieval import Index, Passage

ROOT = Path(__file__).parents[1]
YARDSTICKS = ("majority", "tfidf", "overlap", "similarity")
DEPTHS = (1, 5, 10, 20)
WEIGHTS = (0, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/verifier", help="as of verify")
    parser.add_argument("--gold", nargs="+", default=[], metavar="JSONL")
    parser.add_argument("--yardsticks", action="store_true", help="fit and score them too on --gold")
    parser.add_argument("--claims", metavar="JSONL")
    parser.add_argument("--documents", metavar="JSONL")
    parser.add_argument("--retriever", choices=["minilm", "mpnet"], default="minilm")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="take so many of --claims")
    options = parser.parse_args()
    if bool(options.claims) != bool(options.documents):
        parser.error("--claims and --documents go together")
    judge = command.open_judge(options)
    for path in options.gold:
        print(f"### Verdicts given the evidence: {path}\n")
        given_evidence(judge, rows(path), options)
    if options.claims:
        claims, documents = rows(options.claims)[: options.limit], rows(options.documents)
        found(judge, claims, documents, options)
        print("### 50 claims against 20 documents\n")
        timed(claims, documents, options)


def rows(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n") if line.strip()]


def table(head: list[str], body: list[list[str]]) -> None:
    for row in [head, ["---"] * len(head), *body]:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def given_evidence(judge, gold: list[dict], options) -> None:
    """Macro-F1 over the labels that a data set has, and its mean, of the verifier and of the yardsticks."""
    claims = [Claim(str(row["id"]), row["claim"], tuple(row["evidence"])) for row in gold]
    started = time.perf_counter()
    verdicts = {"the verifier": [finding.verdict for finding in verification.verify(claims, judge)]}
    seconds = time.perf_counter() - started
    if options.yardsticks:
        texts = [(row["claim"], " ".join(row["evidence"])) for row in gold]
        verdicts |= {name: yardstick(name, texts) for name in YARDSTICKS}
    sets: dict[str, list[int]] = defaultdict(list)
    for position, row in enumerate(gold):
        sets[row["dataset"]].append(position)
    body = []
    for name, said in verdicts.items():
        scores, right = [], []
        for where in sets.values():
            labels, found = [gold[i]["label"] for i in where], [said[i] for i in where]
            scores.append(f1_score(labels, found, labels=sorted(set(labels)), average="macro", zero_division=0))
            right.append(accuracy_score(labels, found))
        body.append([name, *(f"{score:.3f}" for score in (*scores, np.mean(scores), np.mean(right)))])
    counted = [f"{data_set} ({len(where)})" for data_set, where in sets.items()]
    table(["macro-F1", *counted, "mean", "mean accuracy"], body)
    print(f"the verifier: {len(gold) / seconds:.1f} claims a second\n")


def yardstick(name: str, texts: list[tuple[str, str]]) -> list[str]:
    """The verdicts of `python -m train task=verification experiment=NAME`."""
    schema.register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = schema.load(compose("train", ["task=verification", f"experiment={name}", "tracking=off"]))
    config.corpus.path = str(ROOT / config.corpus.path)
    examples = training.draw(config, corpus.read(config.corpus.path, task=schema.task(config))["train"])
    fitted = baselines.fit(config, examples, encoder=baselines.locate(config)[0])
    return [VERDICTS[i] for i in fitted(texts).argmax(axis=1)]


def found(judge, claims: list[dict], documents: list[dict], options) -> None:
    """Recall of gold sentences by retrieval and after reading; verdicts of the whole pipeline in FEVER's manner."""
    passages = [
        Passage(document["doc_id"], i, 0, 0, text, document["title"])
        for document in documents
        for i, text in enumerate(document["sentences"])
    ]
    gold = [{(g["doc_id"], i) for g in row["gold"] for i in g["sents"]} for row in claims]
    started = time.perf_counter()
    second = Embedder.load(MPNET, threads=options.threads) if options.retriever == "mpnet" else None
    index = Index.build(passages, Embedder.load(threads=options.threads), second)
    built = time.perf_counter() - started
    asked = [Claim(str(row["id"]), row["claim"]) for row in claims]
    started = time.perf_counter()
    hits = index.search([claim.text for claim in asked], verification.CANDIDATES)
    searched = (time.perf_counter() - started) / len(asked)
    read = verification.found(asked, judge, index)
    print(f"### A gold sentence among the first k of {len(passages)}\n")
    ways = {
        "retrieval": [[(passages[h.position].file, passages[h.position].index) for h in near] for near in hits],
        "read and put in order": [[(c.file, c.index) for c in near] for near in read],
    }
    body = []
    for way, places in ways.items():
        recall = [np.mean([bool(g & set(near[:k])) for g, near in zip(gold, places, strict=True)]) for k in DEPTHS]
        body.append([way, *(f"{share:.3f}" for share in recall)])
    table(["", *map(str, DEPTHS)], body)
    print("A gold sentence among the first five, by the weight of relevance beside nearness:\n")
    recall = []
    for weight in WEIGHTS:
        first = [sorted(near, key=lambda c: -(c.nearness + weight * c.relevance))[:5] for near in read]
        recall.append(np.mean([any((c.file, c.index) in g for c in near) for g, near in zip(gold, first, strict=True)]))
    table(["weight", *map(str, WEIGHTS)], [["", *(f"{share:.3f}" for share in recall)]])
    print(f"index in {built:.1f} s, {1000 * searched:.1f} ms a claim\n")

    print("### From documents to verdicts\n")
    started = time.perf_counter()
    findings = list(verification.verify(asked, judge, index, top_k=options.top_k))
    seconds = time.perf_counter() - started
    body = []
    for label in [*VERDICTS, "all"]:
        chosen = [
            (finding.verdict == row["label"], bool(g & {(e.file, e.index) for e in finding.rationale}), finding)
            for row, g, finding in zip(claims, gold, findings, strict=True)
            if label in (row["label"], "all")
        ]
        if chosen:
            right = [verdict for verdict, _, _ in chosen]
            grounded = [verdict and (sentence or f.verdict == VERDICTS[2]) for verdict, sentence, f in chosen]
            unsettled = [f.verdict == VERDICTS[2] for _, _, f in chosen]
            body.append([label, str(len(chosen)), *(f"{np.mean(x):.3f}" for x in (right, grounded, unsettled))])
    table(["claims that are", "", "verdict right", "and a gold sentence in the rationale", "left open"], body)
    print(f"{len(claims) / seconds:.1f} claims a second\n")


def timed(claims: list[dict], documents: list[dict], options) -> None:
    """Wall time of the command, start included, with nothing in the cache but the exported encoder."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "documents"
        folder.mkdir()
        for number, document in enumerate(documents[:20]):
            name = re.sub(r"\W+", "_", document["title"])[:60]
            text = "\n".join([document["title"], "", *document["sentences"]])
            (folder / f"{number:02} {name}.txt").write_text(text, encoding="utf-8")
        path = Path(work) / "claims.txt"
        path.write_text("\n".join(" ".join(row["claim"].split()) for row in claims[:50]), encoding="utf-8")
        arguments = ["--claims", path, "--evidence", folder, "--model", options.model, "--device", options.device]
        arguments += [
            "--retriever",
            options.retriever,
            "--threads",
            options.threads,
            "--format",
            "jsonl",
            "--output",
            Path(work) / "out.jsonl",
        ]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "verify", *map(str, arguments)], check=True)
        print(f"\n{time.perf_counter() - started:.1f} s from the command to the verdicts")


if __name__ == "__main__":
    main()
