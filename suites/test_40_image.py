"""The vLLM image is built to its last stage, and containerd has it."""

import hashlib
import re

import pytest

from fixtures import dockerfile
from fixtures.image import ARCHITECTURES, ROOT, Image
from fixtures.platform import Platform
from fixtures.schema import Profile
from harness.host import Host

pytestmark = [pytest.mark.acceptance, pytest.mark.image, pytest.mark.order(40)]


@pytest.mark.clause("image.buildx")
def test_buildx_is_there(image: Image) -> None:
    assert re.search(r"buildx\s+v?\d+\.\d+", image.buildx), (
        f"'docker buildx version' names no version of buildx: {image.buildx!r}"
    )


@pytest.mark.clause("image.context")
def test_context_is_pinned(image: Image, profile: Profile, host: Host) -> None:
    wanted = profile.image
    assert wanted.archive or wanted.dockerfile_sha256 or wanted.recipe, (
        "neither the build context nor the Dockerfile is known by a digest, so nobody can say "
        "what was built: set image.archive or image.dockerfile_sha256 in the profile. The guide "
        "clones a branch, which has moved on to another vLLM since"
    )
    assert host.exists(image.dockerfile), f"{image.dockerfile} is gone since the image was built"


@pytest.mark.clause("image.dockerfile")
def test_dockerfile_is_the_one_that_the_profile_names(image: Image, profile: Profile) -> None:
    wanted = profile.image.dockerfile_sha256
    if profile.image.recipe is not None:
        wanted = hashlib.sha256((ROOT / profile.image.recipe).read_bytes()).hexdigest()
    assert wanted in (None, image.dockerfile_sha256), (
        f"{image.dockerfile} has sha256 {image.dockerfile_sha256}, expected {wanted}"
    )
    assert image.target in image.stages, (
        f"{image.dockerfile} has the stages {image.stages}, none of them '{image.target}'"
    )


@pytest.mark.clause("image.build")
def test_image_is_built_to_the_last_stage(image: Image) -> None:
    assert image.target == image.stages[-1], (
        f"built up to stage '{image.target}', the last one is '{image.stages[-1]}'; the guide's "
        "'--target vllm-base' leaves out modelscope, timm and pciutils, which its later steps "
        "use: the server then ends with an ImportError (corrected in virtCCA_sdk a2f856c)"
    )


@pytest.mark.clause("image.build")
def test_image_is_for_this_machine(image: Image, platform: Platform) -> None:
    wanted = ARCHITECTURES.get(platform.machine, platform.machine)
    assert image.architecture == wanted, (
        f"the image is for {image.architecture}, this machine is {wanted}: its base image is "
        "another architecture's"
    )


@pytest.mark.clause("image.contents")
def test_image_has_the_python_packages(image: Image, profile: Profile) -> None:
    missing = [n for n in profile.image.distributions if n.lower() not in image.distributions]
    assert not missing, (
        f"not among the {len(image.distributions)} Python packages of the image: "
        f"{', '.join(missing)}. Was it built up to the last stage?"
    )


@pytest.mark.clause("image.contents")
def test_image_has_the_programs(image: Image, profile: Profile) -> None:
    missing = [name for name in profile.image.programs if not image.programs.get(name)]
    assert not missing, (
        f"not on PATH in the image: {', '.join(missing)}; the guide calls them in the container "
        "(lspci comes with pciutils, in the last stage alone)"
    )


@pytest.mark.clause("image.contents")
def test_image_asks_for_the_gpu(image: Image) -> None:
    names = [entry.partition("=")[0] for entry in image.environment]
    assert "NVIDIA_VISIBLE_DEVICES" in names or "CUDA_VERSION" in names, (
        "the image's environment has neither NVIDIA_VISIBLE_DEVICES nor CUDA_VERSION: the guest's "
        f"hook then does nothing, without a word. It has {', '.join(names)}"
    )


@pytest.mark.clause("image.security")
def test_security_findings_are_those_of_the_dockerfile(image: Image, host: Host) -> None:
    text = host.read(image.dockerfile)
    reported = {finding.id for finding in image.findings if finding.here}
    found = {rule.id for rule in dockerfile.RULES if dockerfile.present(rule, text)}
    assert found <= reported, (
        f"{image.dockerfile} has changed since it was looked at: {found - reported} are new"
    )


@pytest.mark.clause("image.import")
def test_containerd_has_the_image(image: Image, platform: Platform) -> None:
    wanted = f"linux/{ARCHITECTURES.get(platform.machine, platform.machine)}"
    assert wanted in image.containerd.platforms, (
        f"'ctr image ls' has {image.reference} for {image.containerd.platforms}, not for {wanted}"
    )


@pytest.mark.clause("image.import")
def test_containerd_has_what_docker_built(image: Image) -> None:
    listed = image.containerd
    assert image.image_id in (listed.config, listed.digest), (
        f"{image.reference} in containerd is {listed.config}, docker's {image.tag} is "
        f"{image.image_id}: an older import is still there ('ctr image rm', then import anew)"
    )
