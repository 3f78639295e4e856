// SPDX-License-Identifier: GPL-2.0
/*
 * What arch/x86/kvm/svm/sev.c does to pages of guest_memfd, on a real memory file and a
 * model of the RMP (snp_rmp.c).  No SNP hardware or firmware is involved.
 *
 * VM, memory slot and vCPU are no more than what this code looks at.  Not reached, because
 * more is needed: KVM's MMU, a vCPU that runs while its VMSA is invalidated, and what comes
 * before the launch and ends it.
 */
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/psp-sev.h>

#include <asm/pgtable.h>
#include <asm/sev.h>
#include <asm/svm.h>

#include <kunit/static_stub.h>

#include "svm/svm.h"
#include "gmem.h"
#include "snp_rmp.h"

unsigned long snp_test_seed = 1;
module_param_named(seed, snp_test_seed, ulong, 0444);
MODULE_PARM_DESC(seed, "What random tests begin with");

static ulong ops = 1500;
module_param(ops, ulong, 0444);
MODULE_PARM_DESC(ops, "How many operations random tests do");

#define ASID	5

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
	return &kvm_svm->kvm;
}

static int snp_make_private(struct gmem_file *gf, pgoff_t index, unsigned long pfn,
			    unsigned long nr)
{
	return sev_gmem_make_private(gf->kvm, gmem_gfn(gf, index), pfn, nr);
}

static int snp_make_shared(unsigned long pfn, unsigned long nr)
{
	return sev_gmem_make_shared(pfn, nr);
}

/* A nested page fault that the RMP would cause is a bug: KVM has prepared the page. */
static int snp_map(struct gmem_file *gf, pgoff_t index, const struct memfile_pfn *mp)
{
	struct rmp *rmp = gf->test->priv;
	struct rmp_page *page = rmp_page(rmp, mp->pfn);

	if (mp->state == MEMFILE_SHARED)
		return 0;
	if (!page || page->asid != ASID || page->gpa != gfn_to_gpa(gmem_gfn(gf, index)) ||
	    page->immutable)
		model_broken(gf->model, "guest uses %#lx, which is not its for %#lx",
			     mp->pfn, index);
	rmp_guest_wrote(rmp, mp->pfn);
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
	.make_private		= snp_make_private,
	.make_shared		= snp_make_shared,
	.invalidate_range	= sev_gmem_invalidate_range,
	.map			= snp_map,
	.access			= rmp_host_accesses,
	.check			= snp_check,
	.in_tlb			= MEMFILE_SHARED | MEMFILE_PRIVATE,
};

static struct gmem_file *snp_file(struct kunit *test, unsigned long nr, unsigned int flags)
{
	return gmem_create(test, &snp_vm, snp_kvm(test), nr,
			   flags | MEMFILE_PRIVATE_NO_DIRECT_MAP);
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
		if (!page_count(page) || PageBuddy(page))
			model_broken(gf->model, "lost page %#lx is free", pfn);
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

	model_fail(&rmp->model, 0, 0, false);
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
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 0, 2));
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 1, rmp->nr_pages);
	KUNIT_EXPECT_NOT_NULL(test, rmp_page(rmp, gmem_pfn(gf, 1)));
	/* Once. */
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 1, rmp->model.calls[RMP_ASSIGN]);
	snp_end(gf, 0);
}

static void fault_fails(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct rmp *rmp = test->priv;

	model_fail(&rmp->model, RMP_ASSIGN, 0, false);
	KUNIT_EXPECT_EQ(test, -EINVAL, gmem_fault(gf, 1));
	model_fail(&rmp->model, RMP_READ, 0, false);
	KUNIT_EXPECT_EQ(test, -ENOENT, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	gmem_check(gf);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	snp_end(gf, 0);
}

/* The guest has lost its mapping before, and the host gets a page of zeros after. */
static void convert_to_shared(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct rmp *rmp = test->priv;

	gmem_touch(gf, 2, 6);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 3, 5, MEMFILE_SHARED));
	KUNIT_EXPECT_EQ(test, 2, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 2, rmp->model.calls[RMP_UNASSIGN]);
	KUNIT_EXPECT_EQ(test, 0, first_byte(gf, 3));
	gmem_write(gf, 3, 0x5a);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	snp_end(gf, 0);
}

