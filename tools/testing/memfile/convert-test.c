// SPDX-License-Identifier: GPL-2.0
/* Conversions where the result is plain to see. */
#include <errno.h>

#include "test.h"

static int mmu_a, mmu_b;

static unsigned int nr_entries(struct test_file *tf)
{
	MA_STATE(mas, &tf->memfile.states, 0, 0);
	unsigned int nr = 0;
	void *entry;

	rcu_read_lock();
	mas_for_each(&mas, entry, ULONG_MAX)
		nr++;
	rcu_read_unlock();
	return nr;
}

static unsigned long nr_holds(const struct test_file *tf)
{
	return tf->memfile.vfs_inode.i_data.invalidate_lock.nr_exclusive;
}

static void check_event(struct test_file *tf, unsigned int i,
			enum test_event_type type, pgoff_t start, pgoff_t end)
{
	check(i < tf->nr_events);
	check_eq(tf->events[i].type, type);
	check_eq(tf->events[i].start, start);
	check_eq(tf->events[i].end, end);
}

/* The event is about one state, which is @found in the range at that time. */
static void check_notified(struct test_file *tf, unsigned int i,
			   enum test_event_type type,
			   struct test_consumer *consumer, pgoff_t start,
			   pgoff_t end, unsigned int states, unsigned int found)
{
	check_event(tf, i, type, start, end);
	check(tf->events[i].consumer == consumer);
	check_eq(tf->events[i].states, states);
	check_eq(tf->events[i].found, found);
}

static void check_query(struct test_file *tf, pgoff_t index, pgoff_t end,
			enum memfile_state state, pgoff_t next)
{
	enum memfile_state found;

	check_eq(memfile_query(&tf->file, index, end, &found), next);
	check_eq(found, state);
}

/* Start; the pages go from the host; the state changes; end. */
static void order_to_private(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, MEMFILE_INIT_SHARED, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 11, 13);
	test_convert(&tf, 10, 20, MEMFILE_PRIVATE);

	check_eq(tf.nr_events, 4);
	check_notified(&tf, 0, TEST_START, &tc, 10, 20, MEMFILE_SHARED, MEMFILE_SHARED);
	check_event(&tf, 1, TEST_WITHDRAW, 10, 20);
	check_eq(tf.events[1].found, MEMFILE_SHARED);
	check_notified(&tf, 2, TEST_END, &tc, 10, 20, MEMFILE_SHARED, MEMFILE_PRIVATE);
	check_event(&tf, 3, TEST_HOLD, 0, 0);
	check_eq(tf.events[3].nr, 2);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 2);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

/* A look at the pins; start; the hardware; the state changes; end. */
static void order_to_shared(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 11, 13);
	test_convert(&tf, 10, 20, MEMFILE_SHARED);

	check_eq(tf.nr_events, 5);
	check_event(&tf, 0, TEST_FIND_PINNED, 10, 20);
	check_notified(&tf, 1, TEST_START, &tc, 10, 20, MEMFILE_PRIVATE, MEMFILE_PRIVATE);
	check_event(&tf, 2, TEST_TAKE_BACK, 10, 20);
	check_eq(tf.events[2].found, MEMFILE_PRIVATE);
	check_notified(&tf, 3, TEST_END, &tc, 10, 20, MEMFILE_PRIVATE, MEMFILE_SHARED);
	check_event(&tf, 4, TEST_HOLD, 0, 0);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 0);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

