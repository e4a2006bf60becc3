"""``python -m vlab``, as far as it goes without a lab."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.labs import emulated, entered
from vlab import cli, machine, preflight, probe, registry
from vlab.errors import VlabError
from vlab.image import Image
from vlab.qemu import Settings
from vlab.registry import Life


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_help_names_every_command_and_where_things_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for command in ("build", "up", "ssh", "down", "status", "console", "probe", "/srv/lab"):
        assert command in text


@pytest.mark.parametrize("command", ["up", "ssh", "down", "status", "console", "probe", "build"])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"python -m vlab {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["ssh", "console"])
def test_without_a_lab_the_way_to_one_is_said(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command]) == 1
    assert "'python -m vlab up' starts one" in capsys.readouterr().err


def test_a_wrong_number_of_gpus_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--gpus", "9"]) == 1
    assert capsys.readouterr().err == "vlab: a lab has 0 to 4 GPUs, not 9\n"


def test_status_and_down_know_who_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    with emulated(entered(Life.FREE, "mine", settings=Settings(gpus=2), owner=None)) as lab:
        with registry.used(lab, "a neighbour"):
            assert cli.main(["status"]) == 0
            assert re.search(
                r"^mine +0 min +tcg +5120 MiB +2  a neighbour$",
                capsys.readouterr().out,
                re.MULTILINE,
            )
            assert cli.main(["down"]) == 0
            assert "'mine' is in use by a neighbour" in capsys.readouterr().err
            assert lab.alive()
        assert cli.main(["down"]) == 0
        assert "'mine' is down" in capsys.readouterr().err
        assert not lab.alive()
        assert machine.find() == []


def test_probe_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "missing_tools", lambda: {"ssh": "openssh-client"})
    assert cli.main(["probe"]) == 1
    out = capsys.readouterr().out
    assert "'ssh' is not installed: apt-get install openssh-client" in out
    assert "python -m vlab build" in out


def test_figures_are_a_table_with_the_goals() -> None:
    text = probe.table([probe.Figure("boot", 21.34, 45), probe.Figure("image build", None, 180)])
    assert "| boot | 45 s | 21.3 s |" in text
    assert "| image build | 180 s | not measured |" in text


def test_the_steps_by_hand_are_a_shell_script_that_knows_its_steps() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", *words], capture_output=True, text=True)

    assert run("-n", str(probe.BY_HAND)).returncode == 0
    wrong = run(str(probe.BY_HAND), "no-such-step")
    assert (wrong.returncode, "no step 'no-such-step'" in wrong.stderr) == (2, True)


def test_a_step_by_hand_that_fails_is_an_error_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = registry.enter("mine", Image(Path("x")), Settings(), "tcg", Life.OWNED)
    monkeypatch.setattr(registry.Machine, "ssh", ["env"])  # this shell stands in for the lab's
    with pytest.raises(VlabError, match=r"exited 2 in the lab:\n.*no step 'no-such-step'"):
        probe.by_hand(lab, ["no-such-step"])


def test_the_answer_is_read_from_what_the_step_prints() -> None:
    choice = {"message": {"role": "assistant", "content": "机密容器是"}}
    reply = json.dumps({"choices": [choice], "usage": {"completion_tokens": 16}})
    assert probe._content(f"== ask\n{reply}\n") == "机密容器是 (16 tokens)"
