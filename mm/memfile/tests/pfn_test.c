// SPDX-License-Identifier: GPL-2.0
/* The pfn ops: what a consumer gets, with which content, and what is left. */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/set_memory.h>

#include "mock.h"

static int mmu;

/* The references that are left when the page has gone from the file. */
static void expect_last_refs(struct kunit *test, struct page *page, int nr)
{
	KUNIT_EXPECT_NULL(test, page_folio(page)->mapping);
	KUNIT_EXPECT_EQ(test, nr, page_count(page));
}

static void expect_last_pin(struct kunit *test, const struct memfile_pfn *mp)
{
	expect_last_refs(test, mp->page, GUP_PIN_COUNTING_BIAS);
}

static void get_pfn_basic(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 64, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 64);
	struct memfile_pfn mp, again;
	int refs;
	pgoff_t i;

	mock_dirty_free_pages(test, 256);
	for (i = 0; i < 64; i += 2) {
		KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, i, &mp));
		KUNIT_EXPECT_EQ(test, mp.pfn, page_to_pfn(mp.page));
		KUNIT_EXPECT_EQ(test, mp.order, 0);
		KUNIT_EXPECT_EQ(test, mp.state, MEMFILE_PRIVATE);
		KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0));
		KUNIT_EXPECT_FALSE(test, PageLocked(mp.page));
		mock_fill(mp.page, 0x11);
		memfile_put_pfn(&mp);
	}
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 32);

	/* What was written stays, and nothing is allocated twice. */
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 62, &again));
	refs = page_count(again.page);
	KUNIT_EXPECT_EQ(test, again.pfn, mp.pfn);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(again.page, 0x11));
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 62, &mp));
	KUNIT_EXPECT_EQ(test, refs + GUP_PIN_COUNTING_BIAS, page_count(again.page));
	KUNIT_EXPECT_TRUE(test, folio_maybe_dma_pinned(page_folio(again.page)));
	memfile_put_pfn(&mp);
	KUNIT_EXPECT_EQ(test, refs, page_count(again.page));
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 32);

	mock_punch(test, mf, 0, 64);
	expect_last_pin(test, &again);
	memfile_put_pfn(&again);
}

static void get_pfn_in_allocated(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 16, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 16);
	struct memfile_pfn mp;
	pgoff_t i;

	mock_dirty_free_pages(test, 256);
	mock_allocate(test, mf, 0, 16);
	for (i = 0; i < 16; i++) {
		KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, i, &mp));
		KUNIT_EXPECT_EQ(test, mp.state, MEMFILE_SHARED);
		KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0));
		memfile_put_pfn(&mp);
	}
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 16);
}

/* The same page, in the same way, but with nothing to give back. */
static void lookup_pfn(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 16, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 16);
	struct memfile_pfn mp, pinned;
	int refs;

	mock_dirty_free_pages(test, 256);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 5, &mp));
	KUNIT_EXPECT_EQ(test, mp.pfn, page_to_pfn(mp.page));
	KUNIT_EXPECT_EQ(test, mp.order, 0);
	KUNIT_EXPECT_EQ(test, mp.state, MEMFILE_PRIVATE);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0));
	KUNIT_EXPECT_FALSE(test, PageLocked(mp.page));
	KUNIT_EXPECT_FALSE(test, folio_maybe_dma_pinned(page_folio(mp.page)));

	refs = page_count(mp.page);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 5, &mp));
	KUNIT_EXPECT_EQ(test, refs, page_count(mp.page));
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 5, &pinned));
	KUNIT_EXPECT_EQ(test, mp.pfn, pinned.pfn);
	memfile_put_pfn(&pinned);

	/* Nobody but this test keeps the page when it leaves the file. */
	get_page(mp.page);
	mock_punch(test, mf, 0, 16);
	expect_last_refs(test, mp.page, 1);
	put_page(mp.page);
}

static int fill_nothing(unsigned long pfn, void *arg)
{
	return 0;
}

