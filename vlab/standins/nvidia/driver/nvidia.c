// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Stands for: nvidia.ko of NVIDIA's driver package.
 * Real: it is built against the guest's kernel tree by the installer, has the guest kernel's
 *   vermagic, drives the PCI function that was passed through (interrupts, DMA), makes
 *   /dev/nvidiactl and /dev/nvidiaN with the real major and minors, and refuses to load where
 *   there is no device.
 * Not real: the function speaks virtio (QEMU's virtio-serial with one port, so that virtio-pci
 *   stands between this driver and the bus), and the ioctl interface is ours. nvidia-uvm is a
 *   name alone (nvidia-uvm.c), -drm and -modeset do not exist.
 *
 * Device and driver exchange frames over the port: vlab/standins/gpu/frames.py. Queues and control
 * messages are those of the virtio specification 1.2, section 5.3 (console device).
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>
#include <linux/virtio.h>
#include <linux/virtio_console.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "nvidia-standin.h"

#define FRAME_MAGIC 0x4e
#define FRAME_PAYLOAD 4080
enum frame_kind { FRAME_OPEN = 1, FRAME_DATA, FRAME_CLOSE, FRAME_RESET };

struct frame_head {
	u8 magic;
	u8 kind;
	__le16 length;
	__le32 channel;
} __packed;

/* Port 0 is there in any case, and nothing behind it; the GPU is port 1. */
enum { QUEUE_RX0, QUEUE_TX0, QUEUE_CONTROL_RX, QUEUE_CONTROL_TX, QUEUE_RX, QUEUE_TX, QUEUES };
#define PORT 1

#define BUFFER_SIZE PAGE_SIZE
#define RX_BUFFERS 16
#define QUEUE_LIMIT (4 << 20) /* bytes that may wait for a reader */
/* The device answers in milliseconds; emulated twice over on a busy host it may take minutes. */
#define DEVICE_TIMEOUT (120 * HZ)

struct nvs_gpu {
	struct kref count;
	struct virtio_device *vdev;
	struct virtqueue *queues[QUEUES];
	int minor;
	bool gone;                   /* pulled out, or it has stopped to answer */
	struct mutex tx_lock;        /* both ways out, out, last_channel */
	wait_queue_head_t tx_done;
	u8 *out;                     /* head and payload of the frame that is sent */
	u32 last_channel;
	spinlock_t lock;             /* channels and what waits in them */
	struct list_head channels;
	struct work_struct rx_work;  /* the only one that takes from the ways in */
	struct completion port_added;
	u8 window[sizeof(struct frame_head) + 8], awaited[sizeof(struct frame_head) + 8];
	bool in_step;                /* the device has answered RESET: what follows is for us */
	struct completion answered;
	struct frame_head head;      /* of the frame that is being read */
	size_t have;                 /* bytes of the head, then of the payload, that were read */
};

/* A piece of an answer. */
struct nvs_piece {
	struct list_head list;
	size_t length, taken;
	u8 data[];
};

/* A process that has the device open. */
struct nvs_channel {
	struct list_head list;
	struct nvs_gpu *gpu;
	u32 number;
	struct mutex read_lock;
	wait_queue_head_t more;
	struct list_head pieces;
	size_t waiting;
	bool ended;
};

static struct nvs_gpu *gpus[NVS_MAX_GPUS];
static DEFINE_MUTEX(gpus_lock); /* the table */
static struct proc_dir_entry *nvs_proc;

static void nvs_free(struct kref *count)
{
	struct nvs_gpu *gpu = container_of(count, struct nvs_gpu, count);

	kfree(gpu->out);
	kfree(gpu);
}

/* Whoever waits for the device hears that it is gone. */
static void nvs_lost(struct nvs_gpu *gpu)
{
	struct nvs_channel *channel;
	unsigned long flags;

	WRITE_ONCE(gpu->gone, true);
	spin_lock_irqsave(&gpu->lock, flags);
	list_for_each_entry(channel, &gpu->channels, list)
		wake_up_interruptible(&channel->more);
	spin_unlock_irqrestore(&gpu->lock, flags);
	wake_up(&gpu->tx_done);
}

