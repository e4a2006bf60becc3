"""What people write by mistake into a profile, and the sentence that each mistake gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from fixtures.profile import Profile
from harness.profile.schema import ProfileError, load
from tests import mistakes
from tests.unit.mini import ROOT

COMMIT = f'commit = "{"0" * 40}"'
GOOD = (ROOT / "profiles" / "kunpeng-virtcca.toml").read_text(encoding="utf-8")
SUBNET = 'subnet = "10.88.0.0/16"'
ADDRESS = '"ssh://root@kunpeng.example:22"'
# What no sentence has in it: patterns, classes, words of Python's and of pydantic's.
NOT_FOR_PEOPLE = re.compile(
    r"\[0-9|\[A-Z|\\x00|\^\[|\$\)|[a-z]Config\b|pydantic|Traceback|Error\b|\bclass\b|NoneType|"
    r"\bstr\b|\bint\b|\bdict\b|\btuple\b|\bTuple\b|constrained|literal\[|should match|Input should"
)

# What is replaced, by what; key; and what the sentence has to say.
MISTAKES = [
    # subnets
    (SUBNET, 'subnet = "10.88.0.5/16"', "network.subnet", "the network of that is 10.88.0.0/16"),
    (SUBNET, 'subnet = "10.88.0.0"', "network.subnet", "the bits are missing"),
    (SUBNET, 'subnet = "8.8.8.0/24"', "network.subnet", "a private IPv4 network such as 10.88.0.0"),
    (SUBNET, 'subnet = "10.88.0.0/31"', "network.subnet", "no room for a gateway and a container"),
    (SUBNET, 'subnet = "fd00::/64"', "network.subnet", "no network of IPv4"),
    (SUBNET, 'subnet = "10.88.0.0/33"', "network.subnet", "no network of IPv4"),
    (SUBNET, 'subnet = "10.88/16"', "network.subnet", "such as 10.88.0.0/16, found string"),
    (SUBNET, 'subnet = "{subnetIp}/{mask}"', "network.subnet", "found string '{subnetIp}/{mask}'"),
    (SUBNET, "subnet = 10.88", "network.subnet", "found float 10.88 (without quotation marks)"),
    (SUBNET, 'subnet = ["10.88.0.0/16"]', "network.subnet", "found array of 1"),
    (SUBNET, 'subnet = ""', "network.subnet", "found string ''"),
    (SUBNET, "", "network.subnet", "such as 10.88.0.0/16, found nothing"),
    # PCI addresses, and what selects a card
    ("count = 1", "bdf = 81", "gpu.bdf", 'a PCI address such as "0000:81:00.0", or an array'),
    ("count = 1", 'bdf = "81:00"', "gpu.bdf.0", "a PCI address such as 0000:81:00.0, found string"),
    ("count = 1", 'bdf = "0000-81-00.0"', "gpu.bdf.0", "a PCI address such as 0000:81:00.0"),
    ("count = 1", 'bdf = "0000:81:20.0"', "gpu.bdf.0", "a PCI address such as 0000:81:00.0"),
    ("count = 1", 'bdf = ["81:00.0", "x"]', "gpu.bdf.1", "found string 'x'"),
    ("count = 1", 'bdf = ["81:00.0", "0000:81:00.0"]', "gpu.bdf", "each PCI address once"),
    ("count = 1", 'bdf = "81:00.0"\ncount = 2', "gpu.count", "found integer 2"),
    (
        "count = 1",
        "count = 0",
        "gpu.count",
        'a number of GPUs, such as 1, or "all", found integer 0',
    ),
    ("count = 1", 'count = "All"', "gpu.count", "found string 'All'"),
    ('vendor = "10de"', 'vendor = "0x10DE"', "gpu.vendor", "four hexadecimal digits"),
    ('vendor = "10de"', "vendor = 4318", "gpu.vendor", "such as 10de, found integer 4318"),
    ('["0300", "0302"]', '["030000"]', "gpu.classes.0", "found string '030000'"),
    ('["0300", "0302"]', '"0300"', "gpu.classes", "an array in brackets such as"),
    # sizes
    ('grow = "20G"', 'grow = "20GB"', "guest.grow", "such as 512M or 20G, found string '20GB'"),
    ('grow = "20G"', 'grow = "20 G"', "guest.grow", "a size in MiB or GiB"),
    ('grow = "20G"', 'grow = "1.5G"', "guest.grow", "a size in MiB or GiB"),
    ('grow = "20G"', "grow = 20", "guest.grow", "found integer 20 (without quotation marks)"),
    ('= "100G"', '= "100T"', "platform.space./var/lib/docker", "found string '100T'"),
    ("default_memory = 20480", 'default_memory = "20480"', "kata.default_memory", "such as 20480"),
    ("default_memory = 20480", "default_memory = 20.5", "kata.default_memory", "a valid integer"),
    ("default_memory = 20480", "default_memory = 64", "kata.default_memory", "or equal to 256"),
    # commits, digests, versions
    (COMMIT, "", "image.commit", "what 'git -C /home/pass-through/vllm-build rev-parse HEAD'"),
    (COMMIT, 'commit = "a2f856c"', "image.commit", "a whole commit of 40 hexadecimal digits"),
    (COMMIT, 'commit = "main"', "image.commit", "found string 'main'"),
    (COMMIT, f'commit = "{"A" * 40}"', "image.commit", "as 'git rev-parse HEAD' prints it"),
    (COMMIT, f'context_sha256 = "sha256:{"0" * 64}"', "image.context_sha256", "sha256sum FILE"),
    ('newer_than = "19.03"', "newer_than = 19.03", "platform.docker_newer_than", "float 19.03"),
    ('newer_than = "19.03"', 'newer_than = "x"', "platform.docker_newer_than", "such as 19.03"),
    ('"550.127.08"', '"v550"', "guest.driver_version", "such as 550.127.08, found string 'v550'"),
    ('"550.127.08"', "550.127", "guest.driver_version", "found float 550.127"),
    (r"'6\.6\.'", "'6.6('", "platform.kernel_release", "a regular expression such as '6"),
    # names
    ('"io.containerd.kata.v2"', '"kata"', "kata.runtime", "such as io.containerd.kata.v2"),
    ('"vllm-cvm:latest"', '"VLLM:latest"', "image.tag", "a name of an image, such as"),
    ('"vllm-cvm:latest"', '"https://x/vllm"', "image.tag", "no digest"),
    ('"cni1"', '"a-bridge-of-a-long-name"', "network.bridge", "at most 15 characters"),
    ('name = "vllmnet"', 'name = "网络"', "network.name", "found string '网络'"),
    ('"CONFIG_VFIO", ', '"VFIO", ', "platform.kernel_options.0", "such as CONFIG_VFIO_PCI"),
    ('"virtcca_cvm_host=1"', '"a=1 b=1"', "platform.tee.parameters.0", "one boot parameter"),
    ('"pciutils"', '"pciutils tar"', "guest.packages.0", "a package as dnf names it"),
    ('kind = "virtcca"', 'kind = "VirtCCA"', "platform.tee.kind", "expected 'virtcca' or 'none'"),
    ('cold_plug_vfio = "root-port"', 'cold_plug_vfio = "no-port"', "kata.cold_plug_vfio", "or"),
    # paths and assets
    ('"/home/kata/rootfs.img"', '"rootfs.img"', "guest.base_image", "an absolute path on the lab"),
    (
        '"/home/kata/rootfs.img"',
        '"~/rootfs.img"',
        "guest.base_image",
        "found string '~/rootfs.img'",
    ),
    ("base_image =", "base_imgae =", "guest.base_imgae", "did you mean 'base_image'?"),
    (
        'work_image = "/var/lib/passthrough-acceptance/rootfs.img"',
        'work_image = "/home/kata/rootfs.img"',
        "guest.work_image",
        "not guest.base_image, which stays as it is, found string",
    ),
    ('Dockerfile.vllm"', 'Dockerfile.vlm"', "image.recipe", "a file of this repository"),
    (COMMIT, 'archive = { source = "ftp://x/y", sha256 = "1" }', "image.archive.source", "a URL"),
    ("# archive = {", "archive = {", "image.archive.sha256", "64 hexadecimal digits"),
    ('context = "/home/pass-through/vllm-build"', "", "image.context", "found neither"),
    ('"type=bind,src=', '"src=', "container.mounts.0", "a value of ctr's --mount"),
    # the target
    (ADDRESS, '"kunpeng.example"', "target.address", "ssh://user@host:port"),
    (ADDRESS, '"root@kunpeng"', "target.address", "found string 'root@kunpeng'"),
    (f"address = {ADDRESS}", "", "target.address", "as kind is 'ssh'"),
    ('kind = "ssh"', 'kind = "SSH"', "target.kind", "'vlab', 'ssh' or 'local', found string 'SSH'"),
    ('kind = "ssh"', "", "target.kind", "one of 'vlab', 'ssh', 'local', found nothing"),
    # TOML's own types
    ("port = 8000", "port = 80000", "model.port", "less than 65536"),
    ("port = 8000", 'port = "8000"', "model.port", "a valid integer such as 8000"),
    ("enable_debug = true", 'enable_debug = "true"', "kata.enable_debug", "true or false"),
    ("rootfs = 3600", 'rootfs = "1h"', "budget.rootfs", "seconds, more than 0, such as 600"),
    ("rootfs = 3600", "rotfs = 3600", "budget.rotfs", "did you mean 'rootfs'?"),
    ("[budget]", "[bugdet]", "bugdet", "did you mean 'budget'?"),
    (
        'max_jobs = "64"',
        "max_jobs = 64",
        "image.build_args.max_jobs",
        "a string in quotation marks",
    ),
    ('terms = ["机密容器"]', 'terms = "机密容器"', "model.terms", 'such as ["机密容器"]'),
    ("secrets = []", 'secrets = "x"', "secrets", "an array in brackets, found string 'x'"),
    ("max_tokens = 256", "max_tokens = 0", "model.max_tokens", "or equal to 1 such as 256"),
    (
        '"--trust-remote-code",',
        '"--tensor-parallel-size", "2",',
        "model.command",
        "a server for the GPUs of gpu.count or gpu.bdf, 1 in all, found one for 2, by its parallel",
    ),
    ("load = [1, 8, 64]", "load = 64", "model.load", "an array in brackets such as [1, 8]"),
    ("load = [1, 8, 64]", "load = [8, 0]", "model.load.1", "a number greater than or equal to 1"),
    ("secrets = []", 'secrets = ["abc"]', "secrets.0", "at least 4 characters"),
    ("secrets = []", 'secrets = ["LAB_TOKEN"]', "secrets.0", "a variable that is set"),
]

# What TOML itself does not take: what is replaced, by what, and what is said of the line.
NO_TOML = [
    (SUBNET, "subnet = “10.88.0.0/16”", "'“' (left double quotation mark), where TOML has \""),
    (SUBNET, 'subnet = "10.88.0.0/16”', "'”' (right double quotation mark), where TOML has \""),
    (SUBNET, "subnet = ＂10.88.0.0/16＂", "'＂' (fullwidth quotation mark), where TOML has"),
    (SUBNET, 'subnet ＝ "10.88.0.0/16"', "'＝' (fullwidth equals sign), where TOML has ="),
    (SUBNET, 'subnet： "10.88.0.0/16"', "'：' (fullwidth colon), where TOML has ="),
    (SUBNET, 'subnet: "10.88.0.0/16"', "no '=' behind the key (line"),
    ("count = 1", "count = １", "'１' (fullwidth digit one), where TOML has 1"),
    ("[network]", "［network］", "where TOML has ["),
    ("[network]", "【network】", "where TOML has ["),
    ("max_tokens = 256", "max_tokens = 256　", "(ideographic space), where TOML has a blank"),
    ('["0300", "0302"]', '["0300"，"0302"]', "'，' (fullwidth comma), where TOML has ,"),
    ("[budget] # ", "[budget] ＃ ", "where TOML has #"),
    (SUBNET, "subnet = 10.88.0.0/16", "text behind the value (line"),
    ("enable_debug = true", "enable_debug = True", "nor true, false or a quoted string (line"),
    ("rootfs = 3600", "rootfs = 1h", "text behind the value (line"),
    (SUBNET, f"{SUBNET}\n{SUBNET}", "a key that has a value already (line"),
    ("[network]", "[gpu]", "the table 'gpu' for the second time"),
    (SUBNET, "subnet = '10.88.0.0/16", "a string without a closing quotation mark (line"),
    ('"什么是机密容器？"', '"""什么是机密容器？', "a beginning without an end: string (at"),
    ("rootfs = 3600", '"rootfs" 3600', "no '=' behind the key (line"),
    (SUBNET, 'subnet = "10.88.0.0/16', "a string without a closing quotation mark (line"),
    ('"/home/kata/rootfs.img"', r'"C:\kata\rootfs.img"', r"a '\' in a string"),
    ("default_memory = 20480", "default_memory =", "neither a number nor"),
    ("[network]", "[network", "no ']' behind the table's name (line"),
]
# The whole file in another encoding: in words, its bytes, and what is said.
ENCODINGS = [
    ("UTF-8 with BOM", b"\xef\xbb\xbf" + GOOD.encode(), "found a byte order mark (BOM)"),
    ("GBK", GOOD.encode("gb18030"), "GBK by its looks (line 2: '# 真实主机模板"),
    ("UTF-16 without BOM", GOOD.encode("utf-16-le"), "expected UTF-8, found byte 0x9e"),
    ("UTF-16", GOOD.encode("utf-16"), "UTF-16: save the file as UTF-8"),
    ("Latin-1", b"name = '\xe9'\n", "found byte 0xe9 at offset 8"),
]

