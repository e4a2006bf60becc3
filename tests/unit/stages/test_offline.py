"""What comes from outside gets to the host, and an offline run has nothing else."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fixtures.common import install
from fixtures.common.findings import reported
from fixtures.common.preflight import LOOK
from fixtures.container import served
from fixtures.image import dockerfile
from fixtures.image.stage import ImageStage
from fixtures.model.stage import ModelStage
from fixtures.rootfs import repositories
from fixtures.rootfs.stage import RootfsStage
from harness.errors import LabError
from harness.host.host import REPLACE, Host
from harness.record.trace import at_stage
from harness.run.assets import Asset
from harness.run.stage import StageFailed
from harness.undo.journal import _SAVE as SAVE
from tests.unit.replay import ReplayHost, Reply, Words
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab, record

GUEST = record().profile["guest"]
BYTES = b"of whatever kind"
DIGEST = hashlib.sha256(BYTES).hexdigest()
ELSEWHERE = {"source": "https://example.org/it.tar", "sha256": DIGEST}
BASE = "vllm-base:1"
EXISTS = '[ -e "$1" ] ||'
STATE = "/var/lib/passthrough-acceptance"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that was carried in."""
    found = tmp_path / "carried"
    found.mkdir()
    Asset(ELSEWHERE["source"], DIGEST).cached(found).write_bytes(BYTES)
    return found


def offline(make_lab: MakeLab, folder: Path, **settings: Mapping[str, Any]) -> Lab:
    """A lab with such settings that takes all from the folder."""
    lab = make_lab(settings=settings)
    lab.run.offline = folder
    host = lab.host
    host.spare(LOOK)
    host.spare(install.DIGEST)  # nothing is there
    host.spare(install.FRESH)
    host.spare(EXISTS, STATE, status=1)
    host.spare(SAVE, status=3)
    host.spare("&& sha256sum <")
    host.spare("mkdir -p --")
    host.spare("stat -L -c %n", out="a listing\n")
    host.spare("rm -f -- /")
    host.spare(REPLACE)
    host.spare(install.UNPACK)
    return lab


def told(lab: Lab, kind: type[RootfsStage] | type[ImageStage] | type[ModelStage]) -> list[str]:
    """What a stage foresees."""
    with at_stage("platform"):
        return [f"{error.clause}: {error.message}" for error in kind.preflight(lab.run)]


def begun(lab: Lab, job: str) -> str:
    """The command of a job."""
    lines = [" ".join(words) for words in lab.host.asked]
    [line] = [line for line in lines if "setsid -f" in line and job in line]
    return line


def in_docker(host: ReplayHost, name: str, *ids: str) -> None:
    """docker has an image of a name; at first none, where the first id is ''."""
    turns = iter(ids)

    def inspected(words: Words) -> Reply:
        if image_id := next(turns, ids[-1]):
            return Reply(out=json.dumps([{"Id": image_id}]))
        return Reply(1, "[]\n", f"Error response from daemon: No such image: {name}")

    host.reply(f"docker image inspect {name}", by=inspected)


def test_the_driver_comes_to_its_path_and_dnf_has_the_archive_alone(
    make_lab: MakeLab, folder: Path
) -> None:
    guest = {"driver_asset": ELSEWHERE, "repository_asset": ELSEWHERE}
    lab = offline(make_lab, folder, guest={**guest, "packages_archive": ELSEWHERE})
    assert told(lab, RootfsStage) == []
    lab.bring("rootfs")
    packages = f"{STATE}/packages-{DIGEST[:16]}"
    kept = {entry.what for entry in lab.run.journal.entries if entry.durable}
    assert kept > {
        *(f"make '{GUEST[key]}'" for key in ("driver", "repository")),
        f"unpack {ELSEWHERE['source']} to {packages}",
    }
    sent = [words[4] for words in lab.host.asked if words[2:3] == (REPLACE,)]
    assert {GUEST["driver"], GUEST["repository"], f"{packages}.archive"} < {*sent}
    dnf = begun(lab, "rootfs-dnf")
    assert shlex.join(repositories.alone(packages)) in dnf
    assert "reposdir=/tmp" not in dnf
    assert "rootfs.driver-not-pinned" not in {finding.id for finding in reported(lab.run)}


