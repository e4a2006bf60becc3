"""Redact configured secrets (in their usual encodings) and strings that look like credentials.

Looking like credentials are the password of a URL, a long token in the place of its user, what
follows `Authorization:` or `Bearer`, what a key or an option names token, password, secret or API
key (eight characters or more, a digit among them), JSON Web Tokens, and private keys in PEM.

Recognised of a secret are the value itself; JSON, Python (`repr` of text and of bytes, a test's
id), shell quoting, URL and XML escapes of it, two of them within each other included; its base64,
also within a longer text that was encoded as a whole (`user:secret`); every line of a value with
several lines; and what is left of a value beside `...` or `…`, where a text was shortened. Time
grows with the text alone, 100 kB in some 20 ms (`tox -e bench`).

Not recognised: other encodings (hex, `\\x41`, base32, base64 of base64, three escapes within each
other), lines of base64 of another width than 64 and 76, whatever changes the value (hashes,
encryption, compression), and a value that some program wrapped.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote_from_bytes
from xml.sax.saxutils import escape

from harness.record.files import replace
from harness.text import plain

MASK = "***"
SHORTEST = 4  # characters; a shorter secret would take letters out of every word
_LINE = 8  # characters from which on a line of a longer secret is one itself
_CUT = re.compile(r"(?:\.\.\.|…)+")
_TOKEN = r"[A-Za-z0-9._~+/\-]"  # RFC 6750, 2.1
# What has no digit is a word, as in "token: none".
_DIGIT = rf"(?P<secret>(?={_TOKEN}*\d){_TOKEN}{{8,}}=*)"
_IS = r"[\\\"']{0,4}[ \t]*[:=][ \t]*[\\\"']{0,4}"  # also in JSON that is a text of JSON
_OPTION = r"--(?=[a-z0-9_])[a-z0-9_-]{0,20}"  # from the last two dashes on, where there are more
# By a sign, as below.
_NAMES = (
    ("token", "token"),
    ("passw", "passw(?:or)?d"),
    ("secret", "secret"),
    ("key", "(?:api|access|secret)[_-]?key"),
)
# By a sign that a text has, in small letters, where one may be in it. None looks at a character
# twice, whatever the text is: a host's output must not hold up what masks it.
_CREDENTIALS = tuple(
    (sign, re.compile(pattern, re.IGNORECASE))
    for sign, pattern in (
        # https://user:secret@host
        ("://", r"://(?<=[\w+.\-]://)[^\s/?#@:\"'<>]*:(?P<secret>[^\s/?#@\"'<>]+)@"),
        ("://", r"(?:(?<=http)|(?<=https))://(?P<secret>[A-Z0-9._~+\-]{20,})@"),
        # Authorization: Basic dXNlcjpwYXNz; "authorization": "Bearer ..."
        (
            "authorization",
            r"\bAuthorization[\"']?\s*[:=]\s*[\"']?(?:(?:Basic|Bearer|Token|Digest)\s+)?"
            rf"(?P<secret>{_TOKEN}{{4,}}=*)",
        ),
        # Bearer hf_...: what has no digit is a word, as in "bearer certificates"
        ("bearer", rf"\bBearer\s+{_DIGIT}"),
        # token: x1..., "k8s_auth_token": "x1...", HF_TOKEN=hf_..., --api-key x1...
        *((sign, rf"{name}{_IS}{_DIGIT}") for sign, name in _NAMES),
        *((sign, rf"{_OPTION}{name}[\\\"',\s]+{_DIGIT}") for sign, name in _NAMES),
        # the base64 of what begins with '-----BEGIN ', as a kubeconfig has keys
        ("ls0tls1crudjti", r"(?-i:LS0tLS1CRUdJTi)(?P<secret>[\w+/=]{8,})"),
        # a JSON Web Token (RFC 7519), as a Kubernetes service account has one
        ("eyj", r"(?-i:eyJ)(?<![\w\-]eyJ)(?P<secret>[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]*)"),
        # a private key in PEM (RFC 7468)
        (
            "private key-----",
            r"PRIVATE KEY-----(?P<secret>[\w+/=\\\s:,]{16,}(?:-(?!----)[\w+/=\\\s:,]*)*)",
        ),
    )
)


class Masker:
    """Redacts the secrets of a run."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        named = {secret for secret in secrets if secret}
        self._values = named | {plain(secret) for secret in named}
        self._forms = {form for value in self._values for form in _forms(value)}
        self._parts = {
            form[at : at + SHORTEST]
            for form in self._forms
            for at in range(len(form) - SHORTEST + 1)
            if len(form) > SHORTEST
        }

    def text(self, text: str) -> str:
        """`text` with every secret in it replaced."""
        parts, end = [], 0
        for start, stop in sorted(self._spans(text)):
            if start >= end:
                parts += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*parts, text[end:]]) if parts else text

    def data(self, data: bytes) -> bytes:
        """The same for bytes, whatever they are."""
        return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def value(self, value: object) -> object:
        """`value`, which is JSON's, in `plain` characters, with every secret in it replaced."""
        if isinstance(value, str):
            return self.text(plain(value))
        if isinstance(value, Mapping):
            return {self.text(plain(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._item(*pair) for pair in zip(["", *value], value, strict=False)]
        # A secret may look like a number (a PIN): it is one all the same.
        return MASK if str(value) in self._values else value

    def _item(self, before: object, item: object) -> object:
        """An item of a list, which may be a command line: `before` is perhaps an option's name."""
        masked = self.value(item)
        if isinstance(before, str) and isinstance(masked, str) and before.startswith("--"):
            line = self.text(f"{before} {masked}")
            return line.removeprefix(f"{before} ") if line.startswith(f"{before} ") else masked
        return masked

    def files(self, paths: Iterable[Path]) -> None:
        """Mask files that others have written."""
        for path in paths:
            if path.is_file() and not path.is_symlink():
                before = path.read_bytes()
                after = self.data(before)
                if after != before:
                    replace(path, after)

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        for form in self._forms:
            yield from _found(form, text)
        small = text.lower()
        for sign, pattern in _CREDENTIALS:
            if sign in small:
                yield from (found.span("secret") for found in pattern.finditer(text))
        if self._parts:
            yield from self._beside_cuts(text)

    def _beside_cuts(self, text: str) -> Iterator[tuple[int, int]]:
        """Beside each cut the characters that stand so, four by four, in a secret."""
        size, least = len(text), 0
        for cut in _CUT.finditer(text):
            start, stop = cut.span()
            at = start - SHORTEST
            while at >= least and text[at : at + SHORTEST] in self._parts:
                at -= 1
            if at < start - SHORTEST:
                yield at + 1, start
            at = stop
            while at + SHORTEST <= size and text[at : at + SHORTEST] in self._parts:
                at += 1
            if at > stop:
                yield stop, at + SHORTEST - 1
            least = max(stop, at)


def _found(form: str, text: str) -> Iterator[tuple[int, int]]:
    """Where it stands in a text; occurrences that overlap are one."""
    size, start = len(form), text.find(form)
    while start >= 0:
        last = start
        while (later := text.rfind(form, last + 1, last + 2 * size - 1)) >= 0:
            last = later
        yield start, last + size
        start = text.find(form, last + size)


def _forms(value: str) -> set[str]:
    """A secret in all its encodings."""
    whole = {value, value.strip()}
    lines = {line.strip() for line in value.splitlines()}
    found = whole | {line for line in lines if len(line) >= _LINE}
    for text in whole:
        found |= _base64(text.encode("utf-8", "surrogateescape"))
    for _ in range(2):
        found |= {form for text in found for form in _escaped(text)}
    return {form for form in found if len(form) >= SHORTEST or form == value}


def _escaped(text: str) -> Iterator[str]:
    data = text.encode("utf-8", "surrogateescape")
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield text.encode("unicode_escape").decode()  # in a test's id
    yield repr(data)[2:-1]
    yield text.replace("'", "'\"'\"'")  # shlex.quote within its quotes
    yield text.replace("'", "'\\''")  # the shell's own
    for url in (quote_from_bytes(data, safe=""), quote_from_bytes(data)):
        for form in (url, url.replace("%20", "+")):
            yield form
            yield re.sub("%..", lambda found: found[0].lower(), form)
    yield escape(text)
    yield html.escape(text)


def _base64(data: bytes) -> set[str]:
    """Its base64, and the parts of it that are the same wherever it stands in a longer text."""
    alone = base64.b64encode(data).decode().rstrip("=")
    found = {alone}
    for width in (64, 76):  # the lines of openssl and of base64(1)
        found |= {alone[at : at + width] for at in range(0, len(alone), width)}
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode()
        whole = (before + len(data)) * 8 // 6  # characters that nothing behind it can change
        found.add(text[-(-before * 8 // 6) : whole])
    found = {form for form in found if len(form) >= _LINE or form == alone}
    return found | {form.replace("+", "-").replace("/", "_") for form in found}
