// SPDX-License-Identifier: GPL-2.0
/*
 * Tests for mm/direct_map.c. What is and what is not in the direct map is read
 * from the kernel's page tables, not from what the code under test remembers.
 */

#include <kunit/test.h>
#include <linux/direct_map.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/set_memory.h>
#include <linux/sizes.h>
#include <linux/vmstat.h>

/*
 * Two blocks of the level above PTEs, so that a range can end inside of one. With
 * pages larger than 4K the allocator has only half of that.
 */
#define TEST_ORDER	MIN(PMD_ORDER + 1, MAX_PAGE_ORDER)
#define BLOCK		(1UL << (TEST_ORDER - 1))

/* A test that fails leaks pages rather than free one that is absent. */
static void free_test_pages(void *page)
{
	for (unsigned long i = 0; i < 2 * BLOCK; i++) {
		if (!kernel_page_present((struct page *)page + i))
			return;
	}
	__free_pages(page, TEST_ORDER);
}

static struct page *alloc_test_pages(struct kunit *test)
{
	struct page *page;

	if (!direct_map_can_remove())
		kunit_skip(test, "the direct map of this machine cannot be changed");

	page = alloc_pages(GFP_KERNEL | __GFP_ZERO, TEST_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, free_test_pages, page));
	return page;
}

/* Pages [@first, @first + @nr) of the test's are absent, and all others present. */
static void expect_absent(struct kunit *test, struct page *page, unsigned long first,
			  unsigned long nr)
{
	unsigned long wrong = 0;

	for (unsigned long i = 0; i < 2 * BLOCK; i++)
		wrong += kernel_page_present(page + i) == (i >= first && i < first + nr);
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "with [%lu, %lu) absent", first, first + nr);
}

static void remove_and_restore(struct kunit *test, unsigned long first, unsigned long nr)
{
	struct page *page = alloc_test_pages(test);
	unsigned long start = (unsigned long)page_address(page + first);
	struct direct_map_flush flush = {};
	long *last = page_address(page + first + nr) - sizeof(long);

	*last = 42;

	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page + first, nr, &flush));
	expect_absent(test, page, first, nr);
	KUNIT_EXPECT_EQ(test, flush.start, start);
	KUNIT_EXPECT_EQ(test, flush.end, start + nr * PAGE_SIZE);

	direct_map_flush(&flush);
	KUNIT_EXPECT_EQ(test, flush.end, 0);

	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + first, nr));
	expect_absent(test, page, 0, 0);
	KUNIT_EXPECT_EQ(test, *last, 42);
}

static void test_page(struct kunit *test)
{
	remove_and_restore(test, 3, 1);
}

static void test_run(struct kunit *test)
{
	remove_and_restore(test, 5, 7);
}

static void test_across_blocks(struct kunit *test)
{
	remove_and_restore(test, BLOCK - 2, 4);
}

static unsigned long nr_splits(void)
{
#if defined(CONFIG_X86) && defined(CONFIG_VM_EVENT_COUNTERS)
	static unsigned long events[NR_VM_EVENT_ITEMS];

	all_vm_events(events);
	return events[DIRECT_MAP_LEVEL2_SPLIT];
#else
	return 0;
#endif
}

/* Whole blocks leave and come back without a page table of their own. */
static void test_block(struct kunit *test)
{
	unsigned long before = nr_splits();

	remove_and_restore(test, BLOCK, BLOCK);
	remove_and_restore(test, 0, 2 * BLOCK);
	KUNIT_EXPECT_EQ(test, before, nr_splits());
}

/* A block that has left whole comes back in pieces. */
static void test_partial_restore(struct kunit *test)
{
	struct page *page = alloc_test_pages(test);
	struct direct_map_flush flush = {};

	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page, 2 * BLOCK, &flush));
	direct_map_flush(&flush);

	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page, 1));
	expect_absent(test, page, 1, 2 * BLOCK - 1);
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + 1, 9));
	expect_absent(test, page, 10, 2 * BLOCK - 10);
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + BLOCK + 5, BLOCK - 5));
	expect_absent(test, page, 10, BLOCK - 5);
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + 10, BLOCK - 5));
	expect_absent(test, page, 0, 0);
}

/* One flush is enough for all that was removed before it, in whatever order. */
static void test_flush_range(struct kunit *test)
{
	struct page *page = alloc_test_pages(test);
	unsigned long start = (unsigned long)page_address(page);
	struct direct_map_flush flush = {};

	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page + 20, 2, &flush));
	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page + 30, 1, &flush));
	KUNIT_EXPECT_EQ(test, flush.start, start + 20 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, flush.end, start + 31 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page + 10, 1, &flush));
	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page + 25, 1, &flush));
	KUNIT_EXPECT_EQ(test, flush.start, start + 10 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, flush.end, start + 31 * PAGE_SIZE);
	direct_map_flush(&flush);

	/* The next one begins anew. */
	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page + 40, 1, &flush));
	KUNIT_EXPECT_EQ(test, flush.start, start + 40 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, flush.end, start + 41 * PAGE_SIZE);
	direct_map_flush(&flush);

	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + 40, 1));
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + 25, 1));
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + 10, 1));
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + 30, 1));
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + 20, 2));
	expect_absent(test, page, 0, 0);
}

