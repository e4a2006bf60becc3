/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of nvidia-container-runtime-hook: what is asked for (hook.c), how it is done (cli.c). */
#ifndef HOOK_H
#define HOOK_H

#include <limits.h>
#include <stdarg.h>

#define NVIDIA_VERSION NVS_VERSION

struct container {
	int pid;                 /* its mount namespace is entered; 0: the one we are in */
	char rootfs[PATH_MAX];   /* as seen from there */
	char devices[1024];      /* NVIDIA_VISIBLE_DEVICES; empty: no GPU is asked for */
	char capabilities[256];  /* NVIDIA_DRIVER_CAPABILITIES */
};

struct settings {
	char debug[PATH_MAX];    /* log file, empty: none */
	int load_kmods;
};

/* Log a line when debugging is on; fail says it on stderr as nvidia-container-cli does. */
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Bring driver files and devices into the container; 0, or 1 after saying what failed. */
int cli_configure(const struct container *container, const struct settings *settings);

#endif
