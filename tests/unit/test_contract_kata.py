"""kata's stand-in, held field by field against what CC-0.8.0 and 3.15.0 really said and did.

Compared is what a run reads, by the functions that read it. kata-runtime itself takes the same
tests where a real one is here (KATA_RUNTIME=its path). The rest of kata acts only with containerd,
as root: there the suites kata and container are this test.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.container.qemu import QemuProcess
from fixtures.container.sandbox_log import GUEST, QEMU, message
from tests.unit.contract import real
from tests.unit.patience import PATIENCE
from tests.unit.test_kata_recorded import DATA, VERSIONS, shown, with_programs
from tests.unit.test_standin_kata import failure, function, machine, spec_with
from vlab.standins.kata.agent import hooks
from vlab.standins.kata.runtime import config, kata_runtime, log, qemu, release, vfio
from vlab.standins.kata.runtime.config import ConfigError
from vlab.standins.kata.runtime.log import Log

Told = tuple[int, str, str]  # exit status, standard output and error
Program = Callable[..., Told]

# What a run reads of 'kata-runtime env --json' (fixtures/kata/stage.py, suites/test_kata.py), and
# whether its value follows from the configuration alone.
FIELDS = {
    "Runtime.Config.Path": False,
    "Kernel.Path": False,
    "Image.Path": False,
    "Initrd.Path": True,
    "Hypervisor.Version": False,
    "Hypervisor.ColdPlugVFIO": True,
    "Hypervisor.HotPlugVFIO": True,
    "Hypervisor.Debug": True,
    "Hypervisor.SecurityInfo.GuestHookPath": True,
    "Agent.Debug": True,
    "Runtime.Debug": True,
    "Runtime.Version.Version.Semver": True,
}


def at(tree: Any, field: str) -> Any:
    for name in field.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A configuration that the stage has edited, as the recorded one."""
    lines = ["[hypervisor.qemu]"]
    for key in ("path", "kernel", "image", "virtio_fs_daemon"):
        (tmp_path / key).write_text("#!/bin/sh\necho QEMU emulator version 7.2.0\n", "ascii")
        (tmp_path / key).chmod(0o755)
        lines.append(f'{key} = "{tmp_path / key}"')
    lines += ['guest_hook_path = "/usr/share/oci/hooks"', 'cold_plug_vfio = "root-port"']
    lines += ["enable_debug = true", "[agent.kata]", "enable_debug = true"]
    lines += ["[runtime]", "enable_debug = true"]
    path = tmp_path / "configuration.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def changed(settings: Path, *lines: str) -> Path:
    """The same with lines in [hypervisor.qemu], each in the place of the one of its key."""
    keys = [line.partition(" = ")[0] for line in lines]
    head, *rest = settings.read_text("utf-8").partition("[agent.kata]")
    kept = [line for line in head.splitlines() if line.partition(" = ")[0] not in keys]
    settings.write_text("\n".join([*kept, *lines]) + "\n" + "".join(rest), encoding="utf-8")
    return settings


