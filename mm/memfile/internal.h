/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_MEMFILE_INTERNAL_H
#define _MM_MEMFILE_INTERNAL_H

#include <linux/direct_map.h>
#include <linux/fs.h>
#include <linux/maple_tree.h>
#include <linux/memfile.h>
#include <linux/mempolicy.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/sizes.h>
#include <linux/xarray.h>

#include "sanitizer.h"

/*
 * The most pages that are allocated, freed or converted under one hold of
 * invalidate_lock.  Every vCPU fault on the file waits behind an exclusive holder,
 * and behind a shared one as soon as an exclusive one waits.
 */
#define MEMFILE_BATCH_PAGES	512UL

/* And the most extents, whatever is reserved in them. */
#define MEMFILE_BATCH_EXTENTS	8

/* An extent is what one entry of the direct map's page tables maps, mostly. */
#define MEMFILE_EXTENT_SIZE	SZ_2M
#define MEMFILE_EXTENT_ORDER	(ilog2(MEMFILE_EXTENT_SIZE) - PAGE_SHIFT)
#define MEMFILE_EXTENT_PAGES	BIT(MEMFILE_EXTENT_ORDER)

/**
 * struct memfile_extent - a naturally aligned part of a file, and its pages
 * @lock: Held to take pages, by those who do not hold invalidate_lock exclusively.
 * @memfile: The file.
 * @lru: In the list of extents that may have reserved pages.
 * @start: First page offset, a multiple of MEMFILE_EXTENT_PAGES.
 * @page: The page for @start; those for further offsets follow it.  NULL if there
 *	are none.
 * @own: Offsets whose pages are still the extent's, counted from @start.
 * @used: Offsets with a page in the file, of @own or not.  What is in @own only is
 *	reserved.
 */
struct memfile_extent {
	struct mutex lock;
	struct memfile *memfile;
	struct list_head lru;
	pgoff_t start;
	struct page *page;
	DECLARE_BITMAP(own, MEMFILE_EXTENT_PAGES);
	DECLARE_BITMAP(used, MEMFILE_EXTENT_PAGES);
};

/**
 * struct memfile - the storage behind a memory file
 * @vfs_inode: Its pages are in @vfs_inode.i_mapping.
 * @ops: The owner's functions; its module is pinned through them.
 * @flags: MEMFILE_* as given to memfile_create(), constant.
 * @absent: Set of states whose pages are out of the direct map, constant.
 * @states: Offsets whose state is not @state_of_rest, as ranges.  Written with
 *	invalidate_lock held exclusively, read with it held in any mode.
 * @state_of_rest: The state of all other offsets; same rules.
 * @state_seq: How often any of that has changed; same rules.
 * @consumers: Registered ranges.  Changed with invalidate_lock held exclusively
 *	and @consumers_lock; read with either.
 * @consumers_lock: For memory failure, which comes with a folio lock and
 *	so is too late to take invalidate_lock.
 * @nr_consumers: How many there are; same rules.
 * @policy: NUMA policies, as set by mbind() on mappings.
 * @extents: Where pages come from, by page offset / MEMFILE_EXTENT_PAGES.
 * @last_extent: The one that was looked up last, or NULL.  Good as long as
 *	invalidate_lock is held, as any extent is.
 * @nr_private: Pages present at private offsets.  The rest of the mapping's
 *	pages are shared.
 * @nr_single: Pages present that are not of an extent.
 * @nr_reserved: Pages of extents that are not in the file.
 * @nr_absent: Pages out of the direct map, reserved ones among them.
 * @longest_hold: The most pages that were handled under one hold of
 *	invalidate_lock.
 * @sanitizer_node: In the list of all files, for the sanitizer.
 * @violated: Whether the sanitizer has found something in it, as bits.
 */
struct memfile {
	struct inode vfs_inode;
	const struct memfile_owner_ops *ops;
	unsigned int flags;
	unsigned int absent;
	struct maple_tree states;
	enum memfile_state state_of_rest;
	unsigned long state_seq;
	struct rb_root_cached consumers;
	struct mutex consumers_lock;
	unsigned int nr_consumers;
	struct shared_policy policy;
	struct xarray extents;
	struct memfile_extent *last_extent;
	atomic_long_t nr_private;
	atomic_long_t nr_single;
	atomic_long_t nr_reserved;
	atomic_long_t nr_absent;
	atomic_long_t longest_hold;
#ifdef CONFIG_MEMFILE_SANITIZER
	struct list_head sanitizer_node;
	unsigned long violated;
#endif
};

static inline struct memfile *MEMFILE_I(const struct inode *inode)
{
	return container_of(inode, struct memfile, vfs_inode);
}

/* core.c */
bool memfile_inode(const struct inode *inode);

/* state.c */
enum memfile_state memfile_state_default(const struct memfile *memfile);
enum memfile_state memfile_state_at(struct memfile *memfile, pgoff_t index);
unsigned int memfile_states(struct memfile *memfile, pgoff_t start, pgoff_t end);
pgoff_t memfile_state_run(struct memfile *memfile, pgoff_t index, pgoff_t end,
			  enum memfile_state *state);
pgoff_t memfile_runs_end(struct memfile *memfile, pgoff_t index, pgoff_t end);
int memfile_state_prepare(struct memfile *memfile, struct ma_state *mas,
			  pgoff_t start, pgoff_t end, enum memfile_state state);
void memfile_state_commit(struct memfile *memfile, struct ma_state *mas,
			  enum memfile_state state);

/* notifier.c */
void memfile_notify_start(struct memfile *memfile,
			  const struct memfile_invalidation *inv);
void memfile_notify_end(struct memfile *memfile,
			const struct memfile_invalidation *inv);
