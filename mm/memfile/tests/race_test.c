// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once: secondary MMUs fault, the host punches, allocates,
 * converts, and uses a mapping; consumers come and go, memory fails.
 *
 * The mock of a secondary MMU maps pages by the protocol that a real one has to
 * keep (KVM's mmu_invalidate_seq), and looks at what it has mapped under its
 * lock: such a page must be in the file, at the offset that it was mapped for,
 * in the state that it was mapped in, and hold what was written there or zeroes.
 * No host mapping has a private page, and nobody finds outside what was written
 * to one.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/rwsem.h>
#include <linux/set_memory.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "mock.h"

static unsigned long seed;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "Seed of the races; 0 (default): a random one");

static unsigned int race_ms = 500;
module_param(race_ms, uint, 0444);
MODULE_PARM_DESC(race_ms, "How long each race takes, in milliseconds");

#define NR_PAGES	64UL
#define RESERVED_PAGES	(SZ_2M / PAGE_SIZE)
#define NR_MMUS		2
#define NR_FAULTERS	2	/* vCPUs for each MMU */
#define MAX_STEPS	6	/* other tasks */
#define BOTH		(MEMFILE_SHARED | MEMFILE_PRIVATE)

/* What is written to a page: its offset, and whether it was private then. */
#define CONTENT(index)	((index) + 1)
#define SECRET		0x80UL

struct mock_mmu {
	struct memfile_consumer consumer;
	/* Held for reading by faults; for writing to register and unregister. */
	struct rw_semaphore binding;
	bool bound;
	spinlock_t lock;		/* protects what follows */
	struct xarray map;		/* page offset -> pfn and state */
	unsigned long seq;
	int in_progress;
};

enum race_fault {
	RACE_FINE,
	RACE_MAPPED_AT_START,
	RACE_MAPPED_AT_END,
	RACE_UNBALANCED,
	RACE_OUT_OF_RANGE,
	RACE_NOT_IN_FILE,
	RACE_WRONG_PAGE,
	RACE_WRONG_CONTENT,
	RACE_WRONG_STATE,
	RACE_HOST_MAPS_PRIVATE,
	RACE_DIRECT_MAP,
	RACE_LEAK,
	RACE_LOST,
	RACE_ERROR,
};

struct race {
	struct mock_file *mf;
	struct mock_mmu mmus[NR_MMUS];
	unsigned long seed;
	/* Private pages are not in the direct map. */
	bool absent;
	/* Of the host. */
	struct mm_struct *mm;
	unsigned long __user *addr;
	/* Somebody else may have a reference to a page, for a moment. */
	bool references;
	/* Nobody frees or wipes a page, so none may lose its content. */
	bool keeps;
	DECLARE_BITMAP(written, NR_PAGES);
	struct task_struct *tasks[NR_MMUS * NR_FAULTERS + MAX_STEPS];
	unsigned int nr_tasks;
	atomic_t nr_started;
	/* The first thing that went wrong, and the first error. */
	atomic_t fault;
	atomic_t err;
	/* To know that the race was one. */
	atomic_long_t mapped, fenced, checked, punched, allocated, bound, failed;
	atomic_long_t converted, again, host_used, host_faulted;
};

static struct race race;

static void race_found(enum race_fault fault)
{
	atomic_cmpxchg(&race.fault, RACE_FINE, fault);
}

/* What ends a task looks like a signal to it. */
static void race_check_error(int err)
{
	if (!err || (err == -EINTR && kthread_should_stop()))
		return;
	atomic_cmpxchg(&race.err, 0, err);
	race_found(RACE_ERROR);
}

static struct mock_mmu *to_mmu(struct memfile_consumer *consumer)
{
	return container_of(consumer, struct mock_mmu, consumer);
}

static void *mmu_entry(unsigned long pfn, enum memfile_state state)
{
	return xa_mk_value(pfn * 2 + (state == MEMFILE_PRIVATE));
}

static unsigned long mmu_entry_pfn(void *entry)
{
	return xa_to_value(entry) / 2;
}

static enum memfile_state mmu_entry_state(void *entry)
{
	return xa_to_value(entry) % 2 ? MEMFILE_PRIVATE : MEMFILE_SHARED;
}

static bool mmu_maps(struct mock_mmu *mmu, const struct memfile_invalidation *inv)
{
	unsigned long index;
	void *entry;

	xa_for_each_range(&mmu->map, index, entry, inv->start, inv->end - 1) {
		if (mmu_entry_state(entry) & inv->states)
			return true;
	}
	return false;
}

