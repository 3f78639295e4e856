// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that owns its memory (arm64: a protected one), on a memory file, or on
 * anonymous memory that is pinned.
 */
#include <unistd.h>

#include "bench.h"

#define SIZE	(16 * MB)
#define VMS	7
#define WARMUP	50
#define ROUNDS	500
#define OFFSET	(100 * PAGE)

/* More than once: the first VMs bring pages, here and at EL2, that others find again. */
static void measure_touch(enum backing_type backing, const char *name)
{
	struct samples touch = {}, close = {};
	struct vm vm;

	for (int i = 0; i < VMS; i++) {
		if (!vm_create(&vm, backing, SIZE))
			return;
		/* The guest's code and tables, which are no part of it */
		guest_write(&vm, 0, PAGE);
		sample(&touch, TIMED(guest_write(&vm, PAGE, SIZE - PAGE)));
		sample(&close, TIMED(vm_destroy(&vm)));
	}
	report_per_page(median(&touch), SIZE - PAGE, "owned.touch%s", name);
	report_per_page(median(&close), SIZE, "owned.close%s", name);
}

static void measure_punch(void)
{
	uint64_t time;
	struct vm vm;

	if (!vm_create(&vm, OWNED, SIZE))
		return;
	if (vm.backing == OWNED) {
		guest_write(&vm, 0, SIZE);
		time = TIMED(gmem_punch(&vm, 0, SIZE));
		report_per_page(time, SIZE, "owned.punch");
	}
	vm_destroy(&vm);
}

/* The guest shares a page, the host looks at it (@program is SHARE_COPY), or not. */
static void measure_share(enum backing_type backing, enum program program, const char *name)
{
	uint64_t time;
	struct vm vm;

	if (!vm_create(&vm, backing, SIZE))
		return;
	guest_write(&vm, 0, SIZE);
	vcpu_start(&vm.vcpu, program, SLOT_GPA + OFFSET, ROUNDS + WARMUP);
	if (program == SHARE_COPY) {
		for (int i = 0; i < WARMUP; i++) {
			vcpu_expect(&vm.vcpu, COPY);
			*(volatile char *)(vm.hva + OFFSET);
		}
		time = TIMED({
			for (int i = 0; i < ROUNDS; i++) {
				vcpu_expect(&vm.vcpu, COPY);
				*(volatile char *)(vm.hva + OFFSET);
			}
		});
		vcpu_expect(&vm.vcpu, DONE);
		report_time((double)time / ROUNDS, "owned.%s", name);
	} else {
		time = TIMED(vcpu_expect(&vm.vcpu, DONE));
		report_time((double)time / (ROUNDS + WARMUP), "owned.%s", name);
	}
	vm_destroy(&vm);
}

void work_owned(void)
{
	measure_touch(OWNED, "");
	measure_touch(PINNED, ".pinned");
	measure_punch();
	measure_share(OWNED, SHARE, "share");
	measure_share(PINNED, SHARE, "share.pinned");
	measure_share(OWNED, SHARE_COPY, "share_seen");
	measure_share(PINNED, SHARE_COPY, "share_seen.pinned");
}