pgoff_t memfile_claimed(struct memfile *memfile, pgoff_t start, pgoff_t end);
void memfile_notify_allocated(struct memfile *memfile, pgoff_t start, pgoff_t end);
#ifdef CONFIG_MEMFILE_SANITIZER
void memfile_notify_violated(struct memfile *memfile);
#endif

/**
 * struct memfile_conversion - what goes along with a conversion
 * @to: The new state.
 * @local: The guest asks: nobody else is asked, other CPUs are left alone, and any
 *	signal ends it.
 * @state: The state of the first run of offsets in this chunk.
 * @next: Page offset behind this run.
 * @nr: Pages that were found in the old state, in this chunk.
 * @nr_offsets: Offsets, with pages or without, in the old state, in this chunk.
 * @changed: Offsets that have changed their state.
 * @present: Those with pages.
 * @where: The offset that an error is for.
 */
struct memfile_conversion {
	enum memfile_state to;
	bool local;
	enum memfile_state state;
	pgoff_t next;
	unsigned long nr;
	unsigned long nr_offsets;
	unsigned long changed;
	unsigned long present;
	pgoff_t where;
};

/* shrinker.c */
struct memfile_extent *memfile_extent_alloc(void);
void memfile_extent_free(struct memfile_extent *extent);
void memfile_extent_shrinkable(struct memfile_extent *extent);
int memfile_shrinker_init(void);

/* extent.c */
unsigned long memfile_extent_unreserve(struct memfile_extent *extent);
struct memfile_extent *memfile_extent_at(struct memfile *memfile, pgoff_t index);
struct memfile_extent *memfile_extent_lock(struct memfile *memfile, pgoff_t index);
struct page *memfile_extent_take(struct memfile *memfile,
				 struct memfile_extent *extent, pgoff_t index);
void memfile_extent_untake(struct memfile *memfile, struct memfile_extent *extent,
			   pgoff_t index);
void memfile_extent_forget(struct memfile *memfile, pgoff_t index);
void memfile_extents_release(struct memfile *memfile, pgoff_t start, pgoff_t end);
void memfile_extents_unreserve(struct memfile *memfile, pgoff_t start, pgoff_t end);
void memfile_extents_leak(struct memfile *memfile, pgoff_t start, pgoff_t end);
pgoff_t memfile_extents_batch_end(struct memfile *memfile, pgoff_t start, pgoff_t end);

/* All extents that have offsets from @start to @end; @nr is for the loop. */
#define memfile_for_each_extent(memfile, nr, extent, start, end)		\
	xa_for_each_range(&(memfile)->extents, nr, extent,			\
			  (start) >> MEMFILE_EXTENT_ORDER,			\
			  ((end) - 1) >> MEMFILE_EXTENT_ORDER)

/* Where a range of offsets begins and ends in an extent, counted from its start. */
static inline unsigned long memfile_extent_first(const struct memfile_extent *extent,
						 pgoff_t start)
{
	return max(start, extent->start) - extent->start;
}

static inline unsigned long memfile_extent_end(const struct memfile_extent *extent,
					       pgoff_t end)
{
	return min(end - extent->start, MEMFILE_EXTENT_PAGES);
}

/* Is the page for this offset, in the file or not, one of the extent? */
static inline bool memfile_extent_has(const struct memfile_extent *extent,
				      pgoff_t index)
{
	return extent && test_bit(index - extent->start, extent->own);
}

/**
 * struct memfile_change - a change of the direct map
 * @remove: Whether pages are removed, or restored.
 * @limit: How many pages are to be handled, at most.
 * @done: How many have been: changed, or left out for a memory error.
 * @flush: What has to be flushed.
 */
struct memfile_change {
	bool remove;
	unsigned long limit;
	unsigned long done;
	struct direct_map_flush flush;
};

/* direct_map.c */
#if IS_ENABLED(CONFIG_KUNIT)
int memfile_change_run(struct memfile *memfile, struct page *page, unsigned long nr,
		       struct memfile_change *change);
#endif
int memfile_remove_direct_map(struct memfile *memfile, pgoff_t start, pgoff_t end,
			      unsigned int states);
int memfile_restore_direct_map(struct memfile *memfile, pgoff_t start, pgoff_t end,
			       unsigned int states);
int memfile_remove_folio(struct memfile *memfile, struct folio *folio);
int memfile_restore_folio(struct memfile *memfile, struct folio *folio);

/* pages.c */
extern const struct address_space_operations memfile_aops;
struct folio *memfile_grab_folio(struct memfile *memfile, pgoff_t index);
struct folio *memfile_grab_sound_folio(struct memfile *memfile, pgoff_t index);
#if IS_ENABLED(CONFIG_KUNIT)
struct folio *memfile_add_folio(struct memfile *memfile, struct xa_state *xas);
#endif
int memfile_allocate(struct memfile *memfile, pgoff_t start, pgoff_t end);
int memfile_punch(struct memfile *memfile, pgoff_t start, pgoff_t end);
void memfile_evict(struct memfile *memfile);
void memfile_note_hold(struct memfile *memfile, long nr);
pgoff_t memfile_chunk_end(struct memfile *memfile, pgoff_t start, pgoff_t end);
int memfile_withdraw(struct memfile *memfile, pgoff_t start, pgoff_t end,
		     struct memfile_conversion *conv);
int memfile_find_pinned(struct memfile *memfile, pgoff_t start, pgoff_t end,
			struct memfile_conversion *conv);
int memfile_take_back(struct memfile *memfile, pgoff_t start, pgoff_t end,
		      struct memfile_conversion *conv);

/* mmap.c */
int memfile_mmap(struct file *file, struct vm_area_struct *vma);

#endif /* _MM_MEMFILE_INTERNAL_H */
