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

#include <asm/sev.h>

#include <kunit/static_stub.h>

#include "svm/svm.h"
#include "snp_rmp.h"

/* Status codes of RMPUPDATE and PSMASH; those that asm/sev.h has are the same. */
#define RMP_FAIL_INPUT		1
#define RMP_FAIL_PERMISSION	2
#define RMP_FAIL_OVERLAP	RMPUPDATE_FAIL_OVERLAP

/* Nobody but a test is asked while a test runs. */
static struct rmp *current_rmp(void)
{
	return kunit_get_current_test()->priv;
}

/**
 * rmp_fail - let an operation fail
 * @rmp: The model.
 * @op: The operation; RMP_NONE for none.
 * @after: How often it works before.
 * @always: Whether it fails from then on, or once.
 */
void rmp_fail(struct rmp *rmp, enum rmp_op op, unsigned int after, bool always)
{
	rmp->fail = op;
	rmp->fail_after = after;
	rmp->fail_always = always;
}

static bool rmp_fails(struct rmp *rmp, enum rmp_op op)
{
	rmp->calls[op]++;
	if (rmp->fail != op)
		return false;
	if (rmp->fail_after) {
		rmp->fail_after--;
		return false;
	}
	if (!rmp->fail_always)
		rmp->fail = RMP_NONE;
	return true;
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
	KUNIT_ASSERT_EQ(rmp->test, 0, xa_err(xa_store(&rmp->pages, pfn, page, GFP_KERNEL)));
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

	if (rmp_fails(rmp, RMP_READ))
		return -EFAULT;

	memset(e, 0, sizeof(*e));
	if (!page)
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

	KUNIT_FAIL(rmp->test, "RMPUPDATE of %#lx overlaps, and is tried again for ever", pfn);
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

static int rmp_update(unsigned long paddr, struct rmp_state *state)
{
	unsigned long pfn = PHYS_PFN(paddr), nr, i;
	struct rmp *rmp = current_rmp();
	bool large = state->pagesize == RMP_PG_SIZE_2M;
	int ret;

	nr = large ? PTRS_PER_PMD : 1;
	if (!IS_ALIGNED(paddr, nr * PAGE_SIZE) || !pfn_valid(pfn) || state->rsvd ||
	    state->pagesize > RMP_PG_SIZE_2M || state->assigned > 1 || state->immutable > 1)
		return RMP_FAIL_INPUT;
	if (state->assigned && !IS_ALIGNED(state->gpa, nr * PAGE_SIZE))
		return RMP_FAIL_INPUT;
	if (!state->assigned && (state->asid || state->immutable))
		return RMP_FAIL_INPUT;
	for (i = 0; i < nr; i++) {
		ret = rmp_check_old(rmp, pfn + i, large);
		if (ret)
			return ret;
	}
	if (rmp_fails(rmp, state->assigned ? RMP_ASSIGN : RMP_UNASSIGN))
		return RMP_FAIL_PERMISSION;

	for (i = 0; i < nr; i++) {
		struct rmp_page page = {
			.gpa = state->gpa + i * PAGE_SIZE,
			.asid = state->asid,
			.large = large,
			.immutable = state->immutable,
		};

		if (rmp->in_use && rmp->in_use(rmp->in_use_arg, pfn + i))
			KUNIT_FAIL(rmp->test, "RMPUPDATE of %#lx, which the guest has mapped",
				   pfn + i);
		if (state->assigned) {
			rmp_assign(rmp, pfn + i, &page);
			continue;
		}
		/* What comes next is that the host reads and writes it. */
		if (!kernel_page_present(pfn_to_page(pfn + i)))
			KUNIT_FAIL(rmp->test, "%#lx is not in the direct map", pfn + i);
		rmp_forget(rmp, pfn + i);
	}
	return 0;
}

static int rmp_smash(unsigned long paddr)
{
	unsigned long pfn = PHYS_PFN(paddr), i;
	struct rmp *rmp = current_rmp();
	struct rmp_page *page = rmp_page(rmp, pfn);

	if (!IS_ALIGNED(paddr, PMD_SIZE) || !page || !page->large)
		return RMP_FAIL_INPUT;
	if (page->immutable)
		return RMP_FAIL_PERMISSION;
	if (rmp_fails(rmp, RMP_SMASH))
		return RMP_FAIL_PERMISSION;

	for (i = 0; i < PTRS_PER_PMD; i++)
		rmp_page(rmp, pfn + i)->large = false;
	return 0;
}

/* SNP_LAUNCH_UPDATE, the only command that comes by this way. */
static int rmp_firmware(int fd, int id, void *data, int *error)
{
	struct sev_data_snp_launch_update *update = data;
	struct rmp *rmp = current_rmp();
	unsigned long pfn = PHYS_PFN(__sme_clr(update->address));
	struct rmp_page *page = rmp_page(rmp, pfn);

	KUNIT_EXPECT_EQ(rmp->test, id, SEV_CMD_SNP_LAUNCH_UPDATE);
	*error = SEV_RET_INVALID_PAGE_STATE;
	if (!page || !page->immutable || page->validated)
		return -EIO;
	*error = SEV_RET_INVALID_PAGE_SIZE;
	if (page->large || update->page_size != RMP_PG_SIZE_4K)
		return -EIO;
	*error = rmp->fw_error;
	if (rmp_fails(rmp, RMP_LAUNCH_UPDATE))
		return -EIO;

	*error = SEV_RET_SUCCESS;
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

	*fw_err = SEV_RET_INVALID_PAGE_STATE;
	if (!page || !page->immutable || rmp_fails(rmp, RMP_RECLAIM))
		return -EIO;
	*fw_err = SEV_RET_SUCCESS;
	page->immutable = false;
	return 0;
}

static void rmp_destroy(void *arg)
{
	struct rmp *rmp = arg;
	unsigned long pfn;
	struct rmp_page *page;

	xa_for_each(&rmp->pages, pfn, page)
		rmp_forget(rmp, pfn);
	xa_destroy(&rmp->pages);
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
	rmp->test = test;
	rmp->fw_error = SEV_RET_INVALID_PARAM;
	xa_init(&rmp->pages);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, rmp_destroy, rmp));
	test->priv = rmp;

	kunit_activate_static_stub(test, snp_rmp_enabled, rmp_enabled);
	kunit_activate_static_stub(test, get_rmpentry, rmp_read);
	kunit_activate_static_stub(test, __rmpupdate, rmp_update);
	kunit_activate_static_stub(test, __psmash, rmp_smash);
	kunit_activate_static_stub(test, __sev_issue_cmd, rmp_firmware);
	kunit_activate_static_stub(test, snp_fw_page_reclaim, rmp_reclaim);
	return rmp;
}
