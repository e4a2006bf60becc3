"""What a Dockerfile says: its stages, and what in it weakens security."""

import hashlib
from types import SimpleNamespace
from typing import cast

import pytest

from fixtures.common.findings import FACT, Finding, report
from fixtures.image import dockerfile
from fixtures.image.stage import ROOT
from fixtures.profile import Profile
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


@pytest.mark.parametrize("rule", dockerfile.RULES, ids=lambda rule: rule.id)
def test_each_rule_finds_what_the_guides_has(rule: dockerfile.Rule) -> None:
    assert dockerfile.present(rule, GUIDES)


@pytest.mark.parametrize(
    "harmless",
    [
        "FROM scratch AS base",
        "FROM base AS build",
        f"FROM --platform=linux/arm64 debian:13@sha256:{'0' * 64} AS base",
        "RUN curl -fsSL https://example.org/a.tar -o a.tar",
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
