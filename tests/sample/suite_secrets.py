"""Secrets wherever a run might write them: MINI_PLAIN and MINI_HARD are theirs."""

import base64
import json
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import LabError
from harness.run.stage import Run
from tests.sample.stages import Made

pytestmark = pytest.mark.acceptance
PLAIN, HARD = os.environ["MINI_PLAIN"], os.environ["MINI_HARD"]
Property = Callable[[str, object], None]


def collector() -> str:
    raise KeyError(HARD)


def test_command(run: Run[Any]) -> None:
    for secret in (PLAIN, HARD):
        run.host.run("echo", secret, env={"TOKEN": secret})
        run.host.run("sh", "-c", "echo " + shlex.quote(secret))
        run.host.run("sh", "-c", 'env; printf %s "$MINI_HARD" | base64; echo "$MINI_PLAIN" >&2')
        run.fact(secret, {secret: [json.dumps(secret), base64.b64encode(secret.encode()).decode()]})
        run.progress(f"with {secret}")
    run.evidence.register(f"of {PLAIN}", lambda: PLAIN + HARD)
    run.evidence.register("failing", collector)
    run.host.run("sh", "-c", 'echo "$MINI_PLAIN" "$MINI_HARD"; exit 3')


@pytest.mark.parametrize("secret", [PLAIN, HARD])
def test_assertion(
    run: Run[Any],
    secret: str,
    record_property: Property,
    record_testsuite_property: Property,
    record_xml_attribute: Property,
) -> None:
    record_property("token", secret)
    record_testsuite_property("all", secret)
    record_xml_attribute("one", secret)
    long, longer = "x" * 110 + secret + "x" * 110, ["y" * 50 + secret] * 9  # noqa: F841
    print(secret)
    print("err", secret, file=sys.stderr)
    logging.getLogger("x").warning("log %s", secret)
    warnings.warn(secret, stacklevel=1)
    os.system('echo "$MINI_HARD $MINI_PLAIN"')
    assert secret + "1" == secret + "2", {secret: secret.encode()}


def test_chain(run: Run[Any]) -> None:
    try:
        raise KeyError(PLAIN)
    except KeyError as error:
        raise LabError(f"It was '{HARD}'.", hint=PLAIN) from error


def test_skipped(run: Run[Any]) -> None:
    pytest.skip(f"for {PLAIN} and {HARD}")


@pytest.mark.xfail(reason=PLAIN + HARD)
def test_expected(run: Run[Any]) -> None:
    raise OSError(HARD)


def test_stage(two: Made) -> None:
    """Its stage fails."""


def test_after(two: Made) -> None:
    """It is skipped for that."""
