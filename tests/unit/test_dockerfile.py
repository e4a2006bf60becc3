"""What a Dockerfile says: its stages, and what in it weakens security."""

import hashlib
from types import SimpleNamespace
from typing import cast

import pytest

from fixtures.common.findings import FACT, Finding, report
from fixtures.image import dockerfile
from fixtures.profile import ROOT, Profile
from harness.run.stage import Run

GUIDES = r"""
FROM nvcr.io/nvidia/pytorch:24.07-py3 AS base
# http://comment.example.org is no finding
RUN sed -i "s@http://ports.ubuntu.com@http://mirrors.example.org@g" /etc/apt/sources.list
ARG torch_cuda_arch_list='8.0 9.0+PTX'
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements-cuda.txt
FROM base AS build
RUN git config --global http.sslVerify false
RUN git clone https://github.com/facebookresearch/xformers.git ; cd xformers ; git checkout v0.0.27
RUN pip install --no-deps /workspace/wheels/*.whl
RUN python check-wheel-size.py dist
FROM base AS vllm-base
FROM vllm-base as vllm-openai
"""


def test_stages_come_in_their_order() -> None:
    assert dockerfile.stages(GUIDES) == ["base", "build", "vllm-base", "vllm-openai"]
    assert dockerfile.stages("FROM scratch\nFROM a AS b\n") == ["0", "b"]


# Forms of BuildKit's own grammar (docs.docker.com/reference/dockerfile); not recorded.
FORMS = {
    "a here-document": (
        "FROM python:3.12-slim AS fetch\nRUN python3 <<'PY'\nfrom pathlib import Path\nPY\n"
        "FROM fetch AS vllm-openai\nCOPY <<PY /app/warm.py\nfrom vllm import LLM\nPY\n",
        ["fetch", "vllm-openai"],
    ),
    "two here-documents, one with tabs": (
        'FROM a\nRUN cat <<-"ONE" 3<<TWO\n\tFROM x\n\tONE\nFROM y\n\tTWO\nTWO\nFROM b AS c',
        ["0", "c"],
    ),
    "its end has more on its line": ("FROM a\nRUN <<EOF\nEOF x\nFROM b\nEOF\nFROM c", ["0", "1"]),
    "no here-documents": (
        'FROM a\nRUN ["cat", "<<EOF"]\nRUN echo $((1<<2)) << EOF\nENV A=<<EOF\nFROM b AS c',
        ["0", "c"],
    ),
    "BOM and CRLF": ("\ufeffFROM a AS b\r\nRUN true \\\r\n  && x\r\nFROM b AS c\r\n", ["b", "c"]),
    "BOM": ("\ufeffFROM ubuntu:22.04\nRUN true\n", ["0"]),
    "blanks after a backslash": ("FROM a AS b\nRUN echo a \\ \t\n from=b\nFROM b AS c", ["b", "c"]),
    "comments and empty lines in between": (
        "FROM a AS b\nRUN one \\\n# two \\\n\n  # three\nFROM x\nFROM \\\n  b AS c",
        ["b", "c"],
    ),
    "an escaped backslash at the end": ("FROM a\nRUN echo \\\\\nFROM b AS c", ["0", "c"]),
    "another escape": (
        "# syntax=docker/dockerfile:1\n#escape = `\nFROM a AS b\nRUN x `\n\n y\nRUN c:\\\nFROM b",
        ["b", "1"],
    ),
    "a comment is no directive": ("# a comment\n# escape=`\nFROM a\nRUN x `\nFROM b", ["0", "1"]),
    "small letters, tabs, a platform": ("from\t--platform=$BUILDPLATFORM a as\tB\nrun x", ["B"]),
    "nothing": ("", []),
}


@pytest.mark.case(
    "Dockerfile",
    "here-documents, a byte order mark, blanks behind a backslash",
    source="public Dockerfiles, as buildkit reads them",
)
@pytest.mark.parametrize(("text", "stages"), FORMS.values(), ids=FORMS)
def test_what_is_an_instruction_is_what_buildkit_reads(text: str, stages: list[str]) -> None:
    assert dockerfile.stages(text) == stages


BASE = dockerfile.RULES[2]
HTTP = dockerfile.RULES[1]


