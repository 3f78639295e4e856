// SPDX-License-Identifier: GPL-2.0
/* fallocate() through the VFS, and what happens when memory is short. */
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include <kunit/static_stub.h>

#include "../internal.h"
#include "mock.h"

#define BATCH	512UL
#define KEEP	FALLOC_FL_KEEP_SIZE
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static int mmu;

static void bad_mode(struct kunit *test)
{
	static const int modes[] = {
		0,
		FALLOC_FL_PUNCH_HOLE,
		FALLOC_FL_NO_HIDE_STALE | KEEP,
		FALLOC_FL_COLLAPSE_RANGE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | KEEP,
		FALLOC_FL_INSERT_RANGE,
		FALLOC_FL_UNSHARE_RANGE,
		FALLOC_FL_UNSHARE_RANGE | KEEP,
		FALLOC_FL_WRITE_ZEROES,
		1 << 30,
	};
	struct mock_file *mf = mock_create(test, 10, 0);
	int i;

	mock_register(test, mf, &mmu, 0, 10);
	mock_allocate(test, mf, 0, 5);
	mock_log_clear();
	for (i = 0; i < ARRAY_SIZE(modes); i++)
		KUNIT_EXPECT_EQ_MSG(test, -EOPNOTSUPP,
				    vfs_fallocate(mf->file, modes[i], 0, 10 * PAGE_SIZE),
				    "mode %#x", modes[i]);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 5);
	KUNIT_EXPECT_EQ(test, i_size_read(file_inode(mf->file)), 10 * PAGE_SIZE);
}

static void bad_range(struct kunit *test)
{
	static const struct {
		loff_t offset, len;
		int allocate, punch;
	} bad[] = {
		{ 0, 0, -EINVAL, -EINVAL },
		{ -(loff_t)PAGE_SIZE, PAGE_SIZE, -EINVAL, -EINVAL },
		{ 0, -(loff_t)PAGE_SIZE, -EINVAL, -EINVAL },
		{ 1, PAGE_SIZE, -EINVAL, -EINVAL },
		{ PAGE_SIZE / 2, PAGE_SIZE / 2, -EINVAL, -EINVAL },
		{ 0, 1, -EINVAL, -EINVAL },
		{ 0, PAGE_SIZE + 1, -EINVAL, -EINVAL },
		{ PAGE_SIZE, PAGE_SIZE - 1, -EINVAL, -EINVAL },
		{ LLONG_MAX & PAGE_MASK, PAGE_SIZE, -EFBIG, -EFBIG },
		{ PAGE_SIZE, LLONG_MAX & PAGE_MASK, -EFBIG, -EFBIG },
		/* A hole behind the end is one already. */
		{ 0, 11 * PAGE_SIZE, -EINVAL, 0 },
		{ 10 * PAGE_SIZE, PAGE_SIZE, -EINVAL, 0 },
		{ 9 * PAGE_SIZE, 2 * PAGE_SIZE, -EINVAL, 0 },
		{ 1000 * PAGE_SIZE, PAGE_SIZE, -EINVAL, 0 },
	};
	struct mock_file *mf = mock_create(test, 10, 0);
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ_MSG(test, bad[i].allocate,
				    vfs_fallocate(mf->file, KEEP, bad[i].offset, bad[i].len),
				    "%#llx, +%#llx", bad[i].offset, bad[i].len);
		KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
	}

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		mock_allocate(test, mf, 0, 10);
		KUNIT_EXPECT_EQ_MSG(test, bad[i].punch,
				    vfs_fallocate(mf->file, PUNCH, bad[i].offset, bad[i].len),
				    "%#llx, +%#llx", bad[i].offset, bad[i].len);
		if (bad[i].punch)
			KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 10);
	}
}

static void punch_behind_the_end(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);

	mock_allocate(test, mf, 0, 10);
	mock_log_clear();
	mock_punch(test, mf, 8, 100);
	MOCK_EXPECT(test, 0, MOCK_START, mc, 8, 10);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 8);
	mock_log_clear();
	mock_punch(test, mf, 10, 100);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);
}