/* Only the guest's touch assigns, for only then the gfn is known. */
static void convert_to_private(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, MEMFILE_INIT_SHARED);
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
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, 0);
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
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct rmp *rmp = test->priv;

	gmem_touch(gf, 0, 4);
	model_fail(&rmp->model, RMP_UNASSIGN, 1, false);
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
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, 0);
	struct rmp *rmp = test->priv;

	gmem_touch(gf, 0, 4);
	model_fail(&rmp->model, RMP_UNASSIGN, 0, false);
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 0, 1));
	model_fail(&rmp->model, RMP_UNASSIGN, 0, true);
	gmem_close(gf);
	KUNIT_EXPECT_EQ(test, 4, snp_lost(gf));
}

/* Whether a page is assigned cannot be found out: then it may be. */
static void lost_without_rmpread(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 0));
	model_fail(&rmp->model, RMP_READ, 0, true);
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 0, 1));
	snp_end(gf, 1);
}

/* The first page at @start, where pages are 2M in a row, none of them assigned. */
static unsigned long snp_block(struct gmem_file *gf, pgoff_t start)
{
	pgoff_t last = start + GMEM_BLOCK - 1;
	unsigned long pfn;

	KUNIT_ASSERT_EQ(gf->test, 0, gmem_allocate(gf, start, last + 1));
	pfn = gmem_pfn(gf, start);
	if (!IS_ALIGNED(pfn, GMEM_BLOCK) || gmem_pfn(gf, last) != pfn + GMEM_BLOCK - 1)
		kunit_skip(gf->test, "no 2M of memory in a row");
	return pfn;
}

static void large(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, 0);
	unsigned long pfn = snp_block(gf, 0), i;
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN, pfn, GMEM_BLOCK));
	KUNIT_EXPECT_EQ(test, 1, rmp->model.calls[RMP_ASSIGN]);
	KUNIT_EXPECT_TRUE(test, rmp_is_large(rmp, pfn));
	KUNIT_EXPECT_EQ(test, PG_LEVEL_2M, sev_gmem_max_mapping_level(gf->kvm, pfn, true));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 7));

	/* One page of it is converted: the entry is split, and the others stay. */
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 7, 8, MEMFILE_SHARED));
	KUNIT_EXPECT_EQ(test, 1, rmp->model.calls[RMP_SMASH]);
	KUNIT_EXPECT_EQ(test, GMEM_BLOCK - 1, rmp->nr_pages);
	for (i = 0; i < GMEM_BLOCK; i++) {
		struct rmp_page *page = rmp_page(rmp, pfn + i);

		KUNIT_EXPECT_EQ(test, !page, i == 7);
		KUNIT_EXPECT_TRUE(test, !page || !page->large);
	}
	gmem_write(gf, 7, 0x5a);
	snp_end(gf, 0);
}

static void large_is_taken_back_whole(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, MEMFILE_INIT_SHARED);
	unsigned long pfn = snp_block(gf, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN, pfn, GMEM_BLOCK));
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn, GMEM_BLOCK));
	KUNIT_EXPECT_EQ(test, 1, rmp->model.calls[RMP_UNASSIGN]);
	KUNIT_EXPECT_EQ(test, 0, rmp->model.calls[RMP_SMASH]);
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	snp_end(gf, 0);
}

/* Guest and memory have to agree on the alignment, and no page may be assigned. */
static void not_large(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, MEMFILE_INIT_SHARED);
	unsigned long pfn = snp_block(gf, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN + 1, pfn, GMEM_BLOCK));
	KUNIT_EXPECT_EQ(test, GMEM_BLOCK, rmp->model.calls[RMP_ASSIGN]);
	KUNIT_EXPECT_FALSE(test, rmp_is_large(rmp, pfn));
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn + 1, GMEM_BLOCK - 1));
	KUNIT_EXPECT_EQ(test, 1, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN + 1, pfn, GMEM_BLOCK));
	KUNIT_EXPECT_EQ(test, GMEM_BLOCK, rmp->nr_pages);
	KUNIT_EXPECT_FALSE(test, rmp_is_large(rmp, pfn + 1));
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn, GMEM_BLOCK));
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
	snp_end(gf, 0);
}

