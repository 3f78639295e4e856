// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of a guest's own request to convert memory: the kernel grants it,
 * if the VMM allows that, or the VMM is asked to, and until it has answered nobody
 * sees the memory.
 */
#include <linux/file.h>
#include <linux/kvm_host.h>
#include <linux/memfile.h>

#include "guest_memfd.h"
#include "kvm_mm.h"

/**
 * kvm_gmem_convert_in_slot - convert as much of a range as is in one slot
 * @slot: The slot.
 * @gfn: First gfn, in the slot.
 * @npages: Number of pages.
 * @to_private: Whether they shall become private, or shared.
 * @changed: Where to put how many were not what they are to become.
 * @present: Where to put for how many of those there is a page.
 *
 * Context: As for kvm_gmem_convert_for_guest().
 * Return: How many pages are converted, from @gfn on.
 */
unsigned long kvm_gmem_convert_in_slot(struct kvm_memory_slot *slot, gfn_t gfn,
				       unsigned long npages, bool to_private,
				       unsigned long *changed, unsigned long *present)
{
	struct file *file __free(fput) = kvm_gmem_get_file(slot);
	pgoff_t start = kvm_gmem_index(slot, gfn);

	*changed = 0;
	*present = 0;
	if (!file || !kvm_gmem_has_attributes(file))
		return 0;

	npages = min_t(unsigned long, npages, slot->base_gfn + slot->npages - gfn);
	return memfile_convert_for_guest(&slot->gmem.consumer, start, start + npages,
					 to_private ? MEMFILE_PRIVATE : MEMFILE_SHARED,
					 changed, present) - start;
}

/*
 * A single page is a buffer that the guest is about to use.  To map it now is less
 * than half of what its fault would take.
 */
void __weak kvm_arch_gmem_map_converted(struct kvm_vcpu *vcpu, gfn_t gfn, bool is_private)
{
}

/**
 * kvm_gmem_convert_for_guest - convert memory as the guest wants it
 * @vcpu: The vCPU that asks.
 * @gfn: First gfn.
 * @npages: Number of pages.
 * @to_private: Whether they shall become private, or shared.
 *
 * If the VMM allows it (KVM_CAP_GUEST_MEMFD_GUEST_CONVERT), within its limits, and does
 * not wait for invalidations to end.  If it is one page, and there is one, it is mapped
 * for the guest.
 *
 * Context: The vCPU's task, kvm->srcu held, no other lock.  May sleep, as a fault
 *	may: for the file's invalidate_lock, and for folio locks.
 * Return: How many pages are converted, from @gfn on.  The rest is for the VMM.
 */
unsigned long kvm_gmem_convert_for_guest(struct kvm_vcpu *vcpu, gfn_t gfn,
					 unsigned long npages, bool to_private)
{
	struct kvm *kvm = vcpu->kvm;
	unsigned long changed, nr_changed = 0, present = 0, done = 0, n;
	struct kvm_memory_slot *slot;

	if (!(READ_ONCE(kvm->gmem_convert.directions) &
	      (to_private ? KVM_GUEST_MEMFD_CONVERT_TO_PRIVATE :
			    KVM_GUEST_MEMFD_CONVERT_TO_SHARED)) ||
	    npages > READ_ONCE(kvm->gmem_convert.max_call))
		return 0;

	/*
	 * An update of memslots waits until no invalidation is in progress, and vCPUs
	 * that go on converting could make it wait for ever.
	 */
	if (rcuwait_active(&kvm->mn_memslots_update_rcuwait))
		return 0;

	/* Take what may be needed before it is used, so that no two vCPUs do. */
	if (!to_private &&
	    atomic64_add_return(npages, &kvm->gmem_convert.shared) >
	    READ_ONCE(kvm->gmem_convert.max_shared)) {
		atomic64_sub(npages, &kvm->gmem_convert.shared);
		return 0;
	}

	while (done < npages) {
		slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn + done);
		if (!slot || !kvm_memslot_is_gmem_only(slot))
			break;
		n = kvm_gmem_convert_in_slot(slot, gfn + done, npages - done,
					     to_private, &changed, &present);
		done += n;
		nr_changed += changed;
		if (gfn + done < slot->base_gfn + slot->npages)
			break;
	}

	atomic64_sub(to_private ? nr_changed : npages - nr_changed,
		     &kvm->gmem_convert.shared);
	if (done == 1 && npages == 1 && present)
		kvm_arch_gmem_map_converted(vcpu, gfn, to_private);
	return done;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_gmem_convert_for_guest);

