#!/bin/sh
# The deployment guide by hand, in the virtual lab: each step as plain commands, nothing of the
# harness. For people who read along, and for 'python -m vlab probe --time'.
#
#   python -m vlab ssh -- sh -s STEP... < vlab/by_hand.sh
#
# Steps, in the guide's order (or: all):
#   rootfs     copy and grow the guest image; toolkit, driver and hook into it
#   kata       what passthrough needs in kata's configuration.toml
#   image      docker buildx build, docker save, ctr image import
#   gpu        every function of the GPU's IOMMU group to vfio-pci
#   network    CNI configuration, network namespace, cnitool add and check
#   container  ctr run with the GPU: a nested machine boots, and sees it
#   model      the guide's server command in the container, until it is ready
#   ask        the guide's question, 16 tokens of answer
#   bare       the same container without --device: it must not see the GPU
#   clean      takes container, network and GPU back
set -eu

LAB=/srv/lab                                  # what the lab provides: see vlab/standins
ROOTFS=${ROOTFS:-/var/lib/by-hand/rootfs.img} # the enlarged guest image
ROOTFS_DIR=/var/lib/by-hand/mnt
CONFIGURATION=/etc/kata-containers/configuration.toml
GPU_ID=1af4:1043                              # the stand-in; NVIDIA's vendor id is 10de
NETWORK=vllmnet
NETNS=/var/run/netns/$NETWORK
IMAGE=docker.io/library/vllm-cvm:latest
CONTAINER=arch
export CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d

inside() { ctr task exec --exec-id "by-hand-$$-$(date +%s%N)" "$CONTAINER" "$@"; }

address() { ip -n $NETWORK -o -4 addr show eth0 | awk '{sub("/.*", "", $4); print $4}'; }

# The guide's mounts would show up in the host's /dev/pts: they are made where only we see them.
rootfs() {
    mkdir -p "${ROOTFS%/*}" "$ROOTFS_DIR"
    cp --sparse=always "$LAB/rootfs.img" "$ROOTFS"
    qemu-img resize -f raw "$ROOTFS" +1G
    e2fsck -fy "$ROOTFS" || [ $? = 1 ]        # 1: corrected
    resize2fs "$ROOTFS"
    export LAB ROOTFS ROOTFS_DIR
    unshare --mount --propagation private sh -eu <<'INSTALL'
mount -o loop "$ROOTFS" "$ROOTFS_DIR"
mkdir -p "$ROOTFS_DIR/etc/yum.repos.d" "$ROOTFS_DIR/home/kernel"
cp "$LAB/nvidia-container-toolkit.repo" "$ROOTFS_DIR/etc/yum.repos.d"
dnf "--installroot=$ROOTFS_DIR" install -y pciutils tar gcc make nvidia-container-toolkit
cp -r "$LAB/kernel/." "$ROOTFS_DIR/home/kernel"
for directory in sys proc tmp dev; do mkdir -p "$ROOTFS_DIR/$directory"; done
mount -t sysfs -o ro none "$ROOTFS_DIR/sys"
mount -t proc -o ro none "$ROOTFS_DIR/proc"
mount -t tmpfs none "$ROOTFS_DIR/tmp"
mount -o bind,ro /dev "$ROOTFS_DIR/dev"
mount -t devpts none "$ROOTFS_DIR/dev/pts"
cp "$LAB"/NVIDIA-Linux-*.run "$ROOTFS_DIR/tmp/driver.run"
chroot "$ROOTFS_DIR" sh /tmp/driver.run --silent --kernel-source-path=/home/kernel \
    "--kernel-name=$(cat "$LAB/kernel/include/config/kernel.release")" --skip-module-load \
    --no-rebuild-initramfs --no-nouveau-check --no-check-for-alternate-installs \
    --no-drm --no-peermem
hook=$ROOTFS_DIR/usr/share/oci/hooks/prestart/nvidia-container-toolkit.sh
mkdir -p "${hook%/*}"
printf '%s\n' '#!/bin/bash' '/usr/bin/nvidia-container-runtime-hook -debug "$@"' > "$hook"
chmod +x "$hook"
umount --recursive "$ROOTFS_DIR"
INSTALL
}

# Guest image, hooks, and what the guide's authors added later: the port and the memory.
kata() {
    [ -e "$CONFIGURATION.by-hand" ] || cp "$CONFIGURATION" "$CONFIGURATION.by-hand"
    sed -E "/^#?[[:space:]]*(image|guest_hook_path|cold_plug_vfio|default_memory) *=/d
        s|^\[hypervisor\.qemu\]|&\\
image = \"$ROOTFS\"\\
guest_hook_path = \"/usr/share/oci/hooks\"\\
cold_plug_vfio = \"root-port\"\\
default_memory = 1536|" "$CONFIGURATION.by-hand" > "$CONFIGURATION"
    kata-runtime env --json
}

image() {
    docker buildx version
    docker buildx build --progress plain --target vllm-openai --tag vllm-cvm:latest --load \
        "$LAB/vllm-build"
    docker save -o /var/lib/by-hand.tar vllm-cvm:latest
    ctr image import /var/lib/by-hand.tar
    rm /var/lib/by-hand.tar
}

