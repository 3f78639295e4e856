// SPDX-License-Identifier: GPL-2.0
/*
 * A guest on a memory file: the file is a real one, so that what confidential VMs add
 * to it is called from where it is called in a running kernel, under the same locks and
 * in the same order.  KVM's generic part, which needs hardware, is replaced.
 */
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/set_memory.h>

#include "gmem.h"

static struct gmem_file *to_gmem(struct memfile_consumer *consumer)
{
	return container_of(consumer, struct gmem_file, slot.gmem.consumer);
}

/**
 * gmem_unmap - take mappings away from the guest
 * @gf: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 * @states: Set of enum memfile_state bits: mappings of pages in these states.
 */
void gmem_unmap(struct gmem_file *gf, pgoff_t start, pgoff_t end, unsigned int states)
{
	struct gmem_mapping *map;
	pgoff_t index;

	if (model_leaves_out(gf->model, MODEL_STEP_ZAP))
		return;
	for (index = start; index < end; index++) {
		map = &gf->guest[index];
		if (!(map->state & states))
			continue;
		if (gf->vm->unmap)
			gf->vm->unmap(gf, index);
		map->in_tlb = map->state & gf->vm->in_tlb;
		map->state = 0;
	}

	if (model_leaves_out(gf->model, MODEL_STEP_FLUSH_TLB))
		return;
	for (index = start; index < end; index++)
		gf->guest[index].in_tlb = false;
}

/* As kvm_gmem_invalidate_start(). */
static void gmem_invalidate_start(struct memfile_consumer *consumer,
				  const struct memfile_invalidation *inv)
{
	struct gmem_file *gf = to_gmem(consumer);
	struct kvm_gfn_range range = {
		.slot = &gf->slot,
		.start = gmem_gfn(gf, inv->start),
		.end = gmem_gfn(gf, inv->end),
		.may_block = true,
	};

	gmem_unmap(gf, inv->start, inv->end, inv->states);
	if (!gf->vm->invalidate_range ||
	    model_leaves_out(gf->model, MODEL_STEP_INVALIDATE_RANGE))
		return;
	write_lock(&gf->kvm->mmu_lock);
	gf->vm->invalidate_range(gf->kvm, &range);
	write_unlock(&gf->kvm->mmu_lock);
}

static void gmem_invalidate_end(struct memfile_consumer *consumer,
				const struct memfile_invalidation *inv)
{
}

static int gmem_prepare(struct memfile_consumer *consumer, pgoff_t index,
			unsigned long pfn, unsigned long nr)
{
	struct gmem_file *gf = to_gmem(consumer);

	if (model_leaves_out(gf->model, MODEL_STEP_MAKE_PRIVATE))
		return 0;
	return gf->vm->make_private(gf, index, pfn, nr);
}

/* What is taken back is the host's, who writes to it: see memfile_take_back_folio(). */
static int gmem_reclaim(unsigned long pfn, unsigned long nr)
{
	struct model *model = current_model();
	struct gmem_file *gf = model->gf;
	unsigned long i;
	int err;

	for (i = 0; i < nr; i++) {
		if (gmem_maps(gf, pfn + i))
			model_broken(model, "%#lx is taken back, and the guest has it mapped",
				     pfn + i);
	}
	if (!model_leaves_out(model, MODEL_STEP_MAKE_SHARED)) {
		err = gf->vm->make_shared(pfn, nr);
		if (err)
			return err;
	}
	for (i = 0; i < nr; i++)
		gf->vm->access(model, pfn + i);
	return 0;
}

static void gmem_hide(unsigned long pfn, unsigned long nr)
{
	struct model *model = current_model();

	if (!model_leaves_out(model, MODEL_STEP_HIDE))
		model->gf->vm->hide(pfn, nr);
}

static const struct memfile_consumer_ops gmem_consumer_ops = {
	.owner			= THIS_MODULE,
	.invalidate_start	= gmem_invalidate_start,
	.invalidate_end		= gmem_invalidate_end,
	.prepare		= gmem_prepare,
};

