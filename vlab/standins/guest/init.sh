#!/bin/busybox sh
# The guest's initrd: load what it takes to see the root, mount it, hand over to its init.
# It stands for what kata does not need at all, since kata's own kernels have these drivers built
# in; Debian's have them as modules. Kernel command line: root=, rootfstype=, ro or rw, init=.

busybox=/bin/busybox
root=/dev/vda type=ext4 mode=rw init=/sbin/init

die() {
    echo "initrd: $*; the machine is powered off" >&2
    $busybox poweroff -f
}

$busybox mount -t devtmpfs devtmpfs /dev
$busybox mount -t proc proc /proc
for word in $($busybox cat /proc/cmdline); do
    case $word in
    root=*) root=${word#*=} ;;
    rootfstype=*) type=${word#*=} ;;
    init=*) init=${word#*=} ;;
    ro | rw) mode=$word ;;
    esac
done

for module in /lib/*.ko; do
    [ -e "$module" ] || continue # a kernel with all of it built in
    $busybox insmod "$module" || echo "initrd: $module does not load" >&2
done

tries=0
until [ -b "$root" ]; do
    tries=$((tries + 1))
    [ $tries -le 300 ] || die "no block device '$root' after 30 s"
    $busybox usleep 100000
done
$busybox mount -t "$type" -o "$mode" "$root" /root || die "'$root' does not mount as $type"
[ -x "/root$init" ] || [ -L "/root$init" ] || die "the root has no '$init'"

$busybox umount /proc
$busybox mount -o move /dev /root/dev
exec $busybox switch_root /root "$init"
