"""One contract over every kind of host."""

from __future__ import annotations

import http.server
import os
import threading
import urllib.request
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.host.command import CAPTURE, CommandFailed, CommandTimeout, ProgramMissing
from harness.host.connection import boot_id
from harness.host.host import ANY, Host
from harness.text import CUT
from harness.wait import wait_for
from tests.unit.conftest import TIME_IS_UP, runs
from tests.unit.patience import PATIENCE

WORDS = ["a b", "", "$HOME", "`id`", "'", '"', "\\", "*", "a\nb", "机密容器", "-n", "; exit 3"]


def test_words_arrive_as_they_are(any_host: Host) -> None:
    assert any_host.run("printf", "%s|", *WORDS).out == "".join(f"{word}|" for word in WORDS)


def test_a_failure_is_a_sentence(any_host: Host) -> None:
    with pytest.raises(CommandFailed) as caught:
        any_host.sh("echo told >&2; exit 7")
    text = str(caught.value)
    assert "exit status 7" in text
    assert "told" in text
    assert f"'{any_host.name}'" in text
    assert caught.value.result is not None
    assert caught.value.result.line in text


@pytest.mark.parametrize("rc", [1, 124, 137, 255])
def test_an_exit_status_is_the_commands_own(any_host: Host, rc: int) -> None:
    assert any_host.run("sh", "-c", f"exit {rc}", ok=(rc,)).rc == rc


def test_a_death_by_signal_is_a_status(any_host: Host) -> None:
    assert any_host.sh("kill -SEGV $$", ok=ANY).rc == 139


def test_a_command_that_is_not_there(any_host: Host) -> None:
    """Whatever its caller takes for an answer; `ask` has the answer in the end."""
    name = "no-such-command-at-all"
    for argv in ((name,), ("sh", "-c", name)):
        with pytest.raises(ProgramMissing, match=f"'{name}' is missing") as caught:
            any_host.run(*argv, ok=ANY)
        assert f"which package brings '{name}' is not known" in (caught.value.hint or "")
    assert any_host.ask(name).rc == 127
    assert any_host.sh("exit 127", ok=ANY).rc == 127  # its own


@pytest.mark.case(
    "host",
    "a script without its interpreter, or without the right to be executed",
    source="coreutils 9.1, timeout",
)
def test_a_program_that_cannot_be_executed(any_host: Host, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ProgramMissing, match="may not be executed"):
        any_host.run(str(script))
    script.chmod(0o755)
    with pytest.raises(ProgramMissing, match="or the interpreter"):
        any_host.run(str(script))


@pytest.mark.case("host", "several programs that are missing", source="dash, bash")
def test_what_a_host_lacks_is_told_all_at_once(any_host: Host) -> None:
    assert any_host.lacking(["sh", "cat", "no-such", "nor-this"]) == ["no-such", "nor-this"]
    any_host.require(["sh", "cat"])
    with pytest.raises(ProgramMissing, match="lacks programs that are needed: no-such, nor-this"):
        any_host.require(["nor-this", "sh", "no-such"])


