// SPDX-License-Identifier: GPL-2.0
/*
 * What arch/x86/kvm/vmx/tdx.c does to pages of guest_memfd, on a real memory file and a
 * model of the TDX module (tdx_module.c).  No TDX hardware or module is involved.
 *
 * TD, memory slot and vCPU are no more than what this code looks at.  Not reached, because
 * more is needed: KVM's MMU above tdx_sept_*(), creation of a TD, and its vCPUs, so the kick
 * after TDH.MEM.TRACK as well.
 */
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/set_memory.h>

#include <asm/tdx.h>
#include <asm/shared/tdx_errno.h>

#include <kunit/static_stub.h>

#include "../../virt/vmx/tdx/tdx.h"
#include "mmu.h"
#include "mmu/mmu_internal.h"
#include "mmu/spte.h"
#include "vmx/tdx.h"
#include "vmx/x86_ops.h"
#include "gmem.h"
#include "tdx_module.h"

unsigned long tdx_test_seed = 1;
module_param_named(seed, tdx_test_seed, ulong, 0444);
MODULE_PARM_DESC(seed, "What random tests begin with");

static ulong ops = 1500;
module_param(ops, ulong, 0444);
MODULE_PARM_DESC(ops, "How many operations random tests do");

#define HKID		33
#define SHARED_BIT	BIT_ULL(47)

/**
 * struct td - a TD that is nothing but what tdx_sept_*() and tdx_gmem_*() look at
 * @kvm_tdx: KVM's part.
 * @tables: Page tables that KVM has made, for each 2M of the file.
 * @lost: A removal was made to fail: entries of the S-EPT may have stayed.
 */
struct td {
	struct kvm_tdx kvm_tdx;
	struct kvm_mmu_page *tables[GMEM_BLOCKS / GMEM_BLOCK + 1];
	bool lost;
};

static struct td *to_td(struct gmem_file *gf)
{
	return container_of(gf->kvm, struct td, kvm_tdx.kvm);
}

static u64 leaf_spte(unsigned long pfn)
{
	return PFN_PHYS(pfn) | SPTE_MMU_PRESENT_MASK | VMX_EPT_RWX_MASK;
}

/* What kvm_tdp_mmu_map() does first: a page table, if there is none. */
static int td_map_table(struct gmem_file *gf, gfn_t gfn)
{
	struct kvm_mmu_page **table = &to_td(gf)->tables[(gfn - GMEM_GFN) / GMEM_BLOCK];
	struct kvm_mmu_page *sp;
	int r;

	if (*table)
		return 0;

	sp = kzalloc_obj(*sp, GFP_KERNEL | __GFP_NOFAIL);
	sp->spt = (void *)__get_free_page(GFP_KERNEL | __GFP_ZERO | __GFP_NOFAIL);
	sp->external_spt = (void *)__get_free_page(GFP_KERNEL | __GFP_ZERO | __GFP_NOFAIL);
	sp->gfn = ALIGN_DOWN(gfn, GMEM_BLOCK);
	sp->role.level = PG_LEVEL_4K;
	set_page_private(virt_to_page(sp->spt), (unsigned long)sp);
	read_lock(&gf->kvm->mmu_lock);
	r = tdx_sept_set_private_spte(gf->kvm, sp->gfn, 0,
				      __pa(sp->spt) | SPTE_MMU_PRESENT_MASK,
				      PG_LEVEL_2M);
	read_unlock(&gf->kvm->mmu_lock);
	if (!r) {
		*table = sp;
		return 0;
	}
	set_page_private(virt_to_page(sp->spt), 0);
	free_page((unsigned long)sp->external_spt);
	free_page((unsigned long)sp->spt);
	kfree(sp);
	return r;
}

static int td_map_private(struct gmem_file *gf, pgoff_t index, unsigned long pfn)
{
	struct kvm *kvm = gf->kvm;
	int r = td_map_table(gf, GMEM_GFN + index);

	if (r)
		return r;
	read_lock(&kvm->mmu_lock);
	r = tdx_sept_set_private_spte(kvm, GMEM_GFN + index, 0, leaf_spte(pfn), PG_LEVEL_4K);
	read_unlock(&kvm->mmu_lock);
	return r;
}

static int td_map(struct gmem_file *gf, pgoff_t index, const struct memfile_pfn *mp)
{
	return mp->state == MEMFILE_PRIVATE ? td_map_private(gf, index, mp->pfn) : 0;
}

static void td_unmap(struct gmem_file *gf, pgoff_t index)
{
	struct gmem_mapping *map = &gf->guest[index];
	struct kvm *kvm = gf->kvm;

	if (map->state != MEMFILE_PRIVATE)
		return;
	write_lock(&kvm->mmu_lock);
	tdx_sept_set_private_spte(kvm, GMEM_GFN + index, leaf_spte(map->pfn), 0, PG_LEVEL_4K);
	write_unlock(&kvm->mmu_lock);
}

