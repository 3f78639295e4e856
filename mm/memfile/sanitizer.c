// SPDX-License-Identifier: GPL-2.0
/*
 * A record of what each page of a memory file is, who has it, and who has brought it
 * there, against which every step that is taken with a page is checked.
 *
 * The record is in the page's extension, so to keep it takes no memory that might not
 * be there, and what comes to a page from elsewhere (the page allocator, the rmap,
 * KVM's own mappings) finds it.  Where the truth can be had without the record, in
 * page tables and in the page itself, that is what is looked at.
 *
 * A step that must not be taken is reported, with the state that the page was in, and
 * where it got into that.  It leaves the record as it is, so that the page is not freed
 * later as if nothing were wrong with it: it is leaked.  Then the consumers of the
 * files concerned are told to give up.  That is done by a worker: a step may come
 * from any context.  Only the first violation in a file is reported.
 */
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/page-flags.h>
#include <linux/page_ext.h>
#include <linux/pagemap.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/set_memory.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include <kunit/static_stub.h>
#include <kunit/visibility.h>

#include "internal.h"
#include "sanitizer.h"

#define MEMFILE_STACK_DEPTH	24

/* Bits of memfile->violated */
#define MEMFILE_REPORTED	0
#define MEMFILE_TO_BE_TOLD	1

static LIST_HEAD(memfile_files);
static DEFINE_SPINLOCK(memfile_files_lock);

static bool __init memfile_shadow_need(void)
{
	return true;
}

struct page_ext_operations memfile_shadow_ops = {
	.size = sizeof(struct memfile_shadow),
	.need = memfile_shadow_need,
};

static int __init memfile_sanitizer_init(void)
{
	return stack_depot_init();
}
core_initcall(memfile_sanitizer_init);

/**
 * memfile_shadow - what is known of a page
 * @page: The page, which stays online.
 *
 * Context: Any.
 * Return: The record, or NULL early at boot.
 */
VISIBLE_IF_KUNIT struct memfile_shadow *memfile_shadow(const struct page *page)
{
	struct page_ext *page_ext;

	guard(rcu)();
	page_ext = page_ext_lookup(page_to_pfn(page));
	return page_ext ? page_ext_data(page_ext, &memfile_shadow_ops) : NULL;
}
EXPORT_SYMBOL_IF_KUNIT(memfile_shadow);

/* Never waits, and never fails: without memory there is no stack, and no more. */
static depot_stack_handle_t memfile_stack(void)
{
	unsigned long entries[MEMFILE_STACK_DEPTH];
	unsigned int nr;

	nr = stack_trace_save(entries, ARRAY_SIZE(entries), 2);
	return stack_depot_save(entries, nr, GFP_NOWAIT);
}

static const char * const memfile_violations[] = {
	[MEMFILE_DOUBLE_OWNER]		= "double owner",
	[MEMFILE_FREE_PRIVATE]		= "free while private",
	[MEMFILE_FREE_IN_USE]		= "free while in use",
	[MEMFILE_HOST_MAPPING]		= "shared mapping of a private page",
	[MEMFILE_IN_CONVERSION]		= "mapping of a page in conversion",
	[MEMFILE_STILL_MAPPED]		= "conversion of a page that is still mapped",
	[MEMFILE_NOT_TAKEN_BACK]	= "shared without being taken back",
	[MEMFILE_WRONG_STATE]		= "mapping of a page in another state",
	[MEMFILE_IN_DIRECT_MAP]		= "direct map present",
	[MEMFILE_NOT_IN_DIRECT_MAP]	= "direct map absent",
	[MEMFILE_HOST_ACCESS]		= "private page read by the host kernel",
};

static const char *memfile_page_state_name(unsigned int state)
{
	switch (state) {
	case MEMFILE_PAGE_FREE:		return "free";
	case MEMFILE_PAGE_SHARED:	return "shared";
	case MEMFILE_PAGE_PRIVATE:	return "private";
	case MEMFILE_PAGE_RESERVED:	return "reserved";
	case MEMFILE_PAGE_TAKEN_BACK:	return "taken back";
	case MEMFILE_PAGE_LEAKED:	return "leaked";
	}
	return "nonsense";
}

