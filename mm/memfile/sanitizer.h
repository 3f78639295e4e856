/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_MEMFILE_SANITIZER_H
#define _MM_MEMFILE_SANITIZER_H

#include <linux/memfile.h>

struct folio;
struct memfile;

/**
 * enum memfile_phase - how far the conversion of a page is
 * @MEMFILE_PHASE_NONE: It is not being converted.
 * @MEMFILE_PHASE_STARTED: Consumers must not map it.  Those on the host who have found
 *	it before still may.
 * @MEMFILE_PHASE_WITHDRAWN: Nobody may.
 */
enum memfile_phase {
	MEMFILE_PHASE_NONE,
	MEMFILE_PHASE_STARTED,
	MEMFILE_PHASE_WITHDRAWN,
};

#ifdef CONFIG_MEMFILE_SANITIZER

#include <linux/stackdepot.h>
#include <linux/types.h>

/**
 * enum memfile_page_state - what a page is, as far as memory files know
 * @MEMFILE_PAGE_FREE: No page of a memory file.
 * @MEMFILE_PAGE_SHARED: In a file, at a shared offset.
 * @MEMFILE_PAGE_PRIVATE: In a file, at a private offset.
 * @MEMFILE_PAGE_RESERVED: A file's, for an offset, but not in the file.
 * @MEMFILE_PAGE_TAKEN_BACK: In a file, was private, and is nobody's just now.
 * @MEMFILE_PAGE_LEAKED: Was private, and could not be taken back.
 *
 * The values are bits, and those of the states of an offset are the same as theirs.
 */
enum memfile_page_state {
	MEMFILE_PAGE_FREE	= 0,
	MEMFILE_PAGE_SHARED	= MEMFILE_SHARED,
	MEMFILE_PAGE_PRIVATE	= MEMFILE_PRIVATE,
	MEMFILE_PAGE_RESERVED	= BIT(2),
	MEMFILE_PAGE_TAKEN_BACK	= BIT(3),
	MEMFILE_PAGE_LEAKED	= BIT(4),
};

/**
 * struct memfile_shadow - what the sanitizer knows about a page
 * @file: Inode number of the file that it belongs to.
 * @index: The offset in it.
 * @domain: The secondary MMU that has it mapped, or NULL.
 * @stack: Where it got into @state.
 * @pid: Who did that.
 * @map_stack: Where @domain got it.
 * @host_stack: Where the host, or its kernel, has mapped it last, but for @filling.
 * @nr_kernel: How often the host kernel has it mapped outside the direct map.
 * @state: An enum memfile_page_state.
 * @phase: An enum memfile_phase.
 * @filling: memfile_populate() is filling it, or memfile_access() looks into it.
 * @absent: Out of the direct map.
 *
 * All zero for a page that is no memory file's.
 *
 * What is written at the same time by different parties is in different members, and
 * a violation is reported from a copy: there is no lock.
 */
struct memfile_shadow {
	u64 file;
	pgoff_t index;
	const void *domain;
	depot_stack_handle_t stack;
	pid_t pid;
	depot_stack_handle_t map_stack;
	depot_stack_handle_t host_stack;
	atomic_t nr_kernel;
	u8 state;
	u8 phase;
	bool filling;
	bool absent;
};

/**
 * enum memfile_violation_kind - what should not have been done to a page
 * @MEMFILE_DOUBLE_OWNER: It is another file's, or for another offset.
 * @MEMFILE_FREE_PRIVATE: It was freed while private.
 * @MEMFILE_FREE_IN_USE: It was freed while a file had it, or somebody had it mapped.
 * @MEMFILE_HOST_MAPPING: The host has a mapping of it, and it is, or becomes, private.
 * @MEMFILE_IN_CONVERSION: It was mapped while being converted.
 * @MEMFILE_STILL_MAPPED: It was converted while a consumer had it mapped.
 * @MEMFILE_NOT_TAKEN_BACK: It became shared, and the owner did not take it back.
 * @MEMFILE_WRONG_STATE: A consumer gets it in another state than it is in.
 * @MEMFILE_IN_DIRECT_MAP: It is in the direct map, and must not be.
 * @MEMFILE_NOT_IN_DIRECT_MAP: It is not, and must be.
 * @MEMFILE_HOST_ACCESS: The host kernel accesses it, and it is, or becomes, private.
 */
enum memfile_violation_kind {
	MEMFILE_DOUBLE_OWNER,
	MEMFILE_FREE_PRIVATE,
	MEMFILE_FREE_IN_USE,
	MEMFILE_HOST_MAPPING,
	MEMFILE_IN_CONVERSION,
	MEMFILE_STILL_MAPPED,
	MEMFILE_NOT_TAKEN_BACK,
	MEMFILE_WRONG_STATE,
	MEMFILE_IN_DIRECT_MAP,
	MEMFILE_NOT_IN_DIRECT_MAP,
	MEMFILE_HOST_ACCESS,
};

