// SPDX-License-Identifier: GPL-2.0
/* Registration, and who hears what, where the result is plain to see. */
#include <errno.h>
#include <limits.h>

#include "test.h"

static int mmu_a, mmu_b;

#define check_call(call, _start, _end)			\
	do {						\
		check_eq((call)->nr, 1);		\
		check_eq((call)->start, _start);	\
		check_eq((call)->end, _end);		\
	} while (0)

static void check_told(struct test_consumer *tc, pgoff_t start, pgoff_t end)
{
	check_call(&tc->start_call, start, end);
	check_call(&tc->end_call, start, end);
	test_forget_calls(tc);
}

static void check_not_told(struct test_consumer *tc)
{
	check_eq(tc->start_call.nr, 0);
	check_eq(tc->end_call.nr, 0);
	check_eq(tc->allocated_call.nr, 0);
}

static void register_refuses_bad_ranges(void)
{
	static const struct {
		pgoff_t start;
		unsigned long nr;
	} bad[] = {
		{ 0, 0 }, { 5, 0 }, { 100, 0 },			/* empty */
		{ 0, 101 }, { 99, 2 }, { 100, 1 }, { 5000, 1 },	/* not in the file */
		{ 0, ULONG_MAX }, { 1, ULONG_MAX },		/* overflow */
		{ ULONG_MAX, 1 }, { ULONG_MAX, ULONG_MAX },
		{ ULONG_MAX - 9, 20 }, { 50, ULONG_MAX - 20 },
	};
	struct test_consumer tc;
	struct test_file tf;
	int i;

	test_file_init(&tf, 0, 100);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		check_eq(test_register(&tf, &tc, &mmu_a, bad[i].start, bad[i].nr), -EINVAL);
		check(!tc.consumer.inode);
		check_eq(tf.memfile.nr_consumers, 0);
		check_eq(test_module.refs, 0);
	}

	/* And takes all that are good. */
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	memfile_unregister(&tc.consumer);
	check_eq(test_register(&tf, &tc, &mmu_a, 99, 1), 0);
	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);

	test_file_init(&tf, 0, LAST_INDEX + 1);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, LAST_INDEX + 2), -EINVAL);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, LAST_INDEX + 1), 0);
	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

static void register_refuses_other_files(void)
{
	static const struct address_space_operations other_aops;
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	tf.memfile.vfs_inode.i_data.a_ops = &other_aops;
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), -EINVAL);
	check(!tc.consumer.inode);
	test_file_exit(&tf);
}

/* One domain cannot have a page twice, another one can have it as well. */
static void register_refuses_overlap(void)
{
	static const struct {
		pgoff_t start;
		unsigned long nr;
	} overlapping[] = {
		{ 10, 10 }, { 9, 2 }, { 19, 1 }, { 19, 5 }, { 0, 100 }, { 12, 3 },
		{ 10, 1 }, { 0, 11 },
	};
	struct test_consumer a, b, before, behind;
	struct test_file tf;
	int i;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &a, &mmu_a, 10, 10), 0);
	for (i = 0; i < ARRAY_SIZE(overlapping); i++) {
		pgoff_t start = overlapping[i].start;
		unsigned long nr = overlapping[i].nr;

		check_eq(test_register(&tf, &b, &mmu_a, start, nr), -EEXIST);
		check(!b.consumer.inode);
		check_eq(tf.memfile.nr_consumers, 1);
		check_eq(test_module.refs, 1);

		check_eq(test_register(&tf, &b, &mmu_b, start, nr), 0);
		check(b.consumer.inode == &tf.memfile.vfs_inode);
		check_eq(test_module.refs, 2);
		memfile_unregister(&b.consumer);
	}

	check_eq(test_register(&tf, &before, &mmu_a, 0, 10), 0);
	check_eq(test_register(&tf, &behind, &mmu_a, 20, 80), 0);
	memfile_unregister(&a.consumer);
	check_eq(test_register(&tf, &a, &mmu_a, 10, 10), 0);

	memfile_unregister(&behind.consumer);
	memfile_unregister(&a.consumer);
	memfile_unregister(&before.consumer);
	check(!a.consumer.inode);
	test_file_exit(&tf);
}

static void register_refuses_dying_module(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	test_module.unloading = true;
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), -ENODEV);
	check(!tc.consumer.inode);
	check_eq(tf.memfile.nr_consumers, 0);
	test_file_exit(&tf);
}

