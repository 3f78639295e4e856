// SPDX-License-Identifier: GPL-2.0
/*
 * Where pages come from, and whether they are in the direct map.  The truth about
 * the latter is in the kernel's page tables.
 */
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/falloc.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/set_memory.h>
#include <linux/sizes.h>

#include <kunit/static_stub.h>

#include "../internal.h"
#include "mock.h"

#define EXTENT	MEMFILE_EXTENT_PAGES

static int mmu;

/*
 * A file with its only consumer, and one whose pages come from extents.  What is
 * asked for below is the same without them; so each test runs with both.
 */
struct absent_file {
	struct mock_file *mf;
	struct mock_consumer *mc;
	unsigned long nr;
	unsigned int absent;
};

struct absent_case {
	const char *name;
	unsigned long nr;
	unsigned int flags;
	unsigned int absent;
};

static const struct absent_case absent_cases[] = {
	{ "extents, private", 3 * EXTENT, MEMFILE_PRIVATE_NO_DIRECT_MAP |
	  MEMFILE_KEEP_CONTENT, MEMFILE_PRIVATE },
	{ "extents, private, from shared", 3 * EXTENT, MEMFILE_PRIVATE_NO_DIRECT_MAP |
	  MEMFILE_INIT_SHARED, MEMFILE_PRIVATE },
	{ "extents, all", 3 * EXTENT, MEMFILE_NO_DIRECT_MAP | MEMFILE_KEEP_CONTENT,
	  MEMFILE_PRIVATE | MEMFILE_SHARED },
	{ "extents, none", 3 * EXTENT, MEMFILE_NEED_DIRECT_MAP, 0 },
	{ "single, private", EXTENT - 1, MEMFILE_PRIVATE_NO_DIRECT_MAP |
	  MEMFILE_KEEP_CONTENT, MEMFILE_PRIVATE },
	{ "single, all", EXTENT - 1, MEMFILE_NO_DIRECT_MAP | MEMFILE_KEEP_CONTENT,
	  MEMFILE_PRIVATE | MEMFILE_SHARED },
};

KUNIT_ARRAY_PARAM_DESC(absent, absent_cases, name);

static struct absent_file absent_begin(struct kunit *test)
{
	const struct absent_case *c = test->param_value;
	struct absent_file af = { .nr = c->nr, .absent = c->absent };

	if (memfile_absent_states(c->flags) == -EOPNOTSUPP)
		kunit_skip(test, "this machine cannot change its direct map");
	mock_log.reclaim_keeps = true;
	af.mf = mock_create(test, c->nr, c->flags);
	af.mc = mock_register(test, af.mf, &mmu, 0, c->nr);
	return af;
}

static struct memfile *to_memfile(const struct absent_file *af)
{
	return MEMFILE_I(file_inode(af->mf->file));
}

static enum memfile_state state_at(const struct absent_file *af, pgoff_t index)
{
	return memfile_state(&af->mc->consumer, index);
}

/* A page that the file is known to have. */
static struct page *page_at(struct kunit *test, const struct absent_file *af,
			    pgoff_t index)
{
	struct memfile_pfn mp;

	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&af->mc->consumer, index, &mp));
	return mp.page;
}

/* All that the file has, in use or reserved, is where its state wants it. */
static void expect_direct_map(struct kunit *test, const struct absent_file *af)
{
	struct memfile *memfile = to_memfile(af);
	unsigned long nr_absent = 0, nr_reserved = 0;
	pgoff_t index;

	for (index = 0; index < af->nr; index++) {
		struct memfile_extent *extent = memfile_extent_at(memfile, index);
		bool used = extent && test_bit(index - extent->start, extent->used);
		bool absent = state_at(af, index) & af->absent;
		struct folio *folio = filemap_get_folio(af->mf->file->f_mapping, index);
		struct page *page = NULL;

		if (!IS_ERR(folio)) {
			page = &folio->page;
			folio_put(folio);
		}
		/* Who comes for a page that is used, but not there, waits for it forever. */
		KUNIT_ASSERT_EQ_MSG(test, used, !!page, "page at %#lx", index);
		if (memfile_extent_has(extent, index)) {
			struct page *own = extent->page + (index - extent->start);

			if (page)
				KUNIT_EXPECT_PTR_EQ(test, page, own);
			else
				nr_reserved++;
			page = own;
		}
		if (!page)
			continue;
		nr_absent += absent;
		KUNIT_EXPECT_EQ_MSG(test, kernel_page_present(page), !absent,
				    "page at %#lx", index);
	}
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, af->mf, "memfile-reserved"),
			nr_reserved * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, af->mf, "memfile-no-direct-map"),
			nr_absent * PAGE_SIZE);
}