static void memfile_report_stack(depot_stack_handle_t stack)
{
	if (stack)
		stack_depot_print(stack);
	else
		pr_err(" (not recorded)\n");
}

/**
 * memfile_report - say what has gone wrong, and who is concerned
 * @violation: What has.
 *
 * Tests that want something to go wrong have it reported to themselves.
 *
 * Context: Any.
 */
VISIBLE_IF_KUNIT void memfile_report(const struct memfile_violation *violation)
{
	static DEFINE_RAW_SPINLOCK(lock);
	const struct memfile_shadow *shadow = &violation->shadow;

	KUNIT_STATIC_STUB_REDIRECT(memfile_report, violation);

	guard(raw_spinlock_irqsave)(&lock);

	pr_err("==================================================================\n");
	pr_err("BUG: memfile-sanitizer: %s: pfn %#lx\n",
	       memfile_violations[violation->kind], violation->pfn);
	if (violation->file)
		pr_err("Step for file %llu, offset %#lx, by task %s/%d:\n", violation->file,
		       violation->index, current->comm, task_pid_nr(current));
	else
		pr_err("Step for no file, by task %s/%d:\n", current->comm,
		       task_pid_nr(current));
	dump_stack_lvl(KERN_ERR);

	pr_err("The page is %s, file %llu, offset %#lx%s%s%s, %d kernel mappings\n",
	       memfile_page_state_name(shadow->state), shadow->file, shadow->index,
	       shadow->absent ? ", out of the direct map" : "",
	       shadow->phase ? ", in conversion" : "",
	       shadow->filling ? ", being filled" : "", atomic_read(&shadow->nr_kernel));
	if (shadow->stack || shadow->pid) {
		pr_err("It got into that state by task %d:\n", shadow->pid);
		memfile_report_stack(shadow->stack);
	}
	if (shadow->domain) {
		pr_err("Consumer %p has it mapped:\n", shadow->domain);
		memfile_report_stack(shadow->map_stack);
	}
	if (shadow->host_stack) {
		pr_err("The host has mapped it, last:\n");
		memfile_report_stack(shadow->host_stack);
	}
	pr_err("==================================================================\n");
}
EXPORT_SYMBOL_IF_KUNIT(memfile_report);

/* A file that is to be told, with a reference to its inode. */
static struct memfile *memfile_next_violated(void)
{
	struct memfile *memfile;

	guard(rcu)();
	list_for_each_entry_rcu(memfile, &memfile_files, sanitizer_node) {
		if (test_and_clear_bit(MEMFILE_TO_BE_TOLD, &memfile->violated) &&
		    igrab(&memfile->vfs_inode))
			return memfile;
	}
	return NULL;
}

static void memfile_tell_violated(struct work_struct *work)
{
	struct memfile *memfile;

	while ((memfile = memfile_next_violated())) {
		memfile_notify_violated(memfile);
		iput(&memfile->vfs_inode);
	}
}

static DECLARE_WORK(memfile_violated_work, memfile_tell_violated);

#if IS_ENABLED(CONFIG_KUNIT)
/* Wait until all that were to be told have been. */
void memfile_sanitizer_flush(void)
{
	flush_work(&memfile_violated_work);
}
EXPORT_SYMBOL_IF_KUNIT(memfile_sanitizer_flush);
#endif

static bool memfile_mark_violated(struct memfile *memfile)
{
	if (test_and_set_bit(MEMFILE_REPORTED, &memfile->violated))
		return false;
	set_bit(MEMFILE_TO_BE_TOLD, &memfile->violated);
	return true;
}

/* Somebody else's.  It is gone if its inode is, and then nobody is to be told. */
static struct memfile *memfile_find(u64 file)
{
	struct memfile *memfile;

	list_for_each_entry_rcu(memfile, &memfile_files, sanitizer_node) {
		if (memfile->vfs_inode.i_ino == file)
			return memfile;
	}
	return NULL;
}

/*
 * A page that is @shadow is about to undergo a step that is not for it, at @index of
 * @memfile, or for no file if that is NULL.
 */
