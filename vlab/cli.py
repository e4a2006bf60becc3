"""The command line: build the lab's image, bring labs up, log in, look at them, take them down."""

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.reader import may_leave
from vlab import face, image, probe, recipe, registry
from vlab.errors import VlabError, unusable
from vlab.face import InUse, Machine, Settings
from vlab.faults import command as faults
from vlab.standins.kata.runtime.release import RELEASES

# Of a run that has a lab by its address, as it would have any host: harness/undo/lock.py.
LOCK = "/var/lib/passthrough-acceptance/journal/host.lock"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
ANSWER = 10.0  # seconds for a lab to say who has it
ROOT = Path(__file__).parents[1]
LAST = ROOT / "reports" / "runs" / "last"

DESCRIPTION = """\
A lab host in a virtual machine: to run the acceptance suites on, or to follow the deployment
guide in by hand. Nothing of this computer is changed; no KVM is needed.
"""

EPILOG = """\
by hand:
  python -m vlab up                      # the first time it builds the image: minutes
  python -m vlab ssh                     # a root shell in the lab; follow the guide there
  python -m vlab ssh -- lspci -nn        # or one command
  python -m vlab ssh -- sh -s all < vlab/by_hand.sh   # or the guide's steps, as a script
  python -m vlab reset                   # cut its power, and start it again as it then is
  python -m vlab down
  python -m vlab parts                   # what was real in the last run, and what a stand-in

in the lab:
  /srv/lab/rootfs.img                    kata's guest image, too small, as the kata build makes it
  /srv/lab/kernel                        the guest kernel's tree
  /srv/lab/NVIDIA-Linux-*.run            the driver (a stand-in; see vlab/standins)
  /srv/lab/nvidia-container-toolkit.repo the toolkit's repository, for dnf --installroot
  /srv/lab/vllm-build                    the build context of the vLLM image
  /etc/kata-containers/configuration.toml, cnitool, docker, ctr, kata-runtime: as the guide says
  lspci -nn -d 1af4:1043                 the GPU: 1af4:1043 stands in for NVIDIA's 10de

A pytest run uses a lab that is up, if it has the profile's settings and nobody else is in it.
The first lab of a kind boots; the next ones go on from the state that it was in then, as long as
this computer runs (VLAB_BOOT=always boots each).
Images and labs are kept in ~/.cache/passthrough-acceptance/vlab; VLAB_CACHE moves it. In its folder
'consoles' is what labs said that ended without 'down': a panic, for one.
"""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def end_on_signals() -> None:
    """Let a SIGTERM, or a terminal that is closed, end a command as Ctrl-C does: cleaned up after.

    What is ignored (``nohup``) stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def main(argv: Sequence[str]) -> int:
    """Carry the command line out; returns the exit status."""
    words = list(argv)
    # What follows '--' is for the lab, whatever it looks like.
    cut = words.index("--") if "--" in words else len(words)
    try:
        with may_leave():
            arguments = parser().parse_args(words[:cut])
            arguments.words = words[cut + 1 :]
            return int(arguments.carry_out(arguments) or 0)
    except VlabError as error:
        say(f"vlab: {error}")
        return 1
    except OSError as error:
        say(f"vlab: {unusable(image.cache_root(), error)}")
        return 1
    except KeyboardInterrupt:
        return 130


class _Version(argparse.Action):
    """Says the project's version and the recipe of the lab's image, and ends."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**{**words, "nargs": 0})

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        print(f"{project['name']} {project['version']}, lab image {recipe.digest()}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m vlab",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_Version, help="say the version, and the lab image's")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, carry_out: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(carry_out=carry_out)
        return sub

    building = command("build", _build, "build the lab's disk image, if it is not there yet")
    starting = command("up", _up, "start a lab that stays until 'down'")
    _declare_up(starting)
    for sub in (building, starting):
        sub.add_argument(
            "--kata",
            default="",
            metavar="RELEASE",
            help="kata-static-VERSION-amd64.tar.xz, or an unpacked /opt/kata, to be in the lab in "
            "place of kata's stand-in",
        )
    ssh = command("ssh", _ssh, "log in to a lab as root, or run the command after '--' in it")
    ssh.usage = "python -m vlab ssh [NAME] [-- COMMAND...]"
    down = command("down", _down, "stop a lab; with --all every one that stays and is not in use")
    down.add_argument("--all", action="store_true", help="other people's of this cache included")
    command("status", _status, "list the labs: age, settings, who uses them")
    reset = command("reset", _reset, "cut a lab's power, and start it again with its disk as it is")
    console = command("console", _console, "show what a lab's serial console said")
    console.add_argument("-f", "--follow", action="store_true", help="go on as more is said")
    for sub in (ssh, reset, console, down):
        sub.add_argument("name", nargs="?", metavar="NAME", help="default: the lab that is up")
    parts = command(
        "parts", _parts, "list what a run saw of the guide's parts: real, or a stand-in"
    )
    parts.add_argument("run", nargs="?", type=Path, default=LAST, help="its folder (default: last)")
    faults.declare(command("faults", None, "the fault catalogue: list it, try faults on a lab"))
    probing = command("probe", _probe, "say what this computer can do for a lab")
    probing.add_argument(
        "--time",
        action="store_true",
        help="also measure a lab: boot, container, model, memory; 1 if it is slow",
    )
    probing.add_argument(
        "--build-anew", action="store_true", help="with --time: measure an image build, too"
    )
    return top


