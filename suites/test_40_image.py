"""The vLLM image is built to its last stage, and containerd has it."""

import pytest

from fixtures.image import ARCHITECTURES, Image
from fixtures.platform import Platform

pytestmark = [pytest.mark.acceptance, pytest.mark.image, pytest.mark.order(40)]


@pytest.mark.clause("image.buildx")
def test_buildx_is_there(image: Image) -> None:
    assert "buildx" in image.buildx


@pytest.mark.clause("image.build")
def test_image_is_for_this_machine(image: Image, platform: Platform) -> None:
    assert image.architecture == ARCHITECTURES[platform.machine]


@pytest.mark.clause("image.import")
def test_containerd_has_the_image(image: Image, platform: Platform) -> None:
    assert image.reference in image.listing, f"'ctr image ls' has no {image.reference}"
    assert f"linux/{ARCHITECTURES[platform.machine]}" in image.listing
