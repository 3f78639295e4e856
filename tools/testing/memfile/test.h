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

/* A file of a number of pages, and what the library needs around it. */
struct test_file {
	struct memfile memfile;
	struct file file;
};

void test_file_init(struct test_file *tf, unsigned int flags, pgoff_t nr_pages);
void test_file_exit(struct test_file *tf);
void test_set_state(struct test_file *tf, pgoff_t start, pgoff_t end,
		    enum memfile_state state);
void test_clear_state(struct test_file *tf, pgoff_t start, pgoff_t end);

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
void test_invalidate(struct test_file *tf, pgoff_t start, pgoff_t end);
void test_memory_failure(struct test_file *tf, pgoff_t index);
void test_allocated(struct test_file *tf, pgoff_t start, pgoff_t end);

#endif /* _MEMFILE_TEST_H */