static void contradictions(struct kunit *test)
{
	static const unsigned int bad[] = {
		MEMFILE_NO_DIRECT_MAP,
		MEMFILE_NO_DIRECT_MAP | MEMFILE_PRIVATE_NO_DIRECT_MAP | MEMFILE_KEEP_CONTENT,
		MEMFILE_NO_DIRECT_MAP | MEMFILE_NEED_DIRECT_MAP | MEMFILE_KEEP_CONTENT,
		MEMFILE_PRIVATE_NO_DIRECT_MAP | MEMFILE_NEED_DIRECT_MAP,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ(test, -EINVAL, memfile_absent_states(bad[i]));
		KUNIT_EXPECT_EQ(test, -EINVAL,
				PTR_ERR(memfile_create("mock", PAGE_SIZE, bad[i],
						       &mock_owner_ops, NULL)));
	}
	KUNIT_EXPECT_EQ(test, 0, memfile_absent_states(MEMFILE_NEED_DIRECT_MAP));
}

/* By a lookup, by fallocate, and not again by either. */
static void allocation(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	struct page *page = page_at(test, &af, 5);

	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0));
	expect_direct_map(test, &af);
	mock_allocate(test, af.mf, 0, af.nr);
	expect_direct_map(test, &af);
	KUNIT_EXPECT_PTR_EQ(test, page, page_at(test, &af, 5));
	mock_fill(page, 0x21);
	KUNIT_EXPECT_PTR_EQ(test, page, page_at(test, &af, 5));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x21));
	expect_direct_map(test, &af);
}

/* A state into which pages are allocated later is as good as one they are given. */
static void conversion(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	struct page *page;
	unsigned int i;

	mock_convert(test, af.mf, 3, 40, MEMFILE_SHARED);
	page = page_at(test, &af, 10);
	expect_direct_map(test, &af);
	mock_fill(page, 0x42);

	mock_convert(test, af.mf, 0, af.nr, MEMFILE_PRIVATE);
	expect_direct_map(test, &af);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x42));
	mock_log_clear();
	mock_log.reclaim_keeps = true;
	mock_convert(test, af.mf, 9, 2, MEMFILE_SHARED);
	expect_direct_map(test, &af);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 1);
	for (i = 0; i < mock_log.nr; i++)
		KUNIT_EXPECT_TRUE(test, mock_log.events[i].type != MOCK_RECLAIM ||
				  mock_log.events[i].present == !(af.absent & MEMFILE_SHARED));

	mock_convert(test, af.mf, 0, af.nr, MEMFILE_SHARED);
	expect_direct_map(test, &af);
	KUNIT_EXPECT_PTR_EQ(test, page, page_at(test, &af, 10));
}

static void punch(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	struct page *page = page_at(test, &af, 10);

	get_page(page);
	mock_fill(page, 0x42);
	mock_punch(test, af.mf, 8, 4);
	KUNIT_EXPECT_TRUE(test, kernel_page_present(page));
	expect_direct_map(test, &af);

	/* Not the one that has gone; and it is zero. */
	KUNIT_EXPECT_PTR_NE(test, page, page_at(test, &af, 10));
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page_at(test, &af, 10), 0));
	expect_direct_map(test, &af);
	put_page(page);

	mock_punch(test, af.mf, 0, af.nr);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(af.mf), 0);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, af.mf, "memfile-reserved"), 0);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, af.mf, "memfile-no-direct-map"), 0);
	KUNIT_EXPECT_TRUE(test, xa_empty(&to_memfile(&af)->extents));
}

/* Pages that somebody still has show what has become of those that are freed. */
static void closing(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	struct page *pages[8];
	int i;

	mock_convert(test, af.mf, 4, 4, MEMFILE_PRIVATE);
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		pages[i] = page_at(test, &af, i);
		get_page(pages[i]);
	}
	mock_unregister(af.mc);
	mock_close(af.mf);
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		KUNIT_EXPECT_TRUE(test, kernel_page_present(pages[i]));
		put_page(pages[i]);
	}
}

/* fill_page() looks whether the page is there. */
static int fill(unsigned long pfn, void *arg)
{
	struct kunit *test = arg;

	KUNIT_EXPECT_TRUE(test, kernel_page_present(pfn_to_page(pfn)));
	mock_fill(pfn_to_page(pfn), 0x33);
	return 0;
}

