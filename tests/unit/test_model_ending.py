"""Why a model server ended: the causes in real logs, and those that sound logs must not have."""

from __future__ import annotations

import pytest

from fixtures.model import ending
from fixtures.model.causes import CAUSES, LOG
from tests.unit import vllm
from tests.unit.mini import ROOT

USAGE = (ROOT / "tests" / "data" / "vllm" / "usage.txt").read_text(encoding="utf-8")
WHEN = "before it was ready"


def reported(name: str) -> str:
    return vllm.log(name, vllm.REPORTED)


# A log, the key of the profile, what the message says, and words of the log's line that says it.
RECORDED = {
    "unknown-argument": (USAGE, "model.command", "wrong flag", "arguments: --nonsense"),
    **{
        name: (vllm.log(name), key, says, line)
        for name, key, says, line in (
            ("port-in-use", "model.port", "another server has the port", "[Errno 98]"),
            ("max-model-len-too-large", "model.command", "--max-model-len is more", "(1000000)"),
            ("model-path-missing", "container.mounts", "no model under that path", "nomodel"),
            ("no-memory-for-cache", "model.command", "no memory is left for the cache", "blocks"),
            ("quantization-mismatch", "model.command", "not the model's", "file for awq"),
            ("tensor-parallel-too-many", "gpu.count", "more GPUs than", "World size (9)"),
            ("config-json-broken", "model.command", "broken or not whole", "noconf/config.json"),
            ("hub-name-offline", "model.command", "HF_HUB_OFFLINE", "traffic has been disabled"),
            ("good-then-engine-killed", "kata.default_memory", "engine's process", "EngineDead"),
        )
    },
}
REPORTED = {
    name: (reported(name), key, says, line)
    for name, key, says, line in (
        ("memory-held", "model.command", "another process holds memory", "(3.22/4.0 GiB)"),
        ("cache-too-small", "model.command", "too small for the cache", "length is 34736"),
        ("cache-too-small-v0", "model.command", "too small for the cache", "(7344)"),
        ("out-of-memory", "model.command", "the GPU's memory gave out", "14.62 GiB"),
        ("port-of-the-engine", "model.command", "use among themselves", "port: 29500"),
        ("quantization-other", "model.command", "quantization", "(gptq_marlin)"),
        ("port-of-zmq", "model.command", "use among themselves", "5570"),
        ("devices", "gpu.count", "more GPUs than", '"0"'),
        ("no-memory-at-all", "model.command", "no memory is left for the cache", "single token"),
        ("quantization-gpu", "gpu.bdf", "not one for this GPU", "bitsandbytes"),
        ("quantization-data-type", "--dtype", "go with that data type", "[torch.float16]"),
        ("data-type-model", "--dtype bfloat16", "cannot be computed in that", "Numerical"),
        ("blocks-of-weights", "--tensor-parallel-size", "cannot be divided", "block_n = 128"),
        ("not-in-time", "VLLM_ENGINE_READY_TIMEOUT_S", "vLLM's own limit", "600s"),
        ("parser", "model.command", "refuses a setting", "hermess"),
        ("compiler", "image.target", "compiles its kernels", "C compiler"),
        ("nccl", "NCCL_DEBUG=INFO", "do not reach one another", "version 2.20.5"),
        ("no-device", "gpu of", "it sees no GPU", "Device string"),
        ("data-type", "model.command", "data type", "Bfloat16"),
        ("heads", "model.command", "cannot be divided", "heads (32)"),
        ("weights-broken", "model.command", "broken or not whole", "InvalidHeader"),
        ("weights-missing", "model.command", "is missing", "mixtral"),
        ("download-broken", "model.command", "broken or not whole", "FileIntegrityError"),
        ("no-folder", "container.mounts", "no model under that path", "/models/none"),
        ("no-network", "container.mounts", "gets nowhere", "huggingface.co"),
        ("no-network-hub", "container.mounts", "gets nowhere", "locate the files on the Hub"),
        ("offline", "model.command", "downloads are switched off", "bigcode"),
        ("not-ready", "gpu of", "the GPU is not ready", "Error 802"),
        ("package-missing", "image.target", "not all packages", "modelscope"),
        ("engine-silent", "kata.default_memory", "said nothing of why", "EngineCore_DP0"),
    )
}
# Single lines in the words of vLLM's, PyTorch's, CUDA's and containerd's sources; not recorded.
SOURCES = {
    line: (line, key, says, line[-20:])
    for line, key, says in (
        ("vllm: error: argument --dtype: invalid choice: 'x'", "model.command", "wrong flag"),
        ("python3: No module named vllm", "model.command", "not the program"),
        ("env: 'python3': No such file or directory", "model.command", "not the program"),
        ("OSError: [Errno 99] Cannot assign requested address", "--host", "not the container's"),
        (
            "max_num_batched_tokens (512) is smaller than max_model_len (8192).",
            "--max-num",
            "batch",
        ),
        ("RuntimeError: DefaultCPUAllocator: not enough memory", "kata.default_memory", "guest's"),
        ("NCCL: Error while creating shared memory segment /dev/shm/nccl-x", "mounts", "/dev/shm"),
        ("OSError: [Errno 28] No space left on device", "container.mounts", "disk is full"),
        ("ValueError: Model architectures ['X'] are not supported for now.", "--model", "not know"),
        ("ValueError: please pass the argument `trust_remote_code=True`", "model.command", "code"),
        (
            "ValueError: The supplied chat template (x) appears path-like, but doesn't exist!",
            "--chat-template",
            "no chat template",
        ),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", "HF_TOKEN", "the hub"),
        (
            "ssl.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] failed",
            "container.mounts",
            "certificate",
        ),
        ("requests.exceptions.ProxyError: Cannot connect to proxy", "HTTPS_PROXY", "the proxy"),
        ("OSError: Can't load tokenizer for 'x'", "model.command", "is missing"),
        ("RuntimeError: Error 803: system has unsupported display driver", "guest.driver", "CUDA"),
        (
            "UserWarning: CUDA initialization: The NVIDIA driver on your system is too old",
            "guest.driver",
            "too old",
        ),
        (
            "PermissionError: [Errno 13] Permission denied: '/models/x/config.json'",
            "container.mounts",
            "may not read",
        ),
        ("OSError: [Errno 30] Read-only file system: '/root/.cache'", "container.mounts", "write"),
        ("AssertionError: Torch not compiled with CUDA enabled", "image.target", "not all pack"),
        ("NVMLError: Driver/library version mismatch", "guest.driver", "different versions"),
        ("RuntimeError: CUDA error: no kernel image is available", "image.build_args", "other GPU"),
        ("RuntimeError: Failed to infer device type", "gpu of", "it sees no GPU"),
        ("RuntimeError: No CUDA GPUs are available", "gpu of", "it sees no GPU"),
        ("ImportError: libcuda.so.1: cannot open shared object file", "gpu of", "it sees no GPU"),
        ("1 validation error for ModelConfig\n  Value error, x is odd", "model.command", "refuses"),
        ("RuntimeError: CUDA error: an illegal memory access", "gpu.bdf", "failed at its work"),
        (
            "RuntimeError: See root cause above. Failed core proc(s): {'EngineCore_0': -9}",
            "kata.default_memory",
            "was killed",
        ),
    )
}
ALL = {**RECORDED, **REPORTED, **SOURCES}


