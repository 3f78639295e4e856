// SPDX-License-Identifier: GPL-2.0
/*
 * A model of the TDX module, which refuses what the module refuses, and of what the
 * hardware does to a page that goes from the host to a TD and back.
 *
 * Its rules are those of Intel's TDX module documents: of the Base Architecture
 * Specification the chapters on physical memory management (PAMT), on TD private memory
 * management (Secure EPT, TLB tracking) and on key management; of the ABI Reference the
 * pages on each leaf that is below.  Of the status codes only those that the kernel knows
 * by name are the module's own; elsewhere TDX_OPERAND_INVALID stands for another error,
 * which the kernel handles no differently.
 *
 * One thing is stricter here than in the documents: TDH.MEM.PAGE.ADD and AUG insist that
 * the host has flushed what it has written.  There the TD would lose memory later.
 *
 * Not modelled: pages larger than 4K, vCPUs (so TDH.MEM.TRACK is never busy unless a test
 * says so), acceptance by the TD, and the locks of the module.
 */
#include <linux/mm.h>
#include <linux/set_memory.h>

#include <asm/tdx.h>
#include <asm/shared/tdx_errno.h>

#include <kunit/static_stub.h>

#include "../../virt/vmx/tdx/tdx.h"
#include "../../virt/vmx/tdx/seamcall_internal.h"
#include "gmem.h"
#include "tdx_module.h"

#define LEAF(fn)	((fn) & 0xffff)
#define GFN(rcx)	((rcx) >> PAGE_SHIFT)
#define LEVEL(rcx)	((rcx) & 7)

static struct tdx_module *current_module(void)
{
	return container_of(current_model(), struct tdx_module, model);
}

/**
 * tdx_module_fail - let a leaf fail
 * @tm: The model.
 * @leaf: The leaf; 0 for none.
 * @after: How often it works before.
 * @always: Whether it fails from then on, or once.
 * @status: How it fails.
 */
void tdx_module_fail(struct tdx_module *tm, unsigned int leaf, unsigned int after,
		     bool always, u64 status)
{
	model_fail(&tm->model, leaf, after, always);
	tm->fail_status = status;
}

static void *tdx_module_entry(struct kunit *test, struct xarray *xa, unsigned long index,
			      size_t size)
{
	void *entry = xa_load(xa, index);

	if (entry)
		return entry;
	/* Asked under mmu_lock. */
	entry = kzalloc(size, GFP_ATOMIC);
	KUNIT_ASSERT_NOT_NULL(test, entry);
	KUNIT_ASSERT_EQ(test, 0, xa_err(xa_store(xa, index, entry, GFP_ATOMIC)));
	return entry;
}

/**
 * tdx_module_page - what the module and the hardware know of a page
 * @tm: The model.
 * @pfn: The page.
 *
 * Return: What they know.
 */
struct tdx_page *tdx_module_page(struct tdx_module *tm, unsigned long pfn)
{
	return tdx_module_entry(tm->model.test, &tm->pages, pfn, sizeof(struct tdx_page));
}

/**
 * tdx_module_sept - the entry of the S-EPT that maps a gfn
 * @tm: The model.
 * @gfn: The gfn.
 *
 * Return: The entry.
 */
struct tdx_sept *tdx_module_sept(struct tdx_module *tm, u64 gfn)
{
	return tdx_module_entry(tm->model.test, &tm->sept, gfn, sizeof(struct tdx_sept));
}

/**
 * tdx_module_host_wrote - the host, or the TD by a shared mapping, has written to a page
 * @model: The model.
 * @pfn: The page.
 */
void tdx_module_host_wrote(struct model *model, unsigned long pfn)
{
	struct tdx_module *tm = container_of(model, struct tdx_module, model);
	struct tdx_page *page = tdx_module_page(tm, pfn);

	if (page->type != PAMT_NDA || page->dirty || page->poisoned)
		model_broken(model, "host writes to %#lx, which is the TD's or was: %d %d %d",
			     pfn, page->type, page->dirty, page->poisoned);
	page->clean = false;
}

