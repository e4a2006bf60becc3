"""Is there a GPU? Asked of nvidia-smi, so that the answer comes from the device itself."""

import subprocess

from . import StandInError

PATIENCE = 300
"""Seconds that nvidia-smi may take: it may talk to a device of a twice emulated machine."""


def require_gpu() -> list[str]:
    """The lines of ``nvidia-smi -L``, one a GPU.

    Raises StandInError, with vLLM's own words, if there is none to be seen; why is the stand-in's.
    """
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        raise _none("there is no nvidia-smi in this container") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _none(f"nvidia-smi -L: {error}") from error
    found = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    if done.returncode or not found:
        said = (done.stdout + done.stderr).strip() or "nothing"
        raise _none(f"nvidia-smi -L exited {done.returncode} and said: {said}")
    return found


def _none(why: str) -> StandInError:
    return StandInError(
        "RuntimeError: Failed to infer device type, please set the environment variable "
        "`VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the issue.",
        why,
    )
