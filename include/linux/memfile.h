/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_MEMFILE_H
#define _LINUX_MEMFILE_H

#include <linux/bits.h>
#include <linux/interval_tree.h>
#include <linux/mm.h>
#include <linux/types.h>

struct file;
struct inode;
struct memfile_consumer;
struct module;

/**
 * DOC: memory files
 *
 * A memory file is a file whose pages belong to a guest.  Each of its page
 * offsets is either shared (the host may map the page) or private (nobody but
 * the consumer may reach it).  The file is the only place that knows which.
 *
 * Two kinds of code use it:
 *
 * - the owner creates the file with memfile_create() and hears about the end
 *   of it (struct memfile_owner_ops);
 * - consumers put pages of the file into a secondary MMU.  Each registers a
 *   range of the file with memfile_register(), is told before pages of that
 *   range go away (struct memfile_consumer_ops, the notifier), and asks for
 *   pages with memfile_get_pfn() (the pfn ops).
 *
 * KVM is both: every KVM_CREATE_GUEST_MEMFD makes it an owner, and every
 * memslot on such a file is a consumer.
 *
 * No event is lost for want of a consumer: what is in the file and in which
 * state is found when a page is asked for, so a file may be populated first
 * and bound later.
 *
 * Lock order, outermost first::
 *
 *	mmap_lock
 *	  mapping->invalidate_lock		(of the file)
 *	    folio lock
 *	      memfile->consumers_lock
 *	        locks that a consumer's callback takes
 *
 * A consumer must not take any of these in its callbacks, nor a lock under
 * which it calls back into this interface.
 */

/**
 * enum memfile_state - who may reach a page of a memory file
 * @MEMFILE_SHARED: The host may map the page, and so may consumers.
 * @MEMFILE_PRIVATE: Only the consumer may reach it; a host access to a mapping
 *	of the page is a SIGBUS.
 *
 * The values are bits, so that a set of states fits an unsigned int.
 */
enum memfile_state {
	MEMFILE_SHARED	= BIT(0),
	MEMFILE_PRIVATE	= BIT(1),
};

/* Flags of memfile_create() */
#define MEMFILE_MMAP		BIT(0)	/* mmap() is allowed */
#define MEMFILE_INIT_SHARED	BIT(1)	/* offsets start shared, not private */
#define MEMFILE_KEEP_CONTENT	BIT(2)	/* what becomes shared is not zeroed */
#define MEMFILE_NO_DIRECT_MAP	BIT(3)	/* no page is in the direct map */
#define MEMFILE_PRIVATE_NO_DIRECT_MAP BIT(4)	/* no private page is */
#define MEMFILE_NEED_DIRECT_MAP	BIT(5)	/* the owner's code touches private pages */

/**
 * struct memfile_owner_ops - what the creator of a memory file provides
 * @owner: Module of these functions.  Pinned until the last page of the last
 *	file is freed, which is later than the last fput().
 * @release: The last reference to @file is gone.  Consumers that live as long
 *	as the file must be unregistered here.  May sleep; no locks held.
 * @reclaim: Take @nr pages from @pfn on, that were private, back from
 *	whatever hardware guards them, before they are freed or become shared.
 *	They are in the direct map, unless the file has no shared pages there
 *	either (MEMFILE_NO_DIRECT_MAP), and that is what they become.
 *	If it fails the pages are leaked: whoever got them next would fault.
 *	What memory is left in them is wiped by the file, see memfile_note_wiped().
 *	Called under the folio lock, may sleep.  Optional.
 * @hide: The @nr pages from @pfn on are about to leave the direct map.  Whoever has
 *	used them as shared memory, or has zeroed them, does so no more.  Flush what the
 *	host has written to them from its caches, if hardware that guards private pages
 *	wants that.  Not called for files with MEMFILE_KEEP_CONTENT, whose pages nothing
 *	guards.  May sleep, and may be called for pages that are private for long.
 *	Optional.
 * @ioctl: ioctl() on the file.  No locks held.  Optional.
 */
struct memfile_owner_ops {
	struct module *owner;
	void (*release)(struct file *file);
	int (*reclaim)(unsigned long pfn, unsigned long nr);
	void (*hide)(unsigned long pfn, unsigned long nr);
	long (*ioctl)(struct file *file, unsigned int cmd, unsigned long arg);
};

/**
 * struct memfile_invalidation - mappings that have to go
 * @start: First page offset.
 * @end: Page offset behind the last one.
 * @states: Set of enum memfile_state bits: mappings of pages in these states.
 */
struct memfile_invalidation {
	pgoff_t start;
	pgoff_t end;
	unsigned int states;
};