/* What is converted already is in the invalidation, but nobody touches it. */
static void mixed_range(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	test_convert(&tf, 10, 20, MEMFILE_SHARED);
	test_convert(&tf, 30, 40, MEMFILE_SHARED);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);

	test_convert(&tf, 5, 35, MEMFILE_SHARED);
	check_event(&tf, 0, TEST_FIND_PINNED, 5, 10);
	check_event(&tf, 1, TEST_FIND_PINNED, 20, 30);
	check_notified(&tf, 2, TEST_START, &tc, 5, 35, MEMFILE_PRIVATE, BOTH);
	check_event(&tf, 3, TEST_TAKE_BACK, 5, 10);
	check_event(&tf, 4, TEST_TAKE_BACK, 20, 30);
	check_notified(&tf, 5, TEST_END, &tc, 5, 35, MEMFILE_PRIVATE, MEMFILE_SHARED);
	check_eq(nr_entries(&tf), 1);

	/* What lies in front of the first that is to be converted is left out. */
	test_convert(&tf, 0, 10, MEMFILE_PRIVATE);
	check_notified(&tf, 0, TEST_START, &tc, 5, 10, MEMFILE_SHARED, MEMFILE_SHARED);
	check_event(&tf, 1, TEST_WITHDRAW, 5, 10);
	check_query(&tf, 0, 100, MEMFILE_PRIVATE, 10);
	check_query(&tf, 10, 100, MEMFILE_SHARED, 40);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

static void consumers_are_clipped(void)
{
	struct test_consumer low, high, none;
	struct test_file tf;

	test_file_init(&tf, MEMFILE_INIT_SHARED, 100);
	check_eq(test_register(&tf, &low, &mmu_a, 5, 10), 0);
	check_eq(test_register(&tf, &high, &mmu_a, 15, 10), 0);
	check_eq(test_register(&tf, &none, &mmu_b, 20, 80), 0);

	test_convert(&tf, 0, 20, MEMFILE_PRIVATE);
	check_eq(tf.nr_events, 6);
	check_notified(&tf, 0, TEST_START, &low, 5, 15, MEMFILE_SHARED, MEMFILE_SHARED);
	check_notified(&tf, 1, TEST_START, &high, 15, 20, MEMFILE_SHARED, MEMFILE_SHARED);
	check_notified(&tf, 3, TEST_END, &low, 5, 15, MEMFILE_SHARED, MEMFILE_PRIVATE);
	check_notified(&tf, 4, TEST_END, &high, 15, 20, MEMFILE_SHARED, MEMFILE_PRIVATE);

	memfile_unregister(&low.consumer);
	memfile_unregister(&high.consumer);
	memfile_unregister(&none.consumer);
	test_file_exit(&tf);
}

static void nothing_to_do(void)
{
	struct test_consumer tc;
	struct test_file tf;
	unsigned long holds;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 0, 50);
	test_convert(&tf, 20, 40, MEMFILE_SHARED);

	holds = nr_holds(&tf);
	/* No memory is needed for it, either. */
	shim_fail_nth = 1;
	test_convert(&tf, 20, 40, MEMFILE_SHARED);
	check_eq(tf.nr_events, 0);
	test_convert(&tf, 25, 26, MEMFILE_SHARED);
	check_eq(tf.nr_events, 0);
	test_convert(&tf, 0, 20, MEMFILE_PRIVATE);
	check_eq(tf.nr_events, 0);
	test_convert(&tf, 40, 100, MEMFILE_PRIVATE);
	check_eq(tf.nr_events, 0);
	/* And nobody had to wait for it. */
	check_eq(nr_holds(&tf), holds);
	check_eq(shim_fail_nth, 1);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

static void neighbours_merge(unsigned int flags, enum memfile_state to)
{
	enum memfile_state back = to ^ BOTH;
	struct test_file tf;

	test_file_init(&tf, flags, 100);
	test_convert(&tf, 10, 20, to);
	check_eq(nr_entries(&tf), 1);
	test_convert(&tf, 20, 30, to);		/* above */
	check_eq(nr_entries(&tf), 1);
	test_convert(&tf, 5, 10, to);		/* below */
	check_eq(nr_entries(&tf), 1);
	test_convert(&tf, 40, 50, to);		/* not adjacent */
	check_eq(nr_entries(&tf), 2);
	test_convert(&tf, 31, 39, to);
	check_eq(nr_entries(&tf), 3);
	test_convert(&tf, 30, 31, to);		/* joins two */
	check_eq(nr_entries(&tf), 2);
	test_convert(&tf, 20, 45, to);		/* covers, and joins */
	check_eq(nr_entries(&tf), 1);
	check_query(&tf, 0, 100, back, 5);
	check_query(&tf, 5, 100, to, 50);
	check_query(&tf, 50, 100, back, 100);

	test_convert(&tf, 20, 30, back);	/* splits */
	check_eq(nr_entries(&tf), 2);
	test_convert(&tf, 5, 6, back);		/* trims */
	test_convert(&tf, 49, 50, back);
	check_eq(nr_entries(&tf), 2);
	check_query(&tf, 0, 100, back, 6);
	check_query(&tf, 6, 100, to, 20);
	check_query(&tf, 20, 100, back, 30);
	check_query(&tf, 30, 100, to, 49);
	check_query(&tf, 49, 100, back, 100);

	test_convert(&tf, 0, 100, back);
	check(mtree_empty(&tf.memfile.states));
	test_file_exit(&tf);
}