/* As kvm_gmem_release(): the guest loses its mappings, and then the pages go. */
static void gmem_release(struct file *file)
{
	struct gmem_file *gf = file->private_data;

	gmem_unmap(gf, 0, gf->nr, MEMFILE_SHARED | MEMFILE_PRIVATE);
	memfile_unregister(&gf->slot.gmem.consumer);
	WRITE_ONCE(gf->slot.gmem.file, NULL);
}

/**
 * gmem_close - close the file
 * @gf: The file.
 */
void gmem_close(struct gmem_file *gf)
{
	struct file *file = gf->file;

	gf->file = NULL;
	if (file)
		__fput_sync(file);
}

static void gmem_close_action(void *gf)
{
	gmem_close(gf);
}

static void gmem_cleanup_srcu(void *kvm)
{
	cleanup_srcu_struct(&((struct kvm *)kvm)->srcu);
}

/**
 * gmem_create - create a memory file that a guest uses, until the test ends
 * @test: The test.
 * @vm: The VM type's part.
 * @kvm: The VM, all zero but for what the VM type needs.
 * @nr: Size of the file, in pages.
 * @flags: As for memfile_create().
 *
 * Return: The file.  On failure the test ends.
 */
struct gmem_file *gmem_create(struct kunit *test, struct gmem_vm *vm, struct kvm *kvm,
			      unsigned long nr, unsigned int flags)
{
	struct gmem_file *gf = kunit_kzalloc(test, sizeof(*gf), GFP_KERNEL);
	struct file *file;

	KUNIT_ASSERT_NOT_NULL(test, gf);
	gf->test = test;
	gf->model = test->priv;
	gf->model->gf = gf;
	gf->vm = vm;
	gf->kvm = kvm;
	gf->nr = nr;
	gf->absent = flags & MEMFILE_PRIVATE_NO_DIRECT_MAP ? MEMFILE_PRIVATE : 0;
	gf->guest = kunit_kcalloc(test, nr, sizeof(*gf->guest), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, gf->guest);

	/* What kvm_create_vm() and kvm_set_memory_region() do, as far as it is needed. */
	rwlock_init(&kvm->mmu_lock);
	mutex_init(&kvm->slots_lock);
	xa_init(&kvm->vcpu_array);
	INIT_LIST_HEAD(&kvm->arch.tdp_mmu_roots);
	KUNIT_ASSERT_EQ(test, 0, init_srcu_struct(&kvm->srcu));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, gmem_cleanup_srcu, kvm));
	kvm->arch.has_private_mem = true;
	/* Failures are on purpose, and need no warning. */
	kvm->vm_bugged = true;
	gf->slot.base_gfn = GMEM_GFN;
	gf->slot.npages = nr;
	gf->slot.flags = KVM_MEM_GUEST_MEMFD | KVM_MEMSLOT_GMEM_ONLY;
	gf->slot.gmem.consumer.ops = &gmem_consumer_ops;
	gf->slot.gmem.consumer.domain = kvm;
	atomic_long_set(&kvm->__memslots[0][0].last_used_slot, (unsigned long)&gf->slot);
	rcu_assign_pointer(kvm->memslots[0], &kvm->__memslots[0][0]);

	vm->owner.owner = THIS_MODULE;
	vm->owner.release = gmem_release;
	vm->owner.reclaim = gmem_reclaim;
	vm->owner.hide = vm->hide ? gmem_hide : NULL;
	file = memfile_create("gmem", (loff_t)nr << PAGE_SHIFT, flags, &vm->owner, gf);
	if (file == ERR_PTR(-EOPNOTSUPP))
		kunit_skip(test, "this machine cannot change its direct map");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_ASSERT_EQ(test, 0, memfile_register(file, &gf->slot.gmem.consumer, 0, nr));
	gf->file = file;
	gf->slot.gmem.file = file;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, gmem_close_action, gf));
	return gf;
}

