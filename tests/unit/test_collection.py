"""What is wrong with fixtures and suites is told at collection, and nothing is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.mini import Mini

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from harness.plugin import collection

def pytest_collection_finish(session):
    collection.check(session.items)

@pytest.fixture(scope="session")
def run(): ...

@pytest.fixture(scope="session")
def box(run): ...
"""

FAULTS = {
    # A fixture that is not there.
    "def test_a(run, wxyz): ...": (
        "ERROR: test_0.py::test_a needs fixture 'wxyz', and there is none by that name."
    ),
    # One that another needs, and a slip of the pen; told once for two tests.
    '@pytest.fixture(scope="session")\ndef lid(run, bxo): ...\n'
    "def test_a(lid): ...\ndef test_b(lid, box): ...": (
        "ERROR: Fixture 'lid' needs fixture 'bxo', and there is none by that name; is 'box' meant?"
    ),
    # A cycle, into which two tests come at two places.
    "@pytest.fixture\ndef tail(head): ...\n@pytest.fixture\ndef head(body): ...\n"
    "@pytest.fixture\ndef body(tail): ...\ndef test_a(head): ...\ndef test_b(tail): ...": (
        "ERROR: Fixtures need each other: body -> tail -> head -> body."
    ),
    # A stage that would be made for every test.
    "@pytest.fixture\ndef often(run): ...\ndef test_a(often): ...": (
        "ERROR: Fixture 'often' takes 'run', as a stage does, and has scope 'function'; a stage"
        ' happens once a run: @pytest.fixture(scope="session").'
    ),
    # A stage on ground that goes before it.
    '@pytest.fixture\ndef sand(): ...\n@pytest.fixture(scope="session")\n'
    "def house(run, sand): ...\ndef test_a(house): ...": (
        "ERROR: Fixture 'house' has scope 'session' and needs 'sand', which has scope 'function'"
        " and ends before it."
    ),
    # A fixture that takes one of its own name, parameters, a test that takes `run` itself.
    '@pytest.fixture(scope="session")\ndef box(box): ...\n@pytest.fixture\n'
    "def plain(request, box): ...\n"
    '@pytest.mark.parametrize("number", [1, 2])\ndef test_a(number, plain, run): ...': None,
}

# A stage, what builds on it: the order of either's suite, and what the message says of them.
ORDERS = {
    (10, 20): None,
    (10, 10): None,
    (10, None): None,
    (None, None): None,
    (20, 10): ("order 10", "order 20"),
    (None, 10): ("order 10", "no order"),
}


@pytest.fixture
def told(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A place for suites that are checked as they are collected."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def collect(
    told: pytest.Pytester, suites: dict[str, str], conftest: str = CONFTEST
) -> tuple[int, list[str]]:
    told.makeconftest(conftest)
    told.makepyfile(**{name: f"import pytest\n{text}" for name, text in suites.items()})
    result = told.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    return int(result.ret), [line for line in result.errlines if line]


def test_a_fault_is_one_line(told: pytest.Pytester) -> None:
    status, lines = collect(told, {f"test_{n}": suite for n, suite in enumerate(FAULTS)})
    assert lines == [line for line in FAULTS.values() if line]
    assert status == pytest.ExitCode.USAGE_ERROR


def test_what_is_well_is_left_alone(told: pytest.Pytester) -> None:
    status, lines = collect(told, {"test_good": next(s for s in FAULTS if FAULTS[s] is None)})
    assert (status, lines) == (pytest.ExitCode.OK, [])


def test_a_suite_comes_before_what_builds_on_its_stage(told: pytest.Pytester) -> None:
    conftest, expected = CONFTEST, []
    suites: dict[str, str] = {}
    for n, ((first, second), said) in enumerate(ORDERS.items()):
        conftest += f"""
@pytest.fixture(scope="session")
def base{n}(run): ...
@pytest.fixture(scope="session")
def top{n}(base{n}): ...
"""
        suites |= {f"test_base{n}": own(f"base{n}", first), f"test_top{n}": own(f"top{n}", second)}
        if said is not None:
            expected.append(
                f"ERROR: test_top{n}.py::test_it ({said[0]}) builds on stage 'base{n}', whose own"
                f" suite would run after it: test_base{n}.py::test_it ({said[1]})."
            )
    assert collect(told, suites, conftest) == (pytest.ExitCode.USAGE_ERROR, expected)


def own(stage: str, order: int | None) -> str:
    """A stage's own suite."""
    number = "" if order is None else f", pytest.mark.order({order})"
    return f"pytestmark = [pytest.mark.{stage}{number}]\ndef test_it({stage}): ...\n"


def test_every_fault_is_told_and_nothing_is_touched(tmp_path: Path) -> None:
    suite = (
        "import pytest\npytestmark = pytest.mark.acceptance\n"
        "@pytest.fixture\ndef hen(egg): ...\n@pytest.fixture\ndef egg(hen): ...\n"
        "def test_a(one, tow): ...\ndef test_b(hen): ...\n"
    )
    mini = Mini(tmp_path / "m", suite=suite)
    status, out = mini.pytest("-m", "acceptance")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: test_mini.py::test_a needs fixture 'tow'" in out
    assert "ERROR: Fixtures need each other: egg -> hen -> egg." in out
    assert "Traceback" not in out
    assert not mini.state.exists()
    assert not (mini.folder / "reports").exists()