static void neighbours_merge_in_private(void)
{
	neighbours_merge(0, MEMFILE_SHARED);
}

static void neighbours_merge_in_shared(void)
{
	neighbours_merge(MEMFILE_INIT_SHARED, MEMFILE_PRIVATE);
}

/* The worst that a guest can do to the tree, and that nothing is left of it. */
static void alternate(unsigned int flags, enum memfile_state to)
{
	enum memfile_state back = to ^ BOTH;
	unsigned long nr = 200, i;
	struct test_file tf;

	test_file_init(&tf, flags, 2 * nr);
	for (i = 0; i < nr; i++)
		test_convert(&tf, 2 * i, 2 * i + 1, to);
	check_eq(nr_entries(&tf), nr);
	for (i = 0; i < nr; i++)
		test_convert(&tf, 2 * i + 1, 2 * i + 2, to);
	check(mtree_empty(&tf.memfile.states));
	check_query(&tf, 0, 2 * nr, to, 2 * nr);

	/* What is left is the other way round. */
	for (i = 0; i < nr; i++)
		test_convert(&tf, 2 * i, 2 * i + 1, back);
	check_eq(nr_entries(&tf), nr);
	for (i = nr; i--; )
		test_convert(&tf, 2 * i + 1, 2 * i + 2, back);
	check(mtree_empty(&tf.memfile.states));

	for (i = 0; i < nr; i++)
		test_convert(&tf, 2 * i, 2 * i + 1, to);
	test_convert(&tf, 1, 2 * nr - 1, to);
	check_eq(nr_entries(&tf), 1);
	test_file_exit(&tf);
}

static void alternate_in_private(void)
{
	alternate(0, MEMFILE_SHARED);
}

static void alternate_in_shared(void)
{
	alternate(MEMFILE_INIT_SHARED, MEMFILE_PRIVATE);
}

/*
 * Trees with nodes in the middle, of which all slots are in use: they are freed
 * after a grace period, by code of their own.
 */
static void trees_are_freed(void)
{
	static const unsigned long sizes[] = { 470, 1839, 2209, 3000 };
	unsigned long nr, i;
	struct test_file tf;
	int k, round;

	for (k = 0; k < ARRAY_SIZE(sizes); k++) {
		nr = sizes[k];
		test_file_init(&tf, 0, 2 * nr);
		for (round = 0; round < 2; round++) {
			enum memfile_state to = round ? MEMFILE_PRIVATE : MEMFILE_SHARED;

			for (i = 0; i < nr; i++)
				test_convert(&tf, 2 * i, 2 * i + 1, to);
			check_query(&tf, 0, 2 * nr, to, 1);
			/* All at once. */
			test_convert(&tf, 0, 2 * nr, to);
			check(mtree_empty(&tf.memfile.states));
		}
		/* And with the file. */
		for (i = 0; i < nr; i++)
			test_convert(&tf, 2 * i, 2 * i + 1, MEMFILE_SHARED);
		test_file_exit(&tf);
	}
	rcu_barrier();
}