/**
 * gmem_fault - the guest touches an offset
 * @gf: The file.
 * @index: Page offset.
 *
 * Return: 0, or the error of the lookup, or that of ->map.
 */
int gmem_fault(struct gmem_file *gf, pgoff_t index)
{
	struct memfile_pfn mp;
	int err;

	err = memfile_lookup_pfn(&gf->slot.gmem.consumer, index, &mp);
	if (err || gf->guest[index].state)
		return err;

	err = gf->vm->map ? gf->vm->map(gf, index, &mp) : 0;
	/* In shared memory the guest does what the host does. */
	if (!err && mp.state == MEMFILE_SHARED)
		gf->vm->access(gf->model, mp.pfn);
	if (!err)
		gf->guest[index] = (struct gmem_mapping) {
			.pfn = mp.pfn,
			.state = mp.state,
		};
	return err;
}

/**
 * gmem_touch - the guest touches a range, which has to succeed
 * @gf: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 */
void gmem_touch(struct gmem_file *gf, pgoff_t start, pgoff_t end)
{
	pgoff_t index;

	for (index = start; index < end; index++)
		KUNIT_EXPECT_EQ(gf->test, 0, gmem_fault(gf, index));
}

/**
 * gmem_convert - convert a range
 * @gf: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 * @to: The new state.
 *
 * Return: As memfile_convert().
 */
int gmem_convert(struct gmem_file *gf, pgoff_t start, pgoff_t end, enum memfile_state to)
{
	pgoff_t where;

	return memfile_convert(gf->file, start, end, to, &where);
}

/**
 * gmem_allocate - allocate the pages of a range, without a guest that touches them
 * @gf: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 *
 * Return: As fallocate().
 */
int gmem_allocate(struct gmem_file *gf, pgoff_t start, pgoff_t end)
{
	return vfs_fallocate(gf->file, FALLOC_FL_KEEP_SIZE, (loff_t)start << PAGE_SHIFT,
			     (loff_t)(end - start) << PAGE_SHIFT);
}

/**
 * gmem_punch - punch a hole
 * @gf: The file.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 *
 * Return: As fallocate().
 */
int gmem_punch(struct gmem_file *gf, pgoff_t start, pgoff_t end)
{
	return vfs_fallocate(gf->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     (loff_t)start << PAGE_SHIFT,
			     (loff_t)(end - start) << PAGE_SHIFT);
}

/**
 * gmem_state - the state of an offset
 * @gf: The file.
 * @index: Page offset.
 *
 * Return: The state.
 */
enum memfile_state gmem_state(struct gmem_file *gf, pgoff_t index)
{
	return memfile_state(&gf->slot.gmem.consumer, index);
}

/**
 * gmem_page - the page at an offset
 * @gf: The file.
 * @index: Page offset.
 *
 * Return: The page, without a reference; NULL if there is none.
 */
struct page *gmem_page(struct gmem_file *gf, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(gf->file->f_mapping, index);

	if (IS_ERR(folio))
		return NULL;
	folio_put(folio);
	return folio_file_page(folio, index);
}

/**
 * gmem_pfn - the page at an offset, which has to be there
 * @gf: The file.
 * @index: Page offset.
 *
 * Return: The page.  If there is none the test ends.
 */
unsigned long gmem_pfn(struct gmem_file *gf, pgoff_t index)
{
	struct page *page = gmem_page(gf, index);

	KUNIT_ASSERT_NOT_NULL_MSG(gf->test, page, "page at %#lx", index);
	return page_to_pfn(page);
}

/**
 * gmem_has - is a page in the file?
 * @gf: The file.
 * @pfn: The page.
 *
 * Return: Whether it is.
 */
bool gmem_has(struct gmem_file *gf, unsigned long pfn)
{
	return gf->file && page_folio(pfn_to_page(pfn))->mapping == gf->file->f_mapping;
}

/**
 * gmem_maps - has the guest mapped a page, or may it use it as if it had?
 * @gf: The file.
 * @pfn: The page.
 *
 * Return: Whether it has.
 */
