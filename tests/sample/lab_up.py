"""`vlab up`, with a script in QEMU's place that never answers on its monitor."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from vlab import cli, image

EMULATE = """#!/bin/sh
case $* in *qemu-img*) exit ;; esac
echo $$ >"{pid}"
exec sleep 600
"""


def ensure(say: Callable[[str], None], kata: str = "") -> image.Image:
    folder = Path(os.environ["VLAB_CACHE"], "recipe")
    loader = folder / "emulator" / "ld.so"
    loader.parent.mkdir(parents=True)
    loader.write_text(EMULATE.format(pid=folder / "pid"))
    loader.chmod(0o755)
    (folder / "host_key.pub").write_text("ssh-ed25519 AAAA")
    os.mkfifo(folder / "pid")
    print("ready", flush=True)
    return image.Image(folder)


if __name__ == "__main__":
    image.ensure = ensure
    cli.end_on_signals()
    sys.exit(cli.main(["up", "--accel", "tcg", "--memory", "1", "--gpus", "0"]))
