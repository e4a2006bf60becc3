// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Stands for: nvidia.ko, NVIDIA's kernel module.
 * Real: a Linux PCI driver, built against the guest's kernel tree by the driver's installer; it
 *   maps the BAR of the device that was passed through and lets it compute and do DMA; like
 *   NVIDIA's it will not load where there is no device of its own.
 * Not real: the device is QEMU's `edu` (1234:11e8; registers: docs/specs/edu.rst in QEMU), there
 *   is no GPU behind it, and the ioctl interface is ours. nvidia-uvm, -drm, -modeset do not exist.
 */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iopoll.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>

#include "edu.h"
#include "nvidia-standin.h"

struct nvs_gpu {
	struct pci_dev *pci;
	void __iomem *bar;
	int minor;
};

static struct nvs_gpu *gpus[NVS_MAX_GPUS];
static DEFINE_MUTEX(gpus_lock); /* the table, and one request at a time on any device */
static struct proc_dir_entry *nvs_proc;

static int nvs_wait_clear(struct nvs_gpu *gpu, u32 reg, u32 bit)
{
	u32 value;

	return readl_poll_timeout(gpu->bar + reg, value, !(value & bit), 1000, DEVICE_TIMEOUT_US);
}

static int nvs_dma_step(struct nvs_gpu *gpu, u64 from, u64 to, u64 command)
{
	writeq(from, gpu->bar + EDU_DMA_SRC);
	writeq(to, gpu->bar + EDU_DMA_DST);
	writeq(DMA_BYTES, gpu->bar + EDU_DMA_COUNT);
	writeq(command | EDU_DMA_START, gpu->bar + EDU_DMA_COMMAND);
	return nvs_wait_clear(gpu, EDU_DMA_COMMAND, EDU_DMA_START);
}

/* Random bytes go to the device and come back to another place: nothing but DMA can do that. */
static int nvs_dma_round_trip(struct nvs_gpu *gpu, struct nvs_selftest *test)
{
	dma_addr_t bus;
	int error, i;
	u8 *out = dma_alloc_coherent(&gpu->pci->dev, 2 * DMA_BYTES, &bus, GFP_KERNEL);
	u8 *in = out + DMA_BYTES;

	if (!out)
		return -ENOMEM;
	get_random_bytes(out, DMA_BYTES);
	for (i = 0; i < DMA_BYTES; i++)
		in[i] = ~out[i];
	error = nvs_dma_step(gpu, bus, EDU_BUFFER, 0);
	if (!error)
		error = nvs_dma_step(gpu, EDU_BUFFER, bus + DMA_BYTES, EDU_DMA_TO_MEMORY);
	if (!error) {
		test->dma_bytes = DMA_BYTES;
		test->dma_mismatches = 0;
		for (i = 0; i < DMA_BYTES; i++)
			test->dma_mismatches += in[i] != out[i];
		dma_free_coherent(&gpu->pci->dev, 2 * DMA_BYTES, out, bus);
	}
	/* After a timeout the device may still write: the memory is not given back. */
	return error;
}

static int nvs_selftest(struct nvs_gpu *gpu, struct nvs_selftest *test)
{
	int error;

	if (test->factorial_of > 12)
		return -EINVAL;
	if (readl(gpu->bar + EDU_ID) == U32_MAX)
		return -ENODEV;
	writel(test->value, gpu->bar + EDU_LIVENESS);
	test->liveness = readl(gpu->bar + EDU_LIVENESS);
	writel(test->factorial_of, gpu->bar + EDU_FACTORIAL);
	error = nvs_wait_clear(gpu, EDU_STATUS, EDU_STATUS_COMPUTING);
	if (error)
		return error;
	test->factorial = readl(gpu->bar + EDU_FACTORIAL);
	return nvs_dma_round_trip(gpu, test);
}

static void nvs_info(struct nvs_gpu *gpu, struct nvs_info *info)
{
	strscpy(info->bus_id, pci_name(gpu->pci), sizeof(info->bus_id));
	info->vendor = gpu->pci->vendor;
	info->device = gpu->pci->device;
	info->subsystem_vendor = gpu->pci->subsystem_vendor;
	info->subsystem_device = gpu->pci->subsystem_device;
	info->identification = readl(gpu->bar + EDU_ID);
	info->aperture = pci_resource_len(gpu->pci, 0);
}

static int nvs_open(struct inode *inode, struct file *file)
{
	unsigned int minor = iminor(inode);

	if (minor == NVS_CTL_MINOR)
		return 0;
	return minor < NVS_MAX_GPUS && READ_ONCE(gpus[minor]) ? 0 : -ENXIO;
}

static long nvs_gpu_ioctl(struct nvs_gpu *gpu, unsigned int command, void __user *arg)
{
	struct nvs_selftest test;
	struct nvs_info info = {};
	int error;

	switch (command) {
	case NVS_IOC_INFO:
		nvs_info(gpu, &info);
		return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
	case NVS_IOC_SELFTEST:
		if (copy_from_user(&test, arg, sizeof(test)))
			return -EFAULT;
		error = nvs_selftest(gpu, &test);
		if (error)
			return error;
		return copy_to_user(arg, &test, sizeof(test)) ? -EFAULT : 0;
	}
	return -ENOTTY;
}