static void populate(struct kunit *test)
{
	struct absent_file af = absent_begin(test);

	mock_convert(test, af.mf, 0, 8, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, 0, memfile_populate(&af.mc->consumer, 7, fill, test));
	expect_direct_map(test, &af);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(page_at(test, &af, 7), 0x33));
}

/* What would be mapped again is what the CPU must not speculate into. */
static void memory_error(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	struct page *page;

	mock_convert(test, af.mf, 0, 8, MEMFILE_PRIVATE);
	page = page_at(test, &af, 6);
	get_page(page);
	SetPageHWPoison(page);
	mock_punch(test, af.mf, 0, 8);
	KUNIT_EXPECT_EQ(test, kernel_page_present(page), !(af.absent & MEMFILE_PRIVATE));
	ClearPageHWPoison(page);
	if (!kernel_page_present(page))
		KUNIT_EXPECT_EQ(test, 0, direct_map_restore(page, 1));
	put_page(page);
}

/* The nth change fails, and those behind it do not.  Then a page gets a memory error. */
static int fail_at;
static struct page *poisoned_then;

static int failing_change(struct memfile *memfile, struct page *page, unsigned long nr,
			  struct memfile_change *change)
{
	struct kunit *test = kunit_get_current_test();
	int err;

	if (!fail_at--) {
		if (poisoned_then)
			SetPageHWPoison(poisoned_then);
		return -ENOMEM;
	}
	kunit_deactivate_static_stub(test, memfile_change_run);
	err = memfile_change_run(memfile, page, nr, change);
	kunit_activate_static_stub(test, memfile_change_run, failing_change);
	return err;
}

/* A failure at any step leaves everything as it was. */
static void no_memory(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	enum memfile_state to;
	unsigned long nr_pages;
	struct page *page;
	pgoff_t where;
	int i, err;

	if (!af.absent)
		kunit_skip(test, "nothing that could fail");

	/* With holes, so that there is more than one run of pages. */
	mock_convert(test, af.mf, 0, af.nr, MEMFILE_SHARED);
	mock_allocate(test, af.mf, 0, 50);
	for (i = 0; i < 50; i += 7)
		mock_punch(test, af.mf, i, 1);
	page = page_at(test, &af, 33);
	mock_fill(page, 0x42);

	for (i = 0; i < 6; i++) {
		to = i & 1 ? MEMFILE_SHARED : MEMFILE_PRIVATE;
		nr_pages = mock_nr_pages(af.mf);

		fail_at = i / 2;
		kunit_activate_static_stub(test, memfile_change_run, failing_change);
		err = memfile_convert(af.mf->file, 0, 50, to, &where);
		kunit_deactivate_static_stub(test, memfile_change_run);
		if (af.absent == MEMFILE_PRIVATE) {
			KUNIT_EXPECT_EQ(test, err, -ENOMEM);
			KUNIT_EXPECT_EQ(test, where, 0);
			expect_direct_map(test, &af);
			mock_convert(test, af.mf, 0, 50, to);
		}
		expect_direct_map(test, &af);
		KUNIT_EXPECT_EQ(test, mock_nr_pages(af.mf), nr_pages);
		if (memfile_flags(af.mf->file) & MEMFILE_KEEP_CONTENT)
			KUNIT_EXPECT_TRUE(test, mock_is_filled(page, 0x42));
	}

	mock_convert(test, af.mf, 0, 50, MEMFILE_PRIVATE);
	for (i = 0; i < 3; i++) {
		fail_at = i;
		kunit_activate_static_stub(test, memfile_change_run, failing_change);
		err = vfs_fallocate(af.mf->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    0, 50 << PAGE_SHIFT);
		kunit_deactivate_static_stub(test, memfile_change_run);
		KUNIT_EXPECT_EQ(test, err, -ENOMEM);
		expect_direct_map(test, &af);
		KUNIT_EXPECT_EQ(test, mock_nr_pages(af.mf), nr_pages);
	}

	/* An allocation has to do without the extent, or without the page. */
	mock_punch(test, af.mf, 0, af.nr);
	for (i = 0; i < 2; i++) {
		struct memfile_pfn mp;

		fail_at = 0;
		kunit_activate_static_stub(test, memfile_change_run, failing_change);
		err = memfile_lookup_pfn(&af.mc->consumer, 20, &mp);
		kunit_deactivate_static_stub(test, memfile_change_run);
		KUNIT_EXPECT_EQ(test, err, af.nr > EXTENT ? 0 : -ENOMEM);
		expect_direct_map(test, &af);
		mock_punch(test, af.mf, 0, af.nr);
	}
}

