"""`vlab build`, with a process that sleeps in the place of the recipe's."""

import signal
import sys

from vlab import cli, image, namespace

SLEEP = "import time; print('at work', flush=True); time.sleep(600)"


def entered(*argv: str) -> list[str]:
    return [sys.executable, "-c", SLEEP]


if __name__ == "__main__":
    image.NEEDED_BYTES = 1
    namespace.entered = entered
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests were started by nohup
    cli.end_on_signals()
    sys.exit(cli.main(["build"]))