bool gmem_maps(struct gmem_file *gf, unsigned long pfn)
{
	pgoff_t index;

	for (index = 0; index < gf->nr; index++) {
		const struct gmem_mapping *map = &gf->guest[index];

		if ((map->state || map->in_tlb) && map->pfn == pfn)
			return true;
	}
	return false;
}

/**
 * gmem_write - the host writes to a shared page, as it would to any memory of its own
 * @gf: The file.
 * @index: Page offset; if there is no page the test ends.
 * @byte: What to fill the page with.
 */
void gmem_write(struct gmem_file *gf, pgoff_t index, u8 byte)
{
	unsigned long pfn = gmem_pfn(gf, index);

	gf->vm->access(gf->model, pfn);
	memset(pfn_to_kaddr(pfn), byte, PAGE_SIZE);
}

/**
 * gmem_source - a page of the VMM's that the guest's memory is to begin with
 * @test: The test.
 * @byte: What it is full of.
 *
 * Return: The page; it lives as long as the test.
 */
struct page *gmem_source(struct kunit *test, u8 byte)
{
	void *source = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, source);
	memset(source, byte, PAGE_SIZE);
	return virt_to_page(source);
}

/**
 * gmem_user_pages - memory of a VMM, for what it gives to ioctls
 * @test: The test.
 * @nr: Number of pages.
 *
 * Return: Its address; it lives as long as the test.
 */
void __user *gmem_user_pages(struct kunit *test, unsigned long nr)
{
	unsigned long addr = kunit_vm_mmap(test, NULL, 0, nr * PAGE_SIZE,
					   PROT_READ | PROT_WRITE,
					   MAP_ANONYMOUS | MAP_PRIVATE, 0);

	KUNIT_ASSERT_NE(test, 0, addr);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	return (void __user *)addr;
}

/**
 * gmem_random_op - something happens to a range of the file
 * @gf: The file.
 * @rnd: What it is, and where.
 *
 * It may fail.
 */
void gmem_random_op(struct gmem_file *gf, struct rnd_state *rnd)
{
	pgoff_t start = prandom_u32_state(rnd) % gf->nr;
	pgoff_t end = min(gf->nr, start + 1 + prandom_u32_state(rnd) % 16);

	switch (prandom_u32_state(rnd) % 8) {
	case 0:
		gmem_convert(gf, start, end, MEMFILE_SHARED);
		break;
	case 1:
		gmem_convert(gf, start, end, MEMFILE_PRIVATE);
		break;
	case 2:
		gmem_punch(gf, start, end);
		break;
	case 3:
		/* As if the slot was deleted. */
		gmem_unmap(gf, start, end, MEMFILE_PRIVATE | MEMFILE_SHARED);
		break;
	case 4:
		for (; start < end; start++) {
			if (gmem_state(gf, start) == MEMFILE_SHARED && gmem_page(gf, start))
				gmem_write(gf, start, 0x5a);
		}
		break;
	default:
		for (; start < end; start++)
			gmem_fault(gf, start);
	}
}

/**
 * gmem_check - is all of the file as it has to be?
 * @gf: The file.
 */
void gmem_check(struct gmem_file *gf)
{
	struct kunit *test = gf->test;
	pgoff_t index;

	for (index = 0; index < gf->nr; index++) {
		enum memfile_state state = gmem_state(gf, index);
		struct page *page = gmem_page(gf, index);
		struct gmem_mapping *map = &gf->guest[index];

		if (map->state) {
			KUNIT_EXPECT_EQ_MSG(test, map->state, state, "mapping of %#lx", index);
			KUNIT_EXPECT_PTR_EQ_MSG(test, pfn_to_page(map->pfn), page,
						"mapping of %#lx", index);
		}
		if (!page)
			continue;
		KUNIT_EXPECT_EQ_MSG(test, kernel_page_present(page), !(state & gf->absent),
				    "page at %#lx", index);
		gf->vm->check(gf, index, state, page);
	}
}