static int td_make_private(struct gmem_file *gf, pgoff_t index, unsigned long pfn,
			   unsigned long nr)
{
	tdx_gmem_make_private(pfn, nr);
	return 0;
}

static int td_make_shared(unsigned long pfn, unsigned long nr)
{
	return tdx_gmem_make_shared(pfn, nr);
}

static void td_hide(unsigned long pfn, unsigned long nr)
{
	tdx_gmem_hide(pfn, nr);
}

static void td_check(struct gmem_file *gf, pgoff_t index, enum memfile_state state,
		     struct page *page)
{
	struct tdx_page *tp = tdx_module_page(gf->test->priv, page_to_pfn(page));
	bool mapped = gf->guest[index].state == MEMFILE_PRIVATE;

	if (!to_td(gf)->lost)
		KUNIT_EXPECT_EQ_MSG(gf->test, tp->type, mapped ? PAMT_REG : PAMT_NDA,
				    "page at %#lx", index);
	if (tp->type == PAMT_REG) {
		KUNIT_EXPECT_EQ(gf->test, state, MEMFILE_PRIVATE);
		KUNIT_EXPECT_EQ(gf->test, tp->gfn, GMEM_GFN + index);
	}
	if (state == MEMFILE_SHARED) {
		KUNIT_EXPECT_FALSE(gf->test, tp->dirty);
		KUNIT_EXPECT_FALSE(gf->test, tp->poisoned);
	}
}

static struct gmem_vm td_vm = {
	.make_private	= td_make_private,
	.make_shared	= td_make_shared,
	.hide		= td_hide,
	.map		= td_map,
	.unmap		= td_unmap,
	.access		= tdx_module_host_wrote,
	.check		= td_check,
	/* Translations of private memory are what TDH.MEM.TRACK is for. */
	.in_tlb		= MEMFILE_SHARED,
};

static int td_finalize(struct gmem_file *gf)
{
	struct kvm_tdx_cmd cmd = { };

	return tdx_td_finalize(gf->kvm, &cmd);
}

static struct gmem_file *td_file(struct kunit *test, unsigned long nr, unsigned int flags)
{
	struct td *td = kunit_kzalloc(test, sizeof(*td), GFP_KERNEL);
	struct tdx_module *tm = test->priv;

	KUNIT_ASSERT_NOT_NULL(test, td);
	td->kvm_tdx.kvm.arch.vm_type = KVM_X86_TDX_VM;
	td->kvm_tdx.kvm.arch.gfn_direct_bits = gpa_to_gfn(SHARED_BIT);
	td->kvm_tdx.hkid = HKID;
	td->kvm_tdx.state = TD_STATE_INITIALIZED;
	td->kvm_tdx.td.tdr_page = alloc_page(GFP_KERNEL | __GFP_NOFAIL);
	tm->tdr = page_to_pfn(td->kvm_tdx.td.tdr_page);
	tdx_module_page(tm, tm->tdr)->type = PAMT_TDR;
	tdx_module_page(tm, tm->tdr)->dirty = true;
	return gmem_create(test, &td_vm, &td->kvm_tdx.kvm, nr, flags);
}

static struct gmem_file *td_running(struct kunit *test, unsigned long nr,
				    unsigned int flags)
{
	struct gmem_file *gf = td_file(test, nr, flags | MEMFILE_PRIVATE_NO_DIRECT_MAP);

	KUNIT_ASSERT_EQ(test, 0, td_finalize(gf));
	return gf;
}

/*
 * Pages that are the module's and in no file are lost.  Nobody may have got them, and
 * nobody will.
 */
static unsigned long td_lost(struct gmem_file *gf)
{
	struct tdx_module *tm = gf->test->priv;
	struct tdx_page *tp;
	unsigned long pfn, nr = 0;

	xa_for_each(&tm->pages, pfn, tp) {
		struct page *page = pfn_to_page(pfn);

		if (tp->type != PAMT_REG || gmem_has(gf, pfn))
			continue;
		nr++;
		if (!page_count(page) || PageBuddy(page))
			model_broken(gf->model, "lost page %#lx is free", pfn);
		if (gf->file)
			continue;
		*tp = (struct tdx_page) { };
		tm->nr_reg--;
	}
	return nr;
}

static unsigned long td_nr_mapped(struct gmem_file *gf)
{
	unsigned long nr = 0;
	pgoff_t index;

	for (index = 0; index < gf->nr; index++)
		nr += gf->guest[index].state == MEMFILE_PRIVATE;
	return nr;
}

static void td_free_tables(struct gmem_file *gf)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(to_td(gf)->tables); i++) {
		struct kvm_mmu_page *sp = to_td(gf)->tables[i];

		if (!sp)
			continue;
		tdx_sept_free_private_spt(gf->kvm, sp);
		set_page_private(virt_to_page(sp->spt), 0);
		free_page((unsigned long)sp->spt);
		kfree(sp);
		to_td(gf)->tables[i] = NULL;
	}
}

