"""Where the runtime speaks: the system log under the tag ``kata``, and the shim's log file."""

import json
import os
import re
import socket
import syslog
import time

_SYSLOG = "/dev/log"
_PRIORITIES = {"debug": syslog.LOG_DEBUG, "info": syslog.LOG_INFO, "error": syslog.LOG_ERR}
_BARE = re.compile(r"[A-Za-z0-9._/@^+-]+")  # what logrus does not quote
DEBUG = "KATA_STANDIN_DEBUG"  # set where containerd has started the shim with -debug


def line(level: str, text: str, fields: dict[str, object]) -> str:
    """A line in logrus's text form: time, level and message, then the fields by their names."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    words = {"level": level, "msg": text, **dict(sorted(fields.items()))}
    said = (f"{name}={_quoted(str(value))}" for name, value in words.items())
    return " ".join((f'time="{stamp}"', *said))


def _quoted(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class Log:
    """Lines as kata's shim writes them to the system log: errors alone, unless it is at debug."""

    def __init__(self, sandbox: str, address: str = _SYSLOG) -> None:
        self.sandbox = sandbox
        self._all = DEBUG in os.environ
        self._sock: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._sock.connect(address)
        except OSError:
            self._sock = None  # no system log: nothing is worse for it

    def info(self, text: str) -> None:
        self._write("info", text)

    def error(self, text: str) -> None:
        self._write("error", text)

    def qemu(self, pid: int, text: str) -> None:
        """A line that QEMU wrote to its standard error."""
        self._write("error", text, qemuPid=pid, subsystem="qemu")

    def console(self, text: str) -> None:
        """A line of the guest's console."""
        self._write("debug", "reading guest console", subsystem="sandbox", vmconsole=text)

    def _write(self, level: str, text: str, **fields: object) -> None:
        if self._sock is None or not (self._all or level == "error"):
            return
        about = {"name": "containerd-shim-v2", "pid": os.getpid(), "sandbox": self.sandbox}
        said = line(level, text, {"source": "standin", **about, **fields})
        head = f"<{syslog.LOG_USER | _PRIORITIES[level]}>kata[{os.getpid()}]: "
        try:
            self._sock.send((head + said).encode())
        except OSError:
            self._sock = None


def to_shim(path: str, text: str) -> None:
    """Append an error where containerd's shim looks for it (``--log``, JSON lines)."""
    if not path:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"level": "error", "msg": text, "time": stamp}) + "\n")
