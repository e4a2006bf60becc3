"""When the suite soak is part of a run: by --cycles, or by the profile's soak.cycles."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from tests.unit.mini import ROOT, pytest_in


def collected(
    *words: str, status: int = 0, environ: Mapping[str, str] = MappingProxyType({})
) -> str:
    """What pytest says of the tests that it would run."""
    found, said = pytest_in(ROOT, "--collect-only", "-q", *words, environ=environ)
    assert found == status, said
    return said


def test_without_cycles_it_is_no_part_of_a_run() -> None:
    assert "test_soak" not in collected("-m", "acceptance and not soak")


@pytest.mark.parametrize(
    ("words", "environ"), [(["--cycles", "2"], {}), ([], {"ACCEPT_SOAK__CYCLES": "2"})]
)
def test_each_cycle_is_a_test(words: list[str], environ: dict[str, str]) -> None:
    said = collected("-m", "acceptance and soak", *words, environ=environ)
    assert "test_container_comes_up_with_its_gpus[2]" in said
    assert "test_container_comes_up_with_its_gpus[3]" not in said


@pytest.mark.parametrize("words", [["-m", "acceptance and soak"], ["suites/test_soak.py"]])
def test_one_that_is_asked_for_by_its_name_alone_wants_a_number(words: list[str]) -> None:
    said = collected(*words, status=pytest.ExitCode.USAGE_ERROR)
    assert "no cycles: say how many, as --cycles 20" in said
    assert "Traceback" not in said


def test_a_number_of_cycles_is_one() -> None:
    for wrong in ("0", "-1", "many"):
        said = collected("--cycles", wrong, status=pytest.ExitCode.USAGE_ERROR)
        assert "a number of starts is expected, as --cycles 20" in said
