// SPDX-License-Identifier: GPL-2.0
/* Conversion: what becomes of pages, of mappings, and of those who are told. */
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include <kunit/static_stub.h>

#include "../internal.h"
#include "mock.h"

#define BATCH	512UL
#define BOTH	(MEMFILE_SHARED | MEMFILE_PRIVATE)

static int mmu, mmu_b;

static void expect_state(struct kunit *test, struct mock_file *mf, pgoff_t start,
			 unsigned long nr, enum memfile_state state)
{
	pgoff_t index, next, end = start + nr;
	enum memfile_state found;

	for (index = start; index < end; index = next) {
		next = memfile_query(mf->file, index, end, &found);
		KUNIT_EXPECT_EQ_MSG(test, found, state, "at %#lx", index);
	}
}

static void expect_error(struct kunit *test, struct mock_file *mf, pgoff_t start,
			 unsigned long nr, enum memfile_state to, int err,
			 pgoff_t where)
{
	pgoff_t at = ULONG_MAX;

	KUNIT_EXPECT_EQ(test, err,
			memfile_convert(mf->file, start, start + nr, to, &at));
	KUNIT_EXPECT_EQ(test, at, where);
}

static void expect_pages(struct kunit *test, struct mock_file *mf,
			 unsigned long shared, unsigned long private)
{
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), shared + private);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-shared"),
			shared * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"),
			private * PAGE_SIZE);
}

static void expect_notified(struct kunit *test, unsigned int i,
			    enum mock_event_type type, struct mock_consumer *mc,
			    pgoff_t start, pgoff_t end, unsigned int states)
{
	MOCK_EXPECT(test, i, type, mc, start, end);
	KUNIT_EXPECT_EQ(test, mock_log.events[i].states, states);
	KUNIT_EXPECT_TRUE(test, mock_log.events[i].exclusive);
}

/* Without a reference to the page, which would be in the way. */
static struct page *look_up(struct kunit *test, struct mock_consumer *mc,
			    pgoff_t index, enum memfile_state state)
{
	struct memfile_pfn mp;

	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, index, &mp));
	KUNIT_EXPECT_EQ(test, mp.state, state);
	return mp.page;
}

static void order_to_private(struct kunit *test)
{
	static const unsigned int flags[] = { 0, MEMFILE_INIT_SHARED };
	int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct mock_file *mf = mock_create(test, 30, flags[i]);
		struct mock_consumer *mc;

		mock_convert(test, mf, 0, 30, MEMFILE_SHARED);
		mock_allocate(test, mf, 12, 3);
		mc = mock_register(test, mf, &mmu, 0, 30);
		expect_pages(test, mf, 3, 0);

		mock_log_clear();
		mock_convert(test, mf, 10, 10, MEMFILE_PRIVATE);
		KUNIT_EXPECT_EQ(test, mock_log.nr, 2);
		expect_notified(test, 0, MOCK_START, mc, 10, 20, MEMFILE_SHARED);
		expect_notified(test, 1, MOCK_END, mc, 10, 20, MEMFILE_SHARED);
		KUNIT_EXPECT_EQ(test, mock_log.events[0].nr_pages, 3);
		KUNIT_EXPECT_EQ(test, mock_log.events[1].nr_pages, 3);
		KUNIT_EXPECT_EQ(test, mock_log.events[0].state, MEMFILE_SHARED);
		KUNIT_EXPECT_EQ(test, mock_log.events[1].state, MEMFILE_PRIVATE);
		KUNIT_EXPECT_EQ(test, mc->balance, 0);
		expect_pages(test, mf, 0, 3);
		expect_state(test, mf, 0, 10, MEMFILE_SHARED);
		expect_state(test, mf, 10, 10, MEMFILE_PRIVATE);
		expect_state(test, mf, 20, 10, MEMFILE_SHARED);
	}
}