static void memfile_violated(enum memfile_violation_kind kind, const struct page *page,
			     const struct memfile_shadow *shadow,
			     struct memfile *memfile, pgoff_t index)
{
	struct memfile_violation violation = {
		.kind = kind,
		.pfn = page_to_pfn(page),
		.file = memfile ? memfile->vfs_inode.i_ino : 0,
		.index = index,
		.shadow = *shadow,
	};
	bool known = memfile, fresh = memfile && memfile_mark_violated(memfile);
	struct memfile *other;

	scoped_guard(rcu) {
		other = shadow->file ? memfile_find(shadow->file) : NULL;
		if (other && other != memfile) {
			known = true;
			fresh |= memfile_mark_violated(other);
		}
	}

	if (known && !fresh)
		return;
	memfile_report(&violation);
	schedule_work(&memfile_violated_work);
}

/* Whether the page is the file's, for this offset.  If not, it is reported. */
static bool memfile_shadow_owned(struct memfile_shadow *shadow, const struct page *page,
				 struct memfile *memfile, pgoff_t index)
{
	if (shadow->file == memfile->vfs_inode.i_ino && shadow->index == index)
		return true;
	memfile_violated(MEMFILE_DOUBLE_OWNER, page, shadow, memfile, index);
	return false;
}

/*
 * Whether the page is in the direct map, or not, as it has to be: that is what the
 * kernel's page tables say.  If not, it is reported.
 */
static bool memfile_shadow_present(struct memfile_shadow *shadow, struct page *page,
				   struct memfile *memfile, pgoff_t index, bool absent)
{
	if (kernel_page_present(page) != absent)
		return true;
	/* memory_failure() sets this, and then takes the page out. */
	smp_rmb();
	if (PageHWPoison(page))
		return true;
	memfile_violated(absent ? MEMFILE_IN_DIRECT_MAP : MEMFILE_NOT_IN_DIRECT_MAP, page,
			 shadow, memfile, index);
	return false;
}

static void memfile_shadow_set(struct memfile_shadow *shadow, unsigned int state,
			       depot_stack_handle_t stack)
{
	shadow->stack = stack;
	shadow->pid = task_pid_nr(current);
	WRITE_ONCE(shadow->state, state);
}

/* What is left is what others have, and do not give back through the file. */
static void memfile_shadow_clear(struct memfile_shadow *shadow,
				 depot_stack_handle_t stack)
{
	shadow->file = 0;
	shadow->domain = NULL;
	shadow->phase = MEMFILE_PHASE_NONE;
	shadow->filling = false;
	memfile_shadow_set(shadow, MEMFILE_PAGE_FREE, stack);
}

/**
 * memfile_sanitizer_begin - there is a new file
 * @memfile: The file.
 *
 * Context: Any.
 */
void memfile_sanitizer_begin(struct memfile *memfile)
{
	memfile->violated = 0;
	guard(spinlock)(&memfile_files_lock);
	list_add_rcu(&memfile->sanitizer_node, &memfile_files);
}

/**
 * memfile_sanitizer_end - a file is gone, except that it is freed later, by RCU
 * @memfile: The file.
 *
 * Context: Any.
 */
void memfile_sanitizer_end(struct memfile *memfile)
{
	guard(spinlock)(&memfile_files_lock);
	list_del_rcu(&memfile->sanitizer_node);
}

/**
 * memfile_shadow_reserve - pages of the allocator's become a file's
 * @memfile: The file.
 * @page: The first page.
 * @nr: How many there are.
 * @index: The offset that the first one is for; the others follow it.
 *
 * Context: Any.  Nobody else knows the pages.
 */
void memfile_shadow_reserve(struct memfile *memfile, struct page *page,
			    unsigned long nr, pgoff_t index)
{
	depot_stack_handle_t stack = memfile_stack();

	for (; nr; nr--, page++, index++) {
		struct memfile_shadow *shadow = memfile_shadow(page);

		if (!shadow)
			continue;
		if (shadow->file) {
			memfile_violated(MEMFILE_DOUBLE_OWNER, page, shadow, memfile, index);
			continue;
		}
		shadow->file = memfile->vfs_inode.i_ino;
		shadow->index = index;
		shadow->host_stack = 0;
		shadow->absent = false;
		memfile_shadow_set(shadow, MEMFILE_PAGE_RESERVED, stack);
	}
}
EXPORT_SYMBOL_IF_KUNIT(memfile_shadow_reserve);

