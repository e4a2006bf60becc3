"""Namespaces of its own for an image build.

A user namespace makes an ordinary user root of what he builds: files of root, of any other owner
(out of his subordinate ids), chroots and mounts, and all of it his own outside. A process and a
mount namespace make the build one thing that ends as one: when the process that asked for it
dies, by whatever death, the kernel ends every process of the build and takes its mounts away.
"""

import getpass
import os
import shutil
import subprocess

from vlab.errors import VlabError
from vlab.process import DIE_WITH_PARENT

_OWN = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_ROOT_IN_THEM = ("--map-root-user", "--map-auto")


def entered(*argv: str) -> list[str]:
    """The command line that runs ``argv`` as root of namespaces of its own.

    Root in a container may not be allowed any, and needs none: there it is run without.
    Raises VlabError, with the remedy, where an ordinary user gets no user namespace.
    """
    root = os.geteuid() == 0
    enter = ["unshare", *_OWN, *(() if root else _ROOT_IN_THEM)]
    try:
        tried = subprocess.run([*enter, "true"], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise VlabError("'unshare' is not installed: install util-linux") from error
    if tried.returncode == 0:
        return [*DIE_WITH_PARENT, *enter, *argv]
    if root:
        return [*DIE_WITH_PARENT, *argv]
    said = tried.stderr.strip().splitlines()
    raise VlabError(
        "an ordinary user builds the lab image in a user namespace, and this machine gives none "
        f"({said[-1] if said else f'unshare exited {tried.returncode}'}): {_remedy(tried.stderr)}, "
        "or work as root"
    )


def _remedy(said: str) -> str:
    if "--map-auto" in said:  # "unrecognized option"
        return "have util-linux 2.38 or newer (Debian 12 has it)"
    if shutil.which("newuidmap") is None:
        return "have the package uidmap installed (apt-get install uidmap)"
    if "/etc/sub" in said:
        return (
            "have subordinate ids given to you (usermod --add-subuids 100000-165535 "
            f"--add-subgids 100000-165535 {getpass.getuser()})"
        )
    return (
        "have user namespaces allowed (sysctl user.max_user_namespaces, "
        "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
    )