static void order_to_shared(struct kunit *test)
{
	static const unsigned int flags[] = { 0, MEMFILE_INIT_SHARED };
	int i, j;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct mock_file *mf = mock_create(test, 30, flags[i]);
		struct mock_consumer *mc;

		mock_convert(test, mf, 0, 30, MEMFILE_PRIVATE);
		mock_allocate(test, mf, 12, 3);
		mc = mock_register(test, mf, &mmu, 0, 30);
		expect_pages(test, mf, 0, 3);

		mock_log_clear();
		mock_convert(test, mf, 10, 10, MEMFILE_SHARED);
		KUNIT_EXPECT_EQ(test, mock_log.nr, 5);
		expect_notified(test, 0, MOCK_START, mc, 10, 20, MEMFILE_PRIVATE);
		for (j = 1; j < 4; j++) {
			KUNIT_EXPECT_EQ(test, mock_log.events[j].type, MOCK_RECLAIM);
			/* One page, under the folio lock. */
			KUNIT_EXPECT_EQ(test, mock_log.events[j].end, 1);
			KUNIT_EXPECT_TRUE(test, mock_log.events[j].locked);
		}
		KUNIT_EXPECT_NE(test, mock_log.events[1].pfn, mock_log.events[2].pfn);
		KUNIT_EXPECT_NE(test, mock_log.events[2].pfn, mock_log.events[3].pfn);
		expect_notified(test, 4, MOCK_END, mc, 10, 20, MEMFILE_PRIVATE);
		KUNIT_EXPECT_EQ(test, mock_log.events[4].nr_pages, 3);
		KUNIT_EXPECT_EQ(test, mock_log.events[0].state, MEMFILE_PRIVATE);
		KUNIT_EXPECT_EQ(test, mock_log.events[4].state, MEMFILE_SHARED);
		KUNIT_EXPECT_EQ(test, mc->balance, 0);
		expect_pages(test, mf, 3, 0);
		expect_state(test, mf, 0, 10, MEMFILE_PRIVATE);
		expect_state(test, mf, 10, 10, MEMFILE_SHARED);
		expect_state(test, mf, 20, 10, MEMFILE_PRIVATE);
	}
}

static void consumers_are_clipped(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 40, MEMFILE_INIT_SHARED);
	struct mock_consumer *low = mock_register(test, mf, &mmu, 5, 10);
	struct mock_consumer *high = mock_register(test, mf, &mmu, 15, 10);
	struct mock_consumer *none = mock_register(test, mf, &mmu_b, 20, 20);

	mock_convert(test, mf, 0, 20, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 4);
	expect_notified(test, 0, MOCK_START, low, 5, 15, MEMFILE_SHARED);
	expect_notified(test, 1, MOCK_START, high, 15, 20, MEMFILE_SHARED);
	expect_notified(test, 2, MOCK_END, low, 5, 15, MEMFILE_SHARED);
	expect_notified(test, 3, MOCK_END, high, 15, 20, MEMFILE_SHARED);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, none), 0);

	KUNIT_EXPECT_EQ(test, memfile_state(&low->consumer, 5), MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, memfile_state(&high->consumer, 20), MEMFILE_SHARED);
	mock_unregister(high);
	KUNIT_EXPECT_EQ(test, memfile_state(&high->consumer, 20), MEMFILE_PRIVATE);
}

/* Only the pages that change are touched, and everybody else's are not. */
static void mixed_range(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 30, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 30);
	pgoff_t i;

	mock_convert(test, mf, 5, 10, MEMFILE_SHARED);
	for (i = 0; i < 30; i++)
		mock_fill(look_up(test, mc, i, i >= 5 && i < 15 ?
				  MEMFILE_SHARED : MEMFILE_PRIVATE), i + 1);
	expect_pages(test, mf, 10, 20);

	/* Private are the first five pages, and the last three. */
	mock_log_clear();
	mock_convert(test, mf, 0, 18, MEMFILE_SHARED);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 8);
	expect_notified(test, 0, MOCK_START, mc, 0, 18, MEMFILE_PRIVATE);
	expect_pages(test, mf, 18, 12);
	for (i = 0; i < 30; i++) {
		bool private = i >= 18, zeroed = i < 5 || (i >= 15 && i < 18);

		KUNIT_EXPECT_TRUE(test,
				  mock_is_filled(look_up(test, mc, i, private ?
							 MEMFILE_PRIVATE : MEMFILE_SHARED),
						 zeroed ? 0 : i + 1));
	}

	mock_convert(test, mf, 10, 20, MEMFILE_PRIVATE);
	expect_pages(test, mf, 10, 20);
	expect_state(test, mf, 0, 10, MEMFILE_SHARED);
	expect_state(test, mf, 10, 20, MEMFILE_PRIVATE);
}

static void nothing_to_do(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 30, 0);

	mock_register(test, mf, &mmu, 0, 30);
	mock_allocate(test, mf, 0, 30);
	mock_convert(test, mf, 10, 10, MEMFILE_SHARED);
	mock_log_clear();
	mock_convert(test, mf, 0, 10, MEMFILE_PRIVATE);
	mock_convert(test, mf, 10, 10, MEMFILE_SHARED);
	mock_convert(test, mf, 20, 10, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
	expect_pages(test, mf, 10, 20);
}

