"""Profiles: strict TOML with inheritance and environment overrides, and errors to act upon."""

from __future__ import annotations

import datetime
import ipaddress
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic

from harness.errors import BadUsage
from harness.host.transport import SshEndpoint
from harness.profile.errors import UnknownName, Wanted, explain, no_text, wrong_at
from harness.profile.source import Source, read
from harness.record.masking import SHORTEST, Masker

__all__ = [
    "BaseProfile",
    "Budgets",
    "Policy",
    "ProfileError",
    "Section",
    "Target",
    "Wanted",
    "load",
    "show",
    "wrong_at",
]

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_PASSWORD = re.compile(r"ssh://[^@/]*:[^/]*@")
# Within brackets an IPv6 address, with a zone where it is link-local (RFC 4007; %25 as RFC 6874
# has it in a URL). Not urllib's: to that a zone is an error, and port 0 none.
_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[^@:/\s]+)@)?"
    r"(?:\[(?P<ip>[0-9A-Fa-f:.]+)(?:%(?:25)?(?P<zone>[\w.\-]+))?\]"
    r"|(?P<name>[^-:/@\s\[\]][^:/@\s\[\]]*))(?::(?P<port>\d+))?/?"
)


class ProfileError(BadUsage):
    """A profile that cannot be used; its text has one line an error."""