/* One page of the 2M is the guest's already: a 2M entry would overlap it. */
static void not_large_beside_assigned(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, MEMFILE_INIT_SHARED);
	unsigned long pfn = snp_block(gf, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN + 5, pfn + 5, 1));
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN, pfn, GMEM_BLOCK));
	KUNIT_EXPECT_EQ(test, GMEM_BLOCK, rmp->model.calls[RMP_ASSIGN]);
	KUNIT_EXPECT_EQ(test, GMEM_BLOCK, rmp->nr_pages);
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn, GMEM_BLOCK));
	snp_end(gf, 0);
}

/*
 * Without the split nothing can be taken back, and to try means to try for ever: see
 * rmp_overlap().
 */
static void smash_fails(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, 0);
	unsigned long pfn = snp_block(gf, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN, pfn, GMEM_BLOCK));
	model_fail(&rmp->model, RMP_SMASH, 0, false);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 7, 8, MEMFILE_SHARED));
	KUNIT_EXPECT_NULL(test, gmem_page(gf, 7));
	KUNIT_EXPECT_EQ(test, 0, rmp->model.calls[RMP_UNASSIGN]);
	KUNIT_EXPECT_EQ(test, GMEM_BLOCK, rmp->nr_pages);
	snp_end(gf, 1);
}

/* The slot is deleted, and another one binds the file at other gfns. */
static void snp_bind_elsewhere(struct gmem_file *gf)
{
	gmem_unmap(gf, 0, gf->nr, MEMFILE_SHARED | MEMFILE_PRIVATE);
	gf->slot.base_gfn += GMEM_BLOCKS;
}

/* The RMP entries are of the old gfns: the guest could not use the pages at the new ones. */
static void bound_elsewhere(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, 0);
	unsigned long pfn = snp_block(gf, 0);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN, pfn, GMEM_BLOCK));
	gmem_touch(gf, 7, 9);
	gmem_touch(gf, GMEM_BLOCK, GMEM_BLOCK + 2);
	KUNIT_EXPECT_EQ(test, 3, rmp->model.calls[RMP_ASSIGN]);
	KUNIT_ASSERT_NOT_NULL(test, rmp_page(rmp, pfn + 7));
	snp_bind_elsewhere(gf);

	model_fail(&rmp->model, RMP_SMASH, 0, false);
	KUNIT_EXPECT_EQ(test, -EINVAL, gmem_fault(gf, 7));
	model_fail(&rmp->model, RMP_ASSIGN, 0, false);
	KUNIT_EXPECT_EQ(test, -EINVAL, gmem_fault(gf, 7));
	KUNIT_EXPECT_EQ(test, rmp_page(rmp, pfn + 7)->gpa, gfn_to_gpa(GMEM_GFN + 7));
	gmem_touch(gf, 7, 9);
	gmem_touch(gf, GMEM_BLOCK, GMEM_BLOCK + 2);
	/* Once. */
	gmem_touch(gf, 7, 9);
	KUNIT_EXPECT_EQ(test, 3 + 1 + 4, rmp->model.calls[RMP_ASSIGN]);
	KUNIT_EXPECT_EQ(test, 2, rmp->model.calls[RMP_SMASH]);

	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 9, MEMFILE_SHARED));
	gmem_close(gf);
	KUNIT_EXPECT_EQ(test, 0, rmp->nr_pages);
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
		.kvm = gf->kvm,
		.index = index,
		.src = src,
		.args.type = type,
	};

	return memfile_populate(&gf->slot.gmem.consumer, index, populate_fill, &p);
}

/* What the VMM has written while the page was shared is what the guest begins with. */
static void populate_in_place(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, MEMFILE_INIT_SHARED);
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

static void populate_from_source(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct page *src = gmem_source(test, 0x66);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	KUNIT_EXPECT_EQ(test, 0x66, rmp->measured);
	KUNIT_EXPECT_EQ(test, 0x66, *(u8 *)page_address(src));
	snp_end(gf, 0);
}

