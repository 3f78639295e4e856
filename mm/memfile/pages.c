// SPDX-License-Identifier: GPL-2.0
/*
 * The pages of a memory file: how they get into it, how a consumer gets at
 * them, and how they leave.
 *
 * A page enters the file zeroed, and in the direct map or out of it, as the state
 * of its offset wants it.
 *
 * A page leaves the file in one place, ->invalidate_folio, whatever the reason.
 */
#define pr_fmt(fmt) "memfile: " fmt

#include <linux/export.h>
#include <linux/highmem.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include <kunit/static_stub.h>
#include <kunit/visibility.h>

#include <trace/events/filemap.h>
#include <trace/events/memfile.h>

#include "../internal.h"
#include "internal.h"

/* A page from the allocator, for an offset for which no extent has one. */
static struct folio *memfile_alloc_folio(struct memfile *memfile, pgoff_t index,
					 enum memfile_state state)
{
	struct address_space *mapping = memfile->vfs_inode.i_mapping;
	struct mempolicy *policy;
	struct folio *folio;

	policy = mpol_shared_policy_lookup(&memfile->policy, index);
	folio = filemap_alloc_folio(mapping_gfp_mask(mapping) | __GFP_ZERO, 0, policy);
	mpol_cond_put(policy);
	if (folio)
		memfile_shadow_reserve(memfile, &folio->page, 1, index);
	if (folio && state & memfile->absent && memfile_remove_folio(memfile, folio)) {
		memfile_shadow_release(memfile, &folio->page, 1);
		folio_put(folio);
		return NULL;
	}
	return folio;
}

static void memfile_free_folio(struct memfile *memfile, struct folio *folio,
			       enum memfile_state state)
{
	/* Better lost than free and out of the direct map. */
	if (state & memfile->absent &&
	    WARN_ON_ONCE(memfile_restore_folio(memfile, folio)))
		return;
	memfile_shadow_release(memfile, &folio->page, 1);
	folio_put(folio);
}

/*
 * Charge a page and insert it, locked, at a place in the tree that is known and known to
 * be empty.  That is all of filemap_add_folio() that a file wants whose pages are of
 * order 0 and leave no shadows.
 */
static int memfile_insert_folio(struct address_space *mapping, struct xa_state *xas,
				struct folio *folio)
{
	gfp_t gfp = mapping_gfp_mask(mapping) & GFP_RECLAIM_MASK;
	int err;

	err = mem_cgroup_charge(folio, NULL, gfp);
	if (err)
		return err;

	__folio_set_locked(folio);
	folio_get(folio);
	folio->mapping = mapping;
	folio->index = xas->xa_index;

	do {
		xas_lock_irq(xas);
		WARN_ON_ONCE(xas_store(xas, folio));
		if (!xas_error(xas)) {
			mapping->nrpages++;
			lruvec_stat_mod_folio(folio, NR_FILE_PAGES, 1);
		}
		xas_unlock_irq(xas);
	} while (xas_nomem(xas, gfp));

	err = xas_error(xas);
	if (err) {
		folio->mapping = NULL;
		folio_put(folio);
		mem_cgroup_uncharge(folio);
		__folio_clear_locked(folio);
		return err;
	}

	trace_mm_filemap_add_to_page_cache(folio);
	folio_add_lru(folio);
	return 0;
}

/**
 * memfile_add_folio - allocate a page and insert it in the file
 * @memfile: The file.
 * @xas: Where in the file: a state of its pages, as xas_load() has left it.
 *
 * Context: invalidate_lock held in any mode, since before xas_load().  May sleep.
 * Return: The folio, locked, with a reference, or an ERR_PTR():
 *
 * * -ENOMEM - no memory, or the task's memory cgroup is at its limit
 * * -EEXIST - somebody else was faster
 */
VISIBLE_IF_KUNIT struct folio *memfile_add_folio(struct memfile *memfile,
						 struct xa_state *xas)
{
	struct address_space *mapping = memfile->vfs_inode.i_mapping;
	pgoff_t index = xas->xa_index;
	enum memfile_state state = memfile_state_at(memfile, index);
	struct memfile_extent *extent;
	struct folio *folio;
	struct page *page;
	int err;

