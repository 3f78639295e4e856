// SPDX-License-Identifier: GPL-2.0
/*
 * Where the pages of a memory file come from.
 *
 * The first page of a naturally aligned 2M of offsets brings a naturally aligned
 * 2M of memory, an extent: a reservation, from which every further page of these
 * offsets is taken, each at its natural place.  It is cleared once, and leaves the
 * direct map once, with one flush of the TLB.  See Navarro et al., "Practical,
 * transparent operating system support for superpages", OSDI 2002.
 *
 * Where no extent can be had, pages come one by one: if there is no such block of
 * memory, or the memory cgroup has no room for it, if pages are to be interleaved
 * over nodes, or have different policies, or where the file ends.  An extent without
 * pages says so, and saves the next fault another try.
 *
 * A page of an extent is in one of three states:
 *
 * - reserved: it is in @own, not in @used;
 * - in the file: in @own and in @used;
 * - gone: not in @own.  What is punched out of the file goes to the allocator, and
 *   not back to the extent.  A page for the same offset later comes on its own, and
 *   is in @used as long as it is in the file.
 *
 * A reserved page is zero.  It is out of the direct map exactly if a page of the
 * file at its offset had to be (see direct_map.c).
 *
 * Extents are added with invalidate_lock held in any mode, and removed with it
 * held exclusively.  Pages are taken under the extent's lock; who holds
 * invalidate_lock exclusively needs no other.
 */
#include <linux/gfp.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include <kunit/visibility.h>

#include "../internal.h"
#include "../page_alloc.h"
#include "internal.h"

static unsigned long memfile_extent_nr(pgoff_t index)
{
	return index >> MEMFILE_EXTENT_ORDER;
}

#ifdef CONFIG_NUMA
static bool memfile_policy_interleaves(const struct mempolicy *policy)
{
	return policy->mode == MPOL_INTERLEAVE || policy->mode == MPOL_WEIGHTED_INTERLEAVE;
}

/* Is the policy of the first offset of an extent that of the others, too? */
static bool memfile_policy_is_uniform(struct memfile *memfile, pgoff_t start,
				      const struct mempolicy *policy)
{
	struct mempolicy *other;
	unsigned long nr;

	/* invalidate_lock, which memfile_set_policy() takes, keeps it as it is. */
	if (RB_EMPTY_ROOT(&memfile->policy.root))
		return true;

	for (nr = 1; nr < MEMFILE_EXTENT_PAGES; nr++) {
		other = mpol_shared_policy_lookup(&memfile->policy, start + nr);
		mpol_cond_put(other);
		/* Where two policies meet, they are two objects. */
		if (other != policy)
			return false;
	}
	return true;
}
#else
static bool memfile_policy_interleaves(const struct mempolicy *policy)
{
	return false;
}

static bool memfile_policy_is_uniform(struct memfile *memfile, pgoff_t start,
				      const struct mempolicy *policy)
{
	return true;
}
#endif

/*
 * Zeroed, and charged to the memory cgroup as what the kernel allocates for
 * itself, until a page of it enters the file.
 */
#define MEMFILE_EXTENT_GFP	(GFP_HIGHUSER | __GFP_ACCOUNT | __GFP_ZERO | \
				 __GFP_NORETRY | __GFP_NOWARN)

/* NULL, if there is no block of memory, or one policy does not place all of it. */
static struct page *memfile_alloc_block(struct memfile *memfile, pgoff_t start)
{
	struct mempolicy *policy, *effective;
	struct page *page = NULL;

	policy = mpol_shared_policy_lookup(&memfile->policy, start);
	effective = policy ?: get_task_policy(current);
	if (memfile_policy_interleaves(effective) ||
	    !memfile_policy_is_uniform(memfile, start, policy))
		goto out;

	page = alloc_frozen_pages_mpol(MEMFILE_EXTENT_GFP, MEMFILE_EXTENT_ORDER, effective,
				       NO_INTERLEAVE_INDEX, numa_node_id());
	if (page) {
		set_page_refcounted(page);
		split_page(page, MEMFILE_EXTENT_ORDER);
	}
out:
	mpol_cond_put(policy);
	return page;
}

static void memfile_free_pages(struct page *page, unsigned long nr)
{
	while (nr--)
		__free_page(page++);
}

/* Get the pages of an extent, if they can be had. */
static void memfile_extent_fill(struct memfile *memfile,
				struct memfile_extent *extent)
{
	pgoff_t start = extent->start;
	struct page *page;

	if (start + MEMFILE_EXTENT_PAGES >
	    i_size_read(&memfile->vfs_inode) >> PAGE_SHIFT)
		return;

	page = memfile_alloc_block(memfile, start);
	if (!page)
		return;