/* The pages to be put back are those that were removed, but for one among them. */
static void memory_error_before_undo(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	struct memfile_change restore = {};
	pgoff_t where;
	int err;

	if (af.absent != MEMFILE_PRIVATE)
		kunit_skip(test, "nothing is removed in a conversion");

	mock_convert(test, af.mf, 0, af.nr, MEMFILE_SHARED);
	mock_allocate(test, af.mf, 0, 50);
	mock_punch(test, af.mf, 20, 1);
	mock_punch(test, af.mf, 30, 1);

	/* A page of the first run, and not its last, where that is known. */
	poisoned_then = page_at(test, &af, af.nr > EXTENT ? 7 : 0);
	fail_at = 2;
	kunit_activate_static_stub(test, memfile_change_run, failing_change);
	err = memfile_convert(af.mf->file, 0, 50, MEMFILE_PRIVATE, &where);
	kunit_deactivate_static_stub(test, memfile_change_run);
	KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	KUNIT_EXPECT_FALSE(test, kernel_page_present(poisoned_then));

	ClearPageHWPoison(poisoned_then);
	KUNIT_EXPECT_EQ(test, 0, memfile_change_run(to_memfile(&af), poisoned_then, 1, &restore));
	poisoned_then = NULL;
	expect_direct_map(test, &af);
}

/* What cannot be put back at the end is not freed. */
static void leak(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	struct page *page, *gone;

	if (!(af.absent & MEMFILE_PRIVATE))
		kunit_skip(test, "nothing that could fail");

	mock_convert(test, af.mf, 0, 8, MEMFILE_PRIVATE);
	gone = page_at(test, &af, 3);
	page = page_at(test, &af, 4);
	get_page(page);
	mock_unregister(af.mc);
	/* To free a page empties the CPU's list of new ones: see mock_init(). */
	mock_allocate(test, af.mf, 7, 1);
	mock_punch(test, af.mf, 7, 1);
	fail_at = 0;
	kunit_activate_static_stub(test, memfile_change_run, failing_change);
	mock_close(af.mf);
	kunit_deactivate_static_stub(test, memfile_change_run);
	KUNIT_EXPECT_FALSE(test, kernel_page_present(page));
	KUNIT_EXPECT_EQ(test, page_ref_count(page), 2);
	KUNIT_EXPECT_EQ(test, page_ref_count(gone), 1);

	/* The test can. */
	KUNIT_EXPECT_EQ(test, 0, direct_map_restore(page, 1));
	KUNIT_EXPECT_EQ(test, 0, direct_map_restore(gone, 1));
	put_page(page);
	put_page(page);
	put_page(gone);
}

/* Pages of an extent lie where their offsets do. */
static void extents(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 2 * EXTENT + 5, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 2 * EXTENT + 5);
	struct memfile_pfn first, mp;
	pgoff_t i;

	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 77, &first));
	if (!mock_fdinfo(test, mf, "memfile-reserved"))
		kunit_skip(test, "no 2M of memory in one piece");
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"),
			(EXTENT - 1) * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, first.pfn % EXTENT, 77);
	for (i = 0; i < EXTENT; i++) {
		KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, i, &mp));
		KUNIT_EXPECT_EQ(test, mp.pfn, first.pfn - 77 + i);
	}
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"), 0);

	/* Behind the last whole 2M there is nothing to reserve. */
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 2 * EXTENT, &mp));
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"), 0);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), EXTENT + 1);
}

/* Let the kernel do without all that its shrinkers know of. */
static void shrink_slabs(struct kunit *test)
{
	struct file *file;
	loff_t pos = 0;

	scoped_with_init_fs()
		file = filp_open("/proc/sys/vm/drop_caches", O_WRONLY, 0);
	if (IS_ERR(file))
		kunit_skip(test, "no /proc/sys/vm/drop_caches");
	KUNIT_EXPECT_EQ(test, 1, kernel_write(file, "2", 1, &pos));
	filp_close(file, NULL);
}

