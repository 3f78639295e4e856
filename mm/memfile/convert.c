// SPDX-License-Identifier: GPL-2.0
/*
 * Conversion of a range of a memory file between shared and private, in place.
 *
 * It goes in chunks, of no more pages, and no more changes between the states, than
 * are handled under one hold of invalidate_lock.  A chunk is converted as a whole
 * or not at all:
 *
 *  1. See whether the guest has a say in it, unless it is the guest who asks.
 *     Prepare the new state, so that the commit cannot fail.
 *  2. To shared: look for pins, and put the pages back into the direct map.  What
 *     follows is destructive where hardware guards private pages.
 *  3. Tell consumers to unmap what is in the old state.  Until step 6 they
 *     install nothing in its place; what they have looked up before is void.
 *  4. To private: unmap the pages from the host, and see whether somebody there
 *     still uses them; if not, take the pages out of the direct map.  To shared:
 *     take the pages back from the hardware, and wipe them, if the file does not
 *     keep the content.
 *  5. Commit the new state.
 *  6. Tell consumers that it is over.
 *
 * Nobody reads a state and acts upon it in between: lookups and faults of the
 * host hold invalidate_lock from reading the state to having the page, and a
 * page that they have then is fenced, from there on, by step 3 (consumers) or
 * by the folio lock and the reference to the folio (host, step 4).
 *
 * References from the host's side matter in one direction only.  A page that is
 * private has none but of consumers, who are told in step 3, or who have pinned
 * it, which step 2 finds.
 */
#include <linux/export.h>
#include <linux/maple_tree.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include <trace/events/memfile.h>

#include "internal.h"

typedef int (*memfile_run_fn)(struct memfile *memfile, pgoff_t start, pgoff_t end,
			      struct memfile_conversion *conv);

/*
 * Call a function for all runs of offsets in a chunk that are in the old state,
 * until it fails.  Mostly there is one, and it is known.
 */
static int memfile_for_runs(struct memfile *memfile,
			    const struct memfile_invalidation *inv,
			    memfile_run_fn fn, struct memfile_conversion *conv)
{
	enum memfile_state state = conv->state;
	pgoff_t next = min(conv->next, inv->end);
	pgoff_t index = inv->start;
	int err;

	for (;;) {
		if (state != conv->to) {
			err = fn(memfile, index, next, conv);
			if (err)
				return err;
		}
		if (next == inv->end)
			return 0;
		index = next;
		next = memfile_state_run(memfile, index, inv->end, &state);
	}
}

static int memfile_check_claims(struct memfile *memfile, pgoff_t start, pgoff_t end,
				struct memfile_conversion *conv)
{
	pgoff_t index = memfile_claimed(memfile, start, end);

	if (index == end)
		return 0;
	conv->where = index;
	return -EPERM;
}

static void memfile_commit(struct memfile *memfile, struct ma_state *mas,
			   const struct memfile_invalidation *inv,
			   struct memfile_conversion *conv)
{
	memfile_state_commit(memfile, mas, conv->to);
	memfile_shadow_commit(memfile, inv, conv->to);
	conv->changed += conv->nr_offsets;
	conv->present += conv->nr;
	if (conv->to == MEMFILE_PRIVATE)
		atomic_long_add(conv->nr, &memfile->nr_private);
	else
		atomic_long_sub(conv->nr, &memfile->nr_private);
}

/* Whether private pages are not as the host may see them. */
static bool memfile_takes_back(const struct memfile *memfile)
{
	return memfile->ops->reclaim || !(memfile->flags & MEMFILE_KEEP_CONTENT);
}

/* Whether the direct map is another one for private pages than for shared ones. */
static bool memfile_absence_follows(const struct memfile *memfile)
{
	return memfile->absent == MEMFILE_PRIVATE;
}

static int memfile_convert_to_private(struct memfile *memfile, struct ma_state *mas,
				      const struct memfile_invalidation *inv,
				      struct memfile_conversion *conv)
{
	int err;

	memfile_notify_start(memfile, inv);
	err = memfile_for_runs(memfile, inv, memfile_withdraw, conv);
	if (!err)
		memfile_shadow_phase(memfile, inv, MEMFILE_PHASE_WITHDRAWN);
	if (!err && memfile_absence_follows(memfile))
		err = memfile_remove_direct_map(memfile, inv->start, inv->end,
						MEMFILE_SHARED);
	if (!err)
		memfile_commit(memfile, mas, inv, conv);
	memfile_notify_end(memfile, inv);
	return err;
}

