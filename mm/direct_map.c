// SPDX-License-Identifier: GPL-2.0
/*
 * Take pages out of the kernel's direct map, and put them back.
 */

#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/direct_map.h>
#include <linux/export.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/set_memory.h>

#include <asm/tlbflush.h>

/**
 * DOC: Pages out of the direct map
 *
 * Whoever allocates a page may take it out of the direct map, and has to put it
 * back before freeing it: what is done to a page on its way through the allocator
 * (init_on_free, page_poison, debug_pagealloc, the tags of KASAN) is done in the
 * direct map. A page that cannot be put back must not be freed.
 *
 * Pages that others find through a file are marked by mapping_set_no_direct_map().
 *
 * A page table of the direct map that had to be split remains so. What is not a
 * whole and aligned block of a page-table level therefore costs all others in the
 * block their large TLB entry, for good, and a page table. Whole blocks don't: x86
 * changes a PMD (512 pages) as it is, and splits a PUD into PMDs once. On arm64 a
 * direct map that can be changed has only PTEs without BBML3; with it, arm64 does
 * as x86 does.
 */

/* How many pages are out; never less, but for a moment it may be more. */
static atomic_long_t nr_absent = ATOMIC_LONG_INIT(0);

/**
 * direct_map_can_remove() - Can pages be taken out of the direct map?
 *
 * An architecture may have set_direct_map_*() and have chosen at boot a direct map
 * that cannot be changed (arm64 with rodata=noalias or off). Its functions then do
 * nothing, and report success.
 *
 * Return: True if direct_map_remove() works on this machine. This doesn't change
 * after boot.
 */
bool direct_map_can_remove(void)
{
	return can_set_direct_map();
}
EXPORT_SYMBOL_FOR_MODULES(direct_map_can_remove, "direct_map_kunit");

/**
 * direct_map_remove() - Take pages out of the direct map
 * @page: The first page, allocated by the caller, without __GFP_HIGHMEM. The pages
 *	must be present, and be nobody else's to remove or restore.
 * @nr: How many; the pages are physically contiguous.
 * @flush: Where to add the range that direct_map_flush() has to flush. Until then
 *	the pages can still be reached through stale TLB entries.
 *
 * Context: May sleep, to allocate page tables.
 * Return: 0, or an error with all pages present and nothing added to @flush:
 *	-EOPNOTSUPP if !direct_map_can_remove(),
 *	-ENOMEM if there is no memory for a page table that a split needs.
 */
int direct_map_remove(struct page *page, unsigned long nr, struct direct_map_flush *flush)
{
	unsigned long start = (unsigned long)page_address(page);
	int err;

	if (!direct_map_can_remove())
		return -EOPNOTSUPP;

	might_sleep();
	atomic_long_add(nr, &nr_absent);

	err = set_direct_map_valid_noflush(page, nr, false);
	if (err) {
		/*
		 * x86 may have removed some. What it has removed it had split where
		 * that was needed, and no change is needed where it had not; so
		 * this cannot fail for lack of memory there. arm64 splits before
		 * it changes anything; so what fails there has nothing to do.
		 */
		set_direct_map_valid_noflush(page, nr, true);
		atomic_long_sub(nr, &nr_absent);
		return err;
	}

	if (flush->end) {
		flush->start = min(flush->start, start);
		flush->end = max(flush->end, start + nr * PAGE_SIZE);
	} else {
		flush->start = start;
		flush->end = start + nr * PAGE_SIZE;
	}
	return 0;
}
EXPORT_SYMBOL_FOR_MODULES(direct_map_remove, "direct_map_kunit");

/**
 * direct_map_restore() - Put pages back into the direct map
 * @page: The first page; all of them are absent, by direct_map_remove().
 * @nr: How many; the pages are physically contiguous. They need not be those of
 *	one call of direct_map_remove().
 *
 * No flush is needed after this: no TLB keeps an entry that is not present, or the
 * architecture has flushed it. Nor is one needed before it: a page that was never
 * flushed is one that was never safe from its stale entries.
 *
 * What was removed in one piece needs no memory to be restored in that piece, nor
 * to be removed in it again. A part of it may need a page table.
 *
 * Context: May sleep, to allocate page tables.
 * Return: 0, or -ENOMEM with all pages absent, in page tables and in TLBs. Such
 *	pages must not be freed; the caller tells its own caller to try again, or
 *	leaks them.
 */
int direct_map_restore(struct page *page, unsigned long nr)
{
	unsigned long start = (unsigned long)page_address(page);
	int err;

	might_sleep();

	err = set_direct_map_valid_noflush(page, nr, true);
	if (err) {
		/* The same in the other direction: see direct_map_remove(). */
		set_direct_map_valid_noflush(page, nr, false);
		flush_tlb_kernel_range(start, start + nr * PAGE_SIZE);
		return err;
	}

	atomic_long_sub(nr, &nr_absent);
	return 0;
}
EXPORT_SYMBOL_FOR_MODULES(direct_map_restore, "direct_map_kunit,memfile_kunit");

/**
 * direct_map_flush() - Flush what direct_map_remove() has left in TLBs
 * @flush: What to flush. It is empty afterwards, and can be used again.
 *
 * This interrupts all CPUs, or is broadcast to them by other means; so call it
 * once, for all that was removed.
 *
 * Context: May not be called with interrupts disabled.
 */
void direct_map_flush(struct direct_map_flush *flush)
{
	if (flush->end)
		flush_tlb_kernel_range(flush->start, flush->end);
	*flush = (struct direct_map_flush){};
}
EXPORT_SYMBOL_FOR_MODULES(direct_map_flush, "direct_map_kunit");

/**
 * direct_map_incomplete() - Is any page out of the direct map?
 *
 * Only pages that direct_map_remove() has taken out count, not those that
 * debug_pagealloc, KFENCE or execmem hide. Who must know for longer than an
 * instant has to stop those first who call direct_map_remove().
 *
 * Return: True if there is one.
 */
bool direct_map_incomplete(void)
{
	return atomic_long_read(&nr_absent) > 0;
}
EXPORT_SYMBOL_FOR_MODULES(direct_map_incomplete, "direct_map_kunit");
