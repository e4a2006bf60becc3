/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the stand-in kernel module and its user-space programs say to each other.
 *
 * The real driver's ioctl interface is private to NVIDIA; this one is ours. Everything that it
 * carries was read from, or computed by, the device in the moment of the call.
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

/* On nvidiaN: what the device and its PCI function say of themselves. */
struct nvs_info {
	char bus_id[16];          /* dddd:bb:dd.f in this machine */
	__u32 vendor, device;     /* PCI ids */
	__u32 subsystem_vendor, subsystem_device;
	__u32 identification;     /* the device's register 0x00; all ones: it is gone */
	__u32 reserved;
	__u64 aperture;           /* bytes of BAR 0 */
};

/* On nvidiaN: make the device work. value and factorial_of are given, the rest is answered. */
struct nvs_selftest {
	__u32 value;              /* written to the liveness register */
	__u32 liveness;           /* read back; a live device inverts every bit */
	__u32 factorial_of;       /* at most 12, so that the answer fits the register */
	__u32 factorial;          /* computed by the device */
	__u32 dma_bytes;          /* bytes copied by the device, memory to device and back */
	__u32 dma_mismatches;     /* bytes that came back different */
};

#define NVS_IOC_VERSION _IOR('F', 0xd0, struct nvs_version)
#define NVS_IOC_INFO _IOR('F', 0xd1, struct nvs_info)
#define NVS_IOC_SELFTEST _IOWR('F', 0xd2, struct nvs_selftest)

#endif