/* They change their state, and stay holes. */
static void holes(struct kunit *test)
{
	unsigned long nr_pages = LLONG_MAX >> PAGE_SHIFT;
	struct mock_file *mf = mock_create(test, nr_pages, MEMFILE_MMAP);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, nr_pages);
	void __user *addr = mock_mmap(test, mf, 4);
	u8 byte;

	mock_convert(test, mf, 0, nr_pages, MEMFILE_SHARED);
	/* In one go. */
	KUNIT_EXPECT_EQ(test, mock_log.nr, 2);
	expect_notified(test, 0, MOCK_START, mc, 0, nr_pages, MEMFILE_PRIVATE);
	expect_pages(test, mf, 0, 0);
	expect_state(test, mf, 0, nr_pages, MEMFILE_SHARED);
	look_up(test, mc, 1, MEMFILE_SHARED);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 2, &byte));
	expect_pages(test, mf, 2, 0);

	mock_convert(test, mf, 3, 1, MEMFILE_PRIVATE);
	mock_convert(test, mf, nr_pages - 1, 1, MEMFILE_PRIVATE);
	expect_pages(test, mf, 2, 0);
	KUNIT_EXPECT_FALSE(test, mock_can_read(addr, 3, &byte));
	look_up(test, mc, 3, MEMFILE_PRIVATE);
	look_up(test, mc, nr_pages - 1, MEMFILE_PRIVATE);
	look_up(test, mc, nr_pages - 2, MEMFILE_SHARED);
	expect_pages(test, mf, 3, 2);
}

/* Content */

static void content_is_kept(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 8, MEMFILE_KEEP_CONTENT);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 8);
	struct page *page = look_up(test, mc, 3, MEMFILE_PRIVATE);

	mock_fill(page, 0x11);
	mock_log_clear();
	mock_log.reclaim_keeps = true;
	mock_convert(test, mf, 0, 8, MEMFILE_SHARED);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 1);
	KUNIT_EXPECT_EQ(test, mock_log.events[1].pfn, page_to_pfn(page));
	KUNIT_EXPECT_PTR_EQ(test, page, look_up(test, mc, 3, MEMFILE_SHARED));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x11));
	mock_convert(test, mf, 0, 8, MEMFILE_PRIVATE);
	KUNIT_EXPECT_PTR_EQ(test, page, look_up(test, mc, 3, MEMFILE_PRIVATE));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x11));

	/* What hardware makes of the page is its content. */
	mock_log.reclaim_keeps = false;
	mock_convert(test, mf, 0, 8, MEMFILE_SHARED);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x5a));
}

static void content_is_zeroed(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 8, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 8);
	struct page *page = look_up(test, mc, 3, MEMFILE_SHARED);

	mock_fill(page, 0x11);
	mock_convert(test, mf, 0, 8, MEMFILE_PRIVATE);
	KUNIT_EXPECT_PTR_EQ(test, page, look_up(test, mc, 3, MEMFILE_PRIVATE));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x11));
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 0);

	mock_fill(page, 0x22);
	mock_log_clear();
	mock_convert(test, mf, 0, 8, MEMFILE_SHARED);
	/* Nobody has touched it before it was taken back. */
	KUNIT_EXPECT_EQ(test, mock_log.events[1].type, MOCK_RECLAIM);
	KUNIT_EXPECT_EQ(test, mock_log.events[1].content, 0x22);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0));

	/* Also where it takes nothing to take it back. */
	mock_convert(test, mf, 0, 8, MEMFILE_PRIVATE);
	mock_fill(page, 0x33);
	mock_log.reclaim_keeps = true;
	mock_convert(test, mf, 0, 8, MEMFILE_SHARED);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0));
}

static int fill_half(unsigned long pfn, void *arg)
{
	mock_fill(pfn_to_page(pfn), 0x33);
	return -ENXIO;
}

/* A page that nobody has filled has no content that could be kept. */
static void no_content_is_kept(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 8, MEMFILE_KEEP_CONTENT | MEMFILE_MMAP);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 8);
	void __user *addr = mock_mmap(test, mf, 8);
	u8 byte;

	mock_log.reclaim_keeps = true;
	mock_dirty_free_pages(test, 256);
	mock_allocate(test, mf, 0, 2);
	KUNIT_EXPECT_EQ(test, -ENXIO,
			memfile_populate(&mc->consumer, 2, fill_half, NULL));
	mock_convert(test, mf, 0, 8, MEMFILE_SHARED);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 0, &byte));
	KUNIT_EXPECT_EQ(test, byte, 0);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 2, &byte));
	KUNIT_EXPECT_EQ(test, byte, 0);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(look_up(test, mc, 1, MEMFILE_SHARED), 0));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(look_up(test, mc, 2, MEMFILE_SHARED), 0));
}

