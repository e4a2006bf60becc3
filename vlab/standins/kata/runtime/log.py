"""Where the runtime speaks: the system log under the tag ``kata``, and the shim's log file."""

import json
import os
import socket
import syslog
import time

_SYSLOG = "/dev/log"


class Log:
    """Lines in logrus's text format, as kata's shim writes them to the system log."""

    def __init__(self, sandbox: str) -> None:
        self.sandbox = sandbox
        self._sock: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._sock.connect(_SYSLOG)
        except OSError:
            self._sock = None  # no system log: nothing is worse for it

    def info(self, text: str) -> None:
        self._write(syslog.LOG_INFO, "info", f"msg={json.dumps(text)}")

    def error(self, text: str) -> None:
        self._write(syslog.LOG_ERR, "error", f"msg={json.dumps(text)}")

    def console(self, line: str) -> None:
        """A line of the guest's console; kata prints them at level debug."""
        words = f'msg="reading guest console" vmconsole={json.dumps(line, ensure_ascii=False)}'
        self._write(syslog.LOG_INFO, "debug", words)

    def _write(self, priority: int, level: str, words: str) -> None:
        if self._sock is None:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        head = f'<{syslog.LOG_USER | priority}>kata[{os.getpid()}]: time="{stamp}" level={level} '
        tail = f" name=containerd-shim-v2 pid={os.getpid()} sandbox={self.sandbox} source=standin"
        try:
            self._sock.send((head + words + tail).encode())
        except OSError:
            self._sock = None


def to_shim(path: str, text: str) -> None:
    """Append an error where containerd's shim looks for it (``--log``, JSON lines)."""
    if not path:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"level": "error", "msg": text, "time": stamp}) + "\n")
