/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MEMFILE_TEST_H
#define _MEMFILE_TEST_H

#include "shim.h"

#include <linux/maple_tree.h>
#include <linux/xarray.h>

#include "../../../mm/memfile/internal.h"

/* The last page of the largest file there can be. */
#define LAST_INDEX	(LLONG_MAX / 4096 - 1)

struct test {
	const char *name;
	void (*run)(void);
};

extern const struct test state_tests[];
extern const struct test notifier_tests[];
extern const struct test convert_tests[];
extern const struct test random_tests[];
extern unsigned long seed;
extern unsigned long steps;

/*
 * A failed check ends the test.  The random tests are repeated by their seed,
 * which the output names.
 */
void __noreturn __printf(3, 4) fail(const char *file, int line,
				    const char *fmt, ...);

#define check(cond)							\
	do {								\
		if (!(cond))						\
			fail(__FILE__, __LINE__, "%s", #cond);		\
	} while (0)

#define check_eq(a, b)							\
	do {								\
		long _a = (long)(a), _b = (long)(b);			\
									\
		if (_a != _b)						\
			fail(__FILE__, __LINE__, "%s = %#lx, not %#lx",	\
			     #a, _a, _b);				\
	} while (0)

#define BOTH	(MEMFILE_SHARED | MEMFILE_PRIVATE)

/* What is called during a conversion. */
enum test_event_type {
	TEST_START,
	TEST_END,
	TEST_WITHDRAW,
	TEST_FIND_PINNED,
	TEST_TAKE_BACK,
	TEST_REMOVE,
	TEST_RESTORE,
	TEST_HOLD,
};

struct test_event {
	enum test_event_type type;
	struct test_consumer *consumer;	/* of start and end */
	pgoff_t start, end;
	unsigned int states;		/* of the invalidation */
	unsigned int found;		/* what the tree says about the range */
	unsigned long nr;		/* of hold: pages */
};

#define TEST_EVENTS	1024

/* The most pages under one hold of the lock, here. */
#define TEST_BATCH	4

struct test_page {
	bool present;
	bool pinned;
	bool referenced;
	bool absent;			/* from the direct map */
};

#define TEST_PAGES	64

/*
 * A file of a number of pages, and what the library needs around it.  There are
 * pages in a window of the file only, from @base on.
 */
struct test_file {
	struct memfile memfile;
	struct file file;
	pgoff_t base;
	struct test_page pages[TEST_PAGES];
	unsigned int fail_direct_map;	/* the nth change of it from now on */
	unsigned int signal_nth;	/* sent in the nth chunk from now on */
	unsigned int nr_events;
	struct test_event events[TEST_EVENTS];
};

void test_file_init(struct test_file *tf, unsigned int flags, pgoff_t nr_pages);
void test_file_exit(struct test_file *tf);

/* Pages come, and they go. */
void test_add_pages(struct test_file *tf, pgoff_t start, pgoff_t end);
void test_remove_pages(struct test_file *tf, pgoff_t start, pgoff_t end);

/* Every page is in the direct map, or is not, as its state wants it. */
void test_check_direct_map(struct test_file *tf);

/* Append to the log.  What does not fit is counted. */
struct test_event *test_log(struct memfile *memfile, enum test_event_type type,
			    pgoff_t start, pgoff_t end);

/* Convert, and expect success; convert, and expect an error at an offset. */
void test_convert(struct test_file *tf, pgoff_t start, pgoff_t end,
		  enum memfile_state to);
void test_convert_fails(struct test_file *tf, pgoff_t start, pgoff_t end,
			enum memfile_state to, int err, pgoff_t where);

/* A consumer, and the last calls that it got. */
struct test_call {
	unsigned int nr;
	pgoff_t start, end;
	unsigned int states;
};

struct test_consumer {
	struct memfile_consumer consumer;
	struct test_call start_call, end_call, allocated_call;
};

extern struct module test_module;
extern const struct memfile_consumer_ops test_consumer_ops;

int test_register(struct test_file *tf, struct test_consumer *tc, void *domain,
		  pgoff_t start, unsigned long nr);
void test_forget_calls(struct test_consumer *tc);

/* Invalidate a range as one who frees pages does, or as memory failure does. */
void test_invalidate(struct test_file *tf, pgoff_t start, pgoff_t end,
		     unsigned int states);
void test_memory_failure(struct test_file *tf, pgoff_t index);
void test_allocated(struct test_file *tf, pgoff_t start, pgoff_t end);

#endif /* _MEMFILE_TEST_H */
