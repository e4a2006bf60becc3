"""image: what is somebody else's stays, a build that fails has its cause told, and what is there
is what containerd and docker both have."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fixtures.common import install
from fixtures.common.findings import reported
from fixtures.image import build_context, inspect, ours
from fixtures.image import stage as image
from fixtures.profile import ROOT
from harness.errors import LabError
from harness.host.command import ProgramMissing
from harness.host.host import Host
from harness.record.trace import at_stage
from harness.run.stage import StageFailed
from harness.undo.journal import Journal
from harness.undo.undo import undo
from tests.unit.conftest import named
from tests.unit.replay import ReplayHost, Reply, Words
from tests.unit.stages.conftest import MakeLab
from tests.unit.stages.lab import Lab, Refusal, about, record

WANTED = record().profile["image"]
FACTS = record().facts["image"]
TAG, REFERENCE, ID = WANTED["tag"], FACTS["reference"], FACTS["image_id"]
MANIFEST = FACTS["containerd"]["digest"]
CONTEXT = WANTED["context"]
DOCKERFILE = f"{CONTEXT}/Dockerfile"
INSPECT = f"docker image inspect {TAG}"
LISTING = "ctr image ls name=="
BUILDX = "docker buildx version"
OURS = [
    ("image", f"docker image {ID} as {TAG}"),
    ("image", f"containerd image {MANIFEST} as {REFERENCE}"),
]
BEGUN = [f"docker build {TAG}", f"ctr image import {REFERENCE}"]
EXISTS = '[ -e "$1" ] ||'
NOT_THERE = {"status": 1, "out": "[]\n", "err": f"Error response from daemon: No such image: {TAG}"}
HEAD = "REF TYPE DIGEST SIZE PLATFORMS LABELS \n"
OTHER = "sha256:" + "0" * 64


def there(host: ReplayHost, *, docker: bool = False, containerd: bool = False) -> None:
    """docker or containerd has an image of our name."""
    if docker:
        host.reply(INSPECT, out=json.dumps([{"Id": ID}]))
    if containerd:
        host.reply(LISTING, out=f"{HEAD}{REFERENCE} application/x {MANIFEST} 1 MiB linux/amd64 -\n")
        host.reply(f"ctr content get {MANIFEST}", out="{}")


REFUSED = [
    Refusal(
        "docker has another's",
        lambda host: there(host, docker=True),
        (f"docker has an image {TAG} that no run of ours has made",),
        "name another image.tag",
        "image.build",
    ),
    Refusal(
        "containerd has another's",
        lambda host: there(host, containerd=True),
        (f"containerd has an image {REFERENCE} that no run of ours has made",),
        "'ctr image rm'",
        "image.build",
    ),
    Refusal(
        "both have another's",
        lambda host: there(host, docker=True, containerd=True),
        (f"docker has an image {TAG} and containerd has an image {REFERENCE}",),
        "--provision never",
        "image.build",
    ),
    Refusal(
        "no buildx",
        lambda host: host.reply(BUILDX, status=1, err="docker: 'buildx' is not a docker command."),
        ("docker has no buildx",),
        "docker-buildx-plugin",
        "image.buildx",
    ),
    Refusal(
        "no Dockerfile",
        lambda host: host.reply(EXISTS, DOCKERFILE, status=1),
        (f"there is no {DOCKERFILE} on lab",),
        "image.context in the profile",
        "image.context",
    ),
]


@pytest.mark.parametrize("refusal", REFUSED, ids=about)
def test_what_cannot_be_begun_is_refused_and_nothing_changed(lab: Lab, refusal: Refusal) -> None:
    refusal.of(lab, "image")
    assert not lab.journal()


def test_what_a_run_of_ours_has_made_is_made_anew(make_lab: MakeLab) -> None:
    lab = make_lab(ours=OURS)
    turns = iter([json.dumps([{"Id": ID}])])

    def inspected(words: Words) -> Reply:
        first = next(turns, "")
        return Reply(out=first) if first else lab.host.recorded_last(words)

    lab.host.reply(INSPECT, by=inspected)
    lab.bring("image")
    assert [what for what in lab.journal() if "docker build" in what] == [BEGUN[0]]


# What docker says of a build, and what is to be done.
SAYS = [
    (
        'ERROR: target stage "vllm-opena" could not be found',
        "image.target names no stage of the Dockerfile",
    ),
    ("dial tcp: lookup nvcr.io on 10.0.2.3:53: no such host", "give docker a proxy"),
    ("dial tcp 104.18.121.25:443: i/o timeout", "give docker a proxy"),
    ("curl: (6) Could not resolve host: github.com", "a mirror"),
    ("write /var/lib/docker/x: No space left on device", "docker system df"),
    ("pull access denied, repository does not exist", "docker login nvcr.io"),
    ("401 unauthorized: authentication required", "docker login nvcr.io"),
    ("failed to fetch anonymous token: 401 Unauthorized", "docker login nvcr.io"),
    ("net/http: TLS handshake timeout", "a mirror"),
    ("ERROR: Cannot connect to the Docker daemon at unix:///x. Is it running?", "docker.service"),
    ("ERROR: process did not complete successfully: exit code: 2", "image-build.txt"),
    ("#9 0.1 cc: /src: Permission denied\nERROR: failed to solve", "image-build.txt"),
    # What is above the error has been got over.
    ("#9 0.1 Could not resolve host: x, trying again\n#9 ERROR: exit code: 2", "image-build.txt"),
    # Where the step says it itself, far above the end: the Dockerfile follows.
    ("ERROR: x\n > [2/3] RUN:\n1.0 No space left on device\n" + 400 * "Dockerfile\n", "system df"),
]


@pytest.mark.case(
    "containerd, docker",
    "what buildkit says of a build that fails",
    source="messages of docker and buildkit",
)
@pytest.mark.parametrize(("says", "hint"), SAYS)
def test_a_build_that_fails_has_its_likely_cause_told(lab: Lab, says: str, hint: str) -> None:
    Refusal(
        "",
        lambda host: host.job("image-build", 1, f"#1 [internal] load\n{says}\n"),
        ("Job 'image-build'", "ended with exit status 1", says.rpartition("\n")[2]),
        hint,
        "image.build",
    ).of(lab, "image")


def test_what_a_build_said_long_before_its_end_is_not_its_cause(lab: Lab) -> None:
    passed = "#9 ls: Permission denied\n" + "#9 gcc -c x.c\n" * 200
    Refusal(
        "",
        lambda host: host.job("image-build", 1, f"{passed}ERROR: exit code: 2\n"),
        ("Job 'image-build'", "ERROR: exit code: 2"),
        "image-build.txt",
        "image.build",
    ).of(lab, "image")


def test_the_job_ends_before_anything_that_it_makes_is_taken_away(lab: Lab) -> None:
    lab.bring("image")
    made = [BEGUN[0], f"docker save to {lab.run.journal.state}/image.tar", BEGUN[1]]
    assert lab.journal()[:4] == [*made, "job 'image-build'"]


def test_what_a_build_has_made_is_kept_by_its_identity(lab: Lab) -> None:
    lab.bring("image")
    entries = {entry.what: entry for entry in lab.run.journal.entries}
    kept = {what for what, entry in entries.items() if entry.durable}
    assert kept == {what for _, what in OURS}
    pending = {entry.what for entry in lab.run.journal.pending()}
    assert pending & {*BEGUN, *kept} == kept
    assert [entries[what].undo[0][-1] for _, what in OURS] == [ID, MANIFEST]


@pytest.mark.finding("C15", "a build that fails leaves a claim on its name")
def test_a_build_that_fails_leaves_no_claim(lab: Lab) -> None:
    lab.host.job("image-build", 1, "ERROR: no\n")
    with pytest.raises(StageFailed):
        lab.bring("image")
    assert [entry for entry in lab.run.journal.entries if entry.durable] == []


@pytest.mark.parametrize("theirs", [0, 1])
def test_an_image_that_has_taken_the_name_of_ours_is_somebody_elses(
    make_lab: MakeLab, theirs: int
) -> None:
    known = list(OURS)
    known[theirs] = ("image", known[theirs][1].replace((ID, MANIFEST)[theirs], OTHER))
    lab = make_lab(ours=known)
    there(lab.host, docker=True, containerd=True)
    with pytest.raises(StageFailed, match="that no run of ours has made") as caught:
        lab.bring("image")
    assert ("docker has", "containerd has")[theirs] in caught.value.message
    assert ("containerd has", "docker has")[theirs] not in caught.value.message
    assert not lab.journal()


def test_a_build_of_another_tag_forgets_nothing(make_lab: MakeLab) -> None:
    path = "/var/lib/passthrough-acceptance/stages/image"
    lab = make_lab(provision="auto")
    lab.host.reply(EXISTS, path)
    lab.host.reply(f"cat -- {path}", out="another's inputs and id\n")
    lab.bring("image")
    kept = lab.host.written[path].splitlines()
    assert kept[0] == "another's inputs and id"
    assert kept[1].endswith(f" {ID}")
    assert not any(words[:2] == ("rm", "-f") and path in words for words in lab.host.asked)


# docker and containerd as far as they are asked: names in files, with the id in each.
PROGRAMS = {
    "docker": """
