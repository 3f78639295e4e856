// SPDX-License-Identifier: GPL-2.0
/*
 * Page state changes that an SNP guest asks for, by the GHCB and by its MSR, where KVM
 * does part of the work: the guest has to hear exactly of what was done.  See "SNP Page
 * State Change" and "Page State Change Request" in the GHCB specification.
 */
#include <linux/kvm_host.h>
#include <linux/kvm_para.h>
#include <linux/prandom.h>
#include <linux/xarray.h>

#include <asm/sev-common.h>
#include <asm/svm.h>

#include <kunit/static_stub.h>
#include <kunit/test.h>

#include "x86.h"
#include "svm/svm.h"
#include "snp_rmp.h"

#define ENTRIES		40
#define HUGE		PTRS_PER_PMD

/* An operation that KVM does not know, and takes for done. */
#define OP_UNKNOWN	3

/* The layout that the GHCB specification gives the shared buffer. */
struct buffer {
	struct psc_hdr hdr;
	struct psc_entry entries[VMGEXIT_PSC_MAX_COUNT];
} __packed;

/**
 * struct psc - a guest that asks, and the two that answer
 * @svm: The vCPU.
 * @kvm: The VM.
 * @run: What KVM and the VMM share.
 * @vmcb: The vCPU's, of which only the exit information counts.
 * @ghcb: What KVM and the guest share.
 * @buffer: The part of it that has the request.
 * @ops: What was done with each gfn: VMGEXIT_PSC_OP_*.
 * @nr_pages: How many gfns are in @ops.
 * @grant: The most pages that KVM does by itself, in one call.
 * @rnd: If there is one, @grant is chosen anew for each call.
 * @nr_exits: How often the VMM was asked.
 */
struct psc {
	struct vcpu_svm svm;
	struct kvm_svm kvm;
	struct kvm_run run;
	struct vmcb vmcb;
	struct ghcb ghcb;
	struct buffer buffer;
	struct xarray ops;
	unsigned long nr_pages;
	unsigned long grant;
	struct rnd_state *rnd;
	unsigned int nr_exits;
};

static struct psc *current_psc(void)
{
	return kunit_get_current_test()->priv;
}

static void convert(struct kunit *test, gfn_t gfn, unsigned long npages, bool to_private)
{
	struct psc *psc = test->priv;
	unsigned long op = to_private ? VMGEXIT_PSC_OP_PRIVATE : VMGEXIT_PSC_OP_SHARED;

	for (; npages; gfn++, npages--) {
		KUNIT_EXPECT_NULL_MSG(test, xa_load(&psc->ops, gfn), "%#llx, twice", gfn);
		xa_store(&psc->ops, gfn, xa_mk_value(op), GFP_KERNEL);
		psc->nr_pages++;
	}
}

static unsigned long fake_map_gpa_range(struct kvm_vcpu *vcpu, gfn_t gfn,
					unsigned long npages, bool to_private)
{
	struct psc *psc = current_psc();

	if (psc->rnd)
		psc->grant = prandom_u32_state(psc->rnd) % 1200;
	npages = min(npages, psc->grant);
	convert(kunit_get_current_test(), gfn, npages, to_private);
	return npages;
}

/* The VMM does what it is asked for, and enters the guest again. */
static int vmm_grants(struct kunit *test)
{
	struct psc *psc = test->priv;
	struct kvm_run *run = &psc->run;

	KUNIT_EXPECT_EQ(test, run->exit_reason, KVM_EXIT_HYPERCALL);
	KUNIT_EXPECT_EQ(test, run->hypercall.nr, KVM_HC_MAP_GPA_RANGE);
	psc->nr_exits++;
	convert(test, gpa_to_gfn(run->hypercall.args[0]), run->hypercall.args[1],
		run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED);
	run->hypercall.ret = 0;
	return psc->svm.vcpu.arch.complete_userspace_io(&psc->svm.vcpu);
}

static int vmm_refuses(struct kunit *test)
{
	struct psc *psc = test->priv;

	psc->nr_exits++;
	psc->run.hypercall.ret = EAGAIN;
	return psc->svm.vcpu.arch.complete_userspace_io(&psc->svm.vcpu);
}

static unsigned int entry_pages(const struct psc_entry *entry)
{
	return entry->pagesize ? HUGE : 1;
}

/* The guest's view: pages that are done, by what the entries say. */
static unsigned long pages_said_done(struct psc *psc)
{
	unsigned long nr = 0;
	int i;

	for (i = 0; i <= psc->buffer.hdr.end_entry; i++) {
		if (psc->buffer.entries[i].operation != OP_UNKNOWN)
			nr += psc->buffer.entries[i].cur_page;
	}
	return nr;
}

