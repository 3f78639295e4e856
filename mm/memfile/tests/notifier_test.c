// SPDX-License-Identifier: GPL-2.0
/* Registration, and which consumer is told what, in which order. */
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "mock.h"

#define BATCH	512UL
#define BOTH	(MEMFILE_SHARED | MEMFILE_PRIVATE)

static int mmu_a, mmu_b;

static void register_bad_range(struct kunit *test)
{
	static const struct {
		pgoff_t start;
		unsigned long nr;
	} bad[] = {
		{ 0, 0 }, { 5, 0 }, { 0, 11 }, { 9, 2 }, { 10, 1 }, { 5000, 1 },
		{ 1, ULONG_MAX }, { ULONG_MAX, 1 }, { ULONG_MAX, 2 },
		{ ULONG_MAX - 4, 10 }, { 5, ULONG_MAX - 4 },
	};
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *mc = mock_consumer(test, &mmu_a);
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    memfile_register(mf->file, &mc->consumer,
						     bad[i].start, bad[i].nr),
				    "[%#lx, +%#lx)", bad[i].start, bad[i].nr);
		KUNIT_EXPECT_NULL(test, mc->consumer.inode);
		mock_unregister(mc);
	}
	KUNIT_EXPECT_EQ(test, 0, memfile_register(mf->file, &mc->consumer, 9, 1));
}

static void register_other_file(struct kunit *test)
{
	struct mock_consumer *mc = mock_consumer(test, &mmu_a);
	struct file *file = mock_other_file(test);

	KUNIT_EXPECT_EQ(test, -EINVAL, memfile_register(file, &mc->consumer, 0, 1));
	KUNIT_EXPECT_NULL(test, mc->consumer.inode);
}

static void register_overlap(struct kunit *test)
{
	static const struct {
		pgoff_t start;
		unsigned long nr;
	} overlapping[] = {
		{ 10, 10 }, { 9, 2 }, { 19, 1 }, { 19, 5 }, { 0, 30 }, { 12, 3 },
	};
	struct mock_file *mf = mock_create(test, 30, 0);
	struct mock_consumer *mc = mock_consumer(test, &mmu_a);
	struct mock_consumer *other = mock_consumer(test, &mmu_b);
	int i;

	mock_register(test, mf, &mmu_a, 10, 10);
	for (i = 0; i < ARRAY_SIZE(overlapping); i++) {
		pgoff_t start = overlapping[i].start;
		unsigned long nr = overlapping[i].nr;

		KUNIT_EXPECT_EQ(test, -EEXIST,
				memfile_register(mf->file, &mc->consumer, start, nr));
		KUNIT_EXPECT_NULL(test, mc->consumer.inode);
		mock_unregister(mc);
		KUNIT_EXPECT_EQ(test, 0,
				memfile_register(mf->file, &other->consumer, start, nr));
		mock_unregister(other);
	}
	/* Next to it is not over it. */
	mock_register(test, mf, &mmu_a, 0, 10);
	mock_register(test, mf, &mmu_a, 20, 10);
}

static void expect_event_in(struct kunit *test, unsigned int i,
			    enum mock_event_type type,
			    struct mock_consumer *consumer, unsigned int states)
{
	const struct mock_event *event = &mock_log.events[i];

	MOCK_EXPECT(test, i, type, consumer, 10, 20);
	KUNIT_EXPECT_EQ(test, event->states, states);
	KUNIT_EXPECT_TRUE(test, event->exclusive);
}