/* 1 TiB, of which nothing is there. */
static void large_hole(void)
{
	pgoff_t nr = 1UL << 28;
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 2 * nr);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 2 * nr), 0);
	test_convert(&tf, 7, 7 + nr, MEMFILE_SHARED);
	/* memfile_register() has taken the lock once, too. */
	check_eq(nr_holds(&tf), 2);
	check_eq(nr_entries(&tf), 1);
	check_eq(tf.nr_events, 5);
	check_event(&tf, 1, TEST_START, 7, 7 + nr);
	check_eq(tf.events[4].nr, 0);
	check_query(&tf, 7, 2 * nr, MEMFILE_SHARED, 7 + nr);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 0);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

static void ends_of_the_largest_file(unsigned int flags, enum memfile_state to)
{
	enum memfile_state back = to ^ BOTH;
	pgoff_t nr = LAST_INDEX + 1;
	struct test_file tf;

	test_file_init(&tf, flags, nr);
	test_convert(&tf, 0, 1, to);
	check_query(&tf, 0, nr, to, 1);
	check_query(&tf, 1, nr, back, nr);
	test_convert(&tf, LAST_INDEX, nr, to);
	check_query(&tf, 1, nr, back, LAST_INDEX);
	check_query(&tf, LAST_INDEX, nr, to, nr);
	check_eq(nr_entries(&tf), 2);

	test_convert(&tf, 0, nr, to);
	check_query(&tf, 0, nr, to, nr);
	check(mtree_empty(&tf.memfile.states));
	test_convert(&tf, 0, 1, back);
	test_convert(&tf, LAST_INDEX, nr, back);
	check_query(&tf, 0, nr, back, 1);
	check_query(&tf, 1, nr, to, LAST_INDEX);
	check_query(&tf, LAST_INDEX, nr, back, nr);
	test_convert(&tf, 0, nr, back);
	check(mtree_empty(&tf.memfile.states));
	test_file_exit(&tf);
}

static void ends_of_the_largest_private_file(void)
{
	ends_of_the_largest_file(0, MEMFILE_SHARED);
}

static void ends_of_the_largest_shared_file(void)
{
	ends_of_the_largest_file(MEMFILE_INIT_SHARED, MEMFILE_PRIVATE);
}

static void query_runs(void)
{
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	check_query(&tf, 0, 100, MEMFILE_PRIVATE, 100);
	check_query(&tf, 99, 100, MEMFILE_PRIVATE, 100);
	check_query(&tf, 3, 4, MEMFILE_PRIVATE, 4);

	test_convert(&tf, 10, 20, MEMFILE_SHARED);
	check_query(&tf, 0, 100, MEMFILE_PRIVATE, 10);
	check_query(&tf, 9, 100, MEMFILE_PRIVATE, 10);
	check_query(&tf, 0, 10, MEMFILE_PRIVATE, 10);
	check_query(&tf, 0, 5, MEMFILE_PRIVATE, 5);
	check_query(&tf, 10, 100, MEMFILE_SHARED, 20);
	check_query(&tf, 15, 100, MEMFILE_SHARED, 20);
	check_query(&tf, 19, 100, MEMFILE_SHARED, 20);
	check_query(&tf, 10, 15, MEMFILE_SHARED, 15);
	check_query(&tf, 20, 100, MEMFILE_PRIVATE, 100);
	check_query(&tf, 20, 50, MEMFILE_PRIVATE, 50);
	test_file_exit(&tf);
}

static void state_of_a_consumer(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, MEMFILE_INIT_SHARED, 100);
	test_convert(&tf, 10, 20, MEMFILE_PRIVATE);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	check_eq(memfile_state(&tc.consumer, 9), MEMFILE_SHARED);
	check_eq(memfile_state(&tc.consumer, 10), MEMFILE_PRIVATE);
	check_eq(memfile_state(&tc.consumer, 19), MEMFILE_PRIVATE);
	check_eq(memfile_state(&tc.consumer, 20), MEMFILE_SHARED);
	memfile_unregister(&tc.consumer);
	check_eq(memfile_state(&tc.consumer, 9), MEMFILE_PRIVATE);
	test_file_exit(&tf);
}

