/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi's view of the driver. Stands for libnvidia-ml (NVML): the same failures in the same
 * words, but no library is loaded; that the library file exists is all that is asked of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "nvidia-smi.h"

#ifndef NVML_FOLDERS
#define NVML_FOLDERS \
	"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"
#endif
#define FACTORIAL_OF 10
#define DMA_BYTES 2048
/* The device answers in milliseconds; emulated twice over on a busy host it may take a minute. */
#define PATIENCE_MS 120000

static int nvml_found(void)
{
	static const char *const folders[] = { NVML_FOLDERS };
	char path[4096];

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		snprintf(path, sizeof(path), "%s/libnvidia-ml.so.1", folders[i]);
		if (access(path, R_OK) == 0)
			return 1;
	}
	return 0;
}

int driver_check(void)
{
	struct nvs_version loaded = { "" };
	int fd;

	if (!nvml_found()) {
		printf("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make "
		       "sure that the NVIDIA Display Driver is properly installed and present in your "
		       "system.\nPlease also try adding directory that contains libnvidia-ml.so to "
		       "your system PATH.\n");
		return EXIT_NVML;
	}
	fd = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
	if (fd < 0 && (errno == EACCES || errno == EPERM)) {
		printf("Failed to initialize NVML: Insufficient Permissions\n");
		return EXIT_PERMISSION;
	}
	if (fd < 0 || ioctl(fd, NVS_IOC_VERSION, &loaded) < 0) {
		printf("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
		       "Make sure that the latest NVIDIA driver is installed and running.\n\n");
		return EXIT_DRIVER;
	}
	close(fd);
	if (strcmp(loaded.version, NVS_VERSION) != 0) {
		printf("Failed to initialize NVML: Driver/library version mismatch\n"
		       "NVML library version: %s\n", NVS_VERSION);
		return EXIT_MISMATCH;
	}
	return 0;
}

/* The device has no serial number: the UUID is made of its PCI ids and its place on the bus, so
 * that it is the same on every boot of this machine, and a stand-in's by its fourth group. */
static void name_gpu(struct gpu *gpu)
{
	unsigned int domain = 0, bus = 0, slot = 0, function = 0;
	const struct nvs_info *info = &gpu->info;

	sscanf(info->bus_id, "%x:%x:%x.%x", &domain, &bus, &slot, &function);
	snprintf(gpu->bus_id, sizeof(gpu->bus_id), "%08X:%02X:%02X.%X", domain, bus, slot, function);
	snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%04x%04x-%04x-%04x-0ed0-%08x%02x%02x",
		 info->vendor & 0xffff, info->device & 0xffff, info->subsystem_vendor & 0xffff,
		 info->subsystem_device & 0xffff, domain, bus & 0xff,
		 (slot << 3 | function) & 0xff);
}

static unsigned int factorial(unsigned int n)
{
	return n < 2 ? 1 : n * factorial(n - 1);
}

static int wrong(const struct gpu *gpu, const char *what)
{
	printf("Unable to determine the device handle for GPU%d: %s: Unknown Error\n"
	       "stand-in: the device's %s is wrong\n", gpu->index, gpu->bus_id, what);
	return EXIT_UNKNOWN;
}

/* Send all of it to the device. */
static int tell(int fd, const void *data, size_t length)
{
	const char *at = data;
	ssize_t sent;

	for (; length; at += sent, length -= sent) {
		sent = write(fd, at, length);
		if (sent <= 0)
			return -1;
	}
	return 0;
}

/* Take exactly so many bytes from the device. */
static int hear(int fd, void *data, size_t length)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	char *at = data;
	ssize_t got;

	for (; length; at += got, length -= got) {
		if (poll(&wait, 1, PATIENCE_MS) <= 0)
			return -1;
		got = read(fd, at, length);
		if (got <= 0)
			return -1;
	}
	return 0;
}

