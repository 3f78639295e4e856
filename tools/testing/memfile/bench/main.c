// SPDX-License-Identifier: GPL-2.0
/*
 * memfile-bench - what memory files cost, and what was there before
 *
 *   memfile-bench [-c icount|ns|insn] WORK...
 *   memfile-bench -l
 *
 * Prints a line "BENCH name value unit" for each result. It runs on the kernel
 * with memory files, and on the one without: the same work is then done with what
 * is there, and what cannot be done is left out.
 *
 * To add work: a function, and a line below. See Documentation/mm/memfile-bench.rst.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"

const struct kind kinds[] = {
	{ "", 0 },
	{ ".no_direct_map", GUEST_MEMFD_FLAG_NO_DIRECT_MAP },
	{ ".private_no_direct_map", GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP },
	{}
};

static const struct work {
	const char *name, *what;
	void (*run)(void);
} works[] = {
	{ "fault", "the guest's first access to a page that is allocated", work_fault },
	{ "populate", "256 MiB: allocate, punch, close", work_populate },
	{ "populate-plain", "256 MiB of a VM without private memory", work_populate_plain },
	{ "flush", "flushes of the kernel's own TLB entries", work_flush },
	{ "flip", "one page to shared and back, by the VMM", work_flip },
	{ "grant", "one page to shared and back, by the kernel", work_grant },
	{ "range", "64 MiB to private and back", work_range },
	{ "storm", "5000 transfers, with and without conversion", work_storm },
	{ "busy", "conversion of memory that vCPUs write to", work_busy },
	{ "hole", "conversion of holes, by size", work_hole },
	{ "populated", "conversion of pages, by size", work_populated },
	{ "ranges", "costs by the number of ranges", work_ranges },
	{ "slots", "costs by the number of memslots", work_slots },
	{ "state", "memory that the states take", work_state },
	{ "owned", "a guest that owns its memory, and shares it by itself", work_owned },
	{ "boot", "a Linux guest of samples/memfile, from start to end", work_boot },
	{}
};

static const struct work *find(const char *name)
{
	const struct work *work;

	for (work = works; work->name; work++)
		if (!strcmp(work->name, name))
			return work;
	return NULL;
}

static int show_usage(const char *name)
{
	fprintf(stderr, "usage: %s [-c icount|ns|insn] WORK...\n       %s -l\n", name, name);
	return 2;
}

int main(int argc, char **argv)
{
	const char *clock = "icount";
	int option;

	while ((option = getopt(argc, argv, "c:l")) != -1) {
		switch (option) {
		case 'c':
			clock = optarg;
			break;
		case 'l':
			for (const struct work *work = works; work->name; work++)
				printf("%-12s %s\n", work->name, work->what);
			return 0;
		default:
			return show_usage(argv[0]);
		}
	}
	if (!clock_select(clock) || optind == argc)
		return show_usage(argv[0]);

	kvm_fd = CHECK(open("/dev/kvm", O_RDWR | O_CLOEXEC));
	for (int i = optind; i < argc; i++) {
		const struct work *work = find(argv[i]);

		if (!work)
			return show_usage(argv[0]);
		work->run();
	}
	return 0;
}