static void index_out_of_range(struct kunit *test)
{
	static const pgoff_t bad[] = { 0, 4, 10, 11, 19, 20, 1000, ULONG_MAX };
	struct mock_file *mf = mock_create(test, 20, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 5, 5);
	struct memfile_pfn mp = { .pfn = 12345 };
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ(test, -EINVAL,
				memfile_get_pfn(&mc->consumer, bad[i], &mp));
		KUNIT_EXPECT_EQ(test, -EINVAL,
				memfile_lookup_pfn(&mc->consumer, bad[i], &mp));
		KUNIT_EXPECT_EQ(test, mp.pfn, 12345);
		KUNIT_EXPECT_EQ(test, -EINVAL,
				memfile_populate(&mc->consumer, bad[i], fill_nothing, NULL));
	}
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
}

static void prepare(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, 0);
	struct mock_consumer *mc;
	struct memfile_pfn mp;

	mock_convert(test, mf, 0, 10, MEMFILE_SHARED);
	mc = mock_register(test, mf, &mmu, 0, 20);

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 9, &mp));
	KUNIT_EXPECT_EQ(test, mp.state, MEMFILE_SHARED);
	memfile_put_pfn(&mp);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 10, &mp));
	KUNIT_EXPECT_EQ(test, mp.state, MEMFILE_PRIVATE);
	memfile_put_pfn(&mp);
	MOCK_EXPECT(test, 0, MOCK_PREPARE, mc, 10, 11);
	KUNIT_EXPECT_EQ(test, mock_log.events[0].pfn, mp.pfn);
	KUNIT_EXPECT_TRUE(test, mock_log.events[0].held);
	KUNIT_EXPECT_FALSE(test, mock_log.events[0].exclusive);

	/* Each lookup. */
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 10, &mp));
	memfile_put_pfn(&mp);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 2);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 10, &mp));
	KUNIT_EXPECT_EQ(test, mock_log.nr, 3);
}

static void prepare_fails(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 20);
	struct memfile_pfn mp = { .pfn = 12345 };
	struct page *page;

	mc->prepare_err = -ENXIO;
	KUNIT_EXPECT_EQ(test, -ENXIO, memfile_get_pfn(&mc->consumer, 10, &mp));
	KUNIT_EXPECT_EQ(test, mp.pfn, 12345);
	KUNIT_ASSERT_EQ(test, mock_log.nr, 1);
	page = pfn_to_page(mock_log.events[0].pfn);
	KUNIT_EXPECT_FALSE(test, PageLocked(page));
	if (PageLocked(page))
		folio_unlock(page_folio(page));

	get_page(page);
	mock_punch(test, mf, 0, 20);
	expect_last_refs(test, page, 1);
	put_page(page);
}

struct fill {
	struct kunit *test;
	struct mock_file *mf;
	unsigned int calls;
	unsigned long pfn;
	bool hold;
	int err;
};

static int fill_page(unsigned long pfn, void *arg)
{
	struct fill *fill = arg;
	struct address_space *mapping = fill->mf->file->f_mapping;
	bool shared = filemap_invalidate_trylock_shared(mapping);

	if (shared)
		filemap_invalidate_unlock_shared(mapping);
	KUNIT_EXPECT_FALSE(fill->test, shared);
	KUNIT_EXPECT_FALSE(fill->test, PageLocked(pfn_to_page(pfn)));
	fill->calls++;
	fill->pfn = pfn;
	if (fill->hold)
		get_page(pfn_to_page(pfn));
	KUNIT_EXPECT_TRUE(fill->test, kernel_page_present(pfn_to_page(pfn)));
	mock_fill(pfn_to_page(pfn), 0x33);
	return fill->err;
}