def _declare_up(up: argparse.ArgumentParser) -> None:
    default = Settings()
    up.add_argument("--name", help="a name for 'ssh', 'console' and 'down'")
    up.add_argument("--gpus", type=int, default=default.gpus, help="0 to 4 stand-ins (default 1)")
    up.add_argument(
        "--multifunction",
        action="store_true",
        help="each GPU with an audio device as function 1, in one IOMMU group with it",
    )
    up.add_argument(
        "--kata-release",
        choices=RELEASES,
        default=default.kata_release,
        help="the release of kata that the stand-in behaves as (default: %(default)s, the guide's)",
    )
    up.add_argument(
        "--memory", type=int, default=default.memory, metavar="MIB", help="default: %(default)s"
    )
    up.add_argument("--cpus", type=int, default=default.cpus, help="default: %(default)s")
    up.add_argument(
        "--accel",
        choices=face.ACCELERATORS,
        default=default.accel,
        help="auto: KVM where a kernel boots under it, else software emulation (default)",
    )


def _build(arguments: argparse.Namespace) -> None:
    print(image.ensure(say, arguments.kata).folder)


def _up(arguments: argparse.Namespace) -> None:
    settings = Settings(
        gpus=arguments.gpus,
        memory=arguments.memory,
        cpus=arguments.cpus,
        accel=arguments.accel,
        multifunction=arguments.multifunction,
        kata_release=arguments.kata_release,
        kata=arguments.kata,
    )
    lab = face.up(settings, name=arguments.name, say=say)
    say(f"vlab: log in with 'python -m vlab ssh {lab.name}', end it with 'down {lab.name}'; or:")
    print(shlex.join(lab.ssh))


def _ssh(arguments: argparse.Namespace) -> int:
    lab = _chosen(arguments.name)
    words = arguments.words
    # One word is a line for the lab's shell; several are a command, and stay the words they are.
    line = words if len(words) < 2 else [shlex.join(words)]
    with contextlib.ExitStack() as stack:
        # So that no test run takes the lab from under a person; a second person may come in.
        with contextlib.suppress(InUse):
            stack.enter_context(face.use(lab, f"'vlab ssh' (pid {os.getpid()})"))
        return subprocess.call([*lab.ssh, *line])


def _down(arguments: argparse.Namespace) -> None:
    if arguments.name:
        labs = [_chosen(arguments.name)]
    else:
        labs = [lab for lab in face.find(say) if lab.stays]
        if not labs:
            say("vlab: no lab is up")
        elif not arguments.all:
            labs = [_only(labs, ", or --all")]
    for lab in labs:
        try:
            there = face.down(lab, force=bool(arguments.name))
        except InUse as error:
            say(f"vlab: {error}; 'down {lab.name}' ends it all the same")
            continue
        if there:
            say(f"vlab: '{lab.name}' is down")


