// SPDX-License-Identifier: GPL-2.0
/* Clocks, samples and what is printed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

void die(const char *fmt, ...)
{
	int error = errno;
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	fprintf(stderr, "error: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(ap);
	exit(1);
}

static enum { EMULATED, NANOSECONDS, INSTRUCTIONS } clock_kind;
static uint64_t clock_cost;
static int clock_fd;
const char *clock_unit;

static uint64_t nanoseconds(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static uint64_t clock_emulated(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return nanoseconds(CLOCK_MONOTONIC);
#endif
}

/* Of the host's side, kernel and all; what the guest does is not its cost. */
static int open_instructions(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_guest = 1,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

uint64_t clock_now(void)
{
	uint64_t count = 0;

	switch (clock_kind) {
	case EMULATED:
		return clock_emulated();
	case NANOSECONDS:
		return nanoseconds(CLOCK_MONOTONIC);
	case INSTRUCTIONS:
		CHECK(read(clock_fd, &count, sizeof(count)));
	}
	return count;
}

/* Of the calling thread alone, if there are others. */
uint64_t clock_thread(void)
{
	return clock_kind == INSTRUCTIONS ? clock_now() : nanoseconds(CLOCK_THREAD_CPUTIME_ID);
}

/* Of a process that has ended, all its threads, and that nobody has waited for yet. */
uint64_t clock_process(pid_t pid)
{
	clockid_t id;

	if (clock_kind == INSTRUCTIONS) {
		errno = ENOTSUP;
		die("instructions of another process");
	}
	errno = clock_getcpuclockid(pid, &id);
	CHECK(-errno);
	return nanoseconds(id);
}

bool clock_is_time(void)
{
#ifdef __x86_64__
	return clock_kind == NANOSECONDS;
#else
	return clock_kind != INSTRUCTIONS;
#endif
}

uint64_t clock_since(uint64_t start)
{
	uint64_t took = clock_now() - start;

	return took > clock_cost ? took - clock_cost : 0;
}

/**
 * clock_select - say what is counted
 * @name: "icount": a clock that counts instructions, because the machine is
 *	emulated that way; "ns": time; "insn": instructions, by the PMU
 *
 * Return: false if there is no such clock.
 */
bool clock_select(const char *name)
{
	struct samples cost = {};

	if (!strcmp(name, "icount")) {
		clock_kind = EMULATED;
		clock_unit = "insn";
	} else if (!strcmp(name, "ns")) {
		clock_kind = NANOSECONDS;
		clock_unit = "ns";
	} else if (!strcmp(name, "insn")) {
		clock_kind = INSTRUCTIONS;
		clock_unit = "insn";
		clock_fd = open_instructions();
		if (clock_fd < 0)
			die("no PMU that counts instructions");
	} else {
		return false;
	}

	for (int i = 0; i < 101; i++)
		sample(&cost, TIMED());
	clock_cost = median(&cost);
	return true;
}

void sample(struct samples *s, uint64_t value)
{
	s->value[s->nr++ % ROUNDS_MAX] = value;
}

static int compare(const void *a, const void *b)
{
	return (*(uint64_t *)a > *(uint64_t *)b) - (*(uint64_t *)a < *(uint64_t *)b);
}

double median(struct samples *s)
{
	unsigned int nr = s->nr < ROUNDS_MAX ? s->nr : ROUNDS_MAX;

	if (!nr)
		return 0;
	qsort(s->value, nr, sizeof(s->value[0]), compare);
	return s->value[nr / 2];
}

static void vreport(const char *unit, double value, const char *fmt, va_list ap)
{
	printf("BENCH ");
	vprintf(fmt, ap);
	printf(" %.1f %s\n", value, unit);
	fflush(stdout);
}

void report(const char *unit, double value, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(unit, value, fmt, ap);
	va_end(ap);
}

void report_time(double value, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(clock_unit, value, fmt, ap);
	va_end(ap);
}

void report_per_page(uint64_t value, uint64_t len, const char *fmt, ...)
{
	char unit[32];
	va_list ap;

	snprintf(unit, sizeof(unit), "%s/page", clock_unit);
	va_start(ap, fmt);
	vreport(unit, (double)value / (len / PAGE), fmt, ap);
	va_end(ap);
}

uint64_t proc_value(const char *path, const char *key)
{
	FILE *f = fopen(path, "r");
	char line[256], word[256];
	unsigned long value = 0;

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%255[^: \t]%*[: \t]%lu", word, &value) == 2 &&
		    !strcmp(word, key))
			break;
		value = 0;
	}
	fclose(f);
	return value;
}

uint64_t slab_bytes(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY);

	/* What is freed after a grace period is not in use any more. */
	sleep(1);
	/* Fold in what the CPUs have counted each for itself. */
	if (fd >= 0) {
		CHECK(write(fd, "1", 1));
		close(fd);
	}
	return (proc_value("/proc/vmstat", "nr_slab_reclaimable") +
		proc_value("/proc/vmstat", "nr_slab_unreclaimable")) * PAGE;
}
