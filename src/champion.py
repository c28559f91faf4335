"""python -m champion: which version of the registered model is in use, and how to go back to an older one.

    python -m champion             # lists the versions with their scores
    python -m champion previous    # makes the champion before this one champion again
    python -m champion 3           # makes version 3 champion

The store is the one that MLFLOW_TRACKING_URI names, sqlite:///mlflow.db by default. Exit status 0, or 2 with one clear
line on standard error.
"""

import argparse
import math
import os
import sys

from allegedly import registry
from allegedly.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="champion", description="List the versions of the model, or change champion.")
    parser.add_argument("version", nargs="?", help="make this version champion: its number, or 'previous'")
    parser.add_argument("--name", default="stance", help="the registered model; default: %(default)s")
    options = parser.parse_args(arguments)
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI", registry.STORE)
    try:
        if options.version:
            version = registry.make_champion(options.name, options.version, tracking_uri=tracking_uri)
            print(f"{options.name} version {version} is champion")
            return 0
        versions = registry.versions(options.name, tracking_uri=tracking_uri)
    except InputError as error:
        print(f"champion: {error}", file=sys.stderr)
        return 2
    print("version  registered        macro-F1  on test split  aliases")  # scores of different splits do not compare
    for row in versions:
        aliases = " ".join(f"@{alias}" for alias in row["aliases"])
        score, split = f"{row.get('macro_f1', math.nan):.4f}", row["test_digest"][:8]
        print(f"{row['version']:<7}  {row['registered']:%Y-%m-%d %H:%M}  {score:8}  {split:13}  {aliases}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
