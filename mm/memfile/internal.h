/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_MEMFILE_INTERNAL_H
#define _MM_MEMFILE_INTERNAL_H

#include <linux/fs.h>
#include <linux/maple_tree.h>
#include <linux/memfile.h>
#include <linux/mempolicy.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>

/*
 * The most pages that are allocated, freed or converted under one hold of
 * invalidate_lock.  Every vCPU fault on the file waits behind an exclusive holder,
 * and behind a shared one as soon as an exclusive one waits.
 */
#define MEMFILE_BATCH_PAGES	512UL

/**
 * struct memfile - the storage behind a memory file
 * @vfs_inode: Its pages are in @vfs_inode.i_mapping.
 * @ops: The owner's functions; its module is pinned through them.
 * @flags: MEMFILE_* as given to memfile_create(), constant.
 * @states: Offsets whose state is not the default one, as ranges.  Written with
 *	invalidate_lock held exclusively, read with it held in any mode.
 * @consumers: Registered ranges.  Changed with invalidate_lock held exclusively
 *	and @consumers_lock; read with either.
 * @consumers_lock: For memory failure, which comes with a folio lock and
 *	so is too late to take invalidate_lock.
 * @nr_consumers: How many there are; same rules.
 * @policy: NUMA policies, as set by mbind() on mappings.
 * @nr_private: Pages present at private offsets.  The rest of the mapping's
 *	pages are shared.
 * @longest_hold: The most pages that were handled under one hold of
 *	invalidate_lock.
 */
struct memfile {
	struct inode vfs_inode;
	const struct memfile_owner_ops *ops;
	unsigned int flags;
	struct maple_tree states;
	struct rb_root_cached consumers;
	struct mutex consumers_lock;
	unsigned int nr_consumers;
	struct shared_policy policy;
	atomic_long_t nr_private;
	atomic_long_t longest_hold;
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
void memfile_notify_allocated(struct memfile *memfile, pgoff_t start, pgoff_t end);

/**
 * struct memfile_conversion - what goes along with a conversion
 * @to: The new state.
 * @local: Leave other CPUs alone, and let any signal end it.
 * @state: The state of the first run of offsets in this chunk.
 * @next: Page offset behind this run.
 * @nr: Pages that were found in the old state, in this chunk.
 * @changed: Offsets, with pages or without, that have changed their state.
 * @where: The offset that an error is for.
 */
struct memfile_conversion {
	enum memfile_state to;
	bool local;
	enum memfile_state state;
	pgoff_t next;
	unsigned long nr;
	unsigned long changed;
	pgoff_t where;
};

/* pages.c */
extern const struct address_space_operations memfile_aops;
struct folio *memfile_grab_folio(struct memfile *memfile, pgoff_t index);
struct folio *memfile_grab_ready_folio(struct memfile *memfile, pgoff_t index);
#if IS_ENABLED(CONFIG_KUNIT)
struct folio *memfile_add_folio(struct memfile *memfile, pgoff_t index);
#endif
int memfile_allocate(struct memfile *memfile, pgoff_t start, pgoff_t end);
int memfile_punch(struct memfile *memfile, pgoff_t start, pgoff_t end);
void memfile_note_hold(struct memfile *memfile, long nr);
pgoff_t memfile_batch_end(struct memfile *memfile, pgoff_t start, pgoff_t end,
			  unsigned long *nr);
int memfile_withdraw(struct memfile *memfile, pgoff_t start, pgoff_t end,
		     struct memfile_conversion *conv);
int memfile_find_pinned(struct memfile *memfile, pgoff_t start, pgoff_t end,
			struct memfile_conversion *conv);
int memfile_take_back(struct memfile *memfile, pgoff_t start, pgoff_t end,
		      struct memfile_conversion *conv);

/* mmap.c */
int memfile_mmap(struct file *file, struct vm_area_struct *vma);

#endif /* _MM_MEMFILE_INTERNAL_H */