/* It is pages that count, not holes. */
static void chunks(void)
{
	static const pgoff_t bounds[] = { 0, 4, 20, 40, 100 };
	struct test_consumer tc;
	struct test_file tf;
	int i;

	test_file_init(&tf, MEMFILE_INIT_SHARED, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 0, 4);
	test_add_pages(&tf, 10, 12);
	test_add_pages(&tf, 18, 20);
	test_add_pages(&tf, 36, 41);
	test_convert(&tf, 0, 100, MEMFILE_PRIVATE);

	check_eq(tf.nr_events, 4 * 4);
	check_eq(nr_holds(&tf), 1 + 4);
	for (i = 0; i < 4; i++) {
		check_event(&tf, 4 * i, TEST_START, bounds[i], bounds[i + 1]);
		check_event(&tf, 4 * i + 1, TEST_WITHDRAW, bounds[i], bounds[i + 1]);
		check_event(&tf, 4 * i + 2, TEST_END, bounds[i], bounds[i + 1]);
		check_event(&tf, 4 * i + 3, TEST_HOLD, 0, 0);
		check_eq(tf.events[4 * i + 3].nr, i < 3 ? TEST_BATCH : 1);
	}
	check_eq(atomic_long_read(&tf.memfile.nr_private), 13);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

/* Holes have a cost after all, if each is in another state than the one before. */
static void many_runs(void)
{
	const pgoff_t nr = 3 * MEMFILE_BATCH_PAGES - 100;
	struct test_file tf;
	pgoff_t i;

	test_file_init(&tf, 0, nr);
	for (i = 0; i < nr; i += 2)
		test_convert(&tf, i, i + 1, MEMFILE_SHARED);
	tf.nr_events = 0;
	test_convert(&tf, 0, nr, MEMFILE_PRIVATE);
	check_eq(nr_holds(&tf), nr / 2 + 3);
	check_query(&tf, 0, nr, MEMFILE_PRIVATE, nr);
	test_file_exit(&tf);
}

static pgoff_t convert_for_guest(struct test_consumer *tc, pgoff_t start, pgoff_t end,
				 enum memfile_state to, unsigned long changed,
				 unsigned long present)
{
	unsigned long nr_changed, nr_present;
	pgoff_t r;

	r = memfile_convert_for_guest(&tc->consumer, start, end, to, &nr_changed, &nr_present);
	check_eq(nr_changed, changed);
	check_eq(nr_present, present);
	return r;
}

static void for_guest(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_convert(&tf, 10, 15, MEMFILE_SHARED);
	test_add_pages(&tf, 3, 5);
	test_add_pages(&tf, 12, 14);
	check_eq(convert_for_guest(&tc, 0, 20, MEMFILE_SHARED, 15, 2), 20);
	check_eq(convert_for_guest(&tc, 0, 20, MEMFILE_SHARED, 0, 0), 20);

	/* As far as it came, and no page of the chunk that failed. */
	test_add_pages(&tf, 0, 20);
	tf.pages[TEST_BATCH + 1].pinned = true;
	check_eq(convert_for_guest(&tc, 0, 20, MEMFILE_PRIVATE, TEST_BATCH, TEST_BATCH),
		 TEST_BATCH);
	check_query(&tf, TEST_BATCH, 100, MEMFILE_SHARED, 20);

	shim_other_signal = true;
	check_eq(convert_for_guest(&tc, 50, 60, MEMFILE_SHARED, 0, 0), 50);
	test_convert(&tf, 50, 60, MEMFILE_SHARED);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

static void in_use_to_private(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, MEMFILE_INIT_SHARED, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 10, 20);
	tf.pages[15].pinned = true;
	tf.pages[17].referenced = true;

	test_convert_fails(&tf, 10, 20, MEMFILE_PRIVATE, -EBUSY, 15);
	check_query(&tf, 10, 20, MEMFILE_PRIVATE, 14);
	check_query(&tf, 14, 20, MEMFILE_SHARED, 20);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 4);
	/* Whoever was told that it starts is told that it is over. */
	check_eq(tf.nr_events, 4 + 4);
	check_event(&tf, 4, TEST_START, 14, 18);
	check_notified(&tf, 6, TEST_END, &tc, 14, 18, MEMFILE_SHARED, MEMFILE_SHARED);

	tf.pages[15].pinned = false;
	test_convert_fails(&tf, 10, 20, MEMFILE_PRIVATE, -EAGAIN, 17);
	check_event(&tf, 0, TEST_START, 14, 18);
	check_query(&tf, 14, 20, MEMFILE_SHARED, 20);
	tf.pages[17].referenced = false;
	test_convert(&tf, 10, 20, MEMFILE_PRIVATE);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 10);
	check_query(&tf, 10, 20, MEMFILE_PRIVATE, 20);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

