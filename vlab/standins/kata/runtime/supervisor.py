"""The process that a container is on the host: it owns the machine and relays the workload.

``runtime create`` starts it in the container's network namespace and in a mount namespace of its
own, so that the shared folder's mounts are gone when it is, whatever ends it. containerd's shim
takes it for the container's first process: it has the shim's stdio and ends with the workload's
exit status, once the machine is gone.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from typing import Any, NoReturn

from ..wire import Channel, PeerError
from . import cli, config, link, network, qemu, release, state, terminal, vfio
from .config import Config, ConfigError
from .log import Log
from .machine import Machine, MachineError, Unanswered
from .network import NetworkError
from .relay import Relay
from .state import Container, StateError
from .vfio import VfioError

FAILURES = (
    *(ConfigError, MachineError, NetworkError, PeerError, StateError, VfioError),
    *(OSError, subprocess.CalledProcessError),
)
_SANDBOX_TIMEOUT = 300.0
_CREATE_TIMEOUT = 540.0  # seconds; every guest hook may take its time
_REMOVE_TIMEOUT = 75.0
_HOOK = 10.0  # seconds that kata gives a guest hook
_BOOT = 20.0  # seconds in which a machine boots where that is enough
_REPORT_LIMIT = 60000  # bytes; what a pipe takes at once


def main() -> NoReturn:
    """``supervisor ROOT ID CONSOLE_SOCKET REPORT_FD``; the report is ``ok``, HANG or an error."""
    root, name, console_socket, report = sys.argv[1:5]
    supervisor = None
    try:
        supervisor = Supervisor(state.load(root, name), config.load())
        if console_socket:
            terminal.adopt(terminal.give(console_socket))
        channel = supervisor.bring_up()
    except Exception as error:
        said = str(error) if isinstance(error, FAILURES) else traceback.format_exc()
        Log(name).error(f"create failed: {said}")
        if supervisor is not None:
            supervisor.take_down()
        said = cli.HANG if isinstance(error, Unanswered) else said
        os.write(int(report), said.encode()[-_REPORT_LIMIT:])
        os._exit(1)
    os.write(int(report), b"ok")
    os.close(int(report))
    status = supervisor.stay(channel, tty=bool(console_socket))
    supervisor.take_down()
    os._exit(status)


class Supervisor:
    """Brings one machine up, stays with its container, takes it down."""

    def __init__(self, container: Container, wanted: Config) -> None:
        self.container = container
        self.config = wanted
        self.release = release.of_host()
        self.hook_timeout = _HOOK
        self.log = Log(container.id)
        self.machine = Machine(wanted, self.log, container.folder)
        with open(f"{container.bundle}/config.json", encoding="utf-8") as file:
            self.spec: dict[str, Any] = json.load(file)

    def bring_up(self) -> Channel:
        """Boot the machine and create the container in it; returns the workload's connection."""
        container = self.container
        container.join_cgroup()
        devices = vfio.plan(self.spec, self.config.vfio_port)
        if container.netns:
            container.interfaces = network.read()
        container.cid = self.machine.cid
        container.save()  # before anything is made that delete would have to undo
        self._share_files()
        shared = self.machine.share(container.shared)
        taps = network.connect(container.interfaces)
        cards = [
            qemu.Card(tap, interface["mac"])
            for tap, interface in zip(taps, container.interfaces, strict=True)
        ]
        plan = qemu.Plan(
            name=container.id,
            cid=container.cid,
            shared=shared,
            devices=devices,
            cards=cards,
            kvm=qemu.kvm_works(),
            vhost_net=os.path.exists("/dev/vhost-net"),
            release=self.release,
        )
        began = time.monotonic()
        self.machine.boot(plan)
        container.qemu = self.machine.pid
        container.save()
        self.machine.wait_for_agent()
        self.hook_timeout = hook_timeout(time.monotonic() - began)
        if self.hook_timeout > _HOOK:
            self.log.info(
                f"a guest hook has {self.hook_timeout:.0f} s, in the place of kata's {_HOOK:.0f}: "
                "so much longer than on a quick host has this machine taken to boot"
            )
        return self._create()

    def _create(self) -> Channel:
        container = self.container
        sandbox: dict[str, Any] = {"do": "sandbox", "interfaces": container.interfaces}
        sandbox["hostname"] = self.spec.get("hostname", "")
        sandbox["hooks"] = {
            "path": self.config.guest_hook_path,
            "timeout": self.hook_timeout,
            "newer": self.release.newer,
        }
        body = {"do": "create", "id": container.id, "rootfs": "rootfs", "spec": self.spec}
        try:
            self.machine.request(sandbox, _SANDBOX_TIMEOUT)
            channel = Channel(link.connect(container.cid, 10))
            channel.request(body, _CREATE_TIMEOUT)
        except PeerError:
            self.machine.check_alive(grace=2.0)  # a dead machine explains more than a lost peer
            raise
        return channel

    def _share_files(self) -> None:
        """Bind the container's root, and what its bind mounts name, into the shared folder."""
        container = self.container
        root = self.spec["root"]["path"]
        root = root if root.startswith("/") else f"{container.bundle}/{root}"
        self._bind(root, f"{container.shared}/rootfs")
        kept = []
        for number, entry in enumerate(self.spec.get("mounts", [])):
            words = entry.get("options", [])
            if entry.get("type") == "bind" or "bind" in words or "rbind" in words:
                if entry["source"].startswith("/dev/"):
                    continue  # a device of the host is none of the guest
                name = f"mount-{number}"
                self._bind(entry["source"], f"{container.shared}/{name}")
                entry["source"] = f"/run/kata-containers/shared/containers/{name}"
            kept.append(entry)
        self.spec["mounts"] = kept

    def _bind(self, source: str, target: str) -> None:
        if os.path.isdir(source):
            os.makedirs(target, mode=0o700)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb"):
                pass
        subprocess.run(["mount", "--rbind", source, target], check=True, capture_output=True)

    def stay(self, channel: Channel, *, tty: bool) -> int:
        """Relay until the workload ends; returns its exit status."""
        watch = os.pidfd_open(self.machine.pid)
        return Relay(channel, tty=tty, machine=watch).run()

    def take_down(self) -> None:
        """Run the guest's poststop hooks if it still answers, then undo ``bring_up``."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.machine.pid:
            try:
                body = {"do": "remove", "id": self.container.id}
                self.machine.request(body, _REMOVE_TIMEOUT)
            except PeerError as error:
                self.log.info(f"the guest is gone before its container was removed: {error}")
        self.machine.stop()
        network.disconnect(self.container.interfaces)
        self.container.interfaces = []
        self.container.save()


def hook_timeout(boot: float) -> float:
    """Seconds for a guest hook, kata's 10 on a quick host; ``boot`` is what the machine has taken.

    A hook that loads a driver is emulated like the boot before it, and a lab that is slow is not to
    fail where a real host would not.
    """
    return _HOOK * max(1.0, boot / _BOOT)