/* The direct map is incomplete from the first removed page to the last restored. */
static void test_incomplete(struct kunit *test)
{
	struct page *page = alloc_test_pages(test);
	struct direct_map_flush flush = {};

	if (direct_map_incomplete())
		kunit_skip(test, "somebody else has removed pages");

	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page, 4, &flush));
	KUNIT_EXPECT_TRUE(test, direct_map_incomplete());
	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page + BLOCK, 1, &flush));
	direct_map_flush(&flush);
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page, 4));
	KUNIT_EXPECT_TRUE(test, direct_map_incomplete());
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page + BLOCK, 1));
	KUNIT_EXPECT_FALSE(test, direct_map_incomplete());
}

/* The next allocation of this task fails; needs debugfs' fail_page_alloc. */
static void fail_next_alloc(void)
{
#ifdef CONFIG_FAULT_INJECTION
	current->fail_nth = 1;
#endif
}

static void fail_no_alloc(void)
{
#ifdef CONFIG_FAULT_INJECTION
	current->fail_nth = 0;
#endif
}

/*
 * The first block changes as it is, and the second one has to be split, which
 * fails: then the first one has to be as it was.
 */
static void test_no_memory(struct kunit *test)
{
	struct page *page = alloc_test_pages(test);
	struct direct_map_flush flush = {};
	unsigned long nr = BLOCK + 5;
	int err;

	/* Have what is above the blocks split before. */
	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page, 2 * BLOCK, &flush));
	direct_map_flush(&flush);
	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page, 2 * BLOCK));

	fail_next_alloc();
	err = direct_map_remove(page, nr, &flush);
	fail_no_alloc();
	if (!err) {
		direct_map_flush(&flush);
		KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page, nr));
		kunit_skip(test, "nothing had to be split, or no allocation fails");
	}
	KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	expect_absent(test, page, 0, 0);
	KUNIT_EXPECT_EQ(test, flush.end, 0);

	KUNIT_ASSERT_EQ(test, 0, direct_map_remove(page, 2 * BLOCK, &flush));
	direct_map_flush(&flush);
	fail_next_alloc();
	err = direct_map_restore(page, nr);
	fail_no_alloc();
	KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	expect_absent(test, page, 0, 2 * BLOCK);

	KUNIT_ASSERT_EQ(test, 0, direct_map_restore(page, 2 * BLOCK));
	expect_absent(test, page, 0, 0);
}

/* So much stays for whoever else needs memory meanwhile. */
#define FREE_RESERVE	(SZ_64M >> PAGE_SHIFT)

/*
 * Whoever frees a page has put it back before. This says it of all users of the
 * direct map since boot: it takes all free memory, without a look at the content,
 * and gives it back.
 */
static void test_free_memory(struct kunit *test)
{
	unsigned long absent = 0, nr = 0;
	struct page *page, *next;
	struct sysinfo info;
	LIST_HEAD(taken);

	for (int order = MAX_PAGE_ORDER; order >= 0; order--) {
		for (si_meminfo(&info); info.freeram > FREE_RESERVE; si_meminfo(&info)) {
			page = alloc_pages(__GFP_NOWARN, order);
			if (!page)
				break;
			set_page_private(page, order);
			list_add(&page->lru, &taken);
		}
	}

	list_for_each_entry_safe(page, next, &taken, lru) {
		int order = page_private(page);

		for (unsigned long i = 0; i < 1UL << order; i++)
			absent += !kernel_page_present(page + i);
		nr += 1UL << order;
		set_page_private(page, 0);
		__free_pages(page, order);
	}
	kunit_info(test, "looked at %lu free pages", nr);
	KUNIT_EXPECT_EQ(test, absent, 0);
}

/* Those that split blocks, which the allocator may hand out again, come last. */
static struct kunit_case direct_map_test_cases[] = {
	KUNIT_CASE(test_block),
	KUNIT_CASE(test_no_memory),
	KUNIT_CASE(test_page),
	KUNIT_CASE(test_run),
	KUNIT_CASE(test_across_blocks),
	KUNIT_CASE(test_partial_restore),
	KUNIT_CASE(test_flush_range),
	KUNIT_CASE(test_incomplete),
	KUNIT_CASE(test_free_memory),
	{}
};

static struct kunit_suite direct_map_test_suite = {
	.name = "direct_map",
	.test_cases = direct_map_test_cases,
};
kunit_test_suite(direct_map_test_suite);

MODULE_DESCRIPTION("Tests for taking pages out of the direct map");
MODULE_LICENSE("GPL");
