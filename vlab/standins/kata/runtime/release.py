"""Which release of kata the stand-in behaves as: CC-0.8.0, the guide's, unless told 3.15.0.

The lab's kernel is told so (``[vlab] kata_release``): one image serves for both.
"""

from typing import NamedTuple

_WORD = "standin.kata="  # of the kernel's command line; the dot keeps it from init's environment


class Release(NamedTuple):
    """A release by its tag, and the version that it gives itself."""

    name: str
    version: str

    @property
    def newer(self) -> bool:
        """Whether it is not the guide's."""
        return self.name != "CC-0.8.0"


RELEASES = {
    name: Release(name, version)
    for name, version in (("CC-0.8.0", "3.2.0-rc0"), ("3.15.0", "3.15.0"))
}


def of_host(path: str = "/proc/cmdline") -> Release:
    """The one that this lab was started with."""
    with open(path, encoding="utf-8") as file:
        words = [word for word in file.read().split() if word.startswith(_WORD)]
    return RELEASES[words[-1].removeprefix(_WORD) if words else "CC-0.8.0"]
