/* SPDX-License-Identifier: Apache-2.0 */
/* What nvidia-smi knows of each GPU (device.c), and how it shows it (nvidia-smi.c, query.c). */
#ifndef NVIDIA_SMI_H
#define NVIDIA_SMI_H

#include "nvidia-standin.h"

#define GPU_NAME "Virtual GPU (stand-in for an NVIDIA GPU)"

/* Exit statuses of the real tool (its manual, RETURN VALUE). */
enum {
	EXIT_OK = 0,
	EXIT_ARGUMENT = 2,
	EXIT_PERMISSION = 4,
	EXIT_NOT_FOUND = 6,
	EXIT_DRIVER = 9,
	EXIT_NVML = 12,
	EXIT_LOST = 15,
	EXIT_MISMATCH = 18,
	EXIT_UNKNOWN = 255,
};

/* What the device was asked, and what it answered. */
struct selftest {
	unsigned int identification;
	unsigned int value, inverted;      /* given; every bit of it, inverted */
	unsigned int factorial_of, factorial;
	unsigned int dma_bytes, dma_mismatches; /* sent to the device and back; that differ */
};

struct gpu {
	int index; /* N of /dev/nvidiaN */
	struct nvs_info info;
	struct selftest test;
	unsigned long long memory_total, memory_used; /* bytes */
	char uuid[48];
	char bus_id[24]; /* as the real tool writes it: eight digits of domain */
};

/* The exit status that the failure to reach the driver has, after saying what failed; 0: none. */
int driver_check(void);
/* Find every GPU and make each one compute; returns 0, or the exit status after a message. */
int gpus_read(struct gpu *gpus, int *count);
/* Print the CSV of --query-gpu; returns an exit status. */
int query_print(const struct gpu *gpus, int count, char *fields, char *format);

#endif
