"""Containers of the guest: creation, start, further processes, signals, removal.

Real: pid, mount, uts, ipc and cgroup namespaces, pivot_root, capabilities, rlimits, masked paths,
the moment at which hooks run (everything is mounted, nothing has pivoted yet, the workload waits).
Not real: no cgroup limits, device cgroup, seccomp or user namespace inside the guest.
"""

import json
import os
import signal
import socket
from typing import Any, NoReturn

from ..wire import Channel, Kind, PeerError
from . import bundle, hooks, mounts, process, streams, syscalls
from .log import log
from .process import StartError

_NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
_START_TIMEOUT = 540  # seconds; emulated machines are slow, dead ones are silent for ever


def create(channel: Channel, request: dict[str, Any]) -> None:
    """Create a container and stay with its first process until it ends."""
    _, spec = bundle.make(request)
    kid, session = socket.socketpair()
    ends = _Ends(bool(spec["process"].get("terminal")))
    pid = syscalls.fork_in_new_pid_namespace()
    if pid == 0:
        session.close()
        _first_process(kid, spec, ends)
    kid.close()
    ends.close_theirs()
    bundle.remember(request["id"], pid)
    try:
        _answer(session)  # mounted
        state = bundle.state(request["id"], pid, "created")
        hooks.run_all(bundle.hook_settings(), "prestart", state)
        session.send(b"p")
        terminal = _terminal(session) if ends.terminal else None
        _answer(session)  # pivoted, waiting
    except (PeerError, StartError, OSError) as error:
        _kill(pid)
        raise PeerError(str(error)) from error
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{bundle.folder(request['id'])}/start.sock")
    listener.listen(1)
    channel.tell({"pid": pid})
    if not _wait_for_start(channel, listener, session):
        _kill(pid)
        channel.send(Kind.EXIT, b"137")
        return
    _finish(channel, ends.streams(terminal), pid)


def start(request: dict[str, Any]) -> dict[str, Any]:
    """Let the first process of a created container go; PeerError if it cannot be executed."""
    place = bundle.folder(request["id"])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_START_TIMEOUT)
        try:
            sock.connect(f"{place}/start.sock")
        except OSError as error:
            raise PeerError(f"container '{request['id']}' is not waiting to be started") from error
        answer = json.loads(sock.recv(65536) or b'{"error": "it ended before it was started"}')
    if "error" in answer:
        raise PeerError(answer["error"])
    state = bundle.state(request["id"], bundle.pid(request["id"]), "running")
    hooks.run_all(bundle.hook_settings(), "poststart", state)
    return {}


def execute(channel: Channel, request: dict[str, Any]) -> None:
    """Run one more process in a container and stay with it until it ends."""
    wanted = request["process"]
    first = bundle.pid(request["id"])
    kid, session = socket.socketpair()
    ends = _Ends(bool(wanted.get("terminal")))
    try:
        container = os.pidfd_open(first)
        syscalls.enter(container, syscalls.CLONE_NEWPID)
    except OSError as error:
        raise PeerError(f"container '{request['id']}' is not running") from error
    pid = os.fork()
    if pid == 0:
        session.close()
        _further_process(kid, wanted, ends, container)
    kid.close()
    os.close(container)
    try:
        terminal = _terminal(session) if ends.terminal else None
        ends.close_theirs()
        _until_exec(session)
    except (PeerError, OSError) as error:
        _kill(pid)
        raise PeerError(str(error)) from error
    channel.tell({"pid": pid})
    _finish(channel, ends.streams(terminal), pid)


def send_signal(request: dict[str, Any]) -> dict[str, Any]:
    """Send a signal to a container's first process, or to all of its processes."""
    first, number = bundle.pid(request["id"]), int(request["signal"])
    for pid in bundle.members(first) if request.get("all") else [first]:
        try:
            os.kill(pid, number)
        except ProcessLookupError as error:
            if pid == first:
                raise PeerError(f"container '{request['id']}' is not running") from error
    return {}


def remove(request: dict[str, Any]) -> dict[str, Any]:
    """Run the poststop hooks and forget the container."""
    place = bundle.folder(request["id"])
    hooks.run_all(bundle.hook_settings(), "poststop", bundle.state(request["id"], 0, "stopped"))
    if os.path.ismount(f"{place}/rootfs"):
        syscalls.detach(f"{place}/rootfs")
        import shutil

        shutil.rmtree(place, ignore_errors=True)
    return {}


