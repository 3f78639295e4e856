// SPDX-License-Identifier: GPL-2.0
/* One page to and fro: what a guest does with a buffer that a device fills. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define WARMUP	50
#define ROUNDS	200
#define OFFSET	(100 * PAGE)

struct context {
	const char *name;
	uint64_t size;		/* of the slot that the page is in */
	bool alone;		/* all the rest is shared */
};

static const struct context contexts[] = {
	{ "64M", 64 * MB },
	{ "1G", GB },
	{ "4G", 4 * GB },
	{ "1G_alone", GB, true },
	{}
};

static uint64_t nr_flushes(struct vm *vm)
{
	return vm_stat(vm, "remote_tlb_flush_requests");
}

static bool flip_vm(struct vm *vm, enum backing_type backing, const struct context *c,
		    const struct kind *k)
{
	if (!vm_create_flags(vm, backing, c->size, k->flags))
		return false;
	if (c->alone)
		vm_mark(vm, OFFSET, PAGE, true);
	else
		vm_mark(vm, 0, c->size, true);
	return true;
}

/* The guest asks, the VMM converts, the guest writes to the page; both ways. */
static void measure_flip(enum backing_type backing, enum program program, const char *name,
			 const struct context *c, const struct kind *k)
{
	struct samples whole = {}, part[4] = {};
	static const char * const parts[] = { "to_shared", "run_shared",
					      "to_private", "run_private" };
	uint64_t flushes = 0, exits = 0, value[4];
	struct vm vm;

	if (!flip_vm(&vm, backing, c, k))
		return;
	vcpu_start(&vm.vcpu, program, SLOT_GPA + OFFSET, ROUNDS + WARMUP + 1);
	vcpu_expect(&vm.vcpu, TO_SHARED);
	for (int i = -WARMUP; i < ROUNDS; i++) {
		if (!i) {
			flushes = nr_flushes(&vm);
			exits = vm.vcpu.exits;
		}
		value[0] = TIMED(vm_convert(&vm, OFFSET, PAGE, false));
		value[1] = TIMED(vcpu_expect(&vm.vcpu, TO_PRIVATE));
		value[2] = TIMED(vm_convert(&vm, OFFSET, PAGE, true));
		value[3] = TIMED(vcpu_expect(&vm.vcpu, TO_SHARED));
		if (i < 0)
			continue;
		for (int j = 0; j < 4; j++)
			sample(&part[j], value[j]);
		sample(&whole, value[0] + value[1] + value[2] + value[3]);
	}
	report_time(median(&whole), "%s.%s%s", name, c->name, k->suffix);
	for (int j = 0; j < 4; j++)
		report_time(median(&part[j]), "%s.%s.%s%s", name, c->name, parts[j], k->suffix);
	report("flushes", (double)(nr_flushes(&vm) - flushes) / ROUNDS,
	       "%s.%s.flushes%s", name, c->name, k->suffix);
	report("exits", (double)(vm.vcpu.exits - exits) / ROUNDS,
	       "%s.%s.exits%s", name, c->name, k->suffix);
	vm_destroy(&vm);
}

static void exit_cost(enum program program, unsigned int want, const char *name)
{
	struct samples s = {};
	struct vm vm;

	if (!vm_create(&vm, BEST, MB))
		return;
	vm_mark(&vm, 0, MB, true);
	vcpu_start(&vm.vcpu, program, SLOT_GPA, 1);
	for (int i = 0; i < ROUNDS; i++)
		sample(&s, TIMED(vcpu_expect(&vm.vcpu, want)));
	report_time(median(&s), "flip.%s", name);
	vm_destroy(&vm);
}

void work_flip(void)
{
	for (const struct context *c = contexts; c->name; c++)
		measure_flip(BEST, FLIP, "flip", c, &kinds[0]);
	for (const struct kind *k = &kinds[1]; k->suffix; k++)
		measure_flip(BEST, FLIP, "flip", &contexts[1], k);
	/* As VMMs do it today, on either kernel. */
	measure_flip(SPLIT, FLIP, "flip.split", &contexts[1], &kinds[0]);
	if (arch_has_hypercall()) {
		measure_flip(BEST, FLIP_HC, "flip.hypercall", &contexts[1], &kinds[0]);
		exit_cost(ASK_HC, TO_PRIVATE, "exit_hypercall");
	}
	exit_cost(ASK, NOTHING, "exit");
}

/* The same with nobody asked but the kernel. */
static void measure_grant(const struct context *c, const struct kind *k)
{
	struct vm vm;
	uint64_t time, exits, flushes;

	if (!flip_vm(&vm, IN_PLACE, c, k))
		return;
	if (vm_grant(&vm)) {
		vcpu_start(&vm.vcpu, FLIP_HC, SLOT_GPA + OFFSET, WARMUP);
		vcpu_expect(&vm.vcpu, DONE);
		flushes = nr_flushes(&vm);
		vcpu_start(&vm.vcpu, FLIP_HC, SLOT_GPA + OFFSET, ROUNDS);
		time = TIMED({
			for (exits = 0; vcpu_run(&vm.vcpu) != DONE; exits++)
				;
		});
		report_time((double)time / ROUNDS, "grant.%s%s", c->name, k->suffix);
		report("exits", (double)exits / ROUNDS, "grant.%s.exits%s", c->name, k->suffix);
		report("flushes", (double)(nr_flushes(&vm) - flushes) / ROUNDS,
		       "grant.%s.flushes%s", c->name, k->suffix);
	}
	vm_destroy(&vm);
}

