"""The labels of both tasks, each in the one order that weights, probabilities and reports share."""

from dataclasses import dataclass

LABELS: tuple[str, ...] = ("warning", "denial", "allegation", "background")

DEFINITIONS: dict[str, str] = {
    "warning": "somebody cautions, threatens or urges against: points at a harm to come or tells an actor to refrain",
    "denial": "somebody rejects, disputes or disclaims that a claim, an accusation or a report is true",
    "allegation": "somebody puts forward, as a claim that is not established, what an actor did, does, plans or hides",
    "background": "none of these: facts, events, own plans and opinions, procedure, questions, page furniture",
}

UNCERTAIN = "uncertain"  # in place of a label that is not given: too improbable, or no English prose

VERDICTS: tuple[str, ...] = ("SUPPORTED", "REFUTED", "NOT_ENOUGH_INFO")

VERDICT_DEFINITIONS: dict[str, str] = {
    "SUPPORTED": "whoever takes the evidence to be true must take the claim to be true",
    "REFUTED": "the evidence and the claim cannot both be true",
    "NOT_ENOUGH_INFO": "the evidence leaves open whether the claim is true",
}


@dataclass(frozen=True)
class Task:
    """What a classifier is trained to tell apart: the stance of a sentence, or the verdict on a claim with evidence."""

    name: str
    labels: tuple[str, ...]
    definitions: dict[str, str]


STANCE = Task("stance", LABELS, DEFINITIONS)
VERIFICATION = Task("verification", VERDICTS, VERDICT_DEFINITIONS)
TASKS: dict[str, Task] = {task.name: task for task in (STANCE, VERIFICATION)}
