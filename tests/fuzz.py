"""Random calls and damaged files for as long as you like.

    python tests/fuzz.py --seconds 600 --seed 1 --only calls,data

Each kind of cases gets its share of the time. What is wrong is printed with its number; to make one case again, in this
process and with all of its traceback:

    python tests/fuzz.py --only calls --seed 1 --number 1234
"""

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from fuzzing import runner


def main(arguments: list[str] | None = None) -> int:
    """1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all kinds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(runner.KINDS), metavar="KIND[,KIND…]", help=", ".join(runner.KINDS))
    parser.add_argument("--cases", type=int, default=10**9, help="of each kind at the most")
    parser.add_argument("--number", type=int, help="of the one case to make again")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := set(names) - set(runner.KINDS):
        parser.error(f"--only: expected some of {', '.join(runner.KINDS)}, found {', '.join(sorted(unknown))}")
    if options.number is not None:
        return _make_again(names[0], options.seed, options.number)
    found = 0
    for name in names:
        summary = runner.run_kind(name, options.seed, options.seconds / len(names), options.cases)
        print(summary, flush=True)
        found += len(summary.findings)
    return int(found > 0)


def _make_again(name: str, seed: int, number: int) -> int:
    kind = runner.kind_named(name)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        runner.prepare(kind, Path(folder))
        case = kind.case(runner.rng_of(name, seed, number))
        print(case)
        try:
            print(kind.run(case))
        except Exception:
            traceback.print_exc()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
