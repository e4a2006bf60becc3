"""What people write into a profile by mistake: `python -m tests.mistakes` writes docs/mistakes.md.

Each mistake of tests/unit/test_profile_mistakes.py is made, and stands there with the sentence that
it gets; a test there compares the page with what is said today.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "mistakes.md"
HEAD = """# Mistakes in a profile, and what each is told

Made by `python -m tests.mistakes`: every mistake is made in `profiles/kunpeng-virtcca.toml`, and
this is the sentence that it gets (behind the file's name), before anything is touched; the exit
status is 4. All mistakes of a file are told at once.
"""

Row = tuple[str, str]  # what is written, as Markdown, and the sentence


def sections() -> Iterator[tuple[str, list[Row]]]:
    """The tables, each with its heading."""
    from tests.unit import test_profile_mistakes as made

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def row(written: str, lines: Sequence[str], key: str = "", says: str = "") -> Row:
            line = next(line for line in lines if line.startswith(key) and says in line)
            for here in (folder, ROOT):  # differ from one computer to the next
                line = line.replace(f"{here}/", "").replace(f"{here}", ".")
            return written, _code(line)

        def edited(old: str, new: str, says: str, key: str = "") -> Row:
            lines = made.refused(folder, made.GOOD.replace(old, new, 1))
            instead = _code(new) if new else "nothing"
            return row(f"{instead} for {_code(old)}", lines, key, says)

        yield "A value", [edited(old, new, says, key) for old, new, key, says in made.MISTAKES]
        yield "What is no TOML", [edited(*mistake) for mistake in made.NO_TOML]
        yield (
            "The file's encoding",
            [row(words, made.refused(folder, content)) for words, content, _ in made.ENCODINGS],
        )
        yield (
            "A variable of the environment",
            [
                row(_code(f"{name}={value}"), made.with_variable(folder, name, value))
                for name, value, _ in made.VARIABLES
            ],
        )
        yield (
            "The profile's name",
            [row(_code(f"--profile {name}"), made.by_name(folder, name)) for name, _ in made.NAMES],
        )


def page() -> str:
    """The page's text."""
    parts = [HEAD.strip()]
    for head, rows in sections():
        table = ["| written | told |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
        parts += [f"## {head}", "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{' '.join(text.splitlines())}{fence}".replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {sum(len(rows) for _, rows in sections())} mistakes")
