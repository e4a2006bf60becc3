"""The compute probe: what it prints is understood, and judged by its source or not at all."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.common.figures import Figure
from fixtures.guest import compute_program as program
from fixtures.guest.compute import LABELS, PROGRAM, expected, figures, measure
from fixtures.guest.compute_answer import TROUBLE, Compute, answered
from fixtures.profile import Profile
from harness.errors import LabError
from harness.host.command import ProgramMissing, Result
from harness.record.facts import as_json
from harness.run.stage import Run
from suites import test_guest as suite
from tests.unit.patience import PATIENCE

# Made up: no record of a GPU. The form is the program's, and figures are near to those seen on an
# H100 (copy 3.0 TB/s, bf16 at 778 to 798 TFLOP/s).
SECOND = {"rate": 7.3e14, "sm": 1515.0, "memory": 2619.0, "temperature": 61.0, "power": 698.2}
SECOND |= {"link_gen": 5.0, "link_width": 16.0, "reasons": 4}
PRODUCTS = [
    {"kind": "bf16", "n": 8192, "rate": 7.8e14, "error": 0.0029, "bound": 0.0156},
    {"kind": "tf32", "n": 8192, "rate": 3.9e14, "error": 0.00021, "bound": 0.00196},
    {"kind": "fp32", "n": 8192, "rate": 5.1e13, "error": 1.2e-6, "bound": 1.1e-5},
]
DEVICE = {
    "index": 0,
    "error": "",
    "name": "NVIDIA H100 80GB HBM3",
    "capability": "9.0",
    "free": 84_000_000_000,
    "total": 85_017_624_576,
    "copy": 3.0e12,
    "h2d": 5.38e10,
    "d2h": 5.4e10,
    "products": PRODUCTS,
    "pattern": {"free": 84_000_000_000, "bytes": 75_698_798_592, "wrong": 0},
    "smi": "",
    "load": [SECOND] * 20,
}
VERSIONS = {"missing": "", "torch": "2.11.0+cu130", "cuda": "13.0"}
BROKEN = {"index": 0, "error": "CUDA error: an illegal memory access", "name": "NVIDIA H200"}


def printed(*devices: dict[str, Any]) -> Result:
    """How the program ends that has seen these devices."""
    return ended("a line of somebody else's\n" + json.dumps({**VERSIONS, "devices": devices}))


def ended(out: str, rc: int = 0, err: str = "") -> Result:
    return Result(("python3", "-", "20"), rc, out, err, 60.0, len(out), len(err))


def found(**otherwise: object) -> Compute:
    """The facts of the made up device, with some fields of other values."""
    return answered(printed({**DEVICE, **otherwise}))


# ---------------------------------------------------------------- what it prints


def test_what_it_prints_is_understood() -> None:
    compute = found()
    [device] = compute.devices
    assert (compute.torch, device.name, device.load[-1].reasons) == (
        "2.11.0+cu130",
        DEVICE["name"],
        4,
    )
    assert device.rates == {
        **{"copy": 3.0e12, "h2d": 5.38e10, "d2h": 5.4e10},
        **{"bf16": 7.8e14, "tf32": 3.9e14, "fp32": 5.1e13},
    }
    assert as_json(compute, "compute")["devices"][0]["pattern"]["wrong"] == 0


def test_fields_that_nvidia_smi_does_not_tell_are_none() -> None:
    [device] = found(load=[{"rate": 1.0}, {**SECOND, "power": None}]).devices
    assert [second.power for second in device.load] == [None, None]


WHOLE = printed(DEVICE).out


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("", "nothing"),
        ("Killed\n", "Invalid JSON"),
        (WHOLE[:-40], "Invalid JSON"),
        ("[]", "Input should be"),
        ("{}", "missing: Field required"),
        (WHOLE.replace("3000000000000.0", "NaN"), "finite number"),
        (WHOLE.replace("3000000000000.0", '"fast"'), "valid number"),
        (WHOLE.replace('"bf16"', '"fp8"'), "'bf16', 'tf32' or 'fp32'"),
    ],
)
def test_what_is_not_its_json_is_an_error_in_words(out: str, why: str) -> None:
    with pytest.raises(LabError) as caught:
        answered(ended(out, 137, "GPU 0: copies\n"))
    error = caught.value
    assert why in error.message
    assert "exit status 137" in error.message
    assert "GPU 0: copies" in (error.hint or "")
    assert error.clause == "guest.compute-result"


@pytest.mark.parametrize("status", [126, 127])
def test_a_guest_without_python_is_none_to_be_assessed(status: int) -> None:
    compute = answered(ended("", status, 'exec: "python3": executable file not found in $PATH'))
    assert "executable file not found" in compute.missing
    assert "executable file not found" in told(suite.test_results_are_those_of_float64, compute)


# ---------------------------------------------------------------- the program


def test_without_pytorch_it_says_so() -> None:
    argv = [sys.executable, "-I", "-S", "-", "1"]  # without any package, PyTorch among them
    done = subprocess.run(
        argv, input=PROGRAM, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    compute = answered(ended(done.stdout))
    assert compute.missing == "no PyTorch: No module named 'torch'"
    assert compute.devices == ()


def test_it_is_of_the_python_that_it_names() -> None:
    ast.parse(PROGRAM, feature_version=(3, 8))


def test_a_field_of_nvidia_smi() -> None:
    assert program.value(" 0x0000000000000044") == 0x44
    assert program.value(" 698.20") == 698.2
    assert program.value(" [N/A]") is None


FAKE = """#!/bin/sh
echo "$*" >>"$0.argv"
case "$*" in *clocks_event_reasons.active*) [ "$NEW" ] || {
    echo 'Field "clocks_event_reasons.active" is not a valid field to query.'; exit 2; } ;; esac
