"""A lab host in a virtual machine: real IOMMU, real VFIO, real containerd, docker and CNI.

What is stood in for, and by what, is under ``vlab/standins``; nothing else here pretends.
This package knows nothing of pytest and nothing of the harness (`vlab.faults` starts a run as a
user does, and reads its record): a person can bring the lab up with ``python -m vlab up`` and
follow the deployment guide in it by hand; a program uses the names below, which ``vlab.face``
documents, and no other::

    import vlab

    with vlab.lease(vlab.Settings(gpus=2), who="my program", say=print) as lab:
        subprocess.run([*lab.ssh, "lspci", "-nn"], check=True)
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "ACCELERATORS",
    "Ending",
    "InUse",
    "Machine",
    "Settings",
    "VlabError",
    "cleaned",
    "down",
    "find",
    "lease",
    "pace_of",
    "reset",
    "up",
    "use",
    "user_of",
    "why_ended",
]

if TYPE_CHECKING:
    from vlab.face import (
        ACCELERATORS,
        Ending,
        InUse,
        Machine,
        Settings,
        VlabError,
        cleaned,
        down,
        find,
        lease,
        pace_of,
        reset,
        up,
        use,
        user_of,
        why_ended,
    )
else:

    def __getattr__(name: str) -> object:
        # Not before it is asked for: parts of this package are programs of their own (the image's
        # recipe, a GPU's process), which need no more of it than they import; and ``python -m
        # vlab`` has to come far enough to say which package is not installed.
        if name in __all__:
            return getattr(import_module("vlab.face"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
