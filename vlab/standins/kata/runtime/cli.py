"""The command line of an OCI runtime, as containerd's shim (go-runc) uses it.

Stands for: the part of containerd-shim-kata-v2 that turns task requests into a machine.
Real: create, start, exec, kill, delete, state, ps, with runc's options, errors and exit statuses.
Not real: pause, resume, checkpoint and update are refused; events carry no figures.
"""

import argparse
import json
import os
import signal
import sys
from typing import NoReturn

from ..wire import Channel, PeerError
from . import link, log, state
from .state import StateError

HANG = "kata does not come back"  # what a supervisor reports where kata would wait for ever
_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_SUPERVISOR = os.path.join(_HERE, "supervisor")
_SIGNAL_TIMEOUT = 15.0  # seconds for the agent to deliver a signal; then the machine is given up
_START_TIMEOUT = 540.0


class UsageError(Exception):
    """The runtime was called in a way that this stand-in does not support."""


def main() -> NoReturn:
    """Carry out one command; errors go to standard error and to ``--log``."""
    arguments = _parser().parse_args()
    try:
        status = arguments.run(arguments)
    except (StateError, PeerError, UsageError, OSError) as error:
        log.to_shim(arguments.log, str(error))
        print(error, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    os._exit(status)


def create(arguments: argparse.Namespace) -> int:
    """Start the container's supervisor and wait until the workload waits to be started."""
    with open(f"{arguments.bundle}/config.json", encoding="utf-8") as file:
        spec = json.load(file)
    container = state.new(arguments.root, arguments.id, os.path.abspath(arguments.bundle), spec)
    spaces = spec.get("linux", {}).get("namespaces", [])
    net = next((space for space in spaces if space["type"] == "network"), None)
    container.netns = net.get("path", "") if net else ""
    container.save()
    enter = ["unshare", "--mount", "--propagation", "slave"]
    if container.netns:
        enter = ["nsenter", f"--net={container.netns}", *enter]
    elif net:
        enter.append("--net")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    words = [*enter, _SUPERVISOR, arguments.root, container.id, arguments.console_socket or ""]
    pid = os.posix_spawnp(enter[0], [*words, str(writer)], os.environ, setsid=True)
    os.close(writer)
    with open(reader, "rb") as report:
        said = report.read().decode(errors="replace")
    if said != "ok":
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        container.kill_everything()
        container.forget()
        if said == HANG:
            signal.pause()  # until the shim is ended, and this with it
        raise StateError(said or f"the container's supervisor ended with {status}")
    container = state.load(arguments.root, arguments.id)
    container.pid = pid
    container.save()
    _write_pid(arguments.pid_file, pid)
    return 0


def start(arguments: argparse.Namespace) -> int:
    """Let the workload go."""
    container = state.load(arguments.root, arguments.id)
    if container.status != "created":
        raise StateError(f"cannot start a container that is {container.status}")
    link.ask(container.cid, {"do": "start", "id": container.id}, _START_TIMEOUT)
    container.mark_started()
    return 0


def execute(arguments: argparse.Namespace) -> int:
    """Run a further process; detached, a relay stays behind as its stand-in on the host."""
    from . import relay, terminal

    container = state.load(arguments.root, arguments.id)
    if container.status != "running":
        raise StateError("container not running")
    with open(arguments.process, encoding="utf-8") as file:
        wanted = json.load(file)
    slave = terminal.give(arguments.console_socket) if arguments.console_socket else None
    channel = Channel(link.connect(container.cid, _SIGNAL_TIMEOUT))
    body = {"do": "exec", "id": container.id, "process": wanted}
    channel.request(body, _START_TIMEOUT)
    pid = os.fork() if arguments.detach else 0
    if pid:
        _write_pid(arguments.pid_file, pid)
        return 0
    if arguments.detach:
        os.setsid()
    if slave is not None:
        terminal.adopt(slave)
    return relay.Relay(channel, tty=slave is not None).run()


def kill(arguments: argparse.Namespace) -> int:
    """Signal the workload; a SIGKILL that the guest does not take ends the machine."""
    container = state.load(arguments.root, arguments.id)
    if container.status == "stopped":
        raise StateError("container not running")
    number = signal_number(arguments.signal)
    body = {"do": "signal", "id": container.id, "signal": number, "all": arguments.all}
    try:
        link.ask(container.cid, body, _SIGNAL_TIMEOUT)
    except PeerError:
        if number != signal.SIGKILL:
            raise
        if container.qemu and container.alive:
            os.kill(container.qemu, signal.SIGKILL)
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Remove what is left of a container: processes (with --force), taps, folders, cgroup."""
    try:
        container = state.load(arguments.root, arguments.id)
    except StateError:
        if arguments.force:
            return 0
        raise
    if container.status != "stopped" and not arguments.force:
        raise StateError(f"cannot delete container {container.id} that is {container.status}")
    container.kill_everything()
    if container.netns and container.interfaces and os.path.exists(container.netns):
        # The supervisor was killed before it could clean up after itself.
        import subprocess

        from . import network

        for words in network.removal(container.interfaces):
            enter = ["nsenter", f"--net={container.netns}", *words]
            subprocess.run(enter, capture_output=True, check=False)
    container.forget()
    return 0


def show_state(arguments: argparse.Namespace) -> int:
    """Print the OCI state."""
    container = state.load(arguments.root, arguments.id)
    about = {"ociVersion": "1.0.2", "id": container.id, "status": container.status}
    about |= {"bundle": container.bundle, "created": container.created}
    print(json.dumps(about | {"pid": container.pid if container.alive else 0}))
    return 0


def show_processes(arguments: argparse.Namespace) -> int:
    """Print the container's process as the host sees it: one, its supervisor."""
    container = state.load(arguments.root, arguments.id)
    print(json.dumps([container.pid] if container.alive else []))
    return 0


def show_events(arguments: argparse.Namespace) -> int:
    """Print an event without figures: none are taken in the guest."""
    container = state.load(arguments.root, arguments.id)
    print(json.dumps({"type": "stats", "id": container.id, "data": {}}))
    return 0


def refuse(arguments: argparse.Namespace) -> int:
    """What a machine of this stand-in cannot do."""
    raise UsageError(f"'{arguments.command}' is not supported by this stand-in for kata")


def signal_number(text: str) -> int:
    """A signal by number or by name, with or without SIG; UsageError for what is neither."""
    if text.isdigit():
        return int(text)
    try:
        return int(signal.Signals["SIG" + text.upper().removeprefix("SIG")])
    except KeyError as error:
        raise UsageError(f"unknown signal '{text}'") from error


def _write_pid(path: str, pid: int) -> None:
    if path:
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(str(pid))
        os.replace(f"{path}.new", path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runc", description="kata's stand-in as OCI runtime")
    parser.add_argument("--version", action="version", version="kata-standin")
    parser.add_argument("--root", default="/run/kata-standin")
    parser.add_argument("--log", default="")
    parser.add_argument("--log-format", default="json")
    for flag in ("--debug", "--systemd-cgroup"):
        parser.add_argument(flag, action="store_true")
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("create")
    made.add_argument("--bundle", "-b", default=".")
    made.set_defaults(run=create)
    more = commands.add_parser("exec")
    more.add_argument("--process", "-p", required=True)
    more.add_argument("--detach", "-d", action="store_true")
    more.set_defaults(run=execute)
    for command in (made, more):
        command.add_argument("--pid-file", default="")
        command.add_argument("--console-socket", default="")
        for flag in ("--no-pivot", "--no-new-keyring"):
            command.add_argument(flag, action="store_true")
    killed = commands.add_parser("kill")
    killed.add_argument("--all", "-a", action="store_true")
    killed.set_defaults(run=kill)
    gone = commands.add_parser("delete")
    gone.add_argument("--force", "-f", action="store_true")
    gone.set_defaults(run=delete)
    shown = {"start": start, "state": show_state, "ps": show_processes, "events": show_events}
    refused = dict.fromkeys(("pause", "resume", "update", "checkpoint", "restore"), refuse)
    for name, run in (shown | refused).items():
        commands.add_parser(name).set_defaults(run=run)
    for name, command in commands.choices.items():
        command.add_argument("id")
        if name in ("ps", "events"):
            command.add_argument("--format", default="json")
            command.add_argument("--stats", action="store_true")
        if name == "kill":
            command.add_argument("signal", nargs="?", default="SIGTERM")
    return parser
