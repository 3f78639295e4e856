/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KVM_X86_TESTS_SNP_RMP_H
#define _KVM_X86_TESTS_SNP_RMP_H

#include <linux/types.h>
#include <linux/xarray.h>

#include <kunit/test.h>

#include "model.h"

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

/* The steps that are the model's. */
enum rmp_op {
	RMP_READ = 1,		/* RMPREAD; left out: it finds no page to be assigned */
	RMP_ASSIGN,		/* RMPUPDATE, to a page of a guest */
	RMP_UNASSIGN,		/* RMPUPDATE, to a page of the hypervisor */
	RMP_SMASH,		/* PSMASH */
	RMP_LAUNCH_UPDATE,	/* firmware: SNP_LAUNCH_UPDATE */
	RMP_RECLAIM,		/* firmware: SNP_PAGE_RECLAIM */
	RMP_NR_FAILING,

	/* These cannot fail. */
	RMP_FLUSH = RMP_NR_FAILING,	/* CLFLUSH of what the guest has written */
	RMP_SPLIT,		/* of the direct map, to 4K */
};

/**
 * struct rmp - a model of the Reverse Map Table, and of the firmware's part
 * @model: What all models have.
 * @pages: struct rmp_page of assigned pages, by pfn.
 * @dirty: Pages of which the caches may have lines that a guest has written.
 * @nr_pages: Number of @pages.
 * @fw_error: The error of the firmware when it fails.
 * @overlaps: Successive RMPUPDATEs of @overlap that met a page of the other size.
 * @overlap: See @overlaps.
 * @measured: First byte of the page that SNP_LAUNCH_UPDATE has seen last.
 */
struct rmp {
	struct model model;
	struct xarray pages;
	struct xarray dirty;
	unsigned long nr_pages;
	int fw_error;
	unsigned int overlaps;
	unsigned long overlap;
	u8 measured;
};

struct rmp *rmp_create(struct kunit *test);
struct rmp_page *rmp_page(struct rmp *rmp, unsigned long pfn);
bool rmp_is_large(struct rmp *rmp, unsigned long pfn);
void rmp_forget(struct rmp *rmp, unsigned long pfn);
void rmp_watch(struct rmp *rmp, unsigned int left_out);
void rmp_guest_wrote(struct rmp *rmp, unsigned long pfn);
void rmp_host_accesses(struct model *model, unsigned long pfn);
void rmp_vmrun(struct rmp *rmp, u64 vmsa, u32 asid);

/* What the random tests of the module begin with: its parameter seed */
extern unsigned long snp_test_seed;

#endif /* _KVM_X86_TESTS_SNP_RMP_H */