static void in_use_to_shared(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 10, 20);
	tf.pages[15].pinned = true;
	tf.pages[17].referenced = true;

	test_convert_fails(&tf, 10, 20, MEMFILE_SHARED, -EBUSY, 15);
	check_query(&tf, 10, 20, MEMFILE_SHARED, 14);
	check_query(&tf, 14, 20, MEMFILE_PRIVATE, 20);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 6);
	/* Nobody has heard of the second chunk. */
	check_eq(tf.nr_events, 5 + 2);
	check_event(&tf, 5, TEST_FIND_PINNED, 14, 18);
	check_event(&tf, 6, TEST_HOLD, 0, 0);

	/* References do not matter. */
	tf.pages[15].pinned = false;
	test_convert(&tf, 10, 20, MEMFILE_SHARED);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 0);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

static void no_memory(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 10, 20);

	shim_fail_nth = 1;
	test_convert_fails(&tf, 5, 50, MEMFILE_SHARED, -ENOMEM, 5);
	check_eq(tf.nr_events, 1);
	check_event(&tf, 0, TEST_HOLD, 0, 0);
	check_query(&tf, 0, 100, MEMFILE_PRIVATE, 100);

	shim_fail_nth = 2;
	test_convert_fails(&tf, 5, 50, MEMFILE_SHARED, -ENOMEM, 14);
	check_query(&tf, 5, 100, MEMFILE_SHARED, 14);
	check_query(&tf, 14, 100, MEMFILE_PRIVATE, 100);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 6);

	test_convert(&tf, 5, 50, MEMFILE_SHARED);
	check_query(&tf, 5, 100, MEMFILE_SHARED, 50);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

static void signals(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 10, 20);

	shim_signal = true;
	test_convert_fails(&tf, 5, 50, MEMFILE_SHARED, -EINTR, 5);
	check_eq(tf.nr_events, 0);

	/* A chunk that was begun is finished. */
	shim_signal = false;
	tf.signal_nth = 2;
	test_convert_fails(&tf, 5, 50, MEMFILE_SHARED, -EINTR, 18);
	check_query(&tf, 5, 100, MEMFILE_SHARED, 18);
	check_query(&tf, 18, 100, MEMFILE_PRIVATE, 100);
	check_eq(atomic_long_read(&tf.memfile.nr_private), 2);

	/* One that comes in the last chunk comes too late. */
	shim_signal = false;
	tf.signal_nth = 1;
	test_convert(&tf, 5, 50, MEMFILE_SHARED);
	check(shim_signal);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

/* Private pages leave the direct map last before the commit, and are back first. */
static void order_of_the_direct_map(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, MEMFILE_INIT_SHARED, 100);
	tf.memfile.absent = MEMFILE_PRIVATE;
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 11, 13);

	test_convert(&tf, 10, 20, MEMFILE_PRIVATE);
	check_eq(tf.nr_events, 5);
	check_notified(&tf, 0, TEST_START, &tc, 10, 20, MEMFILE_SHARED, MEMFILE_SHARED);
	check_event(&tf, 1, TEST_WITHDRAW, 10, 20);
	check_event(&tf, 2, TEST_REMOVE, 10, 20);
	check_notified(&tf, 3, TEST_END, &tc, 10, 20, MEMFILE_SHARED, MEMFILE_PRIVATE);
	test_check_direct_map(&tf);

	test_convert(&tf, 0, 15, MEMFILE_SHARED);
	check_eq(tf.nr_events, 6);
	check_event(&tf, 0, TEST_FIND_PINNED, 10, 15);
	check_event(&tf, 1, TEST_RESTORE, 10, 15);
	check_notified(&tf, 2, TEST_START, &tc, 10, 15, MEMFILE_PRIVATE, MEMFILE_PRIVATE);
	check_event(&tf, 3, TEST_TAKE_BACK, 10, 15);
	test_check_direct_map(&tf);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

