// SPDX-License-Identifier: GPL-2.0
/*
 * KVM as owner and consumer of memory files (see include/linux/memfile.h).
 *
 * KVM_CREATE_GUEST_MEMFD makes a memory file that belongs to one VM.  The file
 * pins the VM, and not the other way round: private memory of some VM types can
 * only be taken back while the VM exists.
 *
 * Every memslot on the file is a consumer of its own, embedded in the slot.
 * It is registered when the slot is created, handed on when other flags make
 * it another slot, and unregistered when the slot is freed or the file is
 * closed, whichever comes first.  slot->gmem.file is set exactly while the file
 * is open.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/memfile.h>
#include <linux/overflow.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <kunit/static_stub.h>
#include <kunit/visibility.h>

#include "guest_memfd.h"
#include "kvm_mm.h"

static struct kvm_memory_slot *kvm_gmem_slot(struct memfile_consumer *consumer)
{
	return container_of(consumer, struct kvm_memory_slot, gmem.consumer);
}

static gfn_t kvm_gmem_gfn(const struct kvm_memory_slot *slot, pgoff_t index)
{
	return index - slot->gmem.pgoff + slot->base_gfn;
}

static void kvm_gmem_invalidate_start(struct memfile_consumer *consumer,
				      const struct memfile_invalidation *inv)
{
	struct kvm_memory_slot *slot = kvm_gmem_slot(consumer);
	struct kvm *kvm = consumer->domain;
	struct kvm_gfn_range range = {
		.slot = slot,
		.start = kvm_gmem_gfn(slot, inv->start),
		.end = kvm_gmem_gfn(slot, inv->end),
		.may_block = true,
	};

	/*
	 * As for mmu_notifiers, pfn caches come first: they look at no
	 * mmu_invalidate_in_progress.
	 */
	kvm_gpc_invalidate_begin(kvm);
	if (inv->states & MEMFILE_SHARED)
		gfn_to_pfn_cache_invalidate_gfn(kvm, range.start, range.end);
	kvm_gmem_flush_unmapped(kvm);

	if (inv->states & MEMFILE_SHARED)
		range.attr_filter |= KVM_FILTER_SHARED;
	if (inv->states & MEMFILE_PRIVATE)
		range.attr_filter |= KVM_FILTER_PRIVATE;

	KVM_MMU_LOCK(kvm);
	kvm_mmu_invalidate_start(kvm);
	if (kvm_mmu_unmap_gfn_range(kvm, &range))
		kvm_flush_remote_tlbs(kvm);
#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_INVALIDATE
	kvm_arch_gmem_invalidate_range(kvm, &range);
#endif
	KVM_MMU_UNLOCK(kvm);

	/* Slow where it does anything, so mmu_lock is not held. */
	kvm_arch_guest_memory_reclaimed(kvm);
}

static void kvm_gmem_invalidate_end(struct memfile_consumer *consumer,
				    const struct memfile_invalidation *inv)
{
	struct kvm *kvm = consumer->domain;

	KVM_MMU_LOCK(kvm);
#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_CONVERTED
	kvm_arch_gmem_converted(kvm, kvm_gmem_slot(consumer));
#endif
	kvm_mmu_invalidate_end(kvm);
	KVM_MMU_UNLOCK(kvm);

	kvm_gpc_invalidate_end(kvm);
}

#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_CONVERT
static int kvm_gmem_prepare(struct memfile_consumer *consumer, pgoff_t index,
			    unsigned long pfn, unsigned long nr)
{
	return kvm_arch_gmem_make_private(consumer->domain,
					  kvm_gmem_gfn(kvm_gmem_slot(consumer), index),
					  pfn, nr);
}
#endif

#ifdef CONFIG_MEMFILE_SANITIZER
static void kvm_gmem_violated(struct memfile_consumer *consumer)
{
	kvm_vm_dead(consumer->domain);
}
#endif

#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_CLAIMED
static pgoff_t kvm_gmem_claimed(struct memfile_consumer *consumer, pgoff_t start,
				pgoff_t end)
{
	struct kvm_memory_slot *slot = kvm_gmem_slot(consumer);

	return kvm_gmem_index(slot, kvm_arch_gmem_claimed(consumer->domain,
							  kvm_gmem_gfn(slot, start),
							  kvm_gmem_gfn(slot, end)));
}
#endif

