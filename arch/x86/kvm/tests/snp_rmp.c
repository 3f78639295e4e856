// SPDX-License-Identifier: GPL-2.0
/*
 * A model of the Reverse Map Table of SEV-SNP, which refuses what the hardware refuses.
 *
 * Its rules are those of the AMD64 Architecture Programmer's Manual: of volume 2,
 * "Secure Nested Paging (SEV-SNP)", there "Reverse Map Table", "Hypervisor RMP
 * Management" and "Large Page Management"; of volume 3, the pages on RMPUPDATE, PSMASH
 * and RMPREAD.  Those of the firmware's commands are in the SEV-SNP Firmware ABI, "Page
 * States", SNP_LAUNCH_UPDATE and SNP_PAGE_RECLAIM.
 *
 * There is one thing that they leave open, and that KVM depends on: that all 512 entries
 * of a 2M page read as assigned.  The model follows KVM.
 *
 * Not modelled: permissions of the VMPLs, the guest's own RMPADJUST and PVALIDATE, the
 * pages that hold the RMP, and what two CPUs do to one entry at the same time.
 */
#include <linux/mm.h>
#include <linux/psp-sev.h>
#include <linux/set_memory.h>

#include <asm/pgtable.h>
#include <asm/sev.h>

#include <kunit/static_stub.h>

#include "svm/svm.h"
#include "gmem.h"
#include "snp_rmp.h"

/* Status codes of RMPUPDATE and PSMASH; those that asm/sev.h has are the same. */
#define RMP_FAIL_INPUT		1
#define RMP_FAIL_PERMISSION	2
#define RMP_FAIL_OVERLAP	RMPUPDATE_FAIL_OVERLAP

static struct rmp *current_rmp(void)
{
	return container_of(current_model(), struct rmp, model);
}

/**
 * rmp_page - look up an RMP entry
 * @rmp: The model.
 * @pfn: The page.
 *
 * Return: The entry, or NULL if the page is not assigned.
 */
struct rmp_page *rmp_page(struct rmp *rmp, unsigned long pfn)
{
	return xa_load(&rmp->pages, pfn);
}

/**
 * rmp_is_large - is a page assigned as one of 2M?
 * @rmp: The model.
 * @pfn: The page.
 *
 * Return: Whether it is.
 */
bool rmp_is_large(struct rmp *rmp, unsigned long pfn)
{
	struct rmp_page *page = rmp_page(rmp, pfn);

	return page && page->large;
}

/**
 * rmp_forget - make a page the hypervisor's, whatever the rules say
 * @rmp: The model.
 * @pfn: The page.
 */
void rmp_forget(struct rmp *rmp, unsigned long pfn)
{
	struct rmp_page *page = xa_erase(&rmp->pages, pfn);

	if (page)
		rmp->nr_pages--;
	kfree(page);
}

static void rmp_assign(struct rmp *rmp, unsigned long pfn, const struct rmp_page *new)
{
	struct rmp_page *page = kmemdup(new, sizeof(*new), GFP_KERNEL | __GFP_NOFAIL);

	rmp_forget(rmp, pfn);
	KUNIT_ASSERT_EQ(rmp->model.test, 0, xa_err(xa_store(&rmp->pages, pfn, page, GFP_KERNEL)));
	rmp->nr_pages++;
}

static bool rmp_enabled(void)
{
	return true;
}

static int rmp_read(u64 pfn, struct rmpentry *e)
{
	struct rmp *rmp = current_rmp();
	struct rmp_page *page = rmp_page(rmp, pfn);

	if (model_fails(&rmp->model, RMP_READ))
		return -EFAULT;

	memset(e, 0, sizeof(*e));
	if (!page || model_leaves_out(&rmp->model, RMP_READ))
		return 0;
	e->assigned = 1;
	e->gpa = page->gpa;
	e->asid = page->asid;
	e->pagesize = page->large ? RMP_PG_SIZE_2M : RMP_PG_SIZE_4K;
	e->immutable = page->immutable;
	return 0;
}

