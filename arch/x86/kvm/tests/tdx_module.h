/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KVM_X86_TESTS_TDX_MODULE_H
#define _KVM_X86_TESTS_TDX_MODULE_H

#include <linux/types.h>
#include <linux/xarray.h>

#include <kunit/test.h>

#include <asm/tdx.h>

#include "model.h"

/*
 * The steps that are the model's: SEAMCALLs by their leaf, and what is no SEAMCALL.  Left
 * out, TDH.PHYMEM.PAGE.RDMD finds every page to be free.
 */
enum tdx_step {
	TDX_NR_LEAVES	= 54,
	TDX_FLUSH	= TDX_NR_LEAVES,	/* CLFLUSH of what the host has written */
	TDX_RESET,				/* by MOVDIR64B */
	TDX_KEYID_FREE,				/* the host may give the key to another TD */
};

/* Types of pages in the PAMT, as far as they are modelled. */
enum pamt_type {
	PAMT_NDA,		/* not the module's */
	PAMT_REG,		/* private memory of the TD */
	PAMT_TDR,		/* root of the TD */
	PAMT_TDCX,		/* control structure of the TD */
	PAMT_EPT,		/* page table of the TD */
};

enum sept_state {
	SEPT_FREE,
	SEPT_MAPPED,		/* by TDH.MEM.PAGE.ADD */
	SEPT_PENDING,		/* by TDH.MEM.PAGE.AUG: to be accepted by the TD */
	SEPT_BLOCKED,
};

/**
 * struct tdx_page - what there is to know of a page, for the module or the hardware
 * @type: In the PAMT.
 * @gfn: Where the TD sees a page of PAMT_REG.
 * @clean: The caches hold no lines that the host has written.
 * @dirty: They may hold lines of the TD's key.
 * @poisoned: A write by the host that is not a whole line leads to a machine check.
 */
struct tdx_page {
	enum pamt_type type;
	u64 gfn;
	bool clean;
	bool dirty;
	bool poisoned;
};

/**
 * struct tdx_sept - an entry of the S-EPT that maps 4K
 * @pfn: The page.
 * @state: State of the entry.
 * @epoch: When it was blocked.
 */
struct tdx_sept {
	unsigned long pfn;
	enum sept_state state;
	u64 epoch;
};

/* The life of a TD's key. */
enum tdx_hkid {
	HKID_ASSIGNED,
	HKID_FLUSHED,		/* TDH.MNG.VPFLUSHDONE: no vCPU is on any CPU */
	HKID_WRITTEN_BACK,	/* TDH.PHYMEM.CACHE.WB: nor are lines of the key */
	HKID_FREE,
};

/**
 * struct tdx_module - a model of the TDX module, with one TD
 * @model: What all models have.
 * @pages: struct tdx_page, by pfn.
 * @sept: struct tdx_sept, by gfn.
 * @tables: Page tables that map 2M, by gfn / 512.
 * @tdr: The TD's root page.
 * @hkid: The TD's key.
 * @hkid_state: How far it is in its life.
 * @finalized: TDH.MR.FINALIZE is over: the TD can run.
 * @epoch: Counts TDH.MEM.TRACK.
 * @nr_reg: Pages of PAMT_REG.
 * @keyid_free: The host has its key back.
 * @fail_status: The status with which a leaf fails.
 * @extended: Sum of the first bytes of what TDH.MR.EXTEND was asked for.
 */
struct tdx_module {
	struct model model;
	struct xarray pages;
	struct xarray sept;
	struct xarray tables;
	unsigned long tdr;
	int hkid;
	enum tdx_hkid hkid_state;
	bool finalized;
	u64 epoch;
	unsigned long nr_reg;
	bool keyid_free;
	u64 fail_status;
	unsigned int extended;
};

struct tdx_module *tdx_module_create(struct kunit *test, int hkid);
struct tdx_page *tdx_module_page(struct tdx_module *tm, unsigned long pfn);
struct tdx_sept *tdx_module_sept(struct tdx_module *tm, u64 gfn);

u64 tdx_module_call(struct tdx_module *tm, u64 leaf, struct tdx_module_args *args);
void tdx_module_fail(struct tdx_module *tm, unsigned int leaf, unsigned int after,
		     bool always, u64 status);
void tdx_module_check_gone(struct tdx_module *tm);
void tdx_module_host_wrote(struct model *model, unsigned long pfn);

/* What the random tests of the module begin with: its parameter seed */
extern unsigned long tdx_test_seed;

#endif /* _KVM_X86_TESTS_TDX_MODULE_H */