static void populate_fails(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, MEMFILE_INIT_SHARED);
	struct page *src = gmem_source(test, 0x66);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 2, 3));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_PRIVATE));

	/* A page that was there stays, and can be tried again; another one does not. */
	model_fail(&rmp->model, RMP_LAUNCH_UPDATE, 0, false);
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 2, NULL, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	model_fail(&rmp->model, RMP_ASSIGN, 0, false);
	KUNIT_EXPECT_NE(test, 0, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	model_fail(&rmp->model, RMP_READ, 0, false);
	KUNIT_EXPECT_NE(test, 0, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_NORMAL));
	model_fail(&rmp->model, RMP_LAUNCH_UPDATE, 0, false);
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
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, MEMFILE_INIT_SHARED);
	struct page *src = gmem_source(test, 0x66);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 2, 3));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_PRIVATE));
	model_fail(&rmp->model, RMP_LAUNCH_UPDATE, 0, false);
	rmp->fw_error = SEV_RET_INVALID_PARAM;
	kunit_activate_static_stub(test, snp_fw_page_reclaim, no_reclaim);
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 1, src, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	KUNIT_EXPECT_EQ(test, 1, snp_lost(gf));
	model_fail(&rmp->model, RMP_LAUNCH_UPDATE, 0, false);
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 2, src, KVM_SEV_SNP_PAGE_TYPE_CPUID));
	KUNIT_EXPECT_EQ(test, 1, snp_lost(gf));
	gmem_close(gf);
	KUNIT_EXPECT_EQ(test, 2, snp_lost(gf));
}

/* KVM_SEV_SNP_LAUNCH_UPDATE, below what all ioctls have in common. */
static int launch_update(struct gmem_file *gf, void __user *argp,
			 struct kvm_sev_snp_launch_update *params)
{
	struct kvm_sev_cmd cmd = { .data = (__force u64)argp };
	int ret;

	KUNIT_ASSERT_EQ(gf->test, 0, copy_to_user(argp, params, sizeof(*params)));
	ret = snp_launch_update(gf->kvm, &cmd);
	KUNIT_ASSERT_EQ(gf->test, 0, copy_from_user(params, argp, sizeof(*params)));
	return ret;
}

static void launch_updates(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, MEMFILE_INIT_SHARED);
	void __user *argp = gmem_user_pages(test, 3), *src = argp + PAGE_SIZE;
	struct kvm_sev_snp_launch_update params = {
		.gfn_start = GMEM_GFN + 2,
		.uaddr = (__force u64)src,
		.len = 2 * PAGE_SIZE,
		.type = KVM_SEV_SNP_PAGE_TYPE_NORMAL,
	};
	struct rmp *rmp = test->priv;
	pgoff_t i;

	KUNIT_ASSERT_EQ(test, 0, put_user((u8)0x11, (u8 __user *)src));
	KUNIT_ASSERT_EQ(test, 0, put_user((u8)0x22, (u8 __user *)src + PAGE_SIZE));

	/* Not private. */
	KUNIT_EXPECT_EQ(test, -EIO, launch_update(gf, argp, &params));
	KUNIT_EXPECT_EQ(test, params.len, 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 4, 5));
	gmem_write(gf, 4, 0x44);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 8, MEMFILE_PRIVATE));
	KUNIT_EXPECT_EQ(test, 0, launch_update(gf, argp, &params));
	KUNIT_EXPECT_EQ(test, params.len, 0);
	KUNIT_EXPECT_EQ(test, params.gfn_start, GMEM_GFN + 4);
	KUNIT_EXPECT_EQ(test, params.uaddr, (__force u64)src + 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 0x22, rmp->measured);

	/* What is there already. */
	params.uaddr = 0;
	params.len = PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, 0, launch_update(gf, argp, &params));
	KUNIT_EXPECT_EQ(test, params.uaddr, 0);
	KUNIT_EXPECT_EQ(test, 0x44, rmp->measured);
	for (i = 2; i < 5; i++) {
		struct rmp_page *page = rmp_page(rmp, gmem_pfn(gf, i));

		KUNIT_EXPECT_TRUE(test, page && page->validated);
	}

	/* As KVM_SEV_SNP_LAUNCH_FINISH.  The firmware is not even asked. */
	gf->kvm->arch.pre_fault_allowed = true;
	params.len = PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EINVAL, launch_update(gf, argp, &params));
	KUNIT_EXPECT_EQ(test, params.gfn_start, GMEM_GFN + 5);
	KUNIT_EXPECT_EQ(test, params.len, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 3, rmp->model.calls[RMP_LAUNCH_UPDATE]);
	KUNIT_EXPECT_EQ(test, 3, rmp->nr_pages);
	snp_end(gf, 0);
}

