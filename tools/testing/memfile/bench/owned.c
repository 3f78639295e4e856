// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that owns its memory (arm64: a protected one), on a memory file, or on
 * anonymous memory that is pinned.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define SIZE	(16 * MB)
#define VMS	7
#define WARMUP	50
#define ROUNDS	500
#define OFFSET	(100 * PAGE)
#define WAKE_NS	100000

static uint64_t destroy(struct vm *vm)
{
	uint64_t start = clock_thread();

	vm_destroy(vm);
	return clock_thread() - start;
}

/*
 * More than once: the first VMs bring pages, here and at EL2, that others find again.
 * The end of a VM waits for grace periods, during which others run, or nobody does.
 */
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
		sample(&close, destroy(&vm));
	}
	report_per_page(median(&touch), SIZE - PAGE, "owned.touch%s", name);
	report_per_page(median(&close), SIZE, "owned.close%s", name);
}

/* Somebody urgent, who wakes up again and again. */
struct waker {
	pthread_t thread;
	bool stop;
	uint64_t longest;
};

static void *wake(void *arg)
{
	struct waker *waker = arg;
	struct timespec ts;
	uint64_t due, late;

	/* Let the first time, which is slow, be over. */
	for (int i = 0; !__atomic_load_n(&waker->stop, __ATOMIC_RELAXED); i++) {
		due = clock_now() + WAKE_NS;
		ts.tv_sec = due / 1000000000;
		ts.tv_nsec = due % 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		late = clock_now() - due;
		if (i > 10 && late > waker->longest)
			waker->longest = late;
	}
	return NULL;
}

static void wake_start(struct waker *waker)
{
	struct sched_param param = { .sched_priority = 1 };
	pthread_attr_t attr;

	*waker = (struct waker) {};
	pthread_attr_init(&attr);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	pthread_attr_setschedparam(&attr, &param);
	errno = pthread_create(&waker->thread, &attr, wake, waker);
	CHECK(-errno);
	usleep(20 * WAKE_NS / 1000);
}

static uint64_t wake_stop(struct waker *waker)
{
	__atomic_store_n(&waker->stop, true, __ATOMIC_RELAXED);
	pthread_join(waker->thread, NULL);
	return waker->longest;
}

/*
 * All that holds a spinlock, and all that EL2 does, keeps the one who wakes up from
 * running. So mmu_lock is not held for longer than that.
 */
static void measure_punch(void)
{
	struct waker waker;
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

	if (!clock_is_time() || !vm_create(&vm, OWNED, SIZE))
		return;
	if (vm.backing == OWNED) {
		guest_write(&vm, 0, SIZE);
		wake_start(&waker);
		usleep(SIZE / PAGE);
		report(clock_unit, wake_stop(&waker), "owned.wake");
		wake_start(&waker);
		gmem_punch(&vm, 0, SIZE);
		report(clock_unit, wake_stop(&waker), "owned.wake.punch");
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

/* The two calls by themselves, each for every page. */
static void measure_calls(enum backing_type backing, const char *name)
{
	uint64_t to_shared, to_private;
	struct vm vm;

	if (!vm_create(&vm, backing, SIZE))
		return;
	guest_write(&vm, 0, SIZE);
	vcpu_start(&vm.vcpu, SHARE_ALL, SLOT_GPA, SIZE / PAGE);
	to_shared = TIMED(vcpu_expect(&vm.vcpu, DONE));
	vcpu_start(&vm.vcpu, UNSHARE_ALL, SLOT_GPA, SIZE / PAGE);
	to_private = TIMED(vcpu_expect(&vm.vcpu, DONE));
	report_per_page(to_shared, SIZE, "owned.to_shared%s", name);
	report_per_page(to_private, SIZE, "owned.to_private%s", name);
	vm_destroy(&vm);
}

void work_owned(void)
{
	measure_touch(OWNED, "");
	measure_touch(PINNED, ".pinned");
	measure_punch();
	measure_share(OWNED, SHARE, "share");
	measure_share(PINNED, SHARE, "share.pinned");
	measure_calls(OWNED, "");
	measure_calls(PINNED, ".pinned");
	measure_share(OWNED, SHARE_COPY, "share_seen");
	measure_share(PINNED, SHARE_COPY, "share_seen.pinned");
}
