// SPDX-License-Identifier: GPL-2.0
/* Conversions that the VMM makes, and what they leave behind. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

/* All of 64 MiB at once, populated. The first round is not like the others. */
static void measure_range(const struct kind *k)
{
	const uint64_t size = 64 * MB;
	uint64_t to_private, to_shared, touch_private, touch_shared, round;
	struct vm vm;

	if (!vm_create_flags(&vm, BEST, size, k->flags))
		return;
	for (int i = 0; i < 2; i++) {
		touch_shared = TIMED(guest_write(&vm, 0, size));
		to_private = TIMED(vm_convert(&vm, 0, size, true));
		touch_private = TIMED(guest_write(&vm, 0, size));
		to_shared = TIMED(vm_convert(&vm, 0, size, false));
	}
	round = to_private + touch_private + to_shared + touch_shared;
	report_per_page(to_private, size, "range.private%s", k->suffix);
	report_per_page(to_shared, size, "range.shared%s", k->suffix);
	report_per_page(touch_private, size, "range.touch_private%s", k->suffix);
	report_per_page(touch_shared, size, "range.touch_shared%s", k->suffix);
	report_per_page(round, size, "range.round%s", k->suffix);

	/* Now the host has it mapped, and nobody else. */
	host_write(&vm, 0, size);
	to_private = TIMED(vm_convert(&vm, 0, size, true));
	report_per_page(to_private, size, "range.private_mapped%s", k->suffix);
	/* And now it is there, and nobody has it mapped. */
	if (vm.backing == SPLIT)
		gmem_allocate(&vm, 0, size);
	to_shared = TIMED(vm_convert(&vm, 0, size, false));
	report_per_page(to_shared, size, "range.shared_unmapped%s", k->suffix);

	/* The guest and the host, as after a transfer of all of it. */
	guest_write(&vm, 0, size);
	host_write(&vm, 0, size);
	to_private = TIMED(vm_convert(&vm, 0, size, true));
	report_per_page(to_private, size, "range.private_both%s", k->suffix);
	if (vm.backing == IN_PLACE) {
		char fdinfo[64];

		snprintf(fdinfo, sizeof(fdinfo), "/proc/self/fdinfo/%d", vm.gmem);
		report("pages", proc_value(fdinfo, "memfile-longest-hold"),
		       "range.longest_hold%s", k->suffix);
	}
	vm_destroy(&vm);
}

void work_range(void)
{
	for_each_kind(k)
		measure_range(k);
}

static const uint64_t hole_sizes[] = { 4 * KB, 64 * KB, MB, 16 * MB, 256 * MB, 4 * GB, 64 * GB };
static const uint64_t populated_sizes[] = { 4 * KB, 64 * KB, MB, 16 * MB, 64 * MB, 256 * MB };

#define for_each(i, array) \
	for (unsigned int i = 0; i < sizeof(array) / sizeof((array)[0]); i++)

/* Memory without pages becomes private. Also: what the kernel needs to know that. */
void work_hole(void)
{
	for_each(i, hole_sizes) {
		uint64_t size = hole_sizes[i], slab;
		struct vm vm;

		if (!vm_create(&vm, BEST, size))
			return;
		slab = slab_bytes();
		report_time(TIMED(vm_mark(&vm, 0, size, true)), "hole.private@%lu", size);
		report("bytes", slab_bytes() - slab, "hole.memory@%lu", size);
		vm_destroy(&vm);
	}
}

/* Pages that the guest has mapped become private, and shared again. */
void work_populated(void)
{
	for_each(i, populated_sizes) {
		uint64_t size = populated_sizes[i];
		struct vm vm;

		if (!vm_create(&vm, BEST, size))
			return;
		guest_write(&vm, 0, size);
		report_time(TIMED(vm_convert(&vm, 0, size, true)), "populated.private@%lu", size);
		guest_write(&vm, 0, size);
		report_time(TIMED(vm_convert(&vm, 0, size, false)), "populated.shared@%lu", size);
		vm_destroy(&vm);
	}
}

/*
 * Every other 2 MiB of 64 GiB is private. VM-wide attributes would take 150 MiB
 * for that, and a minute, so only a part is made of it and that multiplied.
 */
void work_state(void)
{
	const uint64_t size = 64 * GB;
	uint64_t part, slab;
	struct vm vm;

	if (!vm_create(&vm, BEST, size))
		return;
	part = vm.backing == SPLIT ? size / 16 : size;
	slab = slab_bytes();
	for (uint64_t off = 0; off < part; off += 4 * MB)
		vm_mark(&vm, off, 2 * MB, true);
	report("bytes", (slab_bytes() - slab) * (size / part), "state.alternating");
	vm_destroy(&vm);
}

static uint64_t to_and_fro(struct vm *vm, uint64_t off, uint64_t len)
{
	return TIMED({
		vm_mark(vm, off, len, true);
		vm_mark(vm, off, len, false);
	});
}

/* What it costs to convert, and to fault, beside so many ranges. */
void work_ranges(void)
{
	static const unsigned int numbers[] = { 1, 10, 100, 1000, 10000, 100000 };
	const uint64_t size = GB, near = 2 * MB;
	unsigned int nr = 0;
	uint64_t slab;
	struct vm vm;

	if (!vm_create(&vm, BEST, size))
		return;
	gmem_allocate(&vm, 0, near);
	guest_write(&vm, 0, near);
	slab = slab_bytes();
	for_each(i, numbers) {
		struct samples flips = {};

		/* Each one page, and one between them */
		for (; nr < numbers[i]; nr++)
			vm_mark(&vm, near + nr * 2 * PAGE, PAGE, true);
		report("bytes", slab_bytes() - slab, "ranges.memory@%u", nr);

		/* The guest has it mapped no more, but there it is. */
		to_and_fro(&vm, 0, near);
		report_per_page(TIMED(guest_write(&vm, 0, near)), near, "ranges.fault@%u", nr);
		for (int round = 0; round < 50; round++)
			sample(&flips, to_and_fro(&vm, MB, PAGE));
		report_time(median(&flips), "ranges.convert@%u", nr);
	}
	vm_destroy(&vm);
}

/* To and fro a page, and all there is, in a file with so many memslots. */
void work_slots(void)
{
	const uint64_t size = GB;

	for (unsigned int nr = 1; nr <= 64; nr *= 2) {
		struct samples page = {}, all = {};
		struct vm vm;

		if (!vm_create_slots(&vm, BEST, size, 0, nr))
			return;
		for (int round = 0; round < 50; round++)
			sample(&page, to_and_fro(&vm, MB, PAGE));
		report_time(median(&page), "slots.page@%u", nr);
		for (int round = 0; round < (vm.backing == SPLIT ? 1 : 50); round++)
			sample(&all, to_and_fro(&vm, 0, size));
		report_time(median(&all), "slots.all@%u", nr);
		vm_destroy(&vm);
	}
}