/**
 * memfile_shadow_release - pages that did not get into the file leave it
 * @memfile: The file.
 * @page: The first page.
 * @nr: How many there are.
 *
 * Context: Any.  Nobody else knows the pages.
 */
void memfile_shadow_release(struct memfile *memfile, struct page *page, unsigned long nr)
{
	depot_stack_handle_t stack = memfile_stack();

	for (; nr; nr--, page++) {
		struct memfile_shadow *shadow = memfile_shadow(page);

		if (!shadow || !memfile_shadow_owned(shadow, page, memfile, shadow->index))
			continue;
		if (shadow->state != MEMFILE_PAGE_RESERVED)
			memfile_violated(MEMFILE_FREE_IN_USE, page, shadow, memfile,
					 shadow->index);
		else if (memfile_shadow_present(shadow, page, memfile, shadow->index, false))
			memfile_shadow_clear(shadow, stack);
	}
}

/**
 * memfile_shadow_direct_map - pages have left the direct map, or are back
 * @memfile: The file.
 * @page: The first page.
 * @nr: How many there are.
 * @absent: Whether they have left.
 *
 * Context: Any.
 */
void memfile_shadow_direct_map(struct memfile *memfile, struct page *page,
			       unsigned long nr, bool absent)
{
	for (; nr; nr--, page++) {
		struct memfile_shadow *shadow = memfile_shadow(page);

		if (!shadow || !memfile_shadow_owned(shadow, page, memfile, shadow->index))
			continue;
		if (memfile_shadow_present(shadow, page, memfile, shadow->index, absent))
			shadow->absent = absent;
	}
}

/**
 * memfile_shadow_enter - a page enters the file
 * @memfile: The file.
 * @folio: The page.
 * @state: The state of its offset.
 *
 * Context: Under the folio lock.
 */
void memfile_shadow_enter(struct memfile *memfile, struct folio *folio,
			  enum memfile_state state)
{
	struct memfile_shadow *shadow = memfile_shadow(&folio->page);

	if (!shadow || !memfile_shadow_owned(shadow, &folio->page, memfile, folio->index))
		return;
	if (shadow->state != MEMFILE_PAGE_RESERVED)
		memfile_violated(MEMFILE_DOUBLE_OWNER, &folio->page, shadow, memfile,
				 folio->index);
	else if (memfile_shadow_present(shadow, &folio->page, memfile, folio->index,
					state & memfile->absent))
		memfile_shadow_set(shadow, state, memfile_stack());
}

/**
 * memfile_shadow_leave - a page leaves the file, to be freed
 * @memfile: The file.
 * @folio: The page.
 *
 * Context: Under the folio lock.
 */
void memfile_shadow_leave(struct memfile *memfile, struct folio *folio)
{
	struct memfile_shadow *shadow = memfile_shadow(&folio->page);
	pgoff_t index = folio->index;

	if (!shadow || !memfile_shadow_owned(shadow, &folio->page, memfile, index) ||
	    shadow->state == MEMFILE_PAGE_LEAKED)
		return;

	/* Not even taken back, and never freed. */
	if (folio_test_hwpoison(folio))
		memfile_shadow_clear(shadow, memfile_stack());
	else if (shadow->state == MEMFILE_PAGE_PRIVATE)
		memfile_violated(MEMFILE_FREE_PRIVATE, &folio->page, shadow, memfile, index);
	else if (shadow->domain || folio_mapped(folio))
		memfile_violated(MEMFILE_FREE_IN_USE, &folio->page, shadow, memfile, index);
	else if (memfile_shadow_present(shadow, &folio->page, memfile, index, false))
		memfile_shadow_clear(shadow, memfile_stack());
}

/**
 * memfile_shadow_drop - a page has left the file, and is not going to be freed
 * @folio: The page.
 *
 * It may be, if whoever does so has put it back into the direct map before.
 *
 * Context: Under the folio lock.
 */
void memfile_shadow_drop(struct folio *folio)
{
	struct memfile_shadow *shadow = memfile_shadow(&folio->page);

	if (shadow)
		memfile_shadow_clear(shadow, memfile_stack());
}

/**
 * memfile_shadow_taken_back - a page is no longer private, nor shared yet
 * @folio: The page.
 * @leaked: It could not be taken back.
 *
 * Context: Under the folio lock.
 */
