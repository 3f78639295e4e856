// SPDX-License-Identifier: GPL-2.0
/*
 * What arch/x86/kvm/svm/sev.c does to pages of guest_memfd, on a real memory file and a
 * model of the RMP (snp_rmp.c).  No SNP hardware or firmware is involved.
 *
 * Not reached, because a running VM is needed: sev_handle_rmp_fault(),
 * __sev_snp_reload_vmsa(), and what snp_launch_update() does before it populates.
 */
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/psp-sev.h>
#include <linux/set_memory.h>
#include <linux/sizes.h>

#include <asm/pgtable.h>
#include <asm/sev.h>
#include <asm/svm.h>

#include <kunit/static_stub.h>

#include "svm/svm.h"
#include "gmem.h"
#include "snp_rmp.h"

static ulong seed = 1;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "What random tests begin with");

static ulong ops = 1500;
module_param(ops, ulong, 0444);
MODULE_PARM_DESC(ops, "How many operations random tests do");

#define ASID	5

/* Pages for one 2M block, and some that no block has. */
#define BLOCK	PTRS_PER_PMD
#define BLOCKS	(2 * BLOCK + 10)
#define SINGLE	70

/* A guest that is nothing but what sev_gmem_*() look at. */
static struct kvm *snp_kvm(struct kunit *test)
{
	struct kvm_svm *kvm_svm = kunit_kzalloc(test, sizeof(*kvm_svm), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, kvm_svm);
	kvm_svm->sev_info.active = true;
	kvm_svm->sev_info.es_active = true;
	kvm_svm->sev_info.vmsa_features = SVM_SEV_FEAT_SNP_ACTIVE;
	kvm_svm->sev_info.asid = ASID;
	kvm_svm->sev_info.snp_context = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, kvm_svm->sev_info.snp_context);
	/* Failures below are on purpose, and need no warning. */
	kvm_svm->kvm.vm_bugged = true;
	xa_init(&kvm_svm->kvm.vcpu_array);
	return &kvm_svm->kvm;
}

static int snp_gmem_prepare(struct gmem_file *gf, pgoff_t index, unsigned long pfn,
		       unsigned long nr)
{
	return sev_gmem_make_private(gf->priv, GMEM_GFN + index, pfn, nr);
}

static int snp_gmem_reclaim(unsigned long pfn, unsigned long nr)
{
	return sev_gmem_make_shared(pfn, nr);
}

/* A nested page fault that the RMP would cause is a bug: KVM has prepared the page. */
static int snp_map(struct gmem_file *gf, pgoff_t index, const struct memfile_pfn *mp)
{
	struct rmp_page *page = rmp_page(gf->test->priv, mp->pfn);

	if (mp->state == MEMFILE_SHARED) {
		KUNIT_EXPECT_NULL(gf->test, page);
		return 0;
	}
	KUNIT_EXPECT_NOT_NULL(gf->test, page);
	if (page) {
		KUNIT_EXPECT_EQ(gf->test, page->asid, ASID);
		KUNIT_EXPECT_EQ(gf->test, page->gpa, gfn_to_gpa(GMEM_GFN + index));
		KUNIT_EXPECT_FALSE(gf->test, page->immutable);
	}
	return 0;
}

static void snp_check(struct gmem_file *gf, pgoff_t index, enum memfile_state state,
		      struct page *page)
{
	struct rmp_page *rmp = rmp_page(gf->test->priv, page_to_pfn(page));

	if (!rmp)
		return;
	KUNIT_EXPECT_EQ_MSG(gf->test, state, MEMFILE_PRIVATE, "assigned page at %#lx", index);
	KUNIT_EXPECT_EQ(gf->test, rmp->asid, ASID);
	KUNIT_EXPECT_EQ(gf->test, rmp->gpa, gfn_to_gpa(GMEM_GFN + index));
}

static struct gmem_vm snp_vm = {
	.owner.reclaim	= snp_gmem_reclaim,
	.prepare	= snp_gmem_prepare,
	.map		= snp_map,
	.check		= snp_check,
};

static bool snp_in_use(void *gf, unsigned long pfn)
{
	return gmem_maps(gf, pfn);
}

static struct gmem_file *snp_file(struct kunit *test, unsigned long nr, unsigned int flags)
{
	struct gmem_file *gf = gmem_create(test, &snp_vm, snp_kvm(test), nr,
					   flags | MEMFILE_PRIVATE_NO_DIRECT_MAP);
	struct rmp *rmp = test->priv;

