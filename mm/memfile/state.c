// SPDX-License-Identifier: GPL-2.0
/*
 * The state of each offset of a memory file: shared or private.
 *
 * Kept as ranges in a maple tree, so that the cost follows the number of
 * changes of state and not the size of the file.  An offset without an entry has
 * the state of the rest: the one that the file was created with, or that all of it
 * has been converted to last.  So a file in one state, as most are, has no entries,
 * and to look up a state there takes no walk of the tree.
 */
#include <linux/gfp.h>
#include <linux/xarray.h>

#include <kunit/static_stub.h>
#include <kunit/visibility.h>

#include "internal.h"

/**
 * memfile_state_default - the state that a file was created with
 * @memfile: The file.
 *
 * Context: Any.
 * Return: The state of every offset that was never converted.
 */
enum memfile_state memfile_state_default(const struct memfile *memfile)
{
	return memfile->flags & MEMFILE_INIT_SHARED ? MEMFILE_SHARED :
						      MEMFILE_PRIVATE;
}

/* Of an offset that had no entry just now. */
static enum memfile_state memfile_state_of_rest(const struct memfile *memfile)
{
	/* Pairs with memfile_state_commit(): no older than the tree was. */
	smp_rmb();
	return READ_ONCE(memfile->state_of_rest);
}

static enum memfile_state memfile_state_of(const struct memfile *memfile,
					   void *entry)
{
	return entry ? xa_to_value(entry) : memfile_state_of_rest(memfile);
}

/**
 * memfile_state_at - the state of one offset
 * @memfile: The file.
 * @index: Page offset.
 *
 * Context: invalidate_lock held in any mode, for an answer that stays true.
 * Return: The state.
 */
enum memfile_state memfile_state_at(struct memfile *memfile, pgoff_t index)
{
	if (mtree_empty(&memfile->states))
		return memfile_state_of_rest(memfile);
	return memfile_state_of(memfile, mtree_load(&memfile->states, index));
}

/**
 * memfile_states - the states that occur in a range
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start.
 *
 * Context: invalidate_lock held in any mode, or a folio of the range locked if
 *	the range is no larger than it.
 * Return: A set of enum memfile_state bits, never empty.
 */
unsigned int memfile_states(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	MA_STATE(mas, &memfile->states, start, start);
	unsigned int states = 0;
	pgoff_t next = start;
	void *entry;

	rcu_read_lock();
	mas_for_each(&mas, entry, end - 1) {
		if (mas.index > next)
			states |= memfile_state_of_rest(memfile);
		states |= memfile_state_of(memfile, entry);
		next = mas.last + 1;
		if (states == (MEMFILE_SHARED | MEMFILE_PRIVATE))
			break;
	}
	rcu_read_unlock();

	if (next < end)
		states |= memfile_state_of_rest(memfile);
	return states;
}

/**
 * memfile_state_run - how far the state of an offset reaches
 * @memfile: The file.
 * @index: Page offset.
 * @end: Where to stop looking; above @index.
 * @state: Where to put the state of the offset.
 *
 * Context: As for memfile_state_at().
 * Return: The page offset behind the last one of the run, at most @end.
 */
pgoff_t memfile_state_run(struct memfile *memfile, pgoff_t index, pgoff_t end,
			  enum memfile_state *state)
{
	MA_STATE(mas, &memfile->states, index, index);

	if (mtree_empty(&memfile->states)) {
		*state = memfile_state_of_rest(memfile);
		return end;
	}

	rcu_read_lock();
	*state = memfile_state_of(memfile, mas_walk(&mas));
	rcu_read_unlock();

	/* What has the same state is one entry, or one gap between entries. */
	return min(mas.last, end - 1) + 1;
}

/**
 * memfile_runs_end - find out how much of a range can be handled in one go
 * @memfile: The file.
 * @index: Page offset, behind a run of offsets in one state.
 * @end: Where to stop looking.
 *
 * Context: As for memfile_state_at().
 * Return: @end, or the page offset behind the last run that is in a batch.
 */
pgoff_t memfile_runs_end(struct memfile *memfile, pgoff_t index, pgoff_t end)
{
	enum memfile_state state;
	unsigned long nr;

	for (nr = 1; index < end && nr < MEMFILE_BATCH_PAGES; nr++)
		index = memfile_state_run(memfile, index, end, &state);
	return index;
}

static void *memfile_state_entry(const struct memfile *memfile,
				 enum memfile_state state)
{
	return state == memfile->state_of_rest ? NULL : xa_mk_value(state);
}

/**
 * memfile_state_prepare - get ready to change the state of a range
 * @memfile: The file.
 * @mas: A state of the tree of states, for memfile_state_commit() or
 *	mas_destroy().
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start.
 * @state: The new state.
 *
 * Context: invalidate_lock held exclusively, until memfile_state_commit().  May
 *	sleep.
 * Return: 0, or -ENOMEM.
 */
int memfile_state_prepare(struct memfile *memfile, struct ma_state *mas,
			  pgoff_t start, pgoff_t end, enum memfile_state state)
{
	pgoff_t size = i_size_read(&memfile->vfs_inode) >> PAGE_SHIFT;
	void *entry = memfile_state_entry(memfile, state);
	pgoff_t last = end - 1;

	KUNIT_STATIC_STUB_REDIRECT(memfile_state_prepare, memfile, mas, start, end,
				   state);

	/* The tree merges gaps by itself, but not entries. */
	if (entry && !mtree_empty(&memfile->states)) {
		mas_set(mas, end);
		if (mas_walk(mas) == entry)
			last = mas->last;
		mas_set(mas, start ? start - 1 : 0);
		if (mas_walk(mas) == entry)
			start = mas->index;
	}

	/* All of the file?  Then it is the rest, and no entry remains. */
	if (start == 0 && last == size - 1) {
		entry = NULL;
		last = ULONG_MAX;
	}

	mas_set_range(mas, start, last);
	return mas_preallocate(mas, entry, GFP_KERNEL_ACCOUNT);
}
EXPORT_SYMBOL_IF_KUNIT(memfile_state_prepare);

/**
 * memfile_state_commit - change the state of a range
 * @memfile: The file.
 * @mas: What memfile_state_prepare() has prepared, for the same @state.
 * @state: The new state.
 *
 * Context: invalidate_lock held exclusively since memfile_state_prepare().
 */
void memfile_state_commit(struct memfile *memfile, struct ma_state *mas,
			  enum memfile_state state)
{
	if (mas->last == ULONG_MAX) {
		/* The entries that there are say the same. */
		WRITE_ONCE(memfile->state_of_rest, state);
		/* Who finds none any more finds that.  See memfile_state_of_rest(). */
		smp_wmb();
	}
	mas_store_prealloc(mas, memfile_state_entry(memfile, state));
	/* Who sees the new number sees the new states.  See memfile_convert_range(). */
	smp_store_release(&memfile->state_seq, memfile->state_seq + 1);
}
