"""The stage that CONTRIBUTING.md shows is one that works."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.mini import CONFTEST, ROOT, Mini

IMPORTS = '''
from typing import ClassVar

from harness.profile.schema import BaseProfile as Profile
from harness.record.facts import facts, shown
from harness.run.stage import Run


class Platform:
    pass


@pytest.fixture(scope="session")
def platform(run):
    """What the example needs of other stages."""
    return Platform()


'''

SUITE = """
import pytest


@pytest.mark.acceptance
def test_hugepages(hugepages):
    assert hugepages.count == 512
"""

SYSCTL = """#!/bin/sh
echo "$*" >>"$0.calls"
case "$1 $2" in
    "-n vm.nr_hugepages") cat "$0.value" ;;
    "-qw vm.nr_hugepages="*) echo "${2#*=}" >"$0.value" ;;
    *) exit 9 ;;
esac
"""


class Documented(Mini):
    """A mini-suite with the example, and with a sysctl that changes nothing of this machine."""

    def __init__(self, folder: Path) -> None:
        text = (ROOT / "CONTRIBUTING.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, re.S)
        (example,) = [block for block in blocks if "(Stage[" in block]
        conftest = CONFTEST.partition("@dataclass")[0] + IMPORTS + example
        super().__init__(folder, suite=SUITE, conftest=conftest)
        self.sysctl = folder / "bin" / "sysctl"
        self.sysctl.parent.mkdir()
        self.sysctl.write_text(SYSCTL)
        self.sysctl.chmod(0o755)
        self.sysctl.with_suffix(".value").write_text("7\n")

    @property
    def environ(self) -> dict[str, str]:
        environ = super().environ
        return environ | {"PATH": f"{self.sysctl.parent}:{environ['PATH']}"}


def test_the_example_is_a_stage(tmp_path: Path) -> None:
    mini = Documented(tmp_path / "m")
    status, out = mini.pytest("-m", "acceptance")
    assert status == 0, out
    written = [
        line for line in mini.sysctl.with_suffix(".calls").read_text().splitlines() if "-qw" in line
    ]
    assert written == ["-qw vm.nr_hugepages=512", "-qw vm.nr_hugepages=7"]
    status, out = mini.pytest("--plan", "-m", "acceptance")
    assert status == 0, out
    assert "1. hugepages (undone at the end)\n   - Reserve huge pages for the guest.\n" in out