/* start; the pages go; end.  Private ones go through the owner's hands. */
static void punch_order(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 30, 0);
	struct mock_consumer *a = mock_register(test, mf, &mmu_a, 0, 30);
	struct mock_consumer *b = mock_register(test, mf, &mmu_b, 0, 30);
	int i;

	mock_allocate(test, mf, 0, 30);
	mock_log_clear();
	mock_punch(test, mf, 10, 10);

	KUNIT_EXPECT_EQ(test, mock_log.nr, 2 + 10 + 2);
	/* Nothing says which of the two comes first. */
	if (mock_log.events[0].consumer == b)
		swap(a, b);
	expect_event_in(test, 0, MOCK_START, a, MEMFILE_PRIVATE);
	expect_event_in(test, 1, MOCK_START, b, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, mock_log.events[0].nr_pages, 30);
	KUNIT_EXPECT_EQ(test, mock_log.events[1].nr_pages, 30);
	for (i = 2; i < 12; i++) {
		KUNIT_EXPECT_EQ(test, mock_log.events[i].type, MOCK_RECLAIM);
		/* Of one page, under the folio lock. */
		KUNIT_EXPECT_EQ(test, mock_log.events[i].end, 1);
		KUNIT_EXPECT_TRUE(test, mock_log.events[i].locked);
	}
	if (mock_log.events[12].consumer == b)
		swap(a, b);
	expect_event_in(test, 12, MOCK_END, a, MEMFILE_PRIVATE);
	expect_event_in(test, 13, MOCK_END, b, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, mock_log.events[12].nr_pages, 20);
	KUNIT_EXPECT_EQ(test, a->balance, 0);
	KUNIT_EXPECT_EQ(test, b->balance, 0);
}

static void punch_clips(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 30, 0);
	struct mock_consumer *low = mock_register(test, mf, &mmu_a, 5, 10);
	struct mock_consumer *high = mock_register(test, mf, &mmu_a, 15, 10);
	struct mock_consumer *none = mock_register(test, mf, &mmu_b, 20, 10);

	mock_allocate(test, mf, 0, 30);
	mock_log_clear();
	mock_punch(test, mf, 0, 20);

	KUNIT_EXPECT_EQ(test, mock_log.nr, 2 + 20 + 2);
	MOCK_EXPECT(test, 0, MOCK_START, low, 5, 15);
	MOCK_EXPECT(test, 1, MOCK_START, high, 15, 20);
	MOCK_EXPECT(test, 22, MOCK_END, low, 5, 15);
	MOCK_EXPECT(test, 23, MOCK_END, high, 15, 20);
	KUNIT_EXPECT_EQ(test, low->balance, 0);
	KUNIT_EXPECT_EQ(test, high->balance, 0);

	/* The last page alone. */
	mock_log_clear();
	mock_punch(test, mf, 29, 1);
	MOCK_EXPECT(test, 0, MOCK_START, none, 29, 30);
	MOCK_EXPECT(test, 2, MOCK_END, none, 29, 30);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 3);
}

static void punch_of_holes_is_silent(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10000, 0);

	mock_register(test, mf, &mmu_a, 0, 10000);
	mock_punch(test, mf, 0, 10000);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);

	mock_allocate(test, mf, 5000, 1);
	mock_log_clear();
	mock_punch(test, mf, 0, 5000);
	mock_punch(test, mf, 5001, 4999);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 1);
}

/* In a shared file there is nothing for the owner to take back. */
static void punch_batches(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3 * BATCH, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu_a, 0, 3 * BATCH);
	unsigned long nr = 2 * BATCH + 7;
	int i;

	mock_allocate(test, mf, 0, nr);
	mock_log_clear();
	mock_punch(test, mf, 0, 3 * BATCH);

	KUNIT_EXPECT_EQ(test, mock_log.nr, 6);
	for (i = 0; i < 4; i += 2) {
		MOCK_EXPECT(test, i, MOCK_START, mc, i / 2 * BATCH, (i / 2 + 1) * BATCH);
		MOCK_EXPECT(test, i + 1, MOCK_END, mc, i / 2 * BATCH, (i / 2 + 1) * BATCH);
		KUNIT_EXPECT_EQ(test, mock_log.events[i + 1].nr_pages,
				nr - (i / 2 + 1) * BATCH);
	}
	MOCK_EXPECT(test, 4, MOCK_START, mc, 2 * BATCH, 3 * BATCH);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), BATCH);
}

/* It is pages that take time, not offsets. */
static void punch_batches_sparse(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3 * BATCH, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu_a, 0, 3 * BATCH);
	unsigned long i;

	for (i = 0; i <= BATCH; i++)
		mock_allocate(test, mf, i * 2, 1);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), 1);

	mock_log_clear();
	mock_punch(test, mf, 0, 3 * BATCH);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 4);
	MOCK_EXPECT(test, 0, MOCK_START, mc, 0, 2 * BATCH - 1);
	MOCK_EXPECT(test, 2, MOCK_START, mc, 2 * BATCH - 1, 3 * BATCH);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), BATCH);
}