static bool tdx_module_is_td(struct tdx_module *tm, u64 tdr)
{
	return PHYS_PFN(tdr) == tm->tdr && tdx_module_page(tm, tm->tdr)->type == PAMT_TDR;
}

static u64 sept_add(struct tdx_module *tm, struct tdx_module_args *args)
{
	struct tdx_page *page = tdx_module_page(tm, PHYS_PFN(args->r8));
	unsigned long table = GFN(args->rcx) / PTRS_PER_PMD;

	if (LEVEL(args->rcx) != 1 || !IS_ALIGNED(GFN(args->rcx), PTRS_PER_PMD))
		return TDX_OPERAND_INVALID | TDX_OPERAND_ID_RCX;
	if (page->type != PAMT_NDA)
		return TDX_PAGE_METADATA_INCORRECT;
	if (xa_load(&tm->tables, table))
		return TDX_EPT_ENTRY_STATE_INCORRECT;
	if (!page->clean)
		model_broken(&tm->model, "table at %#llx is not flushed", args->r8);
	KUNIT_ASSERT_EQ(tm->model.test, 0, xa_err(xa_store(&tm->tables, table, page, GFP_ATOMIC)));
	page->type = PAMT_EPT;
	page->dirty = true;
	return TDX_SUCCESS;
}

static u64 page_map(struct tdx_module *tm, struct tdx_module_args *args,
		    enum sept_state state)
{
	struct tdx_page *page = tdx_module_page(tm, PHYS_PFN(args->r8));
	struct tdx_sept *sept = tdx_module_sept(tm, GFN(args->rcx));

	if (LEVEL(args->rcx))
		return TDX_OPERAND_INVALID | TDX_OPERAND_ID_RCX;
	if ((state == SEPT_MAPPED) == tm->finalized)
		return TDX_OPERAND_INVALID | TDX_OPERAND_ID_TDR;
	if (!xa_load(&tm->tables, GFN(args->rcx) / PTRS_PER_PMD))
		return TDX_EPT_WALK_FAILED;
	if (sept->state != SEPT_FREE)
		return TDX_EPT_ENTRY_STATE_INCORRECT;
	if (page->type != PAMT_NDA)
		return TDX_PAGE_METADATA_INCORRECT;
	if (!page->clean)
		model_broken(&tm->model, "page at %#llx is not flushed", args->r8);
	if (gmem_maps(tm->model.gf, PHYS_PFN(args->r8)))
		model_broken(&tm->model, "page at %#llx is mapped as shared", args->r8);

	sept->pfn = PHYS_PFN(args->r8);
	sept->state = state;
	page->type = PAMT_REG;
	page->gfn = GFN(args->rcx);
	page->dirty = true;
	page->poisoned = true;
	tm->nr_reg++;
	return TDX_SUCCESS;
}

static u64 page_add(struct tdx_module *tm, struct tdx_module_args *args)
{
	struct tdx_page *src = tdx_module_page(tm, PHYS_PFN(args->r9));
	u8 *from = page_address(pfn_to_page(PHYS_PFN(args->r9)));
	u8 byte;
	u64 ret;

	/* The source may be the page itself. */
	if (src->type != PAMT_NDA)
		return TDX_PAGE_METADATA_INCORRECT;
	byte = *from;
	ret = page_map(tm, args, SEPT_MAPPED);
	/* Encrypted; what is left of it for tests is the first byte. */
	if (ret == TDX_SUCCESS)
		*(u8 *)page_address(pfn_to_page(PHYS_PFN(args->r8))) = byte;
	return ret;
}

static u64 range_block(struct tdx_module *tm, struct tdx_module_args *args)
{
	struct tdx_sept *sept = tdx_module_sept(tm, GFN(args->rcx));

	if (sept->state == SEPT_FREE)
		return TDX_EPT_WALK_FAILED;
	if (sept->state == SEPT_BLOCKED)
		return TDX_EPT_ENTRY_STATE_INCORRECT;
	sept->state = SEPT_BLOCKED;
	sept->epoch = tm->epoch;
	return TDX_SUCCESS;
}

