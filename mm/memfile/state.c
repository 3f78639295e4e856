// SPDX-License-Identifier: GPL-2.0
/*
 * The state of each offset of a memory file: shared or private.
 *
 * Kept as ranges in a maple tree, so that the cost follows the number of
 * changes of state and not the size of the file.  An offset without an entry
 * has the state that the file was created with.
 */
#include <linux/xarray.h>

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

static enum memfile_state memfile_state_of(const struct memfile *memfile,
					   void *entry)
{
	return entry ? xa_to_value(entry) : memfile_state_default(memfile);
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
			states |= memfile_state_default(memfile);
		states |= memfile_state_of(memfile, entry);
		next = mas.last + 1;
	}
	rcu_read_unlock();

	if (next < end)
		states |= memfile_state_default(memfile);
	return states;
}
