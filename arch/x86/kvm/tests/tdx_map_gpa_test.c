// SPDX-License-Identifier: GPL-2.0
/*
 * Conversions that a TD asks for, by TDG.VP.VMCALL<MapGPA>, where KVM does part of the
 * work: the TD has to hear exactly how far it came.  See MapGPA in the Guest-Host
 * Communication Interface.
 */
#include <linux/kvm_host.h>
#include <linux/kvm_para.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/xarray.h>

#include <asm/shared/tdx.h>

#include <kunit/static_stub.h>
#include <kunit/test.h>

#include "x86.h"
#include "vmx/tdx.h"
#include "tdx_module.h"

#define SHARED_BIT	BIT_ULL(47)
#define BASE		0x40000000ULL

/**
 * struct map_gpa - a TD that asks, and the two that answer
 * @tdx: The vCPU.
 * @kvm_tdx: The VM.
 * @run: What KVM and the VMM share.
 * @done: What was done with each gfn: 1 shared, 2 private.
 * @nr_pages: How many gfns are in @done.
 * @grant: The most pages that KVM does by itself, in one call.
 * @rnd: If there is one, @grant and interrupts are by chance.
 * @interrupt: After how many chunks there is an interrupt.
 * @nr_exits: How often the VMM was asked.
 */
struct map_gpa {
	struct vcpu_tdx tdx;
	struct kvm_tdx kvm_tdx;
	struct kvm_run run;
	struct xarray done;
	unsigned long nr_pages;
	unsigned long grant;
	struct rnd_state *rnd;
	unsigned int interrupt;
	unsigned int nr_exits;
};

static void convert(struct kunit *test, gfn_t gfn, unsigned long npages, bool to_private)
{
	struct map_gpa *mg = test->priv;

	for (; npages; gfn++, npages--) {
		KUNIT_EXPECT_NULL_MSG(test, xa_load(&mg->done, gfn), "%#llx, twice", gfn);
		xa_store(&mg->done, gfn, xa_mk_value(1 + to_private), GFP_KERNEL);
		mg->nr_pages++;
	}
}

static unsigned long fake_map_gpa_range(struct kvm_vcpu *vcpu, gfn_t gfn,
					unsigned long npages, bool to_private)
{
	struct kunit *test = kunit_get_current_test();
	struct map_gpa *mg = test->priv;

	if (mg->rnd)
		mg->grant = prandom_u32_state(mg->rnd) % 1000;
	KUNIT_EXPECT_LE(test, npages, SZ_2M / PAGE_SIZE);
	npages = min(npages, mg->grant);
	convert(test, gfn, npages, to_private);
	return npages;
}

static bool fake_interrupted(struct kvm_vcpu *vcpu)
{
	struct map_gpa *mg = kunit_get_current_test()->priv;

	if (mg->rnd)
		return prandom_u32_state(mg->rnd) % 4 == 0;
	return mg->interrupt && !--mg->interrupt;
}

/* The VMM does what it is asked for, or refuses it, and enters the TD again. */
static int vmm_answers(struct kunit *test, u64 ret)
{
	struct map_gpa *mg = test->priv;
	struct kvm_run *run = &mg->run;

	KUNIT_EXPECT_EQ(test, run->exit_reason, KVM_EXIT_HYPERCALL);
	KUNIT_EXPECT_EQ(test, run->hypercall.nr, KVM_HC_MAP_GPA_RANGE);
	mg->nr_exits++;
	if (!ret)
		convert(test, gpa_to_gfn(run->hypercall.args[0]), run->hypercall.args[1],
			run->hypercall.args[2] == KVM_MAP_GPA_RANGE_ENCRYPTED);
	run->hypercall.ret = ret;
	return mg->tdx.vcpu.arch.complete_userspace_io(&mg->tdx.vcpu);
}

