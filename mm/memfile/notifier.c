// SPDX-License-Identifier: GPL-2.0
/*
 * Who has to hear about a range of a memory file, and the telling.
 *
 * A consumer that is told of the start of an invalidation must be told of its
 * end, so the set of consumers must not change in between.  Two locks keep it
 * stable, because the two sources of events cannot take the same one: whoever
 * removes pages holds invalidate_lock exclusively; memory failure comes with
 * the folio locked, inside which invalidate_lock may not be taken, and takes
 * consumers_lock.  To change the set takes both.
 */
#include <linux/export.h>
#include <linux/module.h>
#include <linux/pagemap.h>

#include <trace/events/memfile.h>

#include "internal.h"

static struct memfile_consumer *memfile_consumer_of(struct interval_tree_node *node)
{
	return container_of(node, struct memfile_consumer, node);
}

static void memfile_assert_consumers_stable(struct memfile *memfile)
{
	lockdep_assert(lockdep_is_held(&memfile->consumers_lock) ||
		       lockdep_is_held(&memfile->vfs_inode.i_mapping->invalidate_lock));
}

#define for_each_consumer(node, memfile, start, end)				\
	for (node = interval_tree_iter_first(&(memfile)->consumers,		\
					     start, (end) - 1);			\
	     node;								\
	     node = interval_tree_iter_next(node, start, (end) - 1))

static struct memfile_invalidation
memfile_clip(const struct memfile_invalidation *inv,
	     const struct interval_tree_node *node)
{
	return (struct memfile_invalidation) {
		.start = max(inv->start, node->start),
		.end = min(inv->end, node->last + 1),
		.states = inv->states,
	};
}

/**
 * memfile_notify_start - tell consumers that mappings have to go
 * @memfile: The file.
 * @inv: Which mappings.
 *
 * Context: invalidate_lock held exclusively, or consumers_lock held; in either
 *	case without a break until memfile_notify_end().  May sleep.
 */
void memfile_notify_start(struct memfile *memfile,
			  const struct memfile_invalidation *inv)
{
	struct interval_tree_node *node;

	memfile_assert_consumers_stable(memfile);
	trace_memfile_invalidate(&memfile->vfs_inode, inv->start, inv->end,
				 inv->states);

	for_each_consumer(node, memfile, inv->start, inv->end) {
		struct memfile_invalidation clipped = memfile_clip(inv, node);
		struct memfile_consumer *consumer = memfile_consumer_of(node);

		consumer->ops->invalidate_start(consumer, &clipped);
	}
	memfile_shadow_invalidated(memfile, inv);
}

/**
 * memfile_notify_end - tell consumers that an invalidation is over
 * @memfile: The file.
 * @inv: As for memfile_notify_start().
 *
 * Context: As for memfile_notify_start(), in the same hold.
 */
void memfile_notify_end(struct memfile *memfile,
			const struct memfile_invalidation *inv)
{
	struct interval_tree_node *node;

	memfile_assert_consumers_stable(memfile);

	for_each_consumer(node, memfile, inv->start, inv->end) {
		struct memfile_invalidation clipped = memfile_clip(inv, node);
		struct memfile_consumer *consumer = memfile_consumer_of(node);

		consumer->ops->invalidate_end(consumer, &clipped);
	}
}

/**
 * memfile_claimed - look for what only a guest may convert
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 *
 * Context: invalidate_lock held exclusively.  May sleep.
 * Return: The first such offset, or @end.
 */
pgoff_t memfile_claimed(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *node;
	pgoff_t first = end;

	memfile_assert_consumers_stable(memfile);

	for_each_consumer(node, memfile, start, end) {
		struct memfile_consumer *consumer = memfile_consumer_of(node);
		pgoff_t clipped = min(end, node->last + 1), index;

		if (!consumer->ops->claimed)
			continue;
		index = consumer->ops->claimed(consumer, max(start, node->start), clipped);
		if (index < clipped)
			first = min(first, index);
	}
	return first;
}

/**
 * memfile_notify_allocated - tell consumers that pages were allocated
 * @memfile: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 *
 * Context: invalidate_lock held in any mode.  May sleep.
 */
void memfile_notify_allocated(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *node;

	memfile_assert_consumers_stable(memfile);

	for_each_consumer(node, memfile, start, end) {
		struct memfile_consumer *consumer = memfile_consumer_of(node);

		if (consumer->ops->allocated)
			consumer->ops->allocated(consumer,
						 max(start, node->start),
						 min(end, node->last + 1));
	}
}

#ifdef CONFIG_MEMFILE_SANITIZER
/**
 * memfile_notify_violated - tell consumers that they can't rely on the file
 * @memfile: The file.
 *
 * Context: May sleep.  Takes consumers_lock.
 */
void memfile_notify_violated(struct memfile *memfile)
{
	struct interval_tree_node *node;

	mutex_lock(&memfile->consumers_lock);
	for_each_consumer(node, memfile, 0, ULONG_MAX) {
		struct memfile_consumer *consumer = memfile_consumer_of(node);

		if (consumer->ops->violated)
			consumer->ops->violated(consumer);
	}
	mutex_unlock(&memfile->consumers_lock);
}
#endif