def _reset(arguments: argparse.Namespace) -> None:
    face.reset(_chosen(arguments.name), say)


def _status(arguments: argparse.Namespace) -> None:
    labs = face.find(say)
    far = [lab for lab in registry.entries() if not lab.near]
    if not labs and not far:
        say("vlab: no lab is up")
        return
    row = "{:<20} {:>7} {:<6} {:>10} {:>4}  {}".format
    print(row("NAME", "AGE", "ACCEL", "MEMORY", "GPUS", "USE"))
    for lab in [*labs, *far]:
        age = int(time.time() - lab.since) // 60
        gpus = f"{lab.settings.gpus}{'m' if lab.settings.multifunction else ''}"
        memory = f"{lab.settings.memory} MiB"
        print(row(lab.name, f"{age} min", lab.accel, memory, gpus, _use(lab)))


def _use(lab: Machine) -> str:
    if not lab.near:
        return "in another container, or on another computer"
    return face.user_of(lab) or _run_in(lab) or ("kept after a run" if lab.kept else "free")


def _run_in(lab: Machine) -> str:
    """Whose run has the lab by ssh, as any host: what is in the run's lock there; '' for none."""
    try:
        asked = subprocess.run(
            [*lab.ssh, shlex.join(["cat", BOOT_ID, LOCK])],
            capture_output=True,
            text=True,
            timeout=ANSWER,
        )
        if asked.returncode == 255:
            return "does not answer on ssh"
        boot, _, text = asked.stdout.partition("\n")
        owner = json.loads(text)
        run = f"run {owner['run']} of {owner['user']}@{owner['runner']}, by ssh"
        return run if owner["boot"] == boot else ""  # a lock of an earlier boot holds nothing
    except subprocess.TimeoutExpired:
        return f"has not answered on ssh for {ANSWER:.0f} s"
    except (ValueError, KeyError, TypeError):
        return ""


def _console(arguments: argparse.Namespace) -> int:
    follow = ["-f"] if arguments.follow else []
    return subprocess.call(["tail", "-n", "+1", *follow, str(_chosen(arguments.name).console)])


def _parts(arguments: argparse.Namespace) -> None:
    """The ladder in a run's record; the run looks at each part where it uses it."""
    record = arguments.run / "record.jsonl"
    try:
        whole = record.read_text("utf-8").rpartition("\n")[0]  # a run may be writing on
        events = [json.loads(line) for line in whole.splitlines()]
    except (OSError, ValueError) as error:
        raise VlabError(
            f"no record can be read at '{record}' ({error}): 'pytest -m acceptance' makes one, and "
            "looks at each part as it uses it"
        ) from error
    found = [e["value"] for e in events if e["kind"] == "fact" and e["name"] == "parts"]
    if not any(found):
        raise VlabError(f"'{record}' is of a run that looked at no parts")
    print(f"run {events[0]['id']}, lab {events[0]['profile']['name']}")
    for part in found[-1]:
        says = part["says"] or "the run did not come to it"
        print(f"{part['name']:<22}{part['state']:<10}{says}")


def _probe(arguments: argparse.Namespace) -> int:
    ready = probe.report(say)
    if not arguments.time:
        return 0 if ready else 1
    if not ready:
        say("vlab: nothing is measured, since no lab can be started")
        return 1
    os.environ["VLAB_BOOT"] = "always"  # a boot is among what is measured
    figures = probe.measure(say, anew=arguments.build_anew)
    print(probe.table(figures))
    return 0 if all(figure.met for figure in figures) else 1


def _chosen(name: str | None) -> Machine:
    labs = face.find(say)
    if not labs:
        raise VlabError("no lab is up; 'python -m vlab up' starts one")
    if name is None:
        return _only(labs)
    for lab in labs:
        if lab.name == name:
            return lab
    raise VlabError(f"there is no lab '{name}'; up: {', '.join(lab.name for lab in labs)}")


def _only(labs: Sequence[Machine], others: str = "") -> Machine:
    """The one lab that there is; an error that names them all where one has to be chosen."""
    if len(labs) > 1:
        names = ", ".join(lab.name for lab in labs)
        raise VlabError(f"more than one lab is up, so say which{others}: {names}")
    return labs[0]