/* The TD's end, once its file is closed. */
static void td_destroy(struct gmem_file *gf)
{
	tdx_mmu_release_hkid(gf->kvm);
	td_free_tables(gf);
	tdx_vm_destroy(gf->kvm);
	tdx_module_check_gone(gf->test->priv);
}

/*
 * The end of a test, in the order of a real one: the file loses its mappings, the TD its
 * key, and then its tables and its root.  All of it is the host's then.
 */
static void td_end(struct gmem_file *gf, unsigned long nr_lost)
{
	struct tdx_module *tm = gf->test->priv;

	tdx_module_fail(tm, 0, 0, false, 0);
	gmem_check(gf);
	gmem_close(gf);
	KUNIT_EXPECT_EQ(gf->test, tm->nr_reg, nr_lost);
	KUNIT_EXPECT_EQ(gf->test, td_lost(gf), nr_lost);
	td_destroy(gf);
	KUNIT_EXPECT_EQ(gf->test, tm->hkid_state, HKID_FREE);
	KUNIT_EXPECT_NULL(gf->test, to_td(gf)->kvm_tdx.td.tdr_page);
}

static void fault_adds(struct kunit *test)
{
	struct gmem_file *gf = td_running(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 0, 2));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 1, tm->nr_reg);
	KUNIT_EXPECT_EQ(test, SEPT_PENDING, tdx_module_sept(tm, GMEM_GFN + 1)->state);
	gmem_check(gf);
	td_end(gf, 0);
}

/* With the direct map kept, nobody hides pages: they are flushed when looked up. */
static void fault_adds_with_direct_map(struct kunit *test)
{
	struct gmem_file *gf = td_file(test, GMEM_BLOCKS, MEMFILE_NEED_DIRECT_MAP);

	KUNIT_EXPECT_EQ(test, 0, td_finalize(gf));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_SHARED));
	gmem_write(gf, 1, 0x5a);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_PRIVATE));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	td_end(gf, 0);
}

static void fault_fails(struct kunit *test)
{
	static const unsigned int leaves[] = { TDH_MEM_SEPT_ADD, TDH_MEM_PAGE_AUG };
	struct gmem_file *gf = td_running(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(leaves); i++) {
		tdx_module_fail(tm, leaves[i], 0, false, TDX_OPERAND_BUSY | TDX_OPERAND_ID_SEPT);
		KUNIT_EXPECT_EQ(test, -EBUSY, gmem_fault(gf, 1));
		tdx_module_fail(tm, leaves[i], 0, false, TDX_OPERAND_INVALID);
		KUNIT_EXPECT_EQ(test, -EIO, gmem_fault(gf, 1));
		KUNIT_EXPECT_EQ(test, 0, tm->nr_reg);
		gmem_check(gf);
	}
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	td_end(gf, 0);
}

/* Blocked, tracked, removed, written back, reset, and only then the host's. */
static void convert_to_shared(struct kunit *test)
{
	struct gmem_file *gf = td_running(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;

	gmem_touch(gf, 2, 6);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 3, 5, MEMFILE_SHARED));
	KUNIT_EXPECT_EQ(test, 2, tm->nr_reg);
	KUNIT_EXPECT_EQ(test, 2, tm->model.calls[TDX_RESET]);
	gmem_check(gf);
	gmem_write(gf, 3, 0x5a);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	td_end(gf, 0);
}

/* What the host has written has left its caches before the TD gets the page. */
static void convert_to_private(struct kunit *test)
{
	struct gmem_file *gf = td_running(test, GMEM_BLOCKS, MEMFILE_INIT_SHARED);
	struct tdx_module *tm = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	gmem_write(gf, 3, 0x5a);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 8, MEMFILE_PRIVATE));
	KUNIT_EXPECT_EQ(test, 0, tm->nr_reg);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 4));
	KUNIT_EXPECT_EQ(test, 2, tm->nr_reg);
	td_end(gf, 0);
}

static void punch(struct kunit *test)
{
	struct gmem_file *gf = td_running(test, GMEM_BLOCKS, 0);
	struct tdx_module *tm = test->priv;

	gmem_touch(gf, 0, 8);
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 2, 5));
	KUNIT_EXPECT_EQ(test, 5, tm->nr_reg);
	gmem_check(gf);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	td_end(gf, 0);
}

