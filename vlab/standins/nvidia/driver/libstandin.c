/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands for: libcuda.so, which the toolkit's hook brings into containers, and for
 *   libnvidia-container.so. Real: the files, their names and sonames. Not real: everything in them;
 *   no function is here, so a program that wants one fails when it is linked or started.
 */
const char nvidia_standin_notice[] = "stand-in for " STANDIN_SONAME " " NVS_VERSION
				     ": it has none of the library's functions";
