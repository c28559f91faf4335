"""python -m teach [overrides]: probabilities of a teacher for every training sentence, and the labels that it doubts.

python -m teach                                  # configs/teach.yaml: five folds, three seeds, the accurate encoder
python -m teach folds=3 seeds=[1] encoder=minilm
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


@hydra.main(version_base="1.3", config_path="../configs", config_name="teach")
def main(composed) -> None:
    """Train folds x seeds models and write what they think of the sentences that they have not seen."""
    try:
        config = schema.load(composed, schema.TeachConfig)
        from allegedly.teaching import teach  # heavy: only once the config is known to be good

        teach(config)
    except InputError as error:
        print(f"teach: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
