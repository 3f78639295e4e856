// SPDX-License-Identifier: GPL-2.0
/*
 * A disk: virtio-blk over virtio-mmio, modern devices only, one queue. Requests are
 * done by the vCPU that rings, before it goes on.
 *
 * All addresses come from the guest. What is at one may be private, or no memory at
 * all: then the request fails, or the queue stops, and the VMM goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "machine.h"

#define QUEUE_SIZE	64
#define SECTOR		512

static struct {
	int fd;
	bool read_only, irq;
	uint32_t status, interrupt;
	uint32_t select_host, select_guest;	/* which half of the features */
	uint32_t queue_select, queue_size, queue_ready;
	uint64_t desc, avail, used;		/* guest-physical */
	uint16_t seen;				/* of the requests in avail */
	struct virtio_blk_config config;
} blk;

void blk_open(struct machine *m)
{
	const char *path = m->options->disk;
	struct stat stat;

	blk.fd = open(path, O_RDWR | O_CLOEXEC);
	if (blk.fd < 0) {
		blk.fd = open(path, O_RDONLY | O_CLOEXEC);
		blk.read_only = true;
	}
	if (blk.fd < 0 || fstat(blk.fd, &stat))
		die("see memfile-vmm -h", "--disk: open(%s)", path);
	blk.config.capacity = stat.st_size / SECTOR;
	blk.config.seg_max = QUEUE_SIZE - 2;
}

static uint64_t host_features(void)
{
	/* ACCESS_PLATFORM: the guest may have to share what it gives to a device. */
	return 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_F_ACCESS_PLATFORM |
	       1ULL << VIRTIO_BLK_F_SEG_MAX | 1ULL << VIRTIO_BLK_F_FLUSH |
	       (blk.read_only ? 1ULL << VIRTIO_BLK_F_RO : 0);
}

static void update_irq(struct machine *m)
{
	const bool irq = blk.interrupt;

	if (irq != blk.irq)
		arch_set_irq(m, BLK_IRQ, irq);
	blk.irq = irq;
}

static bool read_desc(struct machine *m, unsigned int i, struct vring_desc *desc)
{
	return i < blk.queue_size &&
	       guest_read(m, desc, blk.desc + i * sizeof(*desc), sizeof(*desc));
}

/* Whole sectors between file and guest memory. A private page is EFAULT. */
static bool transfer(struct machine *m, uint64_t sector, const struct vring_desc *desc, bool write)
{
	void *map = guest_range(m, desc->addr, desc->len);
	ssize_t ret;

	if (!map || desc->len % SECTOR || sector > blk.config.capacity ||
	    desc->len / SECTOR > blk.config.capacity - sector)
		return false;
	ret = write ? pwrite(blk.fd, map, desc->len, sector * SECTOR) :
		      pread(blk.fd, map, desc->len, sector * SECTOR);
	return ret == desc->len;
}

/* A chain: a header to read, any number of buffers, a byte of status to write. */
static bool do_request(struct machine *m, unsigned int head, uint32_t *written)
{
	struct virtio_blk_outhdr header;
	uint8_t status = VIRTIO_BLK_S_OK;
	struct vring_desc desc;
	uint64_t sector;

	if (!read_desc(m, head, &desc) || desc.len < sizeof(header) ||
	    !guest_read(m, &header, desc.addr, sizeof(header)))
		return false;
	sector = header.sector;
	*written = 1;

	for (int i = 0; i < QUEUE_SIZE && desc.flags & VRING_DESC_F_NEXT; i++) {
		if (!read_desc(m, desc.next, &desc))
			return false;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			break;
		if (header.type != VIRTIO_BLK_T_IN && header.type != VIRTIO_BLK_T_OUT)
			status = VIRTIO_BLK_S_UNSUPP;
		else if (!transfer(m, sector, &desc, header.type == VIRTIO_BLK_T_OUT))
			status = VIRTIO_BLK_S_IOERR;
		sector += desc.len / SECTOR;
		if (header.type == VIRTIO_BLK_T_IN)
			*written += desc.len;
	}
	if (header.type == VIRTIO_BLK_T_FLUSH && fsync(blk.fd))
		status = VIRTIO_BLK_S_IOERR;
	return !(desc.flags & VRING_DESC_F_NEXT) && desc.flags & VRING_DESC_F_WRITE &&
	       guest_write(m, desc.addr, &status, sizeof(status));
}

