"""``python -m vlab``, as far as it goes without a lab."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.conftest import Sshd
from tests.unit.labs import emulated, entered
from vlab import cli, machine, preflight, probe, registry
from vlab.errors import VlabError
from vlab.image import Image
from vlab.qemu import Settings
from vlab.registry import Life

ROOT = Path(cli.__file__).parents[1]


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


def test_a_cache_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VLAB_CACHE", str(tmp_path / "file/cache"))
    for command in ("status", "down", "build"):
        assert cli.main([command]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "Not a directory" in line
        assert "VLAB_CACHE" in line


def test_a_python_without_our_packages_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "vlab", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "./bootstrap tox" in done.stderr
    assert "Traceback" not in done.stderr


# 'build', with a process that sleeps in the place of the recipe's.
BUILD = """
import sys
from vlab import cli, image, namespace
image.NEEDED_BYTES = 1
recipe = "import time; print('at work', flush=True); time.sleep(600)"
namespace.entered = lambda *words: [sys.executable, "-c", recipe]
cli.end_on_signals()
sys.exit(cli.main(["build"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_that_is_told_to_end_cleans_up(cache: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUILD], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "at work" not in process.stderr.readline():
            pass
        process.send_signal(number)
        assert process.wait(30) == 130
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_signal_that_is_ignored_stays_so() -> None:
    look = "import signal; from vlab import cli; cli.end_on_signals(); "
    look += "print(signal.getsignal(signal.SIGHUP).name)"
    program = ["sh", "-c", 'trap \'\' HUP; exec "$0" -c "$1"', sys.executable, look]
    assert subprocess.run(program, cwd=ROOT, capture_output=True, text=True).stdout == "SIG_IGN\n"


def test_ssh_runs_the_words_in_the_lab(
    sshd: Sshd, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.Machine, "user", getpass.getuser())
    with emulated(entered(owner=None, port=sshd.endpoint.port)) as lab:
        shutil.copy(sshd.directory / "key", lab.key)
        shutil.copy(sshd.directory / "known_hosts", lab.known_hosts)
        assert cli.main(["ssh", "--", "printf", "%s|", "a b", "$c"]) == 0
        assert cli.main(["ssh", lab.name, "--", "echo $((2 + 3)); exit 7"]) == 7
    assert capfd.readouterr().out == "a b|$c|5\n"


def test_console_shows_what_was_said(capfd: pytest.CaptureFixture[str]) -> None:
    with emulated(entered(owner=None)) as lab:
        lab.console.write_text("Debian\nlogin:\n")
        assert cli.main(["console"]) == 0
    assert capfd.readouterr().out == "Debian\nlogin:\n"


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


def test_a_step_by_hand_in_which_the_lab_ends_says_of_what(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with emulated(entered()) as lab:
        monkeypatch.setattr(registry.Machine, "ssh", ["sh", "-c", f"kill -9 {lab.pid}; exit 255"])
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