/**
 * struct memfile_violation - a step that should not have been taken
 * @kind: What is wrong with it.
 * @pfn: The page.
 * @file: Inode number of the file for which the step was taken; 0 if for none.
 * @index: The offset in it.
 * @shadow: What was known of the page before.
 */
struct memfile_violation {
	enum memfile_violation_kind kind;
	unsigned long pfn;
	u64 file;
	pgoff_t index;
	struct memfile_shadow shadow;
};

extern struct page_ext_operations memfile_shadow_ops;

/* The life of a file */
void memfile_sanitizer_begin(struct memfile *memfile);
void memfile_sanitizer_end(struct memfile *memfile);

/* Steps in the life of a page */
void memfile_shadow_reserve(struct memfile *memfile, struct page *page,
			    unsigned long nr, pgoff_t index);
void memfile_shadow_release(struct memfile *memfile, struct page *page,
			    unsigned long nr);
void memfile_shadow_direct_map(struct memfile *memfile, struct page *page,
			       unsigned long nr, bool absent);
void memfile_shadow_enter(struct memfile *memfile, struct folio *folio,
			  enum memfile_state state);
void memfile_shadow_leave(struct memfile *memfile, struct folio *folio);
void memfile_shadow_drop(struct folio *folio);
void memfile_shadow_taken_back(struct folio *folio, bool leaked);
void memfile_shadow_filling(struct page *page, bool filling);
bool memfile_shadow_free(struct page *page, unsigned int order);

/* Who gets at it */
void memfile_shadow_lookup(struct memfile_consumer *consumer, struct page *page,
			   pgoff_t index, enum memfile_state state);
void memfile_shadow_fault(struct memfile *memfile, struct page *page, pgoff_t index);
void memfile_shadow_host_map(struct page *page, unsigned long nr);

/* Invalidation and conversion of a range */
void memfile_shadow_invalidated(struct memfile *memfile,
				const struct memfile_invalidation *inv);
void memfile_shadow_unregistered(const struct memfile_consumer *consumer);
void memfile_shadow_phase(struct memfile *memfile,
			  const struct memfile_invalidation *inv,
			  enum memfile_phase phase);
void memfile_shadow_commit(struct memfile *memfile,
			   const struct memfile_invalidation *inv,
			   enum memfile_state to);

#if IS_ENABLED(CONFIG_KUNIT)
struct memfile_shadow *memfile_shadow(const struct page *page);
void memfile_report(const struct memfile_violation *violation);
void memfile_sanitizer_flush(void);
#endif

#else /* !CONFIG_MEMFILE_SANITIZER */

static inline void memfile_sanitizer_begin(struct memfile *memfile) { }
static inline void memfile_sanitizer_end(struct memfile *memfile) { }
static inline void memfile_shadow_reserve(struct memfile *memfile, struct page *page,
					  unsigned long nr, pgoff_t index) { }
static inline void memfile_shadow_release(struct memfile *memfile, struct page *page,
					  unsigned long nr) { }
static inline void memfile_shadow_direct_map(struct memfile *memfile, struct page *page,
					     unsigned long nr, bool absent) { }
static inline void memfile_shadow_enter(struct memfile *memfile, struct folio *folio,
					enum memfile_state state) { }
static inline void memfile_shadow_leave(struct memfile *memfile, struct folio *folio) { }
static inline void memfile_shadow_drop(struct folio *folio) { }
static inline void memfile_shadow_taken_back(struct folio *folio, bool leaked) { }
static inline void memfile_shadow_filling(struct page *page, bool filling) { }
static inline bool memfile_shadow_free(struct page *page, unsigned int order)
{
	return true;
}

static inline void memfile_shadow_lookup(struct memfile_consumer *consumer,
					 struct page *page, pgoff_t index,
					 enum memfile_state state) { }
static inline void memfile_shadow_fault(struct memfile *memfile, struct page *page,
					pgoff_t index) { }
static inline void memfile_shadow_host_map(struct page *page, unsigned long nr) { }
static inline void memfile_shadow_unregistered(const struct memfile_consumer *consumer) { }
static inline void memfile_shadow_invalidated(struct memfile *memfile,
					      const struct memfile_invalidation *inv) { }
static inline void memfile_shadow_phase(struct memfile *memfile,
					const struct memfile_invalidation *inv,
					enum memfile_phase phase) { }
static inline void memfile_shadow_commit(struct memfile *memfile,
					 const struct memfile_invalidation *inv,
					 enum memfile_state to) { }

#endif /* CONFIG_MEMFILE_SANITIZER */

#endif /* _MM_MEMFILE_SANITIZER_H */