# A variable of the environment, its value, and what is said.
VARIABLES = [
    ("ACCEPT_NETWORK__SUBNT", "10.99.0.0/16", "network.subnt: expected one of"),
    ("ACCEPT_NETWORK__SUBNET", "10.99.0.5/16", "the network of that is 10.99.0.0/16"),
    ("ACCEPT_MODEL__PORT", "eight", "model.port: expected a valid integer such as 8000"),
    ("ACCEPT_PROFILE", "mylab", "which profile it is says --profile"),
    ("ACCEPT_NETWORK__", "10.99.0.0/16", "found an empty part in its name"),
]

# What stands behind --profile, beside a good mylab.toml, and what is said.
NAMES = [
    ("mylba", "profiles here: mylab"),
    ("mylab.toml", "did you mean --profile mylab?"),
    ("labs/mylab.toml", "did you mean --profile mylab?"),
    ("./nowhere.toml", "expected a TOML file, found nothing"),
    ("./", "expected a TOML file, found a directory"),
]


def refused(folder: Path, content: str | bytes) -> list[str]:
    """The lines of a refusal, each without the file's name, which it has to have."""
    path = folder / "my lab.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    lines = said(folder, str(path), {})
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def said(folder: Path, name: str, environ: Mapping[str, str]) -> list[str]:
    """The lines that a profile's name, with this environment, gets; all of them for people."""
    with pytest.raises(ProfileError) as caught:
        load(name, Profile, environ, folder, {"rootfs": 1.0, **dict.fromkeys(STAGES, 1.0)})
    lines = str(caught.value).splitlines()
    for line in lines:
        assert not NOT_FOR_PEOPLE.search(line.replace(str(folder), "").replace(str(ROOT), "")), line
    return lines


