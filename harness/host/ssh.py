"""A host by ssh(1), over one master connection per run."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from harness.host import tunnel
from harness.host.command import Capture, CommandTimeout, HostUnreachable, Result
from harness.host.connection import STRAYS
from harness.host.process import execute, kill_group
from harness.host.transport import KEPT, SshEndpoint, path_option, variables, with_options
from harness.text import readable

CONNECT_TIMEOUT = 30.0  # seconds for the TCP connection and the handshake
ALIVE_INTERVAL = 15  # seconds between keep-alives; six unanswered ones end the connection
ALIVE_COUNT = 6
CONTROL_TIMEOUT = 15.0  # seconds for a request to the master of this machine
SBIN = "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH"

# What ssh(1) itself says when it ends with 255 (ssh.c, mux.c, sshconnect.c, packet.c); a command
# that ends with 255 on its own says something else.
_SSH_SAYS = re.compile(
    r"^(?:ssh: |kex_exchange_identification|Connection (?:to .* )?(?:closed|reset|timed out)"
    r"|Control socket connect|mux_client_|muxclient|client_loop: |packet_write_|Permission denied"
    r"|Host key verification failed|Timeout, server |Shared connection to |ControlSocket "
    r"|.*@.*: Permission denied|Bad owner or permissions|Load key |Received disconnect"
    r"|Disconnected from|Read from remote host|banner exchange|No .* host key is known)",
    re.MULTILINE,
)

# Options of a user's configuration that would keep the master from being our child process, from
# ending with its input, or from carrying our commands alone; or would have it take any key of a
# host on loopback, as a virtual lab and whatever is behind a tunnel are.
_OURS = (
    *("ControlPersist=no", "RemoteCommand=none", "ClearAllForwardings=yes"),
    "NoHostAuthenticationForLocalhost=no",
)
_OURS_SINCE_8_7 = ("ForkAfterAuthentication=no", "SessionType=default", "StdinNull=no")

# Puts the connection's sshd, and so all that it starts from now on, into a scope of its own, where
# the host has systemd and no pam_systemd has done so. The scope goes with its last process.
SCOPE = """
[ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] || exit 0
! grep -qE '/session-[^/]*[.]scope$' /proc/self/cgroup || exit 0
pid=$$
until case $(cat "/proc/$pid/comm") in sshd*) ;; *) false ;; esac; do
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status"); [ "${pid:-0}" -gt 1 ] || exit 0
done
busctl --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 \\
    org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' \\
    "harness-ssh-$pid.scope" fail 2 PIDs au 1 "$pid" CollectMode s inactive-or-failed 0