void memfile_shadow_taken_back(struct folio *folio, bool leaked)
{
	struct memfile_shadow *shadow = memfile_shadow(&folio->page);

	if (shadow && shadow->state == MEMFILE_PAGE_PRIVATE)
		memfile_shadow_set(shadow, leaked ? MEMFILE_PAGE_LEAKED :
						    MEMFILE_PAGE_TAKEN_BACK,
				   memfile_stack());
}

/**
 * memfile_shadow_filling - a private page may be accessed by the host kernel
 * @page: The page.
 * @filling: From now on, or no longer.
 *
 * Context: invalidate_lock held exclusively, or under the folio lock.
 */
void memfile_shadow_filling(struct page *page, bool filling)
{
	struct memfile_shadow *shadow = memfile_shadow(page);

	if (shadow)
		shadow->filling = filling;
}

static bool memfile_shadow_free_page(struct page *page)
{
	struct memfile_shadow *shadow = memfile_shadow(page);
	enum memfile_violation_kind kind;

	if (!shadow)
		return true;
	if (shadow->state & (MEMFILE_PAGE_PRIVATE | MEMFILE_PAGE_LEAKED))
		kind = MEMFILE_FREE_PRIVATE;
	else if (shadow->file || atomic_read(&shadow->nr_kernel))
		kind = MEMFILE_FREE_IN_USE;
	else if (shadow->absent && !kernel_page_present(page) && !PageHWPoison(page))
		kind = MEMFILE_NOT_IN_DIRECT_MAP;
	else
		return true;

	memfile_violated(kind, page, shadow, NULL, shadow->index);
	return false;
}

/**
 * memfile_shadow_free - pages go to the allocator
 * @page: The first page.
 * @order: Of their number.
 *
 * Context: Any.
 * Return: Whether they may.  If not, they are to be leaked.
 */
bool memfile_shadow_free(struct page *page, unsigned int order)
{
	unsigned long nr = 1UL << order;
	bool ok = true;

	while (nr--)
		ok &= memfile_shadow_free_page(page++);
	return ok;
}

/**
 * memfile_shadow_lookup - a consumer gets a page, to map it
 * @consumer: The consumer.
 * @page: The page.
 * @index: Its offset.
 * @state: The state that the consumer gets it in.
 *
 * Context: Under the folio lock.
 */
void memfile_shadow_lookup(struct memfile_consumer *consumer, struct page *page,
			   pgoff_t index, enum memfile_state state)
{
	struct memfile *memfile = MEMFILE_I(consumer->inode);
	struct memfile_shadow *shadow = memfile_shadow(page);

	if (!shadow || !memfile_shadow_owned(shadow, page, memfile, index))
		return;
	if (shadow->phase != MEMFILE_PHASE_NONE) {
		memfile_violated(MEMFILE_IN_CONVERSION, page, shadow, memfile, index);
	} else if (shadow->state != (unsigned int)state) {
		memfile_violated(MEMFILE_WRONG_STATE, page, shadow, memfile, index);
	} else if (memfile_shadow_present(shadow, page, memfile, index,
					  state & memfile->absent)) {
		shadow->map_stack = memfile_stack();
		WRITE_ONCE(shadow->domain, consumer->domain);
	}
}
EXPORT_SYMBOL_IF_KUNIT(memfile_shadow_lookup);

/* The host maps it, or is about to. */
static void memfile_shadow_host(struct memfile_shadow *shadow, struct page *page,
				struct memfile *memfile, pgoff_t index,
				enum memfile_phase phase)
{
	if (shadow->state != MEMFILE_PAGE_SHARED)
		memfile_violated(MEMFILE_HOST_MAPPING, page, shadow, memfile, index);
	else if (shadow->phase >= phase)
		memfile_violated(MEMFILE_IN_CONVERSION, page, shadow, memfile, index);
}

/**
 * memfile_shadow_fault - a fault of the host gets a page, to map it
 * @memfile: The file.
 * @page: The page.
 * @index: Its offset.
 *
 * Context: Under the folio lock.
 */
void memfile_shadow_fault(struct memfile *memfile, struct page *page, pgoff_t index)
{
	struct memfile_shadow *shadow = memfile_shadow(page);

	if (shadow && memfile_shadow_owned(shadow, page, memfile, index))
		memfile_shadow_host(shadow, page, memfile, index, MEMFILE_PHASE_STARTED);
}

