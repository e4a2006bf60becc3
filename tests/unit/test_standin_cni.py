"""The stand-in for cnitool, with a real executable as its plugin."""

import base64
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vlab.standins import cni

# Writes down what it was called with, and answers with one address more than the result it got.
PLUGIN = """\
import json, os, sys
config = json.load(sys.stdin)
seen = {{name: value for name, value in os.environ.items() if name.startswith("CNI_")}}
with open({log!r}, "a") as log:
    log.write(json.dumps({{"plugin": config["type"], "env": seen, "config": config}}) + "\\n")
if config.get("fail") == os.environ["CNI_COMMAND"]:
    print(json.dumps({{"code": 11, "msg": "try again", "details": "later"}}))
    sys.exit(1)
if os.environ["CNI_COMMAND"] == "ADD":
    result = config.get("prevResult") or {{"cniVersion": config["cniVersion"], "ips": []}}
    result["ips"].append({{"address": f"10.0.0.{{len(result['ips']) + 2}}/24"}})
    print(json.dumps(result))
"""
NETNS = "/var/run/netns/vllmnet"
CONTAINER = "cnitool-" + hashlib.sha512(NETNS.encode()).hexdigest()[:20]


class Lab:
    """Folders for one test, and cnitool run in them."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "conf"
        self.log = folder / "log"
        self.cache = folder / "cache" / "results"
        self.plugins = folder / "bin"
        self.conf.mkdir()
        self.plugins.mkdir()
        code = folder / "plugin.py"
        code.write_text(PLUGIN.format(log=str(self.log)))
        for name in ("first", "second"):
            plugin = self.plugins / name
            # By way of the shell: a line with #! cannot name a path that has a space in it.
            plugin.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, str(code)])}\n")
            plugin.chmod(0o755)
        self.env = {
            "NETCONFPATH": str(self.conf),
            "CNI_PATH": f"/absent:{self.plugins}",
            "CNITOOL_CACHE": str(folder / "cache"),
        }

    def configure(self, file: str, content: object) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.conf / file).write_text(text)

    def run(
        self, verb: str, name: str = "vllmnet", netns: str = NETNS, **env: str
    ) -> subprocess.CompletedProcess[str]:
        environ: Mapping[str, str] = {**os.environ, **self.env, **env}
        return subprocess.run(
            [sys.executable, cni.TOOL, verb, name, netns],
            env=dict(environ),
            capture_output=True,
            text=True,
        )

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A configured chain of two plugins."""
    lab = Lab(tmp_path)
    plugins = [{"type": "first", "capabilities": {"mac": True}}, {"type": "second"}]
    chain = {"cniVersion": "0.4.0", "name": "vllmnet", "plugins": plugins}
    lab.configure("50-vllmnet.conflist", chain)
    return lab


def test_add_runs_the_chain_and_prints_the_last_result(lab: Lab) -> None:
    done = lab.run("add")
    assert done.returncode == 0, done.stderr
    assert [ip["address"] for ip in json.loads(done.stdout)["ips"]] == [
        "10.0.0.2/24",
        "10.0.0.3/24",
    ]
    first, second = lab.calls()
    assert first["env"] == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": CONTAINER,
        "CNI_NETNS": NETNS,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "",
        "CNI_PATH": lab.env["CNI_PATH"],
    }
    assert first["config"]["name"] == second["config"]["name"] == "vllmnet"
    assert "prevResult" not in first["config"]
    assert second["config"]["prevResult"]["ips"] == [{"address": "10.0.0.2/24"}]


def test_result_is_cached_as_libcni_does_and_forgotten_after_del(lab: Lab) -> None:
    lab.run("add")
    file = lab.cache / f"vllmnet-{CONTAINER}-eth0"
    entry = json.loads(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    assert entry["kind"] == "cniCacheV1"
    assert entry["containerId"] == CONTAINER
    assert json.loads(base64.b64decode(entry["config"]))["name"] == "vllmnet"
    assert len(entry["result"]["ips"]) == 2
    assert lab.run("del").returncode == 0
    assert not file.exists()


def test_check_and_del_get_the_cached_result_and_del_goes_backwards(lab: Lab) -> None:
    lab.run("add")
    assert lab.run("check").returncode == 0
    assert lab.run("del").returncode == 0
    later = lab.calls()[2:]
    assert [call["plugin"] for call in later] == ["first", "second", "second", "first"]
    assert all(len(call["config"]["prevResult"]["ips"]) == 2 for call in later)
    assert lab.run("del").returncode == 0  # a second time is no error, and has nothing to pass on
    assert "prevResult" not in lab.calls()[-1]["config"]


def test_check_needs_version_0_4_0(lab: Lab) -> None:
    lab.configure("60-old.conf", {"cniVersion": "0.3.1", "name": "old", "type": "first"})
    assert lab.run("add", "old").returncode == 0
    done = lab.run("check", "old")
    assert done.returncode == 1
    assert "does not support the CHECK command" in done.stderr


def test_arguments_and_capabilities_reach_the_plugin(lab: Lab) -> None:
    done = lab.run(
        "add", CNI_IFNAME="net1", CNI_ARGS="A=1;B=2", CAP_ARGS='{"mac": "02::1", "other": 1}'
    )
    assert done.returncode == 0, done.stderr
    first, second = lab.calls()
    assert first["env"]["CNI_IFNAME"] == "net1"
    assert first["env"]["CNI_ARGS"] == "A=1;B=2"
    assert first["config"]["runtimeConfig"] == {"mac": "02::1"}
    assert "runtimeConfig" not in second["config"]
    assert (lab.cache / f"vllmnet-{CONTAINER}-net1").exists()


def test_conflist_comes_before_conf_and_a_malformed_earlier_file_aborts(lab: Lab) -> None:
    lab.configure("10-single.conf", {"cniVersion": "0.4.0", "name": "vllmnet", "type": "absent"})
    assert lab.run("add").returncode == 0
    lab.configure("10-bad.conflist", "{")
    done = lab.run("add")
    assert done.returncode == 1
    assert done.stderr.startswith("error parsing configuration list:")


def test_failing_plugin_is_named_with_its_own_words(lab: Lab) -> None:
    plugin = {"cniVersion": "0.4.0", "name": "bad", "type": "second", "fail": "ADD"}
    lab.configure("60-bad.conf", plugin)
    done = lab.run("add", "bad")
    assert done.returncode == 1
    assert done.stderr == ('plugin type="second" name="bad" failed (add): try again; later\n')
    assert not lab.cache.exists()


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (("add", "nope"), {}, 'no net configuration with name "nope" in'),
        (("add", "vllmnet"), {"CNI_PATH": ""}, "no paths provided"),
        (("add", "vllmnet"), {"CNI_PATH": "/absent"}, 'failed to find plugin "first" in path'),
        (("add", "vllmnet"), {"CNI_ARGS": "A"}, 'invalid CNI_ARGS pair "A"'),
        (("add", "vllmnet"), {"NETCONFPATH": "/absent"}, "no net configurations found in /absent"),
        (("plug", "vllmnet"), {}, "cnitool add   <net> <netns>"),
    ],
)
def test_mistakes_are_one_clear_error(
    lab: Lab, arguments: tuple[str, str], env: dict[str, str], words: str
) -> None:
    done = lab.run(*arguments, **env)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
