"""A suite of the guide's; its marks are by its file's name."""

from tests.sample.stages import Made


def test_of_the_guide(platform: Made) -> None:
    assert platform.exists()
