// SPDX-License-Identifier: GPL-2.0
/*
 * What memory files have reserved goes back under memory pressure: that of a memory
 * cgroup, too, to which it is charged.
 *
 * This comes from an allocation, so nothing may be waited for.  The allocation may
 * be one for a file, with its invalidate_lock held (shared); to take that once more
 * is fine as long as nobody waits for it.
 *
 * Nor must a lock be waited for that is held while memory is allocated.  There is
 * one below direct_map_restore(), on arm64, which holds it in a NOFS scope.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/list_lru.h>
#include <linux/pagemap.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include "internal.h"

static struct list_lru memfile_extent_lru;
static struct kmem_cache *memfile_extent_cache __ro_after_init;

/**
 * memfile_extent_alloc - allocate an extent
 *
 * Context: May sleep.
 * Return: The extent, zeroed but for its list head, or NULL.
 */
struct memfile_extent *memfile_extent_alloc(void)
{
	struct memfile_extent *extent;

	extent = kmem_cache_alloc_lru(memfile_extent_cache, &memfile_extent_lru,
				      GFP_KERNEL | __GFP_ZERO);
	if (extent)
		INIT_LIST_HEAD(&extent->lru);
	return extent;
}

/**
 * memfile_extent_free - free an extent
 * @extent: The extent.
 *
 * Context: The file's invalidate_lock held exclusively, or the extent is not in any
 *	file.
 */
void memfile_extent_free(struct memfile_extent *extent)
{
	list_lru_del_obj(&memfile_extent_lru, &extent->lru);
	kmem_cache_free(memfile_extent_cache, extent);
}

/**
 * memfile_extent_shrinkable - an extent has reserved pages
 * @extent: The extent.
 *
 * Context: The extent's lock held.
 */
void memfile_extent_shrinkable(struct memfile_extent *extent)
{
	list_lru_add_obj(&memfile_extent_lru, &extent->lru);
}

static enum lru_status memfile_shrink_one(struct list_head *item,
					  struct list_lru_one *list, void *arg)
{
	struct memfile_extent *extent = container_of(item, struct memfile_extent, lru);
	struct address_space *mapping = extent->memfile->vfs_inode.i_mapping;
	unsigned long *freed = arg;

	/* The list's lock keeps the extent, and so does this, the file included. */
	if (!filemap_invalidate_trylock_shared(mapping))
		return LRU_SKIP;
	if (!mutex_trylock(&extent->lock)) {
		filemap_invalidate_unlock_shared(mapping);
		return LRU_SKIP;
	}
	list_lru_isolate(list, item);
	spin_unlock(&list->lock);

	*freed += memfile_extent_unreserve(extent);
	/* What could not get back into the direct map may do so the next time. */
	if (!bitmap_subset(extent->own, extent->used, MEMFILE_EXTENT_PAGES))
		memfile_extent_shrinkable(extent);
	mutex_unlock(&extent->lock);

	/* The inode is freed after a grace period. */
	rcu_read_lock();
	filemap_invalidate_unlock_shared(mapping);
	rcu_read_unlock();
	return LRU_REMOVED_RETRY;
}

/* In extents. */
static unsigned long memfile_shrink_count(struct shrinker *shrinker,
					  struct shrink_control *sc)
{
	return list_lru_shrink_count(&memfile_extent_lru, sc);
}

static unsigned long memfile_shrink_scan(struct shrinker *shrinker,
					 struct shrink_control *sc)
{
	unsigned long freed = 0, nr;

	if (!(sc->gfp_mask & __GFP_FS))
		return SHRINK_STOP;

	nr = list_lru_shrink_walk(&memfile_extent_lru, sc, memfile_shrink_one, &freed);
	mm_account_reclaimed_pages(freed);
	return nr;
}

/**
 * memfile_shrinker_init - get ready for extents
 *
 * Return: 0, or -ENOMEM.
 */
int __init memfile_shrinker_init(void)
{
	struct shrinker *shrinker;
	int err;

	memfile_extent_cache = KMEM_CACHE(memfile_extent, SLAB_ACCOUNT | SLAB_PANIC);
	shrinker = shrinker_alloc(SHRINKER_NUMA_AWARE | SHRINKER_MEMCG_AWARE, "memfile");
	if (!shrinker)
		return -ENOMEM;

	err = list_lru_init_memcg(&memfile_extent_lru, shrinker);
	if (err) {
		shrinker_free(shrinker);
		return err;
	}

	shrinker->count_objects = memfile_shrink_count;
	shrinker->scan_objects = memfile_shrink_scan;
	/* There are few, and each is worth up to 2M. */
	shrinker->batch = 1;
	shrinker_register(shrinker);
	return 0;
}