[ -z "$BROKEN" ] || { echo "No devices were found"; exit 6; }
echo '1980, 2619, 34, 121.50, 5, 16, 0x0000000000000004'
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that answers, by the older name of the reasons alone unless NEW is set."""
    fake = tmp_path / "nvidia-smi"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return fake


@pytest.mark.parametrize(("new", "asked"), [("", 2), ("yes", 1)])
def test_reasons_are_asked_for_by_both_their_names(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch, new: str, asked: int
) -> None:
    monkeypatch.setenv("NEW", new)
    argv, says = program.query("GPU-1")
    assert says == ""
    assert len(Path(f"{nvidia_smi}.argv").read_text().splitlines()) == asked
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert program.answer(process) == {
            **{"sm": 1980, "memory": 2619, "temperature": 34, "power": 121.5},
            **{"link_gen": 5, "link_width": 16, "reasons": 4},
        }


def test_an_nvidia_smi_that_fails_or_is_not_there_is_told(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW", "yes")
    monkeypatch.setenv("BROKEN", "yes")
    assert program.query("7") == ([], "nvidia-smi ended with 6: No devices were found")
    nvidia_smi.unlink()
    argv, says = program.query("7")
    assert not argv
    assert "No such file" in says


# ---------------------------------------------------------------- the stage


class Kept:
    """A run, as far as the probe needs one: what it is told stays."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.lines: list[str] = []

    def fact(self, name: str, value: object) -> None:
        as_json(value, name)
        self.facts[name] = value

    def progress(self, text: str) -> None:
        self.lines.append(text)


def measured(command: Callable[..., Result]) -> Kept:
    kept = Kept()
    run: Run[Profile] = kept  # type: ignore[assignment]
    assert measure(run, command) == kept.facts["compute"]
    return kept


def test_it_gets_the_program_and_figures_are_reported() -> None:
    def command(*argv: str, on_line: Callable[[str], None], **options: object) -> Result:
        assert argv[:2] == ("python3", "-")
        assert options["input"] == PROGRAM
        on_line("GPU 0: copies")
        on_line("UserWarning: much to say")
        return printed(DEVICE, {**DEVICE, "index": 1})

    kept = measured(command)
    assert kept.lines[1:] == ["GPU 0: copies"]
    rows: tuple[Figure, ...] = kept.facts["figures"]
    assert {f"{id}-{index}" for id in (*LABELS, "sustained") for index in (0, 1)} <= {
        row.id for row in rows
    }
    assert len({row.label for row in rows}) == len({row.zh for row in rows}) == len(rows)


def test_a_host_without_python_is_none_to_be_assessed() -> None:
    def command(*_: str, **__: object) -> Result:
        raise ProgramMissing("Host 'a' has no 'python3'.")

    kept = measured(command)
    assert "no 'python3'" in kept.facts["compute"].missing
    assert kept.facts["figures"] == ()


# ---------------------------------------------------------------- what the suite judges

TESTS = (
    suite.test_results_are_those_of_float64,
    suite.test_rates_are_those_of_the_model,
    suite.test_memory_keeps_what_is_written_to_it,
    suite.test_load_is_sustained,
)


def told(test: Callable[[Compute], None], compute: Compute) -> str:
    """What a test says when it fails, or is not assessed."""
    with pytest.raises((AssertionError, pytest.skip.Exception)) as caught:
        test(compute)
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize("test", TESTS)
def test_a_sound_device_passes(test: Callable[[Compute], None]) -> None:
    test(found())


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    "compute", [Compute("no PyTorch: No module named 'torch'", "", ""), Compute("", "2", "13")]
)
def test_without_a_device_nothing_is_assessed(
    test: Callable[[Compute], None], compute: Compute
) -> None:
    said = told(test, compute)
    assert said.startswith("Skipped: not assessed: ")
    assert compute.missing in said