	KUNIT_STATIC_STUB_REDIRECT(memfile_add_folio, memfile, xas);

	extent = memfile_extent_lock(memfile, index);
	if (!extent)
		return ERR_PTR(-ENOMEM);

	page = memfile_extent_take(memfile, extent, index);
	if (IS_ERR(page)) {
		folio = ERR_CAST(page);
		goto unlock;
	}

	folio = page ? page_folio(page) : memfile_alloc_folio(memfile, index, state);
	err = folio ? memfile_insert_folio(mapping, xas, folio) : -ENOMEM;
	if (err) {
		if (folio && !page)
			memfile_free_folio(memfile, folio, state);
		memfile_extent_untake(memfile, extent, index);
		folio = ERR_PTR(err);
		goto unlock;
	}

	folio_mark_uptodate(folio);
	memfile_shadow_enter(memfile, folio, state);
	if (!page)
		atomic_long_inc(&memfile->nr_single);
	if (state == MEMFILE_PRIVATE)
		atomic_long_inc(&memfile->nr_private);
	trace_memfile_allocate(&memfile->vfs_inode, index, folio_pfn(folio), state);
unlock:
	mutex_unlock(&extent->lock);
	return folio;
}
EXPORT_SYMBOL_IF_KUNIT(memfile_add_folio);

/**
 * memfile_grab_folio - look up a page of the file, or allocate it
 * @memfile: The file.
 * @index: Page offset, in the file.
 *
 * A new page is zero.
 *
 * No page leaves the file while invalidate_lock is held, and no node of the tree that
 * the pages are in.  So a page that is found needs no second look when it is locked, and
 * the place where one is missing is good for inserting it.
 *
 * Context: invalidate_lock held in any mode.  May sleep.
 * Return: The folio, locked, with a reference, or ERR_PTR(-ENOMEM).
 */
struct folio *memfile_grab_folio(struct memfile *memfile, pgoff_t index)
{
	struct address_space *mapping = memfile->vfs_inode.i_mapping;
	XA_STATE(xas, &mapping->i_pages, index);
	struct folio *folio;

	lockdep_assert_held(&mapping->invalidate_lock);

	do {
		xas_reset(&xas);
		rcu_read_lock();
		folio = xas_load(&xas);
		rcu_read_unlock();
		if (folio) {
			folio_get(folio);
			folio_lock(folio);
			/* Whoever gets it may write to it. */
			if (folio_test_checked(folio))
				folio_clear_checked(folio);
			return folio;
		}
		folio = memfile_add_folio(memfile, &xas);
	} while (folio == ERR_PTR(-EEXIST));
	return folio;
}

/**
 * memfile_note_wiped - note whether a page has been wiped
 * @page: In the file.  A consumer had it, and has let go of it now.
 * @wiped: Whether it is zero.
 *
 * Where it is hardware, or a hypervisor, that guards private pages, it is also what
 * wipes them when it gives them back.  The file need not do that again when the page
 * leaves, unless somebody has looked it up, or mapped it, in between.  That nobody
 * still writes to it who has looked it up before is for the consumer to know.
 *
 * Context: Any, as long as the page cannot leave the file.
 */
void memfile_note_wiped(struct page *page, bool wiped)
{
	if (wiped)
		folio_set_checked(page_folio(page));
	else
		folio_clear_checked(page_folio(page));
}
EXPORT_SYMBOL_FOR_MODULES(memfile_note_wiped, "kvm,memfile_kunit");

static void memfile_put_locked_folio(struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
}

/**
 * memfile_grab_sound_folio - get a page that may be shown to somebody
 * @memfile: The file.
 * @index: Page offset, in the file.
 *
 * Context: invalidate_lock held in any mode.  May sleep.
 * Return: The folio, locked, with a reference, or an ERR_PTR():
 *
 * * -ENOMEM - as for memfile_add_folio()
 * * -EHWPOISON - the page has a memory error
 */
struct folio *memfile_grab_sound_folio(struct memfile *memfile, pgoff_t index)
{
	struct folio *folio = memfile_grab_folio(memfile, index);

	if (IS_ERR(folio))
		return folio;