/* The slot goes, and the page is out of the direct map: it stays the TD's to have again. */
static void unmap_and_map(struct kunit *test)
{
	struct gmem_file *gf = td_running(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	gmem_unmap(gf, 0, GMEM_SINGLE, MEMFILE_PRIVATE);
	KUNIT_EXPECT_EQ(test, 0, tm->nr_reg);
	KUNIT_EXPECT_EQ(test, 0, tm->model.calls[TDX_RESET]);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	td_end(gf, 0);
}

/* The TD and its key are gone before the last reference to the file. */
static void file_outlives_key(struct kunit *test)
{
	struct gmem_file *gf = td_running(test, GMEM_BLOCKS, 0);
	struct tdx_module *tm = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 3));
	gmem_unmap(gf, 0, GMEM_BLOCKS, MEMFILE_SHARED | MEMFILE_PRIVATE);
	tdx_mmu_release_hkid(gf->kvm);
	KUNIT_EXPECT_EQ(test, tm->hkid_state, HKID_FREE);
	gmem_close(gf);
	KUNIT_EXPECT_EQ(test, 1, tm->model.calls[TDX_RESET]);
	KUNIT_EXPECT_EQ(test, 0, tm->nr_reg);
	td_destroy(gf);
}

/* A vCPU is in the way once: KVM makes all of them leave, and the next try succeeds. */
static void removal_is_busy(struct kunit *test)
{
	static const unsigned int leaves[] = { TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK,
					       TDH_MEM_PAGE_REMOVE };
	struct gmem_file *gf = td_running(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(leaves); i++) {
		KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, i));
		tdx_module_fail(tm, leaves[i], 0, false, TDX_OPERAND_BUSY | TDX_OPERAND_ID_SEPT);
		KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, i, i + 1, MEMFILE_SHARED));
		KUNIT_EXPECT_EQ(test, 0, tm->nr_reg);
		KUNIT_EXPECT_NOT_NULL(test, gmem_page(gf, i));
	}
	tdx_module_fail(tm, TDH_PHYMEM_PAGE_RDMD, 0, false, TDX_OPERAND_BUSY);
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, i));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, i, i + 1, MEMFILE_SHARED));
	KUNIT_EXPECT_NOT_NULL(test, gmem_page(gf, i));
	td_end(gf, 0);
}

/* A page that is still the module's is nobody's: not the host's, not the allocator's. */
static void removal_fails(struct kunit *test)
{
	static const unsigned int leaves[] = { TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK,
					       TDH_MEM_PAGE_REMOVE };
	struct gmem_file *gf = td_running(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(leaves); i++) {
		KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, i));
		tdx_module_fail(tm, leaves[i], 0, true, TDX_OPERAND_INVALID);
		if (i % 2)
			KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, i, i + 1));
		else
			KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, i, i + 1, MEMFILE_SHARED));
		tdx_module_fail(tm, 0, 0, false, 0);
		KUNIT_EXPECT_NULL(test, gmem_page(gf, i));
		KUNIT_EXPECT_EQ(test, i + 1, td_lost(gf));
	}
	td_end(gf, ARRAY_SIZE(leaves));
}

/* What the module does not say may be the worst. */
static void nobody_knows(struct kunit *test)
{
	struct gmem_file *gf = td_running(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;
	struct page *page;

	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 0));
	page = pfn_to_page(gmem_pfn(gf, 0));
	tdx_module_fail(tm, TDH_PHYMEM_PAGE_RDMD, 0, true, TDX_OPERAND_INVALID);
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 0, 1));
	KUNIT_EXPECT_NULL(test, gmem_page(gf, 0));
	KUNIT_EXPECT_NE(test, 0, page_count(page));
	KUNIT_EXPECT_EQ(test, 0, tm->model.calls[TDX_RESET]);
	/* It is lost, so it need not be any good. */
	*tdx_module_page(tm, page_to_pfn(page)) = (struct tdx_page) { };
	td_end(gf, 0);
}

struct populate {
	struct gmem_file *gf;
	pgoff_t index;
	struct page *src;
	struct tdx_gmem_post_populate_arg arg;
};

/* As kvm_tdp_mmu_map_private_pfn(). */
static int populate_map(struct kvm_vcpu *vcpu, gfn_t gfn, kvm_pfn_t pfn)
{
	struct gmem_file *gf = current_model()->gf;
	pgoff_t index = gfn - GMEM_GFN;
	int r;

	/* Where the SPTE is there already, KVM's MMU leaves it at that. */
	if (gf->guest[index].state)
		return -EIO;
	r = td_map_private(gf, index, pfn);
	if (!r)
		gf->guest[index] = (struct gmem_mapping) {
			.pfn = pfn,
			.state = MEMFILE_PRIVATE,
		};
	return r ? -EIO : 0;
}

static int populate_fill(unsigned long pfn, void *arg)
{
	struct populate *p = arg;

	return tdx_gmem_post_populate(p->gf->kvm, GMEM_GFN + p->index, pfn, p->src,
				      &p->arg);
}