/* What is not given back leaves a hole, which is shared like the rest. */
static void reclaim_fails(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 8, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 8);
	struct page *page = look_up(test, mc, 3, MEMFILE_PRIVATE), *next;

	/* To free a page empties the CPU's list of new ones: see mock_init(). */
	mock_allocate(test, mf, 7, 1);
	mock_punch(test, mf, 7, 1);
	mock_fill(page, 0x77);
	get_page(page);
	expect_pages(test, mf, 0, 1);
	mock_log_clear();
	mock_log.reclaim_err = -EIO;
	mock_convert(test, mf, 0, 8, MEMFILE_SHARED);
	mock_log.reclaim_err = 0;

	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 1);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);
	expect_pages(test, mf, 0, 0);
	expect_state(test, mf, 0, 8, MEMFILE_SHARED);
	/* Not touched, not in the file, and nobody will put the reference. */
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x77));
	KUNIT_EXPECT_FALSE(test, PageLocked(page));
	KUNIT_EXPECT_NULL(test, page_folio(page)->mapping);
	KUNIT_EXPECT_EQ(test, 2, page_count(page));

	next = look_up(test, mc, 3, MEMFILE_SHARED);
	KUNIT_EXPECT_PTR_NE(test, next, page);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(next, 0));
	expect_pages(test, mf, 1, 0);

	put_page(page);
}

/* Host mappings */

static void host_mapping(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 4, MEMFILE_MMAP | MEMFILE_INIT_SHARED |
					   MEMFILE_KEEP_CONTENT);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 4);
	void __user *addr = mock_mmap(test, mf, 4);
	struct page *page;
	u8 byte;

	mock_log.reclaim_keeps = true;
	KUNIT_EXPECT_TRUE(test, mock_can_write(addr, 1, 0x11));
	KUNIT_EXPECT_TRUE(test, mock_can_write(addr, 2, 0x22));
	page = look_up(test, mc, 1, MEMFILE_SHARED);
	KUNIT_EXPECT_TRUE(test, folio_mapped(page_folio(page)));

	mock_convert(test, mf, 1, 1, MEMFILE_PRIVATE);
	KUNIT_EXPECT_FALSE(test, folio_mapped(page_folio(page)));
	KUNIT_EXPECT_FALSE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_FALSE(test, mock_can_write(addr, 1, 1));
	KUNIT_EXPECT_FALSE(test, folio_mapped(page_folio(page)));
	KUNIT_EXPECT_PTR_EQ(test, page, look_up(test, mc, 1, MEMFILE_PRIVATE));
	/* The neighbour has not even lost its mapping. */
	KUNIT_EXPECT_TRUE(test,
			  folio_mapped(page_folio(look_up(test, mc, 2, MEMFILE_SHARED))));

	mock_convert(test, mf, 1, 1, MEMFILE_SHARED);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_EQ(test, byte, 0x11);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 2, &byte));
	KUNIT_EXPECT_EQ(test, byte, 0x22);
	expect_pages(test, mf, 2, 0);
}

static void host_pin(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 4, MEMFILE_MMAP | MEMFILE_INIT_SHARED);
	void __user *addr = mock_mmap(test, mf, 4);
	unsigned long start = (unsigned long)addr + PAGE_SIZE;
	struct page *page;
	u8 byte;

	KUNIT_ASSERT_EQ(test, 1, pin_user_pages_fast(start, 1, FOLL_WRITE, &page));
	expect_error(test, mf, 0, 4, MEMFILE_PRIVATE, -EBUSY, 1);
	/* No more than a page fault for those who use it. */
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 1, &byte));
	unpin_user_page(page);

	KUNIT_ASSERT_EQ(test, 1, get_user_pages_fast(start, 1, FOLL_WRITE, &page));
	expect_error(test, mf, 0, 4, MEMFILE_PRIVATE, -EAGAIN, 1);
	put_page(page);
	mock_convert(test, mf, 0, 4, MEMFILE_PRIVATE);
	KUNIT_EXPECT_LT(test, get_user_pages_fast(start, 1, FOLL_WRITE, &page), 0);
}

/* Pins and other references */

