#!/bin/sh
# NVIDIA-Linux-@MACHINE@-@VERSION@.run -- a stand-in for NVIDIA's driver package.
# Stands for: the self-extracting archive that NVIDIA ships. Real: its form (a shell script with
#   the archive behind it, checked, unpacked with tar, then ./nvidia-installer with the arguments)
#   and its own options below. Not real: the driver in it is for the virtual lab's GPU.
version=@VERSION@
name=NVIDIA-Linux-@MACHINE@-@VERSION@
skip=@LINES@
sum=@SHA256@

payload() { tail -n +"$((skip + 1))" "$self"; }

check() {
    printf 'Verifying archive integrity... '
    set -- $(payload | sha256sum)
    if [ "$1" != "$sum" ]; then
        echo "Error in check sums: $1 is different from $sum" >&2
        exit 1
    fi
    echo OK
}

unpack() {
    command -v tar > /dev/null || { echo "$0: tar: command not found" >&2; exit 1; }
    printf 'Uncompressing NVIDIA Accelerated Graphics Driver for Linux-@MACHINE@ %s...\n' "$version"
    mkdir -p "$1" && payload | tar -x -f - -C "$1" || exit 1
}

self=$0
for option in "$@"; do
    case $option in
    --check) check; exit 0 ;;
    --info) echo "  Target directory: $name (stand-in)"; exit 0 ;;
    -x | --extract-only) check; unpack "$PWD/$name"; exit 0 ;;
    esac
done
check
folder=$(mktemp -d "${TMPDIR:-/tmp}/selfgz.XXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
unpack "$folder"
(cd "$folder" && exec ./nvidia-installer "$@")
exit $?