	rmp->in_use = snp_in_use;
	rmp->in_use_arg = gf;
	return gf;
}

/*
 * Pages that are assigned and in no file are lost.  Nobody may have got them, and
 * nobody will: the sanitizer of memory files wants that, and so does the hardware.
 */
static unsigned long snp_lost(struct gmem_file *gf)
{
	struct rmp *rmp = gf->test->priv;
	struct rmp_page *entry;
	unsigned long pfn, nr = 0;

	xa_for_each(&rmp->pages, pfn, entry) {
		struct page *page = pfn_to_page(pfn);

		if (gmem_has(gf, pfn))
			continue;
		nr++;
		KUNIT_EXPECT_NE_MSG(gf->test, page_count(page), 0, "lost page %#lx", pfn);
		KUNIT_EXPECT_FALSE(gf->test, PageBuddy(page));
		if (gf->file)
			continue;
		rmp_forget(rmp, pfn);
	}
	return nr;
}

/* The end of a test: all pages are the host's, but for those that were lost. */
static void snp_end(struct gmem_file *gf, unsigned long nr_lost)
{
	struct rmp *rmp = gf->test->priv;

	rmp_fail(rmp, RMP_NONE, 0, false);
	gmem_check(gf);
	gmem_close(gf);
	KUNIT_EXPECT_EQ(gf->test, rmp->nr_pages, nr_lost);
	KUNIT_EXPECT_EQ(gf->test, snp_lost(gf), nr_lost);
}

static u8 first_byte(struct gmem_file *gf, pgoff_t index)
{
	return *(u8 *)pfn_to_kaddr(gmem_pfn(gf, index));
}

static void fault_assigns(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 0, 2));
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 1, rmp->nr_pages);
	KUNIT_EXPECT_NOT_NULL(test, rmp_page(rmp, gmem_pfn(gf, 1)));
	/* Once. */
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 1, rmp->calls[RMP_ASSIGN]);
	snp_end(gf, 0);
}

static void fault_fails(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, 0);
	struct rmp *rmp = test->priv;

	rmp_fail(rmp, RMP_ASSIGN, 0, false);
	KUNIT_EXPECT_EQ(test, -EINVAL, gmem_fault(gf, 1));
	rmp_fail(rmp, RMP_READ, 0, false);
	KUNIT_EXPECT_EQ(test, -ENOENT, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	gmem_check(gf);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	snp_end(gf, 0);
}

/* The guest has lost its mapping before, and the host gets a page of zeros after. */
static void convert_to_shared(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, 0);
	struct rmp *rmp = test->priv;

	gmem_touch(gf, 2, 6);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 3, 5, MEMFILE_SHARED));
	KUNIT_EXPECT_EQ(test, 2, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 2, rmp->calls[RMP_UNASSIGN]);
	KUNIT_EXPECT_EQ(test, 0, first_byte(gf, 3));
	gmem_write(gf, 3, 0x5a);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	snp_end(gf, 0);
}

/* Only the guest's touch assigns, for only then the gfn is known. */
static void convert_to_private(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, MEMFILE_INIT_SHARED);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 8, MEMFILE_PRIVATE));
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	KUNIT_EXPECT_EQ(test, 1, rmp->nr_pages);
	snp_end(gf, 0);
}

static void punch(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, 0);
	struct rmp *rmp = test->priv;

	gmem_touch(gf, 0, 8);
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 2, 5));
	KUNIT_EXPECT_EQ(test, 5, rmp->nr_pages);
	gmem_check(gf);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	snp_end(gf, 0);
}

/* A page that cannot be taken back is nobody's: not the host's, not the allocator's. */
static void lost_in_conversion(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, 0);
	struct rmp *rmp = test->priv;

	gmem_touch(gf, 0, 4);
	rmp_fail(rmp, RMP_UNASSIGN, 1, false);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_SHARED));
	KUNIT_EXPECT_EQ(test, 1, rmp->nr_pages);
	KUNIT_EXPECT_NULL(test, gmem_page(gf, 1));
	KUNIT_EXPECT_EQ(test, 1, snp_lost(gf));
	/* Another page in its place. */
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	snp_end(gf, 1);
}