/**
 * memfile_shadow_host_map - pages of some file enter a page table of the host's
 * @page: The first page.
 * @nr: How many there are.
 *
 * Between a fault and this a conversion may have started.
 *
 * Context: Under the lock of the page table.
 */
void memfile_shadow_host_map(struct page *page, unsigned long nr)
{
	for (; nr; nr--, page++) {
		struct memfile_shadow *shadow = memfile_shadow(page);

		if (!shadow || !shadow->file)
			continue;
		memfile_shadow_host(shadow, page, NULL, shadow->index,
				    MEMFILE_PHASE_WITHDRAWN);
		shadow->host_stack = memfile_stack();
	}
}
EXPORT_SYMBOL_IF_KUNIT(memfile_shadow_host_map);

/* What to do to each page of a range. */
struct memfile_shadow_walk {
	struct memfile *memfile;
	void (*fn)(const struct memfile_shadow_walk *walk, struct memfile_shadow *shadow,
		   struct folio *folio);
	unsigned int states;
	const void *domain;
	enum memfile_phase phase;
	enum memfile_state to;
	depot_stack_handle_t stack;
};

static void memfile_shadow_for_range(const struct memfile_shadow_walk *walk,
				     pgoff_t start, pgoff_t end)
{
	XA_STATE(xas, &walk->memfile->vfs_inode.i_mapping->i_pages, start);
	struct memfile_shadow *shadow;
	struct folio *folio;

	guard(rcu)();
	xas_for_each(&xas, folio, end - 1) {
		if (xas_retry(&xas, folio))
			continue;
		shadow = memfile_shadow(&folio->page);
		if (shadow)
			walk->fn(walk, shadow, folio);
	}
}

static void memfile_shadow_invalidate(const struct memfile_shadow_walk *walk,
				      struct memfile_shadow *shadow, struct folio *folio)
{
	if (shadow->state & walk->states)
		WRITE_ONCE(shadow->domain, NULL);
}

/**
 * memfile_shadow_invalidated - no consumer has mapped anything of a range
 * @memfile: The file.
 * @inv: The range, and which states were meant.
 *
 * Context: As for memfile_notify_start().
 */
void memfile_shadow_invalidated(struct memfile *memfile,
				const struct memfile_invalidation *inv)
{
	struct memfile_shadow_walk walk = {
		.memfile = memfile,
		.fn = memfile_shadow_invalidate,
		.states = inv->states,
	};

	memfile_shadow_for_range(&walk, inv->start, inv->end);
}

static void memfile_shadow_unregister(const struct memfile_shadow_walk *walk,
				      struct memfile_shadow *shadow, struct folio *folio)
{
	if (shadow->domain == walk->domain)
		WRITE_ONCE(shadow->domain, NULL);
}

/**
 * memfile_shadow_unregistered - a consumer is not going to hear anything any more
 * @consumer: The consumer.
 *
 * Context: invalidate_lock held exclusively.
 */
void memfile_shadow_unregistered(const struct memfile_consumer *consumer)
{
	struct memfile_shadow_walk walk = {
		.memfile = MEMFILE_I(consumer->inode),
		.fn = memfile_shadow_unregister,
		.domain = consumer->domain,
	};

	memfile_shadow_for_range(&walk, consumer->node.start, consumer->node.last + 1);
}

static void memfile_shadow_set_phase(const struct memfile_shadow_walk *walk,
				     struct memfile_shadow *shadow, struct folio *folio)
{
	if (walk->phase == MEMFILE_PHASE_NONE || shadow->state & walk->states)
		WRITE_ONCE(shadow->phase, walk->phase);
}

/**
 * memfile_shadow_phase - the conversion of a range has come further
 * @memfile: The file.
 * @inv: The range, and the old state.
 * @phase: How far it is.
 *
 * Context: invalidate_lock held exclusively.
 */
void memfile_shadow_phase(struct memfile *memfile,
			  const struct memfile_invalidation *inv,
			  enum memfile_phase phase)
{
	struct memfile_shadow_walk walk = {
		.memfile = memfile,
		.fn = memfile_shadow_set_phase,
		.states = inv->states,
		.phase = phase,
	};

