// SPDX-License-Identifier: GPL-2.0
/*
 * How often the kernel flushes its own addresses from all TLBs: counted and not timed,
 * for a flush is one instruction to those who count instructions.
 *
 * On x86 every other CPU is interrupted for it.  A tracepoint says which CPU is called,
 * and by what, so this takes a machine with more than one, and neither kprobes nor the
 * function tracer, which would make all that is measured with them longer.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define TRACING	"/sys/kernel/tracing/"
#define FLIPS	100

static bool write_to(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	bool written;

	if (fd < 0)
		return false;
	written = write(fd, what, strlen(what)) == (ssize_t)strlen(what);
	close(fd);
	return written;
}

static bool trace(bool on)
{
	return write_to(TRACING "events/csd/csd_queue_cpu/enable", on ? "1" : "0");
}

/*
 * Of a range, or of everything; and not the addresses of some process.  What others do
 * meanwhile (the end of vmalloc()ed memory, mostly) is not ours.
 */
static bool is_flush(const char *line)
{
	return strstr(line, "memfile-bench-") && strstr(line, " cpu=1 ") &&
	       (strstr(line, "func=do_kernel_range_flush") ||
		strstr(line, "func=do_flush_tlb_all"));
}

static unsigned int traced_flushes(void)
{
	FILE *f = fopen(TRACING "trace", "r");
	unsigned int nr = 0;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		nr += is_flush(line);
	if (f)
		fclose(f);
	return nr;
}

#define FLUSHES(statement) ({						\
	write_to(TRACING "trace", "");					\
	trace(true);							\
	statement;							\
	trace(false);							\
	traced_flushes(); })

/* One page to shared and back. */
static void flip(struct vm *vm, unsigned int rounds)
{
	while (rounds--) {
		vm_convert(vm, PAGE, PAGE, false);
		vm_convert(vm, PAGE, PAGE, true);
	}
}

static void count_flushes(enum backing_type backing, const char *name, const struct kind *k)
{
	const uint64_t size = 256 * MB, part = 64 * MB;
	const bool private = backing != PLAIN;
	struct vm vm;

	if (!vm_create_flags(&vm, backing, size, k->flags))
		return;
	if (private)
		vm_mark(&vm, 0, size, true);
	report("flushes", FLUSHES(guest_write(&vm, 0, size)), "%s.touch%s", name, k->suffix);
	if (private) {
		report("flushes", FLUSHES(vm_convert(&vm, 0, part, false)), "%s.to_shared%s", name,
		       k->suffix);
		report("flushes", FLUSHES(vm_convert(&vm, 0, part, true)), "%s.to_private%s", name,
		       k->suffix);
		/* The first one may split an entry of 2M. */
		flip(&vm, 1);
		report("flushes", (double)FLUSHES(flip(&vm, FLIPS)) / FLIPS, "%s.flip%s", name,
		       k->suffix);
	}
	report("flushes", FLUSHES(gmem_punch(&vm, 0, size)), "%s.punch%s", name, k->suffix);
	report("flushes", FLUSHES(gmem_allocate(&vm, 0, size)), "%s.fallocate%s", name, k->suffix);
	vm_destroy(&vm);
}

void work_flush(void)
{
	cpu_set_t first;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2 || !trace(false))
		return;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	CHECK(sched_setaffinity(0, sizeof(first), &first));
	for_each_kind(k) {
		count_flushes(BEST, "flush", k);
		count_flushes(PLAIN, "flush.plain", k);
	}
}
