"""The vLLM image is built to its last stage, and containerd has it."""

import hashlib
import re

import pytest
from testinfra.host import Host

from fixtures.common.findings import reported
from fixtures.image import build_context, dockerfile, environment
from fixtures.image.stage import ARCHITECTURES, GET_BUILDX, Image
from fixtures.platform.stage import Platform
from fixtures.profile import ROOT, Profile
from harness.outcome import not_assessed
from harness.run.stage import Run


@pytest.mark.clause("image.buildx")
def test_buildx_is_there(image: Image) -> None:
    assert re.search(r"buildx\s+v?\d+\.\d+", image.buildx), (
        f"'docker buildx version' says {image.buildx!r}, expected a version of buildx: {GET_BUILDX}"
    )


@pytest.mark.clause("image.context")
def test_context_is_pinned(image: Image, profile: Profile) -> None:
    wanted, found = profile.image, image.context
    if profile.target.kind == "vlab":
        not_assessed(f"{found.folder} is part of the lab's image, and changes with this project")
    assert wanted.archive or wanted.commit or wanted.context_sha256, (
        f"nothing in the profile says what {found.folder} has to be, so nobody can say what was "
        "built: set image.commit, image.context_sha256 or image.archive. The guide clones a "
        "branch, which has moved on to another vLLM since. Found is "
        + (f"commit {found.commit}" if found.commit else "no git checkout")
    )


@pytest.mark.clause("image.context")
def test_context_is_the_pinned_one(image: Image, profile: Profile) -> None:
    wanted, found = profile.image, image.context
    commit = None if wanted.archive else wanted.commit
    if commit is None and wanted.context_sha256 is None:
        not_assessed(
            f"no image.commit or image.context_sha256 in the profile tells what {found.folder} has "
            "to be (an archive's own digest is compared before it is unpacked, and not after)"
        )
    errors = [*build_context.otherwise(wanted, found)]
    assert not errors, "\n".join(f"{error.message}: {error.hint}" for error in errors)


@pytest.mark.clause("image.dockerfile")
def test_dockerfile_is_the_one_that_the_profile_names(image: Image, profile: Profile) -> None:
    # Of a recipe a copy is on the host, which a reused image was built from some time ago.
    recipe, wanted = profile.image.recipe, profile.image.dockerfile_sha256
    if recipe is not None:
        wanted = hashlib.sha256((ROOT / recipe).read_bytes()).hexdigest()
    if wanted is None:
        not_assessed(
            "no image.recipe or image.dockerfile_sha256 in the profile says which Dockerfile it "
            f"has to be; built from was {image.dockerfile}, sha256 {image.dockerfile_sha256}"
        )
    assert image.dockerfile_sha256 == wanted, (
        f"{image.dockerfile} has sha256 {image.dockerfile_sha256}, expected {wanted}: somebody "
        "changed it; look at it, correct image.dockerfile_sha256 if it is in order, and build anew"
    )


@pytest.mark.clause("image.build")
def test_image_is_built_to_the_last_stage(image: Image) -> None:
    last = "".join(image.stages[-1:])
    assert image.target.lower() == last.lower(), (  # any case will do for docker
        f"built up to stage '{image.target}', the last one is '{last}'; the guide's "
        "'--target vllm-base' leaves out modelscope, timm and pciutils, which its later steps "
        "use: the server then ends with an ImportError (corrected in virtCCA_sdk a2f856c)"
    )


@pytest.mark.clause("image.build")
def test_image_is_for_this_machine(image: Image, platform: Platform) -> None:
    wanted = ARCHITECTURES.get(platform.machine, platform.machine)
    assert image.architecture == wanted, (
        f"the image is for {image.architecture}, this machine is {wanted}: its base image is "
        "another architecture's; name one for this machine in the Dockerfile"
    )


@pytest.mark.clause("image.contents")
def test_image_has_the_python_packages(image: Image, profile: Profile) -> None:
    names = {name: name.lower().replace("_", "-") for name in profile.image.distributions}
    missing = [name for name, plain in names.items() if plain not in image.distributions]
    assert not missing, (
        f"not among the {len(image.distributions)} Python packages of the image: "
        f"{', '.join(missing)} (image.distributions). Was it built up to the last stage "
        "(image.target)?"
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
    why = environment.no_gpu(image.environment)
    assert not why, f"by {image.tag}'s environment a container gets no GPU: {why}"


@pytest.mark.clause("image.security")
def test_security_findings_are_in_the_record(image: Image, host: Host, run: Run[Profile]) -> None:
    told = {finding.id for finding in reported(run) if finding.here}
    text, given = host.file(image.dockerfile).content_string, run.profile.image.build_args
    found = {rule.id for rule in dockerfile.RULES if dockerfile.present(rule, text, given)}
    assert found <= told, (
        f"{image.dockerfile} has what no finding of this run tells of: {found - told}; it was "
        "changed since it was looked at: see who did, and build anew (--provision always)"
    )


@pytest.mark.clause("image.import")
def test_containerd_has_the_image(image: Image, platform: Platform) -> None:
    wanted = f"linux/{ARCHITECTURES.get(platform.machine, platform.machine)}"
    found = image.containerd.platforms
    assert any(f"{one}/".startswith(f"{wanted}/") for one in found), (
        f"'ctr image ls' has {image.reference} for {image.containerd.platforms}, not for {wanted}: "
        "'ctr image rm' removes it; then build and import it on this machine"
    )


@pytest.mark.clause("image.import")
def test_containerd_has_what_docker_built(image: Image) -> None:
    listed = image.containerd
    assert image.image_id in (listed.config, listed.digest), (
        f"{image.reference} in containerd is {listed.config}, docker's {image.tag} is "
        f"{image.image_id}: an older import is still there ('ctr image rm', then import anew)"
    )
