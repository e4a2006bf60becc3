"""What the READMEs and the pages in docs/ say of the code is so."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from fixtures import stage_modules
from fixtures.guide import clauses
from fixtures.profile import Profile
from harness.profile.schema import BaseProfile, ProfileError, load
from harness.run.stage import stage_classes
from tests.unit.mini import ROOT

READMES = ["README.md", "README.zh-CN.md"]
LAB_HOST = ["docs/lab-host.md", "docs/zh/lab-host.md"]


PAGES = [*READMES, *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def given(
    name: str, tmp_path: Path, environ: Mapping[str, str] = MappingProxyType({})
) -> BaseProfile:
    """The profile that a README shows, beside the template that it extends."""
    (tmp_path / "mylab.toml").write_text(
        re.findall(r"```toml\n(extends.*?)```", text(name), re.S)[0]
    )
    template = tmp_path / "kunpeng-virtcca.toml"
    template.write_text(text("profiles/kunpeng-virtcca.toml"))
    return load("mylab", Profile, environ, tmp_path)


@pytest.mark.parametrize(
    ("name", "page"), [*zip(READMES, ["docs/more-ways.md", "docs/zh/more-ways.md"], strict=True)]
)
def test_a_run_for_each_gpu_is_of_a_lab_of_its_own(name: str, page: str, tmp_path: Path) -> None:
    [line] = [line for line in text(page).splitlines() if line.startswith("    ACCEPT_NAME=")]
    environ = dict(re.findall(r"(ACCEPT_\w+)=(\S+)", line.replace("$gpu", "0000:17:00.0")))
    profile = given(name, tmp_path, environ)
    assert isinstance(profile, Profile)
    assert (profile.name, profile.gpu.bdf) == ("mylab-0000:17:00.0", ("0000:17:00.0",))


@pytest.mark.parametrize("name", READMES)
def test_the_profile_in_eight_lines_is_whole(name: str, tmp_path: Path) -> None:
    profile = given(name, tmp_path)
    assert (profile.name, profile.target.kind) == ("mylab", "ssh")
    assert len((tmp_path / "mylab.toml").read_text().splitlines()) == 8


@pytest.mark.parametrize("name", ["docs/profile.md", "docs/zh/profile.md"])
def test_the_keys_that_it_calls_required_are_those_that_are(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("[guest]\n[image]\n[model]\n[network]\n[target]\n")
    with pytest.raises(ProfileError) as caught:
        load("empty", Profile, {}, tmp_path)
    required = {line.split(": ")[1] for line in str(caught.value).splitlines()}
    assert len(required) == 11
    assert not [key for key in required if f"`{key}`" not in text(name)]


@pytest.mark.parametrize("name", [*READMES, *LAB_HOST, "docs/commands.md", "docs/zh/commands.md"])
def test_the_guide_is_the_one_of_the_clauses(name: str) -> None:
    commits = re.findall(r"virtCCA_sdk/(?:blob|tree)/([0-9a-f]{40})/", text(name))
    [known] = re.findall(r"commit ([0-9a-f]{7,})", clauses.load().guide.source)
    assert commits
    assert all(commit.startswith(known) for commit in commits)


@pytest.mark.parametrize("name", LAB_HOST)
def test_the_programs_of_a_lab_host_are_those_that_stages_declare(name: str) -> None:
    for module in stage_modules():
        importlib.import_module(module)
    ours = [stage for stage in stage_classes() if stage.__module__ in stage_modules()]
    rows = re.findall(r"^\| `(\w+)` \| (`.*`) \|$", text(name), re.M)
    said = {stage: re.findall(r"`([^`]+)`", programs) for stage, programs in rows}
    assert said == {
        stage.name: stage.host_programs.split() for stage in ours if stage.host_programs
    }


@pytest.mark.parametrize("name", PAGES)
def test_what_it_links_to_is_there(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(name))
    folder = (ROOT / name).parent
    assert not [link for link in links if not (folder / link).exists()]