static void expect_all_done(struct kunit *test)
{
	struct psc *psc = test->priv;
	unsigned long i, n;

	for (i = 0; i <= psc->buffer.hdr.end_entry; i++) {
		struct psc_entry *entry = &psc->buffer.entries[i];

		KUNIT_EXPECT_EQ_MSG(test, (int)entry->cur_page, entry_pages(entry), "entry %lu", i);
		if (entry->operation == OP_UNKNOWN)
			continue;
		for (n = 0; n < entry_pages(entry); n++)
			KUNIT_EXPECT_EQ(test, xa_to_value(xa_load(&psc->ops, entry->gfn + n)),
					(unsigned long)entry->operation);
	}
	KUNIT_EXPECT_EQ(test, pages_said_done(psc), psc->nr_pages);
	KUNIT_EXPECT_EQ(test, psc->buffer.hdr.cur_entry, psc->buffer.hdr.end_entry + 1);
	KUNIT_EXPECT_EQ(test, psc->ghcb.save.sw_exit_info_2, 0ULL);
}

static void add_entry(struct psc *psc, int i, gfn_t gfn, unsigned int op, bool huge)
{
	psc->buffer.entries[i] = (struct psc_entry) {
		.gfn = gfn,
		.operation = op,
		.pagesize = huge,
	};
	psc->buffer.hdr.end_entry = i;
}

/* Three rows of entries: what is contiguous is one call. */
static void add_entries(struct psc *psc)
{
	int i;

	for (i = 0; i < 4; i++)
		add_entry(psc, i, 0x1000 + i, VMGEXIT_PSC_OP_SHARED, false);
	for (; i < 8; i++)
		add_entry(psc, i, 0x2000 + i * HUGE, VMGEXIT_PSC_OP_PRIVATE, true);
	add_entry(psc, i++, 0x1800, OP_UNKNOWN, false);
	add_entry(psc, i++, 0x1900, VMGEXIT_PSC_OP_PRIVATE, false);
}

static void all_in_kernel(struct kunit *test)
{
	struct psc *psc = test->priv;

	psc->grant = ~0UL;
	add_entries(psc);
	KUNIT_EXPECT_EQ(test, 1, snp_begin_psc(&psc->svm));
	expect_all_done(test);
}

static void all_by_vmm(struct kunit *test)
{
	struct psc *psc = test->priv;
	int r;

	add_entries(psc);
	for (r = snp_begin_psc(&psc->svm); !r; r = vmm_grants(test))
		;
	KUNIT_EXPECT_EQ(test, 1, r);
	KUNIT_EXPECT_EQ(test, 3, psc->nr_exits);
	expect_all_done(test);
}

/* KVM gets as far as the middle of a 2M entry. */
static void part_in_kernel(struct kunit *test)
{
	struct psc *psc = test->priv;

	psc->grant = 3 * HUGE + 7;
	add_entries(psc);
	KUNIT_EXPECT_EQ(test, 0, snp_begin_psc(&psc->svm));
	KUNIT_EXPECT_EQ(test, 7, psc->buffer.hdr.cur_entry);
	KUNIT_EXPECT_EQ(test, 7, (int)psc->buffer.entries[7].cur_page);
	KUNIT_EXPECT_EQ(test, pages_said_done(psc), psc->nr_pages);
	KUNIT_EXPECT_EQ(test, gfn_to_gpa(0x2000 + 7 * HUGE + 7), psc->run.hypercall.args[0]);
	KUNIT_EXPECT_EQ(test, HUGE - 7, psc->run.hypercall.args[1]);
	KUNIT_EXPECT_EQ(test, 1, vmm_grants(test));
	expect_all_done(test);
}

/* Then the guest hears how far it came, and goes on there if it asks again. */
static void vmm_fails(struct kunit *test)
{
	struct psc *psc = test->priv;

	psc->grant = HUGE + 1;
	add_entries(psc);
	KUNIT_EXPECT_EQ(test, 0, snp_begin_psc(&psc->svm));
	KUNIT_EXPECT_EQ(test, 1, vmm_refuses(test));
	KUNIT_EXPECT_EQ(test, psc->ghcb.save.sw_exit_info_2, VMGEXIT_PSC_ERROR_GENERIC);
	KUNIT_EXPECT_EQ(test, 5, psc->buffer.hdr.cur_entry);
	KUNIT_EXPECT_EQ(test, pages_said_done(psc), psc->nr_pages);

	psc->grant = ~0UL;
	KUNIT_EXPECT_EQ(test, 1, snp_begin_psc(&psc->svm));
	expect_all_done(test);
}

static void random_requests(struct kunit *test)
{
	struct psc *psc = test->priv;
	struct rnd_state rnd;
	int round, i, r;
	gfn_t gfn;

	prandom_seed_state(&rnd, snp_test_seed);
	for (round = 0; round < 12; round++) {
		memset(&psc->buffer, 0, sizeof(psc->buffer));
		xa_destroy(&psc->ops);
		psc->nr_pages = 0;
		for (gfn = HUGE, i = 0; i < ENTRIES; i++) {
			bool huge = prandom_u32_state(&rnd) % 4 == 0;

			if (huge || prandom_u32_state(&rnd) % 4 == 0)
				gfn = ALIGN(gfn, HUGE);
			add_entry(psc, i, gfn, 1 + prandom_u32_state(&rnd) % 8 / 3, huge);
			gfn += huge ? HUGE : 1;
		}
		psc->rnd = &rnd;
		r = snp_begin_psc(&psc->svm);
		while (!r) {
			if (prandom_u32_state(&rnd) % 4) {
				r = vmm_grants(test);
				continue;
			}
			KUNIT_EXPECT_EQ(test, 1, vmm_refuses(test));
			KUNIT_EXPECT_EQ(test, pages_said_done(psc), psc->nr_pages);
			r = snp_begin_psc(&psc->svm);
		}
		expect_all_done(test);
	}
}

