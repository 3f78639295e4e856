// SPDX-License-Identifier: GPL-2.0
/*
 * What the sanitizer finds, and what it does then.  Each test does something to a page
 * that must not be done to it, and has that reported to itself.
 */
#include <linux/direct_map.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/stackdepot.h>
#include <linux/vmalloc.h>

#include <kunit/static_stub.h>

#include "../internal.h"
#include "mock.h"

#define NR_PAGES	16

static int mmu, other_mmu;

static unsigned int nr_seen;
static struct memfile_violation seen;

static void see(const struct memfile_violation *violation)
{
	if (!nr_seen++)
		seen = *violation;
}

static int sanitizer_init(struct kunit *test)
{
	nr_seen = 0;
	kunit_activate_static_stub(test, memfile_report, see);
	return mock_init(test);
}

static struct memfile *to_memfile(const struct mock_file *mf)
{
	return MEMFILE_I(file_inode(mf->file));
}

static struct page *lookup(struct kunit *test, struct mock_consumer *mc, pgoff_t index)
{
	struct memfile_pfn mp;

	KUNIT_ASSERT_EQ(test, 0, memfile_lookup_pfn(&mc->consumer, index, &mp));
	return mp.page;
}

/* A private page of a file, whose only consumer has looked it up. */
struct private_page {
	struct mock_file *mf;
	struct mock_consumer *mc;
	struct page *page;
	pgoff_t index;
};

static struct private_page private_page(struct kunit *test, unsigned int flags)
{
	struct private_page p = { .index = 3 };

	if (memfile_absent_states(flags) == -EOPNOTSUPP)
		kunit_skip(test, "this machine cannot change its direct map");
	p.mf = mock_create(test, NR_PAGES, flags);
	p.mc = mock_register(test, p.mf, &mmu, 0, NR_PAGES);
	mock_convert(test, p.mf, 0, NR_PAGES, MEMFILE_SHARED);
	lookup(test, p.mc, p.index);
	mock_convert(test, p.mf, 0, NR_PAGES, MEMFILE_PRIVATE);
	p.page = lookup(test, p.mc, p.index);
	KUNIT_EXPECT_EQ(test, nr_seen, 0);
	return p;
}

/* It was one thing that was seen, and both parties to it. */
static void expect_violation(struct kunit *test, const struct private_page *p,
			     enum memfile_violation_kind kind,
			     enum memfile_page_state state)
{
	KUNIT_EXPECT_EQ(test, nr_seen, 1);
	KUNIT_EXPECT_EQ(test, (int)seen.kind, (int)kind);
	KUNIT_EXPECT_EQ(test, seen.pfn, page_to_pfn(p->page));
	KUNIT_EXPECT_EQ(test, seen.shadow.file, file_inode(p->mf->file)->i_ino);
	KUNIT_EXPECT_EQ(test, seen.shadow.index, p->index);
	KUNIT_EXPECT_EQ(test, (int)seen.shadow.state, (int)state);
	KUNIT_EXPECT_EQ(test, seen.shadow.pid, task_pid_nr(current));

	memfile_sanitizer_flush();
	KUNIT_EXPECT_EQ(test, p->mc->nr_violated, 1);
}

static void expect_stack(struct kunit *test, depot_stack_handle_t stack,
			 const char *function)
{
	char *buf = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buf);
	if (!IS_ENABLED(CONFIG_KALLSYMS))
		return;
	stack_depot_snprint(stack, buf, PAGE_SIZE, 0);
	KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(buf, function), "no %s in\n%s", function, buf);
}

/* Files in which all is well, and what is known of their pages afterwards. */
static int fill(unsigned long pfn, void *arg)
{
	memfile_kernel_access(pfn_to_page(pfn));
	mock_fill(pfn_to_page(pfn), 0x33);
	return 0;
}

