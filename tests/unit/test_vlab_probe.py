"""'python -m vlab probe': what it says and measures, as far as it goes without a lab."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.unit.labs import emulated, entered
from vlab import cli, hold, image, preflight, probe, registry
from vlab.errors import VlabError
from vlab.image import Image
from vlab.qemu import Settings


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_timed_build_is_in_a_cache_of_its_own_that_goes_with_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Path] = []

    def build(say: object) -> None:
        used.append(image.cache_root())
        assert list(used[-1].iterdir()) == [used[-1] / hold.OWNER]

    monkeypatch.setattr(image, "ensure", build)
    for _ in range(2):
        probe._time_build(print)
    assert used[0] != used[1]
    assert {path.parent for path in used} == {cache}
    assert list(cache.iterdir()) == []


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


@pytest.mark.parametrize(("seconds", "status", "mark"), [(45.0, 0, ""), (45.1, 1, " **over**")])
def test_a_figure_that_is_over_is_marked_and_changes_the_status(
    seconds: float,
    status: int,
    mark: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = [probe.Figure("boot", seconds, 45), probe.Figure("image build", None, 180)]
    monkeypatch.setattr(probe, "report", lambda say: True)
    monkeypatch.setattr(probe, "measure", lambda say, *, anew: figures)
    assert cli.main(["probe", "--time"]) == status
    assert f"| boot | 45 s | {seconds:.3g} s{mark} |" in capsys.readouterr().out


def test_nothing_is_measured_where_no_lab_can_be_started(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "missing_tools", lambda: {"ssh": "openssh-client"})
    assert cli.main(["probe", "--time"]) == 1
    assert "nothing is measured" in capsys.readouterr().err


def test_the_steps_by_hand_are_a_shell_script_that_knows_its_steps() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", *words], capture_output=True, text=True)

    assert run("-n", str(probe.BY_HAND)).returncode == 0
    wrong = run(str(probe.BY_HAND), "no-such-step")
    assert (wrong.returncode, "no step 'no-such-step'" in wrong.stderr) == (2, True)


def test_a_step_by_hand_that_fails_is_an_error_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = registry.enter("mine", Image(Path("x")), Settings(), "tcg")
    monkeypatch.setattr(registry.Machine, "ssh", ["env"])  # this shell stands in for the lab's
    with pytest.raises(VlabError, match=r"exited 2 in the lab:\n.*no step 'no-such-step'"):
        probe.by_hand(lab, ["no-such-step"])


def test_a_step_by_hand_in_which_the_lab_ends_says_of_what(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with emulated(entered()) as lab:
        assert lab.process is not None
        ends = f"kill -9 {lab.process.pid}; exit 255"
        monkeypatch.setattr(registry.Machine, "ssh", ["sh", "-c", ends])
        lab.console.write_text("Kernel panic - not syncing: Oops\n")
        with pytest.raises(VlabError, match=r"^in step ask the lab's machine ended: .*Oops$"):
            probe.by_hand(lab, ["ask"])


def test_a_step_by_hand_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STEP_DEADLINE", 0.2)
    monkeypatch.setattr(registry.Machine, "ssh", ["sh", "-c", "exec sleep 600"])
    with (
        emulated(entered()) as lab,
        pytest.raises(VlabError, match=r"did not end within 0\.2 s: .* still runs"),
    ):
        probe.by_hand(lab, ["model"])


def test_the_answer_is_read_from_what_the_step_prints() -> None:
    choice = {"message": {"role": "assistant", "content": "机密容器是"}}
    reply = json.dumps({"choices": [choice], "usage": {"completion_tokens": 16}})
    assert probe._content(f"== ask\n{reply}\n") == "机密容器是 (16 tokens)"
