"""`python -m harness profile init`: a first profile of a host, and what stands in the way there.

The platform suite judges, by its own assertions, what the platform stage has read: no rule stands
here a second time.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.platform.stage import Platform, PlatformStage
from fixtures.profile import Profile
from fixtures.survey import written
from fixtures.survey.seen import Seen, look, looking, template
from fixtures.survey.written import Obstacle, Setting
from harness import exits
from harness.errors import BadUsage, LabError, Refused, sentence
from harness.host.command import HostUnreachable
from harness.host.host import Host, open_host
from harness.plugin.session import Session
from harness.profile.source import path_of
from harness.record.facts import as_json
from harness.record.trace import at_stage
from harness.undo.journal import Journal, load_all

ABOUT = (
    "read a host (this machine, or that of --ssh or --profile), and print its first profile and"
    " what stands in the way of a run; changes nothing, and asks for no consent"
)
FIRST = "kunpeng-virtcca"  # the template of the profile by which the host is reached


def pytest_acceptance_commands(
    add_to_profile: Callable[..., argparse.ArgumentParser],
    with_session: Callable[[Callable[[Session], int]], Callable[[argparse.Namespace], int]],
) -> None:
    """Add `python -m harness profile init`."""
    parser = add_to_profile("init", help=ABOUT, description=ABOUT)
    parser.add_argument("--ssh", metavar="USER@HOST[:PORT]", help="the host, not this machine")
    parser.add_argument(
        "--profile",
        default=argparse.SUPPRESS,  # that of `profile` itself holds where none is given here
        metavar="NAME|PATH",
        help="the host of this profile, which is extended; with --check it is judged as it is",
    )
    parser.add_argument(
        "--sudo", action="store_true", help="read as root, by sudo -n, as a run does"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the profile there")
    parser.add_argument(
        "--check", action="store_true", help="only what stands in the way; 1 if anything does"
    )
    parser.add_argument("--json", action="store_true", help="all of it as JSON, for an inventory")
    parser.set_defaults(work=with_session(init), allow_local=True)


@dataclass(frozen=True)
class Found:
    """All that there is to tell of a host."""

    host: str
    extends: str
    seen: Seen
    changed: Sequence[Setting]
    platform: Platform | None  # None: it could not be read (an obstacle), or is not looked at
    obstacles: Sequence[Obstacle]


def init(session: Session) -> int:
    """Carry out the command; the exit status. BadUsage for its options, or a profile."""
    given = session.options
    out: Path | None = given.out
    if given.ssh and given.profile:
        raise BadUsage("The host is that of --ssh or that of --profile, and both are given.")
    if out is not None and out.exists():
        raise BadUsage(f"There is '{out}' already, and it is not written over.")
    with tempfile.TemporaryDirectory(prefix="first-look-") as folder:
        try:
            target = _target(session, Path(folder))
            with _opened(session, target, Path(folder)) as host:
                found, text = _read(session, host, Path(folder))
        except BadUsage:
            raise
        except LabError as error:
            session.say(f"ERROR: {error}")
            kinds = {HostUnreachable: exits.UNREACHABLE, Refused: exits.REFUSED}
            return next((s for kind, s in kinds.items() if isinstance(error, kind)), exits.FAILED)
    _tell(session, found, text)
    return exits.FAILED if given.check and found.obstacles else exits.PASSED


def judged(platform: Platform, profile: Profile) -> Iterator[Obstacle]:
    """What of the platform suite fails by these facts, and what stages foresee.

    A test that takes more than facts, profile and TEE is not asked (the one about preflight: what
    stages foresee is told one by one), nor one of the TEE where the profile expects none.
    """
    from suites import test_platform

    known = {"platform": platform, "profile": profile, "tee": platform.tee}
    given = {name: value for name, value in known.items() if value is not None}
    tests = [test for name, test in vars(test_platform).items() if name.startswith("test_")]
    for test in tests:
        needs = inspect.signature(test).parameters
        if not {*needs} <= {*given}:
            continue
        try:
            test(**{key: given[key] for key in needs})
        except AssertionError as error:
            yield Obstacle(_clause(test), sentence(error))
        except pytest.skip.Exception:
            pass  # not assessed
    for one in platform.foreseen:
        yield Obstacle(one.clause, one.says, one.advice)


def _clause(test: Any) -> str:
    marks = {mark.name: mark.args for mark in test.pytestmark}
    return str(marks["clause"][0])


def _target(session: Session, folder: Path) -> Profile:
    """A profile of the host that is to be read: only its target counts."""
    if session.options.profile:
        return _ours(session.profile)
    path = folder / "target.toml"
    extends = str(session.root / "profiles" / f"{FIRST}.toml")
    path.write_text(written.document({"extends": extends, **_head(session)}), "utf-8")
    return _ours(session.load(str(path)))


def _head(session: Session) -> Mapping[str, object]:
    ssh: str | None = session.options.ssh
    if ssh is None:
        return {"target.kind": "local"}
    address = ssh if ssh.startswith("ssh://") else f"ssh://{ssh}"
    return {"target.kind": "ssh", "target.address": address}


def _opened(session: Session, target: Profile, folder: Path) -> AbstractContextManager[Host]:
    if target.target.kind == "vlab":
        return session.connect(folder)
    return open_host(target.target, become=None if session.options.sudo else False)


def _read(session: Session, host: Host, folder: Path) -> tuple[Found, str]:
    """Read a host, and judge it by the profile that comes of that."""
    given = session.options.profile
    profiles = (session.root / "profiles").resolve()
    base_path = path_of(given or template(host), profiles).resolve()
    base = _ours(session.load(str(base_path)))
    seen = look(host, base)
    changed = [] if given and session.options.check else written.settings(seen, base)
    out: Path | None = session.options.out
    name = out.stem if out else seen.name or "mylab"
    head = {"name": name, **({} if given else _head(session))}
    draft = folder / "draft.toml"
    draft.write_text(written.document({"extends": str(base_path), **head}, changed), "utf-8")
    profile = _ours(session.load(str(draft)))
    earlier, obstacles = _journals(session, host)
    run = looking(host, profile, folder, earlier, session.say)
    platform = None
    try:
        if profile.container.access == "ctr":  # else the host of a guest, which no suite looks at
            with at_stage(PlatformStage.name):
                platform = PlatformStage(run, check=False).verify()
            obstacles += judged(platform, profile)
    except HostUnreachable:
        raise
    except LabError as error:  # with which a run would end, too
        obstacles.append(_obstacle(error))
    near = (out.resolve().parent if out else profiles) == base_path.parent
    extends = base_path.name if near else str(base_path)
    others = sorted({path.stem for path in profiles.glob("*.toml")} - {base_path.stem})
    notes = [
        f"What is not set here has its value, and its meaning, in {extends}. It could also extend "
        f"{', '.join(others)}. A run on this very machine wants --allow-local.",
        *written.elsewhere(os.environ),
        *written.remarks(seen, platform, base),
    ]
    text = written.document({"extends": extends, **head}, changed, notes)
    obstacles = written.worst_first(obstacles)
    return Found(host.name, extends, seen, changed, platform, obstacles), text


def _journals(session: Session, host: Host) -> tuple[list[Journal], list[Obstacle]]:
    """The journals of earlier runs, and why a run would be refused because of them."""
    earlier: list[Journal] = []
    try:
        earlier = load_all(host, session.state_dir)
        session.refuse_leftovers(host, earlier)
    except HostUnreachable:
        raise
    except LabError as error:
        return earlier, [_obstacle(error)]
    return earlier, []


def _obstacle(error: LabError) -> Obstacle:
    return Obstacle(error.clause or "", error.message, error.hint or "")


def _tell(session: Session, found: Found, text: str) -> None:
    given = session.options
    out: Path | None = given.out
    if out is not None and not given.check:
        try:
            out.write_text(text, "utf-8")
        except OSError as error:
            raise BadUsage(f"'{out}' cannot be written: {error.strerror}.") from error
        session.say(f"{out}: the profile of '{found.host}'.")
    if given.json:
        session.say(json.dumps(_as_json(found), ensure_ascii=False, indent=2))
        return
    lines = "\n".join(written.checklist(found.obstacles, found.seen, found.platform))
    if given.check or out is not None:
        session.say(lines)
    else:  # all of it is a profile, whatever it is written into
        session.say(f"{text}\n{written.commented(lines)}".rstrip())


def _as_json(found: Found) -> Mapping[str, object]:
    return {
        "host": found.host,
        "extends": found.extends,
        "profile": {key: value for one in found.changed for key, value in one.values.items()},
        "seen": as_json(found.seen, "seen"),
        "platform": as_json(found.platform, "platform"),
        "in_the_way": as_json(found.obstacles, "in_the_way"),
    }


def _ours(profile: object) -> Profile:
    assert isinstance(profile, Profile)
    return profile
