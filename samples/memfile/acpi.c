// SPDX-License-Identifier: GPL-2.0
/*
 * How a guest on x86_64 learns what the machine has: ACPI tables for "reduced
 * hardware", which is a machine without PIC, PIT, CMOS clock and keyboard
 * controller. It is shut down and reset by a port each.
 */
#include <string.h>

#include "acpi.h"

#define POWER_SLEEP	(POWER_BASE + 0)
#define POWER_STATUS	(POWER_BASE + 1)
#define POWER_RESET	(POWER_BASE + 2)

struct bytes {
	uint8_t *at;
	size_t len;
};

static void put(struct bytes *b, uint64_t value, int len)
{
	memcpy(b->at + b->len, &value, len);	/* little-endian, as this host is */
	b->len += len;
}

static void put_text(struct bytes *b, const char *text, int len)
{
	memcpy(b->at + b->len, text, len);
	b->len += len;
}

static void put_at(struct bytes *b, size_t offset, uint64_t value, int len)
{
	memcpy(b->at + offset, &value, len);
}

static void sum_to_zero(uint8_t *table, size_t len, size_t at)
{
	uint8_t sum = 0;

	table[at] = 0;
	for (size_t i = 0; i < len; i++)
		sum += table[i];
	table[at] = -sum;
}

/* Tables follow each other; each has a header, and a sum at byte 9 of it. */
static struct bytes begin_table(void *at, const char *signature, int revision)
{
	struct bytes t = { .at = at };

	put_text(&t, signature, 4);
	put(&t, 0, 4);
	put(&t, revision, 1);
	put(&t, 0, 1);
	put_text(&t, "MEMFILSAMPLE  ", 6 + 8);
	put(&t, 1, 4);
	put_text(&t, "MEMF", 4);
	put(&t, 1, 4);
	return t;
}

static size_t end_table(struct bytes *t)
{
	put_at(t, 4, t->len, 4);
	sum_to_zero(t->at, t->len, 9);
	return (t->len + 15) & -16UL;
}

static void put_port(struct bytes *b, size_t offset, unsigned int port)
{
	put_at(b, offset, 1 | 8 << 8 | 1 << 24, 4);	/* an I/O port of 8 bits */
	put_at(b, offset + 4, port, 8);
}

/* AML. A package begins with its length, here always in two bytes. */
static size_t begin_package(struct bytes *b)
{
	put(b, 0, 2);
	return b->len - 2;
}

static void end_package(struct bytes *b, size_t begin)
{
	size_t len = b->len - begin;

	put_at(b, begin, 1 << 6 | (len & 15) | (len >> 4) << 8, 2);
}

static void put_name(struct bytes *b, const char *name)
{
	put(b, 0x08, 1);
	put_text(b, name, 4);
}

/* @io: else it is memory. @edge: else the interrupt is a level. Without @irq: none. */
static void put_device(struct bytes *b, const char *name, const char *hid, bool io,
		       unsigned int base, unsigned int len, int irq, bool edge)
{
	size_t device, buffer, count;

	put(b, 0x825b, 2);
	device = begin_package(b);
	put_text(b, name, 4);
	put_name(b, "_HID");
	put(b, 0x0d, 1);
	put_text(b, hid, strlen(hid) + 1);
	put_name(b, "_UID");
	put(b, 0, 1);

	put_name(b, "_CRS");
	put(b, 0x11, 1);
	buffer = begin_package(b);
	put(b, 0x0a, 1);
	count = b->len;
	put(b, 0, 1);
	if (io) {
		put(b, 0x0147, 2);
		put(b, base | base << 16, 4);
		put(b, 1 | len << 8, 2);
	} else {
		put(b, 0x01000986, 4);
		put(b, base, 4);
		put(b, len, 4);
	}
	if (irq >= 0) {
		put(b, 0x000689, 3);
		put(b, 1 | edge << 1, 1);
		put(b, 1, 1);
		put(b, irq, 4);
	}
	put(b, 0x0079, 2);
	put_at(b, count, b->len - count - 1, 1);
	end_package(b, buffer);
	end_package(b, device);
}

static size_t write_dsdt(void *at, bool disk)
{
	struct bytes t = begin_table(at, "DSDT", 2);
	size_t package;

	/* \_S5, shutdown: sleep type 5 */
	put_name(&t, "_S5_");
	put(&t, 0x12, 1);
	package = begin_package(&t);
	put(&t, 0x00050a02, 4);
	end_package(&t, package);

	put(&t, 0x10, 1);
	package = begin_package(&t);
	put_text(&t, "\\_SB_", 5);
	put_device(&t, "COM0", "PNP0501", true, SERIAL_BASE, 8, SERIAL_IRQ, true);
	put_device(&t, "PEVT", "QEMU0001", true, PANIC_BASE, 1, -1, false);
	if (disk)
		put_device(&t, "BLK0", "LNRO0005", false, BLK_BASE, BLK_SIZE, BLK_IRQ, false);
	end_package(&t, package);
	return end_table(&t);
}

static size_t write_fadt(void *at, uint64_t dsdt)
{
	struct bytes t = begin_table(at, "FACP", 6);

	t.len = 276;
	put_at(&t, 109, 1 << 2 | 1 << 5, 2);	/* no VGA, no CMOS clock */
	put_at(&t, 112, 1 << 20 | 1 << 10 | 1, 4); /* reduced; can be reset; WBINVD */
	put_port(&t, 116, POWER_RESET);
	put_at(&t, 128, 1, 1);
	put_at(&t, 131, 3, 1);
	put_at(&t, 140, dsdt, 8);
	put_port(&t, 244, POWER_SLEEP);
	put_port(&t, 256, POWER_STATUS);
	return end_table(&t);
}

static size_t write_madt(void *at, unsigned int cpus)
{
	struct bytes t = begin_table(at, "APIC", 5);

	put(&t, 0xfee00000, 4);
	put(&t, 0, 4);
	for (unsigned int i = 0; i < cpus; i++) {
		put(&t, 0 | 8 << 8 | i << 16 | i << 24, 4);
		put(&t, 1, 4);			/* enabled */
	}
	put(&t, 1 | 12 << 8, 4);
	put(&t, 0xfec00000, 4);
	put(&t, 0, 4);
	return end_table(&t);
}

static size_t write_xsdt(void *at, uint64_t fadt, uint64_t madt)
{
	struct bytes t = begin_table(at, "XSDT", 1);

	put(&t, fadt, 8);
	put(&t, madt, 8);
	return end_table(&t);
}

/* Returns the address of the root pointer, which the boot protocol wants. */
uint64_t acpi_write(struct machine *m, uint64_t gpa)
{
	void *map = guest_memory(m, gpa, 0x1000);
	uint64_t dsdt = 64, fadt, madt, xsdt;
	struct bytes root = { .at = map };

	fadt = dsdt + write_dsdt(map + dsdt, m->options->disk);
	madt = fadt + write_fadt(map + fadt, gpa + dsdt);
	xsdt = madt + write_madt(map + madt, m->options->cpus);
	write_xsdt(map + xsdt, gpa + fadt, gpa + madt);

	put_text(&root, "RSD PTR ", 8);
	put(&root, 0, 1);
	put_text(&root, "MEMFIL", 6);
	put(&root, 2, 1);
	put(&root, 0, 4);
	put(&root, 36, 4);
	put(&root, gpa + xsdt, 8);
	put(&root, 0, 4);
	sum_to_zero(map, 20, 8);
	sum_to_zero(map, 36, 32);
	return gpa;
}
