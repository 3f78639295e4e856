// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's own access to pages of guest_memfd.
 *
 * Where the slot of a gfn has no memory but its file's, the file says which page it
 * is, and whether the host may touch it.  The VMM need not have mapped it, and GUP
 * may be refused (mapping_no_direct_map()).  A page that is in the direct map is
 * accessed there, any other one through a mapping that only lasts for as long as KVM
 * needs it.
 *
 * Such a mapping must be gone, TLB entries included, when ->invalidate_start of the
 * page's slot returns.  There are two ways to see to that:
 *
 * - kvm_vcpu_map() pins the page.  While it is pinned it doesn't become private, and
 *   is not freed either, so only what the TLBs keep after the end of the mapping
 *   has to be taken care of;
 * - a gfn_to_pfn_cache doesn't pin anything.  ->invalidate_start tears its mapping
 *   down: see gfn_to_pfn_cache_invalidate_gfn().
 *
 * To flush TLBs on all CPUs after each nested VM-Enter would be slow, so the entries
 * of what was unmapped stay until something is invalidated, whatever that is.
 *
 * A page that is private, of a VM whose private memory nothing guards but KVM, is
 * mapped just for as long as something is copied from it or to it, by
 * memfile_access(), which keeps conversions out.
 */
#include <linux/kvm_host.h>
#include <linux/memfile.h>
#include <linux/mm.h>
#include <linux/set_memory.h>
#include <linux/vmalloc.h>

#include "guest_memfd.h"

/**
 * kvm_gmem_get_shared_pfn - get the page of a gfn for access by KVM itself
 * @kvm: The VM.
 * @slot: A slot with no memory but that of its guest_memfd.
 * @gfn: In the slot.
 * @pfn: Where to put the page frame number.
 * @page: Where to put the page, pinned, for unpin_user_page(); or NULL, if the caller
 *	does not use @pfn if an invalidation started after the call did.
 *
 * Context: As for kvm_gmem_get_pfn().
 * Return: 0, or, with nothing stored:
 *
 * * -EFAULT - the page is private, or the file is closed
 * * any other error of kvm_gmem_get_pfn()
 */
int kvm_gmem_get_shared_pfn(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn,
			    kvm_pfn_t *pfn, struct page **page)
{
	pgoff_t index = kvm_gmem_index(slot, gfn);
	struct file *file __free(fput) = kvm_gmem_get_file(slot);
	int r;

	/* The reference keeps the consumer registered. */
	if (!file || memfile_state(&slot->gmem.consumer, index) != MEMFILE_SHARED)
		return -EFAULT;

	r = kvm_gmem_get_pfn(kvm, slot, gfn, pfn, page, NULL);
	if (r || !page)
		return r;

	/* It may have become private before it was pinned, but cannot any more. */
	if (memfile_state(&slot->gmem.consumer, index) != MEMFILE_SHARED) {
		unpin_user_page(*page);
		return -EFAULT;
	}
	return 0;
}

static void kvm_gmem_note_unmapped(struct kvm *kvm)
{
	/* Pairs with the xchg() in kvm_gmem_flush_unmapped(): seen there, it is unmapped. */
	smp_store_release(&kvm->gmem_unmapped, true);
}

/**
 * kvm_gmem_map - get at the content of a page of a guest_memfd
 * @page: A page that kvm_gmem_get_shared_pfn() has found, and that stays shared.
 *
 * Context: May sleep.
 * Return: Where it is mapped, to be given to kvm_gmem_unmap(); or NULL if there is no
 *	memory for that.
 */
void *kvm_gmem_map(struct page *page)
{
	void *va;

	memfile_kernel_access(page);
	if (kernel_page_present(page))
		return page_address(page);

	va = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	if (va)
		memfile_kernel_map(page);
	return va;
}

/**
 * kvm_gmem_unmap - undo kvm_gmem_map()
 * @kvm: The VM that the page belongs to.
 * @va: What kvm_gmem_map() has returned.
 *
 * There may be TLB entries left, until kvm_gmem_flush_unmapped().
 *
 * Context: May sleep.
 */
void kvm_gmem_unmap(struct kvm *kvm, void *va)
{
	if (!is_vmalloc_addr(va))
		return;

	memfile_kernel_unmap(va);
	vunmap(va);
	kvm_gmem_note_unmapped(kvm);
}

/**
 * kvm_gmem_flush_unmapped - flush what kvm_gmem_unmap() has left in TLBs
 * @kvm: The VM.
 *
 * Costs nothing if nothing was unmapped since the last time.
 *
 * Context: May sleep.  Takes kvm->gmem_map_lock: nobody must be told that all is
 *	flushed while somebody else is still at it.
 */