/* No more than is asked for: what is in another state may stay. */
static void mmu_zap(struct mock_mmu *mmu, const struct memfile_invalidation *inv)
{
	unsigned long index;
	void *entry;

	xa_for_each_range(&mmu->map, index, entry, inv->start, inv->end - 1) {
		if (mmu_entry_state(entry) & inv->states)
			xa_erase(&mmu->map, index);
	}
}

static void mmu_check_range(struct memfile_consumer *consumer,
			    const struct memfile_invalidation *inv)
{
	if (inv->start < consumer->node.start || inv->start >= inv->end ||
	    inv->end - 1 > consumer->node.last)
		race_found(RACE_OUT_OF_RANGE);
}

static void mmu_invalidate_start(struct memfile_consumer *consumer,
				 const struct memfile_invalidation *inv)
{
	struct mock_mmu *mmu = to_mmu(consumer);

	mmu_check_range(consumer, inv);
	spin_lock(&mmu->lock);
	mmu->in_progress++;
	mmu_zap(mmu, inv);
	if (mmu_maps(mmu, inv))
		race_found(RACE_MAPPED_AT_START);
	spin_unlock(&mmu->lock);
}

static void mmu_invalidate_end(struct memfile_consumer *consumer,
			       const struct memfile_invalidation *inv)
{
	struct mock_mmu *mmu = to_mmu(consumer);

	mmu_check_range(consumer, inv);
	spin_lock(&mmu->lock);
	if (mmu_maps(mmu, inv))
		race_found(RACE_MAPPED_AT_END);
	mmu->seq++;
	if (--mmu->in_progress < 0)
		race_found(RACE_UNBALANCED);
	spin_unlock(&mmu->lock);
}

static const struct memfile_consumer_ops mmu_ops = {
	.owner			= THIS_MODULE,
	.invalidate_start	= mmu_invalidate_start,
	.invalidate_end		= mmu_invalidate_end,
};

/* What somebody sees at an offset; @secrets: he may see all. */
static void race_check_content(pgoff_t index, unsigned long content, bool secrets,
			       bool written)
{
	if (content && (content & ~SECRET) != CONTENT(index))
		race_found(RACE_WRONG_CONTENT);
	if (content & SECRET && !secrets && !race.keeps)
		race_found(RACE_LEAK);
	if (race.keeps && written && !content)
		race_found(RACE_LOST);
}

/* The guest's access to a page that is mapped.  mmu->lock is held. */
static void mmu_access(struct mock_mmu *mmu, pgoff_t index, void *entry)
{
	struct folio *folio = page_folio(pfn_to_page(mmu_entry_pfn(entry)));
	bool private = mmu_entry_state(entry) == MEMFILE_PRIVATE;
	bool written = test_bit(index, race.written);
	unsigned long *content;

	atomic_long_inc(&race.checked);
	if (READ_ONCE(folio->mapping) != mmu->consumer.inode->i_mapping) {
		race_found(RACE_NOT_IN_FILE);
		return;
	}
	if (folio->index != index)
		race_found(RACE_WRONG_PAGE);
	if (memfile_state(&mmu->consumer, index) != mmu_entry_state(entry))
		race_found(RACE_WRONG_STATE);
	if (private && folio_mapped(folio))
		race_found(RACE_HOST_MAPS_PRIVATE);

	if (private && race.absent) {
		struct address_space *mapping = folio->mapping;

		/* A conversion puts the page back before it has anything unmapped. */
		if (filemap_invalidate_trylock_shared(mapping)) {
			if (kernel_page_present(&folio->page))
				race_found(RACE_DIRECT_MAP);
			filemap_invalidate_unlock_shared(mapping);
		}
		return;
	}
	content = kmap_local_folio(folio, 0);
	race_check_content(index, READ_ONCE(*content), private, written);
	WRITE_ONCE(*content, CONTENT(index) | (private ? SECRET : 0));
	kunmap_local(content);
	set_bit(index, race.written);
}

/* A vCPU's fault.  The MMU is bound. */
static void mmu_fault(struct mock_mmu *mmu, pgoff_t index)
{
	unsigned long seq = READ_ONCE(mmu->seq);
	struct memfile_pfn mp;
	void *entry;
	int err;

	/* Pairs with the lock that invalidate_end takes. */
	smp_rmb();
	err = memfile_lookup_pfn(&mmu->consumer, index, &mp);
	if (err) {
		race_check_error(err);
		return;
	}

	spin_lock(&mmu->lock);
	if (mmu->in_progress || mmu->seq != seq) {
		atomic_long_inc(&race.fenced);
	} else {
		entry = mmu_entry(mp.pfn, mp.state);
		/* Not mapped, if there is no memory for it: no harm in that. */
		xa_store(&mmu->map, index, entry, GFP_ATOMIC);
		mmu_access(mmu, index, entry);
		atomic_long_inc(&race.mapped);
	}
	spin_unlock(&mmu->lock);
}