@pytest.mark.case(
    "vLLM",
    "why servers do not start, or end",
    source="vLLM 0.24.0; vllm #1986, #5842, #13962, #14095, #14154, #14596, #25837, #34076, #39015",
)
@pytest.mark.parametrize(("log", "key", "says", "line"), ALL.values(), ids=ALL)
def test_a_server_that_ended_has_its_cause_told(log: str, key: str, says: str, line: str) -> None:
    error = ending.ended(log, "1", WHEN)
    first, _, rest = error.message.partition("\n")
    assert first.startswith("the model server ended before it was ready (exit status 1): ")
    assert says in first
    assert line in first
    assert rest.startswith("its log says last:\n")
    assert f"{key}" in (error.hint or "")
    assert error.clause == "model.server"


def test_each_cause_is_in_some_log() -> None:
    found = {id(ending.found(log)[0]) for log, *_ in ALL.values()}
    assert [cause.says for cause in CAUSES if id(cause) not in found] == []


@pytest.mark.case(
    "vLLM",
    "a good start that complains of a hub that it does not reach",
    source="vLLM 0.24.0, vllm #33545",
)
@pytest.mark.parametrize(
    "log",
    [vllm.log("sound"), vllm.log("api-key"), reported("local-path-is-fine"), reported("in-cache")],
    ids=["sound", "api-key", "local-path-is-fine", "in-cache"],
)
def test_a_sound_log_has_no_cause(log: str) -> None:
    assert ending.found(log)[0] is None
    assert ending.ended(log, "1", WHEN).hint == LOG


