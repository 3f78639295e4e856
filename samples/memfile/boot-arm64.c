// SPDX-License-Identifier: GPL-2.0
/*
 * An Image and its initramfs (Documentation/arch/arm64/booting.rst), and the
 * devicetree that says what the machine has.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

#define FDT_SIZE	0x4000
#define FDT_MAGIC	0xd00dfeed
#define FDT_BEGIN_NODE	1
#define FDT_END_NODE	2
#define FDT_PROP	3
#define FDT_END		9

#define GIC_PHANDLE	1
#define GIC_SPI		0
#define GIC_PPI		1
#define IRQ_LEVEL	4		/* active high */

static const char cmdline_default[] = "console=ttyS0 panic=-1";

struct image {
	uint32_t code[2];
	uint64_t text_offset, image_size, flags, res[3];
	char magic[4];
	uint32_t res5;
};

/* A devicetree is a stream of tokens, and the names of its properties aside. */
static struct {
	char tokens[FDT_SIZE / 2], names[FDT_SIZE / 4];
	size_t len, names_len;
} fdt;

static void put(const void *data, size_t len)
{
	if (fdt.len + len + 4 > sizeof(fdt.tokens))
		die("FDT_SIZE is too small", "devicetree: more than %zu bytes", sizeof(fdt.tokens));
	memcpy(fdt.tokens + fdt.len, data, len);
	fdt.len = (fdt.len + len + 3) & -4UL;
}

static void put_cell(uint32_t value)
{
	value = htobe32(value);
	put(&value, sizeof(value));
}

static void begin_node(const char *name)
{
	put_cell(FDT_BEGIN_NODE);
	put(name, strlen(name) + 1);
}

static void begin_node_at(const char *name, uint64_t at)
{
	char text[64];

	snprintf(text, sizeof(text), "%s@%llx", name, (unsigned long long)at);
	begin_node(text);
}

static void end_node(void)
{
	put_cell(FDT_END_NODE);
}

static void put_property(const char *name, const void *data, size_t len)
{
	put_cell(FDT_PROP);
	put_cell(len);
	put_cell(fdt.names_len);
	put(data, len);
	memcpy(fdt.names + fdt.names_len, name, strlen(name) + 1);
	fdt.names_len += strlen(name) + 1;
}

static void put_string(const char *name, const char *value)
{
	put_property(name, value, strlen(value) + 1);
}

static void put_cells(const char *name, unsigned int nr, const uint32_t *cells)
{
	uint32_t swapped[16];

	for (unsigned int i = 0; i < nr; i++)
		swapped[i] = htobe32(cells[i]);
	put_property(name, swapped, nr * sizeof(*cells));
}

static void put_value(const char *name, uint32_t value)
{
	put_cells(name, 1, &value);
}

/* Addresses and sizes are pairs of cells. */
static void put_pair(const char *name, uint64_t value)
{
	put_cells(name, 2, (uint32_t[]){ value >> 32, value });
}

static void put_reg(uint64_t at, uint64_t size)
{
	put_cells("reg", 4, (uint32_t[]){ at >> 32, at, size >> 32, size });
}

static void put_device(const char *name, const char *compatible, uint64_t at, uint64_t size,
		       int irq)
{
	begin_node_at(name, at);
	put_string("compatible", compatible);
	put_reg(at, size);
	if (irq >= 0)
		put_cells("interrupts", 3, (uint32_t[]){ GIC_SPI, irq, IRQ_LEVEL });
	put_property("dma-coherent", NULL, 0);
}

static void put_cpus(unsigned int cpus)
{
	begin_node("cpus");
	put_value("#address-cells", 1);
	put_value("#size-cells", 0);
	for (unsigned int i = 0; i < cpus; i++) {
		begin_node_at("cpu", i);
		put_string("device_type", "cpu");
		put_string("compatible", "arm,armv8");
		put_string("enable-method", "psci");
		/* As KVM numbers them: 16 to a cluster */
		put_value("reg", (i & 15) | i >> 4 << 8);
		end_node();
	}
	end_node();
}