static int populate(struct gmem_file *gf, pgoff_t index, struct page *src)
{
	struct populate p = {
		.gf = gf,
		.index = index,
		.src = src,
		.arg.flags = KVM_TDX_MEASURE_MEMORY_REGION,
	};
	int r;

	mutex_lock(&gf->kvm->slots_lock);
	r = memfile_populate(&gf->slot.gmem.consumer, index, populate_fill, &p);
	mutex_unlock(&gf->kvm->slots_lock);
	return r;
}

#define CHUNKS	(PAGE_SIZE / TDX_EXTENDMR_CHUNKSIZE)

/* What the VMM has written while the page was shared is what the TD begins with. */
static void populate_in_place(struct kunit *test)
{
	struct gmem_file *gf = td_file(test, GMEM_SINGLE, MEMFILE_INIT_SHARED |
				       MEMFILE_PRIVATE_NO_DIRECT_MAP);
	struct tdx_module *tm = test->priv;

	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 0, 4));
	gmem_write(gf, 2, 0x77);
	KUNIT_EXPECT_EQ(test, -EINVAL, populate(gf, 2, NULL));
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 4, MEMFILE_PRIVATE));
	KUNIT_EXPECT_EQ(test, 0, populate(gf, 2, NULL));
	KUNIT_EXPECT_EQ(test, 0x77 * CHUNKS, tm->extended);
	KUNIT_EXPECT_EQ(test, SEPT_MAPPED, tdx_module_sept(tm, GMEM_GFN + 2)->state);
	gmem_check(gf);
	KUNIT_EXPECT_EQ(test, 0, td_finalize(gf));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 1));
	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 2));
	td_end(gf, 0);
}

static void populate_from_source(struct kunit *test)
{
	struct gmem_file *gf = td_file(test, GMEM_SINGLE, MEMFILE_PRIVATE_NO_DIRECT_MAP);
	struct page *src = gmem_source(test, 0x66);
	struct tdx_module *tm = test->priv;

	KUNIT_EXPECT_EQ(test, 0, populate(gf, 2, src));
	KUNIT_EXPECT_EQ(test, 0x66 * CHUNKS, tm->extended);
	KUNIT_EXPECT_EQ(test, PAMT_NDA, tdx_module_page(tm, page_to_pfn(src))->type);
	gmem_check(gf);
	/* Before the TD runs there is nothing to track. */
	KUNIT_EXPECT_EQ(test, 0, gmem_punch(gf, 2, 3));
	KUNIT_EXPECT_EQ(test, 0, tm->model.calls[TDH_MEM_TRACK]);
	KUNIT_EXPECT_EQ(test, 0, tm->nr_reg);
	td_end(gf, 0);
}

static void populate_fails(struct kunit *test)
{
	struct gmem_file *gf = td_file(test, GMEM_SINGLE, MEMFILE_PRIVATE_NO_DIRECT_MAP);
	struct page *src = gmem_source(test, 0x66);
	struct tdx_module *tm = test->priv;

	tdx_module_fail(tm, TDH_MEM_PAGE_ADD, 0, false, TDX_OPERAND_BUSY | TDX_OPERAND_ID_SEPT);
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 2, src));
	KUNIT_EXPECT_NULL(test, gmem_page(gf, 2));
	KUNIT_EXPECT_NULL(test, to_td(gf)->kvm_tdx.page_add_src);
	KUNIT_EXPECT_EQ(test, 0, tm->nr_reg);
	KUNIT_EXPECT_EQ(test, 0, populate(gf, 2, src));
	KUNIT_EXPECT_EQ(test, -EIO, populate(gf, 2, src));
	td_end(gf, 0);
}

/* KVM_TDX_INIT_MEM_REGION, below what all ioctls have in common. */
static int init_mem_region(struct gmem_file *gf, void __user *argp,
			   struct kvm_tdx_init_mem_region *region)
{
	struct vcpu_tdx *tdx = kunit_kzalloc(gf->test, sizeof(*tdx), GFP_KERNEL);
	struct kvm_tdx_cmd cmd = {
		.flags = KVM_TDX_MEASURE_MEMORY_REGION,
		.data = (__force u64)argp,
	};
	int ret;

	KUNIT_ASSERT_NOT_NULL(gf->test, tdx);
	tdx->vcpu.kvm = gf->kvm;
	tdx->state = VCPU_TD_STATE_INITIALIZED;
	KUNIT_ASSERT_EQ(gf->test, 0, copy_to_user(argp, region, sizeof(*region)));
	mutex_lock(&gf->kvm->slots_lock);
	ret = tdx_vcpu_init_mem_region(&tdx->vcpu, &cmd);
	mutex_unlock(&gf->kvm->slots_lock);
	KUNIT_ASSERT_EQ(gf->test, 0, copy_from_user(region, argp, sizeof(*region)));
	return ret;
}