	if (folio_test_hwpoison(folio)) {
		memfile_put_locked_folio(folio);
		return ERR_PTR(-EHWPOISON);
	}
	return folio;
}

static int __memfile_lookup_pfn(struct memfile_consumer *consumer, pgoff_t index,
				struct memfile_pfn *mp, unsigned int foll)
{
	struct inode *inode = consumer->inode;
	struct memfile *memfile = MEMFILE_I(inode);
	enum memfile_state state;
	struct folio *folio;
	struct page *page;
	int err = 0;

	if (index < consumer->node.start || index > consumer->node.last)
		return -EINVAL;

	filemap_invalidate_lock_shared(inode->i_mapping);

	folio = memfile_grab_sound_folio(memfile, index);
	if (IS_ERR(folio)) {
		err = PTR_ERR(folio);
		goto unlock;
	}

	page = folio_file_page(folio, index);
	state = memfile_state_at(memfile, index);
	if (state == MEMFILE_PRIVATE && consumer->ops->prepare)
		err = consumer->ops->prepare(consumer, index, page_to_pfn(page), 1);
	if (!err && foll)
		err = try_grab_folio(folio, 1, foll);
	if (!err)
		memfile_shadow_lookup(consumer, page, index, state);
	/* The reference of the lookup goes before a converter can see it. */
	memfile_put_locked_folio(folio);
	if (err)
		goto unlock;

	*mp = (struct memfile_pfn) {
		.page = page,
		.pfn = page_to_pfn(page),
		.order = 0,
		.state = state,
	};
unlock:
	filemap_invalidate_unlock_shared(inode->i_mapping);
	return err;
}

/**
 * memfile_lookup_pfn - look up a page for a secondary MMU
 * @consumer: A registered consumer, which stays registered for the call.
 * @index: Page offset, in the range of the consumer.
 * @mp: Where to put the page.
 *
 * A page that is not there yet is allocated, and zeroed.  The state of the page
 * does not change (a lookup never does that).
 *
 * There is no reference in it: nothing that is looked up stands in the way of a
 * conversion.  The page may be mapped only if no invalidation of the offset has
 * started since before this call, and is the file's own until the next one
 * starts.  The consumer checks that by means of its own (KVM:
 * mmu_invalidate_retry()) under the lock that orders it against
 * ->invalidate_start.
 *
 * Context: Process context, may sleep.  Takes invalidate_lock (shared), so
 *	nothing that comes under it may be held.
 * Return: 0, or, with @mp untouched:
 *
 * * -EINVAL - @index is outside the consumer's range
 * * -ENOMEM - no memory, or the task's memory cgroup is at its limit
 * * -EHWPOISON - the page has a memory error
 * * any error of ->prepare
 */
int memfile_lookup_pfn(struct memfile_consumer *consumer, pgoff_t index,
		       struct memfile_pfn *mp)
{
	return __memfile_lookup_pfn(consumer, index, mp, 0);
}
EXPORT_SYMBOL_FOR_MODULES(memfile_lookup_pfn,
			  "kvm,kvm_snp_kunit,kvm_tdx_kunit,memfile_kunit");

/**
 * memfile_get_pfn - look up a page, and pin it
 * @consumer: A registered consumer, which stays registered for the call.
 * @index: Page offset, in the range of the consumer.
 * @mp: Where to put the page.
 *
 * As memfile_lookup_pfn(), for a consumer that cannot let go of a page when it
 * is told to.  The page is pinned, as by pin_user_pages(): it is not freed, and
 * cannot be converted (-EBUSY), until memfile_put_pfn().  A hole that is punched
 * takes it from the file all the same.
 *
 * Context: As for memfile_lookup_pfn().
 * Return: As for memfile_lookup_pfn().
 */
int memfile_get_pfn(struct memfile_consumer *consumer, pgoff_t index,
		    struct memfile_pfn *mp)
{
	return __memfile_lookup_pfn(consumer, index, mp, FOLL_PIN);
}
EXPORT_SYMBOL_FOR_MODULES(memfile_get_pfn, "kvm,memfile_kunit");

