/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nvidia-container-cli does for the hook: see that driver and device work at all, then, in
 * the container's mount namespace, bind what belongs to them into its root file system. Paths in
 * the container are resolved inside it, so that a link in an image cannot lead out of it.
 */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nvidia-standin.h"

#ifndef DEVICES
#define DEVICES "/dev" /* a test has others */
#endif

static const char *const library_folders[] = {
	"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"
};

static void load_module(const char *name)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		/* By its path: kata's agent runs hooks with an empty environment. */
		execl("/sbin/modprobe", "modprobe", "-q", name, (char *)NULL);
		_exit(127);
	}
	if (child > 0)
		waitpid(child, &status, 0);
	trace("modprobe %s: exit status %d", name, WEXITSTATUS(status));
}

static const char *library_folder(void)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(library_folders) / sizeof(*library_folders); i++) {
		snprintf(path, sizeof(path), "%s/libnvidia-ml.so.1", library_folders[i]);
		if (access(path, R_OK) == 0)
			return library_folders[i];
	}
	return NULL;
}

/* A word of a comma-separated list. */
static int listed(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; at; at = strchr(at, ','), at += at ? 1 : 0)
		if (!strncmp(at, word, length) && (at[length] == ',' || !at[length]))
			return 1;
	return 0;
}

/* A descriptor of a folder in the container, made where it is missing. */
static int folder_in(int root, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT };
	char parent[PATH_MAX];
	char *slash;
	int above, fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	if (fd >= 0 || errno != ENOENT || !strcmp(path, "/"))
		return fd;
	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	*slash = '\0';
	above = folder_in(root, parent[0] ? parent : "/");
	if (above < 0)
		return -1;
	if (mkdirat(above, slash + 1, 0755) && errno != EEXIST) {
		close(above);
		return -1;
	}
	close(above);
	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/* The file or device to mount over, made where it is missing; a link there is not followed. */
static int target_in(int root, const char *path)
{
	char folder[PATH_MAX];
	char *slash;
	int above, fd;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	*slash = '\0';
	above = folder_in(root, folder);
	if (above < 0)
		return -1;
	fd = openat(above, slash + 1, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		fd = openat(above, slash + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	close(above);
	return fd;
}

static int bind_into(int root, const char *path, int device)
{
	struct mount_attr attributes = { .attr_set = MOUNT_ATTR_NOSUID };
	int target = target_in(root, path), source;

	if (target < 0)
		return fail("mount error: file creation failed: %s: %s", path, strerror(errno));
	if (!device)
		attributes.attr_set |= MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;
	source = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (source < 0 ||
	    mount_setattr(source, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) ||
	    move_mount(source, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH))
		return fail("mount error: mount operation failed: %s: %s", path, strerror(errno));
	trace("mounted %s", path);
	close(source);
	close(target);
	return 0;
}

static int enter(int pid)
{
	char path[64];
	int fd, error;

	if (pid <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	error = fd < 0 || setns(fd, CLONE_NEWNS);
	if (error)
		return fail("container error: cannot enter the mount namespace of process %d: %s",
			    pid, strerror(errno));
	close(fd);
	return 0;
}

static int bring_files(int root, const char *capabilities, const char *folder)
{
	int all = listed(capabilities, "all"), failed = 0;
	char path[PATH_MAX];

	if (all || listed(capabilities, "utility")) {
		failed = bind_into(root, "/usr/bin/nvidia-smi", 0);
		snprintf(path, sizeof(path), "%s/libnvidia-ml.so.1", folder);
		failed = failed || bind_into(root, path, 0);
	}
	if (!failed && (all || listed(capabilities, "compute"))) {
		snprintf(path, sizeof(path), "%s/libcuda.so.1", folder);
		failed = bind_into(root, path, 0);
		/* without it the real one warns in its log, and goes on */
		if (!failed && access("/dev/nvidia-uvm", F_OK) == 0)
			failed = bind_into(root, "/dev/nvidia-uvm", 1);
	}
	return failed;
}

static int bring_devices(int root, const int *wanted)
{
	char path[32];

	if (bind_into(root, "/dev/nvidiactl", 1))
		return 1;
	for (int index = 0; index < NVS_MAX_GPUS; index++) {
		snprintf(path, sizeof(path), "/dev/nvidia%d", index);
		if (wanted[index] && bind_into(root, path, 1))
			return 1;
	}
	return 0;
}

/* The index that a word of NVIDIA_VISIBLE_DEVICES means, if that GPU is there; else -1. */
static int present(const char *word)
{
	char path[sizeof(DEVICES) + 16], *end;
	long index = strtol(word, &end, 10);
	int fd;

	if (end == word || *end || index < 0 || index >= NVS_MAX_GPUS)
		return -1;
	snprintf(path, sizeof(path), DEVICES "/nvidia%ld", index);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	close(fd);
	return (int)index;
}

/* Which GPUs are asked for; 0, or 1 after saying which of them is not there. */
static int choose(const char *devices, int *wanted)
{
	char list[sizeof(((struct container *)0)->devices)], word[16], *rest = list, *one;
	int every = listed(devices, "all"), chosen = 0;

	snprintf(list, sizeof(list), "%s", devices);
	for (int index = 0; index < NVS_MAX_GPUS; index++) {
		snprintf(word, sizeof(word), "%d", index);
		wanted[index] = every && present(word) >= 0;
		chosen += wanted[index];
	}
	while (!every && (one = strsep(&rest, ","))) {
		if (!*one)
			continue;
		if (present(one) < 0)
			return fail("device error: %s: unknown device", one);
		wanted[present(one)] = 1;
		chosen++;
	}
	return chosen ? 0 : fail("device error: %s: unknown device", devices);
}

int cli_configure(const struct container *container, const struct settings *settings)
{
	int wanted[NVS_MAX_GPUS], control, root;
	struct nvs_version version = { "" };
	const char *folder;

	if (settings->load_kmods) {
		load_module("nvidia");
		load_module("nvidia-uvm");
	}
	folder = library_folder();
	if (!folder)
		return fail("initialization error: load library failed: libnvidia-ml.so.1: "
			    "cannot open shared object file: no such file or directory");
	control = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
	if (control < 0 || ioctl(control, NVS_IOC_VERSION, &version))
		return fail("initialization error: nvml error: driver not loaded");
	trace("driver %s", version.version);
	if (choose(container->devices, wanted) || enter(container->pid))
		return 1;
	root = open(container->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail("container error: root file system '%s': %s", container->rootfs,
			    strerror(errno));
	return bring_files(root, container->capabilities, folder) || bring_devices(root, wanted);
}
