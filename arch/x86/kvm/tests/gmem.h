/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KVM_X86_TESTS_GMEM_H
#define _KVM_X86_TESTS_GMEM_H

#include <linux/kvm_host.h>
#include <linux/fs.h>
#include <linux/memfile.h>
#include <linux/prandom.h>

#include <kunit/test.h>

#include "model.h"

struct gmem_file;

/**
 * struct gmem_vm - what is different for each type of VM
 * @owner: The owner's functions, as the VM type needs them; set by gmem_create().
 * @make_private: As kvm_arch_gmem_make_private().
 * @make_shared: As kvm_arch_gmem_reclaim().
 * @hide: As kvm_arch_gmem_hide().  Optional.
 * @invalidate_range: As kvm_arch_gmem_invalidate_range().  Optional.
 * @map: A page that was looked up is about to be mapped for the guest.
 * @unmap: The guest loses its mapping of an offset.  Optional.
 * @access: The host, or the guest by a mapping of a shared page, writes to a page.  Is
 *	there anything in the way?
 * @check: Is a page that is in the file as the VM type wants it?
 * @in_tlb: States whose mappings the guest may go on using, once they are zapped, until
 *	KVM flushes TLBs.
 */
struct gmem_vm {
	struct memfile_owner_ops owner;
	int (*make_private)(struct gmem_file *gf, pgoff_t index, unsigned long pfn,
			    unsigned long nr);
	int (*make_shared)(unsigned long pfn, unsigned long nr);
	void (*hide)(unsigned long pfn, unsigned long nr);
	void (*invalidate_range)(struct kvm *kvm, struct kvm_gfn_range *range);
	int (*map)(struct gmem_file *gf, pgoff_t index, const struct memfile_pfn *mp);
	void (*unmap)(struct gmem_file *gf, pgoff_t index);
	void (*access)(struct model *model, unsigned long pfn);
	void (*check)(struct gmem_file *gf, pgoff_t index, enum memfile_state state,
		      struct page *page);
	unsigned int in_tlb;
};

/**
 * struct gmem_mapping - what the guest has mapped at an offset
 * @pfn: The page.
 * @state: Its state; 0 if nothing is mapped.
 * @in_tlb: There was a mapping, and there may be a translation left of it.
 */
struct gmem_mapping {
	unsigned long pfn;
	enum memfile_state state;
	bool in_tlb;
};

/* Where the guest sees the file at first; aligned as file offsets are. */
#define GMEM_GFN	0x100000UL

/* Sizes of files: for two 2M blocks and some pages that no block has; for single pages. */
#define GMEM_BLOCK	PTRS_PER_PMD
#define GMEM_BLOCKS	(2 * GMEM_BLOCK + 10)
#define GMEM_SINGLE	70

/**
 * struct gmem_file - a memory file, and a guest that uses it
 * @test: The test.
 * @model: The model of the hardware.
 * @vm: The VM type's part.
 * @kvm: The VM.
 * @file: The file; NULL when it was closed.
 * @slot: The guest's memory slot: all of the file.
 * @nr: Size of the file, in pages.
 * @absent: Set of states whose pages are out of the direct map.
 * @guest: What the guest has mapped, for each offset.
 *
 * Takes the place of the notifier in virt/kvm/guest_memfd.c and of KVM's MMU, and does
 * what they do, in their order.  What KVM does by way of the slot is KVM's own code.
 */
struct gmem_file {
	struct kunit *test;
	struct model *model;
	struct gmem_vm *vm;
	struct kvm *kvm;
	struct file *file;
	struct kvm_memory_slot slot;
	unsigned long nr;
	unsigned int absent;
	struct gmem_mapping *guest;
};

static inline gfn_t gmem_gfn(const struct gmem_file *gf, pgoff_t index)
{
	return gf->slot.base_gfn + index;
}

struct gmem_file *gmem_create(struct kunit *test, struct gmem_vm *vm, struct kvm *kvm,
			      unsigned long nr, unsigned int flags);
void gmem_close(struct gmem_file *gf);

int gmem_fault(struct gmem_file *gf, pgoff_t index);
void gmem_touch(struct gmem_file *gf, pgoff_t start, pgoff_t end);
int gmem_convert(struct gmem_file *gf, pgoff_t start, pgoff_t end, enum memfile_state to);
int gmem_allocate(struct gmem_file *gf, pgoff_t start, pgoff_t end);
int gmem_punch(struct gmem_file *gf, pgoff_t start, pgoff_t end);
void gmem_unmap(struct gmem_file *gf, pgoff_t start, pgoff_t end, unsigned int states);

enum memfile_state gmem_state(struct gmem_file *gf, pgoff_t index);
struct page *gmem_page(struct gmem_file *gf, pgoff_t index);
unsigned long gmem_pfn(struct gmem_file *gf, pgoff_t index);
bool gmem_has(struct gmem_file *gf, unsigned long pfn);
bool gmem_maps(struct gmem_file *gf, unsigned long pfn);
void gmem_write(struct gmem_file *gf, pgoff_t index, u8 byte);
struct page *gmem_source(struct kunit *test, u8 byte);
void __user *gmem_user_pages(struct kunit *test, unsigned long nr);
void gmem_random_op(struct gmem_file *gf, struct rnd_state *rnd);
void gmem_check(struct gmem_file *gf);

#endif /* _KVM_X86_TESTS_GMEM_H */