static void pin_to_private(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);
	struct memfile_pfn mp;

	mock_allocate(test, mf, 0, 10);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 7, &mp));
	mock_log_clear();
	expect_error(test, mf, 2, 8, MEMFILE_PRIVATE, -EBUSY, 7);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 2);
	expect_notified(test, 0, MOCK_START, mc, 2, 10, MEMFILE_SHARED);
	expect_notified(test, 1, MOCK_END, mc, 2, 10, MEMFILE_SHARED);
	expect_state(test, mf, 0, 10, MEMFILE_SHARED);
	expect_pages(test, mf, 10, 0);
	/* It is in nobody else's way. */
	mock_convert(test, mf, 8, 2, MEMFILE_PRIVATE);

	memfile_put_pfn(&mp);
	mock_convert(test, mf, 2, 8, MEMFILE_PRIVATE);
	expect_pages(test, mf, 2, 8);
}

static void pin_to_shared(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);
	struct memfile_pfn mp;
	pgoff_t i;

	for (i = 0; i < 10; i++)
		mock_fill(look_up(test, mc, i, MEMFILE_PRIVATE), i + 1);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 7, &mp));
	mock_log_clear();
	expect_error(test, mf, 2, 8, MEMFILE_SHARED, -EBUSY, 7);
	/* Nothing is unmapped, and nothing is taken back. */
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
	expect_state(test, mf, 0, 10, MEMFILE_PRIVATE);
	expect_pages(test, mf, 0, 10);
	for (i = 0; i < 10; i++)
		KUNIT_EXPECT_TRUE(test,
				  mock_is_filled(look_up(test, mc, i, MEMFILE_PRIVATE), i + 1));

	memfile_put_pfn(&mp);
	mock_convert(test, mf, 2, 8, MEMFILE_SHARED);
	expect_pages(test, mf, 8, 2);
}

static void reference_to_private(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);
	struct page *page = look_up(test, mc, 4, MEMFILE_SHARED);

	mock_fill(page, 0x44);
	get_page(page);
	mock_log_clear();
	expect_error(test, mf, 0, 10, MEMFILE_PRIVATE, -EAGAIN, 4);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 2);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);
	expect_state(test, mf, 0, 10, MEMFILE_SHARED);
	expect_pages(test, mf, 1, 0);
	KUNIT_EXPECT_FALSE(test, PageLocked(page));

	/* It fails again, and does not lose count. */
	expect_error(test, mf, 3, 2, MEMFILE_PRIVATE, -EAGAIN, 4);
	expect_pages(test, mf, 1, 0);
	put_page(page);
	mock_convert(test, mf, 0, 10, MEMFILE_PRIVATE);
	KUNIT_EXPECT_PTR_EQ(test, page, look_up(test, mc, 4, MEMFILE_PRIVATE));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x44));
	expect_pages(test, mf, 0, 1);
}

/* The host cannot have got it from a private page. */
static void reference_to_shared(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);
	struct page *page = look_up(test, mc, 4, MEMFILE_PRIVATE);

	get_page(page);
	mock_convert(test, mf, 0, 10, MEMFILE_SHARED);
	expect_pages(test, mf, 1, 0);
	put_page(page);
}

static void lookups_do_not_hinder(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 100, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 100);
	enum memfile_state state = MEMFILE_PRIVATE;
	pgoff_t i;
	int round;

	for (round = 0; round < 4; round++) {
		for (i = 0; i < 100; i++)
			look_up(test, mc, i, state);
		state ^= BOTH;
		mock_convert(test, mf, 0, 100, state);
		expect_pages(test, mf, state == MEMFILE_SHARED ? 100 : 0,
			     state == MEMFILE_SHARED ? 0 : 100);
	}
}

/* A list of new pages, of the CPU's, has references to those on it. */
static void new_pages_do_not_hinder(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, MEMFILE_INIT_SHARED | MEMFILE_MMAP);
	void __user *addr = mock_mmap(test, mf, 20);
	u8 byte;

	mock_allocate(test, mf, 0, 3);
	mock_convert(test, mf, 0, 20, MEMFILE_PRIVATE);
	mock_convert(test, mf, 10, 10, MEMFILE_SHARED);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 12, &byte));
	mock_convert(test, mf, 10, 10, MEMFILE_PRIVATE);
	expect_pages(test, mf, 0, 4);
}

static void new_pages_elsewhere_do_not_hinder(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, MEMFILE_INIT_SHARED);
	unsigned int here = raw_smp_processor_id(), cpu;

	for_each_online_cpu(cpu) {
		KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));
		mock_allocate(test, mf, cpu % 20, 1);
	}
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(here)));
	mock_convert(test, mf, 0, 20, MEMFILE_PRIVATE);
	expect_state(test, mf, 0, 20, MEMFILE_PRIVATE);
}

