"""The command line of the stand-in for vLLM, and its look for a GPU."""

import os
import re
from pathlib import Path

import pytest

from tests.unit.mini import ROOT
from vlab.standins.model.vllm.standin import StandInError
from vlab.standins.model.vllm.standin.arguments import parse
from vlab.standins.model.vllm.standin.device import require_gpu
from vlab.standins.model.vllm.standin.flags import FLAGS

USAGE = ROOT / "tests" / "data" / "vllm" / "usage.txt"
GUIDE_LINE = (
    "--model qwen/Qwen1.5-1.8B-Chat --trust-remote-code --host 0.0.0.0 --port 8000 "
    "--served-model-name Qwen1.5-1.8B-Chat --gpu-memory-utilization 0.95"
)
GUIDE = GUIDE_LINE.split()


def test_guide_command_line_is_taken_unchanged() -> None:
    found = parse(GUIDE)
    assert found.model == "qwen/Qwen1.5-1.8B-Chat"
    assert found.served_names == ("Qwen1.5-1.8B-Chat",)
    assert (found.host, found.port) == ("0.0.0.0", 8000)
    assert found.ignored == ["--trust-remote-code"]


def test_model_serves_under_its_own_name_and_underscores_are_dashes() -> None:
    assert parse(["--model", "a/b"]).served_names == ("a/b",)
    assert parse(["--served_model_name=c"]).served_names == ("c",)
    assert parse(["-tp", "2", "-pp", "3"]).world == 6


@pytest.mark.parametrize(
    ("given", "tokens"), [("4096", 4096), ("2k", 2000), ("2K", 2048), ("1.5k", 1500), ("-1", None)]
)
def test_context_is_read_as_vllm_does(given: str, tokens: int | None) -> None:
    assert parse([f"--max-model-len={given}"]).context == tokens


@pytest.mark.parametrize("wrong", [["--no-such-flag"], ["--port", "x"], ["one", "two"]])
def test_wrong_command_line_exits_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([*GUIDE, *wrong])
    assert ended.value.code == 2
    assert "api_server.py: error: " in capsys.readouterr().err


def test_unknown_argument_is_told_after_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--nonsense"])
    said = capsys.readouterr().err.splitlines()
    real = USAGE.read_text(encoding="utf-8").splitlines()
    assert (said[0], said[-1]) == (real[0], real[-1])


def test_every_flag_of_the_recorded_usage_is_known_in_its_order() -> None:
    first, last = USAGE.read_text(encoding="utf-8").split("characters left out")
    ours = [name.rstrip("?!+#%") for name in FLAGS.split()]
    for part in (first, last):
        real = re.findall(r"\[--([a-z0-9-]+)(?=[\] ])", part)
        assert len(real) > 40
        assert [name for name in ours if name in real] == [name for name in real if name in ours]
        assert set(real) <= set(ours)


def nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_gpu_is_asked_for_and_its_lines_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, 'test "$1" = -L && echo "GPU 0: x (UUID: y)"', monkeypatch)
    assert require_gpu() == ["GPU 0: x (UUID: y)"]


@pytest.mark.parametrize("script", ["exit 9", "echo No devices found.; exit 6", "true"])
def test_no_gpu_no_server(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, script, monkeypatch)
    with pytest.raises(StandInError, match="Failed to infer device type"):
        require_gpu()