STAGES = ("image", "container", "model", "answer", "load")


def test_a_virtual_lab_needs_no_commit(tmp_path: Path) -> None:
    text = GOOD.replace(COMMIT, "")
    text = re.sub("^address = .*$", "", text, count=1, flags=re.MULTILINE)
    text = text.replace('kind = "ssh"', 'kind = "vlab"', 1)
    (tmp_path / "lab.toml").write_text(text)
    assert load("lab", Profile, {}, tmp_path).image.commit is None


@pytest.mark.parametrize(("old", "new", "key", "says"), MISTAKES)
def test_a_mistake_gets_a_sentence(tmp_path: Path, old: str, new: str, key: str, says: str) -> None:
    assert old in GOOD
    lines = [
        line
        for line in refused(tmp_path, GOOD.replace(old, new, 1))
        if line.startswith(f"{key}: expected ")
    ]
    assert [line for line in lines if says in line and ", found " in line], lines


@pytest.mark.parametrize(("old", "new", "says"), NO_TOML)
def test_what_is_no_toml_is_told_by_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    [line] = refused(tmp_path, GOOD.replace(old, new, 1))
    assert line.startswith("expected TOML, found ")
    assert says in line


@pytest.mark.parametrize(("_", "content", "says"), ENCODINGS)
def test_another_encoding_is_named(tmp_path: Path, _: str, content: bytes, says: str) -> None:
    [line] = refused(tmp_path, content)
    assert says in line


