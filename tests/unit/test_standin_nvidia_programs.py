"""nvidia-smi and the toolkit's hook where there is neither driver nor device."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vlab.standins import nvidia

SOURCES = Path(nvidia.__file__).parent

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
        (["--query-gpu=name,nope", "--format=csv"], 2, 'Field "nope" is not a valid field'),
        (["--query-gpu=name"], 2, '"--format=" switch is missing'),
        (["--query-gpu=name", "--format=csv,loud"], 2, '"loud" is not a valid format option'),
        (["--bogus"], 2, "Invalid combination of input arguments"),
        (["-L"], 12, "couldn't find libnvidia-ml.so library"),
    ],
)
def test_smi_has_the_real_exit_statuses(
    smi: Run, arguments: list[str], status: int, message: str
) -> None:
    done = smi(*arguments)
    assert (done.returncode, message in done.stdout) == (status, True), done.stdout


@needs_compiler
@pytest.mark.parametrize("arguments", [[], ["-L"], ["--standin-selftest"], ["--version"]])
def test_smi_never_succeeds_without_driver(smi: Run, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "nvml").mkdir()
    (tmp_path / "nvml/libnvidia-ml.so.1").touch()
    done = smi(*arguments)
    # 4 where there is a real device that this user may not open.
    assert done.returncode in {4, 9}, done.stdout


@pytest.fixture(scope="module")
def hook_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toolkit's hook."""
    sources = [SOURCES / "toolkit" / name for name in ("hook.c", "cli.c", "json.c")]
    return _compile(tmp_path_factory.mktemp("hook") / "hook", sources, TOOLKIT_VERSION='"1"')


@pytest.fixture
def hook(hook_program: Path, tmp_path: Path) -> Run:
    """Run the hook for a container with some environment."""
    settings = tmp_path / "config.toml"
    settings.write_text("[nvidia-container-cli]\nload-kmods = false\n")

    def run(
        *arguments: str, env: tuple[str, ...] = (), state: dict[str, object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        config = {"annotations": {'a "}{': [1, {}]}, "process": {"env": env}, "root": {}}
        config["root"] = {"path": 'r\u00f6\t"ot'}
        (tmp_path / "config.json").write_text(json.dumps(config))
        document = {"ociVersion": "1.0.2", "id": "c", "pid": 0, "bundle": str(tmp_path)}
        return subprocess.run(
            [hook_program, "-config", settings, "-debug", *arguments],
            input=json.dumps(document if state is None else state),
            capture_output=True,
            text=True,
        )

    return run


@needs_compiler
@pytest.mark.parametrize(
    "env", [(), ("PATH=/bin",), ("NVIDIA_VISIBLE_DEVICES=void",), ("NVIDIA_VISIBLE_DEVICES=none",)]
)
def test_hook_does_nothing_where_no_gpu_is_asked_for(hook: Run, env: tuple[str, ...]) -> None:
    done = hook("prestart", env=env)
    assert done.returncode == 0
    assert "no GPU is asked for" in done.stderr


@needs_compiler
@pytest.mark.parametrize("env", ["NVIDIA_VISIBLE_DEVICES=all", "CUDA_VERSION=12.4"])
def test_hook_fails_where_a_gpu_is_asked_for_and_none_is_there(hook: Run, env: str) -> None:
    done = hook("prestart", env=("PATH=/bin", env))
    assert done.returncode == 1
    assert "nvidia-container-cli: initialization error:" in done.stderr


# The hook's choice alone: it comes after a question to the driver, which is not here.
CHOICE = """\
#include "cli.c"
void trace(const char *format, ...) { (void)format; }
int fail(const char *format, ...)
{
    va_list words;
    va_start(words, format);
    vprintf(format, words);
    return 1;
}
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
    words = [f"-I{SOURCES / 'toolkit'}", "-Wno-unused-function", f'-DDEVICES="{folder}/dev"']
    return _compile(folder / "choice", [*map(Path, words), folder / "choice.c"])


@needs_compiler
@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ("all", 0, "0 2 "),
        ("0", 0, "0 "),
        ("2,0", 0, "0 2 "),
        ("0,5", 1, "device error: 5: unknown device"),
        ("1", 1, "device error: 1: unknown device"),
        ("0,GPU-1234", 1, "device error: GPU-1234: unknown device"),
        ("0x", 1, "device error: 0x: unknown device"),
        ("-1", 1, "device error: -1: unknown device"),
    ],
)
def test_hook_knows_no_gpu_that_is_not_there(
    choice: Path, asked: str, status: int, said: str
) -> None:
    done = subprocess.run([choice, asked], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, said)


@needs_compiler
def test_hook_reads_paths_as_json_writes_them(hook: Run, tmp_path: Path) -> None:
    assert f"root file system '{tmp_path}/r\u00f6\t\"ot'" in hook("prestart").stderr


@needs_compiler
def test_hook_knows_its_commands(hook: Run) -> None:
    assert hook("poststart", state={}).returncode == 0
    assert hook("poststop", state={}).returncode == 0
    assert hook("prestart", state={}).returncode == 1
    assert hook("createRuntime").returncode == 2
    assert hook().returncode == 2