/* A guest may have this CPU let go of new pages, but no other. */
static void for_guest(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 20);
	unsigned int here = raw_smp_processor_id();
	unsigned int cpu = cpumask_any_but(cpu_online_mask, here);
	unsigned long changed, present;

	mock_allocate(test, mf, 3, 1);
	KUNIT_EXPECT_EQ(test, 10,
			memfile_convert_for_guest(&mc->consumer, 0, 10,
						  MEMFILE_PRIVATE, &changed, &present));
	KUNIT_EXPECT_EQ(test, 10, changed);
	KUNIT_EXPECT_EQ(test, 1, present);
	if (cpu >= nr_cpu_ids)
		return;

	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));
	mock_allocate(test, mf, 13, 1);
	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(here)));
	KUNIT_EXPECT_EQ(test, 10,
			memfile_convert_for_guest(&mc->consumer, 10, 20,
						  MEMFILE_PRIVATE, &changed, &present));
	KUNIT_EXPECT_EQ(test, 0, changed);
	KUNIT_EXPECT_EQ(test, 0, present);
	expect_state(test, mf, 10, 10, MEMFILE_SHARED);
	mock_convert(test, mf, 10, 10, MEMFILE_PRIVATE);
}

/* What a guest has claimed stays as it is, unless it is the guest who asks. */
static void claimed(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, MEMFILE_INIT_SHARED);
	struct mock_consumer *other = mock_register(test, mf, &mmu, 0, 5);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 5, 15);
	unsigned long changed, present;

	mock_allocate(test, mf, 0, 20);
	mock_convert(test, mf, 8, 1, MEMFILE_PRIVATE);
	mc->first_claimed = 8;
	mc->nr_claimed = 4;

	mock_log_clear();
	expect_error(test, mf, 0, 20, MEMFILE_PRIVATE, -EPERM, 9);
	expect_error(test, mf, 11, 2, MEMFILE_PRIVATE, -EPERM, 11);
	expect_error(test, mf, 8, 1, MEMFILE_SHARED, -EPERM, 8);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
	expect_state(test, mf, 0, 8, MEMFILE_SHARED);
	expect_state(test, mf, 9, 11, MEMFILE_SHARED);
	expect_pages(test, mf, 19, 1);

	/* The lowest of two; and what is in the state already is nobody's. */
	other->first_claimed = 4;
	other->nr_claimed = 1;
	expect_error(test, mf, 0, 20, MEMFILE_PRIVATE, -EPERM, 4);
	mock_convert(test, mf, 8, 1, MEMFILE_PRIVATE);
	mock_convert(test, mf, 12, 8, MEMFILE_PRIVATE);

	KUNIT_EXPECT_EQ(test, 12,
			memfile_convert_for_guest(&mc->consumer, 5, 12,
						  MEMFILE_PRIVATE, &changed, &present));
	KUNIT_EXPECT_EQ(test, 6, changed);
	KUNIT_EXPECT_EQ(test, 6, present);
}

/* Chunks */

static void chunks(struct kunit *test)
{
	unsigned long nr = 2 * BATCH + 7;
	struct mock_file *mf = mock_create(test, 3 * BATCH, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 3 * BATCH);
	int i;

	mock_allocate(test, mf, 0, nr);
	mock_log_clear();
	mock_convert(test, mf, 0, 3 * BATCH, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 6);
	for (i = 0; i < 3; i++) {
		expect_notified(test, 2 * i, MOCK_START, mc, i * BATCH,
				(i + 1) * BATCH, MEMFILE_SHARED);
		expect_notified(test, 2 * i + 1, MOCK_END, mc, i * BATCH,
				(i + 1) * BATCH, MEMFILE_SHARED);
	}
	expect_pages(test, mf, 0, nr);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), BATCH);
}

static void chunks_are_noted(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 2 * BATCH, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 2 * BATCH);
	pgoff_t i;

	for (i = 0; i < 100; i++)
		look_up(test, mc, 3 * i, MEMFILE_SHARED);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), 0);
	mock_convert(test, mf, 0, 30, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), 10);
	mock_convert(test, mf, 0, 2 * BATCH, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), 90);
	expect_pages(test, mf, 0, 100);
}

