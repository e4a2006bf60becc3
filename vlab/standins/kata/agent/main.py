"""The stand-in for kata's agent: process 1 of the guest.

Stands for: kata-agent of a guest image that was built with AGENT_INIT=yes.
Real: it is init (mounts, reaps, powers off), listens on vsock, sets up the network, starts
containers in namespaces of their own on the root that the host shares, runs guest hooks.
Not real: the protocol (see ``wire``), one container a machine, no attestation, no confidential
anything, no image pulling, no device hot plug, no metrics.

Every connection is served by a process of its own, so that this one only accepts and reaps.
"""

import os
import signal
import socket
import sys
from typing import NoReturn

from .. import wire
from ..wire import Channel, PeerError
from . import container, mounts
from .bundle import sandbox
from .log import VERSION, log

_MODULES = ("virtio_net", "vmw_vsock_virtio_transport")
_REQUEST_TIMEOUT = 150
_ANSWERS = {"sandbox": sandbox, "start": container.start, "signal": container.send_signal}
_ANSWERS["remove"] = container.remove
_ANSWERS["check"] = lambda request: {}  # kata's Check: the runtime asks it until it is answered
_STAYS = {"create": container.create, "exec": container.execute}


def main() -> NoReturn:
    """Be init."""
    if "--version" in sys.argv:
        print(f"kata-agent version {VERSION} (a stand-in)")
        sys.exit(0)
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    try:
        mounts.mount_system()
        _load_modules()
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        listener.bind((socket.VMADDR_CID_ANY, wire.PORT))
        listener.listen(64)
    except OSError as error:
        log("CRIT", f"the agent cannot start: {error}")
        raise
    signal.signal(signal.SIGCHLD, _reap)
    log("INFO", "agent is ready")
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _serve(connection)
        connection.close()


def _load_modules() -> None:
    pid = os.posix_spawnp("modprobe", ["modprobe", "-a", *_MODULES], os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        log("WARN", f"'modprobe -a {' '.join(_MODULES)}' exited {status}")


def _reap(*_: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _serve(connection: socket.socket) -> NoReturn:
    channel = Channel(connection)
    try:
        request = channel.message(_REQUEST_TIMEOUT)
        what = request["do"]
        if what in _STAYS:
            _STAYS[what](channel, request)
        elif what in _ANSWERS:
            channel.tell(_ANSWERS[what](request))
        else:
            channel.tell({"error": f"the agent does not know the request '{what}'"})
    except (PeerError, OSError) as error:
        channel.tell({"error": str(error)})
    except Exception:
        # A fault of the agent itself must be seen on the console and must not be taken for a yes.
        import traceback  # slow to import, and hardly ever wanted

        log("CRIT", traceback.format_exc())
        channel.tell({"error": "the agent failed; its console has the traceback"})
    channel.drain(30)
    os._exit(0)
