"""What the tests share that hold a stand-in against recordings of the real program.

Each also asks the real program, where it is there; where it is not, the test says so and is
skipped: nothing was looked at.
"""

import os
import shutil
import subprocess

import pytest

from fixtures.common.parts import STAND_IN


def real(name: str, variable: str) -> str:
    """The real program: the one that the variable of the environment names, or the one on PATH."""
    path = os.environ.get(variable) or shutil.which(name)
    if not path:
        pytest.skip(f"skipped: no {name} is here; put the real one on PATH, or {variable}=its path")
    done = subprocess.run(
        [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if STAND_IN.search(done.stdout + done.stderr):
        pytest.skip(f"skipped: {path} is the stand-in, not the real {name}")
    return path
