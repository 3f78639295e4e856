/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_DIRECT_MAP_H
#define _LINUX_DIRECT_MAP_H

#include <linux/errno.h>
#include <linux/types.h>

struct page;

/**
 * struct direct_map_flush - What direct_map_remove() has left in TLBs
 * @start: First virtual address.
 * @end: Behind the last one; 0 if there is nothing to flush.
 *
 * Zero it before its first use. The range is the smallest one that holds all pages
 * that were removed since; it may hold others, whose entries are flushed in vain.
 */
struct direct_map_flush {
	unsigned long start;
	unsigned long end;
};

#ifdef CONFIG_ARCH_HAS_SET_DIRECT_MAP

bool direct_map_can_remove(void);
int direct_map_remove(struct page *page, unsigned long nr, struct direct_map_flush *flush);
int direct_map_restore(struct page *page, unsigned long nr);
void direct_map_flush(struct direct_map_flush *flush);
bool direct_map_incomplete(void);

#else

static inline bool direct_map_can_remove(void)
{
	return false;
}

static inline int direct_map_remove(struct page *page, unsigned long nr,
				    struct direct_map_flush *flush)
{
	return -EOPNOTSUPP;
}

static inline int direct_map_restore(struct page *page, unsigned long nr)
{
	return 0;
}

static inline void direct_map_flush(struct direct_map_flush *flush)
{
}

static inline bool direct_map_incomplete(void)
{
	return false;
}

#endif /* CONFIG_ARCH_HAS_SET_DIRECT_MAP */

#endif /* _LINUX_DIRECT_MAP_H */