/**
 * memfile_populate - let a consumer fill a private page
 * @consumer: A registered consumer, which stays registered for the call.
 * @index: Page offset, in the range of the consumer.
 * @fill: Fills the page at @pfn with its first content and does whatever makes
 *	that final.  Its error becomes that of this call.
 * @arg: Passed to @fill.
 *
 * Nobody else can get at the page while @fill runs; it is in the direct map for
 * that time.  If @fill fails, a page that was not there before is freed; one that
 * was has what @fill has made of it.
 *
 * Context: Process context, may sleep.  Holds invalidate_lock exclusively over
 *	@fill, which must not fault in user memory: get the source before.
 * Return: 0, any error of @fill, or:
 *
 * * -EINVAL - @index is outside the consumer's range, or it is shared
 * * -ENOMEM - no memory, or the task's memory cgroup is at its limit
 * * -EHWPOISON - the page has a memory error
 */
int memfile_populate(struct memfile_consumer *consumer, pgoff_t index,
		     int (*fill)(unsigned long pfn, void *arg), void *arg)
{
	struct inode *inode = consumer->inode;
	struct memfile *memfile = MEMFILE_I(inode);
	loff_t pos = (loff_t)index << PAGE_SHIFT;
	struct folio *folio;
	bool was_there;
	int err;

	if (index < consumer->node.start || index > consumer->node.last)
		return -EINVAL;

	filemap_invalidate_lock(inode->i_mapping);

	if (memfile_state_at(memfile, index) != MEMFILE_PRIVATE) {
		err = -EINVAL;
		goto unlock;
	}

	was_there = filemap_range_has_page(inode->i_mapping, pos, pos);
	folio = memfile_grab_folio(memfile, index);
	if (IS_ERR(folio)) {
		err = PTR_ERR(folio);
		goto unlock;
	}
	/* From here on invalidate_lock alone keeps others out. */
	folio_unlock(folio);

	err = memfile_restore_direct_map(memfile, index, index + 1, memfile->absent);
	folio_put(folio);
	if (err)
		goto unlock;

	/* Asked only now: what is poisoned stays out of the direct map. */
	if (folio_test_hwpoison(folio)) {
		err = -EHWPOISON;
	} else {
		memfile_shadow_filling(folio_file_page(folio, index), true);
		err = fill(page_to_pfn(folio_file_page(folio, index)), arg);
		memfile_shadow_filling(folio_file_page(folio, index), false);
	}
	if (err && !was_there)
		truncate_inode_pages_range(inode->i_mapping, pos, pos + PAGE_SIZE - 1);
	else
		/* The page has an entry of its own by now: this allocates nothing. */
		WARN_ON_ONCE(memfile_remove_direct_map(memfile, index, index + 1,
						       memfile->absent));
unlock:
	filemap_invalidate_unlock(inode->i_mapping);
	return err;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_populate,
			  "kvm,kvm_snp_kunit,kvm_tdx_kunit,memfile_kunit");

/**
 * memfile_access - let a consumer look into a page, whatever its state is
 * @consumer: A registered consumer that may know what is private to its guest.
 * @index: Page offset in the file.
 * @fn: What to call with the page; may sleep.  A mapping that it makes has to end
 *	before it returns.
 * @arg: For @fn.
 *
 * The page, which is allocated if need be, has its state and remains in the file until
 * @fn returns.
 *
 * Context: Process context, may sleep.  Takes invalidate_lock (shared) and the folio
 *	lock.
 * Return: What @fn returns, or without calling it:
 *
 * * -EINVAL - @index is outside the consumer's range
 * * -ENOMEM - no memory, or the task's memory cgroup is at its limit
 * * -EHWPOISON - the page has a memory error
 */
int memfile_access(struct memfile_consumer *consumer, pgoff_t index,
		   int (*fn)(struct page *page, void *arg), void *arg)
{
	struct inode *inode = consumer->inode;
	struct page *page;
	struct folio *folio;
	int err;

	if (index < consumer->node.start || index > consumer->node.last)
		return -EINVAL;

	filemap_invalidate_lock_shared(inode->i_mapping);
	folio = memfile_grab_sound_folio(MEMFILE_I(inode), index);
	if (IS_ERR(folio)) {
		err = PTR_ERR(folio);
		goto unlock;
	}

	page = folio_file_page(folio, index);
	memfile_shadow_filling(page, true);
	err = fn(page, arg);
	memfile_shadow_filling(page, false);
	memfile_put_locked_folio(folio);
unlock:
	filemap_invalidate_unlock_shared(inode->i_mapping);
	return err;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_access, "kvm,memfile_kunit");