def with_variable(folder: Path, name: str, value: str) -> list[str]:
    """What a variable gets, with a profile that is good without it."""
    (folder / "mylab.toml").write_text(GOOD)
    return said(folder, "mylab", {name: value})


@pytest.mark.parametrize(("name", "value", "says"), VARIABLES)
def test_a_variable_is_told_by_its_name(tmp_path: Path, name: str, value: str, says: str) -> None:
    [line] = with_variable(tmp_path, name, value)
    assert line.startswith(f"{name}: ")
    assert says in line


def by_name(folder: Path, name: str) -> list[str]:
    """What a name gets that is none of a profile; a path is one within the folder."""
    (folder / "mylab.toml").write_text(GOOD)
    return said(folder, f"{folder}/{name}" if name.startswith("./") else name, {})


@pytest.mark.parametrize(("name", "says"), NAMES)
def test_a_name_that_is_none_of_a_profile(tmp_path: Path, name: str, says: str) -> None:
    [line] = by_name(tmp_path, name)
    assert says in line


def test_a_mistyped_key_comes_before_the_one_that_is_missing_for_it(tmp_path: Path) -> None:
    text = GOOD.replace("driver_version =", "driver_versoin =", 1)
    keys = [line.partition(":")[0] for line in refused(tmp_path, text)]
    assert keys == ["guest.driver_versoin", "guest.driver_version"]


