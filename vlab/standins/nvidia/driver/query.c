/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi --query-gpu=FIELDS --format=csv[,noheader][,nounits]: field names, header, units and
 * errors as the real tool has them. What the device cannot tell is [N/A], as on a GPU that does
 * not support the field; memory is the device's own, used by the models that it has loaded.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nvidia-smi.h"

#define MAX_FIELDS 64

struct field {
	const char *name, *alias, *unit; /* unit: as in the header, NULL without one */
	void (*value)(const struct gpu *gpu, char *out, size_t size);
};

#define VALUE(function, format, ...)                                                 \
	static void function(const struct gpu *gpu, char *out, size_t size)          \
	{                                                                            \
		(void)gpu;                                                           \
		snprintf(out, size, format, __VA_ARGS__);                            \
	}

VALUE(value_version, "%s", NVS_VERSION)
VALUE(value_name, "%s", GPU_NAME)
VALUE(value_uuid, "%s", gpu->uuid)
VALUE(value_bus_id, "%s", gpu->bus_id)
VALUE(value_domain, "0x%.4s", gpu->bus_id + 4)
VALUE(value_bus, "0x%.2s", gpu->bus_id + 9)
VALUE(value_slot, "0x%.2s", gpu->bus_id + 12)
VALUE(value_device_id, "0x%04X%04X", gpu->info.device, gpu->info.vendor)
VALUE(value_sub_id, "0x%04X%04X", gpu->info.subsystem_device, gpu->info.subsystem_vendor)
VALUE(value_index, "%d", gpu->index)
VALUE(value_memory, "%llu", gpu->memory_total >> 20)
VALUE(value_memory_used, "%llu", gpu->memory_used >> 20)
VALUE(value_memory_free, "%llu", (gpu->memory_total - gpu->memory_used) >> 20)

static void value_time(const struct gpu *gpu, char *out, size_t size)
{
	time_t now = time(NULL);

	(void)gpu;
	strftime(out, size, "%Y/%m/%d %H:%M:%S.000", localtime(&now));
}

static const struct field fields[] = {
	{ "driver_version", NULL, NULL, value_version },
	{ "name", "gpu_name", NULL, value_name },
	{ "uuid", "gpu_uuid", NULL, value_uuid },
	{ "pci.bus_id", "gpu_bus_id", NULL, value_bus_id },
	{ "pci.domain", NULL, NULL, value_domain },
	{ "pci.bus", NULL, NULL, value_bus },
	{ "pci.device", NULL, NULL, value_slot },
	{ "pci.device_id", NULL, NULL, value_device_id },
	{ "pci.sub_device_id", NULL, NULL, value_sub_id },
	{ "index", NULL, NULL, value_index },
	{ "timestamp", NULL, NULL, value_time },
	{ "memory.total", NULL, "MiB", value_memory },
	{ "memory.used", NULL, "MiB", value_memory_used },
	{ "memory.free", NULL, "MiB", value_memory_free },
	{ "ecc.mode.current", NULL, NULL, NULL },
	{ "ecc.mode.pending", NULL, NULL, NULL },
	{ "persistence_mode", NULL, NULL, NULL },
	{ "temperature.gpu", NULL, NULL, NULL },
	{ "utilization.gpu", NULL, "%", NULL },
	{ "utilization.memory", NULL, "%", NULL },
	{ "power.draw", NULL, "W", NULL },
	{ "power.limit", NULL, "W", NULL },
	{ "fan.speed", NULL, "%", NULL },
	{ "pstate", NULL, NULL, NULL },
	{ "serial", "gpu_serial", NULL, NULL },
	{ "vbios_version", NULL, NULL, NULL },
	{ "compute_mode", NULL, NULL, NULL },
	{ "compute_cap", NULL, NULL, NULL },
	{ "mig.mode.current", NULL, NULL, NULL },
	{ "clocks.sm", "clocks.current.sm", "MHz", NULL },
	{ "clocks.mem", "clocks.current.memory", "MHz", NULL },
};

static const struct field *find(const char *name)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (!strcmp(name, fields[i].name) ||
		    (fields[i].alias && !strcmp(name, fields[i].alias)))
			return &fields[i];
	return NULL;
}

static int parse_format(char *format, int *header, int *units)
{
	int csv = 0;

	for (char *word = strtok(format, ","); word; word = strtok(NULL, ",")) {
		if (!strcmp(word, "csv"))
			csv = 1;
		else if (!strcmp(word, "noheader"))
			*header = 0;
		else if (!strcmp(word, "nounits"))
			*units = 0;
		else {
			printf("\"%s\" is not a valid format option.\n\n", word);
			return EXIT_ARGUMENT;
		}
	}
	if (!csv)
		printf("\"--format=\" switch is missing. CSV format must be specified "
		       "(\"--format=csv\").\n\n");
	return csv ? 0 : EXIT_ARGUMENT;
}

static void print_header(const struct field *const *wanted, int count, int units)
{
	for (int i = 0; i < count; i++) {
		printf("%s%s", i ? ", " : "", wanted[i]->name);
		if (wanted[i]->unit && units)
			printf(" [%s]", wanted[i]->unit);
	}
	printf("\n");
}

static void print_row(const struct gpu *gpu, const struct field *const *wanted, int count, int units)
{
	char value[128];

	for (int i = 0; i < count; i++) {
		if (wanted[i]->value)
			wanted[i]->value(gpu, value, sizeof(value));
		printf("%s%s", i ? ", " : "", wanted[i]->value ? value : "[N/A]");
		if (wanted[i]->value && wanted[i]->unit && units)
			printf(" %s", wanted[i]->unit);
	}
	printf("\n");
}

int query_print(const struct gpu *gpus, int count, char *names, char *format)
{
	const struct field *wanted[MAX_FIELDS];
	char none[] = "";
	int header = 1, units = 1, total = 0, error;

	error = parse_format(format ? format : none, &header, &units);
	if (error)
		return error;
	for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
		name += strspn(name, " ");
		if (total == MAX_FIELDS || !(wanted[total] = find(name))) {
			printf("Field \"%s\" is not a valid field to query.\n\n", name);
			return EXIT_ARGUMENT;
		}
		total++;
	}
	if (!gpus)
		return 0; /* the arguments were checked, before any device is asked */
	if (header)
		print_header(wanted, total, units);
	for (int i = 0; i < count; i++)
		print_row(&gpus[i], wanted, total, units);
	return 0;
}
