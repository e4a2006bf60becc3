"""The agent's log: JSON lines on the guest's console, in the shape of kata's agent.

The host sees them as ``vmconsole=`` in ``journalctl -t kata`` when the hypervisor's enable_debug
is set, as with kata.
"""

import json
import os
import time

VERSION = "standin"


def log(level: str, text: str, subsystem: str = "agent") -> None:
    """Write one line; a console that cannot be written to is no reason to fail."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"msg": text, "level": level, "ts": stamp, "name": "kata-agent", "source": "agent"}
    line |= {"subsystem": subsystem, "version": VERSION, "pid": str(os.getpid())}
    try:
        console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY)
    except OSError:
        return
    try:
        os.write(console, json.dumps(line, ensure_ascii=False).encode() + b"\r\n")
    except OSError:
        pass
    finally:
        os.close(console)