static void race_do_fault(struct rnd_state *rnd)
{
	struct mock_mmu *mmu = &race.mmus[prandom_u32_state(rnd) % NR_MMUS];
	pgoff_t index;
	void *entry;

	down_read(&mmu->binding);
	if (mmu->bound) {
		index = mmu->consumer.node.start + prandom_u32_state(rnd) %
			(mmu->consumer.node.last - mmu->consumer.node.start + 1);
		spin_lock(&mmu->lock);
		entry = xa_load(&mmu->map, index);
		if (entry)
			mmu_access(mmu, index, entry);
		spin_unlock(&mmu->lock);
		if (!entry)
			mmu_fault(mmu, index);
	}
	up_read(&mmu->binding);
}

static void race_range(struct rnd_state *rnd, pgoff_t *start, unsigned long *nr)
{
	*start = prandom_u32_state(rnd) % NR_PAGES;
	*nr = 1 + prandom_u32_state(rnd) % (NR_PAGES - *start);
	if (prandom_u32_state(rnd) % 2)
		*nr = min(*nr, 4);
}

static void race_do_punch(struct rnd_state *rnd)
{
	unsigned long nr;
	pgoff_t start;

	race_range(rnd, &start, &nr);
	race_check_error(vfs_fallocate(race.mf->file,
				       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       start << PAGE_SHIFT, nr << PAGE_SHIFT));
	atomic_long_inc(&race.punched);
}

static void race_do_allocate(struct rnd_state *rnd)
{
	unsigned long nr;
	pgoff_t start;

	race_range(rnd, &start, &nr);
	race_check_error(vfs_fallocate(race.mf->file, FALLOC_FL_KEEP_SIZE,
				       start << PAGE_SHIFT, nr << PAGE_SHIFT));
	atomic_long_inc(&race.allocated);
}

static void race_do_convert(struct rnd_state *rnd)
{
	bool shared = prandom_u32_state(rnd) % 2;
	pgoff_t start, where;
	unsigned long nr;
	int err;

	race_range(rnd, &start, &nr);
	err = memfile_convert(race.mf->file, start, start + nr,
			      shared ? MEMFILE_SHARED : MEMFILE_PRIVATE, &where);
	if (err == -EAGAIN && !shared && race.references)
		atomic_long_inc(&race.again);
	else
		race_check_error(err);
	atomic_long_inc(&race.converted);
}

/* The VMM: it reads and writes what it can reach. */
static void race_do_host(struct rnd_state *rnd)
{
	pgoff_t index = prandom_u32_state(rnd) % NR_PAGES;
	unsigned long __user *addr = race.addr + index * (PAGE_SIZE / sizeof(long));
	bool written = test_bit(index, race.written);
	unsigned long content;
	int err;

	kthread_use_mm(race.mm);
	if (prandom_u32_state(rnd) % 2) {
		err = put_user(CONTENT(index), addr);
		if (!err)
			set_bit(index, race.written);
	} else {
		err = get_user(content, addr);
		if (!err)
			race_check_content(index, content, false, written);
	}
	kthread_unuse_mm(race.mm);
	atomic_long_inc(err ? &race.host_faulted : &race.host_used);
}

/* Memslots are moved: the MMU drops what it has mapped, and binds anew. */
static void race_do_bind(struct rnd_state *rnd)
{
	static const struct memfile_invalidation all = {
		.end = NR_PAGES,
		.states = BOTH,
	};
	struct mock_mmu *mmu = &race.mmus[prandom_u32_state(rnd) % NR_MMUS];
	unsigned long nr;
	pgoff_t start;
	int err;

	down_write(&mmu->binding);
	if (mmu->bound) {
		memfile_unregister(&mmu->consumer);
		mmu->bound = false;
		spin_lock(&mmu->lock);
		if (mmu->in_progress)
			race_found(RACE_UNBALANCED);
		mmu_zap(mmu, &all);
		spin_unlock(&mmu->lock);
	}
	race_range(rnd, &start, &nr);
	err = memfile_register(race.mf->file, &mmu->consumer, start, nr);
	race_check_error(err);
	mmu->bound = !err;
	up_write(&mmu->binding);
	atomic_long_inc(&race.bound);
}