/* Hand the first bytes of gpu->out to the device, and wait until it has read them. */
static int nvs_transmit(struct nvs_gpu *gpu, struct virtqueue *queue, size_t length)
{
	struct scatterlist list;
	unsigned int used;
	int error;

	lockdep_assert_held(&gpu->tx_lock);
	if (READ_ONCE(gpu->gone))
		return -ENODEV;
	sg_init_one(&list, gpu->out, length);
	error = virtqueue_add_outbuf(queue, &list, 1, gpu->out, GFP_KERNEL);
	if (error)
		return error;
	virtqueue_kick(queue);
	if (!wait_event_timeout(gpu->tx_done,
				virtqueue_get_buf(queue, &used) || READ_ONCE(gpu->gone),
				DEVICE_TIMEOUT)) {
		dev_err(&gpu->vdev->dev, "NVRM: Xid: 79, GPU has fallen off the bus.\n");
		nvs_lost(gpu); /* the buffer stays the device's */
	}
	return READ_ONCE(gpu->gone) ? -ENODEV : 0;
}

static void nvs_head(struct frame_head *head, u8 kind, u32 channel, size_t length)
{
	head->magic = FRAME_MAGIC;
	head->kind = kind;
	head->length = cpu_to_le16(length);
	head->channel = cpu_to_le32(channel);
}

static int nvs_send(struct nvs_gpu *gpu, u8 kind, u32 channel, const char __user *data, size_t length)
{
	int error = 0;

	mutex_lock(&gpu->tx_lock);
	nvs_head((struct frame_head *)gpu->out, kind, channel, length);
	if (length && copy_from_user(gpu->out + sizeof(struct frame_head), data, length))
		error = -EFAULT;
	if (!error)
		error = nvs_transmit(gpu, gpu->queues[QUEUE_TX],
				     sizeof(struct frame_head) + length);
	mutex_unlock(&gpu->tx_lock);
	return error;
}

static int nvs_control(struct nvs_gpu *gpu, u32 port, u16 event, u16 value)
{
	struct virtio_console_control *message = (struct virtio_console_control *)gpu->out;
	int error;

	mutex_lock(&gpu->tx_lock);
	message->id = cpu_to_virtio32(gpu->vdev, port);
	message->event = cpu_to_virtio16(gpu->vdev, event);
	message->value = cpu_to_virtio16(gpu->vdev, value);
	error = nvs_transmit(gpu, gpu->queues[QUEUE_CONTROL_TX], sizeof(*message));
	mutex_unlock(&gpu->tx_lock);
	return error;
}