static void pin_in_second_chunk(struct kunit *test, unsigned int flags,
				enum memfile_state to)
{
	struct mock_file *mf = mock_create(test, 3 * BATCH, flags);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 3 * BATCH);
	bool to_shared = to == MEMFILE_SHARED;
	struct memfile_pfn mp;

	mock_allocate(test, mf, 0, 3 * BATCH);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, BATCH + 100, &mp));
	expect_error(test, mf, 0, 3 * BATCH, to, -EBUSY, BATCH + 100);
	expect_state(test, mf, 0, BATCH, to);
	expect_state(test, mf, BATCH, 2 * BATCH, to ^ BOTH);
	expect_pages(test, mf, to_shared ? BATCH : 2 * BATCH,
		     to_shared ? 2 * BATCH : BATCH);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);
	KUNIT_EXPECT_LE(test, mock_fdinfo(test, mf, "memfile-longest-hold"), BATCH);

	memfile_put_pfn(&mp);
	mock_convert(test, mf, 0, 3 * BATCH, to);
	expect_state(test, mf, 0, 3 * BATCH, to);
	KUNIT_EXPECT_LE(test, mock_fdinfo(test, mf, "memfile-longest-hold"), BATCH);
}

static void pin_in_second_chunk_to_private(struct kunit *test)
{
	pin_in_second_chunk(test, MEMFILE_INIT_SHARED, MEMFILE_PRIVATE);
}

static void pin_in_second_chunk_to_shared(struct kunit *test)
{
	pin_in_second_chunk(test, 0, MEMFILE_SHARED);
}

static void signal_between_chunks(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3 * BATCH, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 3 * BATCH);
	pgoff_t where = 0, before = 0, usr;
	int err, err_before, err_usr;

	mock_allocate(test, mf, 0, 3 * BATCH);
	mock_log_clear();
	mc->signal = SIGKILL;
	mc->signal_at = MOCK_START;
	mock_want_signals();
	err = memfile_convert(mf->file, 0, 3 * BATCH, MEMFILE_PRIVATE, &where);
	mc->signal = 0;
	err_before = memfile_convert(mf->file, BATCH + 5, 2 * BATCH, MEMFILE_PRIVATE, &before);
	mock_forget_signals();

	KUNIT_EXPECT_EQ(test, err, -EINTR);
	KUNIT_EXPECT_EQ(test, where, BATCH);
	KUNIT_EXPECT_EQ(test, err_before, -EINTR);
	KUNIT_EXPECT_EQ(test, before, BATCH + 5);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 2);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);
	expect_state(test, mf, 0, BATCH, MEMFILE_PRIVATE);
	expect_state(test, mf, BATCH, 2 * BATCH, MEMFILE_SHARED);
	expect_pages(test, mf, 2 * BATCH, BATCH);

	/* Others are for when the work is done. */
	mc->signal = SIGUSR1;
	mock_want_signals();
	err_usr = memfile_convert(mf->file, 0, 3 * BATCH, MEMFILE_PRIVATE, &usr);
	mock_forget_signals();
	KUNIT_EXPECT_EQ(test, err_usr, 0);
	expect_pages(test, mf, 0, 3 * BATCH);
}

/* Memory for the new state */

static struct {
	unsigned int calls;
	unsigned int fail_at;
} shortage;

static int short_state_prepare(struct memfile *memfile, struct ma_state *mas,
			       pgoff_t start, pgoff_t end,
			       enum memfile_state state)
{
	struct kunit *test = kunit_get_current_test();
	int err;

	if (++shortage.calls == shortage.fail_at)
		return -ENOMEM;

	kunit_deactivate_static_stub(test, memfile_state_prepare);
	err = memfile_state_prepare(memfile, mas, start, end, state);
	kunit_activate_static_stub(test, memfile_state_prepare, short_state_prepare);
	return err;
}

static void fail_state(struct kunit *test, unsigned int nth)
{
	shortage.calls = 0;
	shortage.fail_at = nth;
	kunit_activate_static_stub(test, memfile_state_prepare, short_state_prepare);
}

static void convert_enomem(struct kunit *test, unsigned int flags,
			   enum memfile_state to)
{
	struct mock_file *mf = mock_create(test, 2 * BATCH, flags);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 2 * BATCH);
	bool to_shared = to == MEMFILE_SHARED;

	mock_allocate(test, mf, 0, 2 * BATCH);
	mock_log_clear();
	fail_state(test, 1);
	expect_error(test, mf, 3, 10, to, -ENOMEM, 3);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
	expect_state(test, mf, 0, 2 * BATCH, to ^ BOTH);

	fail_state(test, 2);
	expect_error(test, mf, 0, 2 * BATCH, to, -ENOMEM, BATCH);
	kunit_deactivate_static_stub(test, memfile_state_prepare);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, mc), 1);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);
	expect_state(test, mf, 0, BATCH, to);
	expect_state(test, mf, BATCH, BATCH, to ^ BOTH);
	expect_pages(test, mf, BATCH, BATCH);

	mock_convert(test, mf, 0, 2 * BATCH, to);
	expect_pages(test, mf, to_shared ? 2 * BATCH : 0, to_shared ? 0 : 2 * BATCH);
}

