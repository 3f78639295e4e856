// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of a memory file outside the kernel's direct map.
 *
 * The states whose pages are absent from the direct map are constant for a file:
 * none, private, or both.  A page, be it in the file or reserved for an offset, is
 * absent exactly if the state of its offset is among them.  So there is nothing to
 * keep a record of, and only what gives a page to an offset, or an offset its
 * state, has to see to it:
 *
 * - allocation removes a page that is zeroed, before anybody can find it;
 * - conversion to private removes, as its last fallible step, and restores if it
 *   fails; conversion to shared restores as its first, and removes if it fails;
 * - punching a hole restores first, or fails;
 * - the end of the file restores, and what cannot be restored is leaked;
 * - populate, which wants to get at the page, restores it for that time.
 *
 * No lookup is among them.  Pages with a memory error are left alone: whatever maps
 * them again invites the CPU to speculate into them.
 *
 * All of a run of pages, whether in use or reserved, is one change.  For a whole
 * extent that is one entry of the page table on architectures whose direct map
 * has them, and one flush of the TLB in any case.
 */
#include <linux/direct_map.h>
#include <linux/export.h>
#include <linux/moduleparam.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>

#include <kunit/static_stub.h>
#include <kunit/visibility.h>

#include <trace/events/memfile.h>

#include "internal.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "memfile."

static bool memfile_remove_private __ro_after_init =
	IS_ENABLED(CONFIG_MEMFILE_REMOVE_PRIVATE);

static int memfile_set_policy_param(const char *val, const struct kernel_param *kp)
{
	if (sysfs_streq(val, "remove"))
		memfile_remove_private = true;
	else if (sysfs_streq(val, "keep"))
		memfile_remove_private = false;
	else
		return -EINVAL;
	return 0;
}

static int memfile_get_policy_param(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", memfile_remove_private ? "remove" : "keep");
}

static const struct kernel_param_ops memfile_policy_ops = {
	.set = memfile_set_policy_param,
	.get = memfile_get_policy_param,
};
module_param_cb(private_direct_map, &memfile_policy_ops, NULL, 0444);

/**
 * memfile_absent_states - whose pages are out of the direct map?
 * @flags: MEMFILE_* as given to memfile_create().
 *
 * Context: Any.
 * Return: A set of enum memfile_state bits, which may be empty, or:
 *
 * * -EINVAL - the flags contradict each other
 * * -EOPNOTSUPP - the machine cannot do what they demand
 */
int memfile_absent_states(unsigned int flags)
{
	unsigned int demand = flags & (MEMFILE_NO_DIRECT_MAP |
				       MEMFILE_PRIVATE_NO_DIRECT_MAP);

	if (hweight32(demand | (flags & MEMFILE_NEED_DIRECT_MAP)) > 1)
		return -EINVAL;
	/* Or a conversion had to get at the page for wiping it. */
	if (demand == MEMFILE_NO_DIRECT_MAP && !(flags & MEMFILE_KEEP_CONTENT))
		return -EINVAL;
	if (demand && !direct_map_can_remove())
		return -EOPNOTSUPP;

	if (demand == MEMFILE_NO_DIRECT_MAP)
		return MEMFILE_SHARED | MEMFILE_PRIVATE;
	if (demand)
		return MEMFILE_PRIVATE;
	if (flags & MEMFILE_NEED_DIRECT_MAP || !memfile_remove_private ||
	    !direct_map_can_remove())
		return 0;
	return MEMFILE_PRIVATE;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_absent_states, "kvm,memfile_kunit");

/**
 * memfile_change_run - remove a run of pages, or restore it
 * @memfile: The file.
 * @page: The first page.
 * @nr: How many pages there are; they follow each other in memory.
 * @change: What is to be done, and how much has been.
 *
 * Context: May sleep.
 * Return: 0, or -ENOMEM if there is no memory for splitting an entry.
 */