void work_grant(void)
{
	for (const struct context *c = contexts; c->name; c++)
		measure_grant(c, &kinds[0]);
	for (const struct kind *k = &kinds[1]; k->suffix; k++)
		measure_grant(&contexts[1], k);
}

static char buffer[2 * PAGE];

/* As a device would: it reads what the guest has written. */
static void transfer(struct vm *vm, unsigned int pages)
{
	memcpy(buffer, vm->hva + OFFSET, pages * PAGE);
}

/*
 * Firmware and its bounce buffers: some thousand requests, each of a page or two,
 * that become shared for as long as the device needs.
 */
static void measure_storm(const struct context *c, bool convert)
{
	const unsigned int rounds = 5000;
	unsigned int left = rounds;
	uint64_t start, time;
	struct vm vm;

	if (!flip_vm(&vm, BEST, c, &kinds[0]))
		return;
	if (!convert)
		vm_convert(&vm, OFFSET, 2 * PAGE, false);
	vcpu_start(&vm.vcpu, convert ? TRANSFER_FLIP : TRANSFER, SLOT_GPA + OFFSET, rounds);
	start = clock_now();
	for (;;) {
		unsigned int pages = transfer_pages(left);
		unsigned int request = vcpu_run(&vm.vcpu);

		if (request == DONE)
			break;
		if (request == TO_SHARED || request == TO_PRIVATE)
			vm_convert(&vm, OFFSET, pages * PAGE, request == TO_PRIVATE);
		if (request == COPY)
			transfer(&vm, pages);
		if (request == (convert ? TO_PRIVATE : COPY))
			left--;
	}
	time = clock_since(start);
	report_time((double)time / rounds, "storm.%s", convert ? c->name : "without");
	report("exits", (double)vm.vcpu.exits / rounds, "storm.%s.exits",
	       convert ? c->name : "without");
	vm_destroy(&vm);
}

void work_storm(void)
{
	measure_storm(&contexts[1], false);
	for (const struct context *c = contexts; !c->alone; c++)
		measure_storm(c, true);
}

/*
 * Conversions of 2 MiB that several vCPUs are writing to. With one CPU, the threads
 * take turns, also in the middle of a fault; the converter's time is its own.
 */
struct busy {
	struct vcpu vcpu;
	pthread_t thread;
	atomic_ulong passes;
};

#define BUSY_SIZE	(2 * MB)
static atomic_bool busy_stop;

static void *busy_thread(void *arg)
{
	struct busy *busy = arg;

	while (!busy_stop) {
		vcpu_start(&busy->vcpu, WRITE, SLOT_GPA, BUSY_SIZE / PAGE);
		vcpu_expect(&busy->vcpu, DONE);
		busy->passes++;
	}
	return NULL;
}

static uint64_t convert_busy_rounds(struct vm *vm, unsigned int rounds)
{
	uint64_t start, time = 0;

	for (unsigned int i = 0; i < rounds; i++) {
		/* Odd, so as not to meet the vCPUs at the same point each time */
		usleep(997);
		start = clock_thread();
		vm_convert(vm, 0, BUSY_SIZE, i & 1);
		time += clock_thread() - start;
	}
	return time;
}

static void convert_busy(int vcpus)
{
	const unsigned int rounds = 200;
	struct busy busy[4] = {};
	uint64_t passes = 0, refused = 0;
	struct vm vm;

	if (!vm_create(&vm, BEST, 64 * MB))
		return;
	vm_mark(&vm, 0, 64 * MB, true);
	busy_stop = false;
	for (int i = 0; i < vcpus; i++) {
		vcpu_create(&vm, &busy[i].vcpu, 1 + i);
		busy[i].vcpu.converted = true;
		if (pthread_create(&busy[i].thread, NULL, busy_thread, &busy[i]))
			die("pthread_create");
		while (!busy[i].passes)
			usleep(1000);
	}
	report_per_page(convert_busy_rounds(&vm, rounds) / rounds, BUSY_SIZE,
			"busy.convert@%d", vcpus);
	busy_stop = true;
	for (int i = 0; i < vcpus; i++) {
		pthread_join(busy[i].thread, NULL);
		passes += busy[i].passes;
		refused += busy[i].vcpu.refused;
		vcpu_destroy(&busy[i].vcpu);
	}
	report("passes", passes, "busy.passes@%d", vcpus);
	report("exits", refused, "busy.refused@%d", vcpus);
	vm_destroy(&vm);
}

void work_busy(void)
{
	convert_busy(1);
	convert_busy(2);
	convert_busy(4);
}
