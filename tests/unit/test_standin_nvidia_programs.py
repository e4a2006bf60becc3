"""nvidia-smi and nvidia-container-cli where there is neither driver nor device.

Both are held against recordings of the real ones, which take the same tests where they are here
(NVIDIA_SMI, NVIDIA_CONTAINER_CLI=their paths).
"""

import ctypes.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.common import parts
from fixtures.container import nvidia_smi
from fixtures.rootfs import contents
from tests.unit.contract import real
from tests.unit.kept import PASSED, recorded_smi
from vlab.standins import nvidia

SOURCES = Path(nvidia.__file__).parent
DATA = PASSED.parent / "nvidia"

Run = Callable[..., subprocess.CompletedProcess[str]]

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None,
    reason="no C compiler; the image build compiles these programs with its own",
)


def _compile(target: Path, sources: list[Path], **macros: str) -> Path:
    defines = [f"-D{name}={value}" for name, value in macros.items()]
    words = [*("cc", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-format-truncation"), *defines]
    words += [f"-I{SOURCES / 'driver'}", *map(str, sources), "-o", str(target)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def smi_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nvidia-smi, which looks for its library in the folder ``nvml`` where it is started."""
    sources = [SOURCES / "driver" / name for name in ("nvidia-smi.c", "query.c", "device.c")]
    target = tmp_path_factory.mktemp("smi") / "nvidia-smi"
    return _compile(target, sources, NVML_FOLDERS='"nvml"')


@pytest.fixture
def smi(smi_program: Path, tmp_path: Path) -> Run:
    """Run nvidia-smi in the test's folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [smi_program, *arguments], cwd=tmp_path, capture_output=True, text=True
        )

    return run


@needs_compiler
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--query-gpu=name"], 2, '"--format=" switch is missing'),
        (["--query-gpu=name", "--format=csv,loud"], 2, '"loud" is not a valid format option'),
        (["--bogus"], 2, "Invalid combination of input arguments"),
    ],
)
def test_smi_has_the_real_exit_statuses(
    smi: Run, arguments: list[str], status: int, message: str
) -> None:
    done = smi(*arguments)
    assert (done.returncode, message in done.stdout) == (status, True), done.stdout


# Recorded: statuses and words of failures, and the answer to a query about two H100.
FAILURES = {name: (status, said) for name, status, said in recorded_smi()}
FAILURES["unknown-field"] = (2, 'Field "nonsense" is not a valid field to query.')  # of 580.159.04
FORMS = {
    "no-driver": [],
    "no-driver-query": list(nvidia_smi.QUERY[1:]),
    "no-driver-xml": ["-q", "-x"],
    "no-driver-list": ["-L"],
    "no-driver-topo": ["topo", "-m"],
    "no-library": [],
    "unknown-field": ["--query-gpu=name,nonsense", "--format=csv"],
}


def is_real(request: pytest.FixtureRequest, fixture: str) -> bool:
    """Whether a test has the real program: of that one alone it may be unknown what it sees."""
    params: dict[str, str] = request.node.callspec.params
    return params[fixture] == "real"