/* The kernel asks again after an overlap; where nothing changes that never ends. */
static int rmp_overlap(struct rmp *rmp, unsigned long pfn)
{
	rmp->overlaps = rmp->overlap == pfn ? rmp->overlaps + 1 : 1;
	rmp->overlap = pfn;
	if (rmp->overlaps < 3)
		return RMP_FAIL_OVERLAP;

	model_broken(&rmp->model, "RMPUPDATE of %#lx overlaps, and is tried again for ever", pfn);
	return RMP_FAIL_PERMISSION;
}

static int rmp_check_old(struct rmp *rmp, unsigned long pfn, bool large)
{
	struct rmp_page *page = rmp_page(rmp, pfn);

	if (!page)
		return 0;
	if (page->immutable)
		return RMP_FAIL_PERMISSION;
	return page->large == large ? 0 : rmp_overlap(rmp, pfn);
}

static int rmp_check_state(struct rmp *rmp, unsigned long pfn, unsigned long nr,
			   const struct rmp_state *state)
{
	unsigned long i;
	int ret;

	if (!IS_ALIGNED(pfn, nr) || !pfn_valid(pfn) || state->rsvd ||
	    state->pagesize > RMP_PG_SIZE_2M || state->assigned > 1 || state->immutable > 1)
		return RMP_FAIL_INPUT;
	if (state->assigned && !IS_ALIGNED(state->gpa, nr * PAGE_SIZE))
		return RMP_FAIL_INPUT;
	if (!state->assigned && (state->asid || state->immutable))
		return RMP_FAIL_INPUT;
	for (i = 0; i < nr; i++) {
		ret = rmp_check_old(rmp, pfn + i, nr > 1);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * What a page has to be when RMPUPDATE changes whose it is.  The hardware lets all of that
 * happen; it is the next access that faults, or finds what it should not.
 */
static void rmp_check_change(struct rmp *rmp, unsigned long pfn,
			     const struct rmp_state *state)
{
	unsigned int level;

	if (gmem_maps(rmp->model.gf, pfn))
		model_broken(&rmp->model, "RMPUPDATE of %#lx, which the guest has mapped", pfn);
	if (!state->assigned) {
		/* What comes next is that the host reads and writes it. */
		if (!kernel_page_present(pfn_to_page(pfn)))
			model_broken(&rmp->model, "%#lx is not in the direct map", pfn);
		return;
	}
	/* A write by 2M of the direct map faults if one of its pages is assigned as 4K. */
	if (state->pagesize == RMP_PG_SIZE_4K &&
	    (!lookup_address((unsigned long)pfn_to_kaddr(pfn), &level) ||
	     level != PG_LEVEL_4K))
		model_broken(&rmp->model, "direct map of %#lx is not split", pfn);
}

static int rmp_update(unsigned long paddr, struct rmp_state *state)
{
	unsigned int op = state->assigned ? RMP_ASSIGN : RMP_UNASSIGN;
	bool large = state->pagesize == RMP_PG_SIZE_2M;
	unsigned long nr = large ? PTRS_PER_PMD : 1, i;
	unsigned long pfn = PHYS_PFN(paddr);
	struct rmp *rmp = current_rmp();
	int ret;

	if (model_leaves_out(&rmp->model, op))
		return 0;
	if (model_fails(&rmp->model, op))
		return RMP_FAIL_PERMISSION;
	ret = rmp_check_state(rmp, pfn, nr, state);
	if (ret)
		return model_refuses(&rmp->model, "RMPUPDATE of %#lx: %d", pfn, ret) ? ret : 0;

	for (i = 0; i < nr; i++) {
		struct rmp_page page = {
			.gpa = state->gpa + i * PAGE_SIZE,
			.asid = state->asid,
			.large = large,
			.immutable = state->immutable,
		};

		rmp_check_change(rmp, pfn + i, state);
		if (state->assigned)
			rmp_assign(rmp, pfn + i, &page);
		else
			rmp_forget(rmp, pfn + i);
	}
	return 0;
}

static int rmp_smash(unsigned long paddr)
{
	unsigned long pfn = PHYS_PFN(paddr), i;
	struct rmp *rmp = current_rmp();
	struct rmp_page *page = rmp_page(rmp, pfn);
	int ret = 0;

	if (model_leaves_out(&rmp->model, RMP_SMASH))
		return 0;
	if (model_fails(&rmp->model, RMP_SMASH))
		return RMP_FAIL_PERMISSION;
	if (!IS_ALIGNED(paddr, PMD_SIZE) || !page || !page->large)
		ret = RMP_FAIL_INPUT;
	else if (page->immutable)
		ret = RMP_FAIL_PERMISSION;
	if (ret)
		return model_refuses(&rmp->model, "PSMASH of %#lx: %d", pfn, ret) ? ret : 0;

	for (i = 0; i < PTRS_PER_PMD; i++)
		rmp_page(rmp, pfn + i)->large = false;
	return 0;
}

static int rmp_check_launch_update(const struct rmp_page *page,
				   const struct sev_data_snp_launch_update *update)
{
	if (!page || !page->immutable || page->validated)
		return SEV_RET_INVALID_PAGE_STATE;
	if (page->large || update->page_size != RMP_PG_SIZE_4K)
		return SEV_RET_INVALID_PAGE_SIZE;
	return SEV_RET_SUCCESS;
}

/* SNP_LAUNCH_UPDATE, the only command that comes by this way. */
static int rmp_firmware(int fd, int id, void *data, int *error)
{
	struct sev_data_snp_launch_update *update = data;
	struct rmp *rmp = current_rmp();
	unsigned long pfn = PHYS_PFN(__sme_clr(update->address));
	struct rmp_page *page = rmp_page(rmp, pfn);

	KUNIT_EXPECT_EQ(rmp->model.test, id, SEV_CMD_SNP_LAUNCH_UPDATE);
	*error = SEV_RET_SUCCESS;
	if (model_leaves_out(&rmp->model, RMP_LAUNCH_UPDATE))
		return 0;
	if (model_fails(&rmp->model, RMP_LAUNCH_UPDATE)) {
		*error = rmp->fw_error;
		return -EIO;
	}
	*error = rmp_check_launch_update(page, update);
	if (*error != SEV_RET_SUCCESS)
		return model_refuses(&rmp->model, "SNP_LAUNCH_UPDATE of %#lx: %d", pfn,
				     *error) ? -EIO : 0;

	rmp->measured = *(u8 *)page_address(pfn_to_page(pfn));
	/* Encrypted, in place. */
	memset(page_address(pfn_to_page(pfn)), 0xee, PAGE_SIZE);
	page->immutable = false;
	page->validated = true;
	return 0;
}

static int rmp_reclaim(u64 pfn, int *fw_err)
{
	struct rmp *rmp = current_rmp();
	struct rmp_page *page = rmp_page(rmp, pfn);

	*fw_err = SEV_RET_SUCCESS;
	if (model_leaves_out(&rmp->model, RMP_RECLAIM))
		return 0;
	*fw_err = SEV_RET_INVALID_PAGE_STATE;
	if (model_fails(&rmp->model, RMP_RECLAIM))
		return -EIO;
	if (!page || !page->immutable)
		return model_refuses(&rmp->model, "SNP_PAGE_RECLAIM of %#llx", pfn) ? -EIO : 0;
	*fw_err = SEV_RET_SUCCESS;
	page->immutable = false;
	return 0;
}

static void rmp_flush(kvm_pfn_t pfn, enum pg_level level)
{
	struct rmp *rmp = current_rmp();
	unsigned long i;

	if (model_leaves_out(&rmp->model, RMP_FLUSH))
		return;
	for (i = 0; i < KVM_PAGES_PER_HPAGE(level); i++) {
		if (!kernel_page_present(pfn_to_page(pfn + i)))
			model_broken(&rmp->model, "flush of %#llx, which is not in the direct map",
				     pfn + i);
		xa_erase(&rmp->dirty, pfn + i);
	}
}

/* In the place of the kernel's own function while that is left out. */
static int rmp_split(u64 pfn, int level)
{
	return model_leaves_out(current_model(), RMP_SPLIT) ? 0 : -EINVAL;
}

/**
 * rmp_watch - as model_watch(), for an RMP
 * @rmp: The model.
 * @left_out: The step; 0 for none.
 */
void rmp_watch(struct rmp *rmp, unsigned int left_out)
{
	if (left_out == RMP_SPLIT)
		kunit_activate_static_stub(rmp->model.test, adjust_direct_map, rmp_split);
	model_watch(&rmp->model, left_out);
}

/**
 * rmp_guest_wrote - the guest has written to a private page
 * @rmp: The model.
 * @pfn: The page.
 */
void rmp_guest_wrote(struct rmp *rmp, unsigned long pfn)
{
	KUNIT_ASSERT_EQ(rmp->model.test, 0,
			xa_err(xa_store(&rmp->dirty, pfn, xa_mk_value(1), GFP_KERNEL)));
}

/**
 * rmp_host_accesses - the host, or a guest that shares the page with it, writes to a page
 * @model: The model.
 * @pfn: The page.
 */
void rmp_host_accesses(struct model *model, unsigned long pfn)
{
	struct rmp *rmp = container_of(model, struct rmp, model);

	if (rmp_page(rmp, pfn))
		model_broken(model, "host writes to %#lx, which is assigned", pfn);
	if (xa_load(&rmp->dirty, pfn))
		model_broken(model, "host writes to %#lx, which a guest has in the caches", pfn);
}

/**
 * rmp_vmrun - a vCPU enters the guest
 * @rmp: The model.
 * @vmsa: Address of its VMSA, in the VMCB.
 * @asid: The guest.
 */
void rmp_vmrun(struct rmp *rmp, u64 vmsa, u32 asid)
{
	struct rmp_page *page = rmp_page(rmp, PHYS_PFN(vmsa));

	if (!page || page->asid != asid || page->immutable)
		model_broken(&rmp->model, "VMRUN with a VMSA at %#llx, which is not the guest's",
			     vmsa);
}

static void rmp_destroy(void *arg)
{
	struct rmp *rmp = arg;
	unsigned long pfn;
	struct rmp_page *page;

	xa_for_each(&rmp->pages, pfn, page)
		rmp_forget(rmp, pfn);
	xa_destroy(&rmp->pages);
	xa_destroy(&rmp->dirty);
}

/**
 * rmp_create - put a model in the place of the RMP, until the test ends
 * @test: The test; its private data is the model.
 *
 * Return: The model, with no page assigned.  On failure the test ends.
 */
struct rmp *rmp_create(struct kunit *test)
{
	struct rmp *rmp = kunit_kzalloc(test, sizeof(*rmp), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, rmp);
	rmp->model.test = test;
	rmp->fw_error = SEV_RET_INVALID_PARAM;
	xa_init(&rmp->pages);
	xa_init(&rmp->dirty);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, rmp_destroy, rmp));
	test->priv = &rmp->model;

	kunit_activate_static_stub(test, snp_rmp_enabled, rmp_enabled);
	kunit_activate_static_stub(test, get_rmpentry, rmp_read);
	kunit_activate_static_stub(test, __rmpupdate, rmp_update);
	kunit_activate_static_stub(test, __psmash, rmp_smash);
	kunit_activate_static_stub(test, __sev_issue_cmd, rmp_firmware);
	kunit_activate_static_stub(test, snp_fw_page_reclaim, rmp_reclaim);
	kunit_activate_static_stub(test, snp_flush_cache, rmp_flush);
	return rmp;
}