static u64 mem_track(struct tdx_module *tm, struct tdx_module_args *args)
{
	if (!tdx_module_is_td(tm, args->rcx) || !tm->finalized)
		return TDX_OPERAND_INVALID | TDX_OPERAND_ID_TDR;
	tm->epoch++;
	return TDX_SUCCESS;
}

static u64 page_remove(struct tdx_module *tm, struct tdx_module_args *args)
{
	struct tdx_sept *sept = tdx_module_sept(tm, GFN(args->rcx));

	if (sept->state != SEPT_BLOCKED)
		return TDX_EPT_ENTRY_STATE_INCORRECT;
	/* vCPUs that have run since may have the translation in their TLB. */
	if (tm->finalized && sept->epoch == tm->epoch)
		return TDX_OPERAND_INVALID | TDX_OPERAND_ID_TD_EPOCH;
	sept->state = SEPT_FREE;
	tdx_module_page(tm, sept->pfn)->type = PAMT_NDA;
	tm->nr_reg--;
	return TDX_SUCCESS;
}

static u64 page_wbinvd(struct tdx_module *tm, struct tdx_module_args *args)
{
	u64 mask = BIT_ULL(boot_cpu_data.x86_phys_bits) - 1;
	struct tdx_page *page = tdx_module_page(tm, PHYS_PFN(args->rcx & mask));
	u64 hkid = args->rcx >> boot_cpu_data.x86_phys_bits;

	if (page->type != PAMT_NDA)
		return TDX_PAGE_METADATA_INCORRECT;
	/* The TDR is written with the module's own key, whichever that is. */
	if (hkid == tm->hkid || PHYS_PFN(args->rcx & mask) == tm->tdr)
		page->dirty = false;
	return TDX_SUCCESS;
}

static u64 page_rdmd(struct tdx_module *tm, struct tdx_module_args *args)
{
	if (model_leaves_out(&tm->model, TDH_PHYMEM_PAGE_RDMD)) {
		args->rcx = PAMT_NDA;
		return TDX_SUCCESS;
	}
	args->rcx = tdx_module_page(tm, PHYS_PFN(args->rcx))->type;
	return TDX_SUCCESS;
}

static u64 page_reclaim(struct tdx_module *tm, struct tdx_module_args *args)
{
	unsigned long pfn = PHYS_PFN(args->rcx);
	struct tdx_page *page = tdx_module_page(tm, pfn), *other;
	unsigned long i;

	if (page->type == PAMT_NDA)
		return TDX_PAGE_METADATA_INCORRECT;
	if (tm->hkid_state != HKID_FREE)
		return TDX_KEY_STATE_INCORRECT;
	if (page->type == PAMT_TDR) {
		xa_for_each(&tm->pages, i, other) {
			if (i != pfn && other->type != PAMT_NDA)
				return TDX_OPERAND_INVALID | TDX_OPERAND_ID_TDR;
		}
	} else {
		/* TDH.PHYMEM.CACHE.WB has seen to the caches. */
		page->dirty = false;
	}
	if (page->type == PAMT_REG)
		tm->nr_reg--;
	page->type = PAMT_NDA;
	return TDX_SUCCESS;
}

/* Each step in the life of a key has one that has to come before it. */
static u64 hkid_step(struct tdx_module *tm, enum tdx_hkid from, enum tdx_hkid to)
{
	if (tm->hkid_state != from)
		return TDX_KEY_STATE_INCORRECT;
	tm->hkid_state = to;
	return TDX_SUCCESS;
}

static u64 mr_extend(struct tdx_module *tm, struct tdx_module_args *args)
{
	struct tdx_sept *sept = tdx_module_sept(tm, GFN(args->rcx));

	if (tm->finalized)
		return TDX_OPERAND_INVALID | TDX_OPERAND_ID_TDR;
	if (sept->state != SEPT_MAPPED)
		return TDX_EPT_ENTRY_STATE_INCORRECT;
	tm->extended += *(u8 *)page_address(pfn_to_page(sept->pfn));
	return TDX_SUCCESS;
}