static void ranges_are_clipped(void)
{
	struct test_consumer low, high, all;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &low, &mmu_a, 10, 10), 0);
	check_eq(test_register(&tf, &high, &mmu_a, 20, 10), 0);
	check_eq(test_register(&tf, &all, &mmu_b, 0, 100), 0);

	test_invalidate(&tf, 0, 10, BOTH);
	check_not_told(&low);
	check_not_told(&high);
	check_told(&all, 0, 10);

	test_invalidate(&tf, 0, 11, BOTH);
	check_told(&low, 10, 11);
	check_not_told(&high);
	check_told(&all, 0, 11);

	test_invalidate(&tf, 19, 21, BOTH);
	check_told(&low, 19, 20);
	check_told(&high, 20, 21);
	check_told(&all, 19, 21);

	test_invalidate(&tf, 0, 100, BOTH);
	check_told(&low, 10, 20);
	check_told(&high, 20, 30);
	check_told(&all, 0, 100);

	test_invalidate(&tf, 29, 30, BOTH);
	check_not_told(&low);
	check_told(&high, 29, 30);
	check_told(&all, 29, 30);

	test_invalidate(&tf, 30, 100, BOTH);
	check_not_told(&low);
	check_not_told(&high);
	check_told(&all, 30, 100);

	test_memory_failure(&tf, 15);
	check_told(&low, 15, 16);
	check_not_told(&high);
	check_told(&all, 15, 16);

	test_allocated(&tf, 18, 22);
	check_call(&low.allocated_call, 18, 20);
	check_call(&high.allocated_call, 20, 22);
	check_call(&all.allocated_call, 18, 22);

	memfile_unregister(&low.consumer);
	memfile_unregister(&high.consumer);
	memfile_unregister(&all.consumer);
	test_file_exit(&tf);
}

/* Nothing wraps around at the end of the largest file. */
static void ranges_of_the_largest_file(void)
{
	struct test_consumer last, all;
	struct test_file tf;

	test_file_init(&tf, 0, LAST_INDEX + 1);
	check_eq(test_register(&tf, &last, &mmu_a, LAST_INDEX, 1), 0);
	check_eq(test_register(&tf, &all, &mmu_b, 0, LAST_INDEX + 1), 0);

	test_invalidate(&tf, 0, LAST_INDEX + 1, BOTH);
	check_told(&last, LAST_INDEX, LAST_INDEX + 1);
	check_told(&all, 0, LAST_INDEX + 1);
	test_invalidate(&tf, LAST_INDEX, LAST_INDEX + 1, BOTH);
	check_told(&last, LAST_INDEX, LAST_INDEX + 1);
	check_told(&all, LAST_INDEX, LAST_INDEX + 1);
	test_invalidate(&tf, 0, LAST_INDEX, BOTH);
	check_not_told(&last);
	check_told(&all, 0, LAST_INDEX);

	memfile_unregister(&last.consumer);
	memfile_unregister(&all.consumer);
	test_file_exit(&tf);
}

/* What is said about states holds for all of the invalidation. */
static void states_are_passed_on(void)
{
	static const unsigned int states[] = { MEMFILE_SHARED, MEMFILE_PRIVATE, BOTH };
	struct test_consumer low, all;
	struct test_file tf;
	int i;

	test_file_init(&tf, 0, 100);
	test_convert(&tf, 0, 50, MEMFILE_SHARED);
	check_eq(test_register(&tf, &low, &mmu_a, 0, 50), 0);
	check_eq(test_register(&tf, &all, &mmu_b, 0, 100), 0);

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		test_invalidate(&tf, 40, 60, states[i]);
		check_eq(low.start_call.states, states[i]);
		check_eq(low.end_call.states, states[i]);
		check_eq(all.start_call.states, states[i]);
		check_eq(all.end_call.states, states[i]);
	}

	memfile_unregister(&low.consumer);
	memfile_unregister(&all.consumer);
	test_file_exit(&tf);
}

static void unregistered_hear_nothing(void)
{
	struct test_consumer gone, stays;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &gone, &mmu_a, 0, 100), 0);
	check_eq(test_register(&tf, &stays, &mmu_b, 0, 100), 0);
	memfile_unregister(&gone.consumer);

	test_invalidate(&tf, 0, 100, BOTH);
	test_allocated(&tf, 0, 100);
	check_not_told(&gone);
	check_eq(stays.start_call.nr, 1);
	check_eq(stays.end_call.nr, 1);
	check_eq(stays.allocated_call.nr, 1);

	memfile_unregister(&stays.consumer);
	test_file_exit(&tf);
}

const struct test notifier_tests[] = {
	{ "register_refuses_bad_ranges", register_refuses_bad_ranges },
	{ "register_refuses_other_files", register_refuses_other_files },
	{ "register_refuses_overlap", register_refuses_overlap },
	{ "register_refuses_dying_module", register_refuses_dying_module },
	{ "ranges_are_clipped", ranges_are_clipped },
	{ "ranges_of_the_largest_file", ranges_of_the_largest_file },
	{ "states_are_passed_on", states_are_passed_on },
	{ "unregistered_hear_nothing", unregistered_hear_nothing },
	{ }
};