static void init_mem_regions(struct kunit *test)
{
	struct gmem_file *gf = td_file(test, GMEM_SINGLE, MEMFILE_INIT_SHARED |
				       MEMFILE_PRIVATE_NO_DIRECT_MAP);
	void __user *argp = gmem_user_pages(test, 3), *src = argp + PAGE_SIZE;
	struct kvm_tdx_init_mem_region region = {
		.source_addr = (__force u64)src,
		.gpa = gfn_to_gpa(GMEM_GFN + 2),
		.nr_pages = 2,
	};
	struct tdx_module *tm = test->priv;

	KUNIT_ASSERT_EQ(test, 0, put_user((u8)0x11, (u8 __user *)src));
	KUNIT_ASSERT_EQ(test, 0, put_user((u8)0x22, (u8 __user *)src + PAGE_SIZE));

	/* Not private. */
	KUNIT_EXPECT_EQ(test, -EINVAL, init_mem_region(gf, argp, &region));
	KUNIT_EXPECT_EQ(test, region.nr_pages, 2);
	KUNIT_EXPECT_EQ(test, 0, gmem_allocate(gf, 4, 5));
	gmem_write(gf, 4, 0x44);
	KUNIT_EXPECT_EQ(test, 0, gmem_convert(gf, 0, 8, MEMFILE_PRIVATE));
	KUNIT_EXPECT_EQ(test, 0, init_mem_region(gf, argp, &region));
	KUNIT_EXPECT_EQ(test, region.nr_pages, 0);
	KUNIT_EXPECT_EQ(test, region.gpa, gfn_to_gpa(GMEM_GFN + 4));
	KUNIT_EXPECT_EQ(test, region.source_addr, (__force u64)src + 2 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, (0x11 + 0x22) * CHUNKS, tm->extended);

	/* What is there already. */
	region.source_addr = 0;
	region.nr_pages = 1;
	KUNIT_EXPECT_EQ(test, 0, init_mem_region(gf, argp, &region));
	KUNIT_EXPECT_EQ(test, region.source_addr, 0);
	KUNIT_EXPECT_EQ(test, (0x11 + 0x22 + 0x44) * CHUNKS, tm->extended);
	KUNIT_EXPECT_EQ(test, 3, tm->nr_reg);

	/* Once it is finalized, the module is not even asked. */
	KUNIT_EXPECT_EQ(test, 0, td_finalize(gf));
	KUNIT_EXPECT_EQ(test, -EINVAL, td_finalize(gf));
	region.nr_pages = 1;
	KUNIT_EXPECT_EQ(test, -EINVAL, init_mem_region(gf, argp, &region));
	KUNIT_EXPECT_EQ(test, region.gpa, gfn_to_gpa(GMEM_GFN + 5));
	KUNIT_EXPECT_EQ(test, 3, tm->model.calls[TDH_MEM_PAGE_ADD]);
	KUNIT_EXPECT_EQ(test, 3, tm->nr_reg);
	td_end(gf, 0);
}

static void finalize_fails(struct kunit *test)
{
	struct gmem_file *gf = td_file(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;

	tdx_module_fail(tm, TDH_MR_FINALIZE, 0, false, TDX_OPERAND_BUSY);
	KUNIT_EXPECT_EQ(test, -EBUSY, td_finalize(gf));
	tdx_module_fail(tm, TDH_MR_FINALIZE, 0, false, TDX_OPERAND_INVALID);
	KUNIT_EXPECT_EQ(test, -EIO, td_finalize(gf));
	KUNIT_EXPECT_FALSE(test, gf->kvm->arch.pre_fault_allowed);
	KUNIT_EXPECT_EQ(test, 0, td_finalize(gf));
	KUNIT_EXPECT_TRUE(test, gf->kvm->arch.pre_fault_allowed);
	td_end(gf, 0);
}

static u64 call(struct tdx_module *tm, u64 leaf, u64 rcx, struct page *page)
{
	struct tdx_module_args args = {
		.rcx = rcx,
		.rdx = PFN_PHYS(tm->tdr),
		.r8 = page_to_phys(page),
	};

	return tdx_module_call(tm, leaf, &args);
}

/* The model refuses what it has to: else the tests below prove nothing. */
static void model(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_NOFAIL), *own;
	struct gmem_file *gf = td_running(test, GMEM_SINGLE, 0);
	struct tdx_module *tm = test->priv;
	u64 gpa = gfn_to_gpa(GMEM_GFN);

	KUNIT_EXPECT_EQ(test, 0, gmem_fault(gf, 0));
	own = pfn_to_page(gmem_pfn(gf, 0));
	tdx_clflush_pfn(page_to_pfn(page));
	KUNIT_EXPECT_EQ(test, TDX_EPT_ENTRY_STATE_INCORRECT,
			call(tm, TDH_MEM_PAGE_AUG, gpa, page));
	KUNIT_EXPECT_EQ(test, TDX_PAGE_METADATA_INCORRECT,
			call(tm, TDH_MEM_PAGE_AUG, gpa + PAGE_SIZE, own));
	KUNIT_EXPECT_EQ(test, TDX_EPT_WALK_FAILED, call(tm, TDH_MEM_PAGE_AUG, 0, page));
	KUNIT_EXPECT_EQ(test, TDX_EPT_ENTRY_STATE_INCORRECT,
			call(tm, TDH_MEM_PAGE_REMOVE, gpa, page));
	KUNIT_EXPECT_EQ(test, TDX_PAGE_METADATA_INCORRECT,
			call(tm, TDH_PHYMEM_PAGE_WBINVD, page_to_phys(own), page));
	KUNIT_EXPECT_EQ(test, TDX_SUCCESS, call(tm, TDH_MEM_RANGE_BLOCK, gpa, page));
	KUNIT_EXPECT_EQ(test, TDX_EPT_ENTRY_STATE_INCORRECT,
			call(tm, TDH_MEM_RANGE_BLOCK, gpa, page));
	KUNIT_EXPECT_EQ(test, TDX_OPERAND_INVALID | TDX_OPERAND_ID_TD_EPOCH,
			call(tm, TDH_MEM_PAGE_REMOVE, gpa, page));
	KUNIT_EXPECT_EQ(test, TDX_KEY_STATE_INCORRECT, call(tm, TDH_MNG_KEY_FREEID, 0, page));
	KUNIT_EXPECT_EQ(test, TDX_KEY_STATE_INCORRECT,
			call(tm, TDH_PHYMEM_PAGE_RECLAIM, page_to_phys(own), page));
	tdx_module_sept(tm, GMEM_GFN)->state = SEPT_PENDING;
	__free_page(page);
	td_end(gf, 0);
}