/* A vCPU, as far as the VMSA and RMP faults are concerned. */
static struct vcpu_svm *snp_vcpu(struct gmem_file *gf)
{
	struct vcpu_svm *svm = kunit_kzalloc(gf->test, sizeof(*svm), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(gf->test, svm);
	svm->vmcb = kunit_kzalloc(gf->test, sizeof(*svm->vmcb), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(gf->test, svm->vmcb);
	svm->vcpu.kvm = gf->kvm;
	svm->vcpu.cpu = -1;
	svm->vcpu.mode = OUTSIDE_GUEST_MODE;
	rcuwait_init(&svm->vcpu.wait);
	mutex_init(&svm->sev_es.snp_vmsa_mutex);
	svm->sev_es.snp_guest_vmsa_gpa = INVALID_PAGE;
	KUNIT_ASSERT_EQ(gf->test, 0,
			xa_insert(&gf->kvm->vcpu_array, 0, &svm->vcpu, GFP_KERNEL));
	atomic_set(&gf->kvm->online_vcpus, 1);
	return svm;
}

static void snp_vcpu_gone(struct vcpu_svm *svm)
{
	atomic_set(&svm->vcpu.kvm->online_vcpus, 0);
	xa_destroy(&svm->vcpu.kvm->vcpu_array);
}

/* As the guest wants it: "SEV-SNP AP Creation" in the GHCB specification. */
static void snp_set_vmsa(struct vcpu_svm *svm, pgoff_t index)
{
	svm->sev_es.snp_guest_vmsa_gpa = gfn_to_gpa(GMEM_GFN + index);
	sev_snp_reload_vmsa(&svm->vcpu);
}

/* As vcpu_enter_guest(). */
static void snp_vcpu_run(struct rmp *rmp, struct vcpu_svm *svm)
{
	if (kvm_check_request(KVM_REQ_VMSA_PAGE_RELOAD, &svm->vcpu))
		sev_snp_reload_vmsa(&svm->vcpu);
	rmp_vmrun(rmp, svm->vmcb->control.vmsa_pa, ASID);
}

/* A vCPU whose VMSA is in the range gets it anew before it runs again. */
static void vmsa_reload(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct vcpu_svm *svm = snp_vcpu(gf);
	struct rmp *rmp = test->priv;
	unsigned long old;
	pgoff_t i;

	for (i = 3; i < 9; i++) {
		snp_set_vmsa(svm, i);
		KUNIT_EXPECT_EQ(test, svm->vmcb->control.vmsa_pa, PFN_PHYS(gmem_pfn(gf, i)));
		KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 4, 8));
		KUNIT_EXPECT_EQ(test, kvm_test_request(KVM_REQ_VMSA_PAGE_RELOAD, &svm->vcpu),
				i >= 4 && i < 8);
		snp_vcpu_run(rmp, svm);
	}

	/* Another page in its place. */
	snp_set_vmsa(svm, 4);
	old = gmem_pfn(gf, 4);
	get_page(pfn_to_page(old));
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 4, 5));
	snp_vcpu_run(rmp, svm);
	KUNIT_EXPECT_NE(test, old, gmem_pfn(gf, 4));
	KUNIT_EXPECT_EQ(test, svm->vmcb->control.vmsa_pa, PFN_PHYS(gmem_pfn(gf, 4)));
	put_page(pfn_to_page(old));

	/* While something is being invalidated, it is not known which page it will be. */
	gf->kvm->mmu_invalidate_range_start = GMEM_GFN;
	gf->kvm->mmu_invalidate_range_end = GMEM_GFN + 8;
	gf->kvm->mmu_invalidate_in_progress = 1;
	sev_snp_reload_vmsa(&svm->vcpu);
	KUNIT_EXPECT_EQ(test, svm->vmcb->control.vmsa_pa, INVALID_PAGE);
	gf->kvm->mmu_invalidate_in_progress = 0;
	snp_vcpu_run(rmp, svm);
	KUNIT_EXPECT_EQ(test, svm->vmcb->control.vmsa_pa, PFN_PHYS(gmem_pfn(gf, 4)));

	/* Without a VMSA there is none to reload; and none to be had of a closed file. */
	svm->sev_es.snp_guest_vmsa_gpa = INVALID_PAGE;
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 0, GMEM_SINGLE));
	KUNIT_EXPECT_FALSE(test, kvm_check_request(KVM_REQ_VMSA_PAGE_RELOAD, &svm->vcpu));
	snp_end(gf, 0);
	snp_set_vmsa(svm, 4);
	KUNIT_EXPECT_EQ(test, svm->vmcb->control.vmsa_pa, INVALID_PAGE);
	snp_vcpu_gone(svm);
}

