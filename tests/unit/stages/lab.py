"""A run on a replayed host, and what the stages before one have made of it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from fixtures.container import stage as container
from fixtures.container.stage import BareContainerStage, ContainerStage
from fixtures.gpu import stage as gpu
from fixtures.gpu.stage import GpuStage
from fixtures.guest import stage as guest
from fixtures.guest.stage import GuestStage
from fixtures.guide import clauses
from fixtures.image import stage as image
from fixtures.image.stage import ImageStage
from fixtures.kata import stage as kata
from fixtures.kata.stage import KataStage
from fixtures.model import stage as model
from fixtures.model.stage import ModelStage
from fixtures.network import stage as network
from fixtures.network.stage import NetworkStage
from fixtures.platform import stage as platform
from fixtures.platform.stage import PlatformStage
from fixtures.profile import Profile
from fixtures.rootfs import stage as rootfs
from fixtures.rootfs.stage import RootfsStage
from harness.errors import LabError
from harness.record.evidence import Evidence
from harness.record.trace import Trace, at_stage
from harness.run import job
from harness.run.stage import Provision, Run, Stage, StageFailed, stage_classes
from harness.undo.journal import Entry, Journal
from tests.unit.kept import PASSED
from tests.unit.replay import Recorded, ReplayHost, recorded

# The guide's order; each name is a fixture's, in this module.
STAGES: Mapping[str, ModuleType] = {
    "platform": platform,
    "rootfs": rootfs,
    "kata": kata,
    "image": image,
    "gpu": gpu,
    "network": network,
    "container": container,
    "bare_container": container,
    "guest": guest,
    "model": model,
}
# As GNU grep prints it of the programs that Go 1.24 has made of these modules.
RECORD = PASSED / "record.jsonl"
INSTALLER = PASSED.parent / "nvidia" / "installer"  # of the real one


def record() -> Recorded:
    """The record that is replayed."""
    return recorded(RECORD)


def _mark() -> str:
    """The recorded guest image's identity."""
    what = (str(change["what"]) for change in record().changes)
    return next(w for w in what if w.startswith("keep ")).partition(" (")[2].rstrip(")")


MARK = _mark()