static int ask(struct kunit *test, u64 gpa, u64 size)
{
	struct map_gpa *mg = test->priv;

	mg->tdx.vp_enter_args.r10 = TDVMCALL_STATUS_SUCCESS;
	mg->tdx.vp_enter_args.r11 = 0;
	mg->tdx.vp_enter_args.r12 = gpa;
	mg->tdx.vp_enter_args.r13 = size;
	return tdx_map_gpa(&mg->tdx.vcpu);
}

static void expect_status(struct kunit *test, u64 status, u64 gpa)
{
	struct map_gpa *mg = test->priv;

	KUNIT_EXPECT_EQ(test, mg->tdx.vp_enter_args.r10, status);
	KUNIT_EXPECT_EQ(test, mg->tdx.vp_enter_args.r11, gpa);
}

static void in_kernel(struct kunit *test)
{
	struct map_gpa *mg = test->priv;

	mg->grant = ~0UL;
	KUNIT_EXPECT_EQ(test, 1, ask(test, BASE | SHARED_BIT, SZ_4M + SZ_4K));
	expect_status(test, TDVMCALL_STATUS_SUCCESS, 0);
	KUNIT_EXPECT_EQ(test, mg->nr_pages, 1025);
	KUNIT_EXPECT_EQ(test, xa_to_value(xa_load(&mg->done, gpa_to_gfn(BASE))), 1);
	KUNIT_EXPECT_EQ(test, 1, ask(test, BASE + SZ_1G, SZ_4K));
	KUNIT_EXPECT_EQ(test, xa_to_value(xa_load(&mg->done, gpa_to_gfn(BASE + SZ_1G))), 2);
}

static void by_vmm(struct kunit *test)
{
	struct map_gpa *mg = test->priv;

	KUNIT_EXPECT_EQ(test, 0, ask(test, BASE | SHARED_BIT, SZ_2M + SZ_4K));
	KUNIT_EXPECT_EQ(test, 0, vmm_answers(test, 0));
	KUNIT_EXPECT_EQ(test, 1, vmm_answers(test, 0));
	expect_status(test, TDVMCALL_STATUS_SUCCESS, 0);
	KUNIT_EXPECT_EQ(test, mg->nr_pages, 513);
}

static void interrupted(struct kunit *test)
{
	struct map_gpa *mg = test->priv;

	mg->grant = ~0UL;
	mg->interrupt = 2;
	KUNIT_EXPECT_EQ(test, 1, ask(test, BASE | SHARED_BIT, 4ULL * SZ_2M));
	expect_status(test, TDVMCALL_STATUS_RETRY, (BASE + SZ_4M) | SHARED_BIT);
	KUNIT_EXPECT_EQ(test, mg->nr_pages, 1024);
}

/* The TD hears of what KVM has done before the VMM refused the rest. */
static void refused(struct kunit *test)
{
	static const u64 ret[] = { EAGAIN, EINVAL };
	static const u64 status[] = { TDVMCALL_STATUS_RETRY, TDVMCALL_STATUS_INVALID_OPERAND };
	struct map_gpa *mg = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(ret); i++) {
		u64 gpa = BASE + i * SZ_1G;

		mg->grant = 7;
		KUNIT_EXPECT_EQ(test, 0, ask(test, gpa, SZ_4M));
		KUNIT_EXPECT_EQ(test, mg->run.hypercall.args[0], gpa + 7 * SZ_4K);
		KUNIT_EXPECT_EQ(test, mg->run.hypercall.args[1], 505);
		KUNIT_EXPECT_EQ(test, 1, vmm_answers(test, ret[i]));
		expect_status(test, status[i], gpa + 7 * SZ_4K);
	}
	KUNIT_EXPECT_EQ(test, mg->nr_pages, 14);
}