/**
 * memfile_note_hold - note how long invalidate_lock was held
 * @memfile: The file.
 * @nr: Number of pages that were handled meanwhile.
 *
 * Context: Any.
 */
void memfile_note_hold(struct memfile *memfile, long nr)
{
	long longest = atomic_long_read(&memfile->longest_hold);

	while (nr > longest &&
	       !atomic_long_try_cmpxchg(&memfile->longest_hold, &longest, nr))
		;
}

static int memfile_allocate_batch(struct memfile *memfile, pgoff_t start,
				  pgoff_t end)
{
	pgoff_t index;

	for (index = start; index < end; index++) {
		struct folio *folio = memfile_grab_folio(memfile, index);

		if (IS_ERR(folio))
			return PTR_ERR(folio);
		memfile_put_locked_folio(folio);
	}

	memfile_note_hold(memfile, end - start);
	memfile_notify_allocated(memfile, start, end);
	return 0;
}

/**
 * memfile_allocate - allocate every page of a range
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one, no larger than the file.
 *
 * Pages that were allocated before an error stay.
 *
 * Context: Process context, may sleep.  Takes invalidate_lock (shared) and
 *	drops it every MEMFILE_BATCH_PAGES pages.
 * Return: 0, -EINTR if a signal is pending, or -ENOMEM.
 */
int memfile_allocate(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	struct address_space *mapping = memfile->vfs_inode.i_mapping;
	pgoff_t next;
	int err;

	for (; start < end; start = next) {
		if (signal_pending(current))
			return -EINTR;

		next = min(end, start + MEMFILE_BATCH_PAGES);
		filemap_invalidate_lock_shared(mapping);
		err = memfile_allocate_batch(memfile, start, next);
		filemap_invalidate_unlock_shared(mapping);
		if (err)
			return err;
		cond_resched();
	}
	return 0;
}

/*
 * How much of a range can be handled in one hold of invalidate_lock: up to the end,
 * or behind the last page of a batch.  @nr becomes the number of pages in it.
 */
static pgoff_t memfile_batch_end(struct memfile *memfile, pgoff_t start, pgoff_t end,
				 unsigned long *nr)
{
	XA_STATE(xas, &memfile->vfs_inode.i_mapping->i_pages, start);
	struct folio *folio;

	*nr = 0;
	end = memfile_extents_batch_end(memfile, start, end);
	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio))
			continue;
		if (++*nr == MEMFILE_BATCH_PAGES) {
			end = xas.xa_index + 1;
			break;
		}
	}
	rcu_read_unlock();
	return end;
}

/**
 * memfile_chunk_end - find out how much of a range can be converted in one go
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 *
 * Context: invalidate_lock held exclusively.
 * Return: @end, or the page offset behind the last page of a batch.
 */
pgoff_t memfile_chunk_end(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	struct inode *inode = &memfile->vfs_inode;
	unsigned long nr;

	/* Pages need to be counted only where there may be more, or fewer, of them. */
	if (end - start <= MEMFILE_BATCH_PAGES)
		return end;
	if (inode->i_mapping->nrpages == i_size_read(inode) >> PAGE_SHIFT)
		return start + MEMFILE_BATCH_PAGES;
	return memfile_batch_end(memfile, start, end, &nr);
}

/**
 * memfile_punch - free every page of a range
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one, no larger than the file.
 *
 * Consumers hear only of those batches in the range that hold pages.  The state
 * of the offsets does not change.  What is reserved for them is freed, too.
 *
 * Context: Process context, may sleep.  Takes invalidate_lock, and drops it
 *	every MEMFILE_BATCH_PAGES pages.
 * Return: 0, or:
 *
 * * -EINTR - a fatal signal came before everything was freed
 * * -ENOMEM - no memory for splitting an entry of the direct map
 */
