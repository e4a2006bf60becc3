"""kata: the configuration is edited key by key, read back, and refused where it is not kata's."""

from __future__ import annotations

import json

import pytest
import tomlkit

from harness.errors import LabError
from tests.unit.stages.lab import Lab, Refusal, about, record

PATH = record().profile["kata"]["configuration"]
WANTED = record().profile["kata"]
CAT = f"cat -- {PATH}"
ENV = "kata-runtime env --json"
NO_SECTION = "[hypervisor.clh]\npath = '/usr/bin/cloud-hypervisor'\n"


def before() -> str:
    """The lab's file before the stage."""
    return record().replies["kata", ("cat", "--", PATH)][0].out


REFUSED = [
    Refusal(
        "no TOML",
        lambda host: host.reply(CAT, out="[hypervisor.qemu\n"),
        (f"{PATH} is not valid TOML", "line 1"),
        "kata itself could not read it",
        "kata.configuration",
    ),
    Refusal(
        "another hypervisor's",
        lambda host: host.reply(CAT, out=NO_SECTION),
        (f"{PATH} has no section [hypervisor.qemu]",),
        "'kata-runtime env' tells",
        "kata.configuration",
    ),
]


@pytest.mark.parametrize("refusal", REFUSED, ids=about)
def test_a_file_that_is_not_katas_is_refused_and_left_alone(lab: Lab, refusal: Refusal) -> None:
    refusal.of(lab, "kata")
    assert not lab.journal()
    assert not lab.host.written


def test_a_runtime_that_refuses_the_configuration(lab: Lab) -> None:
    says = 'default_memory: invalid value "1536"'
    Refusal(
        "",
        lambda host: host.reply(ENV, status=1, err=says),
        (ENV, says),
        f"refuses {PATH}; it says why",
        "kata.configuration",
    ).of(lab, "kata")


def test_a_runtime_that_prints_no_json(lab: Lab) -> None:
    lab.host.reply(ENV, out="time=now level=warning\n{}")
    with pytest.raises(LabError, match="should have printed JSON") as caught:
        lab.bring("kata")
    assert ENV in caught.value.message
    assert "level=warning" in caught.value.message


def test_a_runtime_of_another_kind(lab: Lab) -> None:
    Refusal(
        "",
        lambda host: host.reply(ENV, out='{"Meta": {"Version": "1.0"}}'),
        ("should have printed JSON, but Runtime: Field required",),
        "that of kata 3",
        "kata.configuration",
    ).of(lab, "kata")


def test_what_the_guide_asks_for_is_set_and_nothing_else_is_touched(lab: Lab) -> None:
    lab.bring("kata")
    old, new = before().splitlines(), lab.host.written[PATH].splitlines()
    qemu = tomlkit.parse(lab.host.written[PATH]).unwrap()["hypervisor"]["qemu"]
    assert qemu["image"] == lab.facts["rootfs"].image
    for key in ("guest_hook_path", "cold_plug_vfio", "default_memory"):
        assert qemu[key] == WANTED[key]
    changed = {line.split(" ")[0] for line in set(old) ^ set(new)}
    assert changed <= {
        *("image", "guest_hook_path", "cold_plug_vfio", "default_memory", "enable_debug"),
        *("", "[agent.kata]", "[runtime]", "[agent]"),  # made where they were not
    }
    comments = [line for line in old if line.startswith("#")]
    assert comments
    assert [line for line in new if line.startswith("#")] == comments


def test_the_file_is_kept_before_it_is_written(lab: Lab) -> None:
    lab.bring("kata")
    lines = [" ".join(words) for words in lab.host.asked]
    kept = next(i for i, line in enumerate(lines) if "cp -a --no-dereference" in line)
    journal = next(i for i, line in enumerate(lines) if "truncate -s" in line)
    assert kept < journal < next(i for i, line in enumerate(lines) if "mktemp" in line)


def test_it_is_the_file_that_the_runtime_reads_which_is_read_back(ready: Lab) -> None:
    other = "/opt/kata/configuration.toml"
    ready.host.edit(ENV, old=PATH, new=other)
    ready.host.reply(f"cat -- {other}", out="[hypervisor.qemu]\nimage = '/x'\n")
    found = ready.bring("kata")
    assert (found.configuration, dict(found.hypervisor)) == (other, {"image": "/x"})


@pytest.mark.parametrize(("status", "out"), [(1, ""), (0, "\n")])
def test_a_kernel_that_tells_no_release(ready: Lab, status: int, out: str) -> None:
    ready.host.reply("HdrS", status=status, out=out)
    assert ready.bring("kata").kernel == ""


def test_with_provision_never_nothing_is_written(ready: Lab) -> None:
    ready.bring("kata")
    assert not ready.host.written
    assert not ready.journal()


def test_what_is_effective_is_what_the_runtime_says(ready: Lab) -> None:
    ready.host.filter(ENV, by=lambda out: json.dumps(json.loads(out) | {"Agent": {"Debug": False}}))
    assert ready.bring("kata").effective["Agent"] == {"Debug": False}
