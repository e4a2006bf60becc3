"""The one exception of the virtual lab."""

from pathlib import Path


class VlabError(Exception):
    """The lab could not be built or started; the message says what to do about it."""


def unusable(cache: Path, error: OSError) -> VlabError:
    """The sentence for a file that could not be made, read or written."""
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return VlabError(f"{what} (images and labs are in {cache}; VLAB_CACHE names another folder)")