@pytest.fixture(params=[*VERSIONS, "real"])
def kata(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: Path,
) -> Program:
    """kata-runtime: the stand-in as each release, and the real one."""
    if request.param != "real":
        monkeypatch.setattr(release, "of_host", lambda: release.RELEASES[request.param])

        def standin(*words: str) -> Told:
            monkeypatch.setattr("sys.argv", ["kata-runtime", *words])
            status = kata_runtime.main()
            return (status, *capsys.readouterr())

        return standin
    path = real("kata-runtime", "KATA_RUNTIME")

    def program(*words: str) -> Told:
        done = subprocess.run([path, *words], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    status, _, said = program("--config", str(settings), "env", "--json")
    if status:  # it wants /dev/vhost-vsock and /dev/log
        pytest.skip(f"skipped: {path} does not run here: {said.strip()}")
    return program


def recorded(tree: Any) -> dict[str, Any]:
    """What was recorded of the release that this one is of."""
    version = str(at(tree, "Runtime.Version.Version.Semver"))
    known = {
        at(one, "Runtime.Version.Version.Semver"): one
        for one in (json.loads((DATA / f"{name}/env.json").read_text()) for name in VERSIONS)
    }
    if version not in known:
        pytest.skip(f"skipped: nothing was recorded of kata {version}")
    return dict(known[version])


def test_env_tells_what_the_real_one_tells(kata: Program, settings: Path) -> None:
    status, out, _ = kata("--config", str(settings), "env", "--json")
    assert status == 0
    ours = json.loads(out)
    theirs = recorded(ours)
    for field, determined in FIELDS.items():
        assert type(at(ours, field)) is type(at(theirs, field)), field
        if determined:
            assert at(ours, field) == at(theirs, field), field


def test_env_resolves_links(kata: Program, settings: Path, tmp_path: Path) -> None:
    for name in ("image", "kernel"):
        (tmp_path / f"{name}.link").symlink_to(tmp_path / name)
        changed(settings, f'{name} = "{tmp_path / name}.link"')
    link = tmp_path / "link.toml"
    link.symlink_to(settings)
    _, out, _ = kata("--config", str(link), "env", "--json")
    paths = [at(json.loads(out), f) for f in ("Runtime.Config.Path", "Image.Path", "Kernel.Path")]
    assert paths == [str(settings), str(tmp_path / "image"), str(tmp_path / "kernel")]


CASES = [line.split("\t") for line in (DATA / "runtime.txt").read_text().splitlines()]


@pytest.mark.parametrize(("place", "line", "status", "said"), CASES, ids=[c[1] for c in CASES])
def test_env_takes_and_refuses_what_the_real_one_does(
    kata: Program, settings: Path, place: str, line: str, status: str, said: str
) -> None:
    lines = line.replace("KERNEL", str(settings.parent / "kernel")).split("; ")
    if place == "drop-in":
        (settings.parent / "config.d").mkdir()
        drop_in = settings.parent / "config.d/50-site.toml"
        drop_in.write_text("\n".join(["[hypervisor.qemu]", *lines]) + "\n", encoding="utf-8")
    else:
        changed(settings, *lines)
    got, out, err = kata("--config", str(settings), "env", "--json")
    assert got == int(status), err
    if got:
        assert err.splitlines() == [said.replace("CONFIGURATION", str(settings))]
        return
    for field, value in (word.split("=") for word in said.split()):
        assert str(at(json.loads(out), field)) == value, field


def logged(line: str) -> dict[str, str]:
    """The fields of a line in logrus's text form."""
    found = re.findall(r'([\w-]+)=("(?:[^"\\]|\\.)*"|\S*)', line)
    return {name: json.loads(value) if value[:1] == '"' else value for name, value in found}


def test_check_says_what_is_missing_as_the_real_one(tmp_path: Path) -> None:
    said = {line["msg"]: line for line in map(logged, kata_runtime.problems(str(tmp_path), False))}
    for line in (DATA / "3.15.0/check-no-modules.err").read_text().splitlines():
        theirs = logged(line)
        if theirs["name"] in kata_runtime.MODULES:
            ours = said[theirs["msg"]]
            assert all(ours[k] == theirs[k] for k in ("level", "description", "arch")), ours


def test_check_of_a_sound_host_says_what_the_real_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Path
) -> None:
    monkeypatch.setattr(kata_runtime, "problems", list)
    monkeypatch.setattr(release, "of_host", lambda: release.RELEASES["CC-0.8.0"])
    words = ["kata-runtime", "--config", str(settings), "check", "--no-network-checks"]
    monkeypatch.setattr("sys.argv", words)
    assert kata_runtime.main() == 0
    assert capsys.readouterr().out == (DATA / "check.out").read_text()


# ---------------------------------------------------------------- QEMU's command line


def process(argv: list[str]) -> QemuProcess:
    return QemuProcess(1, tuple(argv), ())