/* What fails in the direct map has changed nothing, and is told to nobody for ever. */
static void no_memory_for_the_direct_map(void)
{
	struct test_consumer tc;
	struct test_file tf;

	test_file_init(&tf, MEMFILE_INIT_SHARED, 100);
	tf.memfile.absent = MEMFILE_PRIVATE;
	check_eq(test_register(&tf, &tc, &mmu_a, 0, 100), 0);
	test_add_pages(&tf, 10, 20);

	tf.fail_direct_map = 2;
	test_convert_fails(&tf, 5, 50, MEMFILE_PRIVATE, -ENOMEM, 14);
	check_eq(tc.start_call.nr, tc.end_call.nr);
	check_query(&tf, 5, 100, MEMFILE_PRIVATE, 14);
	check_query(&tf, 14, 100, MEMFILE_SHARED, 100);
	test_check_direct_map(&tf);

	test_convert(&tf, 5, 50, MEMFILE_PRIVATE);
	test_forget_calls(&tc);
	tf.fail_direct_map = 1;
	test_convert_fails(&tf, 5, 50, MEMFILE_SHARED, -ENOMEM, 5);
	check_eq(tc.start_call.nr, 0);
	check_query(&tf, 5, 100, MEMFILE_PRIVATE, 50);
	test_check_direct_map(&tf);

	memfile_unregister(&tc.consumer);
	test_file_exit(&tf);
}

/* Where shared pages are absent, too, a conversion has nothing to change. */
static void nothing_in_the_direct_map(void)
{
	struct test_file tf;

	test_file_init(&tf, MEMFILE_KEEP_CONTENT, 100);
	tf.memfile.absent = BOTH;
	test_add_pages(&tf, 10, 14);
	tf.fail_direct_map = 1;
	test_convert(&tf, 0, 12, MEMFILE_SHARED);
	test_convert(&tf, 0, 100, MEMFILE_PRIVATE);
	check_eq(tf.fail_direct_map, 1);
	test_check_direct_map(&tf);
	test_file_exit(&tf);
}

const struct test convert_tests[] = {
	{ "order_to_private", order_to_private },
	{ "order_to_shared", order_to_shared },
	{ "mixed_range", mixed_range },
	{ "consumers_are_clipped", consumers_are_clipped },
	{ "nothing_to_do", nothing_to_do },
	{ "neighbours_merge_in_private", neighbours_merge_in_private },
	{ "neighbours_merge_in_shared", neighbours_merge_in_shared },
	{ "alternate_in_private", alternate_in_private },
	{ "alternate_in_shared", alternate_in_shared },
	{ "trees_are_freed", trees_are_freed },
	{ "large_hole", large_hole },
	{ "ends_of_the_largest_private_file", ends_of_the_largest_private_file },
	{ "ends_of_the_largest_shared_file", ends_of_the_largest_shared_file },
	{ "query_runs", query_runs },
	{ "state_of_a_consumer", state_of_a_consumer },
	{ "chunks", chunks },
	{ "many_runs", many_runs },
	{ "for_guest", for_guest },
	{ "in_use_to_private", in_use_to_private },
	{ "in_use_to_shared", in_use_to_shared },
	{ "no_memory", no_memory },
	{ "signals", signals },
	{ "order_of_the_direct_map", order_of_the_direct_map },
	{ "no_memory_for_the_direct_map", no_memory_for_the_direct_map },
	{ "nothing_in_the_direct_map", nothing_in_the_direct_map },
	{ }
};