"""


@cache
def _knows(option: str) -> bool:
    """Whether this machine's ssh knows an option; one that it does not is an error to it.

    IgnoreUnknown would replace the user's own one, on which his configuration may depend.
    """
    return execute(["ssh", "-o", option, "-V"], hard_timeout=CONTROL_TIMEOUT).rc == 0


def _take_in(pipe: IO[bytes], said: Capture) -> None:
    """Drain a pipe to its end, of which a Capture keeps no more than an end."""
    with pipe:
        while chunk := os.read(pipe.fileno(), 1 << 16):
            said.feed(chunk)


class SshTransport:
    """ssh(1) with one ControlMaster, a child of ours, in the foreground, for the whole run."""

    def __init__(
        self,
        endpoint: SshEndpoint,
        *,
        name: str | None = None,
        become: bool | None = None,
        options: Sequence[str] = (),
        why: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.endpoint = endpoint
        self._why = why
        self.name = name or f"{endpoint.user}@{endpoint.host}"
        self.become = endpoint.user != "root" if become is None else become
        self._options = tuple(options)
        self.strays = STRAYS
        # A socket's path may have 107 bytes, and ssh appends 17 while it makes one.
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        parent = runtime if 0 < len(runtime) < 50 and os.access(runtime, os.W_OK) else "/tmp"
        self._dir = Path(tempfile.mkdtemp(prefix="ssh-", dir=parent))
        self._socket = self._dir / "m"
        self._master: subprocess.Popen[bytes] | None = None

    @property
    def _control_path(self) -> str:
        return path_option("ControlPath", self._socket)

    @property
    def login(self) -> str:
        return self.endpoint.login(self._options)

    def _common(self) -> list[str]:
        options = [
            self._control_path,
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"ConnectTimeout={CONNECT_TIMEOUT:.0f}",
            f"ServerAliveInterval={ALIVE_INTERVAL}",
            f"ServerAliveCountMax={ALIVE_COUNT}",
            "EscapeChar=none",
            "ForwardX11=no",
            "ForwardAgent=no",
            "LogLevel=ERROR",
            *_OURS,
            *filter(_knows, _OURS_SINCE_8_7),
        ]
        return ["ssh", *with_options([*options, *self.endpoint.options, *self._options])]

    def argv(
        self, argv: Sequence[str], *, mark: tuple[str, str] | None = None, sweep: Sequence[str] = ()
    ) -> list[str]:
        # The shell stays to the end; that turns a death by signal into 128+n, which ssh cannot
        # carry. At a deadline (124, 137) sshd would wait for whatever still holds the output,
        # hence the sweep over there.
        script = f"{SBIN}; {self._line(argv, mark)}; rc=$?"
        if sweep:
            script += f"; case $rc in 124|137) {self._line(sweep)} >/dev/null 2>&1;; esac"
        return [*self._client(), *self.endpoint.target, f"{script}; exit $rc"]

    def _line(self, argv: Sequence[str], mark: tuple[str, str] | None = None) -> str:
        """The command line for the host's shell; with sudo where the user is not root."""
        if self.become:
            kept = " ".join(f'"{name}=${{{name}-}}"' for name in KEPT)
            words = [*map("=".join, variables(mark)), *argv]
            return f"sudo -n -- env {kept} {shlex.join(words)}"
        # The shell itself sets them, one program the less to start.
        settings = [f"{name}={shlex.quote(value)}" for name, value in variables(mark)]
        return " ".join([*settings, shlex.join(argv)])

    def _client(self) -> list[str]:
        # The master has read the user's configuration; for a command over it only harm could come
        # of that (RemoteCommand, SendEnv: the runner's language), and time.
        # Where the master is gone, ssh would quietly connect by itself; the ProxyCommand makes it
        # fail instead, so that a lost connection is seen as one.
        options = [
            self._control_path,
            "ControlMaster=no",
            "ProxyCommand=false",
            "BatchMode=yes",
            "EscapeChar=none",
            "LogLevel=ERROR",
        ]
        return ["ssh", "-F", "none", "-T", *with_options(options)]

    def lost(self, result: Result) -> str | None:
        if result.rc != 255:
            return None
        if not _SSH_SAYS.search(result.err) and self._alive():
            return None  # the command's own 255
        lines = result.err.strip().splitlines()
        return self._why() or (lines[-1] if lines else "the ssh master connection is gone")

    def connect(self) -> None:
        """Start the master and wait until it answers; HostUnreachable says what ssh said.

        It lasts as long as its input, which is ours: kill -9 of us leaves no connection behind.
        """
        said = Capture(None)
        self._master = subprocess.Popen(
            [*self._common(), "-o", "ControlMaster=yes", "-T", *self.endpoint.target, "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._master.stderr is not None
        reader = threading.Thread(
            target=_take_in, args=(self._master.stderr, said), daemon=True, name="ssh"
        )
        reader.start()
        deadline = time.monotonic() + 2 * CONNECT_TIMEOUT
        try:
            while not self._answers():
                if self._master.poll() is not None or time.monotonic() > deadline:
                    reader.join(1.0)
                    raise self._refused(readable(said.text()).strip())
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._master.wait(0.05)
            with contextlib.suppress(CommandTimeout):  # it does without
                execute(self.argv(["sh", "-c", SCOPE]), hard_timeout=CONTROL_TIMEOUT)
        except BaseException:
            self._end_master()
            raise

    def _alive(self) -> bool:
        return self._master is not None and self._master.poll() is None and self._answers()

    def _answers(self) -> bool:
        return self._socket.exists() and self._control("check").rc == 0

    def _refused(self, said: str) -> HostUnreachable:
        end = self.endpoint
        name = f"Host '{self.name}' (ssh://{end.user}@{end.host}:{end.port})"
        known = end.known_hosts or Path.home() / ".ssh" / "known_hosts"
        if "HOST IDENTIFICATION HAS CHANGED" in said:
            entry = end.host if end.port == 22 else f"[{end.host}]:{end.port}"
            forget = ["ssh-keygen", "-f", str(known), "-R", entry]
            return HostUnreachable(
                f"{name} shows another host key than the one in '{known}'.",
                hint="somebody may stand in between; if it has been installed anew, compare its"
                f" key, then remove the old one: {shlex.join(forget)}",
            )
        hint = f"try: {self.login} true"
        if end.identity and not end.identity.exists() and "Permission denied" in said:
            said = f"there is no key '{end.identity}' (target.identity); {said}"
        if "Host key verification failed" in said or "host key is known" in said:
            hint = (
                f"its host key is not in '{known}'; compare it with the host's own and add it:"
                f" {shlex.join(['ssh-keyscan', '-p', str(end.port), end.host])} >>"
                f" {shlex.quote(str(known))}"
            )
        return HostUnreachable(
            f"{name} cannot be reached: {self._why() or said or 'no answer in time'}", hint=hint
        )

    def _control(self, request: str, *args: str) -> Result:
        argv = [*self._client(), "-O", request, *args, *self.endpoint.target]
        return execute(argv, hard_timeout=CONTROL_TIMEOUT)

    def reconnect(self) -> None:
        self._end_master()
        self.connect()

    def forward(
        self, address: str, port: int
    ) -> contextlib.AbstractContextManager[tuple[str, int]]:
        line = shlex.join(tunnel.relay_argv(address, port))
        return tunnel.opened([*self._client(), *self.endpoint.target, line])

    def close(self) -> None:
        self._end_master()
        shutil.rmtree(self._dir, ignore_errors=True)

    def _end_master(self) -> None:
        master, self._master = self._master, None
        if master is not None and master.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(master.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                master.wait(5)
        if master is not None:
            kill_group(master)
            if master.stdin is not None:
                master.stdin.close()
        self._socket.unlink(missing_ok=True)