/* A consumer whose memory is gone as soon as it is unregistered. */
static void race_do_come_and_go(struct rnd_state *rnd)
{
	struct mock_mmu *mmu = kzalloc_obj(*mmu);
	unsigned long nr;
	pgoff_t start;
	int err;

	if (!mmu)
		return;
	spin_lock_init(&mmu->lock);
	xa_init(&mmu->map);
	mmu->consumer.ops = &mmu_ops;
	mmu->consumer.domain = mmu;
	race_range(rnd, &start, &nr);
	err = memfile_register(race.mf->file, &mmu->consumer, start, nr);
	race_check_error(err);
	if (!err) {
		if (prandom_u32_state(rnd) % 2)
			cond_resched();
		memfile_unregister(&mmu->consumer);
	}
	if (mmu->in_progress)
		race_found(RACE_UNBALANCED);
	memset(mmu, 0x6b, sizeof(*mmu));
	kfree(mmu);
}

/* What memory_failure() does to a file, without a page that is lost by it. */
static void race_do_memory_failure(struct rnd_state *rnd)
{
	struct address_space *mapping = race.mf->file->f_mapping;
	struct folio *folio;

	folio = filemap_lock_folio(mapping, prandom_u32_state(rnd) % NR_PAGES);
	if (IS_ERR(folio))
		return;
	mapping->a_ops->error_remove_folio(mapping, folio);
	folio_unlock(folio);
	folio_put(folio);
	atomic_long_inc(&race.failed);
}

static int race_task(void *arg)
{
	void (*step)(struct rnd_state *rnd) = arg;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, race.seed + atomic_inc_return(&race.nr_started));
	while (!kthread_should_stop()) {
		step(&rnd);
		cond_resched();
	}
	return 0;
}

static void stop_tasks(void *unused)
{
	while (race.nr_tasks)
		kthread_stop(race.tasks[--race.nr_tasks]);
}

static void start_task(struct kunit *test, void (*step)(struct rnd_state *rnd))
{
	struct task_struct *task = kthread_run(race_task, step, "memfile_race");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	race.tasks[race.nr_tasks++] = task;
}

static void race_end(void *unused)
{
	int i;

	for (i = 0; i < NR_MMUS; i++) {
		if (!race.mmus[i].bound)
			continue;
		memfile_unregister(&race.mmus[i].consumer);
		race.mmus[i].bound = false;
		xa_destroy(&race.mmus[i].map);
	}
}

static void race_begin(struct kunit *test, unsigned int flags)
{
	int i;

	memset(&race, 0, sizeof(race));
	race.seed = seed ?: get_random_u32();
	race.absent = memfile_absent_states(flags) & MEMFILE_PRIVATE;
	/* With an extent, or without. */
	race.mf = mock_create(test, race.seed & 1 ? RESERVED_PAGES : NR_PAGES, flags);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, race_end, NULL));
	for (i = 0; i < NR_MMUS; i++) {
		struct mock_mmu *mmu = &race.mmus[i];

		mmu->consumer.ops = &mmu_ops;
		mmu->consumer.domain = mmu;
		init_rwsem(&mmu->binding);
		spin_lock_init(&mmu->lock);
		xa_init(&mmu->map);
		KUNIT_ASSERT_EQ(test, 0,
				memfile_register(race.mf->file, &mmu->consumer, 0, NR_PAGES));
		mmu->bound = true;
	}
}

/* A fault of the host has a reference to the page, and so has memory failure. */
static void race_map(struct kunit *test)
{
	race.addr = mock_mmap(test, race.mf, NR_PAGES);
	race.mm = current->mm;
	race.references = true;
}

static void race_run(struct kunit *test,
		     void (*const *steps)(struct rnd_state *rnd), unsigned int nr)
{
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, stop_tasks, NULL));
	for (i = 0; i < NR_MMUS * NR_FAULTERS; i++)
		start_task(test, race_do_fault);
	for (i = 0; i < nr; i++)
		start_task(test, steps[i]);
	msleep(race_ms);
	kunit_release_action(test, stop_tasks, NULL);
}

/* The pages that are there, and private. */
static unsigned long race_nr_private(void)
{
	struct file *file = race.mf->file;
	enum memfile_state state;
	unsigned long nr = 0;
	pgoff_t index;

	for (index = 0; index < NR_PAGES; index++) {
		memfile_query(file, index, index + 1, &state);
		nr += state == MEMFILE_PRIVATE &&
		      xa_load(&file->f_mapping->i_pages, index);
	}
	return nr;
}