def test_a_file_that_is_another_at_its_path_is_not_written_over(
    make_lab: MakeLab, folder: Path
) -> None:
    lab = offline(make_lab, folder, guest={"driver_asset": ELSEWHERE})
    lab.host.reply(install.DIGEST, GUEST["driver"], out=f"{'0' * 64}\n")
    lab.host.reply("/etc/yum.repos.d", out="")
    [said] = told(lab, RootfsStage)
    assert said.startswith(f"rootfs.driver: {GUEST['driver']} on lab has sha256 {'0' * 64}, and")
    assert said.endswith(DIGEST)
    with pytest.raises(StageFailed, match="has sha256 000"):
        lab.bring("rootfs")
    assert lab.journal() == []


def test_what_is_at_its_path_already_is_not_sent_again(make_lab: MakeLab, folder: Path) -> None:
    lab = offline(make_lab, folder, guest={"driver_asset": ELSEWHERE})
    lab.host.reply(install.DIGEST, GUEST["driver"], out=f"{DIGEST}\n")
    lab.bring("rootfs")
    assert not [what for what in lab.journal() if GUEST["driver"] in what]


REPOS = """
[OS]
name=OS
baseurl=http://repo.openeuler.org/openEuler-24.03-LTS/OS/$basearch/
enabled=1
[update]
metalink=https://mirrors.openeuler.org/metalink
enabled=0
[here]
baseurl=file:///srv/lab/rpms
[libnvidia-container]
mirrorlist = https://nvidia.github.io/x
"""


def test_repositories_of_the_network_are_told_beforehand(make_lab: MakeLab, folder: Path) -> None:
    lab = offline(make_lab, folder)
    lab.host.reply("/etc/yum.repos.d", out=REPOS)
    assert told(lab, RootfsStage) == [
        f"rootfs.packages: dnf would take packages of repository '{name}' from {where}, and the "
        "run is offline"
        for name, where in [
            ("OS", "http://repo.openeuler.org/openEuler-24.03-LTS/OS/$basearch/"),
            ("libnvidia-container", "https://nvidia.github.io/x"),
        ]
    ]


def test_repositories_that_are_no_text_of_theirs_are_dnfs_to_judge() -> None:
    assert [*repositories.of_the_network("no section\n")] == []


def test_with_a_network_repositories_are_not_looked_at(lab: Lab) -> None:
    assert told(lab, RootfsStage) == []
    assert not [words for words in lab.host.asked if "cat -- " in words[2:3]]


def test_an_image_is_built_on_what_was_carried_in_and_without_a_network(
    make_lab: MakeLab, folder: Path
) -> None:
    bases = {"recipe": "fixtures/image/Dockerfile.offline", "build_args": {"BASE": BASE}}
    lab = offline(make_lab, folder, image={**bases, "bases": {BASE: ELSEWHERE}})
    in_docker(lab.host, BASE, "", "", "sha256:base")
    lab.host.reply("docker load --input", out=f"Loaded image: {BASE}\n")
    lab.host.reply(f"cat -- {STATE}/Dockerfile", out="FROM x\n")
    lab.host.reply(EXISTS, f"{STATE}/Dockerfile")
    assert told(lab, ImageStage) == []
    lab.bring("image")
    assert "docker buildx build --progress plain --network none --file" in begun(lab, "image-build")
    kept = {entry.what: entry.undo for entry in lab.run.journal.entries if entry.durable}
    assert kept[f"docker image sha256:base as {BASE} from {DIGEST}"][0][-2:] == (
        *(BASE, "sha256:base"),
    )
    archive = f"{STATE}/base.tar"
    assert ("rm", "-f", "--", archive) in lab.host.asked


def test_an_archive_without_the_base_that_it_is_named_for(make_lab: MakeLab, folder: Path) -> None:
    lab = offline(make_lab, folder, image={"bases": {BASE: ELSEWHERE}})
    in_docker(lab.host, BASE, "")
    lab.host.reply("docker load --input", out="Loaded image: another:1\n")
    with pytest.raises(StageFailed, match=f"pins for {BASE} has no image of that name"):
        lab.bring("image")
    assert [entry for entry in lab.run.journal.entries if entry.durable] == []


def test_a_base_of_somebody_else_is_not_built_on(make_lab: MakeLab, folder: Path) -> None:
    lab = offline(make_lab, folder, image={"bases": {BASE: ELSEWHERE}})
    in_docker(lab.host, BASE, "sha256:theirs")
    [said] = told(lab, ImageStage)
    assert said.startswith(f"image.build: docker has an image {BASE} that was not loaded from")


