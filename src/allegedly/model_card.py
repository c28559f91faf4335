"""What a training found in, the bundle's `README.md` out, with the front matter that the Hugging Face Hub reads."""

from collections.abc import Mapping
from typing import Any

from allegedly.labels import STANCE, Task

# Lists and whole lines, no table: MLflow's page breaks lines where they end and sets no space between columns.
ABOUT = {
    "stance": """# Stance of news sentences

Labels one English news sentence by what it reports that somebody does with a claim: who warns, who denies, who \
alleges. The labels, with their F1 on the validation split:""",
    "verification": """# Claims checked against evidence

Says whether English evidence supports a claim, refutes it, or does not settle it. A verdict is a finding about the \
evidence that was given, not about the world. The verdicts, with their F1 on the validation split:""",
}
LIMITS = {
    "stance": """A label says what a sentence does, not whether it is true. Sentences are read one at a time, without \
their context; other languages and other kinds of text were not tried. Do not decide about a person by a label alone.

```python
from transformers import pipeline

pipeline("text-classification", model=".")("The ministry denied that the dam had been mined.")
```
""",
    "verification": """It was taught by invented news, reference and research prose. Arithmetic, long chains of \
reasoning and what everybody knows but nobody wrote down are beyond it. Do not decide about a person by a verdict alone.

```python
from transformers import pipeline

verify = pipeline("text-classification", model=".")
verify({"text": "The dam was mined.", "text_pair": "No mines were found at the dam."})
```
""",
}


def render(facts: Mapping[str, Any], task: Task = STANCE) -> str:
    """Write the card from the facts of the manifest; validation scores only, the test scores stand in bundle.json."""
    corpus, scores, parity = facts["corpus"], facts["validation"], facts["onnx"]
    unit = "sentences" if task is STANCE else "pairs of claim and evidence"
    weights = " with eight-bit weights" if parity["eight_bit"] else ""
    labels = "\n".join(
        f"- `{label}` (F1 {scores[f'f1_{label}']:.3f}): {meaning}" for label, meaning in task.definitions.items()
    )
    return f"""---
license: apache-2.0
language: en
pipeline_tag: text-classification
base_model: {facts["encoder"]["name"]}
---
{ABOUT[task.name]}

{labels}

How it came about:

- Encoder: {facts["encoder"]["name"]}, weights sha256 `{facts["encoder"]["sha256"]}`.
- Trained on {corpus["sentences"]["train"]} {unit} of the corpus `{corpus["name"]}`, digest `{corpus["digest"]}`. \
The embedded corpus is synthetic: a language model wrote it for this purpose.
- Validation ({corpus["sentences"]["validation"]} {unit}): macro-F1 {scores["macro_f1"]:.3f}, expected \
calibration error {scores["expected_calibration_error"]:.3f} at temperature {facts["temperature"]:.3f}, which was \
fitted on {facts["temperature_sentences"]} of them: those at a border between two labels, or all where these are few. \
The test scores, made with the finished bundle, stand in `bundle.json`.
- `model.onnx`{weights} against torch on {unit} of the validation split: largest difference of a logit \
{parity["max_difference"]:.1e}, same label on {parity["label_agreement"]:.1%}.
- Made {facts["created"]} from commit {facts["git_commit"]}.

{LIMITS[task.name]}"""
