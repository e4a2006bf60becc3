"""A profile is parsed, or refused in sentences; never a traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.profile import Profile
from harness.profile.schema import BaseProfile, Budgets, ProfileError, Section, load, show
from tests.unit.mini import ROOT


class Network(Section):
    subnet: str = "10.0.0.0/8"
    ports: tuple[int, ...] = ()
    mtu: int | None = None


class Demo(BaseProfile):
    network: Network = Network()
    disks: dict[str, Network] = {}  # noqa: RUF012
    budget: Budgets = {"test": 120.0}  # noqa: RUF012


GOOD = 'name = "demo"\n[target]\nkind = "vlab"\n'


def put(folder: Path, text: str | bytes, name: str = "demo") -> Path:
    path = folder / f"{name}.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def get(folder: Path, environ: dict[str, str] | None = None, name: str = "demo") -> Demo:
    return load(name, Demo, environ or {}, folder)


def refused(folder: Path, environ: dict[str, str] | None = None, name: str = "demo") -> str:
    with pytest.raises(ProfileError) as caught:
        get(folder, environ, name)
    return str(caught.value)


def test_a_name_and_a_path(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD)
    assert get(tmp_path).name == "demo"
    assert load(str(path), Demo, {}, tmp_path / "none") == get(tmp_path)


def test_it_is_frozen(tmp_path: Path) -> None:
    put(tmp_path, GOOD)
    with pytest.raises(ValueError, match="frozen"):
        get(tmp_path).network.subnet = "x"


def test_extends_merges_tables(tmp_path: Path) -> None:
    put(tmp_path, GOOD + '[network]\nsubnet = "a"\nports = [1]\n', "base")
    (tmp_path / "sub").mkdir()
    put(tmp_path / "sub", 'extends = "../base.toml"\n[network]\nports = [2, 3]\n', "child")
    demo = get(tmp_path, name=str(tmp_path / "sub" / "child.toml"))
    assert demo.network == Network(subnet="a", ports=(2, 3))


def test_a_target_of_another_kind_inherits_no_address(tmp_path: Path) -> None:
    base = 'name = "base"\n[target]\nkind = "ssh"\naddress = "ssh://root@base:22"\n'
    put(tmp_path, base, "base")
    put(tmp_path, 'extends = "base.toml"\n[target]\nkind = "local"\n', "child")
    target = get(tmp_path, name="child").target
    assert (target.kind, target.address) == ("local", None)


def test_a_cycle_is_told(tmp_path: Path) -> None:
    put(tmp_path, 'extends = "b.toml"', "a")
    put(tmp_path, 'extends = "a.toml"', "b")
    assert "extends: expected no cycle, found a.toml -> b.toml -> a.toml" in refused(
        tmp_path, name="a"
    )


def test_the_environment_is_laid_over(tmp_path: Path) -> None:
    put(tmp_path, GOOD)
    environ = {
        "ACCEPT_NETWORK__SUBNET": "10.1.0.0/16",
        "ACCEPT_NETWORK__MTU": "1400",
        "ACCEPT_NETWORK__PORTS": "[1, 2]",
        "ACCEPT_NAME": "10",  # reads as a number; a name is a string
        "OTHER": "x",
    }
    demo = get(tmp_path, environ)
    assert demo.network == Network(subnet="10.1.0.0/16", mtu=1400, ports=(1, 2))
    assert demo.name == "10"


def test_one_line_an_error_and_each_says_where(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD + '[network]\nsubnte = "a"\nmtu = "big"\n[disks.x]\nprots = [1]\n')
    lines = refused(tmp_path, {"ACCEPT_POLICY__KEEP": "maybe"}).splitlines()
    assert len(lines) == 4
    joined = "\n".join(sorted(lines))
    assert f"{path}: network.subnte: expected one of mtu, ports, subnet, found 'subnte'" in joined
    assert "did you mean 'subnet'?" in joined
    assert f"{path}: network.mtu: expected a valid integer, found string 'big'" in joined
    assert f"{path}: disks.x.prots: " in joined
    assert "did you mean 'ports'?" in joined
    assert "ACCEPT_POLICY__KEEP: policy.keep: expected 'never', 'on-failure' or 'always'" in joined


BUDGETS = {"gpu": 120.0, "model": 3600.0}


def test_a_budget_is_the_profiles_or_the_stages_own(tmp_path: Path) -> None:
    put(tmp_path, GOOD + "[budget]\nmodel = 5\n")
    demo = load("demo", Demo, {"ACCEPT_BUDGET__TEST": "7"}, tmp_path, BUDGETS)
    assert demo.budget == {"gpu": 120.0, "model": 5.0, "test": 7.0}


def test_a_budget_of_nobody_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, GOOD + "[budget]\nmodle = 5\ngpu = 0\n")
    with pytest.raises(ProfileError) as caught:
        load("demo", Demo, {"ACCEPT_BUDGET__X": "1"}, tmp_path, BUDGETS)
    assert sorted(str(caught.value).splitlines()) == [
        f"{path}: budget.gpu: expected seconds, more than 0, such as 600, found integer 0",
        f"{path}: budget.modle: expected one of gpu, model, test, found 'modle';"
        " did you mean 'model'?",
        "ACCEPT_BUDGET__X: budget.x: expected one of gpu, model, test, found 'x'",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name = ", "expected TOML, found"),
        (b"\xff\xfe", "expected UTF-8, found byte 0xff at offset 0"),
        (b"", 'name: expected a value such as "mylab", found nothing'),
        (b"extends = 3", "extends: expected the name of a file, found int"),
        (b'extends = "nope.toml"', "nope.toml: expected a TOML file, found nothing"),
        (b"x = " + b"[" * 3000 + b"]" * 3000, "nested too deeply"),
        (b"x = " + b"9" * 5000, "expected TOML, found"),
        (
            b'name = "a"\n[target]\nkind = "ssh"',
            "target.address: expected target.address, as kind is 'ssh'",
        ),
        (b'name = "a"\n[target]\nkind = "ssh"\naddress = "host"', "of the form ssh://user@host"),
        (b'name = "a"\n[target]\nkind = "vlab"\naddress = "ssh://h"', "expected no target.address"),
        (b'name = 2024-01-01T00:00:00\n[target]\nkind = "x"', "target.kind: expected 'vlab'"),
    ],
)
def test_what_is_wrong_is_one_clean_line(tmp_path: Path, content: bytes, says: str) -> None:
    put(tmp_path, content)
    assert says in refused(tmp_path)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").mkdir()
    assert "found a directory" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.toml")
    assert "is no file" in refused(tmp_path, name="pipe")
    assert "found nothing; profiles here: demo, pipe" in refused(tmp_path, name="other")
    assert "found" in refused(tmp_path, name="a\0b")
    assert "found" in refused(tmp_path, name="x" * 5000)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ssh://u@h:22", ("u", "h", 22)),
        ("ssh://h", ("root", "h", 22)),
        ("ssh://lab@[fe80::1]:2222", ("lab", "fe80::1", 2222)),
        ("ssh://root@[fe80::1%eth0]", ("root", "fe80::1%eth0", 22)),
        ("ssh://root@[fe80::1%25eth0.7]:23", ("root", "fe80::1%eth0.7", 23)),
        ("ssh://a%20b@Host", ("a b", "host", 22)),
    ],
)
@pytest.mark.finding("F20", "an address with a zone, or with port 0, is another one")
def test_an_address(tmp_path: Path, address: str, expected: tuple[str, str, int]) -> None:
    put(tmp_path, f'name = "a"\n[target]\nkind = "ssh"\naddress = "{address}"\n')
    end = get(tmp_path).target.endpoint()
    assert (end.user, end.host, end.port) == expected


@pytest.mark.parametrize(
    "address",
    [
        *("ssh://u@-oProxyCommand=x", "ssh://u@h:99999", "ssh://u@h:0", "http://h"),
        *("ssh://u@[fe80::1%]", "ssh://u@[fe80::1%a b]", "ssh://u@[1:2]", "ssh://u@[fe80::1%-o/x]"),
    ],
)
def test_no_address(tmp_path: Path, address: str) -> None:
    put(tmp_path, f'name = "a"\n[target]\nkind = "ssh"\naddress = "{address}"\n')
    assert "of the form ssh://user@host:port" in refused(tmp_path)


@pytest.mark.parametrize("user", ["root:hunter2", "root:hunt@er2", ":hunter2", "root:"])
def test_a_password_is_refused_and_not_shown(tmp_path: Path, user: str) -> None:
    put(tmp_path, f'name = "a"\n[target]\nkind = "ssh"\naddress = "ssh://{user}@h"\n')
    text = refused(tmp_path)
    assert "expected no password in target.address: ssh takes keys (target.identity)" in text
    assert "er2" not in text


def test_show_masks_secrets(tmp_path: Path) -> None:
    put(tmp_path, 'secrets = ["TOKEN", "plain-one"]\n' + GOOD)
    environ = {"TOKEN": "demo"}
    text = show(get(tmp_path, environ), environ)
    assert "plain-one" not in text
    assert tomlkit.parse(text)["name"] == "***"


@pytest.mark.parametrize(
    ("entry", "environ", "found"),
    [("abc", {}, "found 3"), ("", {}, "found 0"), ("PIN", {"PIN": "12\n"}, "variable, found 2")],
)
def test_a_secret_that_stands_in_every_word(
    tmp_path: Path, entry: str, environ: dict[str, str], found: str
) -> None:
    put(tmp_path, f'secrets = ["long enough", "{entry}"]\n' + GOOD)
    text = refused(tmp_path, environ)
    assert "secrets.1: expected at least 4 characters" in text
    assert text.endswith(found)


@pytest.mark.parametrize("secrets", ['["TOKEN"]', '["hunter2"]', '"hunter2"'])
def test_an_error_shows_no_secret(tmp_path: Path, secrets: str) -> None:
    put(tmp_path, f"secrets = {secrets}\n{GOOD}[policy]\nkeep = 'hunter2'\n")
    text = refused(tmp_path, {"TOKEN": "hunter2"})
    assert "found string '***'" in text
    assert "hunter2" not in text


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.datetimes()
    | st.sampled_from(["(", "10.0.0.0/33", "/x", "8G", "0000:00:00.0", "ssh://h", "auto"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "subnet", "kind", "a b"]), inner, max_size=3)
    ),
    max_leaves=8,
)
QUIET = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# The demonstration's own, and that of the project, each with a profile that is good.
SCHEMAS = pytest.mark.parametrize(
    ("schema", "good"),
    [(Demo, GOOD), (Profile, f'extends = "{ROOT}/profiles/vlab.toml"\n')],
    ids=["demo", "project"],
)
Schema = type[BaseProfile]


def _keys(schema: type[Section]) -> list[tuple[str, ...]]:
    """The path of every key that a schema knows, and of tables that it does not."""
    found: list[tuple[str, ...]] = [("x",), ("disks", "a", "mtu"), ("extends",)]
    for name, field in schema.model_fields.items():
        found.append((name,))
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found += [(name, *rest) for rest in _keys(kind)]
    return found


def _tree(changes: list[tuple[tuple[str, ...], object]]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for path, value in changes:
        node: Any = tree
        for part in path[:-1]:
            node[part] = node = node[part] if isinstance(node.get(part), dict) else {}
        node[path[-1]] = value
    return tree


def _parsed_or_refused(folder: Path, environ: dict[str, str], schema: Schema = Demo) -> None:
    try:
        assert isinstance(load("demo", schema, environ, folder), schema)
    except ProfileError as error:
        lines = str(error).splitlines()
        assert lines
        assert all(": expected " in line for line in lines)


@SCHEMAS
@QUIET
@given(data=st.data())
def test_any_values(tmp_path: Path, schema: Schema, good: str, data: st.DataObject) -> None:
    change = st.tuples(st.sampled_from(_keys(schema)), VALUES.filter(lambda v: v is not None))
    tree = _tree(data.draw(st.lists(change, min_size=1, max_size=3)))
    put(tmp_path, good, "base")
    try:
        text = 'extends = "base.toml"\n' + tomlkit.dumps(tree)
        raw = text.encode()
    except (ValueError, TypeError):  # what TOML cannot say
        return
    put(tmp_path, raw)
    _parsed_or_refused(tmp_path, {}, schema)


def test_no_number_is_a_name(tmp_path: Path) -> None:
    put(tmp_path, "name = nan\n")
    _parsed_or_refused(tmp_path, {})


@QUIET
@given(
    raw=st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace"))
)
def test_any_bytes(tmp_path: Path, raw: bytes) -> None:
    put(tmp_path, raw)
    _parsed_or_refused(tmp_path, {})


ODD = st.sampled_from(["{}", "[[1]]", "nan", "1\nx=2", "\udcff"])


@SCHEMAS
@QUIET
@given(data=st.data())
def test_any_environment(tmp_path: Path, schema: Schema, good: str, data: st.DataObject) -> None:
    put(tmp_path, good)
    names = ["__".join(path).upper() for path in _keys(schema)]
    key = data.draw(st.sampled_from([*names, "", "__"]) | st.text(max_size=8))
    value = data.draw(st.text(max_size=20) | ODD | VALUES.map(str))
    _parsed_or_refused(tmp_path, {f"ACCEPT_{key}": value}, schema)
