"""The table of cases is that of the tests' marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import cases


def test_the_table_is_what_the_marks_say() -> None:
    written = cases.TABLE.read_text(encoding="utf-8")
    assert written == cases.table(), "make it anew: python -m tests.cases"


def test_every_case_is_said_once() -> None:
    said = [(case.case, case.test) for case in cases.cases()]
    assert len({*said}) == len(said) > 0


def test_a_case_is_of_the_test_that_it_marks(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        'import pytest\n@pytest.mark.case("kata", "no log", source="kata#1")\n'
        '@pytest.mark.parametrize("a", [1])\n@pytest.mark.case("cni", "null", source="cni#2")\n'
        "def test_y(a): ...\ndef test_z(): ...\n"
    )
    test = f"{tmp_path}/test_x.py::test_y"
    assert cases.cases(tmp_path) == [
        cases.Case("cni", "null", "cni#2", test),
        cases.Case("kata", "no log", "kata#1", test),
    ]


@pytest.mark.parametrize("words", ['"kata"', '"kata", "no log"', '"kata", name, source="x"'])
def test_a_mark_that_says_too_little_is_named(tmp_path: Path, words: str) -> None:
    (tmp_path / "test_x.py").write_text(f"@pytest.mark.case({words})\ndef test_y(): ...\n")
    with pytest.raises(ValueError, match="::test_y: a case is"):
        cases.cases(tmp_path)
