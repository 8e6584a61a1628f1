"""The command `fastbp`; each subcommand is a module in `fastbp.commands`.

Results go to standard output, progress and messages to standard error.
"""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence

try:
    from . import __version__
    from .backends.contract import NoGpuError
    from .commands import compare, doctor, predict, trace, train, warmup
    from .commands.termination import Terminated
    from .optimizers.optimizer import DivergenceError
except KeyboardInterrupt:  # most of the time of a short command goes here
    sys.exit(130)

BAD_INPUT, MISSING_PACKAGE, DIVERGED = 3, 4, 5
INTERRUPTED, TERMINATED = 130, 143  # 128 + the number of SIGINT, and of SIGTERM

_EXIT_CODES = f"""exit status: 0 done; 2 wrong usage; {BAD_INPUT} a file or value cannot be used;
{MISSING_PACKAGE} a package or a GPU is missing; {DIVERGED} training diverged;
{INTERRUPTED} interrupted; {TERMINATED} training was ended by SIGTERM
Results go to standard output, progress and messages to standard error. COMMAND --help lists all options."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastbp", description="Train multilayer perceptrons by backpropagation.",
                                     epilog=_EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (train, predict, trace, compare, doctor, warmup):
        module.add_command(commands)
    return parser


def _make_writable() -> None:
    """Let everything be printed: nowhere if a stream was closed, and escaped where an encoding lacks it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as it is with standard error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        _make_writable()
        arguments = sys.argv[1:] if arguments is None else arguments
        chosen = _parser().parse_args(arguments)
        chosen.command_line = shlex.join(["fastbp", *arguments])
        ending = chosen.run(chosen)
        sys.stdout.flush()
        return {"interrupted": INTERRUPTED, "terminated": TERMINATED}.get(ending, 0)
    except BrokenPipeError:  # what reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its exit
        return 0
    except DivergenceError as error:
        return _fail(error, DIVERGED)
    except (ValueError, TypeError, OSError) as error:
        return _fail(error, BAD_INPUT)
    except MemoryError as error:
        return _fail(f"not enough memory: {str(error) or 'what was asked for does not fit'}", BAD_INPUT)
    except (ImportError, NoGpuError) as error:
        return _fail(error, MISSING_PACKAGE)
    except Terminated:
        return _fail("terminated", TERMINATED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)


def _fail(message: object, status: int) -> int:
    print(f"fastbp: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