bdf() { lspci -Dn -d "$GPU_ID" | awk 'NR == 1 {print $1}'; }

group() { basename "$(readlink -e "/sys/bus/pci/devices/$(bdf)/iommu_group")"; }

# Order: drivers_probe passes over a device that has a driver, and the override unbinds nothing.
gpu() {
    modprobe vfio-pci
    for device in "/sys/kernel/iommu_groups/$(group)/devices"/*; do
        case $(cat "$device/class") in 0x06*) continue ;; esac      # a bridge stays
        echo vfio-pci > "$device/driver_override"
        [ ! -e "$device/driver" ] || echo "${device##*/}" > "$device/driver/unbind"
        echo "${device##*/}" > /sys/bus/pci/drivers_probe
        lspci -Dnks "${device##*/}"
    done
    udevadm settle
    ls -l /dev/vfio
}

network() {
    mkdir -p "$NETCONFPATH"
    cat > "$NETCONFPATH/$NETWORK.conf" <<'CONF'
{
    "cniVersion": "0.4.0",
    "name": "vllmnet",
    "type": "bridge",
    "bridge": "cni1",
    "isDefaultGateway": true,
    "forceAddress": false,
    "ipMasq": true,
    "hairpinMode": true,
    "ipam": { "type": "host-local", "subnet": "10.88.0.0/16" }
}
CONF
    ip netns add $NETWORK
    cnitool add $NETWORK $NETNS
    cnitool check $NETWORK $NETNS
    ip -n $NETWORK addr
}

container() {
    ctr run --detach --runtime io.containerd.kata.v2 --device "/dev/vfio/$(group)" \
        "--with-ns=network:$NETNS" $IMAGE $CONTAINER sleep infinity
    inside uname -r
    inside lspci -nn
    inside nvidia-smi
    ping -c 3 "$(address)"
}

# The log is /var/log/by-hand-model.log; /health answers 200 when the server is ready.
model() {
    systemd-run --quiet --collect --unit=by-hand-model \
        --property=StandardOutput=append:/var/log/by-hand-model.log \
        --property=StandardError=append:/var/log/by-hand-model.log \
        ctr task exec --exec-id by-hand-model $CONTAINER env VLLM_USE_MODELSCOPE=True \
        python3 -m vllm.entrypoints.openai.api_server --model qwen/Qwen1.5-1.8B-Chat \
        --trust-remote-code --host 0.0.0.0 --port 8000 \
        --served-model-name Qwen1.5-1.8B-Chat --gpu-memory-utilization 0.95
    limit=$(($(date +%s) + 600))
    until curl -sf --max-time 10 "http://$(address):8000/health"; do
        systemctl --quiet is-active by-hand-model ||
            { tail -n 20 /var/log/by-hand-model.log >&2; exit 1; }
        [ "$(date +%s)" -lt $limit ] ||
            { echo "the server is not ready after 600 s" >&2; exit 1; }
        sleep 1
    done
    curl -sf --max-time 60 "http://$(address):8000/v1/models"
}

ask() {
    curl -f -sS --max-time 600 "http://$(address):8000/v1/chat/completions" \
        -H 'Content-Type: application/json' -d '{
        "model": "Qwen1.5-1.8B-Chat", "max_tokens": 16, "temperature": 0, "seed": 1,
        "messages": [{"role": "user", "content": "什么是机密容器？"}]
    }'
    echo
}

remove() {
    ctr task kill --signal SIGKILL "$1" || true
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        ! ctr task ls | awk '{print $1}' | grep -qx "$1" || ctr task rm --force "$1" || sleep 1
    done
    ctr container rm "$1"
}

bare() {
    ctr run --detach --runtime io.containerd.kata.v2 $IMAGE bare sleep infinity
    ctr task exec --exec-id bare-lspci bare lspci -n
    if ctr task exec --exec-id bare-smi bare nvidia-smi; then
        echo "nvidia-smi claims a GPU that is not there" >&2
        exit 1
    fi
    remove bare
}

clean() {
    systemctl stop by-hand-model 2>/dev/null || true
    remove $CONTAINER
    cnitool del $NETWORK $NETNS
    ip netns del $NETWORK
    ip link del cni1
    rm -rf "$NETCONFPATH/$NETWORK.conf" "/var/lib/cni/networks/$NETWORK"
    for device in "/sys/kernel/iommu_groups/$(group)/devices"/*; do
        case $(cat "$device/class") in 0x06*) continue ;; esac
        echo > "$device/driver_override"
        echo "${device##*/}" > "$device/driver/unbind"
        echo "${device##*/}" > /sys/bus/pci/drivers_probe
    done
    mv "$CONFIGURATION.by-hand" "$CONFIGURATION"
}

[ "${1:-all}" != all ] || set -- rootfs kata image gpu network container model ask
for step; do
    case $step in
        rootfs | kata | image | gpu | network | container | model | ask | bare | clean) ;;
        *) echo "by_hand.sh: there is no step '$step'; the file's head lists them" >&2; exit 2 ;;
    esac
    echo "== $step" >&2
    "$step"
done
