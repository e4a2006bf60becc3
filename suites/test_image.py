"""The vLLM image is built to its last stage, and containerd has it."""

import hashlib
import re

import pytest

from fixtures.common.findings import reported
from fixtures.container import hook_chain
from fixtures.image import dockerfile
from fixtures.image.stage import ARCHITECTURES, ROOT, Image
from fixtures.platform.stage import Platform
from fixtures.profile import Profile
from harness.host.host import Host
from harness.run.stage import Run

pytestmark = [pytest.mark.acceptance, pytest.mark.image, pytest.mark.order(40)]


@pytest.mark.clause("image.buildx")
def test_buildx_is_there(image: Image) -> None:
    assert re.search(r"buildx\s+v?\d+\.\d+", image.buildx), (
        f"'docker buildx version' names no version of buildx: {image.buildx!r}"
    )


@pytest.mark.clause("image.context")
def test_context_is_pinned(image: Image, profile: Profile) -> None:
    wanted = profile.image
    if profile.target.kind == "vlab":
        return  # the context is part of the lab's image, which is known by the digest of its recipe
    found = image.context
    assert wanted.archive or wanted.commit or wanted.context_sha256, (
        f"nothing in the profile says what {found.folder} has to be, so nobody can say what was "
        "built: set image.commit, image.context_sha256 or image.archive. The guide clones a "
        "branch, which has moved on to another vLLM since. Found is "
        + (f"commit {found.commit}" if found.commit else "no git checkout")
    )


@pytest.mark.clause("image.context")
def test_context_is_the_pinned_one(image: Image, profile: Profile, host: Host) -> None:
    wanted, found = profile.image, image.context
    assert host.exists(image.dockerfile), f"{image.dockerfile} is gone since the image was built"
    assert wanted.commit in (None, found.commit), (
        f"{found.folder} is at commit {found.commit or 'none'}, and image.commit is "
        f"{wanted.commit}: 'git -C {found.folder} checkout {wanted.commit}'"
    )
    assert not (wanted.commit and found.changed), (
        f"{found.folder} is changed against commit {found.commit}: {', '.join(found.changed[:20])}"
    )
    assert wanted.context_sha256 in (None, found.sha256), (
        f"the files in {found.folder} have digest {found.sha256}, and image.context_sha256 is "
        f"{wanted.context_sha256}: somebody changed them"
    )


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
    names = {name: name.lower().replace("_", "-") for name in profile.image.distributions}
    missing = [name for name, plain in names.items() if plain not in image.distributions]
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
    assert hook_chain.asks_for_gpu(image.environment), (
        "the image's environment asks for no GPU by NVIDIA_VISIBLE_DEVICES (or an old CUDA_VERSION)"
        f": the guest's hook then does nothing, without a word. It has {image.environment}"
    )


@pytest.mark.clause("image.security")
def test_security_findings_are_in_the_record(image: Image, host: Host, run: Run[Profile]) -> None:
    told = {finding.id for finding in reported(run) if finding.here}
    text = host.read(image.dockerfile)
    found = {rule.id for rule in dockerfile.RULES if dockerfile.present(rule, text)}
    assert found <= told, (
        f"{image.dockerfile} has what no finding of this run tells of: {found - told}; was it "
        "changed since it was looked at?"
    )


@pytest.mark.clause("image.security")
@pytest.mark.parametrize("name", [rule.id for rule in dockerfile.RULES if rule.guide])
def test_what_the_guides_dockerfile_weakens_is_told(
    run: Run[Profile], image: Image, name: str
) -> None:
    told = [finding for finding in reported(run) if finding.id == name]
    assert told, (
        f"the guide's Dockerfile has '{name}', and this run says nothing of whether the one that "
        "was built has it, too: fixtures/image/dockerfile.py has the rules"
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
