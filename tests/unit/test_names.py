"""Names and versions in the forms that their owners have: docker, containerd, PCI."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.names import image_name, version
from fixtures.profile import GpuConfig, ImageConfig, KataConfig, PlatformConfig

# Cases of github.com/distribution/reference's own tests, and of public reports; not recorded.
TAGS = {
    "vllm": "docker.io/library/vllm:latest",
    "vllm:x": "docker.io/library/vllm:x",
    "library/vllm:x": "docker.io/library/vllm:x",
    "docker.io/vllm:x": "docker.io/library/vllm:x",
    "docker.io/library/vllm:x": "docker.io/library/vllm:x",
    "index.docker.io/vllm:x": "docker.io/library/vllm:x",
    "vllm/vllm-openai:v0.6.3": "docker.io/vllm/vllm-openai:v0.6.3",
    "a/b/c": "docker.io/a/b/c:latest",
    "registry.example.org/vllm:x": "registry.example.org/vllm:x",
    "registry.example.org:5000/vllm:x": "registry.example.org:5000/vllm:x",
    "registry.example.org:5000/a/vllm": "registry.example.org:5000/a/vllm:latest",
    "localhost/vllm:x": "localhost/vllm:x",
    "localhost:5000/vllm:x": "localhost:5000/vllm:x",
    "HOST/vllm:x": "HOST/vllm:x",
    "[2001:db8::1]:5000/vllm:x": "[2001:db8::1]:5000/vllm:x",
    "192.0.2.1:5000/a__b/c--d.e_f:X_1.2-3": "192.0.2.1:5000/a__b/c--d.e_f:X_1.2-3",
}
NO_TAGS = (
    *("", ":x", "vllm:", "VLLM:x", "a/VLLM:x", "a//b", "/a", "a/", "a b", "-a", "a..b", "a___b"),
    *(
        f"a@sha256:{'0' * 64}",
        "a" * 256,
        "0" * 64,
        f"a:{'x' * 129}",
        "a:-x",
        "a:x:y",
        "https://a/b",
    ),
)


@pytest.mark.case(
    "containerd, docker",
    "names with a registry, an organization or neither",
    source="containerd #4510, cri #837, k3s #7015",
)
@pytest.mark.parametrize(("tag", "name"), TAGS.items())
def test_an_image_has_the_name_that_docker_gives_it(tag: str, name: str) -> None:
    assert image_name(tag) == name
    assert image_name(name) == name
    config = ImageConfig(context="/c", tag=tag)
    assert config.tag in (tag, f"{tag}:latest")
    assert image_name(config.tag) == name


@pytest.mark.parametrize("tag", NO_TAGS)
def test_what_docker_takes_for_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="as 'docker build --tag' takes it"):
        ImageConfig(context="/c", tag=tag)


@pytest.mark.case(
    "containerd, docker",
    "versions such as 26.1.0-ce and 20.10.3_ce",
    source="briefcase #1773, ddev #2815",
)
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("18.09.0", (18, 9, 0)),
        ("26.1.0-ce", (26, 1, 0)),  # briefcase #1773
        ("20.10.3_ce", (20, 10, 3)),  # ddev #2815
        ("19.03.15-ce", (19, 3, 15)),
        ("18.06.1-ce-rc2", (18, 6, 1)),
        ("17.05.0~ce-0~debian", (17, 5, 0)),
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("20.10.24+azure-1", (20, 10, 24)),
        ("18.09.0.332", (18, 9, 0, 332)),
        ("27.0.0-rc.1", (27, 0, 0)),
        ("1.13.1-cs9", (1, 13, 1)),
        ("v29.0.1-desktop.1", (29, 0, 1)),
        ("1.7.24~ds1", (1, 7, 24)),
        ("28.3.3-0ubuntu1~24.04.1", (28, 3, 3)),
        ("dev", None),
        ("library-import", None),
        ("", None),
        ("<no value>", None),
    ],
)
def test_of_a_version_the_numbers_count(text: str, numbers: tuple[int, ...] | None) -> None:
    found = version(text)
    assert (found.release if found else None) == numbers


@pytest.mark.case(
    "containerd, docker",
    "a runtime by its shim's name or path, and versions as docker writes them",
    source="containerd #2729",
)
@pytest.mark.parametrize(
    ("section", "good", "bad"),
    [
        (PlatformConfig, {"docker_newer_than": "19.03-ce"}, {"docker_newer_than": "new"}),
        (KataConfig, {"runtime": "io.containerd.kata-qemu.v2"}, {"runtime": "kata"}),
        (KataConfig, {"runtime": "kata.v2"}, {"runtime": "containerd-shim-kata-v2"}),
        (KataConfig, {"runtime": "/opt/kata/bin/containerd-shim-kata-v2"}, {"runtime": ".v2"}),
        (KataConfig, {"runtime": "/opt/kata/bin/shim"}, {"runtime": "bin/kata.v2"}),
        (GpuConfig, {"bdf": "10001:8a:00.0"}, {"bdf": "01:00"}),
    ],
)
def test_a_profile_has_them_in_their_owners_grammar(
    section: Any, good: dict[str, str], bad: dict[str, str]
) -> None:
    section(**good)
    with pytest.raises(ValueError, match=next(iter(bad))):
        section(**bad)


@pytest.mark.case("PCI", "addresses as lspci and nvidia-smi write them", source="torque #451")
@pytest.mark.parametrize("said", ["81:00.0", "0000:81:00.0", "00000000:81:00.0"])
def test_an_address_may_be_written_as_lspci_or_nvidia_smi_do(said: str) -> None:
    assert GpuConfig.model_validate({"bdf": said}).bdf == ("0000:81:00.0",)
    assert GpuConfig.model_validate({"bdf": ["0000:B1:00.0"]}).bdf == ("0000:b1:00.0",)