@pytest.mark.case(
    "host",
    "stat, and every other tool, in the language of the host",
    source="openclaw #106576, pmc-cloud-tools #7",
)
def test_programs_speak_english(any_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    monkeypatch.setenv("LANGUAGE", "zh")
    assert any_host.sh('echo "$LC_ALL"').out == "C\n"
    assert any_host.run("stat", "-c", "%F", "/").out == "directory\n"
    assert any_host.run("printf", "%s", "机密容器").out == "机密容器"
    assert any_host.run("printenv", "LC_ALL", env={"LC_ALL": "C.UTF-8"}).out == "C.UTF-8\n"


def test_input_env_and_cwd(any_host: Host, tmp_path: Path) -> None:
    place = tmp_path / "a place"
    place.mkdir()
    result = any_host.sh(
        'cat; printf "%s %s" "$V" "$PWD"', input="in ", env={"V": "v w"}, cwd=str(place)
    )
    assert result.out == f"in v w {place}"


def test_input_that_nobody_reads(any_host: Host) -> None:
    assert any_host.run("true", input=b"x" * (1 << 20)).rc == 0


def test_no_input_is_no_input(any_host: Host) -> None:
    assert any_host.run("cat", timeout=PATIENCE).out == ""


def test_bytes_survive(any_host: Host, tmp_path: Path) -> None:
    data = bytes(range(256))
    path = tmp_path / "all bytes"
    any_host.write(str(path), data, 0o640)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o7777 == 0o640
    assert any_host.read(str(path)).encode("utf-8", "surrogateescape") == data


def test_a_write_leaves_nothing_else_behind(any_host: Host, tmp_path: Path) -> None:
    any_host.write(str(tmp_path / "f"), "one")
    any_host.write(str(tmp_path / "f"), "two")
    assert os.listdir(tmp_path) == ["f"]
    with pytest.raises(CommandFailed):
        any_host.write(str(tmp_path / "nowhere" / "f"), "x")


def test_exists(any_host: Host, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    assert any_host.exists(str(tmp_path))
    assert any_host.exists(str(tmp_path / "dangling"))
    assert not any_host.exists(str(tmp_path / "other"))


def test_json(any_host: Host) -> None:
    assert any_host.run("echo", '{"a": [1]}').json(dict[str, list[int]]) == {"a": [1]}
    with pytest.raises(LabError, match="should have printed JSON"):
        any_host.run("echo", "{").json(dict[str, int])


ID = "12345678-1234-1234-1234-123456789abc"


@pytest.mark.case(
    "host",
    "a ~/.bashrc that prints, before or after",
    source="ansible #2268, rustup #498, mybash #122",
)
@pytest.mark.parametrize(
    "said", [f"Welcome to host\n{ID}\n", f"{ID}\nbye\n", f"\x1b[1m{ID}\n", f"a {ID}", "", "Welcome"]
)
def test_a_login_shell_that_writes_to_stdout_is_told(said: str) -> None:
    assert boot_id("lab", f"{ID}\r\n") == ID
    with pytest.raises(LabError, match="login shell of host 'lab' writes to stdout") as caught:
        boot_id("lab", said)
    assert "~/.bashrc" in (caught.value.hint or "")


@pytest.mark.usefixtures("deadline_on_call")
def test_a_hung_command_is_killed_with_its_children(any_host: Host, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = 'sleep 1000 & echo $! >>"$1"; setsid sleep 1000 & echo $! >>"$1"; echo $$ >>"$1"'
    with pytest.raises(CommandTimeout, match="still running after 1000 s") as caught:
        any_host.sh(f"{script}; {TIME_IS_UP}; wait", str(pids), timeout=1000)
    assert "timeout: sending signal" not in str(caught.value)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 3
    assert [pid for pid in started if runs(pid)] == []


@pytest.mark.usefixtures("deadline_on_call")
def test_what_ignores_TERM_is_killed_too(
    any_host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.host.command.KILL_AFTER", 0.5)
    pids = tmp_path / "pid"
    script = f'trap "" TERM; echo $$ >"$1"; {TIME_IS_UP}; while :; do sleep 1; done'
    with pytest.raises(CommandTimeout):
        any_host.sh(script, str(pids), timeout=1000)
    assert not runs(int(pids.read_text()))


def test_a_daemon_does_not_hold_the_command(any_host: Host) -> None:
    script = "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!"
    result = any_host.sh(script, timeout=PATIENCE)
    os.kill(int(result.out), 9)  # it must be there still: a daemon outlives its starter


def test_the_end_of_much_output_is_kept(any_host: Host) -> None:
    result = any_host.sh("head -c 3000000 /dev/zero | tr '\\0' x; echo end; echo err >&2")
    assert (result.out_bytes, result.err_bytes) == (3_000_004, 4)
    assert (result.out[0], len(result.out)) == (CUT, 1 + CAPTURE)
    assert result.out.endswith("xend\n")


def test_lines_come_while_the_commandruns(any_host: Host, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        if line == "one":  # the command goes on only after this line has been seen
            gate.write_text("go")

    any_host.sh(
        'echo one; cat "$1" >/dev/null; echo two; printf three',
        str(gate),
        timeout=PATIENCE,
        on_line=on_line,
    )
    assert seen == ["one", "two", "three"]


def test_an_observers_error_is_told(any_host: Host) -> None:
    def on_line(line: str) -> None:
        raise KeyError(line)

    with pytest.raises(KeyError, match="told"):
        any_host.run("echo", "told", on_line=on_line)


def test_a_file_too_big_to_read_is_an_error(any_host: Host, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (CAPTURE + 1))
    with pytest.raises(LabError, match="too many to read"):
        any_host.read(str(tmp_path / "big"))


def test_a_forward_reaches_a_server(any_host: Host, tmp_path: Path) -> None:
    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"answer")

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = http.server.HTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with any_host.forward("127.0.0.1", server.server_port) as (address, port):
        answer = urllib.request.urlopen(f"http://{address}:{port}/", timeout=PATIENCE)
        with answer:
            assert answer.read() == b"answer"
    server.shutdown()
    server.server_close()


def test_the_boot_id_is_this_machines(any_host: Host) -> None:
    assert any_host.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_an_interrupted_command_ends_on_the_host(any_host: Host, tmp_path: Path) -> None:
    """What Ctrl-C interrupts must not go on while its changes are being undone."""
    import signal

    pid_file = tmp_path / "pid"

    def interrupt(line: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        any_host.sh(
            'echo $$ >"$1"; echo started; exec sleep 1000', str(pid_file), on_line=interrupt
        )
    pid = int(pid_file.read_text())
    wait_for("the command has ended", lambda: not runs(pid), PATIENCE, 0.05)