static void populate(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 20);
	struct fill fill = { .test = test, .mf = mf };
	struct memfile_pfn mp;

	KUNIT_EXPECT_EQ(test, 0,
			memfile_populate(&mc->consumer, 3, fill_page, &fill));
	KUNIT_EXPECT_EQ(test, fill.calls, 1);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 3, &mp));
	KUNIT_EXPECT_EQ(test, mp.pfn, fill.pfn);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0x33));

	mock_punch(test, mf, 0, 20);
	expect_last_pin(test, &mp);
	memfile_put_pfn(&mp);
}

static void populate_fails(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 20);
	struct fill fill = { .test = test, .mf = mf, .err = -ENXIO };
	struct memfile_pfn mp;

	KUNIT_EXPECT_EQ(test, -ENXIO,
			memfile_populate(&mc->consumer, 3, fill_page, &fill));
	KUNIT_EXPECT_EQ(test, fill.calls, 1);
	/* Half of a content is none. */
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 3, &mp));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0));
	mock_punch(test, mf, 0, 20);
	expect_last_pin(test, &mp);
	memfile_put_pfn(&mp);
}

/* The secrets of a payload are no less secret for an error. */
static void populate_fails_is_wiped(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 20);
	struct fill fill = { .test = test, .mf = mf, .err = -ENXIO, .hold = true };
	struct page *page;

	mock_log.reclaim_keeps = true;
	KUNIT_EXPECT_EQ(test, -ENXIO,
			memfile_populate(&mc->consumer, 3, fill_page, &fill));
	page = pfn_to_page(fill.pfn);
	expect_last_refs(test, page, 1);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0));
	put_page(page);
}

static void populate_shared(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 20, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 20);
	struct fill fill = { .test = test, .mf = mf };

	KUNIT_EXPECT_EQ(test, -EINVAL,
			memfile_populate(&mc->consumer, 3, fill_page, &fill));
	KUNIT_EXPECT_EQ(test, fill.calls, 0);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
}

/* A private page leaves the file wiped, whatever ->reclaim has made of it. */
static void private_page_is_wiped(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 2, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 2);
	struct memfile_pfn punched, closed;

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 0, &punched));
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 1, &closed));
	mock_fill(punched.page, 0x77);
	mock_fill(closed.page, 0x77);
	mock_log_clear();

	mock_punch(test, mf, 0, 1);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(punched.page, 0));
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 1);
	KUNIT_EXPECT_EQ(test, mock_log.events[1].type, MOCK_RECLAIM);
	KUNIT_EXPECT_EQ(test, mock_log.events[1].pfn, punched.pfn);
	/* Not touched before it was taken back. */
	KUNIT_EXPECT_EQ(test, mock_log.events[1].content, 0x77);
	expect_last_pin(test, &punched);
	memfile_put_pfn(&punched);

	mock_unregister(mc);
	mock_close(mf);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 2);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(closed.page, 0));
	expect_last_pin(test, &closed);
	memfile_put_pfn(&closed);
}

/* It is not wiped twice, but it is if somebody has had it since. */
static void wiped_page_is_left(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 2, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 2);
	struct memfile_pfn wiped, used, mp;

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 0, &wiped));
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 1, &used));
	/* So as to see the difference. */
	mock_log.reclaim_keeps = true;
	mock_fill(wiped.page, 0x77);
	mock_fill(used.page, 0x77);
	memfile_note_wiped(wiped.page, true);
	memfile_note_wiped(used.page, true);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 1, &mp));

	mock_punch(test, mf, 0, 2);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(wiped.page, 0x77));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(used.page, 0));
	expect_last_pin(test, &wiped);
	expect_last_pin(test, &used);
	memfile_put_pfn(&wiped);
	memfile_put_pfn(&used);
}

/* What hardware does not give back is nobody's any more. */
static void reclaim_fails(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 2, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 2);
	struct memfile_pfn mp;

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 0, &mp));
	mock_fill(mp.page, 0x77);
	mock_log_clear();
	mock_log.reclaim_err = -EIO;
	mock_punch(test, mf, 0, 2);
	mock_log.reclaim_err = 0;

	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 1);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"), 0);
	/* Not touched, and there is a reference that nobody will put. */
	KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0x77));
	KUNIT_EXPECT_EQ(test, GUP_PIN_COUNTING_BIAS + 1, page_count(mp.page));
	memfile_put_pfn(&mp);
}

