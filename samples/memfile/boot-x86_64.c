// SPDX-License-Identifier: GPL-2.0
/*
 * A bzImage and its initramfs, for the 64-bit boot protocol
 * (Documentation/arch/x86/boot.rst).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <asm/bootparam.h>

#include "acpi.h"
#include "machine.h"

#define BOOT_PARAMS	0x7000UL	/* the page tables are below: arch-x86_64.c */
#define CMDLINE		0x8000UL
#define LOW_END		0x9f000UL	/* where memory ends on a PC, for a while */
#define HIGH_BEGIN	0x100000UL
#define ENTRY_64	0x200		/* behind where the kernel is loaded */
#define E820_RAM	1

static const char cmdline_default[] = "console=ttyS0 panic=-1";

void boot_load(struct machine *m)
{
	const struct options *options = m->options;
	const char *cmdline = options->cmdline ?: cmdline_default;
	size_t size, initrd_size, setup;
	void *file = read_file(options->kernel, "kernel", &size), *initrd;
	struct boot_params *params = guest_memory(m, BOOT_PARAMS, sizeof(*params));
	struct setup_header *header = &params->hdr;
	uint64_t load, top;

	errno = 0;
	if (size < 0x1000 || memcmp(file + 0x202, "HdrS", 4))
		die("arch/x86/boot/bzImage is one", "%s: not a bzImage", options->kernel);
	*header = *(struct setup_header *)(file + offsetof(struct boot_params, hdr));
	if (header->version < 0x020c || !(header->xloadflags & XLF_KERNEL_64))
		die("it is 32-bit, or older than Linux 3.8",
		    "%s: no 64-bit entry point (protocol %#x)", options->kernel, header->version);

	setup = ((header->setup_sects ?: 4) + 1) * 512;
	load = header->pref_address;
	top = options->memory;
	if (setup > size || load + header->init_size > top)
		die("give it more with --memory", "%s needs memory up to %#llx", options->kernel,
		    (unsigned long long)load + header->init_size);
	memcpy(guest_memory(m, load, size - setup), file + setup, size - setup);
	free(file);

	if (strlen(cmdline) > header->cmdline_size)
		die("CONFIG_CMDLINE has room for more", "--cmdline: more than %u bytes",
		    header->cmdline_size);
	memcpy(guest_memory(m, CMDLINE, strlen(cmdline) + 1), cmdline, strlen(cmdline) + 1);

	header->type_of_loader = 0xff;
	header->cmd_line_ptr = CMDLINE;
	if (options->initrd) {
		initrd = read_file(options->initrd, "initrd", &initrd_size);
		errno = 0;
		if (top > header->initrd_addr_max)
			top = header->initrd_addr_max;
		top = (top - initrd_size) & -0x1000;
		if (top < load + header->init_size || top > options->memory)
			die("give it more with --memory", "%s does not fit behind the kernel",
			    options->initrd);
		memcpy(guest_memory(m, top, initrd_size), initrd, initrd_size);
		free(initrd);
		header->ramdisk_image = top;
		header->ramdisk_size = initrd_size;
	}

	params->acpi_rsdp_addr = acpi_write(m, LOW_END);
	params->e820_table[0] = (struct boot_e820_entry){ 0, LOW_END, E820_RAM };
	params->e820_table[1] = (struct boot_e820_entry){
		HIGH_BEGIN, options->memory - HIGH_BEGIN, E820_RAM
	};
	params->e820_entries = 2;

	m->entry = load + ENTRY_64;
	m->argument = BOOT_PARAMS;
}