/* A TD that goes on where it is told to gets each page converted, once. */
static void random_requests(struct kunit *test)
{
	struct map_gpa *mg = test->priv;
	struct rnd_state rnd;
	int round, r;
	u64 gpa, end;

	prandom_seed_state(&rnd, tdx_test_seed);
	mg->rnd = &rnd;
	for (round = 0; round < 30; round++) {
		xa_destroy(&mg->done);
		mg->nr_pages = 0;
		gpa = BASE | (round % 2 ? SHARED_BIT : 0);
		end = gpa + (1 + prandom_u32_state(&rnd) % 3000) * SZ_4K;
		do {
			r = ask(test, gpa, end - gpa);
			while (!r)
				r = vmm_answers(test, prandom_u32_state(&rnd) % 4 ? 0 : EAGAIN);
			KUNIT_ASSERT_EQ(test, 1, r);
			gpa = mg->tdx.vp_enter_args.r11;
		} while (mg->tdx.vp_enter_args.r10 == TDVMCALL_STATUS_RETRY);
		expect_status(test, TDVMCALL_STATUS_SUCCESS, 0);
		KUNIT_EXPECT_EQ(test, mg->nr_pages, gpa_to_gfn(end) -
				gpa_to_gfn(BASE | (round % 2 ? SHARED_BIT : 0)));
	}
}

static void bad_requests(struct kunit *test)
{
	struct map_gpa *mg = test->priv;

	mg->grant = ~0UL;
	KUNIT_EXPECT_EQ(test, 1, ask(test, BASE, 0));
	expect_status(test, TDVMCALL_STATUS_INVALID_OPERAND, BASE);
	KUNIT_EXPECT_EQ(test, 1, ask(test, BASE, SHARED_BIT));
	expect_status(test, TDVMCALL_STATUS_INVALID_OPERAND, BASE);
	KUNIT_EXPECT_EQ(test, 1, ask(test, BASE + 1, SZ_4K));
	expect_status(test, TDVMCALL_STATUS_ALIGN_ERROR, BASE + 1);
	mg->kvm_tdx.kvm.arch.hypercall_exit_enabled = 0;
	KUNIT_EXPECT_EQ(test, 1, ask(test, BASE, SZ_4K));
	expect_status(test, TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED, BASE);
	KUNIT_EXPECT_EQ(test, mg->nr_pages + mg->nr_exits, 0);
}

static int map_gpa_init(struct kunit *test)
{
	struct map_gpa *mg = kunit_kzalloc(test, sizeof(*mg), GFP_KERNEL);
	struct kvm *kvm;

	KUNIT_ASSERT_NOT_NULL(test, mg);
	test->priv = mg;
	xa_init(&mg->done);
	kvm = &mg->kvm_tdx.kvm;
	kvm->arch.vm_type = KVM_X86_TDX_VM;
	kvm->arch.gfn_direct_bits = gpa_to_gfn(SHARED_BIT);
	kvm->arch.hypercall_exit_enabled = BIT(KVM_HC_MAP_GPA_RANGE);
	mg->tdx.vcpu.kvm = kvm;
	mg->tdx.vcpu.run = &mg->run;
	mg->tdx.vcpu.arch.maxphyaddr = 52;
	mg->tdx.vcpu.arch.reserved_gpa_bits = GENMASK_ULL(63, 52);
	kunit_activate_static_stub(test, kvm_map_gpa_range, fake_map_gpa_range);
	kunit_activate_static_stub(test, tdx_map_gpa_interrupted, fake_interrupted);
	return 0;
}

static void map_gpa_exit(struct kunit *test)
{
	struct map_gpa *mg = test->priv;

	if (mg)
		xa_destroy(&mg->done);
}

static struct kunit_case map_gpa_cases[] = {
	KUNIT_CASE(in_kernel),
	KUNIT_CASE(by_vmm),
	KUNIT_CASE(interrupted),
	KUNIT_CASE(refused),
	KUNIT_CASE(random_requests),
	KUNIT_CASE(bad_requests),
	{}
};

static struct kunit_suite map_gpa_suite = {
	.name = "kvm_tdx_map_gpa",
	.init = map_gpa_init,
	.exit = map_gpa_exit,
	.test_cases = map_gpa_cases,
};

kunit_test_suite(map_gpa_suite);