int memfile_punch(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	struct address_space *mapping = memfile->vfs_inode.i_mapping;
	unsigned long nr;
	pgoff_t next;
	int err;

	for (; start < end; start = next) {
		if (fatal_signal_pending(current))
			return -EINTR;

		filemap_invalidate_lock(mapping);
		next = memfile_batch_end(memfile, start, end, &nr);
		err = memfile_restore_direct_map(memfile, start, next, memfile->absent);
		if (err) {
			filemap_invalidate_unlock(mapping);
			return err;
		}
		if (nr) {
			struct memfile_invalidation inv = {
				.start = start,
				.end = next,
				.states = memfile_states(memfile, start, next),
			};

			memfile_notify_start(memfile, &inv);
			truncate_inode_pages_range(mapping,
						   (loff_t)start << PAGE_SHIFT,
						   ((loff_t)next << PAGE_SHIFT) - 1);
			memfile_notify_end(memfile, &inv);
			memfile_note_hold(memfile, nr);
		}
		memfile_extents_release(memfile, start, next);
		filemap_invalidate_unlock(mapping);
		cond_resched();
	}
	return 0;
}

/* The pages of a range go out of the file, and nowhere else. */
static void memfile_leak(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	struct address_space *mapping = memfile->vfs_inode.i_mapping;
	unsigned long index = start;
	struct folio *folio;

	pr_warn_ratelimited("leaking pages that do not get back into the direct map\n");
	while ((folio = xa_find(&mapping->i_pages, &index, end - 1, XA_PRESENT))) {
		/* This reference, nobody puts. */
		folio_get(folio);
		folio_lock(folio);
		memfile_shadow_drop(folio);
		filemap_remove_folio(folio);
		folio_unlock(folio);
	}
	memfile_extents_leak(memfile, start, end);
}

/**
 * memfile_evict - free every page of a file
 * @memfile: The file, which nobody has any more.
 *
 * Context: May sleep.
 */
void memfile_evict(struct memfile *memfile)
{
	struct address_space *mapping = memfile->vfs_inode.i_mapping;
	pgoff_t end = i_size_read(&memfile->vfs_inode) >> PAGE_SHIFT;
	pgoff_t start, next;
	unsigned long nr;

	filemap_invalidate_lock(mapping);
	/* Where no page can be absent, to look for them is a walk for nothing. */
	for (start = memfile->absent ? 0 : end; start < end; start = next) {
		next = memfile_batch_end(memfile, start, end, &nr);
		if (memfile_restore_direct_map(memfile, start, next, memfile->absent))
			memfile_leak(memfile, start, next);
		cond_resched();
	}
	truncate_inode_pages_final(mapping);
	memfile_extents_release(memfile, 0, end);
	filemap_invalidate_unlock(mapping);
}

/* For all pages of a range: as xas_next_entry(), but with no search behind the last. */
static struct folio *memfile_next_folio(struct xa_state *xas, pgoff_t last)
{
	if (xas_valid(xas) && xas->xa_index >= last)
		return NULL;
	return xas_next_entry(xas, last);
}

/* For between unmapping a page and looking at its references. */
static void memfile_order_against_gup(void)
{
	/*
	 * Against gup_fast(), which takes a reference, and
	 * then looks whether the page is still mapped.
	 */
	smp_mb();
}

/*
 * The host lets go of a page: nobody but the file has a reference to it any
 * more.  Speculative references (of memory compaction, for one) look the same
 * as any other; whoever asked has to try again.
 */
static int memfile_withdraw_folio(struct folio *folio, bool local,
				  enum lru_cache_drained *drained)
{
	/* A fault of the host that has found the page maps it under this lock. */
	folio_lock(folio);
	unmap_mapping_folio(folio);
	folio_unlock(folio);
	memfile_order_against_gup();

	/* memory_failure() keeps a reference; nobody gets at the page again. */
	if (folio_test_hwpoison(folio))
		return 0;
	if (folio_maybe_dma_pinned(folio))
		return -EBUSY;

