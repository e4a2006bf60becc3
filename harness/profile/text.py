"""A profile's bytes as TOML; what is wrong with them, by its line and by the key's name for it.

Editors and input methods leave what is hard to see: a byte order mark, another encoding, and
characters that look like those of TOML (“ ” ＂ ： ＝).
"""

from __future__ import annotations

import codecs
import re
import tomllib
import unicodedata
from collections.abc import Sequence
from typing import Any

_SHOWN = 60  # characters of a line
_AS_UTF8 = "save the file as UTF-8 without BOM"
_UTF16 = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
# What looks like a character of TOML's, and is none; full-width forms (U+FF01 to U+FF5E) besides.
_ALIKE = {
    **dict.fromkeys("“”„‟«»", '"'),
    **dict.fromkeys("‘’‚‛`´", "'"),
    **dict.fromkeys("【〔「『", "["),
    **dict.fromkeys("】〕」』", "]"),
    **dict.fromkeys("、", ","),
    **dict.fromkeys("。", "."),
    **dict.fromkeys("—–−", "-"),
    "\u3000": "a blank",
    "\u00a0": "a blank",
    "：": "=",  # TOML has no colon between key and value
}
_AT = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
# tomllib's words, and what a person would say.
_SAID = (
    (r"^Cannot declare \(?(.+?),?\)? twice$", r"the table \1 for the second time"),
    (r"^Cannot (overwrite a value|mutate|redefine).*", "a key that has a value already"),
    (r"^Duplicate inline table key (.+)$", r"the key \1 for the second time"),
    (
        r"^(Illegal character|Found invalid character) '\\n'$",
        "a string without a closing quotation mark",
    ),
    (r"^Found invalid character (.+)$", r"the character \1, which TOML does not allow"),
    (r"^Un(terminated|closed) (.+)$", r"a beginning without an end: \2"),
    (r"^Expected '=' after a key in a key/value pair$", "no '=' behind the key"),
    (r"^Expected ('.+') at the end of .+$", r"no \1 behind the table's name"),
    (r"^Invalid value$", "a value that is neither a number nor true, false or a quoted string"),
    (r"^Expected newline or end of document after a statement$", "text behind the value"),
    (r"^Invalid (statement|initial character for a key part)$", "no KEY = VALUE and no [TABLE]"),
    (r"^Unescaped '\\' in a string$", r"a '\\' in a string; write '\\\\', or use 'single quotes'"),
    (r"^Exceeds the limit.*", "a number of too many digits"),
    (r"^Invalid date or datetime$", "a date that is none"),
)


def parse(raw: bytes) -> tuple[dict[str, Any], list[str]]:
    """The values of a file; or else a line for each thing that is wrong with it."""
    if problem := _encoding(raw):
        return {}, [problem]
    lines = raw.decode("utf-8").replace("\r\n", "\n").split("\n")
    problems: list[str] = []
    while True:
        try:
            data = tomllib.loads("\n".join(lines))
        except RecursionError:
            return {}, problems or ["expected TOML, found values nested too deeply"]
        except ValueError as error:  # TOMLDecodeError is one; so are numbers beyond bounds
            where = _AT.search(str(error))
            if said := _look_alike(where, lines):
                problems.append(f"expected TOML, found {said}")
                continue  # that is told, and its line taken out: what else is wrong?
            return {}, problems or [f"expected TOML, found {_in_words(str(error), where, lines)}"]
        return ({}, problems) if problems else (data, [])


def _encoding(raw: bytes) -> str:
    """What is wrong with the encoding; empty for UTF-8."""
    if raw.startswith(codecs.BOM_UTF8):
        return f"expected UTF-8, found a byte order mark (BOM) at its beginning: {_AS_UTF8}"
    for mark, name in _UTF16.items():
        if raw.startswith(mark):
            return f"expected UTF-8, found byte 0x{mark[0]:02x} at offset 0, {name}: {_AS_UTF8}"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        at = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        number = raw.count(b"\n", 0, error.start) + 1
        line = raw.split(b"\n")[number - 1]
        try:
            return (
                f"expected UTF-8, found {at}, GBK by its looks (line {number}: "
                f"'{_short(line.decode('gb18030'))}'): {_AS_UTF8}"
            )
        except UnicodeDecodeError:
            return f"expected UTF-8, found {at} (line {number}): {_AS_UTF8}"
    return ""


def _in_words(error: str, where: re.Match[str] | None, lines: Sequence[str]) -> str:
    """An error of tomllib's, with the line that it is about."""
    said = _AT.sub("", error)
    for pattern, words in _SAID:
        said = re.sub(pattern, words, said)
    if where is None:
        return " ".join(said.split())
    if where["line"] is None:
        return f"{said} (at the end of the file)"
    return f"{said} ({_line(int(where['line']), lines)})"


def _look_alike(where: re.Match[str] | None, lines: list[str]) -> str:
    """What only looks like TOML at that place; its line is then emptied. '' for none.

    What stands in a comment, or in a string that is whole, is not meant: there it may stand.
    """
    if where is None or where["line"] is None:
        return ""
    number, column = int(where["line"]), int(where["column"])
    text = lines[number - 1]
    char = text[column - 1 : column]
    if not char and '"' in text:  # the string has no end: of its quotation mark?
        char = next((c for c in reversed(text) if _meant(c) == '"'), "")
    if not char or not (meant := _meant(char)):
        return ""
    said = f"'{char}' ({unicodedata.name(char, '').lower()}), where TOML has {meant}"
    said = f"{said} ({_line(number, lines)})"
    lines[number - 1] = ""
    return said


def _meant(char: str) -> str:
    """What of TOML's a character looks like; '' where it looks like nothing."""
    full = unicodedata.normalize("NFKC", char) if "\uff01" <= char <= "\uff5e" else ""
    return _ALIKE.get(char, full)


def _line(number: int, lines: Sequence[str]) -> str:
    return f"line {number}: '{_short(lines[number - 1].strip())}'"


def _short(line: str) -> str:
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