static void ordinary_life(struct kunit *test)
{
	static const unsigned int flags[] = {
		MEMFILE_MMAP,
		MEMFILE_MMAP | MEMFILE_INIT_SHARED | MEMFILE_KEEP_CONTENT,
		MEMFILE_MMAP | MEMFILE_NEED_DIRECT_MAP,
	};
	const int i = *(const int *)test->param_value;
	/* With an extent, and without. */
	unsigned long nr = i & 1 ? MEMFILE_EXTENT_PAGES : NR_PAGES;
	struct mock_file *mf = mock_create(test, nr, flags[i / 2]);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, nr);
	struct memfile_shadow *shadow;
	struct page *page;
	void __user *map;
	u8 byte;

	page = lookup(test, mc, 0);
	get_page(page);
	shadow = memfile_shadow(page);
	KUNIT_EXPECT_PTR_EQ(test, shadow->domain, (const void *)&mmu);
	mock_convert(test, mf, 1, 7, MEMFILE_PRIVATE);
	lookup(test, mc, 1);
	KUNIT_EXPECT_EQ(test, 0, memfile_populate(&mc->consumer, 2, fill, NULL));
	mock_convert(test, mf, 1, 9, MEMFILE_SHARED);
	map = mock_mmap(test, mf, nr);
	KUNIT_EXPECT_TRUE(test, mock_can_write(map, 4, 1));
	lookup(test, mc, 4);
	mock_convert(test, mf, 4, 1, MEMFILE_PRIVATE);
	KUNIT_EXPECT_FALSE(test, mock_can_read(map, 4, &byte));
	mock_punch(test, mf, 3, 4);
	mock_allocate(test, mf, 0, nr);
	lookup(test, mc, 3);

	mock_unregister(mc);
	KUNIT_EXPECT_NULL(test, shadow->domain);
	mock_punch(test, mf, 0, nr);
	KUNIT_EXPECT_EQ(test, shadow->file, 0);
	KUNIT_EXPECT_EQ(test, (int)shadow->state, (int)MEMFILE_PAGE_FREE);
	put_page(page);
	mock_allocate(test, mf, 0, nr);
	mock_close(mf);
	KUNIT_EXPECT_EQ(test, nr_seen, 0);
	KUNIT_EXPECT_EQ(test, mc->nr_violated, 0);
}

static const int ordinary_cases[] = { 0, 1, 2, 3, 4, 5 };

static void ordinary_desc(const int *i, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "flags %d, %s", *i / 2,
		 *i & 1 ? "extents" : "single");
}

KUNIT_ARRAY_PARAM(ordinary, ordinary_cases, ordinary_desc);

/* One reference too few, as somebody else's bug would have it. */
static void free_while_private(struct kunit *test)
{
	struct private_page p = private_page(test, MEMFILE_NEED_DIRECT_MAP);

	/* To free a page empties the CPU's list of new ones: see mock_init(). */
	mock_allocate(test, p.mf, 7, 1);
	mock_punch(test, p.mf, 7, 1);
	KUNIT_ASSERT_EQ(test, page_ref_count(p.page), 1);

	put_page(p.page);
	KUNIT_EXPECT_EQ(test, page_ref_count(p.page), 0);
	expect_violation(test, &p, MEMFILE_FREE_PRIVATE, MEMFILE_PAGE_PRIVATE);
	KUNIT_EXPECT_EQ(test, seen.file, 0);
	expect_stack(test, seen.shadow.stack, "memfile_convert");
	expect_stack(test, seen.shadow.map_stack, "memfile_lookup_pfn");

	/* The allocator has refused it, so it can be the file's again. */
	set_page_count(p.page, 1);
}

/* What could not be taken back is nobody's to free. */
static void free_leaked(struct kunit *test)
{
	struct private_page p = private_page(test, MEMFILE_NEED_DIRECT_MAP);

	mock_log.reclaim_err = -EIO;
	mock_punch(test, p.mf, 0, NR_PAGES);
	mock_log.reclaim_err = 0;
	KUNIT_EXPECT_EQ(test, nr_seen, 0);
	mock_allocate(test, p.mf, 7, 1);
	mock_punch(test, p.mf, 7, 1);
	KUNIT_ASSERT_EQ(test, page_ref_count(p.page), 1);

	put_page(p.page);
	expect_violation(test, &p, MEMFILE_FREE_PRIVATE, MEMFILE_PAGE_LEAKED);
	set_page_count(p.page, 1);
}