	memfile_shadow_reserve(memfile, page, MEMFILE_EXTENT_PAGES, start);
	extent->page = page;
	bitmap_fill(extent->own, MEMFILE_EXTENT_PAGES);
	if (memfile_remove_direct_map(memfile, start, start + MEMFILE_EXTENT_PAGES,
				      memfile->absent)) {
		bitmap_zero(extent->own, MEMFILE_EXTENT_PAGES);
		extent->page = NULL;
		memfile_shadow_release(memfile, page, MEMFILE_EXTENT_PAGES);
		memfile_free_pages(page, MEMFILE_EXTENT_PAGES);
		return;
	}
	atomic_long_add(MEMFILE_EXTENT_PAGES, &memfile->nr_reserved);
	memfile_extent_shrinkable(extent);
}

/**
 * memfile_extent_at - find the extent of an offset
 * @memfile: The file.
 * @index: Page offset.
 *
 * Context: invalidate_lock held in any mode.
 * Return: The extent, or NULL.
 */
struct memfile_extent *memfile_extent_at(struct memfile *memfile, pgoff_t index)
{
	struct memfile_extent *extent = READ_ONCE(memfile->last_extent);

	/* One page after the other, mostly. */
	if (extent && extent->start == round_down(index, MEMFILE_EXTENT_PAGES))
		return extent;

	extent = xa_load(&memfile->extents, memfile_extent_nr(index));
	if (extent)
		/* Who finds it there finds it initialized. */
		smp_store_release(&memfile->last_extent, extent);
	return extent;
}
EXPORT_SYMBOL_IF_KUNIT(memfile_extent_at);

/**
 * memfile_extent_lock - get the extent of an offset, to take a page from it
 * @memfile: The file.
 * @index: Page offset.
 *
 * Makes the extent, if there was none.
 *
 * Context: invalidate_lock held in any mode.  May sleep.  Takes the extent's lock.
 * Return: The extent, locked, or NULL if there is no memory for it.
 */
struct memfile_extent *memfile_extent_lock(struct memfile *memfile, pgoff_t index)
{
	struct memfile_extent *extent = memfile_extent_at(memfile, index), *new;

	if (likely(extent)) {
		mutex_lock(&extent->lock);
		return extent;
	}

	new = memfile_extent_alloc();
	if (!new)
		return NULL;
	mutex_init(&new->lock);
	new->memfile = memfile;
	new->start = round_down(index, MEMFILE_EXTENT_PAGES);

	/* Who comes second waits until the extent has its pages, or has none. */
	mutex_lock(&new->lock);
	extent = xa_cmpxchg(&memfile->extents, memfile_extent_nr(index), NULL, new,
			    GFP_KERNEL_ACCOUNT);
	if (likely(!extent)) {
		memfile_extent_fill(memfile, new);
		return new;
	}

	mutex_unlock(&new->lock);
	memfile_extent_free(new);
	if (xa_is_err(extent))
		return NULL;
	mutex_lock(&extent->lock);
	return extent;
}

/**
 * memfile_extent_take - take a page from an extent
 * @memfile: The file.
 * @extent: The extent of the offset, locked.
 * @index: Page offset.
 *
 * The offset counts as one with a page from now on, wherever that comes from, until
 * memfile_extent_untake() or memfile_extent_forget().
 *
 * Context: The extent's lock held.
 * Return: The page, no longer charged to any memory cgroup; NULL if the extent has
 *	none for the offset; ERR_PTR(-EEXIST) if there is a page in the file.
 */
struct page *memfile_extent_take(struct memfile *memfile,
				 struct memfile_extent *extent, pgoff_t index)
{
	unsigned long nr = index - extent->start;
	struct page *page = extent->page + nr;

	if (__test_and_set_bit(nr, extent->used))
		return ERR_PTR(-EEXIST);
	if (!test_bit(nr, extent->own))
		return NULL;

	/* Now, so that it makes room for the charge that follows. */
	memcg_kmem_uncharge_page(page, 0);
	atomic_long_dec(&memfile->nr_reserved);
	return page;
}

/**
 * memfile_extent_untake - no page got into the file, so give back what was taken
 * @memfile: The file.
 * @extent: The extent of the offset.
 * @index: Page offset.
 *
 * Context: The extent's lock held since memfile_extent_take().  May sleep.
 */
void memfile_extent_untake(struct memfile *memfile, struct memfile_extent *extent,
			   pgoff_t index)
{
	unsigned long nr = index - extent->start;

	__clear_bit(nr, extent->used);
	if (!test_bit(nr, extent->own))
		return;

	/* There was room for it a moment ago. */
	memcg_kmem_charge_page(extent->page + nr, GFP_KERNEL | __GFP_NOFAIL, 0);
	atomic_long_inc(&memfile->nr_reserved);
}