def test_a_base_that_an_earlier_run_has_loaded_is_there(make_lab: MakeLab, folder: Path) -> None:
    lab = make_lab(
        settings={"image": {"bases": {BASE: ELSEWHERE}}},
        ours=[("image", f"docker image sha256:base as {BASE} from {DIGEST}")],
    )
    in_docker(lab.host, BASE, "sha256:base")
    lab.run.offline = folder
    assert told(lab, ImageStage) == []


def test_what_a_build_would_fetch_is_told_beforehand(make_lab: MakeLab, folder: Path) -> None:
    lab = offline(make_lab, folder, image={"recipe": "fixtures/image/Dockerfile.vllm"})
    in_docker(lab.host, "nvcr.io/nvidia/pytorch:24.07-py3", "")
    recipe = "/var/lib/passthrough-acceptance/Dockerfile"
    assert told(lab, ImageStage) == [
        f"image.build: {recipe} is built on nvcr.io/nvidia/pytorch:24.07-py3, which docker does "
        "not have, and the run is offline",
        f"image.build: {recipe} has {dockerfile.FETCHES.text}, and the run is offline",
    ]


@pytest.mark.parametrize(
    ("instruction", "fetches"),
    [
        ("RUN apt-get update", True),
        ("RUN dnf -y install gcc", True),
        ("RUN pip install vllm", True),
        ("RUN git clone --depth 1 https://github.com/x/y", True),
        ("ADD https://example.org/x /x", True),
        ("RUN curl -LO https://example.org/x", True),
        ("RUN pip install --no-index --find-links /wheels vllm", False),
        ("RUN pip install --no-deps /workspace/wheels/*.whl", False),
        ("RUN curl -f http://127.0.0.1:8000/health", False),
        ("COPY requirements.txt .", False),
        ("ENV URL=https://example.org", False),
    ],
)
def test_what_fetches_and_what_does_not(instruction: str, fetches: bool) -> None:
    assert dockerfile.present(dockerfile.FETCHES, f"FROM x\n{instruction}\n") is fetches


def test_the_bases_of_a_dockerfile() -> None:
    text = "ARG B=a/b\nFROM ${B} AS one\nFROM scratch\nFROM one\nFROM x:1@sha256:0\n"
    assert dockerfile.bases(text) == ["a/b:latest", "x:1@sha256:0"]
    assert dockerfile.bases(text, {"B": "h:5000/c"})[0] == "h:5000/c:latest"


def test_a_model_from_an_archive_is_mounted_and_served(make_lab: MakeLab, folder: Path) -> None:
    lab = offline(make_lab, folder, model={"archive": ELSEWHERE})
    where = f"{STATE}/model-{DIGEST[:16]}"
    with at_stage("container"):
        mounts = served.mounts(lab.run, "container")
    assert mounts[-1] == f"type=bind,src={where},dst=/model,options=rbind:ro"
    assert f"unpack {ELSEWHERE['source']} to {where}" in lab.journal()
    command = served.command(lab.run.profile)
    assert command[command.index("--model") + 1] == served.MOUNT
    assert command[:3] == ("env", "HF_HUB_OFFLINE=1", "DO_NOT_TRACK=1")
    assert told(lab, ModelStage) == []


def test_a_model_by_its_name_is_told_beforehand(make_lab: MakeLab, folder: Path) -> None:
    target = {"kind": "ssh", "address": "ssh://root@kunpeng"}
    image = {"context_sha256": DIGEST}
    lab = offline(make_lab, folder, target=target, image=image)
    assert told(lab, ModelStage) == [
        "model.ready: the model server would fetch 'qwen/Qwen1.5-1.8B-Chat', and the run is offline"
    ]
    lab.run.offline = None
    assert told(lab, ModelStage) == []


def test_what_was_brought_goes_with_restore(local: Host, tmp_path: Path) -> None:
    """And with it the folders that were made for it."""
    there = tmp_path / "there"
    there.mkdir()
    path = there / "of" / "ours" / "driver.run"
    fresh = local.sh(install.FRESH, str(path)).out.splitlines()
    assert fresh == [str(there / "of" / "ours"), str(there / "of")]
    assert not local.sh(install.DIGEST, str(path)).out
    path.parent.mkdir(parents=True)
    path.write_bytes(BYTES)
    assert install.found_there(local, Asset("/x", DIGEST), str(path), "guest.driver")
    with pytest.raises(LabError, match="has sha256"):
        install.found_there(local, Asset("/x", "0" * 64), str(path), "guest.driver")