static void double_owner(struct kunit *test)
{
	struct private_page p = private_page(test, 0);
	struct mock_file *other = mock_create(test, NR_PAGES, 0);
	struct mock_consumer *mc = mock_register(test, other, &other_mmu, 0, NR_PAGES);

	memfile_shadow_reserve(to_memfile(other), p.page, 1, 5);
	expect_violation(test, &p, MEMFILE_DOUBLE_OWNER, MEMFILE_PAGE_PRIVATE);
	KUNIT_EXPECT_EQ(test, seen.file, file_inode(other->file)->i_ino);
	KUNIT_EXPECT_EQ(test, seen.index, 5);
	expect_stack(test, seen.shadow.stack, "memfile_convert");
	/* Nobody knows whose it is. */
	KUNIT_EXPECT_EQ(test, mc->nr_violated, 1);
}

/* An offset of the same file is no better. */
static void double_offset(struct kunit *test)
{
	struct private_page p = private_page(test, 0);

	memfile_shadow_lookup(&p.mc->consumer, p.page, p.index + 1, MEMFILE_PRIVATE);
	expect_violation(test, &p, MEMFILE_DOUBLE_OWNER, MEMFILE_PAGE_PRIVATE);
	KUNIT_EXPECT_EQ(test, seen.index, p.index + 1);
}

/* Into page tables of the host, past the file's own fault handler. */
static void shared_mapping(struct kunit *test)
{
	struct private_page p = private_page(test, MEMFILE_MMAP | MEMFILE_NEED_DIRECT_MAP);
	unsigned long map = (unsigned long)mock_mmap(test, p.mf, NR_PAGES);
	int err = -EFAULT;

	mmap_write_lock(current->mm);
	err = vm_insert_page(find_vma(current->mm, map), map + p.index * PAGE_SIZE, p.page);
	mmap_write_unlock(current->mm);
	KUNIT_EXPECT_EQ(test, err, 0);
	expect_violation(test, &p, MEMFILE_HOST_MAPPING, MEMFILE_PAGE_PRIVATE);
	expect_stack(test, seen.shadow.stack, "memfile_convert");
}

/* As by a lookup that does not wait for invalidate_lock. */
static struct page *hasty_page;
static int nr_hasty;

static void hasty_start(struct memfile_consumer *consumer,
			const struct memfile_invalidation *inv)
{
	if (!hasty_page)
		return;
	nr_hasty++;
	memfile_shadow_lookup(consumer, hasty_page, 3,
			      inv->states == MEMFILE_SHARED ? MEMFILE_SHARED : MEMFILE_PRIVATE);
}

static void hasty_end(struct memfile_consumer *consumer,
		      const struct memfile_invalidation *inv)
{
}

static const struct memfile_consumer_ops hasty_ops = {
	.owner			= THIS_MODULE,
	.invalidate_start	= hasty_start,
	.invalidate_end		= hasty_end,
};

static void mapping_in_conversion(struct kunit *test)
{
	struct private_page p = private_page(test, 0);
	struct memfile_consumer hasty = { .ops = &hasty_ops, .domain = &other_mmu };

	KUNIT_ASSERT_EQ(test, 0, memfile_register(p.mf->file, &hasty, 0, NR_PAGES));
	hasty_page = p.page;
	nr_hasty = 0;
	mock_convert(test, p.mf, p.index, 1, MEMFILE_SHARED);
	hasty_page = NULL;
	memfile_unregister(&hasty);

	KUNIT_EXPECT_EQ(test, nr_hasty, 1);
	expect_violation(test, &p, MEMFILE_IN_CONVERSION, MEMFILE_PAGE_PRIVATE);
	expect_stack(test, seen.shadow.stack, "memfile_convert");
}

/* By a fault of the host that was not waited for: the page was withdrawn before. */
static int hasty_change(struct memfile *memfile, struct page *page, unsigned long nr,
			struct memfile_change *change)
{
	memfile_shadow_host_map(page, nr);
	return -ENOMEM;
}

static void host_mapping_in_conversion(struct kunit *test)
{
	struct private_page p = private_page(test, MEMFILE_PRIVATE_NO_DIRECT_MAP);
	pgoff_t where;

	mock_convert(test, p.mf, 0, NR_PAGES, MEMFILE_SHARED);
	kunit_activate_static_stub(test, memfile_change_run, hasty_change);
	KUNIT_EXPECT_EQ(test, -ENOMEM, memfile_convert(p.mf->file, p.index, p.index + 1,
						       MEMFILE_PRIVATE, &where));
	kunit_deactivate_static_stub(test, memfile_change_run);
	expect_violation(test, &p, MEMFILE_IN_CONVERSION, MEMFILE_PAGE_SHARED);
}