/**
 * memfile_extent_forget - a page leaves the file
 * @memfile: The file.
 * @index: Its page offset.
 *
 * Context: invalidate_lock held exclusively, or nobody else has the file.
 */
void memfile_extent_forget(struct memfile *memfile, pgoff_t index)
{
	struct memfile_extent *extent = memfile_extent_at(memfile, index);
	unsigned long nr = index - extent->start;

	if (!__test_and_clear_bit(nr, extent->own))
		atomic_long_dec(&memfile->nr_single);
	__clear_bit(nr, extent->used);
}

/*
 * Free what is reserved from @start to @end, counted from the first page of the
 * extent; if it is not in the direct map yet, as far as it gets back there.
 */
static unsigned long memfile_extent_free_reserved(struct memfile_extent *extent,
						  unsigned long start,
						  unsigned long end, bool restore)
{
	struct memfile *memfile = extent->memfile;
	DECLARE_BITMAP(reserved, MEMFILE_EXTENT_PAGES);
	unsigned long nr = 0, run_end;

	bitmap_andnot(reserved, extent->own, extent->used, MEMFILE_EXTENT_PAGES);
	for_each_set_bitrange_from(start, run_end, reserved, end) {
		if (restore && memfile_restore_direct_map(memfile, extent->start + start,
							  extent->start + run_end,
							  memfile->absent))
			continue;
		bitmap_clear(extent->own, start, run_end - start);
		memfile_shadow_release(memfile, extent->page + start, run_end - start);
		memfile_free_pages(extent->page + start, run_end - start);
		nr += run_end - start;
	}
	atomic_long_sub(nr, &memfile->nr_reserved);
	return nr;
}

/**
 * memfile_extent_unreserve - free what is reserved in an extent
 * @extent: The extent.
 *
 * What does not get back into the direct map for want of memory stays reserved.
 *
 * Context: invalidate_lock and the extent's lock held.  May be called by reclaim.
 * Return: The number of pages that were freed.
 */
unsigned long memfile_extent_unreserve(struct memfile_extent *extent)
{
	return memfile_extent_free_reserved(extent, 0, MEMFILE_EXTENT_PAGES, true);
}

/* An extent that says nothing about any page is of no use any more. */
static void memfile_extent_drop_empty(struct memfile *memfile,
				      struct memfile_extent *extent)
{
	if (!bitmap_empty(extent->own, MEMFILE_EXTENT_PAGES) ||
	    !bitmap_empty(extent->used, MEMFILE_EXTENT_PAGES))
		return;

	WRITE_ONCE(memfile->last_extent, NULL);
	xa_erase(&memfile->extents, memfile_extent_nr(extent->start));
	mutex_destroy(&extent->lock);
	memfile_extent_free(extent);
}

static void memfile_extents_free(struct memfile *memfile, pgoff_t start, pgoff_t end,
				 bool restore)
{
	struct memfile_extent *extent;
	unsigned long nr;

	memfile_for_each_extent(memfile, nr, extent, start, end) {
		memfile_extent_free_reserved(extent, memfile_extent_first(extent, start),
					     memfile_extent_end(extent, end), restore);
		memfile_extent_drop_empty(memfile, extent);
		cond_resched();
	}
}

/**
 * memfile_extents_release - free what is reserved for a range that is punched
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start.
 *
 * Context: invalidate_lock held exclusively, or nobody else has the file.  What is
 *	reserved is in the direct map.
 */
void memfile_extents_release(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	memfile_extents_free(memfile, start, end, false);
}

/**
 * memfile_extents_unreserve - free what is reserved for a range
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start.
 *
 * What does not get back into the direct map for want of memory stays reserved.
 *
 * Context: invalidate_lock held exclusively.
 */
void memfile_extents_unreserve(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	memfile_extents_free(memfile, start, end, true);
}

/**
 * memfile_extents_leak - forget all pages of a range
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start.
 *
 * Context: invalidate_lock held exclusively, or nobody else has the file.
 */
void memfile_extents_leak(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	struct memfile_extent *extent;
	unsigned long nr, first, len;

	memfile_for_each_extent(memfile, nr, extent, start, end) {
		first = memfile_extent_first(extent, start);
		len = memfile_extent_end(extent, end) - first;
		bitmap_clear(extent->own, first, len);
		bitmap_clear(extent->used, first, len);
	}
}

/**
 * memfile_extents_batch_end - see that a range has no more extents than a batch
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start.
 *
 * Context: invalidate_lock held exclusively.
 * Return: @end, or the page offset behind the last extent of a batch.
 */
pgoff_t memfile_extents_batch_end(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	unsigned int left = MEMFILE_BATCH_EXTENTS;
	struct memfile_extent *extent;
	unsigned long nr;

	memfile_for_each_extent(memfile, nr, extent, start, end) {
		if (!left--)
			return extent->start;
	}
	return end;
}