class Section(pydantic.BaseModel):
    """A table of a profile: frozen, no unknown keys, no silent conversion of types."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class Target(Section):
    """The address of the lab host."""

    kind: Literal["vlab", "ssh", "local"]
    address: str | None = None  # ssh://user@host:port, for kind ssh alone
    identity: Path | None = None  # private key; default: what the user's ssh offers
    known_hosts: Path | None = None  # default: the user's own

    @pydantic.model_validator(mode="after")
    def _address_fits(self) -> Target:
        form = "of the form ssh://user@host:port, such as ssh://root@kunpeng.example:22"
        if self.kind != "ssh":
            if self.address is not None:
                raise wrong_at("address", f"no target.address, as kind is '{self.kind}'")
        elif self.address is None:
            raise wrong_at("address", f"target.address, as kind is 'ssh', {form}")
        elif _PASSWORD.match(self.address):
            says = "no password in target.address: ssh takes keys (target.identity)"
            raise wrong_at("address", says, found="one")
        else:
            try:
                self.endpoint()
            except ValueError:
                raise wrong_at("address", f"target.address {form}") from None
        return self

    def endpoint(self) -> SshEndpoint:
        """The address of a target of kind ssh, taken apart; ValueError when there is none."""
        found = _ADDRESS.fullmatch(self.address or "")
        port = int((found and found["port"]) or 22)
        if found is None or not 0 < port < 65536:
            raise ValueError(f"'{self.address}' is no ssh://user@host:port")
        host = found["name"] or str(ipaddress.IPv6Address(found["ip"]))
        return SshEndpoint(
            user=urllib.parse.unquote(found["user"] or "root"),
            host=f"{host}%{found['zone']}" if found["zone"] else host.lower(),
            port=port,
            identity=self.identity.expanduser() if self.identity else None,
            known_hosts=self.known_hosts.expanduser() if self.known_hosts else None,
        )


class Policy(Section):
    """Choices for a run, where the command line makes none."""

    provision: Literal["auto", "always", "never"] = "auto"
    keep: Literal["never", "on-failure", "always"] = "never"
    # How the host is compared before a run and after its undo: files by what stat(2) tells, or all
    # by their sha256; and what others change meanwhile: shell patterns of 'KIND ITEM', as a
    # difference is told ('file /var/lib/myagent/*').
    fingerprint: Literal["quick", "full"] = "quick"
    others: tuple[str, ...] = ()
    # A folder that 'python -m harness prefetch' has filled: a run takes nothing from elsewhere.
    offline: Path | None = None


class Waiver(Section):
    """A figure that may be worse than its band for a while (`--baseline`), and who says so."""

    what: str = pydantic.Field(min_length=1)  # as summary.json names it: 'stage rootfs seconds'
    owner: str = pydantic.Field(min_length=1)
    reason: str = pydantic.Field(min_length=1)
    expires: datetime.date  # the last day on which it holds, UTC


def _known(name: str, info: pydantic.ValidationInfo) -> str:
    """A name in [budget]; `load` says in the context which there are."""
    if info.context is not None and name not in info.context:
        raise UnknownName(info.context)
    return name


# Seconds by a stage's name.
Budgets = dict[
    Annotated[str, pydantic.AfterValidator(_known)],
    Annotated[float, pydantic.Field(gt=0), Wanted("seconds, more than 0, such as 600")],
]


class BaseProfile(Section):
    """The sections of a profile that the harness itself needs."""

    name: str = pydantic.Field(min_length=1, examples=["mylab"])
    target: Target
    policy: Policy = Policy()
    waiver: tuple[Waiver, ...] = ()
    # Each the name of an environment variable whose value is secret, or else the value itself; at
    # least harness.record.masking.SHORTEST characters. What could be a name has to be one that is
    # set: the name would be masked otherwise, and the secret not.
    secrets: tuple[str, ...] = ()
    # `test` and `command` are for a test by itself, and for one command of a test's `host`; other
    # names are stages'. All are for a host of usual pace. A schema's default are names that it has
    # beside the stages' own.
    budget: Budgets = pydantic.Field(default_factory=dict)

    @property
    def place(self) -> str:
        """Which host it is, as far as a profile can tell; '' where each run has one of its own.

        Two names of one host are two places here; its lock tells.
        """
        if self.target.kind == "ssh":
            end = self.target.endpoint()
            return f"{end.host}:{end.port}"
        return "this very machine" if self.target.kind == "local" else ""

    def secret_values(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """The texts that must not appear in anything that a run writes."""
        return tuple(environ.get(entry) or entry for entry in self.secrets if entry)


P = TypeVar("P", bound=BaseProfile)


def load(
    name_or_path: str,
    schema: type[P],
    environ: Mapping[str, str],
    search: Path,
    budgets: Mapping[str, float] | None = None,
) -> P:
    """The profile `search`/NAME.toml, or that of a path, with ACCEPT_* of `environ` laid over it.

    `budgets` are the stages' own, which [budget] may change, and no others; None: any. Raises
    ProfileError for whatever is wrong with it, and nothing else.
    """
    source = read(name_or_path, environ, search)
    default = schema.model_fields["budget"].get_default(call_default_factory=True)
    known: dict[str, float] = {**default, **(budgets or {})}
    problems = source.problems
    if not problems:
        try:
            profile = _validate(schema, source, None if budgets is None else known)
        except pydantic.ValidationError as error:
            problems = explain(error, schema, source)
        except (ValueError, RecursionError) as error:  # what JSON cannot carry
            problems = [f"{source.file}: expected values that JSON can hold: {error}"]
        else:
            problems = _unmasked(profile, source, environ)
            if not problems:
                return profile.model_copy(update={"budget": {**known, **profile.budget}})
    # What is said to be wrong may well be a secret.
    raise ProfileError(Masker(_declared(source, environ)).text("\n".join(problems)))


def _declared(source: Source, environ: Mapping[str, str]) -> list[str]:
    """The secrets of a profile that may not be valid."""
    entries = source.tree.get("secrets", [])
    entries = entries if isinstance(entries, list) else [entries]
    values = [environ.get(entry) or entry for entry in entries if isinstance(entry, str)]
    return [value for value in values if len(value) >= SHORTEST]  # else every word would have it


def _unmasked(profile: BaseProfile, source: Source, environ: Mapping[str, str]) -> list[str]:
    """A line for each secret that cannot be masked: its variable is not set, or it is too short.

    One of few characters would stand in every other word.
    """
    problems = []
    for index, entry in enumerate(profile.secrets):
        value = (environ.get(entry) or entry).strip()
        head = f"{source.where(('secrets',))}: secrets.{index}: expected"
        if len(value) < SHORTEST:
            by = " as the value of this variable" if environ.get(entry) else ""
            problems.append(f"{head} at least {SHORTEST} characters{by}, found {len(value)}")
        elif not environ.get(entry) and _VARIABLE.fullmatch(entry):
            problems.append(
                f"{head} the name of a variable that is set (or a secret itself, which is not of"
                " capital letters, digits and _ alone), found none of that name"
            )
    return problems


def _validate(schema: type[P], source: Source, budgets: Mapping[str, float] | None) -> P:
    try:
        return schema.model_validate_json(source.as_json(), context=budgets)
    except pydantic.ValidationError as error:
        # ACCEPT_X=10 reads as a number; where a string is wanted, it was meant as one.
        wanted = [e["loc"] for e in error.errors() if no_text(e)]
        if not source.take_as_text(wanted):
            raise
    return schema.model_validate_json(source.as_json(), context=budgets)


def show(profile: BaseProfile, environ: Mapping[str, str]) -> str:
    """The effective profile as TOML, secrets masked."""
    import tomlkit

    data: Any = profile.model_dump(mode="json", exclude_none=True)
    masked = Masker(profile.secret_values(environ)).value(data)
    assert isinstance(masked, dict)
    return tomlkit.dumps(masked)