static void allocate_batches(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3 * BATCH, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu_a, 3, 2 * BATCH);

	mock_allocate(test, mf, 1, 2 * BATCH + 8);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 3);
	MOCK_EXPECT(test, 0, MOCK_ALLOCATED, mc, 3, 1 + BATCH);
	MOCK_EXPECT(test, 1, MOCK_ALLOCATED, mc, 1 + BATCH, 1 + 2 * BATCH);
	MOCK_EXPECT(test, 2, MOCK_ALLOCATED, mc, 1 + 2 * BATCH, 3 + 2 * BATCH);
	KUNIT_EXPECT_TRUE(test, mock_log.events[0].held);
	KUNIT_EXPECT_FALSE(test, mock_log.events[0].exclusive);
	KUNIT_EXPECT_EQ(test, mock_log.events[0].nr_pages, BATCH);
	KUNIT_EXPECT_EQ(test, mock_log.events[1].nr_pages, 2 * BATCH);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), BATCH);

	/* Not called for what is somebody else's. */
	mock_log_clear();
	mock_allocate(test, mf, 0, 3);
	mock_allocate(test, mf, 3 + 2 * BATCH, 5);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
}

/* What is said about states holds for all of the invalidation. */
static void states_of_invalidation(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 30, 0);
	struct mock_consumer *low, *high, *all;

	mock_convert(test, mf, 10, 5, MEMFILE_SHARED);
	low = mock_register(test, mf, &mmu_a, 5, 10);
	high = mock_register(test, mf, &mmu_a, 15, 10);
	all = mock_register(test, mf, &mmu_b, 0, 30);
	mock_allocate(test, mf, 0, 30);

	mock_log_clear();
	mock_punch(test, mf, 12, 8);
	/* Of the eight pages five were private. */
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 5);
	KUNIT_EXPECT_EQ(test, low->inv.states, BOTH);
	KUNIT_EXPECT_EQ(test, high->inv.states, BOTH);
	KUNIT_EXPECT_EQ(test, all->inv.states, BOTH);

	mock_punch(test, mf, 10, 5);
	KUNIT_EXPECT_EQ(test, low->inv.states, MEMFILE_SHARED);
	KUNIT_EXPECT_EQ(test, all->inv.states, MEMFILE_SHARED);
	mock_punch(test, mf, 20, 10);
	KUNIT_EXPECT_EQ(test, high->inv.states, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, all->inv.states, MEMFILE_PRIVATE);
}

static void unregistered_hear_nothing(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *gone = mock_register(test, mf, &mmu_a, 0, 10);
	struct mock_consumer *stays = mock_register(test, mf, &mmu_b, 0, 10);

	mock_unregister(gone);
	KUNIT_EXPECT_NULL(test, gone->consumer.inode);
	mock_allocate(test, mf, 0, 10);
	mock_punch(test, mf, 0, 10);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_ALLOCATED, gone), 0);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, gone), 0);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_END, gone), 0);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, stays), 1);

	/* It may come back, for another range. */
	KUNIT_EXPECT_EQ(test, 0, memfile_register(mf->file, &gone->consumer, 3, 4));
	mock_allocate(test, mf, 0, 10);
	mock_log_clear();
	mock_punch(test, mf, 0, 10);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, gone), 1);
	KUNIT_EXPECT_EQ(test, gone->inv.start, 3);
	KUNIT_EXPECT_EQ(test, gone->inv.end, 7);
	KUNIT_EXPECT_EQ(test, gone->balance, 0);
}

