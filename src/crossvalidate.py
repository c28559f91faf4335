"""python -m crossvalidate [overrides]: how well a training does on articles held out in turn, mean ± deviation.

python -m crossvalidate                               # configs/crossvalidate.yaml: five folds, the accurate encoder
python -m crossvalidate encoder=minilm folds=3
python -m crossvalidate experiment=tfidf
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


@hydra.main(version_base="1.3", config_path="../configs", config_name="crossvalidate")
def main(composed) -> float:
    """Train once a fold; return the mean macro-F1."""
    try:
        config = schema.load(composed, schema.CrossValidateConfig)
        from allegedly.cross_validation import cross_validate  # heavy: only once the config is known to be good

        return cross_validate(config)["cross_validation/macro_f1"]
    except InputError as error:
        print(f"crossvalidate: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