/* A nested page fault because of the RMP, at an offset.  Does KVM zap anything? */
static bool rmp_fault(struct vcpu_svm *svm, pgoff_t index)
{
	unsigned long seq = svm->vcpu.kvm->mmu_invalidate_seq;

	sev_handle_rmp_fault(&svm->vcpu, gfn_to_gpa(GMEM_GFN + index), PFERR_GUEST_RMP_MASK);
	return svm->vcpu.kvm->mmu_invalidate_seq != seq;
}

/* As on a host with another CPU that is a bit faster. */
static int smashed_meanwhile(unsigned long paddr)
{
	struct kunit *test = kunit_get_current_test();
	unsigned long pfn = PHYS_PFN(paddr);
	unsigned long i;

	for (i = 0; i < GMEM_BLOCK; i++) {
		rmp_page(test->priv, pfn + i)->large = false;
		/* Somebody else might want to convert it. */
		KUNIT_EXPECT_FALSE(test, folio_maybe_dma_pinned(pfn_folio(pfn + i)));
	}
	return 1;
}

/* The guest's mapping is of 4K, the RMP entry of 2M: the latter is split. */
static void rmp_fault_splits(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, 0);
	unsigned long pfn = snp_block(gf, 0);
	struct vcpu_svm *svm = snp_vcpu(gf);
	struct rmp *rmp = test->priv;

	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN, pfn, GMEM_BLOCK));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 7));

	/* Not while the page may be on its way out: the guest comes again. */
	gf->kvm->mmu_invalidate_range_start = GMEM_GFN + 7;
	gf->kvm->mmu_invalidate_range_end = GMEM_GFN + 8;
	gf->kvm->mmu_invalidate_in_progress = 1;
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 7));
	gf->kvm->mmu_invalidate_in_progress = 0;
	KUNIT_EXPECT_EQ(test, 0, rmp->model.calls[RMP_SMASH]);

	/* Nor this time. */
	model_fail(&rmp->model, RMP_SMASH, 0, false);
	KUNIT_EXPECT_TRUE(test, rmp_fault(svm, 7));
	KUNIT_EXPECT_TRUE(test, rmp_is_large(rmp, pfn + 7));

	KUNIT_EXPECT_TRUE(test, rmp_fault(svm, 7));
	KUNIT_EXPECT_EQ(test, 2, rmp->model.calls[RMP_SMASH]);
	KUNIT_EXPECT_FALSE(test, rmp_is_large(rmp, pfn + 7));
	KUNIT_EXPECT_EQ(test, GMEM_BLOCK, rmp->nr_pages);

	/* Another vCPU has seen to it. */
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 8));
	KUNIT_EXPECT_EQ(test, 2, rmp->model.calls[RMP_SMASH]);

	/* Or is just about to. */
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 0, GMEM_BLOCK));
	pfn = snp_block(gf, 0);
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_private(gf->kvm, GMEM_GFN, pfn, GMEM_BLOCK));
	kunit_activate_static_stub(test, __psmash, smashed_meanwhile);
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 7));
	KUNIT_EXPECT_FALSE(test, rmp_is_large(rmp, pfn + 7));

	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 6, 9, MEMFILE_SHARED));
	snp_vcpu_gone(svm);
	snp_end(gf, 0);
}