@pytest.mark.parametrize("version", VERSIONS)
def test_qemu_gets_what_the_real_shim_gives_it(settings: Path, version: str) -> None:
    theirs = process((DATA / f"{version}/qemu.argv").read_text().splitlines())
    groups = settings.parent / "groups"
    function(groups / "4/devices/0000:01:00.0", "0x030200")
    function(groups / "4/devices/0000:01:00.1", "0x040300")
    devices = vfio.plan(spec_with("/dev/vfio/4"), "root-port", str(groups))
    which = release.RELEASES[version]
    loaded, plan = machine(settings, name="gpu", devices=devices, release=which)
    ours = process(qemu.command(loaded, plan))
    assert ours.option("-name") == theirs.option("-name")
    assert ours.memory == theirs.memory
    form = re.compile(r"\d+")
    assert [form.sub("N", m) for m in ours.option("-m")] == [
        form.sub("N", m) for m in theirs.option("-m")
    ]
    assert ours.ports == theirs.ports
    assert ours.devices("vfio-pci") == theirs.devices("vfio-pci")
    assert any(loaded.image in word for word in ours.argv)


# ---------------------------------------------------------------- the shim's log


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """A system log, and what has come to it, with its priority in front."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(str(tmp_path / "log"))
        system.setblocking(False)
        monkeypatch.setattr(log, "_SYSLOG", str(tmp_path / "log"))

        def lines() -> list[str]:
            found = []
            while True:
                try:
                    found.append(system.recv(1 << 16).decode())
                except BlockingIOError:
                    return found

        yield lines


def of(sandbox: str) -> Log:
    return Log(sandbox, log._SYSLOG)


def read(folder: Path, script: str, sandbox: str, journal: str) -> str:
    words = ["-euc", script, "sh", sandbox]
    return with_programs(folder, words, journalctl=journal).stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_qemus_reason_is_in_the_journal_alone_and_is_read_there(
    settings: Path, tmp_path: Path, journal: Callable[[], list[str]], version: str
) -> None:
    recording = f"{version}/qemu-not-viable.log"
    theirs = logged((DATA / recording).read_text())
    said = theirs["msg"]
    error = failure(settings, tmp_path, f'echo "{said}" >&2', of("notviable"), version)
    (line,) = journal()
    assert line.startswith("<11>kata["), "an error, of a user's program"
    ours = logged(line)
    for name in ("level", "msg", "name", "sandbox"):
        assert ours[name] == theirs[name]
    assert ours["qemuPid"].isdigit() == theirs["qemuPid"].isdigit() is True
    (tmp_path / "journal").write_text(line + "\n")
    here = read(tmp_path, QEMU, "notviable", f"cat '{tmp_path}/journal'")
    assert here == read(tmp_path, QEMU, "notviable", shown(recording)) == f"{said}\n"
    assert str(error) in answers(version)


def test_the_guests_lines_come_where_containerd_is_at_debug_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Callable[[], list[str]]
) -> None:
    lines = (DATA / "3.15.0/hook-nvidia.log").read_text().splitlines()
    theirs = [line for line in lines if not line.endswith('\\"')]  # whole as recorded
    sandbox = logged(theirs[0])["sandbox"]
    monkeypatch.delenv(log.DEBUG, raising=False)
    quiet = of(sandbox)
    quiet.console("x")
    quiet.info("x")
    assert journal() == []
    monkeypatch.setenv(log.DEBUG, "1")
    loud = of(sandbox)
    ours = []
    for line in theirs:
        loud.console(logged(line)["vmconsole"])
        ours += journal()
    for mine, line in zip(ours, theirs, strict=True):
        assert mine.startswith("<15>kata["), "debug, of a user's program"
        for name in ("level", "msg", "name", "sandbox", "vmconsole"):
            assert logged(mine)[name] == logged(line)[name]
        assert message(mine) == message(line)
    (tmp_path / "journal").write_text("\n".join(ours) + "\n")
    here = read(tmp_path, GUEST, sandbox, f"cat '{tmp_path}/journal'")
    assert len(here.splitlines()) == len(theirs)


# ---------------------------------------------------------------- guest hooks

HOOKS = "/usr/share/oci/hooks"
SCRIPTS = {
    "10-ok.sh": "cat; echo err >&2",
    "20-fail.sh": "exit 3",
    "30-slow.sh": "read -r line < {fifo}",
    "35-quiet.sh": ":",
}


def of_hook(said: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    """Levels and messages about one hook, without its own words."""
    words = re.compile(r"(exec (?:failed|stdout): ).*", re.DOTALL)
    return [(level, words.sub(r"\1", text)) for level, text in said if f"/{name}" in text]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_hook_is_told_of_as_by_the_real_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lines = (logged(line) for line in (DATA / "3.15.0/hooks.log").read_text().splitlines())
    theirs = [json.loads(line["vmconsole"]) for line in lines]
    ours: list[tuple[str, str]] = []
    monkeypatch.setattr(hooks, "log", lambda level, text, _: ours.append((level, text)))
    folder = tmp_path / "prestart"
    folder.mkdir()
    fifo = tmp_path / "fifo"
    subprocess.run(["mkfifo", fifo], check=True)
    (folder / name).write_text(f"#!/bin/sh\n{SCRIPTS[name].format(fifo=fifo)}\n", "ascii")
    (folder / name).chmod(0o755)
    # The slow one waits for a line as long as the fifo is open, which is until it was given up.
    with fifo.open("r+b", buffering=0):
        patience = 0.1 if name == "30-slow.sh" else PATIENCE
        settings = hooks.Settings(str(tmp_path), patience, newer=True)
        hooks.run_all(settings, "prestart", {"bundle": "/"})
    told = [(level, text.replace(str(tmp_path), HOOKS)) for level, text in ours]
    assert of_hook(told, name) == of_hook([(one["level"], one["msg"]) for one in theirs], name)


def test_a_hook_of_the_older_agent_has_its_older_form() -> None:
    """Not recorded: the fields of its structure, in CC-0.8.0's libs/oci (lib.rs)."""
    older = hooks.Settings(HOOKS, 10, newer=False)
    assert hooks.described(f"{HOOKS}/prestart/a", "prestart", older) == (
        f'Hook {{ path: "{HOOKS}/prestart/a", args: ["a", "prestart"], env: [], timeout: None }}'
    )