static void shared_page_is_not_reclaimed(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 2, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 2);
	struct memfile_pfn mp;

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 0, &mp));
	memfile_put_pfn(&mp);
	mock_allocate(test, mf, 0, 2);
	mock_punch(test, mf, 0, 1);
	mock_unregister(mc);
	mock_close(mf);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 0);
}

/* Who comes next gets zeroes, not what was there. */
static void punched_page_is_new(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 8, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 8);
	struct memfile_pfn mp;
	pgoff_t i;

	for (i = 0; i < 8; i++) {
		KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, i, &mp));
		mock_fill(mp.page, 0x77);
		memfile_put_pfn(&mp);
	}
	mock_punch(test, mf, 0, 8);
	for (i = 0; i < 8; i++) {
		KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, i, &mp));
		KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0));
		memfile_put_pfn(&mp);
	}
}

#ifdef CONFIG_MEMORY_FAILURE
static void hwpoison(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 8, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 8);
	struct fill fill = { .test = test, .mf = mf };
	struct memfile_pfn bad, mp;

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 3, &bad));
	mock_fill(bad.page, 0x77);
	memory_failure(bad.pfn, MF_SW_SIMULATED);
	KUNIT_ASSERT_TRUE(test, PageHWPoison(bad.page));

	mock_log_clear();
	KUNIT_EXPECT_EQ(test, -EHWPOISON, memfile_get_pfn(&mc->consumer, 3, &mp));
	KUNIT_EXPECT_EQ(test, -EHWPOISON, memfile_lookup_pfn(&mc->consumer, 3, &mp));
	KUNIT_EXPECT_FALSE(test, PageLocked(bad.page));
	KUNIT_EXPECT_EQ(test, -EHWPOISON,
			memfile_populate(&mc->consumer, 3, fill_page, &fill));
	KUNIT_EXPECT_EQ(test, fill.calls, 0);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
	/* Allocation does not touch the page, and so has nothing against it. */
	mock_allocate(test, mf, 0, 8);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 4, &mp));
	memfile_put_pfn(&mp);

	/* Userspace gets rid of it by a punch; nobody touches the bad page. */
	mock_log_clear();
	mock_punch(test, mf, 3, 1);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, mc), 1);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 0);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(bad.page, 0x77));
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"), 7 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 3, &mp));
	KUNIT_EXPECT_NE(test, bad.pfn, mp.pfn);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0));
	memfile_put_pfn(&mp);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);

	memfile_put_pfn(&bad);
	mock_unpoison(bad.pfn);
}
#endif

static struct kunit_case pfn_cases[] = {
	KUNIT_CASE(get_pfn_basic),
	KUNIT_CASE(get_pfn_in_allocated),
	KUNIT_CASE(lookup_pfn),
	KUNIT_CASE(index_out_of_range),
	KUNIT_CASE(prepare),
	KUNIT_CASE(prepare_fails),
	KUNIT_CASE(populate),
	KUNIT_CASE(populate_fails),
	KUNIT_CASE(populate_fails_is_wiped),
	KUNIT_CASE(populate_shared),
	KUNIT_CASE(private_page_is_wiped),
	KUNIT_CASE(wiped_page_is_left),
	KUNIT_CASE(reclaim_fails),
	KUNIT_CASE(shared_page_is_not_reclaimed),
	KUNIT_CASE(punched_page_is_new),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(hwpoison),
#endif
	{}
};

static struct kunit_suite pfn_suite = {
	.name = "memfile_pfn",
	.init = mock_init,
	.test_cases = pfn_cases,
};

kunit_test_suite(pfn_suite);