static void change(struct kunit *test, const struct private_page *p, bool remove)
{
	struct memfile_change change = { .remove = remove };

	KUNIT_EXPECT_EQ(test, 0, memfile_change_run(to_memfile(p->mf), p->page, 1, &change));
}

static void direct_map_present(struct kunit *test)
{
	struct private_page p = private_page(test, MEMFILE_PRIVATE_NO_DIRECT_MAP);

	change(test, &p, false);
	KUNIT_EXPECT_EQ(test, nr_seen, 0);
	KUNIT_EXPECT_PTR_EQ(test, p.page, lookup(test, p.mc, p.index));
	expect_violation(test, &p, MEMFILE_IN_DIRECT_MAP, MEMFILE_PAGE_PRIVATE);
	expect_stack(test, seen.shadow.stack, "memfile_convert");
	change(test, &p, true);
}

/* The other way round it is the host that would suffer. */
static void direct_map_absent(struct kunit *test)
{
	struct private_page p = private_page(test, MEMFILE_PRIVATE_NO_DIRECT_MAP);

	mock_convert(test, p.mf, p.index, 1, MEMFILE_SHARED);
	change(test, &p, true);
	KUNIT_EXPECT_PTR_EQ(test, p.page, lookup(test, p.mc, p.index));
	expect_violation(test, &p, MEMFILE_NOT_IN_DIRECT_MAP, MEMFILE_PAGE_SHARED);
	change(test, &p, false);
}

static void read_by_kernel(struct kunit *test)
{
	struct private_page p = private_page(test, 0);

	memfile_kernel_access(p.page);
	expect_violation(test, &p, MEMFILE_HOST_ACCESS, MEMFILE_PAGE_PRIVATE);
	expect_stack(test, seen.shadow.stack, "memfile_convert");

	/* Once is enough. */
	memfile_kernel_access(p.page);
	memfile_sanitizer_flush();
	KUNIT_EXPECT_EQ(test, nr_seen, 1);
	KUNIT_EXPECT_EQ(test, p.mc->nr_violated, 1);
}

/* A mapping that was made when the page was shared, and outlives that. */
static void mapped_by_kernel(struct kunit *test)
{
	struct private_page p = private_page(test, 0);
	void *va;

	mock_convert(test, p.mf, p.index, 1, MEMFILE_SHARED);
	memfile_kernel_access(p.page);
	KUNIT_EXPECT_EQ(test, nr_seen, 0);
	va = vmap(&p.page, 1, VM_MAP, PAGE_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, va);
	memfile_kernel_map(p.page);
	mock_convert(test, p.mf, p.index, 1, MEMFILE_PRIVATE);
	expect_violation(test, &p, MEMFILE_HOST_ACCESS, MEMFILE_PAGE_SHARED);
	KUNIT_EXPECT_EQ(test, atomic_read(&seen.shadow.nr_kernel), 1);
	expect_stack(test, seen.shadow.host_stack, "mapped_by_kernel");
	memfile_kernel_unmap(va);
	vunmap(va);
	KUNIT_EXPECT_EQ(test, atomic_read(&memfile_shadow(p.page)->nr_kernel), 0);
}

static struct kunit_case memfile_sanitizer_cases[] = {
	KUNIT_CASE_PARAM(ordinary_life, ordinary_gen_params),
	KUNIT_CASE(free_while_private),
	KUNIT_CASE(free_leaked),
	KUNIT_CASE(double_owner),
	KUNIT_CASE(double_offset),
	KUNIT_CASE(shared_mapping),
	KUNIT_CASE(mapping_in_conversion),
	KUNIT_CASE(host_mapping_in_conversion),
	KUNIT_CASE(direct_map_present),
	KUNIT_CASE(direct_map_absent),
	KUNIT_CASE(read_by_kernel),
	KUNIT_CASE(mapped_by_kernel),
	{ }
};

static struct kunit_suite memfile_sanitizer_suite = {
	.name = "memfile_sanitizer",
	.init = sanitizer_init,
	.test_cases = memfile_sanitizer_cases,
};

kunit_test_suite(memfile_sanitizer_suite);
