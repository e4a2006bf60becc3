"""Arrows between folders run one way, and nothing imports itself by way of others."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest

from tests.arrows import FOLDERS, among, arrows, boxes

# What a folder may import beside itself; a line for a part of it adds to that of the whole.
ARROWS = {
    "suites": "fixtures harness.errors harness.host harness.outcome harness.run harness.text",
    "fixtures": "harness.errors harness.host harness.profile harness.record harness.run "
    "harness.text harness.together harness.undo harness.wait",
    "fixtures.guest.access": "harness.plugin",  # it is a plugin itself
    "fixtures.guide": "harness.plugin",  # likewise
    "fixtures.kata": "harness.outcome",  # another kata than the one it knows is not assessed
    "fixtures.soak.plugin": "harness.plugin",  # likewise
    "fixtures.lab": "harness.plugin vlab",  # the way to the host
    "suites.checklist": "harness.exits harness.plugin harness.profile harness.record harness.undo",
    "harness": "",
    "reports": "harness.exits harness.reader harness.record harness.text",
    "reports.collect": "harness.errors",  # a command of `python -m harness`
    "reports.plugin": "harness.plugin",  # the reports' part in a pytest run
    "vlab": "harness.reader",
}
OTHERS = ["tests", "conftest"]  # nobody's to import
# Each may import those before it.
ORDER = {
    "harness": "errors exits reader text together wait "
    "record host profile undo run outcome plugin __main__",
    "vlab": "errors process hold "
    "namespace packages sources manifest build debs emulator parts standins "
    "recipe image "  # the disk image
    "qmp qemu accel preflight registry pace launch boot saved machine "  # the machine
    "face faults probe cli __main__",
}
# `python -m harness` has these with no pytest session.
COMMANDS = [f"harness.plugin.{name}" for name in ("options", "recovery", "screen", "session")]
WITHOUT_PYTEST = ["vlab", *COMMANDS]
SHARED = [
    "common",
    "guide",
    "lab",
    "names",
    "profile",
]  # of fixtures: what no stage owns knows no stage


def test_folders_import_what_they_may() -> None:
    wrong = []
    for module, others in arrows().items():
        parts = [part for part in ARROWS if among(module, [part])]
        may = [module.split(".")[0], *(word for part in parts for word in ARROWS[part].split())]
        ours = [other for other in sorted(others) if among(other, [*FOLDERS, *OTHERS])]
        wrong += [f"{module} -> {other}" for other in ours if not among(other, may)]
    assert not wrong, f"not among ARROWS: {wrong}"


def test_others_know_of_vlab_its_face_alone() -> None:
    others = {m: o for m, o in arrows().items() if not among(m, ["vlab"])}
    wrong = [f"{m} -> {o}" for m, seen in others.items() for o in seen if o.startswith("vlab.")]
    assert not wrong, f"what is public is in vlab/__init__.py: {wrong}"


def test_what_runs_without_pytest_knows_nothing_of_it() -> None:
    known = {m for m, others in arrows().items() if any(among(o, ["pytest"]) for o in others)}
    assert not [module for module in known if among(module, WITHOUT_PYTEST)]


@pytest.mark.parametrize("folder", ORDER)
def test_what_is_in_a_folder_has_an_order(folder: str) -> None:
    order = ORDER[folder].split()
    for box, others in boxes(folder).items():
        above = others - {*order[: order.index(box)]}
        assert not above, f"{folder}/{box} imports what is above it: {above}"


def test_what_stages_share_knows_no_stage() -> None:
    for box in SHARED:
        assert boxes("fixtures")[box] <= {*SHARED}, f"fixtures/{box} imports a stage"


def test_every_folder_has_its_arrows() -> None:
    assert {name for name in ARROWS if "." not in name} == {*FOLDERS}


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter(arrows()).prepare()  # CycleError names the circle


@pytest.mark.parametrize("folder", ["fixtures", "harness", "reports"])
def test_no_folder_imports_itself_by_way_of_others(folder: str) -> None:
    TopologicalSorter(boxes(folder)).prepare()