static void race_check(struct kunit *test)
{
	pgoff_t where;
	int i;

	kunit_info(test, "seed %lu, %u ms: %ld mapped, %ld fenced, %ld accesses, %ld punched, %ld allocated, %ld bound, %ld failed, %ld converted, %ld again, %ld used and %ld not by the host\n",
		   race.seed, race_ms, atomic_long_read(&race.mapped),
		   atomic_long_read(&race.fenced), atomic_long_read(&race.checked),
		   atomic_long_read(&race.punched), atomic_long_read(&race.allocated),
		   atomic_long_read(&race.bound), atomic_long_read(&race.failed),
		   atomic_long_read(&race.converted), atomic_long_read(&race.again),
		   atomic_long_read(&race.host_used),
		   atomic_long_read(&race.host_faulted));

	KUNIT_EXPECT_EQ(test, atomic_read(&race.fault), RACE_FINE);
	KUNIT_EXPECT_EQ(test, atomic_read(&race.err), 0);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.mapped), 0);
	for (i = 0; i < NR_MMUS; i++)
		KUNIT_EXPECT_EQ(test, race.mmus[i].in_progress, 0);

	/* The books are right when nobody is at them. */
	KUNIT_EXPECT_EQ(test, mock_nr_pages(race.mf) * PAGE_SIZE,
			mock_fdinfo(test, race.mf, "memfile-private") +
			mock_fdinfo(test, race.mf, "memfile-shared"));
	KUNIT_EXPECT_EQ(test, race_nr_private() * PAGE_SIZE,
			mock_fdinfo(test, race.mf, "memfile-private"));
	/* Nobody has kept a reference. */
	KUNIT_EXPECT_EQ(test, 0,
			memfile_convert(race.mf->file, 0, NR_PAGES, MEMFILE_PRIVATE, &where));
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, race.mf, "memfile-shared"), 0);
	mock_punch(test, race.mf, 0, NR_PAGES);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(race.mf), 0);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, race.mf, "memfile-private"), 0);
}

static void race_punch(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_punch, race_do_punch,
	};

	race_begin(test, 0);
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.punched), 0);
}

static void race_punch_shared(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_punch, race_do_allocate,
	};

	race_begin(test, MEMFILE_INIT_SHARED);
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.allocated), 0);
}

static void race_memory_failure(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_memory_failure, race_do_memory_failure, race_do_punch,
	};

	race_begin(test, 0);
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.failed), 0);
}

static void race_registration(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_bind, race_do_come_and_go, race_do_punch,
		race_do_memory_failure,
	};

	race_begin(test, 0);
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.bound), 0);
}

/* Nobody has a reference, so nothing is in the way, and nothing is lost. */
static void race_convert(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_convert, race_do_convert, race_do_allocate,
	};

	race_begin(test, MEMFILE_KEEP_CONTENT);
	mock_log.reclaim_keeps = true;
	race.keeps = true;
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.converted), 0);
}

static void race_convert_punch(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_convert, race_do_convert, race_do_punch,
	};

	race_begin(test, MEMFILE_INIT_SHARED);
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.converted), 0);
}

static void race_convert_host(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_convert, race_do_convert, race_do_host, race_do_host,
	};

	race_begin(test, MEMFILE_MMAP | MEMFILE_INIT_SHARED);
	race_map(test);
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.converted), 0);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.host_used), 0);
}

static void race_convert_memory_failure(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_convert, race_do_convert, race_do_memory_failure,
	};

	race_begin(test, 0);
	race.references = true;
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.converted), 0);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.failed), 0);
}

static void race_everything(struct kunit *test)
{
	static void (*const steps[])(struct rnd_state *rnd) = {
		race_do_convert, race_do_host, race_do_punch, race_do_bind,
		race_do_come_and_go, race_do_memory_failure,
	};

	race_begin(test, MEMFILE_MMAP);
	race_map(test);
	race_run(test, steps, ARRAY_SIZE(steps));
	race_check(test);
	KUNIT_EXPECT_GT(test, atomic_long_read(&race.converted), 0);
}

static struct kunit_case race_cases[] = {
	KUNIT_CASE_SLOW(race_punch),
	KUNIT_CASE_SLOW(race_punch_shared),
	KUNIT_CASE_SLOW(race_memory_failure),
	KUNIT_CASE_SLOW(race_registration),
	KUNIT_CASE_SLOW(race_convert),
	KUNIT_CASE_SLOW(race_convert_punch),
	KUNIT_CASE_SLOW(race_convert_host),
	KUNIT_CASE_SLOW(race_convert_memory_failure),
	KUNIT_CASE_SLOW(race_everything),
	{}
};

static struct kunit_suite race_suite = {
	.name = "memfile_race",
	.init = mock_init,
	.test_cases = race_cases,
};

kunit_test_suite(race_suite);
