/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands for: nvidia-container-cli of libnvidia-container, which NVIDIA's hook runs.
 * Real: the options that the hook of 1.17.8 gives to `configure`, the sentences of its failures,
 *   and its effect: where driver and device work at all, the driver's program, libraries and
 *   device nodes are bound into the root file system of the container, in its mount namespace.
 * Not real: GPUs are asked for by index or "all" and not by UUID; --require, MIG, IMEX, device
 *   cgroups and the container's loader cache are left alone; nothing of what only the real driver
 *   has comes along; there are no other commands.
 * Paths in the container are resolved inside it, so that a link in an image cannot lead out of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nvidia-standin.h"

#ifndef MODPROBE
#define MODPROBE "/sbin/modprobe" /* a test has others */
#endif
#ifndef DEVICES
#define DEVICES "/dev"
#endif

/* What is asked for; no devices is the driver without a GPU. */
struct request {
	const char *debug, *devices, *ldconfig, *root;
	int load_kmods, compute, utility, pid;
};

static const char *const library_folders[] = {
	"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"
};

static FILE *log_file;

static void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void trace(const char *format, ...)
{
	char when[32];
	time_t now = time(NULL);
	va_list words;

	if (!log_file)
		return;
	strftime(when, sizeof(when), "I%m%d %H:%M:%S", localtime(&now));
	fprintf(log_file, "%s ", when);
	va_start(words, format);
	vfprintf(log_file, format, words);
	va_end(words);
	fputc('\n', log_file);
	fflush(log_file);
}

static int fail(const char *format, ...)
{
	va_list words;

	fputs("nvidia-container-cli: ", stderr);
	va_start(words, format);
	vfprintf(stderr, format, words);
	va_end(words);
	fputc('\n', stderr);
	return 1;
}

static void load_module(const char *name)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		execl(MODPROBE, "modprobe", "-q", name, (char *)NULL);
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

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	error = fd < 0 || setns(fd, CLONE_NEWNS);
	if (error)
		return fail("container error: open failed: %s: %s", path, strerror(errno));
	close(fd);
	return 0;
}

static int bring_files(int root, const struct request *request, const char *folder)
{
	int failed = 0;
	char path[PATH_MAX];

	if (request->utility) {
		failed = bind_into(root, "/usr/bin/nvidia-smi", 0);
		snprintf(path, sizeof(path), "%s/libnvidia-ml.so.1", folder);
		failed = failed || bind_into(root, path, 0);
	}
	if (!failed && request->compute) {
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

/* The index that a word of --device means, if that GPU is there; else -1. */
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
	char list[1024], word[16], *rest = list, *one;
	int every = listed(devices, "all");

	snprintf(list, sizeof(list), "%s", devices);
	for (int index = 0; index < NVS_MAX_GPUS; index++) {
		snprintf(word, sizeof(word), "%d", index);
		wanted[index] = every && present(word) >= 0;
	}
	while (!every && (one = strsep(&rest, ","))) {
		if (!*one)
			continue;
		if (present(one) < 0)
			return fail("device error: %s: unknown device", one);
		wanted[present(one)] = 1;
	}
	return 0;
}

/* Whether the guest has what is needed: 0, or 1 after saying what it has not. */
static int detect(const struct request *request, const char *folder)
{
	struct nvs_version version = { "" };
	int control;

	if (!getenv("PATH"))
		return fail("detection error: environment variable PATH not found");
	if (!folder)
		return fail("initialization error: load library failed: libnvidia-ml.so.1: "
			    "cannot open shared object file: no such file or directory");
	control = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
	if (control < 0 || ioctl(control, NVS_IOC_VERSION, &version))
		return fail("initialization error: nvml error: driver not loaded");
	trace("driver %s", version.version);
	if (access("/etc/ld.so.cache", R_OK))
		return fail("detection error: open failed: /etc/ld.so.cache: "
			    "no such file or directory");
	if (request->ldconfig[0] == '@' && access(request->ldconfig + 1, X_OK))
		return fail("ldcache error: open failed: %s: no such file or directory",
			    request->ldconfig + 1);
	return 0;
}

static int configure(const struct request *request)
{
	const char *folder = library_folder();
	int wanted[NVS_MAX_GPUS], root;

	if (request->load_kmods) {
		load_module("nvidia");
		load_module("nvidia-uvm");
	}
	if (detect(request, folder) || choose(request->devices, wanted) || enter(request->pid))
		return 1;
	root = open(request->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail("container error: open failed: %s: %s", request->root, strerror(errno));
	return bring_files(root, request, folder) || bring_devices(root, wanted);
}

/* Options that the hook may give and that change nothing here, and those that do. */
static const struct option general[] = {
	{ "load-kmods", no_argument, NULL, 'k' },	{ "debug", required_argument, NULL, 'd' },
	{ "no-pivot", no_argument, NULL, 0 },		{ "no-create-imex-channels", no_argument, NULL, 0 },
	{ "ldcache", required_argument, NULL, 0 },	{ "root", required_argument, NULL, 0 },
	{ "user", required_argument, NULL, 0 },		{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};
static const struct option of_configure[] = {
	{ "device", required_argument, NULL, 'D' },	{ "ldconfig", required_argument, NULL, 'l' },
	{ "compute", no_argument, NULL, 'c' },		{ "utility", no_argument, NULL, 'u' },
	{ "pid", required_argument, NULL, 'p' },	{ "compat32", no_argument, NULL, 0 },
	{ "display", no_argument, NULL, 0 },		{ "graphics", no_argument, NULL, 0 },
	{ "ngx", no_argument, NULL, 0 },		{ "video", no_argument, NULL, 0 },
	{ "no-cgroups", no_argument, NULL, 0 },		{ "require", required_argument, NULL, 0 },
	{ "mig-config", required_argument, NULL, 0 },	{ "mig-monitor", required_argument, NULL, 0 },
	{ "imex-channel", required_argument, NULL, 0 }, { "cuda-compat-mode", required_argument, NULL, 0 },
	{ NULL, 0, NULL, 0 },
};

/* 0; 1 where an option is wrong, which getopt has said; -1 where there is nothing more to do. */
static int take(int argc, char **argv, const struct option *options, struct request *request)
{
	int option;

	while ((option = getopt_long(argc, argv, "+kd:", options, NULL)) != -1) {
		switch (option) {
		case 'k': request->load_kmods = 1; break;
		case 'd': request->debug = optarg; break;
		case 'D': request->devices = optarg; break;
		case 'l': request->ldconfig = optarg; break;
		case 'c': request->compute = 1; break;
		case 'u': request->utility = 1; break;
		case 'p': request->pid = atoi(optarg); break;
		case 'V':
			printf("cli-version: " TOOLKIT_VERSION " (stand-in)\n");
			return -1;
		case '?': return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct request request = { .devices = "", .ldconfig = "", .root = "" };
	static char command[] = "nvidia-container-cli configure";
	int wrong = take(argc, argv, general, &request);

	if (wrong)
		return wrong > 0;
	if (optind >= argc || strcmp(argv[optind], "configure")) {
		fputs("nvidia-container-cli: this stand-in knows no command but configure\n", stderr);
		return 1;
	}
	argv += optind;
	argc -= optind;
	argv[0] = command;
	optind = 1;
	if (take(argc, argv, of_configure, &request))
		return 1;
	if (optind != argc - 1) {
		fputs("nvidia-container-cli configure: one root file system is to be named\n", stderr);
		return 1;
	}
	request.root = argv[optind];
	if (request.debug) /* where it cannot be opened, the real one goes on, too */
		log_file = fopen(request.debug, "ae");
	return configure(&request);
}