/* Between the fault and its handling the page has gone, or become another. */
static void rmp_fault_is_stale(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct vcpu_svm *svm = snp_vcpu(gf);
	struct rmp *rmp = test->priv;

	gmem_touch(gf, 0, 8);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 1, 2, MEMFILE_SHARED));
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 1));
	KUNIT_EXPECT_NULL(test, rmp_page(rmp, gmem_pfn(gf, 1)));

	/* What is in its place is the guest's from the start. */
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 2, 3));
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 2));
	KUNIT_EXPECT_NOT_NULL(test, rmp_page(rmp, gmem_pfn(gf, 2)));

	/* No page, no entry, no slot, no file. */
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 3, 4));
	model_fail(&rmp->model, RMP_ASSIGN, 0, false);
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 3));
	model_fail(&rmp->model, RMP_READ, 1, false);
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 4));
	gf->slot.flags &= ~KVM_MEM_GUEST_MEMFD;
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 5));
	gf->slot.flags |= KVM_MEM_GUEST_MEMFD;
	KUNIT_EXPECT_EQ(test, 0, rmp->model.calls[RMP_SMASH]);
	/* None of this has left a page pinned. */
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 8, MEMFILE_SHARED));
	snp_end(gf, 0);
	KUNIT_EXPECT_FALSE(test, rmp_fault(svm, 5));
	snp_vcpu_gone(svm);
}

/* Other VMs on an SNP host have pages that are never assigned. */
static void other_vm(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_SINGLE, 0);
	struct rmp *rmp = test->priv;

	to_kvm_sev_info(gf->kvm)->vmsa_features = 0;
	snp_vm.map = NULL;
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 1, 2, MEMFILE_SHARED));
	snp_vm.map = snp_map;
	KUNIT_EXPECT_EQ(test, 0, rmp->model.calls[RMP_ASSIGN] + rmp->model.calls[RMP_UNASSIGN]);
	snp_end(gf, 0);
}

/* The model refuses what it has to: else the tests above prove nothing. */
static void model(struct kunit *test)
{
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, MEMFILE_INIT_SHARED);
	unsigned long pfn = snp_block(gf, 0);
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
	KUNIT_EXPECT_EQ(test, 0, sev_gmem_make_shared(pfn, GMEM_BLOCK));
	snp_end(gf, 0);
}

/* All that may come over pages of a guest: each step of KVM's is taken at least once. */
static int snp_live(struct gmem_file *gf, struct vcpu_svm *svm)
{
	struct rmp *rmp = gf->test->priv;
	const pgoff_t block = GMEM_BLOCK;
	unsigned long pfn;
	pgoff_t i;
	int err;

	/* A page of 2M that have left the direct map as a whole. */
	err = gmem_allocate(gf, 0, block);
	if (!err)
		gmem_write(gf, 1, 0x11);
	err = err ?: gmem_convert(gf, 0, block, MEMFILE_PRIVATE);
	err = err ?: gmem_fault(gf, 8);

	/* What the guest begins with; a page of it at the second try. */
	model_fail(&rmp->model, RMP_LAUNCH_UPDATE, 0, false);
	populate(gf, 1, NULL, KVM_SEV_SNP_PAGE_TYPE_NORMAL);
	model_fail(&rmp->model, 0, 0, false);
	err = err ?: populate(gf, 1, NULL, KVM_SEV_SNP_PAGE_TYPE_NORMAL);

	/* It runs, twice through its memory, and converts some of it. */
	snp_set_vmsa(svm, 5);
	for (i = 0; i < 16; i++)
		err = err ?: gmem_fault(gf, i % 8);
	snp_vcpu_run(rmp, svm);
	err = err ?: gmem_convert(gf, 4, 6, MEMFILE_SHARED);
	err = err ?: gmem_fault(gf, 4);
	if (!err && gmem_page(gf, 5))
		gmem_write(gf, 5, 0x55);
	err = err ?: gmem_convert(gf, 4, 6, MEMFILE_PRIVATE);
	snp_vcpu_run(rmp, svm);
	err = err ?: gmem_fault(gf, 4);

	/* Some of 2M are converted. */
	pfn = snp_block(gf, block);
	err = err ?: gmem_convert(gf, block, 2 * block, MEMFILE_PRIVATE);
	err = err ?: sev_gmem_make_private(gf->kvm, GMEM_GFN + block, pfn, block);
	err = err ?: gmem_fault(gf, block + 7);
	err = err ?: gmem_convert(gf, block + 7, block + 8, MEMFILE_SHARED);

	return err ?: gmem_punch(gf, 2, 4);
}