static void lost_at_the_end(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, 0);
	struct rmp *rmp = test->priv;

	gmem_touch(gf, 0, 4);
	rmp_fail(rmp, RMP_UNASSIGN, 0, false);
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 0, 1));
	rmp_fail(rmp, RMP_UNASSIGN, 0, true);
	gmem_close(gf);
	KUNIT_EXPECT_EQ(test, 4, snp_lost(gf));
}

/* Whether a page is assigned cannot be found out: then it may be. */
static void lost_without_rmpread(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 0));
	rmp_fail(rmp, RMP_READ, 0, true);
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 0, 1));
	snp_end(gf, 1);
}

/* The first page of a file whose pages are 2M in a row, none of them assigned. */
static unsigned long snp_block(struct kunit *test, struct gmem_file *gf)
{
	unsigned long pfn;

	KUNIT_ASSERT_EQ(test, 0, gmem_allocate(gf, 0, BLOCK));
	pfn = gmem_pfn(gf, 0);
	if (!IS_ALIGNED(pfn, BLOCK) || gmem_pfn(gf, BLOCK - 1) != pfn + BLOCK - 1)
		kunit_skip(test, "no 2M of memory in a row");
	return pfn;
}

static void large(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, 0);
	unsigned long pfn = snp_block(test, gf), i;
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->priv, GMEM_GFN, pfn, BLOCK));
	KUNIT_EXPECT_EQ(test, 1, rmp->calls[RMP_ASSIGN]);
	KUNIT_EXPECT_TRUE(test, rmp_is_large(rmp, pfn));
	KUNIT_EXPECT_EQ(test, PG_LEVEL_2M, sev_gmem_max_mapping_level(gf->priv, pfn, true));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 7));

	/* One page of it is converted: the entry is split, and the others stay. */
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 7, 8, MEMFILE_SHARED));
	KUNIT_EXPECT_EQ(test, 1, rmp->calls[RMP_SMASH]);
	KUNIT_EXPECT_EQ(test, BLOCK - 1, rmp->nr_pages);
	for (i = 0; i < BLOCK; i++) {
		struct rmp_page *page = rmp_page(rmp, pfn + i);

		KUNIT_EXPECT_EQ(test, !page, i == 7);
		KUNIT_EXPECT_TRUE(test, !page || !page->large);
	}
	gmem_write(gf, 7, 0x5a);
	snp_end(gf, 0);
}

static void large_is_taken_back_whole(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, MEMFILE_INIT_SHARED);
	unsigned long pfn = snp_block(test, gf);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->priv, GMEM_GFN, pfn, BLOCK));
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn, BLOCK));
	KUNIT_EXPECT_EQ(test, 1, rmp->calls[RMP_UNASSIGN]);
	KUNIT_EXPECT_EQ(test, 0, rmp->calls[RMP_SMASH]);
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	snp_end(gf, 0);
}

/* Guest and memory have to agree on the alignment, and no page may be assigned. */
static void not_large(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, MEMFILE_INIT_SHARED);
	unsigned long pfn = snp_block(test, gf);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->priv, GMEM_GFN + 1, pfn, BLOCK));
	KUNIT_EXPECT_EQ(test, BLOCK, rmp->calls[RMP_ASSIGN]);
	KUNIT_EXPECT_FALSE(test, rmp_is_large(rmp, pfn));
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn + 1, BLOCK - 1));
	KUNIT_EXPECT_EQ(test, 1, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->priv, GMEM_GFN + 1, pfn, BLOCK));
	KUNIT_EXPECT_EQ(test, BLOCK, rmp->nr_pages);
	KUNIT_EXPECT_FALSE(test, rmp_is_large(rmp, pfn + 1));
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn, BLOCK));
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	snp_end(gf, 0);
}

/* One page of the 2M is the guest's already: a 2M entry would overlap it. */
static void not_large_beside_assigned(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, MEMFILE_INIT_SHARED);
	unsigned long pfn = snp_block(test, gf);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->priv, GMEM_GFN + 5, pfn + 5, 1));
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->priv, GMEM_GFN, pfn, BLOCK));
	KUNIT_EXPECT_EQ(test, BLOCK, rmp->calls[RMP_ASSIGN]);
	KUNIT_EXPECT_EQ(test, BLOCK, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn, BLOCK));
	snp_end(gf, 0);
}

/*
 * Without the split nothing can be taken back, and to try means to try for ever: see
 * rmp_overlap().
 */