static int memfile_convert_to_shared(struct memfile *memfile, struct ma_state *mas,
				     const struct memfile_invalidation *inv,
				     struct memfile_conversion *conv)
{
	int err;

	err = memfile_for_runs(memfile, inv, memfile_find_pinned, conv);
	if (!err && memfile_absence_follows(memfile))
		err = memfile_restore_direct_map(memfile, inv->start, inv->end,
						 MEMFILE_PRIVATE);
	if (err)
		return err;

	memfile_notify_start(memfile, inv);
	if (memfile_takes_back(memfile))
		memfile_for_runs(memfile, inv, memfile_take_back, conv);
	memfile_commit(memfile, mas, inv, conv);
	memfile_notify_end(memfile, inv);
	return 0;
}

static int memfile_convert_chunk(struct memfile *memfile, pgoff_t start,
				 pgoff_t end, struct memfile_conversion *conv)
{
	struct memfile_invalidation inv = {
		.start = start,
		.end = end,
		.states = conv->to ^ (MEMFILE_SHARED | MEMFILE_PRIVATE),
	};
	MA_STATE(mas, &memfile->states, start, end - 1);
	int err;

	conv->nr = 0;
	conv->nr_offsets = 0;
	conv->where = start;
	if (!conv->local) {
		err = memfile_for_runs(memfile, &inv, memfile_check_claims, conv);
		if (err)
			return err;
	}

	err = memfile_state_prepare(memfile, &mas, start, end, conv->to);
	if (err)
		return err;

	memfile_shadow_phase(memfile, &inv, MEMFILE_PHASE_STARTED);
	if (conv->to == MEMFILE_PRIVATE)
		err = memfile_convert_to_private(memfile, &mas, &inv, conv);
	else
		err = memfile_convert_to_shared(memfile, &mas, &inv, conv);
	memfile_shadow_phase(memfile, &inv, MEMFILE_PHASE_NONE);
	if (err)
		mas_destroy(&mas);
	return err;
}

static bool memfile_convert_interrupted(const struct memfile_conversion *conv)
{
	return conv->local ? signal_pending(current) : fatal_signal_pending(current);
}

/* Return how far it came; less than @end with an error. */
static pgoff_t memfile_convert_range(struct inode *inode, pgoff_t start, pgoff_t end,
				     struct memfile_conversion *conv, int *err)
{
	struct address_space *mapping = inode->i_mapping;
	struct memfile *memfile = MEMFILE_I(inode);
	pgoff_t index = start, next;
	unsigned long seq;

	*err = 0;
	while (index < end) {
		if (memfile_convert_interrupted(conv)) {
			conv->where = index;
			*err = -EINTR;
			break;
		}

		/* Pairs with memfile_state_commit(): the states are no older than that. */
		seq = smp_load_acquire(&memfile->state_seq);
		/* Nobody has to be kept out to find that there is nothing to do. */
		next = memfile_state_run(memfile, index, end, &conv->state);
		if (conv->state != conv->to) {
			filemap_invalidate_lock(mapping);
			if (seq != memfile->state_seq)
				next = memfile_state_run(memfile, index, end, &conv->state);
			conv->next = next;
			next = memfile_runs_end(memfile, conv->next, end);
			next = memfile_chunk_end(memfile, index, next);
			*err = memfile_convert_chunk(memfile, index, next, conv);
			memfile_note_hold(memfile, conv->nr);
			filemap_invalidate_unlock(mapping);
			if (*err)
				break;
		}
		index = next;
		cond_resched();
	}

	trace_memfile_convert(inode, start, end, conv->to, *err,
			      *err ? conv->where : end);
	return index;
}

