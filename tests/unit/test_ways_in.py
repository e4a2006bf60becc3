"""The ways into what stands on a host that was kept."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fixtures.container import ways_in
from harness.errors import LabError

RUN = "20261127T211513Z-a18913"
# The ids alone, as ctr prints them (containerd, cmd/ctr/commands/tasks/list.go); one is another's.
CTR = f"#!/bin/sh\n[ \"$*\" = 'task ls -q' ] && echo arch-{RUN} && echo other-20260101T000000Z-1\n"


class Asked:
    """A host whose ctr is a script, and whose sockets of kata's machines are in a folder."""

    def __init__(self, folder: Path, script: str = CTR) -> None:
        self.folder = folder
        (folder / "ctr").write_text(script)
        (folder / "ctr").chmod(0o755)

    def sh(self, script: str, *argv: str, **options: object) -> Any:
        script = script.replace("/run/vc/vm", f"{self.folder}/vm")
        path = f"{self.folder}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", script, "sh", *argv],
            capture_output=True,
            text=True,
            env={"PATH": path},
            check=True,
        )
        return SimpleNamespace(out=done.stdout.replace(f"{self.folder}/vm", "/run/vc/vm"))


def lines(host: object, access: str = "ctr") -> list[str]:
    profile = SimpleNamespace(container=SimpleNamespace(access=access))
    run: Any = SimpleNamespace(host=host, id=RUN, profile=profile)
    return ways_in.pytest_acceptance_kept(run)


def test_the_container_its_qemu_and_its_console(tmp_path: Path) -> None:
    for name in ("qmp.sock", "console.sock", "extra-monitor.sock", "vhost-fs.sock", "pid"):
        path = tmp_path / "vm" / f"arch-{RUN}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    vm, held = f"/run/vc/vm/arch-{RUN}", "(kata's shim is its client: another waits)"
    assert lines(Asked(tmp_path)) == [
        f"into the container, there: ctr task exec -t --exec-id look arch-{RUN} sh",
        f"guest's console and agent's log, there: journalctl -t kata | grep sandbox=arch-{RUN}",
        f"QEMU's socket, there: socat - UNIX-CONNECT:{vm}/qmp.sock {held}",
        f"QEMU's socket, there: socat - UNIX-CONNECT:{vm}/extra-monitor.sock",
        f"QEMU's socket, there: socat - UNIX-CONNECT:{vm}/console.sock {held}",
    ]


def test_where_no_container_is_up_it_says_so(tmp_path: Path) -> None:
    for script in ("#!/bin/sh\nexit 1\n", "#!/bin/sh\necho other-1\n"):
        assert lines(Asked(tmp_path, script)) == ["into the container: none of this run is up"]


def test_a_host_that_is_lost_is_no_error_of_the_undo() -> None:
    def lost(*_: object, **__: object) -> None:
        raise LabError("Host 'lab' was lost.\nreally")

    host = SimpleNamespace(sh=lost)
    assert lines(host) == ["into the container: not known, Host 'lab' was lost."]
    assert lines(host, "direct") == [], "of a guest that is the target there is no container"