/* All that may come over pages of a TD: each step of KVM's is taken at least once. */
static int td_live(struct gmem_file *gf)
{
	struct tdx_module *tm = gf->test->priv;
	pgoff_t i;
	int err;

	/* What the TD begins with. */
	err = gmem_allocate(gf, 0, 8);
	if (!err)
		gmem_write(gf, 1, 0x11);
	err = err ?: gmem_fault(gf, 2);
	err = err ?: gmem_convert(gf, 0, 8, MEMFILE_PRIVATE);
	err = err ?: populate(gf, 1, NULL);
	if (tm->extended != 0x11 * CHUNKS)
		model_broken(gf->model, "measurement is %#x", tm->extended);
	err = err ?: td_finalize(gf);

	/* It runs, and converts some of its memory. */
	for (i = 0; i < 8; i++)
		err = err ?: gmem_fault(gf, i);
	err = err ?: gmem_convert(gf, 4, 6, MEMFILE_SHARED);
	err = err ?: gmem_fault(gf, 4);
	if (!err && gmem_page(gf, 5))
		gmem_write(gf, 5, 0x55);
	err = err ?: gmem_convert(gf, 4, 6, MEMFILE_PRIVATE);
	err = err ?: gmem_fault(gf, 4);
	err = err ?: gmem_punch(gf, 2, 4);

	/* The module does not let go of a page. */
	tdx_module_fail(tm, TDH_MEM_PAGE_REMOVE, 0, true, TDX_OPERAND_INVALID);
	err = err ?: gmem_punch(gf, 7, 8);
	tdx_module_fail(tm, 0, 0, false, 0);
	return err;
}

static const struct model_step_param td_steps[] = {
	{ "nothing" },
	{ "nothing, with direct map", 0, MEMFILE_NEED_DIRECT_MAP },
	{ "TDH.MEM.SEPT.ADD",		TDH_MEM_SEPT_ADD },
	{ "TDH.MEM.PAGE.ADD",		TDH_MEM_PAGE_ADD },
	{ "TDH.MR.EXTEND",		TDH_MR_EXTEND },
	{ "TDH.MR.FINALIZE",		TDH_MR_FINALIZE },
	{ "TDH.MEM.PAGE.AUG",		TDH_MEM_PAGE_AUG },
	{ "TDH.MEM.RANGE.BLOCK",	TDH_MEM_RANGE_BLOCK },
	{ "TDH.MEM.TRACK",		TDH_MEM_TRACK },
	{ "TDH.MEM.PAGE.REMOVE",	TDH_MEM_PAGE_REMOVE },
	{ "TDH.PHYMEM.PAGE.WBINVD",	TDH_PHYMEM_PAGE_WBINVD },
	{ "TDH.PHYMEM.PAGE.RDMD",	TDH_PHYMEM_PAGE_RDMD },
	{ "TDH.MNG.VPFLUSHDONE",	TDH_MNG_VPFLUSHDONE },
	{ "TDH.PHYMEM.CACHE.WB",	TDH_PHYMEM_CACHE_WB },
	{ "TDH.MNG.KEY.FREEID",		TDH_MNG_KEY_FREEID },
	{ "TDH.PHYMEM.PAGE.RECLAIM",	TDH_PHYMEM_PAGE_RECLAIM },
	{ "CLFLUSH",			TDX_FLUSH },
	{ "MOVDIR64B",			TDX_RESET },
	{ "free the key",		TDX_KEYID_FREE },
	{ "zap",			MODEL_STEP_ZAP },
	{ "TLB flush",			MODEL_STEP_FLUSH_TLB },
	{ "gmem_hide",			MODEL_STEP_HIDE },
	{ "gmem_make_private",		MODEL_STEP_MAKE_PRIVATE, MEMFILE_NEED_DIRECT_MAP },
	{ "gmem_make_shared",		MODEL_STEP_MAKE_SHARED },
};

