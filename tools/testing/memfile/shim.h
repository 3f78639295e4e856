/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MEMFILE_SHIM_H
#define _MEMFILE_SHIM_H

/*
 * As much of the kernel as mm/memfile/state.c, notifier.c and convert.c need in
 * userspace.
 *
 * Locks are counters, so that a test can see which of them are held, and an
 * attempt to take one that is held is found at once: there is one thread.
 */
#include <assert.h>
#include <stdbool.h>

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/types.h>

#include <asm/barrier.h>

typedef unsigned long pgoff_t;

struct folio;
struct page;
struct vm_area_struct;

void unpin_user_page(struct page *page);

#define smp_rmb()	barrier()	/* there is one thread */
#define smp_wmb()	barrier()	/* there is one thread */

struct shim_lock {
	bool exclusive;
	unsigned int shared;
	unsigned long nr_exclusive;	/* how often it was taken exclusively */
};

struct mutex {
	struct shim_lock lock;
};

struct module {
	int refs;
	bool unloading;
};

struct shared_policy {
};

struct address_space_operations {
};

struct address_space {
	struct inode *host;
	const struct address_space_operations *a_ops;
	struct shim_lock invalidate_lock;
};

struct inode {
	struct address_space i_data;
	struct address_space *i_mapping;
	long long i_size;
};

struct file {
	struct inode *f_inode;
	struct address_space *f_mapping;
};

static inline struct inode *file_inode(const struct file *file)
{
	return file->f_inode;
}

static inline long long i_size_read(const struct inode *inode)
{
	return inode->i_size;
}

static inline bool shim_is_held(const struct shim_lock *lock)
{
	return lock->exclusive || lock->shared;
}

static inline void shim_lock(struct shim_lock *lock)
{
	assert(!shim_is_held(lock));
	lock->exclusive = true;
	lock->nr_exclusive++;
}

static inline void shim_unlock(struct shim_lock *lock)
{
	assert(lock->exclusive);
	lock->exclusive = false;
}

static inline void filemap_invalidate_lock(struct address_space *mapping)
{
	shim_lock(&mapping->invalidate_lock);
}

static inline void filemap_invalidate_unlock(struct address_space *mapping)
{
	shim_unlock(&mapping->invalidate_lock);
}

static inline void mutex_lock(struct mutex *mutex)
{
	shim_lock(&mutex->lock);
}

static inline void mutex_unlock(struct mutex *mutex)
{
	shim_unlock(&mutex->lock);
}

/* Both kinds of locks are a struct shim_lock, or begin with one. */
#define lockdep_is_held(l)	shim_is_held((const void *)(l))
#define lockdep_assert(cond)	assert(cond)

static inline bool try_module_get(struct module *module)
{
	if (!module)
		return true;
	if (module->unloading)
		return false;
	module->refs++;
	return true;
}

static inline void module_put(struct module *module)
{
	if (module)
		assert(module->refs-- > 0);
}

static inline void atomic_long_add(long i, atomic_long_t *v)
{
	v->counter += i;
}

static inline void atomic_long_sub(long i, atomic_long_t *v)
{
	v->counter -= i;
}

static inline long atomic_long_read(const atomic_long_t *v)
{
	return v->counter;
}

static inline void shim_end_rcu(const int *unused)
{
	rcu_read_unlock();
}

#define guard(name)	shim_guard_##name
#define shim_guard_rcu()						\
	int __unused_guard __attribute__((cleanup(shim_end_rcu), unused)) = \
		(rcu_read_lock(), 0)

/* Signals: a test sends one, or has it sent on the way (pages-fake.c). */
#define current	NULL
extern bool shim_signal;

/* Of a signal that is not fatal only those hear who ask for any. */
extern bool shim_other_signal;

static inline bool signal_pending(void *task)
{
	return shim_signal || shim_other_signal;
}

static inline bool fatal_signal_pending(void *task)
{
	return shim_signal;
}

static inline void cond_resched(void)
{
}

/*
 * Memory: the nth time from now on that the library says how memory is to be
 * allocated, it is from the pool that is empty in userspace.  So the maple tree
 * itself is what fails.
 */
extern unsigned int shim_fail_nth;

static inline gfp_t shim_gfp(void)
{
	return shim_fail_nth && !--shim_fail_nth ? GFP_NOWAIT : GFP_KERNEL;
}

#undef GFP_KERNEL_ACCOUNT
#define GFP_KERNEL_ACCOUNT	shim_gfp()

#define EXPORT_SYMBOL_FOR_MODULES(sym, modules)

#endif /* _MEMFILE_SHIM_H */
