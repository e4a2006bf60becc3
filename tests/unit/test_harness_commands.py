"""`python -m harness`: what is no test, with the profiles and the exit statuses of a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import exits
from tests.sample import during
from tests.unit.mini import HOST_PLUGIN, PLUGINS, PROFILE, SCHEMA_PLUGIN, Mini
from tests.unit.test_exits import NOWHERE

CONSENT = "--allow-local"


def test_recover_does_what_the_option_does(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    assert mini.pytest("-m", "acceptance", "--keep", "always")[0] == exits.PASSED
    assert len(mini.made()) == 3
    status, out = mini.harness("recover", CONSENT)
    assert (status, mini.made()) == (exits.PASSED, [])
    assert "3 changes taken back, 0 could not be." in out
    first, *_, last = mini.record()
    assert first["command"] == "python -m harness recover --allow-local"
    assert (last["state"], last["exit_status"], last["undone"]) == ("ended", exits.PASSED, 3)


def test_recover_takes_back_what_is_kept_when_it_is_told_to(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m", during.keep_for_later_runs)
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.PASSED
    kept = "1 kept for later runs, --restore removes them"
    assert f"host: put back (3 changes undone); {kept}" in out
    for words, says in (([], "0 changes taken back"), (["--restore"], "1 changes taken back")):
        status, out = mini.harness("recover", CONSENT, *words)
        assert status == exits.PASSED
        assert says in out


def test_a_host_that_cannot_be_reached(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.harness("recover", environ=NOWHERE)
    assert status == exits.UNREACHABLE
    assert "cannot be reached" in out
    assert "taken back" not in out, "nothing was looked at"


@pytest.mark.parametrize("command", ["recover", "profile", "plan"])
def test_a_bad_profile_is_one_line_and_touches_nothing(tmp_path: Path, command: str) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.harness(command, "--profile", "nowhere")
    assert status == exits.USAGE
    assert out.strip().startswith("ERROR: ")
    assert "profiles here: vlab" in out
    assert "Traceback" not in out
    assert not (mini.folder / "reports").exists()


def test_the_own_machine_needs_consent(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.harness("recover")
    assert status == exits.USAGE
    assert "say --allow-local if that is meant" in out
    assert not mini.state.exists()


def test_profile_prints_what_holds_without_secrets(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.harness("profile", environ={"ACCEPT_POLICY__KEEP": "always"})
    assert status == exits.PASSED
    assert 'keep = "always"' in out
    assert "hush" not in out


def test_a_profile_may_be_anywhere_and_its_path_have_blanks(tmp_path: Path) -> None:
    # pytest takes what stands behind a blank for a path of tests, before any plugin of ours is
    # loaded: outside of the project it is told with the equals sign.
    mini = Mini(tmp_path / "m")
    path = tmp_path / "my labs" / "my lab.toml"
    path.parent.mkdir()
    path.write_text(PROFILE.replace('"mini"', '"another"'))
    assert 'name = "another"' in mini.harness("profile", "--profile", str(path))[1]
    assert 'name = "another"' in mini.harness("profile", f"--profile={path}")[1]
    assert "profile 'another'" in mini.harness("plan", "--profile", str(path))[1]
    assert 'name = "another"' in mini.pytest("--show-profile", f"--profile={path}")[1]


def test_version_is_that_of_the_project(tmp_path: Path) -> None:
    status, out = Mini(tmp_path / "m").harness("--version")
    assert status == exits.PASSED
    assert re.fullmatch(r"passthrough-acceptance [\d.]+, commit ([0-9a-f]{40}.*|not known)\n", out)


def test_plan_is_the_plan_alone(tmp_path: Path) -> None:
    mini = Mini(tmp_path / "m")
    status, out = mini.harness("plan", "test_mini.py::test_one")
    assert status == exits.PASSED
    assert out.strip() == (
        "Plan for profile 'mini' (target 'local'): 1 tests, 0 stages."
        " Nothing is connected to, nothing is changed."
    )
    status, _ = mini.harness("plan", "-m", "clause and not acceptance")
    assert status == exits.NO_TESTS


@pytest.mark.parametrize("words", [["no-such-command"], [], ["profile", "--no-such-option"]])
def test_a_wrong_command_line_says_how_it_goes(tmp_path: Path, words: list[str]) -> None:
    status, out = Mini(tmp_path / "m").harness(*words)
    assert status == exits.USAGE
    assert out.startswith("usage: python -m harness")


def without(folder: Path, plugin: str) -> Mini:
    """A project that has forgotten to answer to a hook."""
    return Mini(folder, plugins=[name for name in PLUGINS if name != plugin])


def test_without_a_schema_there_is_no_profile(tmp_path: Path) -> None:
    mini = without(tmp_path / "m", SCHEMA_PLUGIN)
    for status, out in (mini.harness("profile"), mini.pytest("-m", "acceptance")):
        assert status == exits.USAGE
        assert "ERROR: No plugin answers to 'pytest_acceptance_schema'" in out
        assert "Traceback" not in out


def test_a_way_to_the_host_is_needed_only_to_go_there(tmp_path: Path) -> None:
    mini = without(tmp_path / "m", HOST_PLUGIN)
    for command in ("profile", "plan"):
        assert mini.harness(command)[0] == exits.PASSED
    status, out = mini.harness("recover", CONSENT)
    assert status == exits.USAGE
    assert "ERROR: No plugin answers to 'pytest_acceptance_connect'" in out
    status, out = mini.pytest("-m", "acceptance")
    assert status == exits.HARNESS_ERROR
    assert "\nNo plugin answers to 'pytest_acceptance_connect'" in out


def test_a_conftest_that_is_broken_is_an_error_of_the_harness(tmp_path: Path) -> None:
    status, out = Mini(tmp_path / "m", conftest="1 / 0").harness("profile")
    assert status == exits.HARNESS_ERROR
    assert "ZeroDivisionError" in out