/* The copy hears what the original would have, and both may look pages up. */
static void transfer(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 30, 0);
	struct mock_consumer *from = mock_register(test, mf, &mmu_a, 10, 10);
	struct mock_consumer *to = mock_consumer(test, &mmu_a);
	struct mock_consumer *third = mock_consumer(test, &mmu_a);
	struct memfile_pfn mp1, mp2;

	mock_allocate(test, mf, 0, 30);
	memfile_transfer(&from->consumer, &to->consumer);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-consumers"), 1);
	KUNIT_EXPECT_EQ(test, -EEXIST,
			memfile_register(mf->file, &third->consumer, 19, 1));

	KUNIT_EXPECT_EQ(test, 0, memfile_lookup_pfn(&from->consumer, 12, &mp1));
	KUNIT_EXPECT_EQ(test, 0, memfile_lookup_pfn(&to->consumer, 12, &mp2));
	KUNIT_EXPECT_EQ(test, mp1.pfn, mp2.pfn);
	KUNIT_EXPECT_EQ(test, -EINVAL, memfile_lookup_pfn(&to->consumer, 20, &mp2));

	mock_log_clear();
	mock_punch(test, mf, 0, 30);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, from), 0);
	MOCK_EXPECT(test, 0, MOCK_START, to, 10, 20);
	KUNIT_EXPECT_EQ(test, to->balance, 0);

	/* There is one registration to end. */
	from->consumer.inode = NULL;
	mock_unregister(to);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-consumers"), 0);
	KUNIT_EXPECT_EQ(test, 0, memfile_register(mf->file, &third->consumer, 0, 30));
}

/* Populate first, bind later. */
static void late_registration(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *first, *late;
	struct memfile_pfn mp1, mp2;

	mock_allocate(test, mf, 0, 10);
	first = mock_register(test, mf, &mmu_a, 0, 10);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&first->consumer, 7, &mp1));
	mock_fill(mp1.page, 0x77);
	memfile_put_pfn(&mp1);
	mock_unregister(first);

	late = mock_register(test, mf, &mmu_b, 5, 5);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&late->consumer, 7, &mp2));
	KUNIT_EXPECT_EQ(test, mp1.pfn, mp2.pfn);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(mp2.page, 0x77));
	memfile_put_pfn(&mp2);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 10);

	mock_log_clear();
	mock_punch(test, mf, 0, 10);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, first), 0);
	MOCK_EXPECT(test, 0, MOCK_START, late, 5, 10);
}

#ifdef CONFIG_MEMORY_FAILURE
/*
 * The folio is locked, so invalidate_lock is out of reach: lockdep is the one
 * who finds out about that.
 */
static void memory_failure_notifies(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *a = mock_register(test, mf, &mmu_a, 0, 10);
	struct mock_consumer *b = mock_register(test, mf, &mmu_b, 4, 1);
	struct mock_consumer *none = mock_register(test, mf, &mmu_b, 5, 5);
	struct memfile_pfn mp;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&a->consumer, 4, &mp));
	memfile_put_pfn(&mp);
	mock_log_clear();

	/* It does not say that it took the page away, for it did not. */
	KUNIT_EXPECT_NE(test, 0, memory_failure(mp.pfn, MF_SW_SIMULATED));
	KUNIT_EXPECT_EQ(test, mock_log.nr, 4);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, mock_log.events[i].type,
				i < 2 ? MOCK_START : MOCK_END);
		KUNIT_EXPECT_EQ(test, mock_log.events[i].start, 4);
		KUNIT_EXPECT_EQ(test, mock_log.events[i].end, 5);
		/* Nothing keeps the state from changing meanwhile. */
		KUNIT_EXPECT_EQ(test, mock_log.events[i].states, BOTH);
		KUNIT_EXPECT_FALSE(test, mock_log.events[i].held);
	}
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, none), 0);
	KUNIT_EXPECT_EQ(test, a->balance, 0);
	KUNIT_EXPECT_EQ(test, b->balance, 0);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 1);

	mock_punch(test, mf, 0, 10);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
	mock_unpoison(mp.pfn);
}
#endif

static struct kunit_case notifier_cases[] = {
	KUNIT_CASE(register_bad_range),
	KUNIT_CASE(register_other_file),
	KUNIT_CASE(register_overlap),
	KUNIT_CASE(punch_order),
	KUNIT_CASE(punch_clips),
	KUNIT_CASE(punch_of_holes_is_silent),
	KUNIT_CASE(punch_batches),
	KUNIT_CASE(punch_batches_sparse),
	KUNIT_CASE(allocate_batches),
	KUNIT_CASE(states_of_invalidation),
	KUNIT_CASE(unregistered_hear_nothing),
	KUNIT_CASE(transfer),
	KUNIT_CASE(late_registration),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(memory_failure_notifies),
#endif
	{}
};

static struct kunit_suite notifier_suite = {
	.name = "memfile_notifier",
	.init = mock_init,
	.test_cases = notifier_cases,
};

kunit_test_suite(notifier_suite);
