"""The stand-in for NVIDIA's repository: dnf refuses what was tampered with."""

from __future__ import annotations

import pytest

from tests.vlab.lab import Lab
from vlab.packages import TOOLKIT_VERSION

# An installroot with the guest's rpm database and a copy of the repository, so that nothing of
# the lab's is touched. Each step below is one more lie that somebody without the key can tell.
PREPARE = """
set -e
root=/tmp/installroot repo=/tmp/repo mnt=/tmp/guest
rm -rf $root $repo
mkdir -p $root/etc/yum.repos.d $root/var/lib $mnt
cp -r /srv/lab/repo $repo
image=/srv/lab/rootfs-bare.img
[ -e $image ] || image=/srv/lab/rootfs.img
mount -o loop,ro,noload $image $mnt
cp -a $mnt/var/lib/rpm $root/var/lib
umount $mnt
sed s,/srv/lab/repo$,$repo, /srv/lab/nvidia-container-toolkit.repo > $root/etc/yum.repos.d/lab.repo
"""
INSTALL = "dnf --installroot=/tmp/installroot --assumeyes install nvidia-container-toolkit"
FLIP = r"""
file=$(echo /tmp/repo/nvidia-container-toolkit-[0-9]*.rpm) size=$(stat -c %s "$file")
byte=$(tail -c 100 "$file" | head -c 1 | od -An -tu1)
printf "\\$(printf %o $((byte ^ 1)))" | dd of="$file" bs=1 seek=$((size - 100)) conv=notrunc
"""
INDEX_ANEW = "createrepo_c --quiet --no-database /tmp/repo"
TRUST_ANY_INDEX = "sed -i s/repo_gpgcheck=1/repo_gpgcheck=0/ /tmp/installroot/etc/yum.repos.d/*"
CLEAN = "rm -rf /tmp/installroot /tmp/repo"


def test_dnf_installs_signed_packages_and_keeps_the_key(kept_lab: Lab) -> None:
    kept_lab.do(PREPARE)
    kept_lab.do(INSTALL)
    packages = kept_lab.do("rpm --root=/tmp/installroot -qa")
    kept_lab.do(CLEAN)
    for name in ("nvidia-container-toolkit", "nvidia-container-toolkit-base"):
        assert f"{name}-{TOOLKIT_VERSION}-" in packages
    for name in ("libnvidia-container-tools-", "libnvidia-container1-"):
        assert name in packages
    assert "gpg-pubkey-" in packages


@pytest.mark.parametrize(
    ("lies", "said"),
    [
        ((FLIP,), "incorrect checksum"),
        ((FLIP, INDEX_ANEW), "GPG signature verification error"),
        ((FLIP, INDEX_ANEW, TRUST_ANY_INDEX), "GPG check FAILED"),
    ],
    ids=["package", "package and index", "package and index, with the index trusted"],
)
def test_dnf_refuses_a_package_with_one_bit_changed(
    kept_lab: Lab, lies: tuple[str, ...], said: str
) -> None:
    kept_lab.do("\n".join((PREPARE, *lies)))
    output = kept_lab.do(INSTALL, status=1)
    packages = kept_lab.do("rpm --root=/tmp/installroot -qa")
    kept_lab.do(CLEAN)
    assert said in output
    assert "nvidia-container-toolkit-" not in packages