static void smash_fails(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, 0);
	unsigned long pfn = snp_block(test, gf);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->priv, GMEM_GFN, pfn, BLOCK));
	rmp_fail(rmp, RMP_SMASH, 0, false);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 7, 8, MEMFILE_SHARED));
	KUNIT_EXPECT_NULL(test, gmem_page(gf, 7));
	KUNIT_EXPECT_EQ(test, 0, rmp->calls[RMP_UNASSIGN]);
	KUNIT_EXPECT_EQ(test, BLOCK, rmp->nr_pages);
	snp_end(gf, 1);
}

/* 4K of a 2M entry of the direct map, be it present or not. */
static void direct_map_is_split_early(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, 0);
	unsigned long pfn = snp_block(test, gf);
	unsigned int level;

	KUNIT_ASSERT_NOT_NULL(test, lookup_address((unsigned long)pfn_to_kaddr(pfn), &level));
	if (level != PG_LEVEL_2M)
		kunit_skip(test, "the direct map is split already");
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 7));
	lookup_address((unsigned long)pfn_to_kaddr(pfn), &level);
	KUNIT_EXPECT_EQ(test, PG_LEVEL_4K, level);
	KUNIT_EXPECT_FALSE(test, kernel_page_present(pfn_to_page(pfn)));
	snp_end(gf, 0);
}

struct populate {
	struct kvm *kvm;
	pgoff_t index;
	struct page *src;
	struct sev_gmem_populate_args args;
};

static int populate_fill(unsigned long pfn, void *arg)
{
	struct populate *p = arg;

	return sev_gmem_post_populate(p->kvm, GMEM_GFN + p->index, pfn, p->src, &p->args);
}

static int populate(struct gmem_file *gf, pgoff_t index, struct page *src, u8 type)
{
	struct populate p = {
		.kvm = gf->priv,
		.index = index,
		.src = src,
		.args.type = type,
	};

	return memfile_populate(&gf->consumer, index, populate_fill, &p);
}

/* What the VMM has written while the page was shared is what the guest begins with. */
static void populate_in_place(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, MEMFILE_INIT_SHARED);
	struct rmp *rmp = test->priv;
	struct rmp_page *page;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 0, 4));
	gmem_write(gf, 2, 0x77);
	KUNIT_EXPECT_EQ(test, -EINVAL, populate(gf, 2, NULL, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_PRIVATE));
	KUNIT_EXPECT_EQ(test, 0, populate(gf, 2, NULL, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	KUNIT_EXPECT_EQ(test, 0x77, rmp->measured);
	page = rmp_page(rmp, gmem_pfn(gf, 2));
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_EXPECT_TRUE(test, page->validated);
	gmem_check(gf);
	/* Once. */
	KUNIT_EXPECT_EQ(test, -EEXIST, populate(gf, 2, NULL, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 2));
	KUNIT_EXPECT_TRUE(test, page->validated);
	snp_end(gf, 0);
}

static struct page *source(struct kunit *test, u8 byte)
{
	struct page *page = virt_to_page(kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL));

	memset(page_address(page), byte, PAGE_SIZE);
	return page;
}

static void populate_from_source(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, 0);
	struct page *src = source(test, 0x66);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	KUNIT_EXPECT_EQ(test, 0x66, rmp->measured);
	KUNIT_EXPECT_EQ(test, 0x66, *(u8 *)page_address(src));
	snp_end(gf, 0);
}

static void populate_fails(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, MEMFILE_INIT_SHARED);
	struct page *src = source(test, 0x66);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 2, 3));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_PRIVATE));

	/* A page that was there stays, and can be tried again; another one does not. */
	rmp_fail(rmp, RMP_LAUNCH_UPDATE, 0, false);
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 2, NULL, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	rmp_fail(rmp, RMP_ASSIGN, 0, false);
	KUNIT_EXPECT_NE(test, 0, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	rmp_fail(rmp, RMP_READ, 0, false);
	KUNIT_EXPECT_NE(test, 0, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	rmp_fail(rmp, RMP_LAUNCH_UPDATE, 0, false);
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 1, src, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	KUNIT_EXPECT_NOT_NULL(test, gmem_page(gf, 2));
	KUNIT_EXPECT_NULL(test, gmem_page(gf, 1));
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	gmem_check(gf);
	KUNIT_EXPECT_EQ(test, 0, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	KUNIT_EXPECT_EQ(test, 0, populate(gf, 1, src, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	snp_end(gf, 0);
}

static int no_reclaim(u64 pfn, int *fw_err)
{
	return -EIO;
}

/* The firmware keeps the page: it is lost when it leaves the file, and not before. */
static void populate_loses(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, MEMFILE_INIT_SHARED);
	struct page *src = source(test, 0x66);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 2, 3));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_PRIVATE));
	rmp_fail(rmp, RMP_LAUNCH_UPDATE, 0, false);
	rmp->fw_error = SEV_RET_INVALID_PARAM;
	kunit_activate_static_stub(test, snp_fw_page_reclaim, no_reclaim);
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 1, src, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	KUNIT_EXPECT_EQ(test, 1, snp_lost(gf));
	rmp_fail(rmp, RMP_LAUNCH_UPDATE, 0, false);
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	KUNIT_EXPECT_EQ(test, 1, snp_lost(gf));
	gmem_close(gf);
	KUNIT_EXPECT_EQ(test, 2, snp_lost(gf));
}