static void put_platform(unsigned int cpus)
{
	begin_node("psci");
	put_property("compatible", "arm,psci-1.0\0arm,psci-0.2", 26);
	put_string("method", "hvc");
	end_node();

	begin_node("timer");
	put_string("compatible", "arm,armv8-timer");
	put_cells("interrupts", 12, (uint32_t[]){
		  GIC_PPI, 13, IRQ_LEVEL, GIC_PPI, 14, IRQ_LEVEL,
		  GIC_PPI, 11, IRQ_LEVEL, GIC_PPI, 10, IRQ_LEVEL });
	put_property("always-on", NULL, 0);
	end_node();

	begin_node_at("interrupt-controller", GIC_DIST_BASE);
	put_string("compatible", "arm,gic-v3");
	put_property("interrupt-controller", NULL, 0);
	put_value("#interrupt-cells", 3);
	put_value("phandle", GIC_PHANDLE);
	put_cells("reg", 8, (uint32_t[]){ 0, GIC_DIST_BASE, 0, GIC_DIST_SIZE,
		  0, GIC_REDIST_BASE, 0, cpus * GIC_REDIST_SIZE });
	end_node();
}

static void put_chosen(const char *cmdline, uint64_t initrd, uint64_t initrd_size)
{
	begin_node("chosen");
	put_string("bootargs", cmdline);
	if (initrd_size) {
		put_pair("linux,initrd-start", initrd);
		put_pair("linux,initrd-end", initrd + initrd_size);
	}
	end_node();
}

static void write_fdt(struct machine *m, uint64_t gpa, uint64_t initrd, uint64_t initrd_size)
{
	const struct options *o = m->options;
	char *at = guest_memory(m, gpa, FDT_SIZE);
	const size_t tokens = 40 + 16;		/* behind header and (empty) reservations */
	uint32_t *header = (uint32_t *)at;

	begin_node("");
	put_value("#address-cells", 2);
	put_value("#size-cells", 2);
	put_value("interrupt-parent", GIC_PHANDLE);
	put_string("compatible", "linux,dummy-virt");
	put_chosen(o->cmdline ?: cmdline_default, initrd, initrd_size);
	begin_node_at("memory", RAM_GPA);
	put_string("device_type", "memory");
	put_reg(RAM_GPA, o->memory);
	end_node();
	put_cpus(o->cpus);
	put_platform(o->cpus);
	put_device("serial", "ns16550a", SERIAL_BASE, 8, SERIAL_IRQ);
	put_value("clock-frequency", 1843200);
	end_node();
	put_device("pvpanic-mmio", "qemu,pvpanic-mmio", PANIC_BASE, 2, -1);
	end_node();
	if (o->disk) {
		put_device("virtio_mmio", "virtio,mmio", BLK_BASE, BLK_SIZE, BLK_IRQ);
		end_node();
	}
	end_node();
	put_cell(FDT_END);

	header[0] = htobe32(FDT_MAGIC);
	header[1] = htobe32(tokens + fdt.len + fdt.names_len);
	header[2] = htobe32(tokens);
	header[3] = htobe32(tokens + fdt.len);
	header[4] = htobe32(40);
	header[5] = htobe32(17);		/* version, and compatible with */
	header[6] = htobe32(16);
	header[7] = 0;				/* boot CPU */
	header[8] = htobe32(fdt.names_len);
	header[9] = htobe32(fdt.len);
	memcpy(at + tokens, fdt.tokens, fdt.len);
	memcpy(at + tokens + fdt.len, fdt.names, fdt.names_len);
}

void boot_load(struct machine *m)
{
	const struct options *options = m->options;
	size_t size, initrd_size = 0;
	struct image *image = read_file(options->kernel, "kernel", &size);
	uint64_t initrd = 0, top = RAM_GPA + options->memory;
	void *data;

	errno = 0;
	if (size < sizeof(*image) || memcmp(image->magic, "ARM\x64", 4))
		die("arch/arm64/boot/Image is one", "%s: not an arm64 Image", options->kernel);
	m->entry = RAM_GPA + image->text_offset;
	memcpy(guest_memory(m, m->entry, image->image_size), image, size);

	m->argument = top -= FDT_SIZE;
	if (options->initrd) {
		data = read_file(options->initrd, "initrd", &initrd_size);
		initrd = (top - initrd_size) & -0x1000UL;
		if (initrd > top || initrd < m->entry + image->image_size)
			die("give it more with --memory", "%s does not fit behind the kernel",
			    options->initrd);
		memcpy(guest_memory(m, initrd, initrd_size), data, initrd_size);
		free(data);
	}
	free(image);
	write_fdt(m, m->argument, initrd, initrd_size);
}