static void bad_requests(struct kunit *test)
{
	struct psc *psc = test->priv;

	psc->grant = ~0UL;
	add_entry(psc, 0, HUGE + 1, VMGEXIT_PSC_OP_SHARED, true);
	KUNIT_EXPECT_EQ(test, 1, snp_begin_psc(&psc->svm));
	KUNIT_EXPECT_EQ(test, psc->ghcb.save.sw_exit_info_2, VMGEXIT_PSC_ERROR_INVALID_ENTRY);
	psc->buffer.hdr.end_entry = VMGEXIT_PSC_MAX_COUNT;
	KUNIT_EXPECT_EQ(test, 1, snp_begin_psc(&psc->svm));
	KUNIT_EXPECT_EQ(test, psc->ghcb.save.sw_exit_info_2, VMGEXIT_PSC_ERROR_INVALID_HDR);
	psc->kvm.kvm.arch.hypercall_exit_enabled = 0;
	KUNIT_EXPECT_EQ(test, 1, snp_begin_psc(&psc->svm));
	KUNIT_EXPECT_EQ(test, psc->ghcb.save.sw_exit_info_2, VMGEXIT_PSC_ERROR_GENERIC);
	KUNIT_EXPECT_EQ(test, 0, psc->nr_pages);
}

static void msr(struct kunit *test)
{
	struct psc *psc = test->priv;
	u64 req = GHCB_MSR_PSC_REQ_GFN(0x1234, SNP_PAGE_STATE_SHARED);

	KUNIT_EXPECT_EQ(test, 0, snp_begin_psc_msr(&psc->svm, req));
	KUNIT_EXPECT_EQ(test, 1, vmm_refuses(test));
	KUNIT_EXPECT_EQ(test, psc->vmcb.control.ghcb_gpa, GHCB_MSR_PSC_RESP_ERROR);
	KUNIT_EXPECT_EQ(test, 0, snp_begin_psc_msr(&psc->svm, req));
	KUNIT_EXPECT_EQ(test, 1, vmm_grants(test));
	KUNIT_EXPECT_EQ(test, psc->vmcb.control.ghcb_gpa, GHCB_MSR_PSC_RESP);

	psc->grant = 1;
	req = GHCB_MSR_PSC_REQ_GFN(0x1235, SNP_PAGE_STATE_PRIVATE);
	KUNIT_EXPECT_EQ(test, 1, snp_begin_psc_msr(&psc->svm, req));
	KUNIT_EXPECT_EQ(test, psc->vmcb.control.ghcb_gpa, GHCB_MSR_PSC_RESP);
	KUNIT_EXPECT_EQ(test, 2, psc->nr_pages);
	KUNIT_EXPECT_EQ(test, 2, psc->nr_exits);
}

static int psc_init(struct kunit *test)
{
	struct psc *psc = kunit_kzalloc(test, sizeof(*psc), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, psc);
	test->priv = psc;
	xa_init(&psc->ops);
	psc->svm.vcpu.kvm = &psc->kvm.kvm;
	psc->svm.vcpu.run = &psc->run;
	psc->svm.vmcb = &psc->vmcb;
	psc->svm.sev_es.ghcb = &psc->ghcb;
	psc->svm.sev_es.ghcb_sa = &psc->buffer;
	psc->svm.sev_es.ghcb_sa_len = sizeof(psc->buffer);
	psc->kvm.kvm.arch.hypercall_exit_enabled = BIT(KVM_HC_MAP_GPA_RANGE);
	kunit_activate_static_stub(test, kvm_map_gpa_range, fake_map_gpa_range);
	return 0;
}

static void psc_exit(struct kunit *test)
{
	struct psc *psc = test->priv;

	if (psc)
		xa_destroy(&psc->ops);
}

static struct kunit_case psc_cases[] = {
	KUNIT_CASE(all_in_kernel),
	KUNIT_CASE(all_by_vmm),
	KUNIT_CASE(part_in_kernel),
	KUNIT_CASE(vmm_fails),
	KUNIT_CASE(random_requests),
	KUNIT_CASE(bad_requests),
	KUNIT_CASE(msr),
	{}
};

static struct kunit_suite psc_suite = {
	.name = "kvm_snp_psc",
	.init = psc_init,
	.exit = psc_exit,
	.test_cases = psc_cases,
};

kunit_test_suite(psc_suite);