/* Say that we are here, and open the port once the device has told of it. */
static int nvs_open_port(struct nvs_gpu *gpu)
{
	int error = nvs_control(gpu, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);

	if (!error && !wait_for_completion_timeout(&gpu->port_added, DEVICE_TIMEOUT))
		error = -ETIMEDOUT;
	if (!error)
		error = nvs_control(gpu, PORT, VIRTIO_CONSOLE_PORT_READY, 1);
	return error ? error : nvs_control(gpu, PORT, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static void nvs_controlled(struct nvs_gpu *gpu, const struct virtio_console_control *message)
{
	if (virtio16_to_cpu(gpu->vdev, message->event) == VIRTIO_CONSOLE_PORT_ADD &&
	    virtio32_to_cpu(gpu->vdev, message->id) == PORT)
		complete(&gpu->port_added);
}

/* Get in step with a device that may be in the middle of what it and our predecessor said. */
static int nvs_get_in_step(struct nvs_gpu *gpu)
{
	int error;

	mutex_lock(&gpu->tx_lock);
	memset(gpu->out, 0, BUFFER_SIZE);
	error = nvs_transmit(gpu, gpu->queues[QUEUE_TX], BUFFER_SIZE);
	if (!error) {
		memcpy(gpu->out, gpu->awaited, sizeof(gpu->awaited));
		error = nvs_transmit(gpu, gpu->queues[QUEUE_TX], sizeof(gpu->awaited));
	}
	mutex_unlock(&gpu->tx_lock);
	if (!error && !wait_for_completion_timeout(&gpu->answered, DEVICE_TIMEOUT))
		error = -ETIMEDOUT;
	return error;
}

static void nvs_append(struct nvs_gpu *gpu, const u8 *data, size_t length)
{
	struct nvs_piece *piece = kmalloc(struct_size(piece, data, length), GFP_KERNEL);
	struct nvs_channel *channel;

	if (piece) {
		piece->length = length;
		piece->taken = 0;
		memcpy(piece->data, data, length);
	}
	spin_lock_irq(&gpu->lock);
	list_for_each_entry(channel, &gpu->channels, list) {
		if (channel->number != le32_to_cpu(gpu->head.channel))
			continue;
		if (!piece || channel->waiting > QUEUE_LIMIT) {
			channel->ended = true; /* a gap is worse than an end */
		} else if (!channel->ended) {
			list_add_tail(&piece->list, &channel->pieces);
			channel->waiting += length;
			piece = NULL;
		}
		wake_up_interruptible(&channel->more);
		break;
	}
	spin_unlock_irq(&gpu->lock);
	kfree(piece);
}

static void nvs_end_channel(struct nvs_gpu *gpu)
{
	struct nvs_channel *channel;

	spin_lock_irq(&gpu->lock);
	list_for_each_entry(channel, &gpu->channels, list) {
		if (channel->number == le32_to_cpu(gpu->head.channel)) {
			channel->ended = true;
			wake_up_interruptible(&channel->more);
		}
	}
	spin_unlock_irq(&gpu->lock);
}

/* Until the answer to RESET has come, everything is passed over. */
static size_t nvs_look_for_answer(struct nvs_gpu *gpu, const u8 *data, size_t length)
{
	size_t at;

	for (at = 0; at < length && !gpu->in_step; at++) {
		memmove(gpu->window, gpu->window + 1, sizeof(gpu->window) - 1);
		gpu->window[sizeof(gpu->window) - 1] = data[at];
		if (!memcmp(gpu->window, gpu->awaited, sizeof(gpu->window))) {
			gpu->in_step = true;
			complete(&gpu->answered);
		}
	}
	return at;
}

static void nvs_consume(struct nvs_gpu *gpu, const u8 *data, size_t length)
{
	const size_t head = sizeof(gpu->head);
	size_t part, all;

	if (!gpu->in_step) {
		part = nvs_look_for_answer(gpu, data, length);
		data += part;
		length -= part;
	}
	while (length) {
		if (gpu->have < head) {
			part = min(length, head - gpu->have);
			memcpy((u8 *)&gpu->head + gpu->have, data, part);
		} else {
			part = min(length, head + le16_to_cpu(gpu->head.length) - gpu->have);
			if (gpu->head.kind == FRAME_DATA)
				nvs_append(gpu, data, part);
		}
		gpu->have += part;
		data += part;
		length -= part;
		all = gpu->have < head ? head : head + le16_to_cpu(gpu->head.length);
		if (gpu->have < all)
			continue;
		if (gpu->head.kind == FRAME_CLOSE)
			nvs_end_channel(gpu);
		gpu->have = 0;
	}
}

static int nvs_offer(struct virtqueue *queue, void *buffer)
{
	struct scatterlist list;

	sg_init_one(&list, buffer, BUFFER_SIZE);
	return virtqueue_add_inbuf(queue, &list, 1, buffer, GFP_KERNEL);
}

static void nvs_drain(struct nvs_gpu *gpu, struct virtqueue *queue)
{
	unsigned int length;
	void *buffer;

	while ((buffer = virtqueue_get_buf(queue, &length))) {
		if (queue == gpu->queues[QUEUE_RX])
			nvs_consume(gpu, buffer, min_t(size_t, length, BUFFER_SIZE));
		else if (length >= sizeof(struct virtio_console_control))
			nvs_controlled(gpu, buffer);
		if (nvs_offer(queue, buffer))
			kfree(buffer);
	}
	virtqueue_kick(queue);
}

static void nvs_rx_work(struct work_struct *work)
{
	struct nvs_gpu *gpu = container_of(work, struct nvs_gpu, rx_work);

	nvs_drain(gpu, gpu->queues[QUEUE_CONTROL_RX]);
	nvs_drain(gpu, gpu->queues[QUEUE_RX]);
}

static void nvs_rx_interrupt(struct virtqueue *queue)
{
	struct nvs_gpu *gpu = queue->vdev->priv;

	schedule_work(&gpu->rx_work);
}

static void nvs_tx_interrupt(struct virtqueue *queue)
{
	struct nvs_gpu *gpu = queue->vdev->priv;

	wake_up(&gpu->tx_done);
}

static int nvs_open(struct inode *inode, struct file *file)
{
	unsigned int minor = iminor(inode);
	struct nvs_channel *channel;
	struct nvs_gpu *gpu = NULL;
	int error;

	if (minor == NVS_CTL_MINOR)
		return 0;
	mutex_lock(&gpus_lock);
	if (minor < NVS_MAX_GPUS && gpus[minor]) {
		gpu = gpus[minor];
		kref_get(&gpu->count);
	}
	mutex_unlock(&gpus_lock);
	if (!gpu)
		return -ENXIO;
	channel = kzalloc(sizeof(*channel), GFP_KERNEL);
	if (!channel) {
		kref_put(&gpu->count, nvs_free);
		return -ENOMEM;
	}
	channel->gpu = gpu;
	mutex_init(&channel->read_lock);
	init_waitqueue_head(&channel->more);
	INIT_LIST_HEAD(&channel->pieces);
	mutex_lock(&gpu->tx_lock);
	channel->number = ++gpu->last_channel;
	mutex_unlock(&gpu->tx_lock);
	spin_lock_irq(&gpu->lock);
	list_add_tail(&channel->list, &gpu->channels);
	spin_unlock_irq(&gpu->lock);
	file->private_data = channel;
	error = nvs_send(gpu, FRAME_OPEN, channel->number, NULL, 0);
	if (!error)
		return stream_open(inode, file);
	spin_lock_irq(&gpu->lock);
	list_del(&channel->list);
	spin_unlock_irq(&gpu->lock);
	kfree(channel);
	kref_put(&gpu->count, nvs_free);
	return error;
}

static int nvs_release(struct inode *inode, struct file *file)
{
	struct nvs_channel *channel = file->private_data;
	struct nvs_piece *piece, *next;

	if (!channel)
		return 0;
	nvs_send(channel->gpu, FRAME_CLOSE, channel->number, NULL, 0);
	spin_lock_irq(&channel->gpu->lock);
	list_del(&channel->list);
	spin_unlock_irq(&channel->gpu->lock);
	list_for_each_entry_safe(piece, next, &channel->pieces, list)
		kfree(piece);
	kref_put(&channel->gpu->count, nvs_free);
	kfree(channel);
	return 0;
}

/* The first piece that waits; NULL: there is none yet. It stays in the list. */
static struct nvs_piece *nvs_first(struct nvs_channel *channel, bool *ended)
{
	struct nvs_piece *piece;

	spin_lock_irq(&channel->gpu->lock);
	piece = list_first_entry_or_null(&channel->pieces, struct nvs_piece, list);
	*ended = channel->ended;
	spin_unlock_irq(&channel->gpu->lock);
	return piece;
}

static ssize_t nvs_take(struct nvs_channel *channel, char __user *to, size_t room, bool nonblock)
{
	struct nvs_piece *piece;
	size_t length;
	bool ended;

	while (!(piece = nvs_first(channel, &ended))) {
		if (ended)
			return 0;
		if (READ_ONCE(channel->gpu->gone))
			return -ENODEV;
		if (nonblock)
			return -EAGAIN;
		if (wait_event_interruptible(channel->more, nvs_first(channel, &ended) || ended ||
					     READ_ONCE(channel->gpu->gone)))
			return -ERESTARTSYS;
	}
	length = min(room, piece->length - piece->taken);
	if (copy_to_user(to, piece->data + piece->taken, length))
		return -EFAULT;
	piece->taken += length;
	if (piece->taken == piece->length) {
		spin_lock_irq(&channel->gpu->lock);
		list_del(&piece->list);
		channel->waiting -= piece->length;
		spin_unlock_irq(&channel->gpu->lock);
		kfree(piece);
	}
	return length;
}

static ssize_t nvs_read(struct file *file, char __user *to, size_t room, loff_t *at)
{
	struct nvs_channel *channel = file->private_data;
	ssize_t got;

	if (!channel)
		return -EINVAL;
	if (mutex_lock_interruptible(&channel->read_lock))
		return -ERESTARTSYS;
	got = nvs_take(channel, to, room, file->f_flags & O_NONBLOCK);
	mutex_unlock(&channel->read_lock);
	return got;
}

static ssize_t nvs_write(struct file *file, const char __user *from, size_t length, loff_t *at)
{
	struct nvs_channel *channel = file->private_data;
	size_t part = min_t(size_t, length, FRAME_PAYLOAD);
	int error;

	if (!channel)
		return -EINVAL;
	error = part ? nvs_send(channel->gpu, FRAME_DATA, channel->number, from, part) : 0;
	return error ? error : part;
}

static __poll_t nvs_poll(struct file *file, poll_table *table)
{
	struct nvs_channel *channel = file->private_data;
	__poll_t found = EPOLLOUT | EPOLLWRNORM;
	bool ended;

	if (!channel)
		return found;
	poll_wait(file, &channel->more, table);
	if (nvs_first(channel, &ended) || ended)
		found |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(channel->gpu->gone))
		found |= EPOLLERR | EPOLLHUP;
	return found;
}

static long nvs_ioctl(struct file *file, unsigned int command, unsigned long arg)
{
	struct nvs_channel *channel = file->private_data;
	struct nvs_version version = { NVS_VERSION };
	struct nvs_info info = {};
	struct pci_dev *pci;

	if (command == NVS_IOC_VERSION)
		return copy_to_user((void __user *)arg, &version, sizeof(version)) ? -EFAULT : 0;
	if (command != NVS_IOC_INFO || !channel)
		return -ENOTTY;
	if (READ_ONCE(channel->gpu->gone))
		return -ENODEV;
	pci = to_pci_dev(channel->gpu->vdev->dev.parent);
	strscpy(info.bus_id, pci_name(pci), sizeof(info.bus_id));
	info.vendor = pci->vendor;
	info.device = pci->device;
	info.subsystem_vendor = pci->subsystem_vendor;
	info.subsystem_device = pci->subsystem_device;
	return copy_to_user((void __user *)arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static const struct file_operations nvs_fops = {
	.owner = THIS_MODULE,
	.open = nvs_open,
	.release = nvs_release,
	.read = nvs_read,
	.write = nvs_write,
	.poll = nvs_poll,
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

static int nvs_find_queues(struct nvs_gpu *gpu)
{
	struct virtqueue_info infos[QUEUES] = {
		[QUEUE_RX0] = { "unused-receive", NULL },
		[QUEUE_TX0] = { "unused-transmit", NULL },
		[QUEUE_CONTROL_RX] = { "control-receive", nvs_rx_interrupt },
		[QUEUE_CONTROL_TX] = { "control-transmit", nvs_tx_interrupt },
		[QUEUE_RX] = { "receive", nvs_rx_interrupt },
		[QUEUE_TX] = { "transmit", nvs_tx_interrupt },
	};

	return virtio_find_vqs(gpu->vdev, QUEUES, gpu->queues, infos, NULL);
}

static int nvs_fill(struct virtqueue *queue)
{
	void *buffer;
	int i;

	for (i = 0; i < RX_BUFFERS; i++) {
		buffer = kmalloc(BUFFER_SIZE, GFP_KERNEL);
		if (!buffer)
			return -ENOMEM;
		if (nvs_offer(queue, buffer)) {
			kfree(buffer);
			return i ? 0 : -EIO;
		}
	}
	return 0;
}

static void nvs_stop(struct nvs_gpu *gpu)
{
	void *buffer;
	int i;

	nvs_lost(gpu);
	mutex_lock(&gpu->tx_lock); /* nobody is in the queue any longer, and nobody comes */
	virtio_reset_device(gpu->vdev);
	mutex_unlock(&gpu->tx_lock);
	cancel_work_sync(&gpu->rx_work);
	for (i = QUEUE_CONTROL_RX; i <= QUEUE_RX; i += QUEUE_RX - QUEUE_CONTROL_RX)
		while ((buffer = virtqueue_detach_unused_buf(gpu->queues[i])))
			kfree(buffer);
	gpu->vdev->config->del_vqs(gpu->vdev);
}

static int nvs_enter(struct nvs_gpu *gpu)
{
	struct device *node;
	int minor;

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
	node = device_create(&nvs_class, &gpu->vdev->dev, MKDEV(NVS_MAJOR, minor), NULL,
			     "nvidia%d", minor);
	if (!IS_ERR(node))
		return 0;
	mutex_lock(&gpus_lock);
	gpus[minor] = NULL;
	mutex_unlock(&gpus_lock);
	return PTR_ERR(node);
}

static struct nvs_gpu *nvs_new(struct virtio_device *vdev)
{
	struct nvs_gpu *gpu = kzalloc(sizeof(*gpu), GFP_KERNEL);

	if (!gpu)
		return NULL;
	gpu->out = kzalloc(BUFFER_SIZE, GFP_KERNEL);
	if (!gpu->out) {
		kfree(gpu);
		return NULL;
	}
	kref_init(&gpu->count);
	gpu->vdev = vdev;
	mutex_init(&gpu->tx_lock);
	init_waitqueue_head(&gpu->tx_done);
	spin_lock_init(&gpu->lock);
	INIT_LIST_HEAD(&gpu->channels);
	INIT_WORK(&gpu->rx_work, nvs_rx_work);
	init_completion(&gpu->answered);
	init_completion(&gpu->port_added);
	nvs_head((struct frame_head *)gpu->awaited, FRAME_RESET, 0, 8);
	get_random_bytes(gpu->awaited + sizeof(struct frame_head), 8);
	return gpu;
}

/* A machine may have other consoles, such as kata's own: ours is a display controller. */
static bool nvs_is_gpu(struct device *dev)
{
	return dev_to_virtio(dev)->id.device == VIRTIO_ID_CONSOLE && dev_is_pci(dev->parent) &&
	       to_pci_dev(dev->parent)->class >> 16 == PCI_BASE_CLASS_DISPLAY;
}

static int nvs_probe(struct virtio_device *vdev)
{
	struct nvs_gpu *gpu;
	int error;

	if (!nvs_is_gpu(&vdev->dev))
		return -ENODEV;
	/* Without the first the device would reach past the IOMMU, without the other it has no port. */
	if (!virtio_has_feature(vdev, VIRTIO_F_ACCESS_PLATFORM) ||
	    !virtio_has_feature(vdev, VIRTIO_CONSOLE_F_MULTIPORT))
		return -ENODEV;
	gpu = nvs_new(vdev);
	if (!gpu)
		return -ENOMEM;
	vdev->priv = gpu;
	error = nvs_find_queues(gpu);
	if (error)
		goto drop;
	error = nvs_fill(gpu->queues[QUEUE_CONTROL_RX]);
	if (!error)
		error = nvs_fill(gpu->queues[QUEUE_RX]);
	if (error)
		goto stop;
	virtio_device_ready(vdev);
	virtqueue_kick(gpu->queues[QUEUE_CONTROL_RX]);
	virtqueue_kick(gpu->queues[QUEUE_RX]);
	error = nvs_open_port(gpu);
	if (!error)
		error = nvs_get_in_step(gpu);
	if (!error)
		error = nvs_enter(gpu);
	if (error)
		goto stop;
	pci_info(to_pci_dev(vdev->dev.parent),
		 "NVRM: stand-in driver on a virtual GPU, /dev/nvidia%d\n", gpu->minor);
	return 0;
stop:
	pci_err(to_pci_dev(vdev->dev.parent), "NVRM: RmInitAdapter failed! (%d)\n", error);
	nvs_stop(gpu);
drop:
	kref_put(&gpu->count, nvs_free);
	return error;
}

static void nvs_remove(struct virtio_device *vdev)
{
	struct nvs_gpu *gpu = vdev->priv;

	device_destroy(&nvs_class, MKDEV(NVS_MAJOR, gpu->minor));
	mutex_lock(&gpus_lock);
	gpus[gpu->minor] = NULL;
	mutex_unlock(&gpus_lock);
	nvs_stop(gpu);
	kref_put(&gpu->count, nvs_free);
}

static const struct virtio_device_id nvs_ids[] = {
	{ VIRTIO_ID_CONSOLE, VIRTIO_DEV_ANY_ID },
	{},
};
MODULE_DEVICE_TABLE(virtio, nvs_ids);

static const unsigned int nvs_features[] = { VIRTIO_CONSOLE_F_MULTIPORT };

static struct virtio_driver nvs_driver = {
	.driver.name = "nvidia",
	.id_table = nvs_ids,
	.feature_table = nvs_features,
	.feature_table_size = ARRAY_SIZE(nvs_features),
	.probe = nvs_probe,
	.remove = nvs_remove,
};

/* The kernel's own console driver may be built in, and have the device already. */
static int nvs_take_over(struct device *dev, void *unused)
{
	if (!nvs_is_gpu(dev) || dev->driver == &nvs_driver.driver)
		return 0;
	device_release_driver(dev);
	if (device_driver_attach(&nvs_driver.driver, dev))
		dev_err(dev, "NVRM: the driver does not take this GPU\n");
	return 0;
}

static int nvs_version_show(struct seq_file *out, void *data)
{
	seq_printf(out, "NVRM version: NVIDIA UNIX %s Kernel Module  %s  (stand-in)\n"
		   "GCC version:  %s\n", init_utsname()->machine, NVS_VERSION, __VERSION__);
	return 0;
}

static void nvs_teardown(bool driver)
{
	if (driver)
		unregister_virtio_driver(&nvs_driver);
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

/* How many there are; nvidia-uvm needs this module as the real one does. */
int nvs_gpus(void)
{
	int found = 0;

	for (int minor = 0; minor < NVS_MAX_GPUS; minor++)
		found += gpus[minor] != NULL;
	return found;
}
EXPORT_SYMBOL_GPL(nvs_gpus);

static int __init nvs_init(void)
{
	int error = nvs_register();

	if (error)
		return error;
	device_create(&nvs_class, NULL, MKDEV(NVS_MAJOR, NVS_CTL_MINOR), NULL, "nvidiactl");
	nvs_proc = proc_mkdir("driver/nvidia", NULL);
	if (nvs_proc)
		proc_create_single("version", 0444, nvs_proc, nvs_version_show);
	error = register_virtio_driver(&nvs_driver);
	if (!error)
		bus_for_each_dev(nvs_driver.driver.bus, NULL, NULL, nvs_take_over);
	if (!error && nvs_gpus())
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
MODULE_DESCRIPTION("Stand-in for NVIDIA's driver, on the virtual lab's GPU");
MODULE_LICENSE("GPL");
MODULE_VERSION(NVS_VERSION);