class Lab:
    """A run whose host answers from the record, and the facts that its stages find.

    `facts` are those of stages that came before. `settings` are laid over the recorded profile, by
    section. With `ready` all is as the recorded stage has left it.
    """

    def __init__(
        self,
        folder: Path,
        facts: Mapping[str, Any],
        *,
        ready: bool = False,
        provision: Provision = "always",
        ours: Collection[tuple[str, str]] = (),
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.facts = dict(facts)
        self.said: list[str] = []
        self.trace = Trace(folder / "record.jsonl")
        self.host = ReplayHost(record(), self.trace, ready=ready)
        _complete(self.host)
        run_id = self.host.record.run_id
        self.run = Run(
            id=run_id,
            dir=folder,
            profile=_profile(settings or {}),
            host=self.host,
            journal=Journal(self.host, run_id),
            trace=self.trace,
            evidence=Evidence(folder / "evidence", self.trace),
            provision=provision,
            earlier=[Entry(0, stage, what, (), None, True) for stage, what in ours],
            out=self.said.append,
        )

    def fixture(self, name: str, module: ModuleType) -> Any:
        """What a fixture's function makes of this run and the facts so far; no waiting for jobs."""
        function = inspect.unwrap(getattr(module, name))
        given: dict[str, Any] = {"run": self.run, **self.facts}
        if "image_build" in (names := inspect.signature(function).parameters):
            given["image_build"] = self.fixture("image_build", module)
        wanted = {key: given[key] for key in names}
        with at_once():
            made = function(**wanted)
            value = next(made) if inspect.isgenerator(made) else made
        self.facts[name] = value
        return value

    def bring(self, name: str) -> Any:
        """Bring a stage about, by its fixture."""
        return self.fixture(name, STAGES[name])

    def journal(self) -> list[str]:
        """What has been written down as changed, in order; but for modules, which a look brings."""
        changes = [entry.what for entry in self.run.journal.entries]
        return [what for what in changes if not what.startswith("modules ")]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The record of this run."""
        assert self.trace.path is not None
        events = map(json.loads, self.trace.path.read_text().splitlines())
        return [event for event in events if event["kind"] == kind]

    def stage(self, name: str) -> Stage[Any, Any]:
        """A stage by itself, to ask its `probe`."""
        facts, run = self.facts, self.run
        make: dict[str, Callable[[], Stage[Any, Any]]] = {
            "platform": lambda: PlatformStage(run),
            "rootfs": lambda: RootfsStage(run),
            "kata": lambda: KataStage(run, facts["platform"], facts["rootfs"]),
            "image": lambda: ImageStage(run, facts["platform"].machine),
            "gpu": lambda: GpuStage(run),
            "network": lambda: NetworkStage(run, facts["platform"].machine),
            "container": lambda: ContainerStage(
                run, *(facts[name] for name in ("kata", "rootfs", "image", "network", "gpu"))
            ),
            "bare_container": lambda: BareContainerStage(run, facts["image"]),
            "guest": lambda: GuestStage(run, facts["container"], facts["network"].address),
        }
        return make[name]()

    def probe(self, name: str) -> Any:
        """What a stage's `probe` finds."""
        with at_stage(name), at_once():
            return self.stage(name).probe()


def planned(name: str, lab: Lab) -> Sequence[str]:
    """What a stage's class says of a profile (`--plan`)."""
    classes: dict[str, type[Stage[Any, Any]]] = {
        "platform": PlatformStage,
        "rootfs": RootfsStage,
        "kata": KataStage,
        "image": ImageStage,
        "gpu": GpuStage,
        "network": NetworkStage,
        "container": ContainerStage,
        "bare_container": BareContainerStage,
        "guest": GuestStage,
        "model": ModelStage,
    }
    return classes[name].plan(lab.run.profile)


@contextmanager
def at_once() -> Iterator[None]:
    """Within the block, nothing is waited for between two looks: the next reply is there."""
    with mock.patch.object(job, "INTERVAL", 0), mock.patch.object(model, "POLL", 0):
        yield


@dataclass(frozen=True)
class Refusal:
    """A reply of the host, and what the stage that gets it has to say.

    `says` are texts of the message, `hint` is one of the hint, `clause` is the guide's.
    """

    about: str
    change: Callable[[ReplayHost], None]
    says: tuple[str, ...]
    hint: str
    clause: str

    def of(self, lab: Lab, stage: str) -> LabError:
        """Have the stage refuse, and look at what it says."""
        self.change(lab.host)
        with pytest.raises(StageFailed) as caught:
            lab.bring(stage)
        self.judge(caught.value)
        return caught.value

    def judge(self, error: LabError) -> None:
        for text in self.says:
            assert text in error.message
        assert self.hint in (error.hint or "")
        assert error.clause == self.clause
        assert self.clause in clauses.load().by_id


def about(refusal: Refusal) -> str:
    """A parameter's id."""
    return refusal.about


def _profile(settings: Mapping[str, Mapping[str, Any]]) -> Profile:
    """The recorded run's profile, with other settings in it."""
    document = dict(record().profile)
    for section, values in settings.items():
        document[section] = {**document[section], **values}
    return Profile.model_validate_json(json.dumps(document))


# What the kernel changes beside ip_forward, on a host that forwards.
FORWARDING = """\
net/ipv4/ip_forward=1
net/ipv4/conf/all/accept_redirects=0
net/ipv4/conf/enp0s1/forwarding=1
"""


def _complete(host: ReplayHost) -> None:
    """Replies that the record lacks: too long for it, of starts that fail, of later commands."""
    host.spare("ctr task exec", 'echo "program', "pci=$", out=_seen(host.record))
    host.spare("/proc/config.gz", out=_kernel_config())
    host.spare("qemuPid=", "awk")
    wanted = " ".join(kind.modules for kind in stage_classes()).split()
    host.spare("/proc/modules", out="".join(f"{name} 16384 0 - Live 0x0\n" for name in wanted))
    host.spare("accept_redirects", out=FORWARDING)
    host.spare("for folder; do", "/etc/cni", out="\n".join(network.FOLDERS))
    host.spare("link set", f"alias accept-{record().run_id}")
    host.spare("$(dmesg)", "LAST")  # the record has all of the kernel's log, which is too long
    host.spare("ctr task exec", "$(dmesg)", status=1)  # a container may not read it
    host.spare("$(dmesg)", out="[    1.000000] the host is up\n")
    host.spare(
        "bytes of %.9Y", out="inode 12 of 1795841188.589, 3 bytes of 1795841188, 1795841188\n"
    )
    host.spare("mktemp", "/stages/", ".seen")
    host.spare("/cmdline | tr", out=record().said("$p/cmdline; echo"))
    host.spare("reset_method", out=record().said("reset_method"))
    host.spare("ctr leases ls")
    host.spare("setsid -f")  # a job's start, of which the command is as it was
    for texts in ("own /", " true /", " rm -rf -- /"):  # the record is from before these
        host.spare("nsenter", texts)
    host.spare("owners_git")
    host.spare("stat -c %a %F", "/usr/bin/nvidia-container-cli", out="755 regular file\n")
    host.spare("--whatprovides", status=1)
    host.spare("head -c", "/scripts/", out="#!/bin/sh\n")
    host.spare("stat -c %a -- ", out="644\n")


def _seen(recorded: Recorded) -> str:
    """What SEES prints: the recorded run had a command for each of its parts."""
    facts = recorded.facts["container"]
    lines = [f"pci {line}\n" for line in facts["pci"]]
    lines += [f"kernel {facts['guest_kernel']}\n", f"boot {facts['boot_id']}\n"]
    return "".join(lines) + recorded.said('echo "program')


def _kernel_config() -> str:
    """The record has only the end of so long an output; the facts have what was read of it."""
    options = record().facts["platform"]["kernel_options"]
    return "".join(f"{name}={value}\n" for name, value in options.items())