	if (local && *drained == LRU_CACHE_NOT_DRAINED) {
		lru_add_drain();
		*drained = LRU_CACHE_DRAINED_ALL;
	}
	lru_cache_drain_for_folio(folio, 1, drained);
	return folio_ref_count(folio) == folio_nr_pages(folio) + 1 ? 0 : -EAGAIN;
}

/**
 * memfile_withdraw - take the pages of a range away from the host
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 * @conv: The conversion, which is told how many offsets and pages there are, and
 *	where a page is in use.
 *
 * All of the range is shared, and nobody maps it anew: host faults wait for
 * invalidate_lock.  Consumers have unmapped it before.  References that remain
 * then are of those who use the page without a mapping.
 *
 * On failure mappings may be gone, which is nothing but a page fault for those
 * who used them.
 *
 * Context: invalidate_lock held exclusively.  May sleep.
 * Return: 0, or:
 *
 * * -EBUSY - a page is pinned
 * * -EAGAIN - there is another reference to a page
 */
int memfile_withdraw(struct memfile *memfile, pgoff_t start, pgoff_t end,
		     struct memfile_conversion *conv)
{
	struct address_space *mapping = memfile->vfs_inode.i_mapping;
	enum lru_cache_drained drained = LRU_CACHE_NOT_DRAINED;
	XA_STATE(xas, &mapping->i_pages, start);
	bool unmapped = false;
	struct folio *folio;
	int err = 0;
	long nr;

	conv->nr_offsets += end - start;

	rcu_read_lock();
	for (folio = xas_find(&xas, end - 1); folio;
	     folio = memfile_next_folio(&xas, end - 1)) {
		if (xas_retry(&xas, folio))
			continue;
		nr = folio_nr_pages(folio);
		conv->nr += nr;
		/* Whoever maps it, or has found it to map it, has a reference. */
		if (likely(folio_ref_count(folio) == nr))
			continue;

		/* The file has a reference, and invalidate_lock keeps it. */
		folio_get(folio);
		xas_pause(&xas);
		rcu_read_unlock();
		/* Where one page is mapped, the next ones are likely to be. */
		if (!unmapped && folio_mapped(folio)) {
			unmap_mapping_pages(mapping, folio->index,
					    end - folio->index, false);
			unmapped = true;
			memfile_order_against_gup();
		}
		if (folio_ref_count(folio) != nr + 1)
			err = memfile_withdraw_folio(folio, conv->local, &drained);
		if (err)
			conv->where = folio->index;
		folio_put(folio);
		rcu_read_lock();
		if (err)
			break;
	}
	rcu_read_unlock();
	return err;
}

/**
 * memfile_find_pinned - look for a pinned page in a range
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 * @conv: The conversion, which is told how many offsets and pages there are, and
 *	where a page is pinned.
 *
 * Context: invalidate_lock held exclusively.
 * Return: 0, or -EBUSY if a page is pinned.
 */
int memfile_find_pinned(struct memfile *memfile, pgoff_t start, pgoff_t end,
			struct memfile_conversion *conv)
{
	XA_STATE(xas, &memfile->vfs_inode.i_mapping->i_pages, start);
	struct folio *folio;
	int err = 0;

	conv->nr_offsets += end - start;

	rcu_read_lock();
	for (folio = xas_find(&xas, end - 1); folio;
	     folio = memfile_next_folio(&xas, end - 1)) {
		if (xas_retry(&xas, folio))
			continue;
		conv->nr += folio_nr_pages(folio);
		if (folio_maybe_dma_pinned(folio)) {
			conv->where = folio->index;
			err = -EBUSY;
			break;
		}
	}
	rcu_read_unlock();
	return err;
}

/*
 * Make a private page one that the host may see: take it back from the hardware
 * that guards it, and wipe it.
 *
 * A page with a memory error is not touched.  It stays in the hands of the
 * hardware, and as the allocator never gets it, nobody will miss it.
 *
 * Return false if the page has to be leaked.
 */
