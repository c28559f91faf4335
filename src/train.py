"""python -m train [overrides]: Hydra composes configs/ and hands them to allegedly.training.

python -m train                                  # the default: configs/train.yaml
python -m train encoder=mpnet trainer.learning_rate=3e-5
python -m train experiment=tfidf                 # a yardstick: no bundle, its scores beside the others in MLflow
python -m train --multirun seed=1,2,3
"""

import os
import sys

# Threads that spin while they wait take the core that the other thread needs: on two shared cores a step takes five
# times as long. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hydra

from allegedly import config as schema
from allegedly.errors import InputError

schema.register()


@hydra.main(version_base="1.3", config_path="../configs", config_name="train")
def main(composed) -> float:
    """Train once; return the validation macro-F1, which is what a Hydra sweeper maximises."""
    try:
        config = schema.load(composed)
        # Heavy: only once the config is known to be good.
        if config.model.kind is schema.ModelKind.transformer:
            from allegedly.training import train
        else:
            from allegedly.baselines import train
        scores = train(config)
    except InputError as error:
        print(f"train: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if not scores:  # a process beside the first of a distributed training
        return 0.0
    if config.model.kind is schema.ModelKind.transformer:
        stance = config.task is schema.TaskName.stance
        command = "predict FILE" if stance else "verify --claims FILE --evidence PATH"
        print(f"Next: python -m {command} --model {config.output}   (and: make ui)")
    return scores["final_validation/macro_f1"]


if __name__ == "__main__":
    main()