@pytest.fixture(params=["stand-in", "real"])
def any_smi(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """The stand-in, and the real program where it is here."""
    if request.param == "real":
        path = real("nvidia-smi", "NVIDIA_SMI")
        return lambda *words: subprocess.run([path, *words], capture_output=True, text=True)
    if shutil.which("cc") is None:
        pytest.skip("skipped: no C compiler")
    run: Run = request.getfixturevalue("smi")
    return run


@pytest.mark.parametrize("name", FORMS)
def test_smi_fails_as_recorded(
    request: pytest.FixtureRequest, any_smi: Run, tmp_path: Path, name: str
) -> None:
    if name != "no-library":
        (tmp_path / "nvml").mkdir()
        (tmp_path / "nvml/libnvidia-ml.so.1").touch()
    done = any_smi(*FORMS[name])
    other = is_real(request, "any_smi") or os.path.exists("/dev/nvidiactl")  # has a driver, maybe
    if (
        other
        and name.startswith("no-")
        and done.returncode in {0, 4, 9 if name == "no-library" else 12}
    ):
        pytest.skip(f"skipped: nvidia-smi ends with {done.returncode} here, not as in '{name}'")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (*FAILURES[name], "")


QUERIED = [
    line.split(", ") for line in (DATA / "smi-580.159.04-query.csv").read_text().splitlines()
]
ROW = """\
#include <stdio.h>
#include "nvidia-smi.h"
int main(int argc, char **argv)
{
    struct gpu gpu = { .memory_total = 1ull << 30, .uuid = "GPU-1", .bus_id = "00000000:01:00.0" };
    gpu.info.vendor = 0x1af4, gpu.info.device = 0x1043;
    return argc == 3 ? query_print(&gpu, 1, argv[1], argv[2]) : 1;
}
"""


@pytest.fixture(params=["stand-in", "real"])
def queried(request: pytest.FixtureRequest, tmp_path: Path) -> list[list[str]]:
    """Header and first row of the recorded query, of the stand-in and of a real GPU."""
    names = ",".join(name.partition(" ")[0] for name in QUERIED[0])
    if request.param == "real":
        words = [real("nvidia-smi", "NVIDIA_SMI"), f"--query-gpu={names}", "--format=csv"]
    elif shutil.which("cc") is None:
        pytest.skip("skipped: no C compiler")
    else:
        (tmp_path / "row.c").write_text(ROW)
        sources = [tmp_path / "row.c", SOURCES / "driver/query.c"]
        row = _compile(tmp_path / "row", sources, NVS_VERSION='"550.127.08"')
        words = [str(row), names, "csv"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode and request.param == "real":
        pytest.skip(f"skipped: no GPU answers here: {done.stdout.strip()}")
    return [line.split(", ") for line in done.stdout.splitlines()]


def form(value: str) -> str:
    """A value with its digits alike, and its number's length."""
    return re.sub(r"[0-9A-Fa-f]+(?=[: .]|$)|(?<=0x)[0-9A-F]{8}", "N", value)


def test_smi_answers_a_query_in_the_recorded_form(queried: list[list[str]]) -> None:
    header, row = queried[:2]
    assert header == QUERIED[0]
    for name, ours, theirs in zip(header, row, QUERIED[1], strict=True):
        if ours == "[N/A]" or not re.search(r"\d", theirs) or name == "name":
            continue  # what the GPU does not tell, or words of its own
        assert form(ours) == form(theirs), name


@needs_compiler
@pytest.mark.parametrize("arguments", [[], ["-L"], ["--standin-selftest"], ["--version"]])
def test_smi_never_succeeds_without_driver(smi: Run, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "nvml").mkdir()
    (tmp_path / "nvml/libnvidia-ml.so.1").touch()
    done = smi(*arguments)
    # 4 where there is a real device that this user may not open.
    assert done.returncode in {4, 9}, done.stdout


@pytest.fixture(scope="module")
def cli_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nvidia-container-cli, with a modprobe that writes down what it is to load."""
    folder = tmp_path_factory.mktemp("cli")
    modprobe = folder / "modprobe"
    modprobe.write_text(f'#!/bin/sh\necho "$@" >> {folder}/loaded\n')
    modprobe.chmod(0o755)
    source = SOURCES / "toolkit/cli.c"
    macros = {"TOOLKIT_VERSION": '"1"', "MODPROBE": f'"{modprobe}"'}
    return _compile(folder / "nvidia-container-cli", [source], **macros)


@pytest.fixture
def cli(cli_program: Path) -> Run:
    """Run nvidia-container-cli."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [cli_program, *arguments], env=env or {"PATH": "/bin"}, capture_output=True, text=True
        )

    return run


RECORDED = [line.split("\t") for line in (DATA / "toolkit-argv.txt").read_text().splitlines()]


@needs_compiler
@pytest.mark.parametrize(
    "argv", [argv for _, *argv in RECORDED], ids=[name for name, *_ in RECORDED]
)
def test_cli_takes_what_the_real_hook_gives_and_fails_where_there_is_no_driver(
    cli: Run, cli_program: Path, argv: list[str]
) -> None:
    loaded = cli_program.with_name("loaded")
    loaded.unlink(missing_ok=True)
    done = cli(*argv)
    assert done.returncode == 1
    assert "\nnvidia-container-cli: initialization error: " in done.stderr
    assert loaded.read_text().split() == ["-q", "nvidia", "-q", "nvidia-uvm"]


@needs_compiler
def test_what_is_written_in_the_cli_says_that_it_is_a_stand_in(cli_program: Path) -> None:
    grep = ["grep", "-aoE", contents.CLI_VERSION, "--", str(cli_program)]
    said = subprocess.run(grep, capture_output=True, text=True, check=True).stdout
    assert parts.told("nvidia-container-cli", said).state == "stand-in"


@pytest.fixture(params=["stand-in", "real"])
def any_cli(request: pytest.FixtureRequest) -> Run:
    """The stand-in, and the real program where it is here."""
    if request.param == "stand-in":
        if shutil.which("cc") is None:
            pytest.skip("skipped: no C compiler")
        standin: Run = request.getfixturevalue("cli")
        return standin
    path = real("nvidia-container-cli", "NVIDIA_CONTAINER_CLI")

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [path, *arguments], env=env or dict(os.environ), capture_output=True, text=True
        )

    return run