static void allocate_again(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);
	struct memfile_pfn mp;

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 4, &mp));
	mock_fill(mp.page, 0x44);
	mock_allocate(test, mf, 0, 10);
	mock_allocate(test, mf, 0, 10);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 10);
	KUNIT_EXPECT_TRUE(test, mock_is_filled(mp.page, 0x44));
	KUNIT_EXPECT_PTR_EQ(test, mf->file->f_mapping, page_folio(mp.page)->mapping);

	/* A reference that somebody has kept would show now. */
	mock_punch(test, mf, 0, 10);
	KUNIT_EXPECT_EQ(test, GUP_PIN_COUNTING_BIAS, page_count(mp.page));
	memfile_put_pfn(&mp);
}

static void signal_before(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	long punched, allocated;

	mock_allocate(test, mf, 0, 5);
	mock_want_signals();
	send_sig(SIGUSR1, current, 1);
	allocated = vfs_fallocate(mf->file, KEEP, 0, 10 * PAGE_SIZE);
	punched = vfs_fallocate(mf->file, PUNCH, 0, PAGE_SIZE);
	mock_forget_signals();
	KUNIT_EXPECT_EQ(test, allocated, -EINTR);
	/* Only a fatal one ends a punch: what is punched does not come back. */
	KUNIT_EXPECT_EQ(test, punched, 0);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 4);

	mock_want_signals();
	send_sig(SIGKILL, current, 1);
	allocated = vfs_fallocate(mf->file, KEEP, 0, 10 * PAGE_SIZE);
	punched = vfs_fallocate(mf->file, PUNCH, 0, 10 * PAGE_SIZE);
	mock_forget_signals();
	KUNIT_EXPECT_EQ(test, allocated, -EINTR);
	KUNIT_EXPECT_EQ(test, punched, -EINTR);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 4);
}

static void signal_in_allocate(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3 * BATCH, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 3 * BATCH);
	long err;

	mc->signal = SIGUSR1;
	mc->signal_at = MOCK_ALLOCATED;
	mock_want_signals();
	err = vfs_fallocate(mf->file, KEEP, 0, 3 * BATCH * PAGE_SIZE);
	mock_forget_signals();
	KUNIT_EXPECT_EQ(test, err, -EINTR);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), BATCH);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 1);
}

/* The batch that was begun is finished, and nobody waits for its end. */
static void signal_in_punch(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3 * BATCH, MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 3 * BATCH);
	long err;

	mock_allocate(test, mf, 0, 3 * BATCH);
	mock_log_clear();
	mc->signal = SIGKILL;
	mc->signal_at = MOCK_START;
	mock_want_signals();
	err = vfs_fallocate(mf->file, PUNCH, 0, 3 * BATCH * PAGE_SIZE);
	mock_forget_signals();
	KUNIT_EXPECT_EQ(test, err, -EINTR);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 2 * BATCH);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 2);
	MOCK_EXPECT(test, 0, MOCK_START, mc, 0, BATCH);
	MOCK_EXPECT(test, 1, MOCK_END, mc, 0, BATCH);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);
}

/* Allocation that fails when it is told to */

static struct {
	unsigned long fail_at;		/* the nth call from now on; 0: never */
	unsigned long calls;
	int err;
} shortage;

static struct folio *short_add_folio(struct memfile *memfile, struct xa_state *xas)
{
	struct kunit *test = kunit_get_current_test();
	struct folio *folio;

	if (++shortage.calls == shortage.fail_at)
		return ERR_PTR(shortage.err);

	kunit_deactivate_static_stub(test, memfile_add_folio);
	folio = memfile_add_folio(memfile, xas);
	kunit_activate_static_stub(test, memfile_add_folio, short_add_folio);
	return folio;
}

static void fail_allocation(struct kunit *test, unsigned long nth, int err)
{
	shortage.fail_at = nth;
	shortage.calls = 0;
	shortage.err = err;
	kunit_activate_static_stub(test, memfile_add_folio, short_add_folio);
}

static void stop_failing(struct kunit *test)
{
	kunit_deactivate_static_stub(test, memfile_add_folio);
}

static void allocate_enomem(struct kunit *test)
{
	static const unsigned long nth[] = {
		1, 2, 100, BATCH, BATCH + 1, BATCH + 2, 2 * BATCH,
	};
	struct mock_file *mf = mock_create(test, 2 * BATCH, 0);
	int i;

	for (i = 0; i < ARRAY_SIZE(nth); i++) {
		fail_allocation(test, nth[i], -ENOMEM);
		KUNIT_EXPECT_EQ(test, -ENOMEM,
				vfs_fallocate(mf->file, KEEP, 0, 2 * BATCH * PAGE_SIZE));
		stop_failing(test);
		/* Those before it stay. */
		KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), nth[i] - 1);
		KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"),
				(nth[i] - 1) * PAGE_SIZE);
		mock_punch(test, mf, 0, 2 * BATCH);
	}
}