/* All that the guest has made available, each in turn. */
static void do_queue(struct machine *m)
{
	const uint64_t avail_idx = blk.avail + offsetof(struct vring_avail, idx);
	const uint64_t used_idx = blk.used + offsetof(struct vring_used, idx);
	struct vring_used_elem done;
	uint16_t idx, head;

	while (guest_read(m, &idx, avail_idx, sizeof(idx)) && idx != blk.seen) {
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!guest_read(m, &head, blk.avail + offsetof(struct vring_avail, ring) +
				blk.seen % blk.queue_size * sizeof(head), sizeof(head)) ||
		    !do_request(m, head, &done.len)) {
			/* The guest has to reset the device before it is used again. */
			blk.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
			blk.queue_ready = 0;
			blk.interrupt |= VIRTIO_MMIO_INT_CONFIG;
			return;
		}
		done.id = head;
		guest_write(m, blk.used + offsetof(struct vring_used, ring) +
			    blk.seen++ % blk.queue_size * sizeof(done), &done, sizeof(done));
		__atomic_thread_fence(__ATOMIC_RELEASE);
		guest_write(m, used_idx, &blk.seen, sizeof(blk.seen));
		blk.interrupt |= VIRTIO_MMIO_INT_VRING;
	}
}

static uint32_t blk_read(uint64_t offset)
{
	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return 'v' | 'i' << 8 | 'r' << 16 | 't' << 24;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return VIRTIO_ID_BLOCK;
	case VIRTIO_MMIO_VENDOR_ID:
		return 'm' | 'e' << 8 | 'm' << 16 | 'f' << 24;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return blk.select_host > 1 ? 0 : host_features() >> blk.select_host * 32;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return blk.queue_select ? 0 : QUEUE_SIZE;
	case VIRTIO_MMIO_QUEUE_READY:
		return blk.queue_select ? 0 : blk.queue_ready;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return blk.interrupt;
	case VIRTIO_MMIO_STATUS:
		return blk.status;
	default:
		return 0;
	}
}

static void set_half(uint64_t *address, uint32_t value, bool high)
{
	if (high)
		*address = (uint32_t)*address | (uint64_t)value << 32;
	else
		*address = (*address & ~0xffffffffULL) | value;
}

static void blk_reset(void)
{
	blk.status = blk.interrupt = blk.queue_ready = blk.queue_size = blk.seen = 0;
	blk.desc = blk.avail = blk.used = 0;
}

static void blk_write(struct machine *m, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		blk.select_host = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		blk.queue_select = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		if (blk.queue_ready && !value)
			do_queue(m);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		blk.interrupt &= ~value;
		break;
	case VIRTIO_MMIO_STATUS:
		blk.status = value;
		if (!value)
			blk_reset();
		break;
	}
	if (blk.queue_select)
		return;
	if (offset == VIRTIO_MMIO_QUEUE_READY)
		blk.queue_ready = value && blk.queue_size;
	/* What is in use stays as it is. */
	if (blk.queue_ready)
		return;

	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		blk.queue_size = value <= QUEUE_SIZE ? value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&blk.desc, value, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&blk.avail, value, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&blk.used, value, offset == VIRTIO_MMIO_QUEUE_USED_HIGH);
		break;
	}
}

void blk_access(struct machine *m, uint64_t offset, void *data, size_t len, bool is_write)
{
	const uint64_t config = offset - VIRTIO_MMIO_CONFIG;
	uint32_t value;

	pthread_mutex_lock(&m->lock);
	if (offset >= VIRTIO_MMIO_CONFIG) {
		if (!is_write && config + len <= sizeof(blk.config))
			memcpy(data, (char *)&blk.config + config, len);
	} else if (len == sizeof(value) && is_write) {
		memcpy(&value, data, sizeof(value));
		blk_write(m, offset, value);
	} else if (len == sizeof(value)) {
		value = blk_read(offset);
		memcpy(data, &value, sizeof(value));
	}
	update_irq(m);
	pthread_mutex_unlock(&m->lock);
}