KUNIT_ARRAY_PARAM_DESC(td_step, td_steps, name);

/* Who swallows a step is found out, and nobody else is accused. */
static void leaving_out(struct kunit *test)
{
	const struct model_step_param *param = test->param_value;
	struct gmem_file *gf = td_file(test, GMEM_SINGLE, MEMFILE_INIT_SHARED |
				       (param->flags ?: MEMFILE_PRIVATE_NO_DIRECT_MAP));
	struct tdx_module *tm = test->priv;
	int err;

	model_watch(&tm->model, param->step);
	err = td_live(gf);
	if (param->step) {
		gmem_close(gf);
		td_lost(gf);
		td_destroy(gf);
	} else {
		KUNIT_EXPECT_EQ(test, 0, err);
		td_end(gf, 1);
	}
	model_expect_noticed(&tm->model);
}

static void random_ops(struct kunit *test, unsigned long nr, unsigned int flags)
{
	static const u8 leaves[] = {
		TDH_MEM_PAGE_AUG, TDH_MEM_SEPT_ADD, TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK,
		TDH_MEM_PAGE_REMOVE, TDH_PHYMEM_PAGE_RDMD,
	};
	struct gmem_file *gf = td_running(test, nr, flags);
	struct tdx_module *tm = test->priv;
	struct rnd_state rnd;
	unsigned long i;

	prandom_seed_state(&rnd, tdx_test_seed);
	for (i = 0; i < ops; i++) {
		u32 r = prandom_u32_state(&rnd);

		/* Once, so that it is retried; or for good, so that the page is lost. */
		if (r % 16 == 0)
			tdx_module_fail(tm, leaves[(r >> 8) % ARRAY_SIZE(leaves)],
					(r >> 16) % 4, false,
					TDX_OPERAND_BUSY | TDX_OPERAND_ID_SEPT);
		else if (r % 64 == 1)
			tdx_module_fail(tm, leaves[(r >> 8) % 5], (r >> 16) % 4, true,
					TDX_OPERAND_INVALID);
		to_td(gf)->lost |= r % 64 == 1;
		gmem_random_op(gf, &rnd);
		tdx_module_fail(tm, 0, 0, false, 0);
		if (i % 64 == 0)
			gmem_check(gf);
		cond_resched();
	}
	td_end(gf, tm->nr_reg - td_nr_mapped(gf));
}

static void random_single(struct kunit *test)
{
	random_ops(test, GMEM_SINGLE, 0);
}

static void random_blocks(struct kunit *test)
{
	random_ops(test, GMEM_BLOCKS, MEMFILE_INIT_SHARED);
}

static int td_init(struct kunit *test)
{
	tdx_module_create(test, HKID);
	kunit_activate_static_stub(test, tdx_map_private_pfn, populate_map);
	/* TDH.PHYMEM.CACHE.WB is sent to one CPU of each package; be it the test's. */
	return set_cpus_allowed_ptr(current, cpumask_of(cpumask_first(cpu_online_mask)));
}

static struct kunit_case td_cases[] = {
	KUNIT_CASE(model),
	KUNIT_CASE(fault_adds),
	KUNIT_CASE(fault_adds_with_direct_map),
	KUNIT_CASE(fault_fails),
	KUNIT_CASE(convert_to_shared),
	KUNIT_CASE(convert_to_private),
	KUNIT_CASE(punch),
	KUNIT_CASE(unmap_and_map),
	KUNIT_CASE(file_outlives_key),
	KUNIT_CASE(removal_is_busy),
	KUNIT_CASE(removal_fails),
	KUNIT_CASE(nobody_knows),
	KUNIT_CASE(populate_in_place),
	KUNIT_CASE(populate_from_source),
	KUNIT_CASE(populate_fails),
	KUNIT_CASE(init_mem_regions),
	KUNIT_CASE(finalize_fails),
	KUNIT_CASE_PARAM(leaving_out, td_step_gen_params),
	KUNIT_CASE(random_single),
	KUNIT_CASE(random_blocks),
	{}
};

static struct kunit_suite td_suite = {
	.name = "kvm_tdx",
	.init = td_init,
	.test_cases = td_cases,
};

kunit_test_suite(td_suite);

MODULE_DESCRIPTION("KUnit tests of KVM's handling of private pages of TDs");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
