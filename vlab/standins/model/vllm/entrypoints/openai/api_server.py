"""``python3 -m vllm.entrypoints.openai.api_server``: the guide's command line, unchanged.

Exit status: 0 after SIGTERM or SIGINT, 1 if there is no GPU, model or free port, 2 for a wrong
command line.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from ... import __version__
from ...standin import StandInError
from ...standin.arguments import parse
from ...standin.device import require_gpu
from ...standin.engine import MODEL, start
from ...standin.web import serve


def main(argv: Sequence[str] | None = None) -> int:
    """Check the device, load the model, serve until told to stop."""
    arguments = parse(argv)
    say(f"vLLM stand-in {__version__}: this is not vLLM, and no GPU computes anything here.")
    say(f"'{arguments.model}' is answered by {MODEL}, on the processor, by llama.cpp's server.")
    for flag in arguments.ignored:
        say(f"{flag} is known and has no effect in the stand-in.")
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        for line in require_gpu():
            say(f"device: {line}")
        engine = start(arguments.served_names[0], arguments.context, 0.9)
        serve(arguments, engine, say)
    except StandInError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


def say(line: str) -> None:
    """Print one log line, at once: whoever waits for the server reads it as it grows."""
    print(f"INFO: {line}", flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    # The engine's own threads know nothing of Python's shutdown and could delay it for ever.
    say(f"Shutting down on signal {number}.")
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
