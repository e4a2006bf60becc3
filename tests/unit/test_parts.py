"""Parts of the guide: real, a stand-in, or not seen, by what they say of themselves."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.common import parts
from fixtures.common.parts import PARTS, Part
from fixtures.container.sandbox_log import AGENT
from reports.record import verdict
from reports.record.integrity import check
from reports.record.reading import load
from tests.unit import vllm
from tests.unit.kept import DATA
from tests.unit.mini import ROOT
from vlab import cli
from vlab.standins.model import VERSION
from vlab.standins.model.vllm.standin.web import MARK

HOOK_BUILD = (
    "path\tgithub.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-container-runtime-hook\n"
    "mod\tgithub.com/NVIDIA/nvidia-container-toolkit\tv1.17.8\n"
) * 2
CNITOOL_BUILD = (
    "path\tgithub.com/containernetworking/cni/cnitool\n"
    "mod\tgithub.com/containernetworking/cni\tv1.3.0\n"
) * 2
HOOK = HOOK_BUILD + "package 1.17.8-1\n"
NVRM = "NVRM version: NVIDIA UNIX "
SERVES = next(one for one in vllm.exchanges() if one.name == "models").answer
ANSWERS = next(one for one in vllm.exchanges() if one.name == "version").answer

# What real ones say; as recorded (tests/data, where it is longer), or as their sources print it.
REAL = [
    ("kernel", "6.6.0-72.0.0.76.oe2403sp1.aarch64", "6.6.0-72.0.0.76.oe2403sp1.aarch64"),
    ("docker", "26.1.5+dfsg1", "26.1.5+dfsg1"),
    ("containerd", "Client:\n  Version:  2.1\n\nServer:\n  Version:  1.7.24~ds1\n", "1.7.24~ds1"),
    (
        "kata shim",
        'Kata Containers containerd shim (Golang): id: "io.containerd.kata.v2", version: 3.15.0, '
        "commit: c0632f8",
        "3.15.0",
    ),
    (
        "kata shim",
        "Kata Containers containerd shim (Rust): id: io.containerd.kata.v2, version: 4.1.0",
        "4.1.0",
    ),
    ("kata runtime", "kata-runtime  : 3.2.0-rc0\n   commit   : 6e31\n", "3.2.0-rc0"),
    ("rootfs tools", "RPM version 4.18.2\ne2fsck 1.47.0 (5-Feb-2023)\n", "4.18.2, e2fsck 1.47.0"),
    ("NVIDIA's hook", HOOK, "v1.17.8, 1.17.8-1"),
    ("NVIDIA's hook", HOOK_BUILD, "v1.17.8"),
    ("nvidia-container-cli", "cli-version: %s\npackage 1.17.8-1\n", "1.17.8-1"),
    ("nvidia-container-cli", "cli-version: %s\n", "of no known version"),
    ("CNI plugins", "CNI bridge plugin v1.6.0", "v1.6.0"),
    ("CNI plugins", "CNI bridge plugin version unknown", "unknown"),
    ("cnitool", CNITOOL_BUILD, "v1.3.0"),
    ("cnitool", CNITOOL_BUILD.replace("v1.3.0", "(devel)"), "(devel)"),
    ("kata agent", "agent-version 3.15.0\nversion 0.1.0\n", "3.15.0"),
    ("guest kernel", "5.19.2", "5.19.2"),
    (
        "NVIDIA driver",
        f"{NVRM}Open Kernel Module for x86_64  580.159.04  Release Build  (nixbld@)  \n",
        "580.159.04",
    ),
    (
        "NVIDIA driver",
        f"{NVRM}aarch64 Kernel Module  550.127.08  Tue Oct 8 12:33:01 UTC 2024\n",
        "550.127.08",
    ),
    (
        "nvidia-smi",
        "Thu Nov 26 18:28:22 2026       \n+---+\n"
        "| NVIDIA-SMI 580.159.04             Driver Version: 580.159.04     CUDA Version: 13.0  |",
        "580.159.04",
    ),
    ("vLLM", f"\n{ANSWERS}\n{SERVES}", json.loads(ANSWERS)["version"]),
    ("model", f"\n{ANSWERS}\n{SERVES}", "/models/smol"),
]


@pytest.mark.case(
    "reports",
    "which parts of a lab are real, by what real ones say of themselves",
    source="kata 3.15.0, NVIDIA 580.159.04, vLLM 0.24.0, cnitool 1.3.0, toolkit 1.17.8",
)
@pytest.mark.parametrize(("name", "said", "version"), REAL)
def test_a_real_part_is_real_by_its_own_words(name: str, said: str, version: str) -> None:
    found = parts.told(name, said)
    assert (found.state, found.says) == ("real", version)


# What our stand-ins say. Their programs in C are compiled in test_standin_nvidia_programs.py.
STAND_INS = [
    ("kata shim", "Usage of /usr/libexec/kata-standin/shim/containerd-shim-kata-v2:\n  -address"),
    ("kata runtime", "kata-runtime  : 3.2.0-rc0\n   commit   : stand-in, not kata\n"),
    ("kata agent", "version 3.0.0-standin"),
    ("nvidia-container-cli", "cli-version: 1.17.8 (stand-in)\npackage 1.17.8-1\n"),
    ("NVIDIA driver", f"{NVRM}x86_64 Kernel Module  550.127.08  (stand-in)\n"),
    ("vLLM", f'{MARK}\n{{"version":"{VERSION}"}}\n{SERVES}'),
    ("vLLM", f'\n{{"version":"{VERSION}"}}\n{SERVES}'),
    ("model", f'{MARK}\n{{"version":"0.24.0"}}\n{SERVES}'),
    ("model", f'\n{{"version":"{VERSION}"}}\n{SERVES}'),
]


@pytest.mark.parametrize(("name", "said"), STAND_INS)
def test_a_stand_in_is_known_by_its_own_words(name: str, said: str) -> None:
    assert parts.told(name, said).state == "stand-in"


@pytest.mark.parametrize("name", sorted({*PARTS} - {"IOMMU", "vfio", "GPU"}))
@pytest.mark.parametrize(
    "said", ["", "\n", "sh: not found", "Segmentation fault", "version: unknown", "{}", "\x1b[2J"]
)
def test_what_is_not_known_is_neither(name: str, said: str) -> None:
    found = parts.told(name, said)
    assert found.state == "not seen"
    assert found.says.startswith("it says ")
    assert found.says.isprintable()


@pytest.mark.parametrize(
    ("units", "machine", "state", "says"),
    [
        (["smmu3.0x0000000140000000"], "none", "real", "smmu3.0x"),
        (["dmar0", "dmar1"], "none", "real", "dmar0, dmar1"),
        (["dmar0"], "qemu", "stand-in", "emulated"),
        (["dmar0"], "kvm", "stand-in", "emulated"),
        (["dmar0"], "amazon", "not seen", "amazon"),
        (["dmar0"], "", "not seen", "no answer"),
        ([], "none", "not seen", "none, or it is off"),
        ([], "qemu", "not seen", "none, or it is off"),
    ],
)
def test_the_iommu(units: list[str], machine: str, state: str, says: str) -> None:
    found = parts.iommu(units, machine)
    assert found.state == state
    assert says in found.says


@pytest.mark.parametrize(
    ("ids", "state"),
    [
        (["10de:2331", "10de:2331"], "real"),
        (["1af4:1043"], "stand-in"),
        (["10de:2331", "1234:11e8"], "stand-in"),
        (["1002:740f"], "not seen"),
        ([], "not seen"),
    ],
)
def test_the_gpu_is_known_by_its_ids(ids: list[str], state: str) -> None:
    assert parts.gpu(ids).state == state


STANDIN_LINE = (
    r"""sandbox=box vmconsole="{\"msg\": \"agent is ready\", \"version\": \"3-standin\"}" x"""
)


@pytest.mark.parametrize(
    ("sandbox", "state", "says"),
    [
        ("t1", "real", "3.15.0"),
        ("box", "stand-in", "version 3-standin"),
        ("other", "not seen", "it says nothing"),
    ],
)
def test_the_agent_is_known_by_its_log(tmp_path: Path, sandbox: str, state: str, says: str) -> None:
    journal = f"{(DATA / 'kata/3.15.0/announce.log').read_text()}x {STANDIN_LINE}\n"
    (tmp_path / "journal").write_text(journal)
    (tmp_path / "journalctl").write_text(f"#!/bin/sh\nexec cat '{tmp_path}/journal'\n")
    (tmp_path / "journalctl").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C"}
    script = ["sh", "-euc", AGENT, "sh", sandbox]
    said = subprocess.run(script, env=environ, capture_output=True, text=True, check=True).stdout
    found = parts.told("kata agent", said)
    assert (found.state, found.says) == (state, says)


def test_the_driver_that_is_loaded_says_that_it_is_a_stand_in() -> None:
    source = (ROOT / "vlab/standins/nvidia/driver/nvidia.c").read_text("utf-8")
    assert '"NVRM version: NVIDIA UNIX %s Kernel Module  %s  (stand-in)\\n"' in source


def test_the_parts_of_a_run_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_parts: Callable[..., Path]
) -> None:
    run = write_parts(parts.part("kernel", "real", "6.6.1"))
    assert cli.main(["parts", str(run)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"run {run.name}, lab lab"
    assert said[1].split() == ["kernel", "real", "6.6.1"]
    assert len(said) == 1 + len(PARTS)


@pytest.fixture
def write_parts(tmp_path: Path) -> Callable[..., Path]:
    """Writes a record with these parts, and the beginning of an event."""
    from tests.unit import records

    def write(*found: Part) -> Path:
        run = tmp_path / "run"
        records.write(run, facts={"parts": records.parts(*found) if found else ()})
        with (run / "record.jsonl").open("a") as file:
            file.write('{"kind": "fa')
        return run

    return write


@pytest.mark.case(
    "kata",
    "a whole run on kata's own shim, runtime and agent, in the lab",
    source="kata-containers 3.15.0",
)
def test_a_run_on_kata_itself_is_told_as_that(tmp_path: Path) -> None:
    kept = DATA / "run-kata"
    shutil.copytree(kept / "evidence", tmp_path / "evidence")
    packed = (kept / "record.jsonl.xz").read_bytes()
    (tmp_path / "record.jsonl").write_bytes(lzma.decompress(packed))
    record = load(tmp_path)
    assert check(record).problems == ()
    states = {part["name"]: (part["state"], part["says"]) for part in record.parts}
    assert {states[f"kata {name}"] for name in ("shim", "runtime", "agent")} == {("real", "3.15.0")}
    assert states["GPU"][0] == "stand-in"
    counts = verdict.overall(record).counts
    assert (counts["passed"], counts["not assessed"], counts.total()) == (129, 12, 141)


def test_without_a_record_there_is_nothing_to_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_parts: Callable[..., Path]
) -> None:
    assert cli.main(["parts", str(tmp_path)]) != 0
    assert "'pytest -m acceptance' makes one" in capsys.readouterr().err
    assert cli.main(["parts", str(write_parts())]) != 0
    assert "looked at no parts" in capsys.readouterr().err