static void enomem_to_private(struct kunit *test)
{
	convert_enomem(test, MEMFILE_INIT_SHARED, MEMFILE_PRIVATE);
}

static void enomem_to_shared(struct kunit *test)
{
	convert_enomem(test, 0, MEMFILE_SHARED);
}

#ifdef CONFIG_MEMORY_FAILURE
/* It changes its state like any other, and nobody touches it. */
static void hwpoison_to_shared(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 8, MEMFILE_MMAP);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 8);
	struct page *bad = look_up(test, mc, 3, MEMFILE_PRIVATE);
	void __user *addr = mock_mmap(test, mf, 8);
	struct memfile_pfn mp;
	u8 byte;

	look_up(test, mc, 4, MEMFILE_PRIVATE);
	mock_fill(bad, 0x77);
	memory_failure(page_to_pfn(bad), MF_SW_SIMULATED);
	KUNIT_ASSERT_TRUE(test, PageHWPoison(bad));
	mock_log_clear();
	mock_convert(test, mf, 0, 8, MEMFILE_SHARED);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 1);
	KUNIT_EXPECT_NE(test, mock_log.events[1].pfn, page_to_pfn(bad));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(bad, 0x77));
	expect_pages(test, mf, 2, 0);
	KUNIT_EXPECT_FALSE(test, mock_can_read(addr, 3, &byte));
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 4, &byte));
	KUNIT_EXPECT_EQ(test, -EHWPOISON, memfile_lookup_pfn(&mc->consumer, 3, &mp));

	mock_punch(test, mf, 3, 1);
	expect_pages(test, mf, 1, 0);
	mock_unpoison(page_to_pfn(bad));
}

static void hwpoison_to_private(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 8, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 8);
	struct page *bad = look_up(test, mc, 3, MEMFILE_SHARED);
	struct memfile_pfn mp;

	look_up(test, mc, 4, MEMFILE_SHARED);
	memory_failure(page_to_pfn(bad), MF_SW_SIMULATED);
	KUNIT_ASSERT_TRUE(test, PageHWPoison(bad));
	mock_log_clear();
	/* The reference that memory_failure() keeps does not count. */
	mock_convert(test, mf, 0, 8, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 0);
	expect_pages(test, mf, 0, 2);
	KUNIT_EXPECT_EQ(test, -EHWPOISON, memfile_lookup_pfn(&mc->consumer, 3, &mp));

	mock_punch(test, mf, 3, 1);
	expect_pages(test, mf, 0, 1);
	mock_unpoison(page_to_pfn(bad));
}
#endif

static struct kunit_case convert_cases[] = {
	KUNIT_CASE(order_to_private),
	KUNIT_CASE(order_to_shared),
	KUNIT_CASE(consumers_are_clipped),
	KUNIT_CASE(mixed_range),
	KUNIT_CASE(nothing_to_do),
	KUNIT_CASE(holes),
	KUNIT_CASE(content_is_kept),
	KUNIT_CASE(content_is_zeroed),
	KUNIT_CASE(no_content_is_kept),
	KUNIT_CASE(reclaim_fails),
	KUNIT_CASE(host_mapping),
	KUNIT_CASE(host_pin),
	KUNIT_CASE(pin_to_private),
	KUNIT_CASE(pin_to_shared),
	KUNIT_CASE(reference_to_private),
	KUNIT_CASE(reference_to_shared),
	KUNIT_CASE(lookups_do_not_hinder),
	KUNIT_CASE(for_guest),
	KUNIT_CASE(claimed),
	KUNIT_CASE(new_pages_do_not_hinder),
	KUNIT_CASE(new_pages_elsewhere_do_not_hinder),
	KUNIT_CASE(chunks),
	KUNIT_CASE(chunks_are_noted),
	KUNIT_CASE(pin_in_second_chunk_to_private),
	KUNIT_CASE(pin_in_second_chunk_to_shared),
	KUNIT_CASE(signal_between_chunks),
	KUNIT_CASE(enomem_to_private),
	KUNIT_CASE(enomem_to_shared),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(hwpoison_to_shared),
	KUNIT_CASE(hwpoison_to_private),
#endif
	{}
};

static struct kunit_suite convert_suite = {
	.name = "memfile_convert",
	.init = mock_init,
	.test_cases = convert_cases,
};

kunit_test_suite(convert_suite);