def test_a_secret_by_a_variable_that_is_set(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(GOOD.replace("secrets = []", 'secrets = ["LAB_TOKEN"]', 1))
    environ = {"LAB_TOKEN": "hunter2"}
    assert load("lab", Profile, environ, tmp_path).secret_values(environ) == ("hunter2",)


def test_the_page_of_mistakes_is_what_is_said() -> None:
    written = mistakes.PAGE.read_text(encoding="utf-8")
    assert written == mistakes.page(), "make it anew: python -m tests.mistakes"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text, keys = GOOD, ["guest.grow", "image.commit", "gpu.vendor", "network.subnet"]
    for key in keys:
        old, new = next((old, new) for old, new, wrong, _ in MISTAKES if wrong == key)
        text = text.replace(old, new, 1)
    assert [line.partition(":")[0] for line in refused(tmp_path, text)] == keys


def test_all_look_alikes_are_told_at_once_and_those_in_good_strings_are_none(
    tmp_path: Path,
) -> None:
    text = GOOD.replace(SUBNET, "subnet ＝ “10.88.0.0/16”", 1)
    text = text.replace("port = 8000", "port： 8000 # （端口）", 1)
    text = text.replace('question = "什么是机密容器？"', 'question = "什么是“机密容器”？"', 1)
    assert ["'＝'" in line or "'：'" in line for line in refused(tmp_path, text)] == [True, True]


def test_a_file_that_is_extended_is_told_with_who_extends_it(tmp_path: Path) -> None:
    [line] = refused(tmp_path, 'extends = "nope.toml"')
    assert line == f"extends: {tmp_path / 'nope.toml'}: expected a TOML file, found nothing"