static bool memfile_take_back_folio(struct memfile *memfile, struct folio *folio,
				    bool keep_content)
{
	unsigned long nr = folio_nr_pages(folio);

	if (folio_test_hwpoison(folio))
		return true;

	if (memfile->ops->reclaim && memfile->ops->reclaim(folio_pfn(folio), nr)) {
		pr_warn_ratelimited("leaking pfn 0x%lx, which cannot be taken back\n",
				    folio_pfn(folio));
		memfile_shadow_taken_back(folio, true);
		folio_get(folio);
		return false;
	}

	memfile_shadow_taken_back(folio, false);
	if (!keep_content && !folio_test_checked(folio))
		clear_pages(folio_address(folio), nr);
	return true;
}

/**
 * memfile_take_back - make the private pages of a range fit for the host
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 * @conv: The conversion.
 *
 * The content is kept if the file says so (MEMFILE_KEEP_CONTENT), else it is
 * zero.  A page that cannot be taken back is leaked, and leaves a hole.
 *
 * Context: invalidate_lock held exclusively; consumers have unmapped the range.
 *	May sleep.
 * Return: 0.
 */
int memfile_take_back(struct memfile *memfile, pgoff_t start, pgoff_t end,
		      struct memfile_conversion *conv)
{
	bool keep_content = memfile->flags & MEMFILE_KEEP_CONTENT;
	XA_STATE(xas, &memfile->vfs_inode.i_mapping->i_pages, start);
	struct folio *folio;

	rcu_read_lock();
	for (folio = xas_find(&xas, end - 1); folio;
	     folio = memfile_next_folio(&xas, end - 1)) {
		if (xas_retry(&xas, folio))
			continue;

		/* The file has a reference, and invalidate_lock keeps it. */
		folio_get(folio);
		xas_pause(&xas);
		rcu_read_unlock();
		folio_lock(folio);
		if (!memfile_take_back_folio(memfile, folio, keep_content)) {
			memfile_extent_forget(memfile, folio->index);
			filemap_remove_folio(folio);
		}
		memfile_put_locked_folio(folio);
		rcu_read_lock();
	}
	rcu_read_unlock();
	return 0;
}

/*
 * A page leaves the file, and is in the direct map.  A private one is wiped: it
 * held what the host must not see.
 */
static void memfile_invalidate_folio(struct folio *folio, size_t offset,
				     size_t length)
{
	struct memfile *memfile = MEMFILE_I(folio->mapping->host);
	enum memfile_state state = memfile_state_at(memfile, folio->index);

	VM_WARN_ON_ONCE_FOLIO(offset || length != folio_size(folio), folio);

	trace_memfile_free(&memfile->vfs_inode, folio->index, folio_pfn(folio), state);
	memfile_extent_forget(memfile, folio->index);
	if (state == MEMFILE_PRIVATE) {
		atomic_long_sub(folio_nr_pages(folio), &memfile->nr_private);
		memfile_take_back_folio(memfile, folio, false);
	}
	memfile_shadow_leave(memfile, folio);
}

/* Pages leave by punching a hole or with the file, never otherwise. */
static bool memfile_release_folio(struct folio *folio, gfp_t gfp)
{
	return false;
}

/*
 * Memory failure.  The page stays in the file, so that an access keeps failing
 * until userspace punches the page out; the guest's mappings of it go.
 *
 * Comes with the folio locked, so invalidate_lock is out of reach.
 * memory_failure() has set the hwpoison flag before: a lookup that follows
 * fails, and one that came before is fenced by the invalidation.
 */
static int memfile_error_remove_folio(struct address_space *mapping,
				      struct folio *folio)
{
	struct memfile *memfile = MEMFILE_I(mapping->host);
	struct memfile_invalidation inv = {
		.start = folio->index,
		.end = folio_next_index(folio),
		/* The state may be about to change. */
		.states = MEMFILE_SHARED | MEMFILE_PRIVATE,
	};

	mutex_lock(&memfile->consumers_lock);
	memfile_notify_start(memfile, &inv);
	memfile_notify_end(memfile, &inv);
	mutex_unlock(&memfile->consumers_lock);

	/* Not 0: that would say that the page has left the file. */
	return -EBUSY;
}

const struct address_space_operations memfile_aops = {
	.dirty_folio		= noop_dirty_folio,
	.invalidate_folio	= memfile_invalidate_folio,
	.release_folio		= memfile_release_folio,
	.error_remove_folio	= memfile_error_remove_folio,
};
