// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Stands for: nvidia-uvm.ko of NVIDIA's driver package, which CUDA opens first.
 * Real: it is built with nvidia.ko, needs it, and has the node /dev/nvidia-uvm.
 * Not real: nothing is behind the node, and it has a minor of misc's, no major of its own.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "nvidia-standin.h"

static const struct file_operations nvs_uvm_operations = { .owner = THIS_MODULE };

static struct miscdevice nvs_uvm = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "nvidia-uvm",
	.mode = 0666,
	.fops = &nvs_uvm_operations,
};

static int __init nvs_uvm_init(void)
{
	return nvs_gpus() ? misc_register(&nvs_uvm) : -ENODEV;
}

static void __exit nvs_uvm_exit(void)
{
	misc_deregister(&nvs_uvm);
}

module_init(nvs_uvm_init);
module_exit(nvs_uvm_exit);
MODULE_DESCRIPTION("Stand-in for NVIDIA's unified memory driver");
MODULE_LICENSE("GPL");
MODULE_VERSION(NVS_VERSION);