	memfile_shadow_for_range(&walk, inv->start, inv->end);
}

/* Is a page fit for its new state? */
static bool memfile_shadow_convertible(struct memfile_shadow *shadow, struct folio *folio,
				       struct memfile *memfile, enum memfile_state to)
{
	struct page *page = &folio->page;
	enum memfile_violation_kind kind;

	if (!memfile_shadow_owned(shadow, page, memfile, folio->index))
		return false;
	/* It stays where it is, and nobody gets at it. */
	if (folio_test_hwpoison(folio))
		return true;

	if (shadow->domain)
		kind = MEMFILE_STILL_MAPPED;
	else if (to == MEMFILE_PRIVATE && folio_mapped(folio))
		kind = MEMFILE_HOST_MAPPING;
	else if (to == MEMFILE_PRIVATE && atomic_read(&shadow->nr_kernel))
		kind = MEMFILE_HOST_ACCESS;
	else if (to == MEMFILE_SHARED && memfile->ops->reclaim &&
		 shadow->state == MEMFILE_PAGE_PRIVATE)
		kind = MEMFILE_NOT_TAKEN_BACK;
	else
		return memfile_shadow_present(shadow, page, memfile, folio->index,
					      to & memfile->absent);

	memfile_violated(kind, page, shadow, memfile, folio->index);
	return false;
}

static void memfile_shadow_convert(const struct memfile_shadow_walk *walk,
				   struct memfile_shadow *shadow, struct folio *folio)
{
	if (shadow->state != (unsigned int)walk->to &&
	    memfile_shadow_convertible(shadow, folio, walk->memfile, walk->to))
		memfile_shadow_set(shadow, walk->to, walk->stack);
}

/**
 * memfile_shadow_commit - the pages of a range are in a new state
 * @memfile: The file.
 * @inv: The range.
 * @to: The state.
 *
 * Context: invalidate_lock held exclusively.
 */
void memfile_shadow_commit(struct memfile *memfile,
			   const struct memfile_invalidation *inv,
			   enum memfile_state to)
{
	struct memfile_shadow_walk walk = {
		.memfile = memfile,
		.fn = memfile_shadow_convert,
		.to = to,
		.stack = memfile_stack(),
	};

	memfile_shadow_for_range(&walk, inv->start, inv->end);
}

/**
 * memfile_kernel_access - the host kernel is about to access a page
 * @page: Any page.
 *
 * Context: Any.
 */
void memfile_kernel_access(const struct page *page)
{
	struct memfile_shadow *shadow = memfile_shadow(page);

	if (shadow && !shadow->filling &&
	    shadow->state & (MEMFILE_PAGE_PRIVATE | MEMFILE_PAGE_LEAKED))
		memfile_violated(MEMFILE_HOST_ACCESS, page, shadow, NULL, shadow->index);
}
EXPORT_SYMBOL_FOR_MODULES(memfile_kernel_access, "kvm,kvm_gmem_kunit,memfile_kunit");

/**
 * memfile_kernel_map - the host kernel has mapped a page outside the direct map
 * @page: Any page.
 *
 * A page that is mapped can neither become private nor be freed.
 *
 * Context: Any.
 */
void memfile_kernel_map(const struct page *page)
{
	struct memfile_shadow *shadow = memfile_shadow(page);

	if (!shadow)
		return;
	atomic_inc(&shadow->nr_kernel);
	/* In memfile_access(), for an instant, and for each instruction that is emulated. */
	if (!shadow->filling)
		shadow->host_stack = memfile_stack();
}
EXPORT_SYMBOL_FOR_MODULES(memfile_kernel_map, "kvm,memfile_kunit");

/**
 * memfile_kernel_unmap - the host kernel is about to undo memfile_kernel_map()
 * @va: Where the page is mapped; still is.
 *
 * Context: Any.
 */
void memfile_kernel_unmap(const void *va)
{
	struct memfile_shadow *shadow = memfile_shadow(vmalloc_to_page(va));

	if (shadow)
		atomic_dec(&shadow->nr_kernel);
}
EXPORT_SYMBOL_FOR_MODULES(memfile_kernel_unmap, "kvm,memfile_kunit");
