"""``python -m vlab``: build the lab's image, bring a lab up, log in, take it down."""

import argparse
import os
import subprocess
import sys

from vlab import accel, image, machine, qemu
from vlab.errors import VlabError


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Parse the command line and carry it out; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vlab",
        description="A lab host in a virtual machine, to run the acceptance suites on "
        "or to follow the deployment guide in by hand.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the lab's disk image, if it is not there yet")
    up = commands.add_parser("up", help="start a lab that stays until 'down'")
    up.add_argument("--gpus", type=int, default=1, help="number of stand-in GPUs (default 1)")
    up.add_argument("--memory", type=int, default=5120, help="MiB of memory (default 5120)")
    up.add_argument("--accel", choices=accel.MODES, default="auto", help="default: auto")
    ssh = commands.add_parser("ssh", help="log in to the running lab, or run a command in it")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add_parser("status", help="list the labs that are running")
    commands.add_parser("console", help="show what the lab's console said")
    commands.add_parser("down", help="stop the running labs that 'up' started")
    arguments = parser.parse_args()
    try:
        return _carry_out(arguments)
    except VlabError as error:
        say(f"vlab: {error}")
        return 1


def _carry_out(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "build":
            print(image.ensure(say).folder)
        case "up":
            settings = qemu.Settings(
                gpus=arguments.gpus, memory=arguments.memory, accel=arguments.accel
            )
            lab = machine.start(image.ensure(say), settings, say, bound=False)
            print(" ".join(lab.ssh))
        case "ssh":
            lab = _only()
            os.execvp("ssh", [*lab.ssh, *arguments.words])
        case "status":
            for lab in machine.find():
                print(f"{lab.folder.name}  pid {lab.pid}  port {lab.port}  {lab.accel}")
        case "console":
            return subprocess.call(["tail", "-n", "+1", str(_only().console)])
        case "down":
            for lab in machine.find():
                machine.stop(lab)
                say(f"vlab: {lab.folder.name} is down")
    return 0


def _only() -> machine.Machine:
    labs = machine.find()
    if not labs:
        raise VlabError("no lab is running; 'python -m vlab up' starts one")
    return labs[-1]


if __name__ == "__main__":
    sys.exit(main())