VISIBLE_IF_KUNIT int memfile_change_run(struct memfile *memfile, struct page *page,
					unsigned long nr, struct memfile_change *change)
{
	int err;

	KUNIT_STATIC_STUB_REDIRECT(memfile_change_run, memfile, page, nr, change);

	if (change->remove && memfile->ops->hide && !(memfile->flags & MEMFILE_KEEP_CONTENT))
		memfile->ops->hide(page_to_pfn(page), nr);

	if (change->remove)
		err = direct_map_remove(page, nr, &change->flush);
	else
		err = direct_map_restore(page, nr);
	if (err)
		return err;

	atomic_long_add(change->remove ? nr : -nr, &memfile->nr_absent);
	memfile_shadow_direct_map(memfile, page, nr, change->remove);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(memfile_change_run);

/*
 * The pages follow each other; those with a memory error are left out.  They count as
 * done all the same: memory failure takes no lock that would keep their number.
 *
 * Return 0, -ENOMEM, or -ECANCELED if this is as far as the change was to go.
 */
static int memfile_change_pages(struct memfile *memfile, struct page *page,
				unsigned long nr, struct memfile_change *change)
{
	unsigned long start = 0, end;
	int err = 0;

	nr = min(nr, change->limit - change->done);
	while (start < nr) {
		for (end = start; end < nr && !PageHWPoison(page + end); end++)
			;
		if (end > start) {
			err = memfile_change_run(memfile, page + start, end - start, change);
			if (err)
				break;
		}
		start = end + 1;
	}
	change->done += min(start, nr);
	if (!err && change->done == change->limit)
		err = -ECANCELED;
	return err;
}

static int memfile_change_extents(struct memfile *memfile, pgoff_t start, pgoff_t end,
				  struct memfile_change *change)
{
	struct memfile_extent *extent;
	unsigned long nr, run, run_end;
	int err;

	memfile_for_each_extent(memfile, nr, extent, start, end) {
		run = memfile_extent_first(extent, start);
		for_each_set_bitrange_from(run, run_end, extent->own,
					   memfile_extent_end(extent, end)) {
			err = memfile_change_pages(memfile, extent->page + run,
						   run_end - run, change);
			if (err)
				return err;
		}
	}
	return 0;
}

/* Pages that are in no extent may follow each other all the same. */
static int memfile_change_single(struct memfile *memfile, pgoff_t start, pgoff_t end,
				 struct memfile_change *change)
{
	XA_STATE(xas, &memfile->vfs_inode.i_mapping->i_pages, start);
	struct page *first = NULL;
	unsigned long nr = 0;
	struct folio *folio;
	int err;

	if (!atomic_long_read(&memfile->nr_single))
		return 0;

	rcu_read_lock();
	xas_for_each(&xas, folio, end - 1) {
		pgoff_t index = xas.xa_index;

		if (xas_retry(&xas, folio) ||
		    memfile_extent_has(memfile_extent_at(memfile, index), index))
			continue;
		if (nr && folio_pfn(folio) == page_to_pfn(first) + nr) {
			nr++;
			continue;
		}
		if (nr) {
			xas_pause(&xas);
			rcu_read_unlock();
			err = memfile_change_pages(memfile, first, nr, change);
			if (err)
				return err;
			rcu_read_lock();
		}
		first = &folio->page;
		nr = 1;
	}
	rcu_read_unlock();

	return nr ? memfile_change_pages(memfile, first, nr, change) : 0;
}

static int memfile_change_range(struct memfile *memfile, pgoff_t start, pgoff_t end,
				unsigned int states, struct memfile_change *change)
{
	enum memfile_state state;
	pgoff_t next;
	int err;

	for (; start < end; start = next) {
		next = memfile_state_run(memfile, start, end, &state);
		if (!(state & states))
			continue;
		err = memfile_change_extents(memfile, start, next, change);
		if (!err)
			err = memfile_change_single(memfile, start, next, change);
		if (err)
			return err;
	}
	return 0;
}

static int memfile_change_direct_map(struct memfile *memfile, pgoff_t start, pgoff_t end,
				     unsigned int states, bool remove)
{
	struct memfile_change change = { .remove = remove, .limit = ULONG_MAX };
	int err = 0;

	if (states)
		err = memfile_change_range(memfile, start, end, states, &change);
	if (err) {
		/* The entries of the page tables are there: this allocates nothing. */
		struct memfile_change undo = { .remove = !remove, .limit = change.done };

		WARN_ON_ONCE(memfile_change_range(memfile, start, end, states, &undo) !=
			     -ECANCELED);
		direct_map_flush(&undo.flush);
	}
	direct_map_flush(&change.flush);
	if (change.done)
		trace_memfile_direct_map(&memfile->vfs_inode, start, end, remove, err);
	return err;
}

/**
 * memfile_remove_direct_map - take pages of a range out of the direct map
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start.
 * @states: Set of enum memfile_state bits: offsets in these states.
 *
 * The pages in the file, and those reserved.  On failure nothing has changed.
 *
 * Context: invalidate_lock held exclusively, or in any mode with the lock of the
 *	only extent in the range.  May sleep.
 * Return: 0, or -ENOMEM.
 */
int memfile_remove_direct_map(struct memfile *memfile, pgoff_t start, pgoff_t end,
			      unsigned int states)
{
	return memfile_change_direct_map(memfile, start, end, states, true);
}

/**
 * memfile_restore_direct_map - put pages of a range back into the direct map
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start.
 * @states: Set of enum memfile_state bits: offsets in these states.
 *
 * The pages in the file, and those reserved.  On failure nothing has changed.
 *
 * Context: invalidate_lock held exclusively, or nobody else has the file.  May
 *	sleep.
 * Return: 0, or -ENOMEM.
 */
int memfile_restore_direct_map(struct memfile *memfile, pgoff_t start, pgoff_t end,
			       unsigned int states)
{
	return memfile_change_direct_map(memfile, start, end, states, false);
}

/**
 * memfile_remove_folio - take a folio out of the direct map
 * @memfile: The file that it is going to be in.
 * @folio: The folio, which nobody else knows.
 *
 * Context: May sleep.
 * Return: 0, or -ENOMEM.
 */
int memfile_remove_folio(struct memfile *memfile, struct folio *folio)
{
	struct memfile_change change = { .remove = true };
	int err;

	err = memfile_change_run(memfile, &folio->page, folio_nr_pages(folio), &change);
	direct_map_flush(&change.flush);
	return err;
}

/**
 * memfile_restore_folio - undo memfile_remove_folio()
 * @memfile: The file.
 * @folio: The folio, which has not got into the file.
 *
 * Context: May sleep.
 * Return: 0, or -ENOMEM, which is not to be expected: a page that has left by
 *	itself has a page table entry of its own.
 */
int memfile_restore_folio(struct memfile *memfile, struct folio *folio)
{
	struct memfile_change change = {};

	return memfile_change_run(memfile, &folio->page, folio_nr_pages(folio), &change);
}