static const struct model_step_param snp_steps[] = {
	/* Comes first, for there is nothing to be split once the others have run. */
	{ "split of the direct map",	RMP_SPLIT },
	{ "nothing" },
	{ "RMPREAD",			RMP_READ },
	{ "RMPUPDATE to assign",	RMP_ASSIGN },
	{ "RMPUPDATE to take back",	RMP_UNASSIGN },
	{ "PSMASH",			RMP_SMASH },
	{ "SNP_LAUNCH_UPDATE",		RMP_LAUNCH_UPDATE },
	{ "SNP_PAGE_RECLAIM",		RMP_RECLAIM },
	{ "CLFLUSH",			RMP_FLUSH },
	{ "zap",			MODEL_STEP_ZAP },
	{ "TLB flush",			MODEL_STEP_FLUSH_TLB },
	{ "gmem_invalidate_range",	MODEL_STEP_INVALIDATE_RANGE },
	{ "gmem_make_private",		MODEL_STEP_MAKE_PRIVATE },
	{ "gmem_make_shared",		MODEL_STEP_MAKE_SHARED },
};

KUNIT_ARRAY_PARAM_DESC(snp_step, snp_steps, name);

/* How the direct map maps a page, be it present or not. */
static unsigned int direct_map_level(unsigned long pfn)
{
	unsigned int level = PG_LEVEL_NONE;

	lookup_address((unsigned long)pfn_to_kaddr(pfn), &level);
	return level;
}

/* Who swallows a step is found out, and nobody else is accused. */
static void leaving_out(struct kunit *test)
{
	const struct model_step_param *param = test->param_value;
	struct gmem_file *gf = snp_file(test, GMEM_BLOCKS, MEMFILE_INIT_SHARED);
	struct vcpu_svm *svm = snp_vcpu(gf);
	struct rmp *rmp = test->priv;
	int err;

	if (param->step == RMP_SPLIT && direct_map_level(snp_block(gf, 0)) != PG_LEVEL_2M) {
		snp_vcpu_gone(svm);
		kunit_skip(test, "the direct map is split already");
	}
	rmp_watch(rmp, param->step);
	err = snp_live(gf, svm);
	snp_vcpu_gone(svm);
	if (param->step) {
		gmem_close(gf);
	} else {
		KUNIT_EXPECT_EQ(test, 0, err);
		snp_end(gf, 0);
	}
	model_expect_noticed(&rmp->model);
}

static void random_ops(struct kunit *test, unsigned long nr, unsigned int flags)
{
	struct gmem_file *gf = snp_file(test, nr, flags);
	struct rmp *rmp = test->priv;
	struct rnd_state rnd;
	unsigned long i;

	prandom_seed_state(&rnd, snp_test_seed);
	for (i = 0; i < ops; i++) {
		/* A failure of RMPUPDATE prints a page full. */
		if (prandom_u32_state(&rnd) % 32 == 0)
			model_fail(&rmp->model, prandom_u32_state(&rnd) % RMP_NR_FAILING,
				   prandom_u32_state(&rnd) % 4, false);
		if (prandom_u32_state(&rnd) % 8)
			gmem_random_op(gf, &rnd);
		else
			populate(gf, prandom_u32_state(&rnd) % nr, NULL,
				 KVM_SEV_SNP_PAGE_TYPE_NORMAL);
		model_fail(&rmp->model, 0, 0, false);
		if (i % 64 == 0)
			gmem_check(gf);
		cond_resched();
	}
	snp_end(gf, snp_lost(gf));
}

static void random_single(struct kunit *test)
{
	random_ops(test, GMEM_SINGLE, 0);
}

static void random_blocks(struct kunit *test)
{
	random_ops(test, GMEM_BLOCKS, MEMFILE_INIT_SHARED);
}

static int snp_test_init(struct kunit *test)
{
	rmp_create(test);
	return 0;
}

static struct kunit_case snp_cases[] = {
	KUNIT_CASE_PARAM(leaving_out, snp_step_gen_params),
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
	KUNIT_CASE(bound_elsewhere),
	KUNIT_CASE(populate_in_place),
	KUNIT_CASE(populate_from_source),
	KUNIT_CASE(populate_fails),
	KUNIT_CASE(populate_loses),
	KUNIT_CASE(launch_updates),
	KUNIT_CASE(vmsa_reload),
	KUNIT_CASE(rmp_fault_splits),
	KUNIT_CASE(rmp_fault_is_stale),
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