static u64 mr_finalize(struct tdx_module *tm, struct tdx_module_args *args)
{
	if (!tdx_module_is_td(tm, args->rcx) || tm->finalized)
		return TDX_OPERAND_INVALID | TDX_OPERAND_ID_TDR;
	if (tm->hkid_state != HKID_ASSIGNED)
		return TDX_KEY_STATE_INCORRECT;
	tm->finalized = true;
	return TDX_SUCCESS;
}

static u64 td_call(struct tdx_module *tm, u64 leaf, struct tdx_module_args *args)
{
	if (!tdx_module_is_td(tm, args->rdx))
		return TDX_OPERAND_INVALID | TDX_OPERAND_ID_TDR;
	if (tm->hkid_state != HKID_ASSIGNED)
		return TDX_KEY_STATE_INCORRECT;

	switch (leaf) {
	case TDH_MEM_SEPT_ADD:
		return sept_add(tm, args);
	case TDH_MEM_PAGE_ADD:
		return page_add(tm, args);
	case TDH_MEM_PAGE_AUG:
		return page_map(tm, args, SEPT_PENDING);
	case TDH_MEM_RANGE_BLOCK:
		return range_block(tm, args);
	case TDH_MEM_PAGE_REMOVE:
		return page_remove(tm, args);
	default:
		return mr_extend(tm, args);
	}
}

static u64 tdx_module_do(struct tdx_module *tm, u64 leaf, struct tdx_module_args *args)
{
	switch (leaf) {
	case TDH_MEM_SEPT_ADD:
	case TDH_MEM_PAGE_ADD:
	case TDH_MEM_PAGE_AUG:
	case TDH_MEM_RANGE_BLOCK:
	case TDH_MEM_PAGE_REMOVE:
	case TDH_MR_EXTEND:
		return td_call(tm, leaf, args);
	case TDH_MR_FINALIZE:
		return mr_finalize(tm, args);
	case TDH_MEM_TRACK:
		return mem_track(tm, args);
	case TDH_PHYMEM_PAGE_WBINVD:
		return page_wbinvd(tm, args);
	case TDH_PHYMEM_PAGE_RDMD:
		return page_rdmd(tm, args);
	case TDH_PHYMEM_PAGE_RECLAIM:
		return page_reclaim(tm, args);
	case TDH_MNG_VPFLUSHDONE:
		return hkid_step(tm, HKID_ASSIGNED, HKID_FLUSHED);
	case TDH_PHYMEM_CACHE_WB:
		return hkid_step(tm, HKID_FLUSHED, HKID_WRITTEN_BACK);
	case TDH_MNG_KEY_FREEID:
		return hkid_step(tm, HKID_WRITTEN_BACK, HKID_FREE);
	default:
		model_broken(&tm->model, "SEAMCALL %#llx is not modelled", leaf);
		return TDX_OPERAND_INVALID;
	}
}

/**
 * tdx_module_call - ask the model
 * @tm: The model.
 * @leaf: The leaf.
 * @args: Its operands; comes back with what it returns in them.
 *
 * Return: The status.
 */
u64 tdx_module_call(struct tdx_module *tm, u64 leaf, struct tdx_module_args *args)
{
	u64 ret;

	if (model_fails(&tm->model, leaf))
		return tm->fail_status;
	/* What RDMD does then is its own affair: it has something to return. */
	if (leaf != TDH_PHYMEM_PAGE_RDMD && model_leaves_out(&tm->model, leaf))
		return TDX_SUCCESS;

	ret = tdx_module_do(tm, leaf, args);
	if (ret == TDX_SUCCESS || model_refuses(&tm->model, "SEAMCALL %llu: %#llx", leaf, ret))
		return ret;
	return TDX_SUCCESS;
}

static bool tdx_module_seamcall(u64 fn, struct tdx_module_args *args, u64 *ret)
{
	*ret = tdx_module_call(current_module(), LEAF(fn), args);
	return true;
}