SAID = dict(line.split("\t") for line in (DATA / "cli-1.15.0.txt").read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "arguments", "env"),
    [
        ("no-path-in-environment", ("configure", "--device=all", "--pid=1", "/"), {"HOME": "/"}),
        ("unknown-option", ("configure", "--no-such-option", "/"), {}),
        ("no-library-configure", ("configure", "--device=all", "--utility", "--pid=1", "/"), {}),
    ],
)
def test_cli_fails_in_the_recorded_words(
    any_cli: Run, name: str, arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    if name == "no-library-configure" and ctypes.util.find_library("nvidia-ml"):
        pytest.skip("skipped: NVML's library is here, so its lack cannot be looked at")
    done = any_cli(*arguments, **env)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, SAID[name])


@needs_compiler
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("configure", "--compute"), "one root file system is to be named"),
        (("configure", "/a", "/b"), "one root file system is to be named"),
        (("list",), "knows no command but configure"),
        ((), "knows no command but configure"),
    ],
)
def test_cli_refuses_what_it_does_not_know(cli: Run, arguments: tuple[str, ...], said: str) -> None:
    done = cli(*arguments)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


# The choice of GPUs alone: it comes after a question to the driver, which is not here.
CHOICE = """\
#define main cli_main
#include "cli.c"
#undef main
int main(int argc, char **argv)
{
    int wanted[NVS_MAX_GPUS], wrong = choose(argv[argc - 1], wanted);
    for (int index = 0; !wrong && index < NVS_MAX_GPUS; index++)
        if (wanted[index])
            printf("%d ", index);
    return wrong;
}
"""


@pytest.fixture(scope="module")
def choice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that chooses GPUs out of the folder ``dev`` where it lies, which has 0 and 2."""
    folder = tmp_path_factory.mktemp("choice")
    (folder / "dev").mkdir()
    for index in (0, 2):
        (folder / f"dev/nvidia{index}").touch()
    (folder / "choice.c").write_text(CHOICE)
    sources = [Path(f"-I{SOURCES / 'toolkit'}"), folder / "choice.c"]
    macros = {"DEVICES": f'"{folder}/dev"', "TOOLKIT_VERSION": '"1"'}
    return _compile(folder / "choice", sources, **macros)


@needs_compiler
@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ("all", 0, "0 2 "),
        ("0", 0, "0 "),
        ("2,0", 0, "0 2 "),
        ("0,5", 1, "device error: 5: unknown device"),
        ("1", 1, "device error: 1: unknown device"),
        ("7", 1, SAID["unknown-device"].partition(": ")[2]),
        ("0,GPU-deadbeef", 1, SAID["unknown-uuid"].partition(": ")[2]),
        ("0x", 1, "device error: 0x: unknown device"),
        ("-1", 1, "device error: -1: unknown device"),
        ("", 0, ""),  # the driver without a GPU: NVIDIA_VISIBLE_DEVICES=none
    ],
)
def test_cli_knows_no_gpu_that_is_not_there(
    choice: Path, asked: str, status: int, said: str
) -> None:
    done = subprocess.run([choice, asked], capture_output=True, text=True)
    told = done.stderr.removeprefix("nvidia-container-cli: ").strip() if status else done.stdout
    assert (done.returncode, told) == (status, said)
