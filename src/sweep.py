"""python -m sweep [overrides]: looks for the trainer's settings that do best on the validation split.

python -m sweep                                       # configs/sweep.yaml: the accurate encoder; long on two cores
python -m sweep encoder=minilm n_trials=10
python -m sweep study=mine search.learning_rate.high=1e-3 '~search.hard_share' '+search.weight_decay={low:0,high:0.1}'
"""

import os
import sys

# Threads that spin while they wait take the core that the other thread needs: on two shared cores a step takes five
# times as long. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hydra
from hydra.core.hydra_config import HydraConfig

from allegedly import config as schema
from allegedly.errors import InputError

schema.register()


@hydra.main(version_base="1.3", config_path="../configs", config_name="sweep")
def main(composed) -> None:
    """Run the trials that are left and say which settings did best."""
    try:
        config = schema.load(composed, schema.SweepConfig)
        from allegedly.sweeping import sweep  # heavy: only once the config is known to be good

        best = sweep(config, overrides=list(HydraConfig.get().overrides.task))
    except InputError as error:
        print(f"sweep: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("sweep: stopped; the trials that ended are kept, and the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None
    if best is None:
        print("No trial went to its end.")
        return
    print(
        f"Best: macro-F1 {best.macro_f1:.3f} on the validation split, trial {best.number}. To train with its settings:"
    )
    print(best.command)


if __name__ == "__main__":
    main()