/* Ask the device in a line; its answer has to begin with the same word, and holds numbers. */
static int ask(int fd, const char *line, const char *format, void *first, void *second)
{
	char answer[128];
	size_t have = 0;

	if (tell(fd, line, strlen(line)))
		return -1;
	do {
		if (have == sizeof(answer) - 1 || hear(fd, answer + have, 1))
			return -1;
	} while (answer[have++] != '\n');
	answer[have] = 0;
	return sscanf(answer, format, first, second) == (second ? 2 : 1) ? 0 : -1;
}

/* Random bytes go to the device and come back: nothing but DMA can do that. */
static int round_trip(int fd, struct selftest *test)
{
	unsigned char out[DMA_BYTES], in[DMA_BYTES];
	char line[32];

	for (size_t i = 0; i < DMA_BYTES; i += sizeof(int)) {
		int part = rand();

		memcpy(out + i, &part, sizeof(part));
	}
	snprintf(line, sizeof(line), "echo %d\n", DMA_BYTES);
	if (tell(fd, line, strlen(line)) || tell(fd, out, DMA_BYTES) || hear(fd, in, DMA_BYTES))
		return -1;
	test->dma_bytes = DMA_BYTES;
	for (size_t i = 0; i < DMA_BYTES; i++)
		test->dma_mismatches += in[i] != out[i];
	return 0;
}

static int converse(struct gpu *gpu, int fd)
{
	struct selftest *test = &gpu->test;
	char line[32];

	test->value = (unsigned int)time(NULL) ^ (unsigned int)getpid() << 16;
	test->factorial_of = FACTORIAL_OF;
	srand(test->value);
	if (ask(fd, "identify\n", "identify %u", &test->identification, NULL))
		return -1;
	snprintf(line, sizeof(line), "invert %u\n", test->value);
	if (ask(fd, line, "invert %u", &test->inverted, NULL))
		return -1;
	snprintf(line, sizeof(line), "factorial %u\n", test->factorial_of);
	if (ask(fd, line, "factorial %u", &test->factorial, NULL) || round_trip(fd, test))
		return -1;
	return ask(fd, "memory\n", "memory %llu %llu", &gpu->memory_total, &gpu->memory_used);
}

static int work(struct gpu *gpu, int fd)
{
	const struct selftest *test = &gpu->test;

	if (converse(gpu, fd)) {
		printf("Unable to determine the device handle for GPU%d: %s: GPU is lost.  Reboot the "
		       "system to recover this GPU\n", gpu->index, gpu->bus_id);
		return EXIT_LOST;
	}
	if (test->identification != NVS_IDENTIFICATION)
		return wrong(gpu, "identification");
	if (test->inverted != ~test->value)
		return wrong(gpu, "liveness answer");
	if (test->factorial != factorial(test->factorial_of))
		return wrong(gpu, "factorial");
	if (test->dma_bytes == 0 || test->dma_mismatches != 0)
		return wrong(gpu, "DMA round trip");
	return 0;
}

int gpus_read(struct gpu *gpus, int *count)
{
	char path[32];
	int fd, error, denied = 0;

	*count = 0;
	for (int index = 0; index < NVS_MAX_GPUS; index++) {
		struct gpu *gpu = &gpus[*count];

		snprintf(path, sizeof(path), "/dev/nvidia%d", index);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0) {
			denied |= errno == EACCES || errno == EPERM;
			continue;
		}
		memset(gpu, 0, sizeof(*gpu));
		gpu->index = index;
		if (ioctl(fd, NVS_IOC_INFO, &gpu->info) == 0)
			name_gpu(gpu);
		error = work(gpu, fd);
		close(fd);
		if (error)
			return error;
		++*count;
	}
	if (*count)
		return 0;
	printf(denied ? "Failed to initialize NVML: Insufficient Permissions\n" :
			"No devices were found\n");
	return denied ? EXIT_PERMISSION : EXIT_NOT_FOUND;
}
