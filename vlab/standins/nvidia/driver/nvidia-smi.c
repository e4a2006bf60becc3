/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands for: nvidia-smi of NVIDIA's driver.
 * Real: its formats, field names and exit statuses; and each call makes the device that was
 *   passed through answer (identification, liveness, a factorial, a DMA round trip) and fails
 *   when it is not there or answers wrong, so a row in the table is a device that works.
 * Not real: the GPU is the virtual lab's. The name says so, and what it does not have is N/A.
 *   Options beyond those below are refused as the real tool refuses unknown ones; of those it has
 *   (-q, -x, topo and other commands) the lack of a driver or library is told first.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nvidia-smi.h"

enum { OPTION_QUERY = 1000, OPTION_FORMAT, OPTION_VERSION, OPTION_SELFTEST };

struct request {
	int list, version, selftest, missing; /* missing: the real tool has it */
	char *query, *format, *id;
};

static void print_line(char left, const char *const *parts)
{
	printf("%c%s|%s|%s|\n", left, parts[0], parts[1], parts[2]);
}

static void print_rule(char left, char line, char right)
{
	static const int widths[] = { 41, 24, 22 };

	putchar(left);
	for (int column = 0; column < 3; column++) {
		for (int i = 0; i < widths[column]; i++)
			putchar(line);
		putchar(column < 2 ? '+' : right);
	}
	putchar('\n');
}

static void print_full(const char *text)
{
	printf("| %-88s|\n", text);
}

static void print_full_rule(char corner, char line)
{
	putchar(corner);
	for (int i = 0; i < 89; i++)
		putchar(line);
	printf("%c\n", corner);
}

static void print_gpu(const struct gpu *gpu)
{
	char name[64], place[64], memory[64];

	/* Like the real tool, the table cuts a long name; -L and --query-gpu have it whole. */
	snprintf(name, sizeof(name), " %3d  %.22s...      N/A ", gpu->index, GPU_NAME);
	snprintf(place, sizeof(place), "   %-16s N/A ", gpu->bus_id);
	snprintf(memory, sizeof(memory), "  %6lluMiB / %6lluMiB ", gpu->memory_used >> 20,
		 gpu->memory_total >> 20);
	print_line('|', (const char *[]){ name, place, "                  N/A " });
	print_line('|', (const char *[]){ " N/A   N/A   N/A             N/A /  N/A  ", memory,
					  "     N/A          N/A " });
	print_line('|', (const char *[]){ "                                         ",
					  "                        ", "                  N/A " });
	print_rule('+', '-', '+');
}

static void print_table(const struct gpu *gpus, int count)
{
	char line[90];
	time_t now = time(NULL);

	strftime(line, sizeof(line), "%a %b %e %H:%M:%S %Y", localtime(&now));
	printf("%-31s\n", line);
	print_full_rule('+', '-');
	snprintf(line, sizeof(line), "NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %-8s",
		 NVS_VERSION, NVS_VERSION, "N/A");
	print_full(line);
	print_rule('|', '-', '+');
	print_line('|', (const char *[]){ " GPU  Name                 Persistence-M ",
					  " Bus-Id          Disp.A ", " Volatile Uncorr. ECC " });
	print_line('|', (const char *[]){ " Fan  Temp   Perf          Pwr:Usage/Cap ",
					  "           Memory-Usage ", " GPU-Util  Compute M. " });
	print_line('|', (const char *[]){ "                                         ",
					  "                        ", "               MIG M. " });
	print_rule('|', '=', '|');
	for (int i = 0; i < count; i++)
		print_gpu(&gpus[i]);
	printf("%91s\n", "");
	print_full_rule('+', '-');
	print_full("Processes:");
	print_full(" GPU   GI   CI        PID   Type   Process name                              GPU Memory");
	print_full("       ID   ID                                                               Usage");
	print_full_rule('|', '=');
	print_full(" A stand-in cannot tell which processes use it");
	print_full_rule('+', '-');
}

