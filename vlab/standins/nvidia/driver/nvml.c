/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands for: libnvidia-ml.so, which NVIDIA's hook asks whether all GPUs are integrated ones, and
 *   which it brings into containers. Real: the file, its name and soname, and the answer of a
 *   library that cannot be used (nvml.h), after which the hook goes on as without integrated GPUs.
 *   Not real: all other functions are missing.
 */
enum { NVML_ERROR_NOT_SUPPORTED = 3 };

const char nvidia_standin_notice[] = "stand-in for " STANDIN_SONAME " " NVS_VERSION;

int nvmlInit_v2(void);
const char *nvmlErrorString(int result);

int nvmlInit_v2(void)
{
	return NVML_ERROR_NOT_SUPPORTED;
}

const char *nvmlErrorString(int result)
{
	return result == NVML_ERROR_NOT_SUPPORTED ? "Not Supported" : "Unknown Error";
}
