/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KVM_X86_TESTS_SNP_RMP_H
#define _KVM_X86_TESTS_SNP_RMP_H

#include <linux/types.h>
#include <linux/xarray.h>

#include <kunit/test.h>

/**
 * struct rmp_page - the RMP entry of a page that is assigned
 * @gpa: Where the guest sees it.
 * @asid: The guest; 0 is the firmware.
 * @large: It is one of 512 that a 2M entry describes.
 * @immutable: RMPUPDATE and PSMASH leave it alone.
 * @validated: The guest has accepted the page, or the firmware has for it.
 */
struct rmp_page {
	u64 gpa;
	u32 asid;
	bool large;
	bool immutable;
	bool validated;
};

/* What can be made to fail. */
enum rmp_op {
	RMP_NONE,
	RMP_READ,		/* RMPREAD */
	RMP_ASSIGN,		/* RMPUPDATE, to a page of a guest */
	RMP_UNASSIGN,		/* RMPUPDATE, to a page of the hypervisor */
	RMP_SMASH,		/* PSMASH */
	RMP_LAUNCH_UPDATE,	/* firmware: SNP_LAUNCH_UPDATE */
	RMP_RECLAIM,		/* firmware: SNP_PAGE_RECLAIM */
	RMP_NR_OPS
};

/**
 * struct rmp - a model of the Reverse Map Table, and of the firmware's part
 * @test: The test.
 * @pages: struct rmp_page of assigned pages, by pfn.
 * @nr_pages: Their number.
 * @calls: How often each operation was asked for.
 * @fail: The operation that fails.
 * @fail_after: How often it works before it does.
 * @fail_always: It goes on failing.
 * @fw_error: The error of the firmware when it fails.
 * @in_use: A page that the guest has mapped, or NULL: asked before a page is taken back.
 * @in_use_arg: For @in_use.
 * @overlaps: Successive RMPUPDATEs of @overlap that met a page of the other size.
 * @overlap: See @overlaps.
 * @measured: First byte of the page that SNP_LAUNCH_UPDATE has seen last.
 */
struct rmp {
	struct kunit *test;
	struct xarray pages;
	unsigned long nr_pages;
	unsigned int calls[RMP_NR_OPS];
	enum rmp_op fail;
	unsigned int fail_after;
	bool fail_always;
	int fw_error;
	bool (*in_use)(void *arg, unsigned long pfn);
	void *in_use_arg;
	unsigned int overlaps;
	unsigned long overlap;
	u8 measured;
};

struct rmp *rmp_create(struct kunit *test);
struct rmp_page *rmp_page(struct rmp *rmp, unsigned long pfn);
bool rmp_is_large(struct rmp *rmp, unsigned long pfn);
void rmp_forget(struct rmp *rmp, unsigned long pfn);
void rmp_fail(struct rmp *rmp, enum rmp_op op, unsigned int after, bool always);

#endif /* _KVM_X86_TESTS_SNP_RMP_H */