/* A vCPU whose VMSA is in the range gets it anew before it runs again. */
static void vmsa_reload(struct kunit *test)
{
	struct vcpu_svm *svm = kunit_kzalloc(test, sizeof(*svm), GFP_KERNEL);
	struct kvm *kvm = snp_kvm(test);
	struct kvm_gfn_range range = { .start = GMEM_GFN + 4, .end = GMEM_GFN + 8 };
	gfn_t gfn;

	KUNIT_ASSERT_NOT_NULL(test, svm);
	svm->vcpu.kvm = kvm;
	svm->vcpu.cpu = -1;
	svm->vcpu.mode = OUTSIDE_GUEST_MODE;
	rcuwait_init(&svm->vcpu.wait);
	KUNIT_ASSERT_EQ(test, 0, xa_insert(&kvm->vcpu_array, 0, &svm->vcpu, GFP_KERNEL));
	atomic_set(&kvm->online_vcpus, 1);
	rwlock_init(&kvm->mmu_lock);

	for (gfn = GMEM_GFN + 3; gfn < GMEM_GFN + 9; gfn++) {
		WRITE_ONCE(svm->sev_es.snp_guest_vmsa_gpa, gfn_to_gpa(gfn));
		write_lock(&kvm->mmu_lock);
		sev_gmem_invalidate_range(kvm, &range);
		write_unlock(&kvm->mmu_lock);
		KUNIT_EXPECT_EQ(test, kvm_check_request(KVM_REQ_VMSA_PAGE_RELOAD, &svm->vcpu),
				gfn >= range.start && gfn < range.end);
	}
	WRITE_ONCE(svm->sev_es.snp_guest_vmsa_gpa, INVALID_PAGE);
	range.end = ~0ULL;
	write_lock(&kvm->mmu_lock);
	sev_gmem_invalidate_range(kvm, &range);
	write_unlock(&kvm->mmu_lock);
	KUNIT_EXPECT_FALSE(test, kvm_check_request(KVM_REQ_VMSA_PAGE_RELOAD, &svm->vcpu));
	xa_destroy(&kvm->vcpu_array);
}

/* Other VMs on an SNP host have pages that are never assigned. */
static void other_vm(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, SINGLE, 0);
	struct rmp *rmp = test->priv;

	to_kvm_sev_info(gf->priv)->vmsa_features = 0;
	snp_vm.map = NULL;
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 1, 2, MEMFILE_SHARED));
	snp_vm.map = snp_map;
	KUNIT_EXPECT_EQ(test, 0, rmp->calls[RMP_ASSIGN] + rmp->calls[RMP_UNASSIGN]);
	snp_end(gf, 0);
}

/* The model refuses what it has to: else the tests above prove nothing. */
static void model(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, BLOCKS, MEMFILE_INIT_SHARED);
	unsigned long pfn = snp_block(test, gf);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_NE(test, 0, rmp_make_private(pfn + 1, 0, PG_LEVEL_2M, ASID, false));
	KUNIT_EXPECT_NE(test, 0, rmp_make_private(pfn, PAGE_SIZE, PG_LEVEL_2M, ASID, false));
	KUNIT_EXPECT_NE(test, 0, psmash(pfn));
	KUNIT_EXPECT_EQ(test, 0, rmp_make_private(pfn, 0, PG_LEVEL_4K, ASID, true));
	KUNIT_EXPECT_NE(test, 0, rmp_make_shared(pfn, PG_LEVEL_4K));
	KUNIT_EXPECT_NE(test, 0, psmash(pfn));
	rmp_forget(rmp, pfn);
	KUNIT_EXPECT_EQ(test, 0, rmp_make_private(pfn, 0, PG_LEVEL_2M, ASID, false));
	KUNIT_EXPECT_NE(test, 0, psmash(pfn + 1));
	KUNIT_EXPECT_EQ(test, 0, psmash(pfn));
	KUNIT_EXPECT_NE(test, 0, psmash(pfn));
	KUNIT_ASSERT_NOT_NULL(test, rmp_page(rmp, pfn + 1));
	KUNIT_EXPECT_EQ(test, PAGE_SIZE, rmp_page(rmp, pfn + 1)->gpa);
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn, BLOCK));
	snp_end(gf, 0);
}