static bool memfile_domain_overlaps(struct memfile *memfile, const void *domain,
				    pgoff_t start, pgoff_t end)
{
	struct interval_tree_node *node;

	for_each_consumer(node, memfile, start, end) {
		if (memfile_consumer_of(node)->domain == domain)
			return true;
	}
	return false;
}

/**
 * memfile_register - register a consumer for a range of a memory file
 * @file: The file.
 * @consumer: The consumer, with its ops and domain set.
 * @start: First page offset.
 * @nr: Number of pages.
 *
 * The range may hold pages already.  The file is not pinned: either the caller
 * keeps a reference to it until memfile_unregister(), or the owner unregisters
 * the consumer in its ->release.
 *
 * Context: Process context, may sleep.  Takes invalidate_lock, so nothing that
 *	comes under it (see "Lock order") may be held.
 * Return: 0, or:
 *
 * * -EINVAL - @file is no memory file, or the range is empty or not all of it
 *   is in the file
 * * -EEXIST - the range overlaps one that the same domain has registered
 * * -ENODEV - the consumer's module is being unloaded
 */
int memfile_register(struct file *file, struct memfile_consumer *consumer,
		     pgoff_t start, unsigned long nr)
{
	struct inode *inode = file_inode(file);
	struct memfile *memfile;
	pgoff_t end;
	int err = 0;

	if (!memfile_inode(inode))
		return -EINVAL;
	/* The size of the file is constant and a multiple of the page size. */
	if (!nr || check_add_overflow(start, nr, &end) ||
	    end > i_size_read(inode) >> PAGE_SHIFT)
		return -EINVAL;
	if (!try_module_get(consumer->ops->owner))
		return -ENODEV;

	memfile = MEMFILE_I(inode);
	filemap_invalidate_lock(inode->i_mapping);
	mutex_lock(&memfile->consumers_lock);
	if (memfile_domain_overlaps(memfile, consumer->domain, start, end)) {
		err = -EEXIST;
	} else {
		WRITE_ONCE(consumer->inode, inode);
		consumer->node.start = start;
		consumer->node.last = end - 1;
		interval_tree_insert(&consumer->node, &memfile->consumers);
		memfile->nr_consumers++;
	}
	mutex_unlock(&memfile->consumers_lock);
	filemap_invalidate_unlock(inode->i_mapping);

	if (err)
		module_put(consumer->ops->owner);
	return err;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_register,
			  "kvm,kvm_snp_kunit,kvm_tdx_kunit,memfile_kunit");

/**
 * memfile_unregister - end a registration
 * @consumer: A registered consumer.
 *
 * No callback runs or will run when this returns.  What the consumer has mapped
 * is its own to unmap: before this call if the range may still be in use, as
 * nobody will ask for it afterwards.
 *
 * Context: Process context, may sleep.  Takes invalidate_lock.
 */
void memfile_unregister(struct memfile_consumer *consumer)
{
	struct inode *inode = consumer->inode;
	struct memfile *memfile = MEMFILE_I(inode);
	struct module *owner = consumer->ops->owner;

	filemap_invalidate_lock(inode->i_mapping);
	mutex_lock(&memfile->consumers_lock);
	interval_tree_remove(&consumer->node, &memfile->consumers);
	memfile->nr_consumers--;
	memfile_shadow_unregistered(consumer);
	WRITE_ONCE(consumer->inode, NULL);
	mutex_unlock(&memfile->consumers_lock);
	filemap_invalidate_unlock(inode->i_mapping);

	module_put(owner);
}
EXPORT_SYMBOL_FOR_MODULES(memfile_unregister,
			  "kvm,kvm_snp_kunit,kvm_tdx_kunit,memfile_kunit");

/**
 * memfile_transfer - let another consumer take over a registration
 * @from: A registered consumer.
 * @to: The consumer that takes its place, with the same ops and domain set.
 *
 * For a consumer that is part of an object which is replaced by a copy of
 * itself.  No invalidation is lost in between, and none starts with one of the
 * two and ends with the other.
 *
 * From now on @to is told of invalidations, and is what memfile_unregister()
 * takes.  Until then @from remains good for lookups, so that those who have not
 * yet seen the copy need not be waited for; @from needs no unregistering.
 *
 * Context: Process context, may sleep.  Takes invalidate_lock.
 */
void memfile_transfer(struct memfile_consumer *from, struct memfile_consumer *to)
{
	struct inode *inode = from->inode;
	struct memfile *memfile = MEMFILE_I(inode);

	filemap_invalidate_lock(inode->i_mapping);
	mutex_lock(&memfile->consumers_lock);
	to->node.start = from->node.start;
	to->node.last = from->node.last;
	interval_tree_remove(&from->node, &memfile->consumers);
	interval_tree_insert(&to->node, &memfile->consumers);
	WRITE_ONCE(to->inode, inode);
	mutex_unlock(&memfile->consumers_lock);
	filemap_invalidate_unlock(inode->i_mapping);
}
EXPORT_SYMBOL_FOR_MODULES(memfile_transfer, "kvm,memfile_kunit");