static int fill_nothing(unsigned long pfn, void *arg)
{
	return 0;
}

static void get_pfn_enomem(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);
	struct memfile_pfn mp = { .pfn = 12345 };

	fail_allocation(test, 1, -ENOMEM);
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfile_get_pfn(&mc->consumer, 5, &mp));
	KUNIT_EXPECT_EQ(test, mp.pfn, 12345);
	fail_allocation(test, 1, -ENOMEM);
	KUNIT_EXPECT_EQ(test, -ENOMEM,
			memfile_populate(&mc->consumer, 5, fill_nothing, NULL));
	stop_failing(test);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
	KUNIT_EXPECT_EQ(test, mock_log.nr, 0);

	KUNIT_EXPECT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 5, &mp));
	memfile_put_pfn(&mp);
}

/* Somebody else was faster: look again. */
static void get_pfn_eexist(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 10, 0);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);
	struct memfile_pfn mp;

	fail_allocation(test, 1, -EEXIST);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 5, &mp));
	stop_failing(test);
	KUNIT_EXPECT_EQ(test, shortage.calls, 2);
	memfile_put_pfn(&mp);
}

static int scenario_get(struct mock_consumer *mc, pgoff_t index)
{
	struct memfile_pfn mp;
	int err = memfile_get_pfn(&mc->consumer, index, &mp);

	if (!err)
		memfile_put_pfn(&mp);
	return err;
}

static int scenario(struct mock_file *mf, struct mock_consumer *mc)
{
	int err;

	err = vfs_fallocate(mf->file, KEEP, 0, 4 * PAGE_SIZE);
	if (!err)
		err = scenario_get(mc, 5);
	if (!err)
		err = memfile_populate(&mc->consumer, 6, fill_nothing, NULL);
	if (!err)
		err = scenario_get(mc, 2);
	if (!err)
		err = vfs_fallocate(mf->file, PUNCH, 2 * PAGE_SIZE, 4 * PAGE_SIZE);
	if (!err)
		err = scenario_get(mc, 2);
	if (!err)
		err = vfs_fallocate(mf->file, KEEP, 0, 10 * PAGE_SIZE);
	return err;
}

/* Each allocation fails in turn, until there is none left to fail. */
static void each_allocation_fails(struct kunit *test)
{
	unsigned long nth;
	int err = -ENOMEM;

	for (nth = 1; err && nth < 100; nth++) {
		struct mock_file *mf = mock_create(test, 10, 0);
		struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 10);

		fail_allocation(test, nth, -ENOMEM);
		err = scenario(mf, mc);
		stop_failing(test);

		if (err)
			KUNIT_EXPECT_EQ(test, err, -ENOMEM);
		KUNIT_EXPECT_EQ(test, mc->balance, 0);
		KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"),
				mock_nr_pages(mf) * PAGE_SIZE);
		/* It works as soon as there is memory. */
		KUNIT_EXPECT_EQ(test, 0, scenario(mf, mc));
		KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 10);

		mock_unregister(mc);
		mock_log_clear();
		mock_close(mf);
		KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 10);
	}
	/* And one run without a failure. */
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, nth - 1, 4 + 1 + 1 + 1 + 6 + 1);
}

static struct kunit_case fallocate_cases[] = {
	KUNIT_CASE(bad_mode),
	KUNIT_CASE(bad_range),
	KUNIT_CASE(punch_behind_the_end),
	KUNIT_CASE(allocate_again),
	KUNIT_CASE(signal_before),
	KUNIT_CASE(signal_in_allocate),
	KUNIT_CASE(signal_in_punch),
	KUNIT_CASE(allocate_enomem),
	KUNIT_CASE(get_pfn_enomem),
	KUNIT_CASE(get_pfn_eexist),
	KUNIT_CASE(each_allocation_fails),
	{}
};

static struct kunit_suite fallocate_suite = {
	.name = "memfile_fallocate",
	.init = mock_init,
	.test_cases = fallocate_cases,
};

kunit_test_suite(fallocate_suite);