/* Callbacks imply files, and files pin KVM: no need to pin it once more. */
static const struct memfile_consumer_ops kvm_gmem_consumer_ops = {
	.invalidate_start	= kvm_gmem_invalidate_start,
	.invalidate_end		= kvm_gmem_invalidate_end,
#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_CONVERT
	.prepare		= kvm_gmem_prepare,
#endif
#ifdef CONFIG_MEMFILE_SANITIZER
	.violated		= kvm_gmem_violated,
#endif
#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_CLAIMED
	.claimed		= kvm_gmem_claimed,
#endif
};

/* The VM's mappings of a slot go, but not the memory, which is the file's. */
static void kvm_gmem_zap_slot(struct kvm_memory_slot *slot)
{
	struct memfile_invalidation inv = {
		.start = slot->gmem.pgoff,
		.end = slot->gmem.pgoff + slot->npages,
		.states = MEMFILE_SHARED | MEMFILE_PRIVATE,
	};

	kvm_gmem_invalidate_start(&slot->gmem.consumer, &inv);
	kvm_gmem_invalidate_end(&slot->gmem.consumer, &inv);
}

/*
 * The last reference to the file is gone, so kvm_gmem_get_file() fails from now
 * on.  A fault that was served before may not be installed yet; the zap makes
 * it retry.
 *
 * slots_lock keeps the slots: one that is just being freed is unbound either
 * here or by kvm_gmem_unbind().
 */
static void kvm_gmem_release(struct file *file)
{
	struct kvm *kvm = file->private_data;
	struct kvm_memory_slot *slot;
	int as_id, bkt;

	mutex_lock(&kvm->slots_lock);
	for (as_id = 0; as_id < kvm_arch_nr_memslot_as_ids(kvm); as_id++) {
		kvm_for_each_memslot(slot, bkt, __kvm_memslots(kvm, as_id)) {
			if (slot->gmem.file != file)
				continue;
			kvm_gmem_zap_slot(slot);
			kvm_gmem_unbind(slot);
		}
	}
	mutex_unlock(&kvm->slots_lock);

	kvm_put_kvm(kvm);
}

#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_HIDE
static void kvm_gmem_hide(unsigned long pfn, unsigned long nr)
{
	kvm_arch_gmem_hide(pfn, nr);
}
#endif

#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_RECLAIM
VISIBLE_IF_KUNIT int kvm_gmem_reclaim(unsigned long pfn, unsigned long nr)
{
	KUNIT_STATIC_STUB_REDIRECT(kvm_gmem_reclaim, pfn, nr);

	return kvm_arch_gmem_reclaim(pfn, nr);
}
EXPORT_SYMBOL_IF_KUNIT(kvm_gmem_reclaim);
#endif

/*
 * The attributes that offsets of a guest_memfd can be given; of a NULL kvm,
 * those that some kind of VM can.
 */
u64 __weak kvm_arch_gmem_attributes(struct kvm *kvm)
{
	return 0;
}

/* Whether hardware or a hypervisor guards private pages, and has to give them back. */
bool __weak kvm_arch_gmem_is_guarded(struct kvm *kvm)
{
	return false;
}

/* Whether memory that stops being private is readable, or as good as lost. */
bool __weak kvm_arch_gmem_keeps_content(struct kvm *kvm)
{
	return true;
}

/*
 * Whether the hypervisor itself uses the direct map for guest memory; of a NULL
 * kvm, whether it does for every kind of VM.
 */
bool __weak kvm_arch_gmem_needs_direct_map(struct kvm *kvm)
{
	return false;
}

/* Whether mappings can be write-protected, whatever a page is converted to. */
bool __weak kvm_arch_gmem_can_log_dirty(struct kvm *kvm)
{
	return true;
}

static unsigned int kvm_gmem_file_flags(struct kvm *kvm, u64 flags)
{
	unsigned int file_flags = 0;

	if (flags & GUEST_MEMFD_FLAG_MMAP)
		file_flags |= MEMFILE_MMAP;
	if (flags & GUEST_MEMFD_FLAG_INIT_SHARED)
		file_flags |= MEMFILE_INIT_SHARED;
	if (flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP)
		file_flags |= MEMFILE_NO_DIRECT_MAP;
	if (flags & GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP)
		file_flags |= MEMFILE_PRIVATE_NO_DIRECT_MAP;
	if (kvm_arch_gmem_needs_direct_map(kvm))
		file_flags |= MEMFILE_NEED_DIRECT_MAP;
	if (!kvm || kvm_arch_gmem_keeps_content(kvm))
		file_flags |= MEMFILE_KEEP_CONTENT;
	return file_flags;
}