/**
 * kvm_gmem_set_pending - mark what the VMM is about to be asked to convert
 * @vcpu: The vCPU that asks.
 * @gfn: First gfn.
 * @npages: Number of pages.
 *
 * From now on the guest sees neither the old nor the new kind of memory there: an
 * access by another vCPU is a KVM_EXIT_MEMORY_FAULT.  kvm_gmem_clear_pending()
 * ends it.  Ranges that are not all guest_memfd with attributes of its own are not
 * marked.  Where memory does not survive the loss of a private mapping, private mappings
 * stay until the VMM has decided: it may refuse.
 *
 * Context: The vCPU's task, kvm->srcu held.
 */
void kvm_gmem_set_pending(struct kvm_vcpu *vcpu, gfn_t gfn, unsigned long npages)
{
	/* The same ones in both loops, whatever the VMM does meanwhile. */
	struct kvm_memslots *slots = kvm_vcpu_memslots(vcpu);
	struct kvm *kvm = vcpu->kvm;
	struct kvm_memory_slot *slot;
	struct kvm_gfn_range range;
	gfn_t end = gfn + npages;
	bool flush = false;
	gfn_t next;
	int filter = KVM_FILTER_SHARED;

	if (kvm_arch_gmem_keeps_content(kvm))
		filter |= KVM_FILTER_PRIVATE;

	for (next = gfn; next < end; next = slot->base_gfn + slot->npages) {
		slot = __gfn_to_memslot(slots, next);
		if (!slot || !kvm_memslot_is_gmem_only(slot))
			return;
	}

	KVM_MMU_LOCK(kvm);
	kvm_mmu_invalidate_start(kvm);
	WRITE_ONCE(vcpu->gmem_pending.start, gfn);
	WRITE_ONCE(vcpu->gmem_pending.end, end);
	atomic_inc(&kvm->gmem_convert.nr_pending);

	for (next = gfn; next < end; next = range.end) {
		slot = __gfn_to_memslot(slots, next);
		range = (struct kvm_gfn_range) {
			.slot = slot,
			.start = next,
			.end = min(end, slot->base_gfn + slot->npages),
			.attr_filter = filter,
			.may_block = true,
		};
		flush |= kvm_mmu_unmap_gfn_range(kvm, &range);
	}
	if (flush)
		kvm_flush_remote_tlbs(kvm);
	/* A fault that does not see the mark yet retries, and then does. */
	kvm_mmu_invalidate_end(kvm);
	KVM_MMU_UNLOCK(kvm);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_gmem_set_pending);

/**
 * kvm_gmem_clear_pending - the VMM has done what it was asked for, or has not
 * @vcpu: The vCPU that asked, if it did.
 *
 * Context: The vCPU's task, or nobody else has it.
 */
void kvm_gmem_clear_pending(struct kvm_vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;

	if (!vcpu->gmem_pending.end)
		return;

	KVM_MMU_LOCK(kvm);
	WRITE_ONCE(vcpu->gmem_pending.start, 0);
	WRITE_ONCE(vcpu->gmem_pending.end, 0);
	atomic_dec(&kvm->gmem_convert.nr_pending);
	KVM_MMU_UNLOCK(kvm);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_gmem_clear_pending);

static bool kvm_gmem_find_pending(struct kvm *kvm, gfn_t gfn)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;

	kvm_for_each_vcpu(i, vcpu, kvm) {
		if (gfn >= READ_ONCE(vcpu->gmem_pending.start) &&
		    gfn < READ_ONCE(vcpu->gmem_pending.end))
			return true;
	}
	return false;
}

/*
 * Who misses a mark that is just being made is made to retry by the invalidation that
 * goes with it.  What looks like one may be the start of one range and the end of
 * another, and the VMM would be told of a fault that it cannot make sense of.
 */
bool __kvm_gmem_is_pending(struct kvm *kvm, gfn_t gfn)
{
	bool pending = kvm_gmem_find_pending(kvm, gfn);

	if (pending) {
		KVM_MMU_LOCK(kvm);
		pending = kvm_gmem_find_pending(kvm, gfn);
		KVM_MMU_UNLOCK(kvm);
	}
	return pending;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(__kvm_gmem_is_pending);