static long nvs_ioctl(struct file *file, unsigned int command, unsigned long arg)
{
	unsigned int minor = iminor(file_inode(file));
	struct nvs_version version = { NVS_VERSION };
	long answer = -ENODEV;

	if (command == NVS_IOC_VERSION)
		return copy_to_user((void __user *)arg, &version, sizeof(version)) ? -EFAULT : 0;
	if (minor >= NVS_MAX_GPUS)
		return -ENOTTY;
	mutex_lock(&gpus_lock); /* a device that is pulled out waits for the request to end */
	if (gpus[minor])
		answer = nvs_gpu_ioctl(gpus[minor], command, (void __user *)arg);
	mutex_unlock(&gpus_lock);
	return answer;
}

static const struct file_operations nvs_fops = {
	.owner = THIS_MODULE,
	.open = nvs_open,
	.unlocked_ioctl = nvs_ioctl,
};

/* The real driver leaves its nodes to nvidia-modprobe, with mode 0666; devtmpfs makes these. */
static char *nvs_devnode(const struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static const struct class nvs_class = { .name = "nvidia-standin", .devnode = nvs_devnode };

static int nvs_map(struct nvs_gpu *gpu, struct pci_dev *pci)
{
	int error = pcim_enable_device(pci);

	if (!error)
		error = dma_set_mask_and_coherent(&pci->dev, DMA_BIT_MASK(64));
	if (!error)
		error = pcim_iomap_regions(pci, BIT(0), "nvidia");
	if (error)
		return error;
	pci_set_master(pci);
	gpu->pci = pci;
	gpu->bar = pcim_iomap_table(pci)[0];
	return 0;
}

static void nvs_forget(struct nvs_gpu *gpu)
{
	mutex_lock(&gpus_lock);
	gpus[gpu->minor] = NULL;
	mutex_unlock(&gpus_lock);
}

static int nvs_probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct nvs_gpu *gpu = devm_kzalloc(&pci->dev, sizeof(*gpu), GFP_KERNEL);
	int minor, error = gpu ? nvs_map(gpu, pci) : -ENOMEM;
	struct device *node;

	if (error)
		return error;
	mutex_lock(&gpus_lock);
	for (minor = 0; minor < NVS_MAX_GPUS && gpus[minor]; minor++)
		;
	if (minor < NVS_MAX_GPUS) {
		gpu->minor = minor;
		gpus[minor] = gpu;
	}
	mutex_unlock(&gpus_lock);
	if (minor == NVS_MAX_GPUS)
		return -ENOSPC;
	pci_set_drvdata(pci, gpu);
	node = device_create(&nvs_class, &pci->dev, MKDEV(NVS_MAJOR, minor), NULL, "nvidia%d", minor);
	if (IS_ERR(node)) {
		nvs_forget(gpu);
		return PTR_ERR(node);
	}
	pci_info(pci, "NVRM: stand-in driver on a QEMU edu device, /dev/nvidia%d\n", minor);
	return 0;
}

static void nvs_remove(struct pci_dev *pci)
{
	struct nvs_gpu *gpu = pci_get_drvdata(pci);

	device_destroy(&nvs_class, MKDEV(NVS_MAJOR, gpu->minor));
	nvs_forget(gpu);
}

static const struct pci_device_id nvs_ids[] = { { PCI_DEVICE(0x1234, 0x11e8) }, {} };
MODULE_DEVICE_TABLE(pci, nvs_ids);

static struct pci_driver nvs_driver = {
	.name = "nvidia",
	.id_table = nvs_ids,
	.probe = nvs_probe,
	.remove = nvs_remove,
};

static int nvs_version_show(struct seq_file *out, void *data)
{
	seq_printf(out, "NVRM version: NVIDIA UNIX %s Kernel Module  %s  (stand-in: QEMU edu)\n"
		   "GCC version:  %s\n", init_utsname()->machine, NVS_VERSION, __VERSION__);
	return 0;
}

static void nvs_teardown(bool driver)
{
	if (driver)
		pci_unregister_driver(&nvs_driver);
	proc_remove(nvs_proc);
	device_destroy(&nvs_class, MKDEV(NVS_MAJOR, NVS_CTL_MINOR));
	class_unregister(&nvs_class);
	unregister_chrdev(NVS_MAJOR, "nvidia");
}

static int __init nvs_register(void)
{
	int error = register_chrdev(NVS_MAJOR, "nvidia", &nvs_fops); /* minors 0 to 255 */

	if (error)
		return error;
	error = class_register(&nvs_class);
	if (error)
		unregister_chrdev(NVS_MAJOR, "nvidia");
	return error;
}

static int __init nvs_init(void)
{
	int minor, found = 0, error = nvs_register();

	if (error)
		return error;
	device_create(&nvs_class, NULL, MKDEV(NVS_MAJOR, NVS_CTL_MINOR), NULL, "nvidiactl");
	nvs_proc = proc_mkdir("driver/nvidia", NULL);
	if (nvs_proc)
		proc_create_single("version", 0444, nvs_proc, nvs_version_show);
	error = pci_register_driver(&nvs_driver);
	for (minor = 0; !error && minor < NVS_MAX_GPUS; minor++)
		found += gpus[minor] != NULL;
	if (!error && found)
		return 0;
	if (!error)
		pr_err("NVRM: No NVIDIA GPU found.\n");
	nvs_teardown(!error);
	return error ? error : -ENODEV;
}

static void __exit nvs_exit(void)
{
	nvs_teardown(true);
}

module_init(nvs_init);
module_exit(nvs_exit);
MODULE_DESCRIPTION("Stand-in for NVIDIA's driver, on QEMU's edu device");
MODULE_LICENSE("GPL");
MODULE_VERSION(NVS_VERSION);