/* What KVM_CREATE_GUEST_MEMFD takes; of a NULL kvm, what some kind of VM does. */
u64 kvm_gmem_get_supported_flags(struct kvm *kvm)
{
	static const u64 absent[] = {
		GUEST_MEMFD_FLAG_NO_DIRECT_MAP,
		GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP,
	};
	u64 flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	int i;

	for (i = 0; i < ARRAY_SIZE(absent); i++) {
		if (memfile_absent_states(kvm_gmem_file_flags(kvm, absent[i])) > 0)
			flags |= absent[i];
	}
	return flags;
}

/* What a file is given that is created without any of these flags. */
u64 kvm_gmem_direct_map_policy(struct kvm *kvm)
{
	return memfile_absent_states(kvm_gmem_file_flags(kvm, 0)) ?
	       GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP : 0;
}

/*
 * Whether the file says what is private, or the VM's attributes do.  Fixed when
 * the file is created, so that no range has two truths.
 *
 * A file that is private to begin with, and has no mappings, is what there was
 * when there were the VM's attributes only.
 */
bool kvm_gmem_has_attributes(struct file *file)
{
	struct kvm *kvm = file->private_data;

	if (!kvm_arch_gmem_attributes(kvm))
		return false;
	return !kvm_arch_has_private_mem(kvm) ||
	       memfile_flags(file) & (MEMFILE_MMAP | MEMFILE_INIT_SHARED);
}

/* What is the same for both calls; the range comes out in page offsets. */
static int kvm_gmem_check_attributes(struct file *file,
				     const struct kvm_memory_attributes2 *attrs,
				     pgoff_t *start, pgoff_t *end)
{
	u64 last;

	if (!kvm_gmem_has_attributes(file))
		return -EOPNOTSUPP;
	if (attrs->flags || memchr_inv(attrs->reserved, 0, sizeof(attrs->reserved)))
		return -EINVAL;
	if (!attrs->size || !PAGE_ALIGNED(attrs->offset) || !PAGE_ALIGNED(attrs->size) ||
	    check_add_overflow(attrs->offset, attrs->size, &last) ||
	    last > i_size_read(file_inode(file)))
		return -EINVAL;

	*start = attrs->offset >> PAGE_SHIFT;
	*end = last >> PAGE_SHIFT;
	return 0;
}

static int kvm_gmem_set_attributes(struct file *file,
				   struct kvm_memory_attributes2 __user *argp)
{
	struct kvm_memory_attributes2 attrs;
	pgoff_t start, end, where;
	int r;

	if (copy_from_user(&attrs, argp, sizeof(attrs)))
		return -EFAULT;

	r = kvm_gmem_check_attributes(file, &attrs, &start, &end);
	if (r)
		return r;
	if (attrs.attributes & ~kvm_arch_gmem_attributes(file->private_data))
		return -EINVAL;
	/* Better no conversion than one that cannot say how far it came. */
	if (put_user(0, &argp->error_offset))
		return -EFAULT;

	r = memfile_convert(file, start, end,
			    attrs.attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE ?
			    MEMFILE_PRIVATE : MEMFILE_SHARED, &where);
	if (r && put_user((u64)where << PAGE_SHIFT, &argp->error_offset))
		return -EFAULT;
	return r;
}

static int kvm_gmem_get_attributes(struct file *file,
				   struct kvm_memory_attributes2 __user *argp)
{
	struct kvm_memory_attributes2 attrs;
	enum memfile_state state;
	pgoff_t start, end;
	int r;

	if (copy_from_user(&attrs, argp, sizeof(attrs)))
		return -EFAULT;

	r = kvm_gmem_check_attributes(file, &attrs, &start, &end);
	if (r)
		return r;

	end = memfile_query(file, start, end, &state);
	attrs.size = (u64)(end - start) << PAGE_SHIFT;
	attrs.attributes = state == MEMFILE_PRIVATE ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0;
	return copy_to_user(argp, &attrs, sizeof(attrs)) ? -EFAULT : 0;
}