[ ! -e "$IMAGES/down" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
case "$1 $2 $3 $4" in
    version*) ;;
    "image inspect --format {{.Id}}") cat "$IMAGES/docker/$5" ;;
    "image inspect --format {{len"*)
        [ -e "$IMAGES/$5" ] || exit 1
        grep -lx "$5" "$IMAGES"/docker/* | wc -l ;;
    "image rm --force"*)
        id=$(cat "$IMAGES/docker/$4"); rm "$IMAGES/docker/$4"
        grep -qrx "$id" "$IMAGES/docker" || rm "$IMAGES/$id" ;;
    "image rm"*) rm "$IMAGES/$3" ;;
    "save -o"*) head -c 3000000 /dev/zero >"$3" ;;
    *) exit 9 ;;
esac
""",
    "ctr": """
[ ! -e "$IMAGES/down" ] || { echo "cannot dial" >&2; exit 1; }
case "$1 $2" in
    "image ls") echo "REF TYPE DIGEST SIZE PLATFORMS LABELS"
        name=${3#name==}
        [ ! -e "$IMAGES/ctr/$name" ] ||
            echo "$name application/x $(cat "$IMAGES/ctr/$name") 1 MiB linux/amd64 -" ;;
    "content get") echo "{\\"config\\": {\\"digest\\": \\"$(cat "$IMAGES/$3")\\"}}" ;;
    "image rm") rm "$IMAGES/ctr/$4" ;;
    "image import") touch "$IMAGES/leases/7-ours" ${ALSO:+"$IMAGES/leases/$ALSO"}
        cat >"$IMAGES/imported"; exit 1 ;;
    "leases ls") ls "$IMAGES/leases" ;;
    "leases rm") rm "$IMAGES/leases/$4" ;;
    *) exit 9 ;;
esac
""",
}


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The images of a docker and a containerd."""
    (tmp_path / "bin").mkdir()
    for name, script in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}")
        (tmp_path / "bin" / name).chmod(0o755)
    folder = tmp_path / "images"
    for kind in ("docker", "ctr", "leases"):
        (folder / kind).mkdir(parents=True)
    monkeypatch.setenv("IMAGES", str(folder))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return folder


def made(images: Path, image_id: str, digest: str) -> None:
    """Docker builds an image under the name `ours`, and containerd gets it."""
    (images / image_id).write_text(image_id)
    (images / "docker" / "ours").write_text(f"{image_id}\n")
    (images / digest).write_text(image_id)
    (images / "ctr" / "ours").write_text(digest)


def left(images: Path) -> set[str]:
    return {str(path.relative_to(images)) for path in images.rglob("*") if path.is_file()}


def forget(host: Host, folder: Path, image_id: str, digest: str, noted: bool) -> list[str]:
    """Take both back: as the job noted docker's id, or as they are kept for later runs."""
    journal = Journal.create(host, named("run"), str(folder / "state"))
    note = folder / "note"
    for script, named_by in ((ours.REMOVE_DOCKER, image_id), (ours.REMOVE_CONTAINERD, digest)):
        text, last = (ours.NOTED + script, str(note)) if noted else (script, named_by)
        when = [*ours.IS_NOTED, str(note)] if noted else None
        journal.record("image", "made", [["sh", "-euc", text, "sh", "ours", last]], when)
    return [result.outcome for result in undo(journal, True)]


@pytest.mark.parametrize("noted", [True, False])
def test_restore_removes_what_we_built(
    local: Host, tmp_path: Path, images: Path, noted: bool
) -> None:
    made(images, ID, MANIFEST)
    (tmp_path / "note").write_text(f"{ID}\n")
    assert forget(local, tmp_path, ID, MANIFEST, noted) == ["undone"] * 2
    assert left(images) == {MANIFEST}  # containerd's content goes by its own collector


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.finding("C15", "--restore removes an image that somebody else has under our name")
def test_restore_never_removes_an_image_of_somebody_else(
    local: Host, tmp_path: Path, images: Path, noted: bool
) -> None:
    """What a failed build would have been, or what was removed since, has another's name now."""
    made(images, OTHER, "sha256:theirs")
    before = left(images)
    (tmp_path / "note").write_text(f"{ID}\n")
    assert forget(local, tmp_path, ID, MANIFEST, noted) == ["undone"] * 2
    assert left(images) == before


def test_of_a_build_that_came_to_nothing_nothing_is_removed(
    local: Host, tmp_path: Path, images: Path
) -> None:
    made(images, OTHER, "sha256:theirs")
    before = left(images)
    assert forget(local, tmp_path, ID, MANIFEST, noted=True) == ["not needed"] * 2
    assert left(images) == before


def test_an_image_of_ours_whose_name_went_to_another_goes(
    local: Host, tmp_path: Path, images: Path
) -> None:
    """But for one to which somebody has given a name."""
    made(images, ID, MANIFEST)
    made(images, OTHER, "sha256:theirs")
    assert forget(local, tmp_path, ID, MANIFEST, noted=False) == ["undone"] * 2
    assert ID not in left(images)
    made(images, ID, MANIFEST)
    (images / "docker" / "theirs").write_text(f"{ID}\n")
    (images / "docker" / "ours").write_text(f"{OTHER}\n")
    assert forget(local, tmp_path, ID, MANIFEST, noted=False) == ["undone"] * 2
    assert ID in left(images)
    assert (images / "docker" / "ours").read_text() == f"{OTHER}\n"


def test_a_docker_that_does_not_answer_has_not_taken_anything_back(
    local: Host, tmp_path: Path, images: Path
) -> None:
    made(images, ID, MANIFEST)
    (images / "down").touch()
    assert forget(local, tmp_path, ID, MANIFEST, noted=False) == ["failed"] * 2


def test_a_build_is_shown_while_it_goes_on(lab: Lab) -> None:
    lab.host.job("image-build", 1, "#1 [internal] load\nlayer 1\n#1 DONE 0.1s\n")
    with pytest.raises(StageFailed):
        lab.bring("image")
    assert "[image] #1 [internal] load" in lab.said
    assert "[image] #1 DONE 0.1s" in lab.said
    assert not any("layer 1" in line for line in lab.said[:-1])


def test_a_build_that_takes_too_long(make_lab: MakeLab) -> None:
    lab = make_lab(settings={"budget": {"image": 1e-6}})
    lab.host.reply("setsid -f", "-image-build.service")
    lab.host.job("image-build", 124, "#7 RUN\n")
    with pytest.raises(StageFailed, match="Job 'image-build' on 'lab' still ran after 0 s"):
        lab.bring("image")


@pytest.mark.parametrize("then", ["", f"ctr image import {REFERENCE}\n"], ids=["saved", "imported"])
@pytest.mark.parametrize(
    ("says", "hint"),
    [
        ("write /x: No space left on device", "free room for docker and containerd"),
        ("connection refused", "does containerd run"),
    ],
)
def test_an_image_that_does_not_get_to_containerd(
    lab: Lab, then: str, says: str, hint: str
) -> None:
    Refusal(
        "",
        lambda host: host.job("image-build", 1, f"#1 DONE 0.1s\ndocker save {TAG}\n{then}{says}\n"),
        ("Job 'image-build'", says),
        hint,
        "image.import",
    ).of(lab, "image")


MISSING = [
    Refusal(
        "docker has none",
        lambda host: host.reply(INSPECT, **NOT_THERE),  # type: ignore[arg-type]
        (f"docker has no {TAG}",),
        "docker image ls",
        "image.import",
    ),
    Refusal(
        "containerd has none",
        lambda host: host.reply(LISTING, out=HEAD),
        (f"containerd has no {REFERENCE}, though docker has built it",),
        "ctr image ls",
        "image.import",
    ),
]


@pytest.mark.parametrize("refusal", MISSING, ids=about)
def test_an_image_that_is_not_there_is_told(ready: Lab, refusal: Refusal) -> None:
    refusal.of(ready, "image")


@pytest.mark.case(
    "containerd, docker",
    "'docker image inspect' with '[]' on stdout, and no daemon",
    source="docker",
)
def test_a_docker_that_does_not_run_is_not_a_missing_image(ready: Lab) -> None:
    says = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    error = Refusal(
        "",
        lambda host: host.reply(INSPECT, status=1, out="[]\n", err=says),
        (f"docker cannot be asked about {TAG}: {says}",),
        "does docker run?",
        "image.build",
    ).of(ready, "image")
    assert f"docker has no {TAG}" not in error.message


def test_a_listing_without_a_digest_is_an_error_that_shows_it(ready: Lab) -> None:
    ready.host.reply(LISTING, out=f"{HEAD}{REFERENCE} application/x none 1 MiB\n")
    with pytest.raises(LabError, match=f"shows no digest for {REFERENCE}: {REFERENCE} appl"):
        ready.bring("image")


# Of OCI's image-spec (image-index.md) and BuildKit's attestations; not recorded.
INDEXES = {
    "of several machines": [
        {"digest": OTHER, "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"}},
        {"digest": OTHER, "platform": {"architecture": "amd64", "os": "windows"}},
        {"digest": MANIFEST, "platform": {"architecture": "amd64", "os": "linux"}},
    ],
    "with an attestation": [
        {"digest": OTHER, "platform": {"architecture": "unknown", "os": "unknown"}},
        {"digest": MANIFEST, "platform": {"architecture": "amd64", "os": "linux"}},
    ],
    "without a platform": [{"digest": MANIFEST}],
}


@pytest.mark.case(
    "containerd, docker",
    "an index of several machines, or with an attestation",
    source="OCI image-spec, image-index.md; buildkit",
)
@pytest.mark.parametrize("manifests", INDEXES.values(), ids=INDEXES)
def test_an_index_leads_to_the_manifest_of_this_machine(
    ready: Lab, manifests: list[dict[str, Any]]
) -> None:
    top = "sha256:" + "1" * 64
    ready.host.edit(LISTING, old=MANIFEST, new=top)
    ready.host.reply(f"ctr content get {top}", out=json.dumps({"manifests": manifests}))
    with at_stage("image"):
        listed = inspect.in_containerd(ready.host, REFERENCE, "amd64")
    assert listed == inspect.Listed(top, ID, ("linux/amd64",))


def test_the_same_image_in_both_is_reused(make_lab: MakeLab) -> None:
    assert make_lab(ready=True).probe("image").image_id == ID


@pytest.mark.parametrize(
    ("texts", "reply"),
    [
        ((INSPECT,), NOT_THERE),
        ((LISTING,), {"out": HEAD}),
        ((INSPECT,), {"out": json.dumps([{"Id": OTHER}])}),
    ],
)
def test_another_image_in_one_of_them_is_not_reused(
    make_lab: MakeLab, texts: tuple[str, ...], reply: dict[str, Any]
) -> None:
    lab = make_lab(ready=True)
    lab.host.reply(*texts, **reply)
    assert lab.probe("image") is None


def test_an_image_is_looked_into_once(make_lab: MakeLab) -> None:
    lab = make_lab(ready=True)
    stage = lab.stage("image")
    with at_stage("image"):
        assert stage.probe() == stage.verify()
    assert len([words for words in lab.host.asked if words[:2] == ("docker", "run")]) == 1


def test_an_image_that_does_not_start(ready: Lab) -> None:
    says = 'exec: "python3": executable file not found in $PATH'
    ready.host.reply("docker run --rm", status=127, err=says)
    with pytest.raises(StageFailed) as caught:
        ready.bring("image")
    assert says in caught.value.message
    assert isinstance(caught.value.__cause__, ProgramMissing)
    assert "In the container on 'lab' the program 'python3' is missing" in caught.value.message
    [entry] = [e for e in ready.run.journal.entries if e.what.startswith("docker run")]
    assert entry.undo == (("docker", "rm", "--force", entry.what.split()[-1]),)


def test_an_image_without_an_environment_has_an_empty_one(ready: Lab) -> None:
    def bare(out: str) -> str:
        [about] = json.loads(out)
        return json.dumps([about | {"Config": {"Env": None}}])

    ready.host.filter(INSPECT, by=bare)
    assert ready.bring("image").environment == ()


def test_what_the_dockerfile_weakens_is_a_finding(ready: Lab) -> None:
    ready.host.edit(
        f"cat -- {DOCKERFILE}", old="FROM scratch", new="FROM nvcr.io/nvidia/pytorch:24.07"
    )
    ready.bring("image")
    here = {finding.id for finding in reported(ready.run) if finding.here}
    assert {"image.base-not-pinned", "model.remote-code"} <= here


def profile_of(tmp_path: Path, **more: Any) -> Mapping[str, Mapping[str, Any]]:
    archive = tmp_path / "context.tgz"
    archive.write_bytes(b"context")
    asset = {"source": str(archive), "sha256": hashlib.sha256(b"context").hexdigest()}
    return {"image": {"context": None, "dockerfile_sha256": None, "archive": asset, **more}}


def test_a_context_may_come_as_an_archive_with_a_recipe_of_ours(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    recipe = "fixtures/image/Dockerfile.vllm"
    lab = make_lab(settings=profile_of(tmp_path, recipe=recipe))
    state = lab.run.journal.state
    folder = f"{state}/context-{hashlib.sha256(b'context').hexdigest()[:16]}"
    lab.host.reply(f"mkdir -p -- {state}")
    lab.host.reply("sha256sum <", f"{folder}.archive")
    lab.host.reply("mktemp", f"{folder}.archive")
    lab.host.reply("tar -xf", folder)
    lab.host.reply("cp -a --no-dereference", f"{state}/Dockerfile", status=3)
    lab.host.reply("mktemp", f"{state}/Dockerfile")
    lab.host.reply(EXISTS, f"{state}/Dockerfile")
    lab.host.reply("setsid -f", "-image-build.service")
    lab.host.job("image-build", 1, "stopped here\n")
    with pytest.raises(StageFailed, match="stopped here"):
        lab.bring("image")
    assert lab.host.written[f"{state}/Dockerfile"] == (ROOT / recipe).read_text("utf-8")
    [start] = [words for words in lab.host.asked if "setsid -f" in words[2:3][0]]
    assert start[-1] == folder
    assert f"unpack {tmp_path}/context.tgz to {folder}" in lab.journal()


def test_a_buildx_of_the_profiles_is_put_where_docker_looks(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    plugin = tmp_path / "buildx"
    plugin.write_bytes(b"plugin")
    asset = {"source": str(plugin), "sha256": hashlib.sha256(b"plugin").hexdigest()}
    lab = make_lab(settings={"image": {"buildx": asset}})
    turns = iter([Reply(status=1, err="no such command")])
    lab.host.reply(BUILDX, by=lambda words: next(turns, Reply(out="buildx v0.13.1\n")))
    lab.host.reply(install.FRESH, image.PLUGIN)
    lab.host.reply("cp -a --no-dereference", image.PLUGIN, status=3)
    lab.host.reply(f"mkdir -p -- {image.PLUGIN.rpartition('/')[0]}")
    lab.host.reply("sha256sum <", image.PLUGIN)
    lab.host.reply("mktemp", image.PLUGIN, "755")
    assert lab.bring("image").buildx == "buildx v0.13.1"
    assert f"make '{image.PLUGIN}'" in lab.journal()


@pytest.mark.case(
    "containerd, docker",
    "a Dockerfile in a folder, and the copy of it that the guide keeps",
    source="vLLM 0.8 and later, docker/Dockerfile",
)
def test_a_context_that_is_a_checkout_has_its_commit_and_its_changes(ready: Lab) -> None:
    ready.host.reply("rev-parse HEAD", out="c" * 40 + "\n")
    changes = [" M docker/Dockerfile", "?? docker/Dockerfile.bak", " M Dockerfile", '?? "a b"']
    ready.host.reply("status --short", out="\n".join(changes) + "\n")
    ready.host.reply("sha256sum | sha256sum", out="d" * 64 + "  -\n")
    with at_stage("image"):
        found = build_context.probe_context(ready.host, CONTEXT, "./docker/Dockerfile", digest=True)
    assert found == build_context.BuildContext(CONTEXT, "c" * 40, ("Dockerfile", "a b"), "d" * 64)


def test_a_digest_is_made_only_where_it_is_asked_for(ready: Lab) -> None:
    with at_stage("image"):
        assert (
            build_context.probe_context(ready.host, CONTEXT, "Dockerfile", digest=False).sha256
            == ""
        )


@pytest.mark.finding("C4", "an import that was cut off leaves a lease, and what it holds")
@pytest.mark.parametrize("also", ["", "9-theirs"], ids=["alone", "with another's"])
def test_the_lease_of_an_import_that_was_cut_off_goes_if_it_is_known(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, also: str
) -> None:
    made(images, ID, MANIFEST)
    (images / "leases" / "1-before").write_text("")
    monkeypatch.setenv("ALSO", also)
    archive, note = tmp_path / "image.tar", tmp_path / "note"
    words = ["sh", "-euc", ours.MAKE, "sh", "ours", str(archive), "ours", str(note), "true"]
    assert subprocess.run(words, check=False).returncode == 1
    assert (images / "imported").read_bytes() == archive.read_bytes()
    assert note.read_text().splitlines() == [ID, *([] if also else ["7-ours"])]
    subprocess.run(["sh", "-euc", ours.REMOVE_LEASE, "sh", str(note)], check=True)
    left = {path.name for path in (images / "leases").iterdir()}
    assert left == {"1-before", *(["7-ours", also] if also else [])}
    # It may be repeated, and another's of later stays.
    subprocess.run(["sh", "-euc", ours.REMOVE_LEASE, "sh", str(note)], check=True)


@pytest.mark.finding("C3", "docker's temporary file beside the archive stays")
def test_what_docker_writes_beside_the_archive_goes(tmp_path: Path) -> None:
    for name in ("image.tar", ".docker_temp_123456", "rootfs.img"):
        (tmp_path / name).write_text("")
    script = ["sh", "-euc", ours.REMOVE_ARCHIVE, "sh", str(tmp_path / "image.tar")]
    subprocess.run(script, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["rootfs.img"]
