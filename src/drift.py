"""python -m drift PROFILE [BEFORE]: say what moved between two batches of sentences.

    python -m predict archive --format jsonl --output labels.jsonl --profile today.json
    python -m drift today.json                  # against the sentences that models/stance was trained with
    python -m drift today.json yesterday.json

BEFORE is a profile or a bundle. Exit status 0 if nothing moved, 1 if something did, 2 with one clear line if a profile
cannot be used.
"""

import argparse
import sys

from allegedly import drift
from allegedly.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="drift", description="Say what moved between two batches of sentences.")
    parser.add_argument("profile", metavar="PROFILE", help="of python -m predict --profile PROFILE")
    parser.add_argument(
        "before",
        nargs="?",
        default="models/stance",
        metavar="BEFORE",
        help="a profile or a bundle; default: %(default)s",
    )
    options = parser.parse_args(arguments)
    try:
        shifts = drift.compare(drift.read(options.profile), drift.read(options.before))
    except InputError as error:
        print(f"drift: {error}", file=sys.stderr)
        return 2
    print(drift.words(shifts))
    return int(any(shift.size != "steady" for shift in shifts))


if __name__ == "__main__":
    sys.exit(main())