static long kvm_gmem_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case KVM_SET_MEMORY_ATTRIBUTES2:
		return kvm_gmem_set_attributes(file, (void __user *)arg);
	case KVM_GET_MEMORY_ATTRIBUTES2:
		return kvm_gmem_get_attributes(file, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

/* Nothing but KVM tells private pages from others: there is nobody to take them from. */
static struct memfile_owner_ops kvm_gmem_owner_ops = {
	.release	= kvm_gmem_release,
	.ioctl		= kvm_gmem_ioctl,
};

static struct memfile_owner_ops kvm_gmem_guarded_ops = {
	.release	= kvm_gmem_release,
	.ioctl		= kvm_gmem_ioctl,
#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_HIDE
	.hide		= kvm_gmem_hide,
#endif
#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_RECLAIM
	.reclaim	= kvm_gmem_reclaim,
#endif
};

static const struct memfile_owner_ops *kvm_gmem_ops(struct kvm *kvm)
{
	return kvm_arch_gmem_is_guarded(kvm) ? &kvm_gmem_guarded_ops : &kvm_gmem_owner_ops;
}

void kvm_gmem_init(struct module *module)
{
	kvm_gmem_owner_ops.owner = module;
	kvm_gmem_guarded_ops.owner = module;
}

int kvm_gmem_create(struct kvm *kvm, struct kvm_create_guest_memfd *args)
{
	unsigned int flags;
	struct file *file;
	int fd;

	if (args->flags & ~kvm_gmem_get_supported_flags(kvm))
		return -EINVAL;
	flags = kvm_gmem_file_flags(kvm, args->flags);

	file = memfile_create("[kvm-gmem]", args->size, flags,
			      kvm_gmem_ops(kvm), kvm);
	if (IS_ERR(file))
		return PTR_ERR(file);
	/* Put by kvm_gmem_release(). */
	kvm_get_kvm(kvm);

	/* What is wrong with the arguments is not to depend on the table of files. */
	fd = get_unused_fd_flags(0);
	if (fd < 0)
		fput(file);
	else
		fd_install(fd, file);
	return fd;
}

/*
 * What the guest writes is worth logging if userspace can read it: all of a
 * slot that is its file's only, unless the VM has private memory in the range.
 * Pages that become private later are logged like the others, so that there is
 * no order of the two calls that works and one that does not.
 */
static int kvm_gmem_check_dirty_log(struct kvm *kvm, const struct kvm_memory_slot *slot)
{
	pgoff_t start = slot->gmem.pgoff, end = start + slot->npages;
	enum memfile_state state;

	if (!kvm_slot_dirty_track_enabled(slot))
		return 0;
	if (!kvm_memslot_is_gmem_only(slot) || !kvm_arch_gmem_can_log_dirty(kvm))
		return -EINVAL;
	if (kvm_arch_has_private_mem(kvm) &&
	    (memfile_query(slot->gmem.file, start, end, &state) != end ||
	     state != MEMFILE_SHARED))
		return -EINVAL;
	return 0;
}

/*
 * On success the caller has a reference to slot->gmem.file, to be dropped when
 * the slot is bound, or not going to be.
 */
int kvm_gmem_prepare_memory_region(struct kvm *kvm, struct kvm_memory_slot *slot,
				   unsigned int fd, uoff_t offset)
{
	uoff_t size = (uoff_t)slot->npages << PAGE_SHIFT;
	struct file *file;
	uoff_t end;
	int r;

	if (WARN_ON_ONCE(slot->flags & KVM_MEMSLOT_GMEM_ONLY))
		return -EINVAL;

	file = fget(fd);
	if (!file)
		return -EBADF;

	if (memfile_owner_data(file, kvm_gmem_ops(kvm)) != kvm ||
	    !PAGE_ALIGNED(offset) || check_add_overflow(offset, size, &end) ||
	    end > i_size_read(file_inode(file))) {
		fput(file);
		return -EINVAL;
	}

	/* Memory that the host can map serves the slot's shared accesses, too. */
	if (memfile_flags(file) & MEMFILE_MMAP || kvm_gmem_has_attributes(file))
		slot->flags |= KVM_MEMSLOT_GMEM_ONLY;

#ifdef CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES
	if (kvm_gmem_has_attributes(file) &&
	    !kvm_range_has_memory_attributes(kvm, slot->base_gfn,
					     slot->base_gfn + slot->npages, ~0, 0)) {
		fput(file);
		return -EINVAL;
	}
#endif

	slot->gmem.file = file;
	slot->gmem.pgoff = offset >> PAGE_SHIFT;

	r = kvm_gmem_check_dirty_log(kvm, slot);
	if (r)
		fput(file);
	return r;
}

int kvm_gmem_commit_memory_region(struct kvm *kvm, struct kvm_memory_slot *slot)
{
	slot->gmem.consumer.ops = &kvm_gmem_consumer_ops;
	slot->gmem.consumer.domain = kvm;

	return memfile_register(slot->gmem.file, &slot->gmem.consumer,
				slot->gmem.pgoff, slot->npages);
}

/* Whether it is this range of this file that the slot has had from the start. */
bool kvm_gmem_is_bound(const struct kvm_memory_slot *slot, unsigned int fd, uoff_t offset)
{
	struct file *file __free(fput) = fget(fd);

	return file && file == slot->gmem.file &&
	       offset == (uoff_t)slot->gmem.pgoff << PAGE_SHIFT;
}

/*
 * @new is going to be @old with other flags.  Needs no reference to the file:
 * kvm_gmem_release() waits for slots_lock, and will find @new.
 */
int kvm_gmem_prepare_flags(struct kvm *kvm, const struct kvm_memory_slot *old,
			   struct kvm_memory_slot *new)
{
	new->flags |= old->flags & KVM_MEMSLOT_GMEM_ONLY;
	new->gmem.file = old->gmem.file;
	new->gmem.pgoff = old->gmem.pgoff;
	new->gmem.consumer.ops = old->gmem.consumer.ops;
	new->gmem.consumer.domain = old->gmem.consumer.domain;

	return kvm_gmem_check_dirty_log(kvm, new);
}

/*
 * Before @new is visible to anybody, so that whoever sees it finds its consumer
 * registered.  vCPUs that still see @old get pages through that.
 */
void kvm_gmem_commit_flags(struct kvm_memory_slot *old, struct kvm_memory_slot *new)
{
	memfile_transfer(&old->gmem.consumer, &new->gmem.consumer);
}

/*
 * @invalid takes the place of @slot while that is deleted.  No page can be had by it, but
 * it says what is private as @slot does: an access that is a private one for as long
 * as that takes, and a shared one before and after, would be a fault that the VMM hears
 * of.  Until @invalid is freed slots_lock keeps kvm_gmem_release(), and so the inode.
 */
void kvm_gmem_invalidate_slot(const struct kvm_memory_slot *slot,
			      struct kvm_memory_slot *invalid)
{
	invalid->gmem.pgoff = slot->gmem.pgoff;
	invalid->gmem.consumer.inode = slot->gmem.consumer.inode;
}

void kvm_gmem_unbind(struct kvm_memory_slot *slot)
{
	struct kvm *kvm = slot->gmem.consumer.domain;

	/* Closed already?  Then it was kvm_gmem_release() that did the rest. */
	if (!slot->gmem.file)
		return;

	/*
	 * Caches of a slot that is gone are never valid, but may still have its
	 * pages mapped, of which nobody tells KVM any more.
	 */
	kvm_gpc_invalidate_begin(kvm);
	gfn_to_pfn_cache_invalidate_gfn(kvm, slot->base_gfn,
					slot->base_gfn + slot->npages);
	kvm_gmem_flush_unmapped(kvm);
	kvm_gpc_invalidate_end(kvm);

	memfile_unregister(&slot->gmem.consumer);
	WRITE_ONCE(slot->gmem.file, NULL);
}

/*
 * Get a reference to the slot's file, or NULL if it is closed.  As long as
 * there is a reference, the slot's consumer is registered: kvm_gmem_release()
 * waits for the reference, and whoever frees the slot for kvm->srcu.
 */
struct file *kvm_gmem_get_file(struct kvm_memory_slot *slot)
{
	return get_file_active(&slot->gmem.file);
}

/*
 * Whether a gfn is private.  For a slot without memory of another kind: its file
 * says so.
 */
bool kvm_gmem_is_private(const struct kvm_memory_slot *slot, gfn_t gfn)
{
	return memfile_state(&slot->gmem.consumer,
			     kvm_gmem_index(slot, gfn)) == MEMFILE_PRIVATE;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_gmem_is_private);

/**
 * kvm_gmem_get_pfn - get the page of a slot's memory file for a gfn
 * @kvm: The VM.
 * @slot: A slot that has a memory file.
 * @gfn: In the slot.
 * @pfn: Where to put the page frame number.
 * @page: Where to put the page, pinned, for unpin_user_page(); or NULL, if the
 *	caller looks at mmu_invalidate_retry_gfn() before it uses @pfn.
 * @max_order: Where to put the largest order the page can be mapped at, or NULL.
 *
 * A pinned page is in the way of those who convert memory between shared and
 * private.  A fault must not be.
 *
 * Context: kvm->srcu or slots_lock held.  May sleep.  Takes the file's
 *	invalidate_lock (shared).
 * Return: 0, or, with nothing stored:
 *
 * * -EFAULT - the file is closed
 * * any error of memfile_get_pfn() or kvm_arch_gmem_make_private()
 */
int kvm_gmem_get_pfn(struct kvm *kvm, struct kvm_memory_slot *slot,
		     gfn_t gfn, kvm_pfn_t *pfn, struct page **page,
		     int *max_order)
{
	struct file *file __free(fput) = kvm_gmem_get_file(slot);
	pgoff_t index = kvm_gmem_index(slot, gfn);
	struct memfile_pfn mp;
	int r;

	if (!file)
		return -EFAULT;

	if (page)
		r = memfile_get_pfn(&slot->gmem.consumer, index, &mp);
	else
		r = memfile_lookup_pfn(&slot->gmem.consumer, index, &mp);
	if (r)
		return r;

	*pfn = mp.pfn;
	if (page)
		*page = mp.page;
	if (max_order)
		*max_order = mp.order;
	return 0;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_gmem_get_pfn);

#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_POPULATE
struct kvm_gmem_fill {
	struct kvm *kvm;
	gfn_t gfn;
	struct page *src_page;
	kvm_gmem_populate_cb post_populate;
	void *opaque;
};

static int kvm_gmem_fill(unsigned long pfn, void *arg)
{
	struct kvm_gmem_fill *fill = arg;

	return fill->post_populate(fill->kvm, fill->gfn, pfn, fill->src_page,
				   fill->opaque);
}

static int kvm_gmem_populate_page(struct kvm_memory_slot *slot,
				  struct kvm_gmem_fill *fill, void __user *src,
				  bool may_writeback_src)
{
	int r;

	if (!kvm_mem_is_private(fill->kvm, fill->gfn))
		return -EINVAL;

	/* Before invalidate_lock is taken: the source may be a memory file. */
	fill->src_page = NULL;
	if (src) {
		r = get_user_pages_fast((unsigned long)src, 1,
					may_writeback_src ? FOLL_WRITE : 0,
					&fill->src_page);
		if (r != 1)
			return r < 0 ? r : -ENOMEM;
	}

	r = memfile_populate(&slot->gmem.consumer, kvm_gmem_index(slot, fill->gfn),
			     kvm_gmem_fill, fill);
	if (fill->src_page)
		put_page(fill->src_page);
	return r;
}

long kvm_gmem_populate(struct kvm *kvm, gfn_t start_gfn, void __user *src,
		       long npages, bool may_writeback_src,
		       kvm_gmem_populate_cb post_populate, void *opaque)
{
	struct kvm_gmem_fill fill = {
		.kvm = kvm,
		.post_populate = post_populate,
		.opaque = opaque,
	};
	struct kvm_memory_slot *slot;
	int r = 0;
	long i;

	lockdep_assert_held(&kvm->slots_lock);

	if (WARN_ON_ONCE(npages <= 0) || WARN_ON_ONCE(!PAGE_ALIGNED(src)))
		return -EINVAL;

	slot = gfn_to_memslot(kvm, start_gfn);
	if (!kvm_slot_has_gmem(slot))
		return -EINVAL;

	struct file *file __free(fput) = kvm_gmem_get_file(slot);
	if (!file)
		return -EFAULT;

	npages = min_t(unsigned long, npages,
		       slot->base_gfn + slot->npages - start_gfn);
	for (i = 0; i < npages; i++) {
		if (signal_pending(current)) {
			r = -EINTR;
			break;
		}

		fill.gfn = start_gfn + i;
		r = kvm_gmem_populate_page(slot, &fill,
					   src ? src + i * PAGE_SIZE : NULL,
					   may_writeback_src);
		if (r)
			break;
	}

	return i ?: r;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_gmem_populate);
#endif