/* One JSON object a line, one line a GPU. */
static void print_selftest(const struct gpu *gpus, int count)
{
	for (int i = 0; i < count; i++) {
		const struct selftest *test = &gpus[i].test;

		printf("{\"index\": %d, \"bus_id\": \"%s\", \"uuid\": \"%s\", "
		       "\"identification\": \"0x%08x\", \"liveness\": \"0x%08x->0x%08x\", "
		       "\"factorial_of\": %u, \"factorial\": %u, \"dma_bytes\": %u, \"dma_ok\": %s}\n",
		       gpus[i].index, gpus[i].bus_id, gpus[i].uuid,
		       test->identification, test->value, test->inverted, test->factorial_of,
		       test->factorial, test->dma_bytes, test->dma_mismatches ? "false" : "true");
	}
}

static int usage_error(void)
{
	printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n\n");
	return EXIT_ARGUMENT;
}

static int parse(int argc, char **argv, struct request *request)
{
	static const struct option options[] = {
		{ "list-gpus", no_argument, NULL, 'L' },
		{ "id", required_argument, NULL, 'i' },
		{ "query", no_argument, NULL, 'q' },
		{ "xml-format", no_argument, NULL, 'x' },
		{ "query-gpu", required_argument, NULL, OPTION_QUERY },
		{ "format", required_argument, NULL, OPTION_FORMAT },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{ "standin-selftest", no_argument, NULL, OPTION_SELFTEST },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	if (argc > 1 && argv[1][0] != '-') { /* a command, with options of its own */
		request->missing = 1;
		return 0;
	}
	opterr = 0;
	while ((option = getopt_long(argc, argv, "Lhi:qx", options, NULL)) != -1) {
		switch (option) {
		case 'L': request->list = 1; break;
		case 'i': request->id = optarg; break;
		case 'q':
		case 'x': request->missing = 1; break;
		case OPTION_QUERY: request->query = optarg; break;
		case OPTION_FORMAT: request->format = optarg; break;
		case OPTION_VERSION: request->version = 1; break;
		case OPTION_SELFTEST: request->selftest = 1; break;
		case 'h':
			printf("NVIDIA System Management Interface -- v%s (stand-in)\n\n"
			       "nvidia-smi [-i ID] [-L | --query-gpu=FIELD,... "
			       "--format=csv[,noheader][,nounits] | --version]\n"
			       "nvidia-smi --standin-selftest   what each device computed, as a line of JSON\n",
			       NVS_VERSION);
			exit(EXIT_OK);
		default: return usage_error();
		}
	}
	if (optind < argc || (request->format && !request->query))
		return usage_error();
	return 0;
}

/* -i takes an index, a UUID or a bus id; answers the number of GPUs left. */
static int select_gpu(struct gpu *gpus, int count, const char *id)
{
	char index[12];

	for (int i = 0; i < count; i++) {
		snprintf(index, sizeof(index), "%d", gpus[i].index);
		if (!strcmp(id, index) || !strcasecmp(id, gpus[i].uuid) ||
		    !strcasecmp(id, gpus[i].bus_id) || !strcasecmp(id, gpus[i].info.bus_id)) {
			gpus[0] = gpus[i];
			return 1;
		}
	}
	printf("No devices were found\n");
	return 0;
}

static int show(const struct request *request, struct gpu *gpus, int count)
{
	if (request->query)
		return query_print(gpus, count, request->query, request->format);
	if (request->selftest) {
		print_selftest(gpus, count);
	} else if (request->list) {
		for (int i = 0; i < count; i++)
			printf("GPU %d: %s (UUID: %s)\n", gpus[i].index, GPU_NAME, gpus[i].uuid);
	} else if (request->version) {
		printf("NVIDIA-SMI version  : %s\nNVML version        : none (stand-in)\n"
		       "DRIVER version      : %s\nCUDA Version        : N/A\n",
		       NVS_VERSION, NVS_VERSION);
	} else {
		print_table(gpus, count);
	}
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	struct request request = { 0 };
	struct gpu gpus[NVS_MAX_GPUS];
	int count = 0, status = parse(argc, argv, &request);

	if (!status && request.query) {
		/* strtok writes: check the arguments on copies, then ask the devices. */
		char *fields = strdup(request.query);
		char *format = request.format ? strdup(request.format) : NULL;

		status = query_print(NULL, 0, fields, format);
	}
	if (!status)
		status = driver_check();
	if (!status && request.missing)
		status = usage_error();
	if (!status)
		status = gpus_read(gpus, &count);
	if (!status && request.id)
		status = (count = select_gpu(gpus, count, request.id)) ? 0 : EXIT_NOT_FOUND;
	return status ? status : show(&request, gpus, count);
}