def test_a_command_line_has_no_cause() -> None:
    args = "non-default args: {'model': '/models/CUDA out of memory/EADDRINUSE'}"
    for head in ("(APIServer pid=1) INFO 11-26 21:00:38 [api_utils.py:273] ", "INFO x.py:1] "):
        assert ending.found(head + args) == (None, "")


@pytest.mark.case(
    "vLLM",
    "the API server's traceback, behind the engine's own error",
    source="vllm #23176, #31940, #44411",
)
def test_a_cause_far_above_the_end_is_found() -> None:
    trace = '(APIServer pid=1)   File "core_client.py", line 100, in <module>\n' * 500
    last = "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above"
    error = ending.ended(reported("memory-held") + "\n" + trace + last, "1", WHEN)
    assert "another process holds memory" in error.message
    assert len(error.message) < 3000


def test_what_is_not_known_is_told_by_the_engines_own_error() -> None:
    log = (
        "(EngineCore_DP0 pid=7) ERROR 11-25 10:00:00 [core.py:708] RuntimeError: the moon is full\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    error = ending.ended(log, "1", WHEN)
    assert "(exit status 1): RuntimeError: the moon is full\n" in error.message
    assert error.hint == LOG


@pytest.mark.case("vLLM", "errors that several causes have", source="vllm #29639")
@pytest.mark.parametrize(
    "line",
    [
        "socket.gaierror: [Errno -2] Name or service not known",  # of --host, or of a download
        "RuntimeError: NCCL error: remote process exited or there was a network error",
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {}",  # vllm #29639
        "Exception: data did not match any variant of untagged enum ModelWrapper",
    ],
)
def test_what_may_have_several_causes_has_none(line: str) -> None:
    assert ending.ended(line, "1", WHEN).hint == LOG


@pytest.mark.case("vLLM", "status 0 of a server whose engine has died", source="vLLM 0.24.0")
@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("0", "(exit status 0, as vLLM's is when its engine has died)"),
        ("gone", "(it was killed)"),
        ("137", "(exit status 137): a process of it was killed"),
    ],
)
def test_how_it_ended_is_told(status: str, says: str) -> None:
    assert says in ending.ended("", status, WHEN).message


@pytest.mark.case(
    "vLLM", "colours, and progress bars that write over themselves", source="progress bars of vLLM"
)
def test_colours_and_progress_bars_hide_nothing() -> None:
    log = "Loading: 0%\rLoading: 50%\r\x1b[31m(EngineCore pid=7)\x1b[0m ValueError: No available "
    cause, line = ending.found(log + "memory for the cache blocks.")
    assert cause is not None
    assert line == "ValueError: No available memory for the cache blocks."