static void random_op(struct gmem_file *gf, struct rnd_state *rnd)
{
	pgoff_t start = prandom_u32_state(rnd) % gf->nr;
	pgoff_t end = min(gf->nr, start + 1 + prandom_u32_state(rnd) % 16);

	switch (prandom_u32_state(rnd) % 8) {
	case 0:
		gmem_convert(gf, start, end, MEMFILE_SHARED);
		break;
	case 1:
		gmem_convert(gf, start, end, MEMFILE_PRIVATE);
		break;
	case 2:
		gmem_punch(gf, start, end);
		break;
	case 3:
		populate(gf, start, NULL, KVM_SEV_SNP_PAGE_TYPE_NORMAL);
		break;
	case 4:
		for (; start < end; start++) {
			if (gmem_state(gf, start) == MEMFILE_SHARED && gmem_page(gf, start))
				gmem_write(gf, start, 0x5a);
		}
		break;
	default:
		for (; start < end; start++)
			gmem_fault(gf, start);
	}
}

static void random_ops(struct kunit *test, unsigned long nr, unsigned int flags)
{
	struct gmem_file *gf = snp_file(test, nr, flags);
	struct rmp *rmp = test->priv;
	struct rnd_state rnd;
	unsigned long i;

	prandom_seed_state(&rnd, seed);
	for (i = 0; i < ops; i++) {
		/* A failure of RMPUPDATE prints a page full. */
		if (prandom_u32_state(&rnd) % 32 == 0)
			rmp_fail(rmp, prandom_u32_state(&rnd) % RMP_NR_OPS,
				 prandom_u32_state(&rnd) % 4, false);
		random_op(gf, &rnd);
		rmp_fail(rmp, RMP_NONE, 0, false);
		if (i % 64 == 0)
			gmem_check(gf);
		cond_resched();
	}
	snp_end(gf, snp_lost(gf));
}

static void random_single(struct kunit *test)
{
	random_ops(test, SINGLE, 0);
}

static void random_blocks(struct kunit *test)
{
	random_ops(test, BLOCKS, MEMFILE_INIT_SHARED);
}

static int snp_test_init(struct kunit *test)
{
	rmp_create(test);
	return 0;
}

static struct kunit_case snp_cases[] = {
	KUNIT_CASE(model),
	KUNIT_CASE(fault_assigns),
	KUNIT_CASE(fault_fails),
	KUNIT_CASE(convert_to_shared),
	KUNIT_CASE(convert_to_private),
	KUNIT_CASE(punch),
	KUNIT_CASE(lost_in_conversion),
	KUNIT_CASE(lost_at_the_end),
	KUNIT_CASE(lost_without_rmpread),
	KUNIT_CASE(large),
	KUNIT_CASE(large_is_taken_back_whole),
	KUNIT_CASE(not_large),
	KUNIT_CASE(not_large_beside_assigned),
	KUNIT_CASE(smash_fails),
	KUNIT_CASE(direct_map_is_split_early),
	KUNIT_CASE(populate_in_place),
	KUNIT_CASE(populate_from_source),
	KUNIT_CASE(populate_fails),
	KUNIT_CASE(populate_loses),
	KUNIT_CASE(vmsa_reload),
	KUNIT_CASE(other_vm),
	KUNIT_CASE(random_single),
	KUNIT_CASE(random_blocks),
	{}
};

static struct kunit_suite snp_suite = {
	.name = "kvm_snp",
	.init = snp_test_init,
	.test_cases = snp_cases,
};

kunit_test_suite(snp_suite);

MODULE_DESCRIPTION("KUnit tests of KVM's handling of private pages of SNP guests");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