/**
 * struct memfile_consumer_ops - the notifier: what a consumer is told
 * @owner: Module of these functions.  Pinned while a consumer is registered.
 * @invalidate_start: Pages are about to go away, or to change their state.
 *	From now until @invalidate_end nothing in the range may be mapped, and
 *	when this returns nothing is mapped: neither in the page tables of the
 *	secondary MMU nor in its TLBs.  A page that memfile_lookup_pfn() has
 *	found but is not mapped yet must not be mapped any more.  A mapping of a
 *	page in a state that is not among those of the invalidation may stay.
 *	Required.
 * @invalidate_end: The pages are gone, or stay (a poisoned page does), or have
 *	their new state; from now on memfile_lookup_pfn() gives the new truth.
 *	Called exactly once for each @invalidate_start, with the same
 *	invalidation.  Required.
 * @prepare: A private page is about to be handed out by memfile_lookup_pfn()
 *	or memfile_get_pfn().  Make the @nr pages from @pfn on, which back
 *	@index onwards, usable for this consumer only.  Called for every lookup,
 *	so it must be idempotent.  Under invalidate_lock (shared) and the folio
 *	lock, may sleep.  An error becomes that of the lookup.  Optional.
 * @claimed: Userspace wants @start to @end converted, all of which is in the
 *	other state.  Return the first offset that only the guest may convert,
 *	or @end if there is none.  Under invalidate_lock (exclusive), before
 *	anything is changed, may sleep.  Optional.
 * @allocated: fallocate() has allocated the range, which may be mapped ahead of
 *	the first fault.  Under invalidate_lock (shared), may sleep.  Optional.
 * @violated: The sanitizer (CONFIG_MEMFILE_SANITIZER) has found that something was
 *	done to a page of the file which must not be done.  Nobody knows whose the
 *	pages are any more: whoever runs on them has to end.  May sleep.  Optional.
 *
 * Ranges are half-open and clipped to the one the consumer registered.
 *
 * The two invalidate callbacks run with invalidate_lock held exclusively, or,
 * for memory failure, under the folio lock of the poisoned page.  They may
 * sleep, and may run for several ranges at the same time, as @violated may.
 */
struct memfile_consumer_ops {
	struct module *owner;
	void (*invalidate_start)(struct memfile_consumer *consumer,
				 const struct memfile_invalidation *inv);
	void (*invalidate_end)(struct memfile_consumer *consumer,
			       const struct memfile_invalidation *inv);
	int (*prepare)(struct memfile_consumer *consumer, pgoff_t index,
		       unsigned long pfn, unsigned long nr);
	pgoff_t (*claimed)(struct memfile_consumer *consumer, pgoff_t start,
			   pgoff_t end);
	void (*allocated)(struct memfile_consumer *consumer, pgoff_t start,
			  pgoff_t end);
#ifdef CONFIG_MEMFILE_SANITIZER
	void (*violated)(struct memfile_consumer *consumer);
#endif
};

/**
 * struct memfile_consumer - one registration for a range of a memory file
 * @ops: Set by the consumer before memfile_register().
 * @domain: The secondary MMU, whatever identifies it.  Set by the consumer
 *	before memfile_register().  Ranges of one domain do not overlap:
 *	hardware that guards private pages knows one guest address for each.
 * @inode: The file's inode while registered, else NULL.
 * @node: The range, in page offsets.
 *
 * To be embedded in an object of the consumer's.  @inode and @node belong to
 * the library.
 */
struct memfile_consumer {
	const struct memfile_consumer_ops *ops;
	void *domain;
	struct inode *inode;
	struct interval_tree_node node;
};

/**
 * struct memfile_pfn - a page that was looked up
 * @page: The page; pinned, if it comes from memfile_get_pfn().
 * @pfn: Its page frame number.
 * @order: Largest order at which the page may be mapped: the naturally aligned
 *	block of this order around the offset is physically contiguous,
 *	naturally aligned, and in one state.
 * @state: The state of all of it.
 */
struct memfile_pfn {
	struct page *page;
	unsigned long pfn;
	unsigned int order;
	enum memfile_state state;
};

struct file *memfile_create(const char *name, loff_t size, unsigned int flags,
			    const struct memfile_owner_ops *ops, void *data);
void *memfile_owner_data(const struct file *file,
			 const struct memfile_owner_ops *ops);
unsigned int memfile_flags(const struct file *file);
int memfile_absent_states(unsigned int flags);

int memfile_register(struct file *file, struct memfile_consumer *consumer,
		     pgoff_t start, unsigned long nr);
void memfile_unregister(struct memfile_consumer *consumer);
void memfile_transfer(struct memfile_consumer *from, struct memfile_consumer *to);

enum memfile_state memfile_state(const struct memfile_consumer *consumer,
				 pgoff_t index);
int memfile_lookup_pfn(struct memfile_consumer *consumer, pgoff_t index,
		       struct memfile_pfn *mp);
int memfile_get_pfn(struct memfile_consumer *consumer, pgoff_t index,
		    struct memfile_pfn *mp);
int memfile_access(struct memfile_consumer *consumer, pgoff_t index,
		   int (*fn)(struct page *page, void *arg), void *arg);
void memfile_note_wiped(struct page *page, bool wiped);
int memfile_populate(struct memfile_consumer *consumer, pgoff_t index,
		     int (*fill)(unsigned long pfn, void *arg), void *arg);

/**
 * memfile_put_pfn - give back what memfile_get_pfn() handed out
 * @mp: The page.
 *
 * Context: Any.
 */
static inline void memfile_put_pfn(const struct memfile_pfn *mp)
{
	unpin_user_page(mp->page);
}

int memfile_convert(struct file *file, pgoff_t start, pgoff_t end,
		    enum memfile_state to, pgoff_t *where);
pgoff_t memfile_convert_for_guest(struct memfile_consumer *consumer, pgoff_t start,
				  pgoff_t end, enum memfile_state to,
				  unsigned long *changed, unsigned long *present);
pgoff_t memfile_query(struct file *file, pgoff_t index, pgoff_t end,
		      enum memfile_state *state);

#ifdef CONFIG_MEMFILE_SANITIZER
void memfile_kernel_access(const struct page *page);
void memfile_kernel_map(const struct page *page);
void memfile_kernel_unmap(const void *va);
#else
static inline void memfile_kernel_access(const struct page *page)
{
}

static inline void memfile_kernel_map(const struct page *page)
{
}

static inline void memfile_kernel_unmap(const void *va)
{
}
#endif

#endif /* _LINUX_MEMFILE_H */
