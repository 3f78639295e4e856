// SPDX-License-Identifier: GPL-2.0
/*
 * A guest on a memory file: the file is a real one, so that what confidential VMs add
 * to it is called from where it is called in a running kernel, under the same locks and
 * in the same order.  KVM's generic part, which needs hardware, is replaced.
 */
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/pagemap.h>
#include <linux/set_memory.h>

#include "gmem.h"

static struct gmem_file *to_gmem(struct memfile_consumer *consumer)
{
	return container_of(consumer, struct gmem_file, consumer);
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
	pgoff_t index;

	for (index = start; index < end; index++) {
		if (!(gf->guest[index].state & states))
			continue;
		if (gf->vm->unmap)
			gf->vm->unmap(gf, index);
		gf->guest[index].state = 0;
	}
}

static void gmem_invalidate_start(struct memfile_consumer *consumer,
				  const struct memfile_invalidation *inv)
{
	gmem_unmap(to_gmem(consumer), inv->start, inv->end, inv->states);
}

static void gmem_invalidate_end(struct memfile_consumer *consumer,
				const struct memfile_invalidation *inv)
{
}

static int gmem_prepare(struct memfile_consumer *consumer, pgoff_t index,
			unsigned long pfn, unsigned long nr)
{
	struct gmem_file *gf = to_gmem(consumer);

	return gf->vm->prepare ? gf->vm->prepare(gf, index, pfn, nr) : 0;
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
	memfile_unregister(&gf->consumer);
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

/**
 * gmem_create - create a memory file that a guest uses, until the test ends
 * @test: The test.
 * @vm: The VM type's part.
 * @priv: The VM type's data.
 * @nr: Size of the file, in pages.
 * @flags: As for memfile_create().
 *
 * Return: The file.  On failure the test ends.
 */
struct gmem_file *gmem_create(struct kunit *test, struct gmem_vm *vm, void *priv,
			      unsigned long nr, unsigned int flags)
{
	struct gmem_file *gf = kunit_kzalloc(test, sizeof(*gf), GFP_KERNEL);
	struct file *file;

	KUNIT_ASSERT_NOT_NULL(test, gf);
	gf->test = test;
	gf->vm = vm;
	gf->priv = priv;
	gf->nr = nr;
	gf->absent = flags & MEMFILE_PRIVATE_NO_DIRECT_MAP ? MEMFILE_PRIVATE : 0;
	gf->guest = kunit_kcalloc(test, nr, sizeof(*gf->guest), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, gf->guest);
	gf->consumer.ops = &gmem_consumer_ops;
	gf->consumer.domain = gf;

	vm->owner.owner = THIS_MODULE;
	vm->owner.release = gmem_release;
	file = memfile_create("gmem", (loff_t)nr << PAGE_SHIFT, flags, &vm->owner, gf);
	if (file == ERR_PTR(-EOPNOTSUPP))
		kunit_skip(test, "this machine cannot change its direct map");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_ASSERT_EQ(test, 0, memfile_register(file, &gf->consumer, 0, nr));
	gf->file = file;
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

	err = memfile_lookup_pfn(&gf->consumer, index, &mp);
	if (err || gf->guest[index].state)
		return err;

	err = gf->vm->map ? gf->vm->map(gf, index, &mp) : 0;
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
	return memfile_state(&gf->consumer, index);
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
 * gmem_maps - has the guest mapped a page?
 * @gf: The file.
 * @pfn: The page.
 *
 * Return: Whether it has.
 */
bool gmem_maps(struct gmem_file *gf, unsigned long pfn)
{
	pgoff_t index;

	for (index = 0; index < gf->nr; index++) {
		if (gf->guest[index].state && gf->guest[index].pfn == pfn)
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
	memset(pfn_to_kaddr(gmem_pfn(gf, index)), byte, PAGE_SIZE);
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
