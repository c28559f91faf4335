"""The four labels, in the one order that weights, probabilities and reports share."""

LABELS: tuple[str, ...] = ("warning", "denial", "allegation", "background")

DEFINITIONS: dict[str, str] = {
    "warning": "somebody cautions, threatens or urges against: points at a harm to come or tells an actor to refrain",
    "denial": "somebody rejects, disputes or disclaims that a claim, an accusation or a report is true",
    "allegation": "somebody puts forward, as a claim that is not established, what an actor did, does, plans or hides",
    "background": "none of these: facts, events, own plans and opinions, procedure, questions, page furniture",
}

LABEL_TO_ID: dict[str, int] = {label: index for index, label in enumerate(LABELS)}