@pytest.mark.parametrize(
    ("rule", "text", "arguments", "found"),
    [
        (BASE, "FROM ubuntu", {}, True),
        (BASE, f"FROM ubuntu@sha256:{'0' * 64}", {}, False),
        (BASE, f"FROM ubuntu@sha256:{'0' * 64} AS Base\nFROM base", {}, False),
        (BASE, f"ARG B=x@sha256:{'0' * 64}\nFROM ${{B}}", {}, False),
        (BASE, f"ARG B=x@sha256:{'0' * 64}\nFROM $B", {"B": "x:1"}, True),
        (BASE, "ARG B\nFROM ${B:-scratch}", {}, False),
        (BASE, "ARG B\nFROM ${B:-scratch}", {"B": "x:1"}, True),
        (BASE, f"ARG B\nARG C=x@sha256:{'0' * 64}\nFROM ${{B:-${{C}}}}", {}, False),
        (BASE, f"ARG B=x@sha256:{'0' * 64}\nFROM ${{B:?no base}}", {}, False),
        (HTTP, "FROM scratch\nONBUILD ADD http://a.example/x /x", {}, True),
        (HTTP, "FROM scratch\nARG M=http://m.example\nRUN curl ${M}/a", {}, True),
        (HTTP, "FROM scratch\nARG M=http://m.example\nRUN curl ${M}/a", {"M": "https://m"}, False),
        (HTTP, "ARG M=http://m.example\nFROM scratch\nRUN curl ${M}/a", {}, False),
        (HTTP, "ARG M=http://m.example\nFROM scratch\nARG M\nRUN curl ${M}/a", {}, True),
        (HTTP, "FROM scratch AS a\nENV M http://m.example\nFROM a\nRUN curl $M/a", {}, True),
        (
            HTTP,
            "FROM scratch\nRUN <<EOF\n# http://comment.example\ncurl http://a.example\nEOF",
            {},
            True,
        ),
        (HTTP, "FROM scratch\nRUN <<EOF\n# http://comment.example\nEOF", {}, False),
        (
            HTTP,
            'FROM scratch\nRUN sed -i "s#http://a.example#https://a.example#" /etc/x',
            {},
            False,
        ),
    ],
)
def test_variables_and_here_documents_count(
    rule: dockerfile.Rule, text: str, arguments: dict[str, str], found: bool
) -> None:
    assert dockerfile.present(rule, text, arguments) == found


TLS_OFF = dockerfile.RULES[0]


@pytest.mark.case(
    "Dockerfile",
    "every switch that leaves certificates unchecked",
    source="curl, git, pip, dnf, npm",
)
@pytest.mark.parametrize(
    "line",
    [  # of the programs' manuals and of public Dockerfiles; not recorded
        "RUN curl -kL https://a.example/x -o x",
        "RUN curl -fsSLk https://a.example/x -o x",
        "RUN curl -fsSL --insecure https://a.example/x",
        'RUN ["curl", "-k", "https://a.example/x"]',
        "RUN true \\\n  && curl -sS \\\n  -k https://a.example/x",
        "RUN <<EOF\ncurl \\\n  -k https://a.example/x\nEOF",
        "RUN wget --no-check-certificate https://a.example/x",
        "RUN git -c http.sslVerify=false clone https://a.example/x",
        "RUN git config --global http.sslverify 0",
        'RUN git config --global http."https://a.example/".sslVerify "false"',
        "RUN GIT_SSL_NO_VERIFY=1 git clone https://a.example/x",
        "ENV GIT_SSL_NO_VERIFY true",
        "RUN pip config set global.trusted-host a.example",
        "RUN pip install --trusted-host=a.example x",
        "ENV PIP_TRUSTED_HOST=a.example",
        "COPY <<EOF /etc/pip.conf\n[global]\ntrusted-host = a.example\nEOF",
        "RUN uv pip install --allow-insecure-host a.example x",
        "RUN dnf --setopt=sslverify=false install -y x",
        "RUN echo sslverify=0 >>/etc/dnf/dnf.conf",
        "RUN npm config set strict-ssl false",
        "ENV NPM_CONFIG_STRICT_SSL=false",
        "ENV NODE_TLS_REJECT_UNAUTHORIZED=0",
        "RUN conda config --set ssl_verify no",
        "ENV PYTHONHTTPSVERIFY=0",
        "RUN CURL_CA_BUNDLE= pip install x",
        "RUN apt-get -o Acquire::https::Verify-Peer=false update",
        "RUN skopeo copy --src-tls-verify=false a b",
        "RUN ssh -o StrictHostKeyChecking=no a.example",
        "RUN echo insecure >>/root/.curlrc",
        "RUN python3 <<EOF\nimport requests\nrequests.get(url, verify=False)\nEOF",
        "RUN aws --no-verify-ssl s3 cp s3://a/b c",
    ],
)
def test_each_way_to_leave_certificates_unchecked_is_found(line: str) -> None:
    assert dockerfile.present(TLS_OFF, f"FROM scratch\n{line}")


