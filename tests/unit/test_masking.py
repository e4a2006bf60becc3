"""Secrets: every common form of them is found, and a run leaves none behind."""

from __future__ import annotations

import base64
import html
import json
import shlex
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import exits
from harness.record.masking import Masker
from reports import documents
from tests.sample import during
from tests.unit.mini import PLUGINS, REPORTS, Mini, sample

PLAIN = "zebra-4711-in-the-attic"
HARD = 'p\'q "r" <&> \\机密/+%'

ENCODERS: dict[str, Callable[[str], str]] = {
    "literal": str,
    "json": json.dumps,
    "json in Chinese": lambda v: json.dumps([v], ensure_ascii=False),
    "json within json": lambda v: json.dumps(json.dumps({v: v})),
    "repr": repr,
    "repr of bytes": lambda v: repr(v.encode()),
    "test id": lambda v: v.encode("unicode_escape").decode(),
    "repr of json": lambda v: repr(json.dumps(v)),
    "shell": shlex.quote,
    "shell within shell": lambda v: shlex.join(["sh", "-c", f"echo {shlex.quote(v)}"]),
    "url": urllib.parse.quote,
    "url, all of it": lambda v: urllib.parse.quote(v, safe=""),
    "url query": lambda v: urllib.parse.urlencode({"q": v}),
    "url in small letters": lambda v: urllib.parse.quote_plus(v).lower(),
    "xml": html.escape,
    "base64": lambda v: base64.b64encode(v.encode()).decode(),
    "base64 for urls": lambda v: base64.urlsafe_b64encode(v.encode()).decode(),
    "base64 of more, 0": lambda v: base64.b64encode(f"{v}:me".encode()).decode(),
    "base64 of more, 1": lambda v: base64.b64encode(f"root:me{v}".encode()).decode(),
    "base64 of more, 2": lambda v: base64.b64encode(f"root:mine{v}more".encode()).decode(),
}


CREDENTIALS = (
    ("git clone https://me:pa%40ss-1@host/x.git", "git clone https://me:***@host/x.git"),
    ("https://:only@host", "https://:***@host"),
    ("pip --index-url 'https://u:p@h/simple'", "pip --index-url 'https://u:***@h/simple'"),
    ("https://hf_abcdefghijklmnopqrst@host/m", "https://***@host/m"),
    ("curl -H 'Authorization: Bearer hf_Ab.12-34~x=='", "curl -H 'Authorization: Bearer ***'"),
    ('{"authorization": "Basic dXNlcjpwYXNz"}', '{"authorization": "Basic ***"}'),
    ("authorization=abcd1234", "authorization=***"),
    ("sent bearer hf_abc123456789 to", "sent bearer *** to"),
    ("the bearer certificates expired", "the bearer certificates expired"),
    ("    token: abcd1234efgh\n", "    token: ***\n"),
    ('"k8s_auth_token": "x1y2z3w4v5"', '"k8s_auth_token": "***"'),
    ('"{\\"token\\": \\"x1y2z3w4v5\\"}"', '"{\\"token\\": \\"***\\"}"'),
    ("HF_TOKEN=hf_12345678 vllm", "HF_TOKEN=*** vllm"),
    ("AWS_SECRET_ACCESS_KEY=abcd1234+/", "AWS_SECRET_ACCESS_KEY=***"),
    ("vllm --api-key sk-12345678 --port 80", "vllm --api-key *** --port 80"),
    ("['--hf-token', 'hf_12345678']", "['--hf-token', '***']"),
    ("client-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFU\n", "client-key-data: LS0tLS1CRUdJTi***\n"),
    ("a eyJhbGciOiJSUzI1.eyJpc3MiOiJr.c2lnbg b", "a eyJ*** b"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END", "-----BEGIN PRIVATE KEY-----***"
     "-----END"),
    ("token: none, max_tokens=16384000", "token: none, max_tokens=16384000"),
    ("--tokenizer a12345678", "--tokenizer a12345678"),
    ("ssh://root@lab:2222", "ssh://root@lab:2222"),
    ("https://host:8443/a@b", "https://host:8443/a@b"),
    ("http://host:80/ 12:30@noon", "http://host:80/ 12:30@noon"),
)  # fmt: skip


# By number: a test's id is masked, too, and then is another one.
@pytest.mark.finding("F6", "credentials in configurations, process lists and command lines")
@pytest.mark.parametrize("number", range(len(CREDENTIALS)))
def test_credentials_that_nobody_named(number: int) -> None:
    text, masked = CREDENTIALS[number]
    assert Masker().text(text) == masked
    assert Masker(["else"]).data(text.encode()) == masked.encode()