void kvm_gmem_flush_unmapped(struct kvm *kvm)
{
	guard(mutex)(&kvm->gmem_map_lock);

	if (xchg(&kvm->gmem_unmapped, false))
		vm_unmap_aliases();
}

/**
 * kvm_gmem_unmap_pinned - undo kvm_gmem_map() of a page that is pinned
 * @kvm: The VM that the page belongs to.
 * @va: What kvm_gmem_map() has returned.
 *
 * An invalidation that is in progress has seen to the TLB entries of all that was
 * unmapped before, and may now wait for the pin.  Either this sees the invalidation,
 * or the invalidation sees that something was unmapped: on both sides a full barrier
 * is between the store and the load.
 *
 * Context: May sleep.  Call it before the page is unpinned.
 */
void kvm_gmem_unmap_pinned(struct kvm *kvm, void *va)
{
	kvm_gmem_unmap(kvm, va);

	/* Pairs with the xchg() in kvm_gmem_flush_unmapped(). */
	smp_mb();
	if (READ_ONCE(kvm->mn_active_invalidate_count))
		kvm_gmem_flush_unmapped(kvm);
}

struct kvm_gmem_copy {
	struct kvm *kvm;
	void *data;
	int offset;
	int len;
	bool write;
};

/* An instruction takes several, so they had better be cheap: vmap() is not. */
static int kvm_gmem_copy_page(struct page *page, void *arg)
{
	const bool present = kernel_page_present(page);
	struct kvm_gmem_copy *copy = arg;
	void *va = page_address(page);

	memfile_kernel_access(page);
	if (!present) {
		va = vm_map_ram(&page, 1, NUMA_NO_NODE);
		if (!va)
			return -ENOMEM;
		memfile_kernel_map(page);
	}

	if (copy->write)
		memcpy(va + copy->offset, copy->data, copy->len);
	else
		memcpy(copy->data, va + copy->offset, copy->len);

	if (!present) {
		memfile_kernel_unmap(va);
		vm_unmap_ram(va, 1);
		kvm_gmem_note_unmapped(copy->kvm);
	}
	return 0;
}

/* Whether KVM may read and write private memory, as it does shared memory. */
bool __weak kvm_arch_gmem_may_access(struct kvm *kvm)
{
	return false;
}

/**
 * kvm_gmem_is_hidden - whether the way to a gfn is kvm_gmem_copy(), and no other one
 * @kvm: The VM.
 * @slot: The slot of @gfn.
 * @gfn: The page.
 *
 * A hint: the page may be converted at any time.
 *
 * Context: kvm->srcu or slots_lock held.
 * Return: Whether an access by the slot's userspace address would only be a fault, for
 *	kvm_gmem_copy() to follow.
 */
bool kvm_gmem_is_hidden(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn)
{
	return kvm_memslot_is_gmem_only(slot) && kvm_arch_gmem_may_access(kvm) &&
	       kvm_gmem_is_private(slot, gfn);
}

/**
 * kvm_gmem_copy - copy from or to memory that userspace cannot reach
 * @kvm: The VM.
 * @slot: The slot of @gfn.
 * @gfn: The page.
 * @data: What to copy, or where to.
 * @offset: In the page, in bytes.
 * @len: Number of bytes, all in the page.
 * @write: Whether @data goes to the page, or the page's content to @data.
 *
 * For those that have tried the slot's userspace address, which is the faster way, or
 * know better by kvm_gmem_is_hidden().
 *
 * Context: kvm->srcu or slots_lock held.  May sleep.  Takes invalidate_lock of the
 *	slot's file.
 * Return: 0, or -EFAULT: the slot has other memory than a guest_memfd, the memory is
 *	guarded against KVM, the file is closed, or there is no page to be had.
 */
int kvm_gmem_copy(struct kvm *kvm, struct kvm_memory_slot *slot, gfn_t gfn, void *data,
		  int offset, int len, bool write)
{
	struct kvm_gmem_copy copy = {
		.kvm = kvm,
		.data = data,
		.offset = offset,
		.len = len,
		.write = write,
	};
	struct file *file __free(fput) = NULL;

	if (!kvm_memslot_is_gmem_only(slot) || !kvm_arch_gmem_may_access(kvm))
		return -EFAULT;

	/* The reference keeps the consumer registered. */
	file = kvm_gmem_get_file(slot);
	if (!file || memfile_access(&slot->gmem.consumer, kvm_gmem_index(slot, gfn),
				    kvm_gmem_copy_page, &copy))
		return -EFAULT;
	return 0;
}