def test_a_device_that_breaks_off_fails_once_and_is_assessed_no_further() -> None:
    compute = answered(printed(BROKEN))
    failed, *others = (told(test, compute) for test in TESTS)
    assert failed.startswith("AssertionError: GPU 0 (NVIDIA H200)")
    assert "illegal memory access" in failed
    assert all(said.startswith("Skipped: not assessed: ") for said in others)


@pytest.mark.parametrize("error", [0.02, None])
def test_a_wrong_result_fails(error: float | None) -> None:
    said = told(TESTS[0], found(products=[{**PRODUCTS[0], "error": error}]))
    assert f"in bf16 (8192 rows and columns) is off by {error}" in said
    assert "expected 0.016 at most" in said


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"copy": 2.4e12}, "Copy within the GPU: 2.4e+12 B/s, which is 0.716 of 3.35e+12"),
        (
            {"products": [{**PRODUCTS[0], "rate": 4e14}]},
            "Matrix product, bf16: 4e+14 FLOP/s, which is 0.404 of 9.89e+14",
        ),
    ],
)
def test_a_slow_device_fails_with_figure_and_source(fields: dict[str, Any], says: str) -> None:
    said = told(TESTS[1], found(**fields))
    assert says in said
    assert expected().source["h100"] in said


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3e", "Tesla T4", ""])
def test_a_model_without_a_source_is_measured_and_not_judged(name: str) -> None:
    compute = found(name=name, copy=1.0)
    assert told(TESTS[1], compute).startswith("Skipped: not assessed: ")
    rows = {row.id: row for row in figures(compute.devices[0])}
    assert (rows["copy"].value, rows["copy"].ratio) == (1.0, None)


def test_what_depends_on_the_host_is_shown_beside_bare_metal_and_not_judged() -> None:
    compute = found(h2d=1e9)
    TESTS[1](compute)
    rows = {row.id: row for row in figures(compute.devices[0])}
    assert rows["h2d"].ratio is None
    assert rows["h2d-bare-metal"].ratio == round(1e9 / 53.8e9, 3)
    assert "bare metal" in rows["h2d-bare-metal"].source


def test_memory_that_changes_fails() -> None:
    said = told(TESTS[2], found(pattern={"free": 900, "bytes": 800, "wrong": 3}))
    assert "3 of 100 words" in said


@pytest.mark.parametrize("bit", TROUBLE)
def test_a_slowdown_under_load_fails_by_its_name(bit: int) -> None:
    said = told(TESTS[3], found(load=[SECOND, {**SECOND, "reasons": bit | 4}, SECOND]))
    assert f"for {TROUBLE[bit]}, expected" in said
    assert "at 61 degrees" in said


@pytest.mark.parametrize("reasons", [0, 1, 2, 4, 0x10, 0x100])
def test_other_reasons_are_none(reasons: int) -> None:
    TESTS[3](found(load=[{**SECOND, "reasons": reasons}] * 2))


def test_a_rate_that_falls_fails() -> None:
    said = told(TESTS[3], found(load=[SECOND, {**SECOND, "rate": 5e14}]))
    assert "5e+14 FLOP/s after 2 s under load, 7.3e+14 in the first" in said


def test_where_nvidia_smi_is_silent_reasons_are_not_assessed() -> None:
    said = told(TESTS[3], found(load=[{"rate": 1e14}] * 2, smi="nvidia-smi: No such file"))
    assert said.startswith("Skipped: not assessed: ")
    assert "No such file" in said


# ---------------------------------------------------------------- the table


def test_every_number_has_its_source_and_every_source_a_number() -> None:
    table = expected()
    peaks = [p for m in table.model for p in (*m.figures.values(), *m.bare_metal.values())]
    assert {peak.source for peak in peaks} == {*table.source}
    assert all(len(source) > 20 for source in table.source.values())


def test_models_are_told_apart_and_numbers_are_of_the_right_size() -> None:
    table = expected()
    names = [model.name for model in table.model]
    assert all(re.compile(name) for name in names)
    for model in table.model:
        plain = model.name.replace("(SXM4|PCIE)", "PCIE")
        assert [name for name in names if re.fullmatch(name, plain)] == [model.name]
        assert {*model.figures} == {*table.least} <= {*LABELS}
        assert {*model.bare_metal} <= {*LABELS}
        assert 5e11 < model.figures["copy"].value < 2e13
        assert model.figures["fp32"].value <= model.figures["tf32"].value < 1e15
        assert model.figures["tf32"].value < model.figures["bf16"].value < 5e15
    assert all(0 < least < 1 for least in table.least.values())