@pytest.mark.parametrize("secret", [PLAIN, HARD])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_secret_in_every_form(secret: str, encoder: str) -> None:
    encode = ENCODERS[encoder]
    before, *_, after = Masker([secret]).text(f"before {encode(secret)} after").split("***")
    assert before.startswith("before ")
    assert after.endswith(" after")
    # What is left over is what stands around any other value, too: quotes, other words.
    assert len(before + after) <= len(f"before {encode('')} after") + 4


@pytest.mark.parametrize(
    ("secrets", "text", "masked"),
    [
        (["hush", "hush-hush"], "hush-hush hush hush-", "*** *** ***-"),
        (["abcdef", "defghi"], "xabcdefghix", "x***x"),
        (["aaaa"], "aaaaaaab", "***b"),
        (["first-line\nsecond-line\n}\n"], "E   first-line\nE   second-line\nE   }", "E   ***\n"
         "E   ***\nE   }"),
        (["file-ends-so\n"], "file-ends-so", "***"),
        (["s3cr3t-value"], "is s3cr3t-v... and ...t-value.", "is ***... and ...***."),
        (["s3cr3t-value"], "s3c... …lue value", "s3c... …lue value"),
        ([], "text...", "text..."),
    ],
)  # fmt: skip
def test_what_is_replaced(secrets: list[str], text: str, masked: str) -> None:
    assert Masker(secrets).text(text) == masked


@pytest.mark.finding("F6", "a credential in a command line's words, as the record has them")
def test_a_word_of_a_command_line_is_known_by_the_one_before_it() -> None:
    words = ["vllm", "--api-key", "sk-12345678", "--port", "8000", "--api-key"]
    assert Masker().value(words) == [*words[:2], "***", *words[3:]]
    assert Masker(["--api"]).value(words[1:3]) == ["***-key", "sk-12345678"]


def test_bytes_that_are_no_text_survive() -> None:
    assert Masker(["hush"]).data(b"\xff hush \xe6\x9c") == b"\xff *** \xe6\x9c"


def test_a_run_leaves_no_secret(tmp_path: Path) -> None:
    suite, plugins = sample("suite_secrets"), [*PLUGINS, REPORTS]
    mini = Mini(tmp_path / "m", during.fail_with_secrets, suite, plugins)
    (mini.folder / "profiles" / "vlab.toml").write_text(
        f'name = "lab {PLAIN}"\nsecrets = ["{PLAIN}", "MINI_HARD"]\n[target]\nkind = "local"\n'
        f'[[waiver]]\nwhat = "{PLAIN}"\nowner = "{PLAIN}"\nreason = "x"\nexpires = 2020-01-31\n'
    )
    secrets = {"MINI_PLAIN": PLAIN, "MINI_HARD": HARD}
    logs = ("junit_logging=all", "junit_family=xunit1", "log_cli=true")
    ini = ["--junitxml=junit.xml", *(word for log in logs for word in ("-o", log))]
    status, out = mini.pytest(
        "-m", "acceptance", "-rA", "-v", "--showlocals", "--color=yes", *ini, environ=secrets
    )
    assert status == exits.RESIDUE, "an undo of it fails"
    for count in ("4 failed", "1 skipped", "1 blocked", "1 xfailed", "1 error"):
        assert count in out, out
    _, shown = mini.pytest("--show-profile", environ=secrets)
    assert 'name = "lab ***"' in shown
    folder = mini.folder / "reports"
    junit = (mini.folder / "junit.xml").read_text()
    written = {"terminal": out, "profile": shown, "junit.xml": junit}
    for path in folder.rglob("*"):
        raw = path.read_bytes() if path.is_file() else b""
        written[str(path.relative_to(folder))] = raw.decode(errors="replace")
    assert len([name for name in written if "/failure" in name]) == 5, written.keys()
    run = mini.last.resolve().relative_to(folder)
    every = ("record.jsonl", *documents.NAMES)
    full = ["terminal", "junit.xml", "runs/history.sqlite", *(f"{run}/{name}" for name in every)]
    assert all("***" in written[name] for name in full)
    for name, text in written.items():
        for pieces in (_pieces(PLAIN), _forms(HARD)):
            left = [piece for piece in pieces if piece in text or piece in name]
            assert not left, (name, left[0], text[max(0, text.find(left[0]) - 300) :][:600])
    mini.record()


def _pieces(secret: str) -> set[str]:
    """Of a secret without characters that anybody escapes: any part of it."""
    return {secret[at : at + 6] for at in range(len(secret) - 5)} | _forms(secret)


def _forms(secret: str) -> set[str]:
    return {encode(secret).strip("'\"=") for encode in ENCODERS.values()}


def test_a_suite_that_cannot_be_collected(tmp_path: Path) -> None:
    suite = "import os\nraise OSError(os.environ['MINI_SECRET'])"
    mini = Mini(tmp_path / "m", suite=suite)
    status, out = mini.pytest("-m", "acceptance", "--showlocals")
    assert status == 2
    assert "OSError: ***" in out
    assert "s3cr3t" not in out