# ---------------------------------------------------------------- why one does not start


def answers(version: str) -> set[str]:
    """What ctr was told, without ctr's words around it."""
    said = (DATA / f"{version}/ctr-errors.txt").read_text()
    told = re.findall(r"failed to create shim task: (.*): (?:unknown|not found)", said)
    return {re.sub(r"vsock \d+", "vsock N", one) for one in told}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_start_is_refused_in_the_real_words(settings: Path, tmp_path: Path, version: str) -> None:
    told = answers(version)
    good = settings.read_text("utf-8")
    for line in ('cold_plug_vfio = "rootport"', 'image = "/nowhere.img"'):
        with pytest.raises(ConfigError) as refused:
            config.load(str(changed(settings, line)))
        etc = str(refused.value).replace(str(settings), "/etc/kata-containers/configuration.toml")
        assert etc in told
        settings.write_text(good, "utf-8")
    function(tmp_path / "4/devices/0000:01:00.0", "0x030200")
    with pytest.raises(vfio.VfioError) as without:
        vfio.plan(spec_with("/dev/vfio/4"), "", str(tmp_path))
    assert str(without.value) in told
    with pytest.raises(ConfigError) as both:
        qemu.command(*machine(changed(settings, f'initrd = "{tmp_path / "kernel"}"')))
    assert str(both.value) in told
    settings.write_text(good, "utf-8")
    died = failure(settings, tmp_path, "echo booting", of("t0"), version)
    assert re.sub(r"vsock \d+", "vsock N", str(died)) in told
