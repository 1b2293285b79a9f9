"""The command: `python -m servingsim run ...` takes what the binary takes."""

import signal
import sys

from ._native import run_command


def main() -> int:
    """Runs the command line of this process and returns its exit code."""
    # Ctrl-C ends the process at once, as it ends the binary.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_command(["servingsim", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