/* An extent has nothing more to give, although it does not have all that is in use. */
static void extent_shrunk(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, EXTENT, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, EXTENT);
	struct memfile_pfn mp, single, again;
	struct memfile_extent *extent;

	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 9, &mp));
	if (!mock_fdinfo(test, mf, "memfile-reserved"))
		kunit_skip(test, "no 2M of memory in one piece");
	mock_punch(test, mf, 3, 1);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 3, &single));
	extent = memfile_extent_at(MEMFILE_I(file_inode(mf->file)), 9);
	KUNIT_EXPECT_FALSE(test, list_empty(&extent->lru));

	shrink_slabs(test);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"), 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&extent->lru));

	/* What is in the file was not meant. */
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 2);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 9, &again));
	KUNIT_EXPECT_EQ(test, again.pfn, mp.pfn);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 3, &again));
	KUNIT_EXPECT_EQ(test, again.pfn, single.pfn);
}

/* An extent is as good as its pages: what is punched does not come back to it. */
static void extent_punched(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, EXTENT, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, EXTENT);
	struct memfile_pfn mp, next;

	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 9, &mp));
	if (!mock_fdinfo(test, mf, "memfile-reserved"))
		kunit_skip(test, "no 2M of memory in one piece");

	/* Reserved pages of the range go, others stay. */
	mock_punch(test, mf, 0, 20);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"),
			(EXTENT - 20) * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 20, &next));
	KUNIT_EXPECT_EQ(test, next.pfn, mp.pfn + 11);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"),
			(EXTENT - 21) * PAGE_SIZE);

	/* Single pages first, and then all else: a new extent would lie over them. */
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 3, &mp));
	mock_punch(test, mf, 4, EXTENT - 4);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"), 0);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 4, &next));
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"), 0);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 3, &next));
	KUNIT_EXPECT_EQ(test, next.pfn, mp.pfn);

	/* An empty one makes room for another. */
	mock_punch(test, mf, 0, EXTENT);
	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, 3, &mp));
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-reserved"),
			(EXTENT - 1) * PAGE_SIZE);
}

#define RANDOM_STEPS	300

static void random_steps(struct kunit *test)
{
	struct absent_file af = absent_begin(test);
	u64 seed = get_random_u64();
	struct rnd_state rnd;
	int step;

	kunit_info(test, "seed %llu\n", seed);
	prandom_seed_state(&rnd, seed);
	for (step = 0; step < RANDOM_STEPS; step++) {
		pgoff_t start = prandom_u32_state(&rnd) % af.nr;
		unsigned long nr = 1 + prandom_u32_state(&rnd) % (af.nr - start);
		unsigned int op = prandom_u32_state(&rnd) % 8;

		if (op < 6)
			nr = 1 + nr % 32;
		nr = min(nr, af.nr - start);
		switch (op % 4) {
		case 0:
			page_at(test, &af, start);
			break;
		case 1:
			mock_convert(test, af.mf, start, nr, MEMFILE_PRIVATE);
			break;
		case 2:
			mock_convert(test, af.mf, start, nr, MEMFILE_SHARED);
			break;
		case 3:
			mock_punch(test, af.mf, start, nr);
			break;
		}
		if (step % 10 == 0)
			expect_direct_map(test, &af);
	}
	expect_direct_map(test, &af);
}

static struct kunit_case memfile_direct_map_cases[] = {
	KUNIT_CASE(contradictions),
	KUNIT_CASE_PARAM(allocation, absent_gen_params),
	KUNIT_CASE_PARAM(conversion, absent_gen_params),
	KUNIT_CASE_PARAM(punch, absent_gen_params),
	KUNIT_CASE_PARAM(closing, absent_gen_params),
	KUNIT_CASE_PARAM(populate, absent_gen_params),
	KUNIT_CASE_PARAM(memory_error, absent_gen_params),
	KUNIT_CASE_PARAM(no_memory, absent_gen_params),
	KUNIT_CASE_PARAM(memory_error_before_undo, absent_gen_params),
	KUNIT_CASE_PARAM(leak, absent_gen_params),
	KUNIT_CASE(extents),
	KUNIT_CASE(extent_shrunk),
	KUNIT_CASE(extent_punched),
	KUNIT_CASE_PARAM_ATTR(random_steps, absent_gen_params, { .speed = KUNIT_SPEED_SLOW }),
	{ }
};

static struct kunit_suite memfile_direct_map_suite = {
	.name = "memfile_direct_map",
	.init = mock_init,
	.test_cases = memfile_direct_map_cases,
};

kunit_test_suite(memfile_direct_map_suite);