class _Ends:
    """Both ends of a process's pipes; with a terminal there are none yet."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.pipes = [] if terminal else [os.pipe(), os.pipe(), os.pipe()]

    def theirs(self) -> tuple[int, int, int]:
        stdin, stdout, stderr = self.pipes
        return stdin[0], stdout[1], stderr[1]

    def close_theirs(self) -> None:
        for number in self.theirs() if self.pipes else ():
            os.close(number)

    def streams(self, terminal: int | None) -> streams.Streams:
        if terminal is not None:
            return streams.Streams(terminal, {terminal: Kind.STDOUT}, terminal)
        stdin, stdout, stderr = self.pipes
        outputs = {stdout[0]: Kind.STDOUT, stderr[0]: Kind.STDERR}
        return streams.Streams(stdin[1], outputs, None)


def _first_process(kid: socket.socket, spec: dict[str, Any], ends: _Ends) -> NoReturn:
    try:
        syscalls.unshare(_NAMESPACES | syscalls.CLONE_NEWCGROUP)
        if spec.get("hostname"):
            socket.sethostname(spec["hostname"])
        mounts.prepare(spec["root"]["path"], spec)
        kid.send(b"{}")
        kid.recv(1)
        syscalls.pivot_into(spec["root"]["path"])
        mounts.restrict(spec)
        wanted = spec["process"]
        slave = process.open_terminal(kid, wanted.get("consoleSize")) if ends.terminal else None
        program = process.find_executable(wanted["args"], wanted.get("env", []))
        kid.send(b"{}")
        if kid.recv(1) != b"s":
            os._exit(137)
        process.become(wanted, program, (slave,) * 3 if slave is not None else ends.theirs())
    except (OSError, StartError, KeyError, ValueError) as error:
        _complain(kid, error)


def _further_process(
    kid: socket.socket, wanted: dict[str, Any], ends: _Ends, container: int
) -> NoReturn:
    try:
        syscalls.enter(container, _NAMESPACES | syscalls.CLONE_NEWCGROUP)
        slave = process.open_terminal(kid, wanted.get("consoleSize")) if ends.terminal else None
        program = process.find_executable(wanted["args"], wanted.get("env", []))
        process.become(wanted, program, (slave,) * 3 if slave is not None else ends.theirs())
    except (OSError, StartError, KeyError, ValueError) as error:
        _complain(kid, error)


def _complain(kid: socket.socket, error: Exception) -> NoReturn:
    text = str(error) if isinstance(error, StartError | OSError) else repr(error)
    try:
        kid.send(json.dumps({"error": text}).encode())
    finally:
        os._exit(127)


def _answer(session: socket.socket) -> None:
    answer = json.loads(session.recv(65536) or b'{"error": "it died while it was being set up"}')
    if "error" in answer:
        raise PeerError(answer["error"])


def _until_exec(session: socket.socket) -> None:
    """The socket closes when the program is executed; before that it may carry a complaint."""
    data = session.recv(65536)
    if data:
        raise PeerError(json.loads(data)["error"])


def _terminal(session: socket.socket) -> int:
    data, numbers, _, _ = socket.recv_fds(session, 65536, 1)
    if not numbers:
        raise PeerError(json.loads(data or b'{"error": "no terminal could be opened"}')["error"])
    return numbers[0]


def _wait_for_start(channel: Channel, listener: socket.socket, session: socket.socket) -> bool:
    """Until ``start`` is asked for; False when the host has gone, or the program did not run."""
    if not streams.wait_readable(listener.fileno(), channel):
        return False
    client, _ = listener.accept()
    listener.close()
    session.send(b"s")
    try:
        _until_exec(session)
        client.send(b"{}")
        return True
    except PeerError as error:
        client.send(json.dumps({"error": str(error)}).encode())
        return False
    finally:
        client.close()
        session.close()


def _finish(channel: Channel, ends: streams.Streams, pid: int) -> None:
    status = streams.relay(channel, ends, pid)
    channel.send(Kind.EXIT, str(status).encode())
    channel.drain(30)


def _kill(pid: int) -> None:
    log("WARN", f"process {pid} is killed: its container could not be started")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