def test_pip_may_have_options_of_its_own() -> None:
    rule = next(rule for rule in dockerfile.RULES if rule.id == "image.packages-not-pinned")
    assert dockerfile.present(rule, "FROM scratch\nRUN pip3 --no-cache-dir -q install a")


@pytest.mark.parametrize("rule", dockerfile.RULES, ids=lambda rule: rule.id)
def test_each_rule_finds_what_the_guides_has(rule: dockerfile.Rule) -> None:
    assert dockerfile.present(rule, GUIDES)


@pytest.mark.parametrize(
    "harmless",
    [
        "FROM scratch AS base\nFROM Base AS build",
        f"FROM --platform=linux/arm64 debian:13@sha256:{'0' * 64} AS base",
        "RUN curl -fsSL https://example.org/a.tar -o a.tar",
        "RUN curl -fsSLo kit.tar https://example.org/k",
        "RUN curl -sS https://example.org/a && make -k",
        "RUN git config --global http.sslVerify true",
        "RUN conda config --set ssl_verify true",
        "RUN python3 -c 'import requests; requests.get(url, verify=True)'",
        "RUN git -C a checkout -q b",
        f"RUN git clone https://example.org/a.git && git -C a reset --hard {'a' * 40}",
        "RUN curl -fsS http://127.0.0.1:8000/health",
        f"RUN git clone https://example.org/a.git && git checkout {'a' * 40}",
        "RUN pip install --require-hashes -r requirements.txt",
        "RUN python check-wheel-size.py /workspace/wheels",
        'RUN sed -i "s@http://ports.ubuntu.com@${apt_mirror}@g" /etc/apt/sources.list',
    ],
)
def test_what_is_harmless_is_no_finding(harmless: str) -> None:
    assert not [rule.id for rule in dockerfile.RULES if dockerfile.present(rule, harmless)]


def test_what_only_the_guides_has_is_reported_as_such() -> None:
    found = {f.id: f.here for f in dockerfile.findings("FROM scratch\n", ["serve"])}
    assert not any(found.values())
    assert found.keys() >= {"image.tls-off", "model.remote-code"}
    trusting = dockerfile.findings("FROM scratch\n", ["serve", "--trust-remote-code"])
    assert [f.id for f in trusting if f.here] == ["model.remote-code"]


def test_our_own_dockerfile_is_better_than_the_guides() -> None:
    text = (ROOT / "fixtures" / "image" / "Dockerfile.vllm").read_text(encoding="utf-8")
    here = {f.id for f in dockerfile.findings(text, []) if f.here}
    assert dockerfile.stages(text) == ["base", "build", "vllm-base", "vllm-openai"]
    assert not here & {
        *("image.tls-off", "image.plain-http", "image.wheel-check-empty"),
        "image.few-architectures",
    }


def test_the_virtual_labs_profile_pins_the_virtual_labs_dockerfile() -> None:
    found = hashlib.sha256((ROOT / "vlab/standins/model/Dockerfile").read_bytes()).hexdigest()
    assert found in (ROOT / "profiles" / "vlab.toml").read_text(encoding="utf-8")


def test_the_last_report_has_every_finding_once() -> None:
    facts: dict[str, object] = {}
    said: list[str] = []
    run = cast(
        Run[Profile], SimpleNamespace(facts=facts, fact=facts.__setitem__, progress=said.append)
    )
    one = Finding("a", "low", "one", "image.security")
    two = Finding("b", "high", "two", "image.security", here=False)
    report(run, one)
    report(run, two, one)
    assert facts[FACT] == (one, two)
    assert "finding (low): one" in said
    assert not [line for line in said if "two" in line], "what is not so here is not told of"
