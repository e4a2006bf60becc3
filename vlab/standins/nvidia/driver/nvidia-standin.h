/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the stand-in kernel module and its user-space programs say to each other.
 *
 * The real driver's ioctl interface is private to NVIDIA; this one is ours. Two calls say what the
 * module knows; everything else is asked of the device itself, in lines of text that are written
 * to /dev/nvidiaN and read from it (vlab/standins/gpu/device.py has the list). Whoever opens it
 * has a conversation of its own.
 */
#ifndef NVIDIA_STANDIN_H
#define NVIDIA_STANDIN_H

#include <linux/ioctl.h>
#include <linux/types.h>

#ifndef NVS_VERSION
#define NVS_VERSION "550.127.08"
#endif

#define NVS_MAJOR 195     /* "Nvidia graphics devices" in the kernel's devices.txt */
#define NVS_CTL_MINOR 255 /* /dev/nvidiactl, as the real driver has it */
#define NVS_MAX_GPUS 8

/* On nvidiactl and nvidiaN: the version of the loaded module. */
struct nvs_version {
	char version[32];
};

/* On nvidiaN: what its PCI function says of itself. */
struct nvs_info {
	char bus_id[16];          /* dddd:bb:dd.f in this machine */
	__u32 vendor, device;     /* PCI ids */
	__u32 subsystem_vendor, subsystem_device;
};

#define NVS_IOC_VERSION _IOR('F', 0xd0, struct nvs_version)
#define NVS_IOC_INFO _IOR('F', 0xd1, struct nvs_info)

/* What the device answers to 'identify'. */
#define NVS_IDENTIFICATION 0x4e560001

#ifdef __KERNEL__
int nvs_gpus(void); /* of nvidia.ko, for nvidia-uvm.ko */
#endif

#endif