/* CLFLUSH faults if there is no mapping. */
static void tdx_module_flush(kvm_pfn_t pfn)
{
	struct tdx_module *tm = current_module();
	struct page *page = pfn_to_page(pfn);

	if (model_leaves_out(&tm->model, TDX_FLUSH))
		return;
	if (!kernel_page_present(page))
		model_broken(&tm->model, "flush of %#llx, which is not in the direct map", pfn);
	tdx_module_page(tm, pfn)->clean = true;
}

/* As on a CPU with the erratum: MOVDIR64B to each line, which writes zeros. */
static void tdx_module_reset(unsigned long base, unsigned long size)
{
	struct tdx_module *tm = current_module();
	unsigned long pfn = PHYS_PFN(base);
	struct tdx_page *page = tdx_module_page(tm, pfn);

	KUNIT_EXPECT_EQ(tm->model.test, size, PAGE_SIZE);
	tm->model.calls[TDX_RESET]++;
	if (model_leaves_out(&tm->model, TDX_RESET))
		return;
	if (page->type != PAMT_NDA || page->dirty)
		model_broken(&tm->model, "reset of %#lx, which is the TD's or in its caches", pfn);
	if (!kernel_page_present(pfn_to_page(pfn))) {
		model_broken(&tm->model, "reset of %#lx, which is not in the direct map", pfn);
		return;
	}
	memset(page_address(pfn_to_page(pfn)), 0, PAGE_SIZE);
	page->poisoned = false;
	page->clean = false;
}

static void tdx_module_keyid_free(unsigned int keyid)
{
	struct tdx_module *tm = current_module();

	if (model_leaves_out(&tm->model, TDX_KEYID_FREE))
		return;
	if (tm->hkid_state != HKID_FREE)
		model_broken(&tm->model, "key %u is still the TD's", keyid);
	KUNIT_EXPECT_EQ(tm->model.test, keyid, tm->hkid);
	tm->keyid_free = true;
}

/**
 * tdx_module_check_gone - the TD is no more: does the host have all that was its again?
 * @tm: The model.
 */
void tdx_module_check_gone(struct tdx_module *tm)
{
	struct tdx_page *page;
	unsigned long pfn;

	xa_for_each(&tm->pages, pfn, page) {
		if (page->type != PAMT_NDA || page->dirty || page->poisoned)
			model_broken(&tm->model, "%#lx is no good for the host: %d %d %d",
				     pfn, page->type, page->dirty, page->poisoned);
	}
	if (!tm->keyid_free)
		model_broken(&tm->model, "key %d is lost", tm->hkid);
}

static void tdx_module_free(struct xarray *xa)
{
	unsigned long i;
	void *entry;

	xa_for_each(xa, i, entry)
		kfree(entry);
	xa_destroy(xa);
}

static void tdx_module_destroy(void *arg)
{
	struct tdx_module *tm = arg;

	tdx_module_free(&tm->pages);
	tdx_module_free(&tm->sept);
	xa_destroy(&tm->tables);
}

/**
 * tdx_module_create - put a model in the place of the TDX module, until the test ends
 * @test: The test; its private data is the model.
 * @hkid: The key of its TD.
 *
 * Return: The model.  On failure the test ends.
 */
struct tdx_module *tdx_module_create(struct kunit *test, int hkid)
{
	struct tdx_module *tm = kunit_kzalloc(test, sizeof(*tm), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, tm);
	tm->model.test = test;
	tm->hkid = hkid;
	xa_init(&tm->pages);
	xa_init(&tm->sept);
	xa_init(&tm->tables);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, tdx_module_destroy, tm));
	test->priv = &tm->model;

	kunit_activate_static_stub(test, seamcall_model, tdx_module_seamcall);
	kunit_activate_static_stub(test, tdx_clflush_pfn, tdx_module_flush);
	kunit_activate_static_stub(test, tdx_quirk_reset_paddr, tdx_module_reset);
	kunit_activate_static_stub(test, tdx_guest_keyid_free, tdx_module_keyid_free);
	return tm;
}