/**
 * memfile_convert - convert a range to shared or to private
 * @file: A memory file.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start, and in the file.
 * @to: The new state.
 * @where: Where to put the page offset that an error is for.
 *
 * Holes stay holes, and get the state, too.  What is in the state already is
 * left alone.  No page is allocated or freed.
 *
 * The content of a page that becomes private stays.  That of a page that becomes
 * shared stays if the file was created with MEMFILE_KEEP_CONTENT, else it is
 * zero.
 *
 * After an error, everything below the chunk that holds @where is converted, and
 * nothing from this chunk on.  A chunk has at most 512 pages, not counting
 * holes, and at most 512 runs of offsets in one state.
 *
 * Context: Process context, may sleep.  Takes invalidate_lock, chunk by chunk.
 * Return: 0, or:
 *
 * * -EPERM - a consumer says that only its guest may convert the page at @where
 * * -EBUSY - the page at @where is pinned, by the host or by a consumer
 * * -EAGAIN - there is another reference to the page at @where, which should go
 *   away by itself
 * * -ENOMEM - no memory for the new state, or for splitting an entry of the direct
 *   map
 * * -EINTR - a fatal signal is pending
 */
int memfile_convert(struct file *file, pgoff_t start, pgoff_t end,
		    enum memfile_state to, pgoff_t *where)
{
	struct memfile_conversion conv = { .to = to };
	int err;

	memfile_convert_range(file_inode(file), start, end, &conv, &err);
	if (err)
		*where = conv.where;
	return err;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_convert,
			  "kvm,kvm_snp_kunit,kvm_tdx_kunit,memfile_kunit");

/**
 * memfile_convert_for_guest - convert a range because a guest wants it
 * @consumer: A registered consumer, which stays registered for the call.
 * @start: First page offset.
 * @end: Page offset behind the last one; above @start, and in the range of the
 *	consumer.
 * @to: The new state.
 * @changed: Where to put how many offsets have changed their state.
 * @present: Where to put how many pages there are at those offsets.
 *
 * As memfile_convert(), except that it does not ask consumers for leave, does not
 * interrupt other CPUs to have them let go of pages, and gives up when any signal is
 * pending.  It is for the task of the vCPU that asks, which can leave what is not
 * done to the VMM.
 *
 * Context: As for memfile_convert().
 * Return: The page offset behind the last one that is converted; less than @end if
 *	something went wrong.
 */
pgoff_t memfile_convert_for_guest(struct memfile_consumer *consumer, pgoff_t start,
				  pgoff_t end, enum memfile_state to,
				  unsigned long *changed, unsigned long *present)
{
	struct memfile_conversion conv = { .to = to, .local = true };
	int err;

	start = memfile_convert_range(consumer->inode, start, end, &conv, &err);
	*changed = conv.changed;
	*present = conv.present;
	return start;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_convert_for_guest, "kvm,memfile_kunit");

/**
 * memfile_query - the state of an offset, and how far it reaches
 * @file: A memory file.
 * @index: Page offset.
 * @end: Where to stop looking; above @index.
 * @state: Where to put the state.
 *
 * Context: Any.  With nothing held that keeps conversions out, the answer may
 *	be out of date.
 * Return: The page offset behind the last one of the run, at most @end.
 */
pgoff_t memfile_query(struct file *file, pgoff_t index, pgoff_t end,
		      enum memfile_state *state)
{
	return memfile_state_run(MEMFILE_I(file_inode(file)), index, end, state);
}
EXPORT_SYMBOL_FOR_MODULES(memfile_query, "kvm,memfile_kunit");

/**
 * memfile_state - the state of an offset, as a consumer sees it
 * @consumer: A consumer that is registered, or was, and is not freed during the
 *	call; or a copy of a registered one, until the owner's ->release returns.
 * @index: Page offset.
 *
 * Context: Any.  With nothing held that keeps conversions out, the answer may
 *	be out of date: to act upon it takes the same care as to map what
 *	memfile_lookup_pfn() has found.
 * Return: The state.  Of what is not registered (any more), MEMFILE_PRIVATE.
 */
enum memfile_state memfile_state(const struct memfile_consumer *consumer,
				 pgoff_t index)
{
	struct inode *inode;

	guard(rcu)();
	/* The inode, and its tree, are freed after a grace period. */
	inode = READ_ONCE(consumer->inode);
	return inode ? memfile_state_at(MEMFILE_I(inode), index) : MEMFILE_PRIVATE;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_state,
			  "kvm,kvm_snp_kunit,kvm_tdx_kunit,memfile_kunit");
