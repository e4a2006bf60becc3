/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands for: nvidia-container-runtime-hook of NVIDIA's container toolkit, and the
 *   nvidia-container-cli that it runs (cli.c).
 * Real: its calling conventions (OCI state on standard input, the bundle's config.json,
 *   config.toml, NVIDIA_VISIBLE_DEVICES, `prestart` works, `poststart` and `poststop` do
 *   nothing, anything else exits 2), and its effect: the driver's program, libraries and device
 *   nodes are mounted into the container. Without driver or device it fails.
 * Not real: nvidia-container-cli is not a program of its own, GPUs are asked for by index or "all"
 *   and not by UUID, CDI and CSV modes, requirements
 *   (NVIDIA_REQUIRE_*), device cgroups and the container's ld.so cache are left alone.
 */
#include "hook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"

#define CONFIG "/etc/nvidia-container-runtime/config.toml"
#define DOCUMENT_MAX (4 << 20)

static FILE *log_file;

void trace(const char *format, ...)
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

int fail(const char *format, ...)
{
	char text[PATH_MAX + 256];
	va_list words;

	va_start(words, format);
	vsnprintf(text, sizeof(text), format, words);
	va_end(words);
	fprintf(stderr, "nvidia-container-cli: %s\n", text);
	if (log_file != stderr)
		trace("nvidia-container-cli: %s", text);
	return 1;
}

static char *read_all(FILE *file)
{
	char *text = malloc(DOCUMENT_MAX + 1);
	size_t length = text && file ? fread(text, 1, DOCUMENT_MAX, file) : 0;

	if (text)
		text[length] = '\0';
	return length ? text : NULL;
}

/* The two settings that matter here, out of a TOML file of sections and `key = value` lines. */
static void read_settings(const char *path, struct settings *settings)
{
	char line[PATH_MAX + 64], section[64] = "", value[PATH_MAX];
	FILE *file = fopen(path, "re");

	settings->load_kmods = 1;
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, " [%63[^]]]", section) == 1 || strcmp(section, "nvidia-container-cli"))
			continue;
		if (sscanf(line, " debug = \"%4095[^\"]\"", value) == 1)
			snprintf(settings->debug, sizeof(settings->debug), "%s", value);
		else if (sscanf(line, " load-kmods = %15s", value) == 1)
			settings->load_kmods = strcmp(value, "false") != 0;
	}
	if (file)
		fclose(file);
}

static void read_environment(const char *config, struct container *container)
{
	const char *process = json_member(config, "process");
	char entry[sizeof(container->devices) + 64];
	int visible = 0, cuda = 0;

	for (const char *at = json_first(json_member(process, "env")); at; at = json_next(at)) {
		if (json_string(at, entry, sizeof(entry)))
			continue;
		if (!strncmp(entry, "NVIDIA_VISIBLE_DEVICES=", 23)) {
			visible = 1;
			snprintf(container->devices, sizeof(container->devices), "%s", entry + 23);
		} else if (!strncmp(entry, "NVIDIA_DRIVER_CAPABILITIES=", 27)) {
			snprintf(container->capabilities, sizeof(container->capabilities), "%s",
				 entry + 27);
		} else if (!strncmp(entry, "CUDA_VERSION=", 13)) {
			cuda = 1;
		}
	}
	if (!visible && cuda) /* images of CUDA before the variable was invented */
		strcpy(container->devices, "all");
	if (!strcmp(container->devices, "void") || !strcmp(container->devices, "none"))
		container->devices[0] = '\0';
	if (!container->capabilities[0])
		strcpy(container->capabilities, "utility,compute");
}

static int read_container(struct container *container)
{
	char bundle[PATH_MAX] = "", root[PATH_MAX] = "", path[PATH_MAX + 16];
	char *state = read_all(stdin), *config;
	const char *pid = json_member(state, "pid");
	FILE *file;

	if (!pid || json_string(json_member(state, "bundle"), bundle, sizeof(bundle)))
		return fail("could not decode container state: no pid or no bundle in it");
	container->pid = atoi(pid);
	snprintf(path, sizeof(path), "%s/config.json", bundle);
	file = fopen(path, "re");
	if (!file)
		return fail("could not open OCI spec: %s: %s", path, strerror(errno));
	config = read_all(file);
	fclose(file);
	if (json_string(json_member(json_member(config, "root"), "path"), root, sizeof(root)))
		return fail("could not decode OCI spec: %s: no root.path in it", path);
	if (root[0] != '/' && strlen(bundle) + strlen(root) + 2 > sizeof(container->rootfs))
		return fail("the path of the root file system is too long");
	snprintf(container->rootfs, sizeof(container->rootfs), "%.*s%s%.*s", PATH_MAX,
		 root[0] == '/' ? "" : bundle, root[0] == '/' ? "" : "/", PATH_MAX, root);
	read_environment(config, container);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "Usage of nvidia-container-runtime-hook (stand-in):\n"
			"  -config FILE   default: " CONFIG "\n"
			"  -debug         say on stderr what is done (--debug=FILE: in a file)\n"
			"  -version\n\nCommands:\n"
			"  prestart   run the prestart hook\n"
			"  poststart  no-op\n  poststop   no-op\n");
	return 2;
}

static int prestart(const struct settings *settings)
{
	struct container container = { 0 };

	if (read_container(&container))
		return 1;
	trace("container process %d, root file system '%s', NVIDIA_VISIBLE_DEVICES='%s'",
	      container.pid, container.rootfs, container.devices);
	if (!container.devices[0]) {
		trace("no GPU is asked for: nothing to do");
		return 0;
	}
	return cli_configure(&container, settings);
}

int main(int argc, char **argv)
{
	struct settings settings = { 0 };
	const char *config = CONFIG, *debug = NULL;
	int at;

	for (at = 1; at < argc && argv[at][0] == '-'; at++) {
		const char *option = argv[at] + (argv[at][1] == '-' ? 2 : 1);

		if (!strcmp(option, "debug") || !strcmp(option, "debug=true")) {
			debug = "/dev/stderr";
		} else if (!strncmp(option, "debug=", 6)) {
			debug = strcmp(option + 6, "false") ? option + 6 : NULL;
		} else if (!strcmp(option, "config") && at + 1 < argc) {
			config = argv[++at];
		} else if (!strncmp(option, "config=", 7)) {
			config = option + 7;
		} else if (!strcmp(option, "version")) {
			printf("NVIDIA Container Runtime Hook version %s (stand-in)\n", TOOLKIT_VERSION);
			return 0;
		} else {
			return usage();
		}
	}
	if (at >= argc)
		return usage();
	if (!strcmp(argv[at], "poststart") || !strcmp(argv[at], "poststop"))
		return 0;
	if (strcmp(argv[at], "prestart"))
		return usage();
	read_settings(config, &settings);
	if (!debug && settings.debug[0])
		debug = settings.debug;
	if (debug)
		log_file = strcmp(debug, "/dev/stderr") ? fopen(debug, "ae") : stderr;
	return prestart(&settings);
}
