"""``python3 -m vllm.entrypoints.openai.api_server``: the guide's command line, unchanged.

Exit status, as vLLM's: 0 after a signal, and when the engine has died behind a server that was
ready; 1 if it does not get that far; 2 for a wrong command line. Checks come in vLLM's order: it,
too, imports modelscope and looks for a device before it reads the command line, and takes the port
before it looks at the model.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from ... import __version__
from ...standin import StandInError, log
from ...standin.arguments import Arguments, parse
from ...standin.checks import require_configuration, require_model, require_modelscope
from ...standin.device import require_gpu
from ...standin.engine import MODEL, Engine, start
from ...standin.server import Server, say_goodbye
from ...standin.web import Handler


def main(argv: Sequence[str] | None = None) -> int:
    """Check, load the model, serve until told to stop, or until the engine dies."""
    log.own(f"stand-in {__version__}: this is not vLLM.")
    log.own(f"The answers are computed by {MODEL} on the stand-in GPU, by llama.cpp's server.")
    heed_signals()
    require_modelscope()
    try:
        gpus = require_gpu()
    except StandInError as error:
        log.own(error.why)
        log.plain(f"{log.traceback(error)}\n", log.ERR)  # vLLM's parser: no process has a name yet
        return 1
    arguments = parse(argv)
    try:
        _run(arguments, gpus)
    except StandInError as error:
        _fail(error)
        return 1
    return 0


def _run(arguments: Arguments, gpus: list[str]) -> None:
    log.banner(__version__, arguments.model)
    log.info("api_utils.py:273", f"non-default args: {arguments.given}")
    if arguments.ignored:
        log.own(f"Known, and of no effect here: {', '.join(arguments.ignored)}")
    with Server(arguments, Handler) as server:
        require_model(arguments.model)
        context = require_configuration(arguments, len(gpus))
        for line in gpus:
            log.own(f"device: {line}")
        server.serve(_load(arguments, context))


def _load(arguments: Arguments, context: int) -> Engine:
    began = time.monotonic()
    engine = start(arguments.served_names[0], context, arguments.utilization)
    took = time.monotonic() - began
    log.own(f"{MODEL} is on the stand-in GPU after {took:.2f} s, in the place of {arguments.model}")
    return engine


def _fail(error: StandInError) -> None:
    if error.why:
        log.own(error.why)
    if error.in_engine:
        log.write(f"Process EngineCore:\n{log.traceback(error)}", log.ERR, process=log.ENGINE)
        words = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
        error = StandInError(f"RuntimeError: {words}").with_traceback(error.__traceback__)
    log.write(log.traceback(error), log.ERR)


def heed_signals() -> None:
    """End in order when told to."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    log.info("launcher.py:100", "[shutdown] API server: shutdown triggered")
    say_goodbye()
    os._exit(0)  # at once: threads that still answer would hold it up for as long as they take


if __name__ == "__main__":
    sys.exit(main())
