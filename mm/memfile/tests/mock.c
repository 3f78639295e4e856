// SPDX-License-Identifier: GPL-2.0
/*
 * An owner and consumers of memory files that keep a record of what they are
 * told.  As a module this is also the proof that what they need is exported.
 */
#include <linux/cpumask.h>
#include <linux/direct_map.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/set_memory.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "mock.h"

struct mock_log mock_log;

static struct mock_event *mock_log_event(enum mock_event_type type,
					 struct mock_consumer *mc)
{
	/* What does not fit is counted, and lands in a place nobody looks at. */
	static struct mock_event overflow;
	unsigned int nr = mock_log.nr++;
	struct mock_event *event;

	event = nr < MOCK_EVENTS ? &mock_log.events[nr] : &overflow;
	*event = (struct mock_event) {
		.type = type,
		.consumer = mc,
	};

	if (mc) {
		struct address_space *mapping = mc->consumer.inode->i_mapping;

		event->nr_pages = mapping->nrpages;
		if (filemap_invalidate_trylock_shared(mapping))
			filemap_invalidate_unlock_shared(mapping);
		else
			event->exclusive = true;
		event->held = rwsem_is_locked(&mapping->invalidate_lock);
	}
	return event;
}

/**
 * mock_log_clear - forget all calls
 */
void mock_log_clear(void)
{
	memset(&mock_log, 0, sizeof(mock_log));
}

/**
 * mock_log_count - how many calls of a kind are in the log
 * @type: The kind.
 * @consumer: The consumer; NULL for the owner.
 *
 * Return: Their number, among those that were kept.
 */
unsigned int mock_log_count(enum mock_event_type type,
			    const struct mock_consumer *consumer)
{
	unsigned int i, nr = 0;

	for (i = 0; i < min(mock_log.nr, MOCK_EVENTS); i++)
		nr += mock_log.events[i].type == type &&
		      mock_log.events[i].consumer == consumer;
	return nr;
}

/* Pages need not be in the direct map. */
static void *mock_map(struct page *page)
{
	void *addr;

	do {
		addr = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	} while (!addr);
	return addr;
}

/* The owner */

static void mock_release(struct file *file)
{
	struct mock_file *mf = memfile_owner_data(file, &mock_owner_ops);

	mf->nr_released++;
	if (mf->on_release)
		memfile_unregister(mf->on_release);
	mf->on_release = NULL;
	complete(&mf->released);
}

static u8 mock_peek(struct page *page)
{
	u8 *addr = mock_map(page);
	u8 byte = *addr;

	vunmap(addr);
	return byte;
}

/* As hardware may do: what comes back is not what the guest wrote. */
static int mock_reclaim(unsigned long pfn, unsigned long nr)
{
	struct mock_event *event = mock_log_event(MOCK_RECLAIM, NULL);

	event->pfn = pfn;
	event->end = nr;
	event->locked = PageLocked(pfn_to_page(pfn));
	event->present = kernel_page_present(pfn_to_page(pfn));
	event->content = mock_peek(pfn_to_page(pfn));
	if (!mock_log.reclaim_err && !mock_log.reclaim_keeps)
		mock_fill(pfn_to_page(pfn), 0x5a);
	return mock_log.reclaim_err;
}

static long mock_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mock_file *mf = memfile_owner_data(file, &mock_owner_ops);

	return mf->file == file ? cmd + arg : -EIO;
}

const struct memfile_owner_ops mock_owner_ops = {
	.owner		= THIS_MODULE,
	.release	= mock_release,
	.reclaim	= mock_reclaim,
	.ioctl		= mock_ioctl,
};

/**
 * mock_close - drop the test's reference to a memory file
 * @mf: The file.
 */
void mock_close(struct mock_file *mf)
{
	struct file *file = mf->file;

	mf->file = NULL;
	if (file)
		__fput_sync(file);
}

static void mock_close_action(void *arg)
{
	struct mock_file *mf = arg;

	mock_close(mf);
	/*
	 * Where the test has mapped the file, the last reference goes with the
	 * mm of its thread, which is about to exit.
	 */
	wait_for_completion_timeout(&mf->released, 10 * HZ);
}

/**
 * mock_create - create a memory file that ends with the test
 * @test: The test.
 * @nr_pages: Size of the file.
 * @flags: As for memfile_create().
 *
 * Return: The file.  On failure the test ends.
 */
struct mock_file *mock_create(struct kunit *test, unsigned long nr_pages,
			      unsigned int flags)
{
	struct mock_file *mf = kunit_kzalloc(test, sizeof(*mf), GFP_KERNEL);
	struct file *file;

	KUNIT_ASSERT_NOT_NULL(test, mf);
	init_completion(&mf->released);
	file = memfile_create("mock", (loff_t)nr_pages << PAGE_SHIFT, flags,
			      &mock_owner_ops, mf);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	mf->file = file;
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, mock_close_action, mf));
	return mf;
}

/**
 * mock_nr_pages - how many pages are in a memory file
 * @mf: The file.
 *
 * Return: Their number.
 */
unsigned long mock_nr_pages(struct mock_file *mf)
{
	return mf->file->f_mapping->nrpages;
}

/**
 * mock_fdinfo - read a number that /proc/PID/fdinfo shows of a file
 * @test: The test.
 * @mf: The file.
 * @key: Name of the line, without the colon.
 *
 * Return: The number.  If there is none the test fails.
 */
unsigned long mock_fdinfo(struct kunit *test, struct mock_file *mf,
			  const char *key)
{
	unsigned long value = ~0UL;
#ifdef CONFIG_PROC_FS
	struct seq_file m = { .size = PAGE_SIZE };
	char *line;
	int nr;

	m.buf = kunit_kzalloc(test, m.size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m.buf);
	mf->file->f_op->show_fdinfo(&m, mf->file);
	line = strnstr(m.buf, key, m.count);
	KUNIT_ASSERT_NOT_NULL_MSG(test, line, "no %s in fdinfo", key);
	nr = sscanf(line + strlen(key), ":\t%lu", &value);
	KUNIT_EXPECT_EQ(test, nr, 1);
	kunit_kfree(test, m.buf);
#else
	kunit_skip(test, "without CONFIG_PROC_FS");
#endif
	return value;
}

/**
 * mock_allocate - allocate pages with fallocate(), and expect success
 * @test: The test.
 * @mf: The file.
 * @start: First page offset.
 * @nr: Number of pages.
 */
void mock_allocate(struct kunit *test, struct mock_file *mf, pgoff_t start,
		   unsigned long nr)
{
	KUNIT_EXPECT_EQ(test, 0,
			vfs_fallocate(mf->file, FALLOC_FL_KEEP_SIZE,
				      (loff_t)start << PAGE_SHIFT,
				      (loff_t)nr << PAGE_SHIFT));
}

/**
 * mock_punch - punch a hole, and expect success
 * @test: The test.
 * @mf: The file.
 * @start: First page offset.
 * @nr: Number of pages.
 */
void mock_punch(struct kunit *test, struct mock_file *mf, pgoff_t start,
		unsigned long nr)
{
	KUNIT_EXPECT_EQ(test, 0,
			vfs_fallocate(mf->file,
				      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      (loff_t)start << PAGE_SHIFT,
				      (loff_t)nr << PAGE_SHIFT));
}

/**
 * mock_convert - convert a range, and expect success
 * @test: The test.
 * @mf: The file.
 * @start: First page offset.
 * @nr: Number of pages.
 * @to: The new state.
 */
void mock_convert(struct kunit *test, struct mock_file *mf, pgoff_t start,
		  unsigned long nr, enum memfile_state to)
{
	pgoff_t where;

	KUNIT_EXPECT_EQ(test, 0,
			memfile_convert(mf->file, start, start + nr, to, &where));
}

/**
 * mock_mmap - map a memory file from its beginning, until the test ends
 * @test: The test.
 * @mf: The file.
 * @nr_pages: Size of the mapping.
 *
 * Return: The address.  On failure the test ends.
 */
void __user *mock_mmap(struct kunit *test, struct mock_file *mf,
		       unsigned long nr_pages)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, mf->file, 0, nr_pages * PAGE_SIZE,
			     PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR_VALUE(addr), "mmap: %ld", (long)addr);
	return (void __user *)addr;
}

/**
 * mock_can_read - read a page of a mapping
 * @map: What mock_mmap() has returned.
 * @index: Page offset.
 * @byte: Where to put the first byte.
 *
 * Return: Whether there was no fault.
 */
bool mock_can_read(void __user *map, pgoff_t index, u8 *byte)
{
	return !copy_from_user(byte, map + index * PAGE_SIZE, 1);
}

/**
 * mock_can_write - write to a page of a mapping
 * @map: What mock_mmap() has returned.
 * @index: Page offset.
 * @byte: The first byte.
 *
 * Return: Whether there was no fault.
 */
bool mock_can_write(void __user *map, pgoff_t index, u8 byte)
{
	return !copy_to_user(map + index * PAGE_SIZE, &byte, 1);
}

static void fput_sync_action(void *file)
{
	__fput_sync(file);
}

/**
 * mock_other_file - open a file that is no memory file, until the test ends
 * @test: The test.
 *
 * Return: The file.  Without tmpfs the test is skipped, on failure it ends.
 */
struct file *mock_other_file(struct kunit *test)
{
	struct file *file = shmem_kernel_file_setup("other", PAGE_SIZE,
						    EMPTY_VMA_FLAGS);

	if (IS_ERR(file))
		kunit_skip(test, "without tmpfs");
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fput_sync_action, file));
	return file;
}

/* The consumer */

static struct mock_consumer *to_mock(struct memfile_consumer *consumer)
{
	return container_of(consumer, struct mock_consumer, consumer);
}

static void mock_signal(struct mock_consumer *mc, enum mock_event_type type)
{
	if (mc->signal && mc->signal_at == type)
		send_sig(mc->signal, current, 1);
}

static void mock_log_invalidation(enum mock_event_type type,
				  struct mock_consumer *mc,
				  const struct memfile_invalidation *inv)
{
	struct mock_event *event = mock_log_event(type, mc);

	event->start = inv->start;
	event->end = inv->end;
	event->states = inv->states;
	event->state = memfile_state(&mc->consumer, inv->start);
}

static void mock_invalidate_start(struct memfile_consumer *consumer,
				  const struct memfile_invalidation *inv)
{
	struct mock_consumer *mc = to_mock(consumer);

	mc->balance++;
	mc->inv = *inv;
	mock_log_invalidation(MOCK_START, mc, inv);
	mock_signal(mc, MOCK_START);
}

static void mock_invalidate_end(struct memfile_consumer *consumer,
				const struct memfile_invalidation *inv)
{
	struct mock_consumer *mc = to_mock(consumer);

	/* Whatever is wrong with it, the test will miss a balance of 0. */
	if (inv->start == mc->inv.start && inv->end == mc->inv.end)
		mc->balance--;
	mock_log_invalidation(MOCK_END, mc, inv);
	mock_signal(mc, MOCK_END);
}

static int mock_prepare(struct memfile_consumer *consumer, pgoff_t index,
			unsigned long pfn, unsigned long nr)
{
	struct mock_consumer *mc = to_mock(consumer);
	struct mock_event *event = mock_log_event(MOCK_PREPARE, mc);

	event->start = index;
	event->end = index + nr;
	event->pfn = pfn;
	return mc->prepare_err;
}

static pgoff_t mock_claimed(struct memfile_consumer *consumer, pgoff_t start,
			    pgoff_t end)
{
	struct mock_consumer *mc = to_mock(consumer);

	if (start < mc->first_claimed)
		start = min(mc->first_claimed, end);
	return start < mc->first_claimed + mc->nr_claimed ? start : end;
}

static void mock_allocated(struct memfile_consumer *consumer, pgoff_t start,
			   pgoff_t end)
{
	struct mock_consumer *mc = to_mock(consumer);
	struct mock_event *event = mock_log_event(MOCK_ALLOCATED, mc);

	event->start = start;
	event->end = end;
	mock_signal(mc, MOCK_ALLOCATED);
}

#ifdef CONFIG_MEMFILE_SANITIZER
static void mock_violated(struct memfile_consumer *consumer)
{
	to_mock(consumer)->nr_violated++;
}
#endif

static const struct memfile_consumer_ops mock_consumer_ops = {
	.owner			= THIS_MODULE,
	.invalidate_start	= mock_invalidate_start,
	.invalidate_end		= mock_invalidate_end,
	.prepare		= mock_prepare,
	.claimed		= mock_claimed,
	.allocated		= mock_allocated,
#ifdef CONFIG_MEMFILE_SANITIZER
	.violated		= mock_violated,
#endif
};

/**
 * mock_unregister - end a registration, if there is one
 * @mc: The consumer.
 */
void mock_unregister(struct mock_consumer *mc)
{
	if (mc->consumer.inode)
		memfile_unregister(&mc->consumer);
}

static void mock_unregister_action(void *mc)
{
	mock_unregister(mc);
}

/**
 * mock_consumer - make a consumer that is unregistered when the test ends
 * @test: The test.
 * @domain: Its secondary MMU.
 *
 * Return: The consumer, not registered.  On failure the test ends.
 */
struct mock_consumer *mock_consumer(struct kunit *test, void *domain)
{
	struct mock_consumer *mc = kunit_kzalloc(test, sizeof(*mc), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, mc);
	mc->consumer.ops = &mock_consumer_ops;
	mc->consumer.domain = domain;
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, mock_unregister_action, mc));
	return mc;
}

/**
 * mock_register - make a consumer, and register it
 * @test: The test.
 * @mf: The file.
 * @domain: Its secondary MMU.
 * @start: First page offset.
 * @nr: Number of pages.
 *
 * Return: The consumer.  On failure the test ends.
 */
struct mock_consumer *mock_register(struct kunit *test, struct mock_file *mf,
				    void *domain, pgoff_t start, unsigned long nr)
{
	struct mock_consumer *mc = mock_consumer(test, domain);

	KUNIT_ASSERT_EQ(test, 0,
			memfile_register(mf->file, &mc->consumer, start, nr));
	return mc;
}

/* Signals */

/**
 * mock_want_signals - let SIGUSR1 and SIGKILL reach this kernel thread
 */
void mock_want_signals(void)
{
	allow_signal(SIGUSR1);
	allow_signal(SIGKILL);
}

/**
 * mock_forget_signals - go back to hearing of no signal
 */
void mock_forget_signals(void)
{
	flush_signals(current);
	disallow_signal(SIGUSR1);
	disallow_signal(SIGKILL);
}

/* Content of pages */

/**
 * mock_fill - write a page
 * @page: The page.
 * @byte: What to fill it with.
 */
void mock_fill(struct page *page, u8 byte)
{
	void *addr = mock_map(page);

	memset(addr, byte, PAGE_SIZE);
	vunmap(addr);
}

/**
 * mock_is_filled - does a page hold one byte all over?
 * @page: The page.
 * @byte: The byte.
 *
 * Return: Whether it does.
 */
bool mock_is_filled(struct page *page, u8 byte)
{
	void *addr = mock_map(page);
	bool filled = !memchr_inv(addr, byte, PAGE_SIZE);

	vunmap(addr);
	return filled;
}

/**
 * mock_unpoison - undo a memory error, of a page that is in no file any more
 * @pfn: The page.
 */
void mock_unpoison(unsigned long pfn)
{
	/* It has stayed where the error has found it. */
	if (!kernel_page_present(pfn_to_page(pfn)))
		direct_map_restore(pfn_to_page(pfn), 1);
	unpoison_memory(pfn);
}

/**
 * mock_dirty_free_pages - make sure that free pages are not zero by chance
 * @test: The test.
 * @nr: About how many will be needed.
 */
void mock_dirty_free_pages(struct kunit *test, unsigned int nr)
{
	LIST_HEAD(pages);
	struct page *page, *next;

	/* The one that was freed last is the one that is allocated next. */
	while (nr--) {
		page = alloc_page(GFP_HIGHUSER);
		KUNIT_ASSERT_NOT_NULL(test, page);
		mock_fill(page, 0xa5);
		list_add(&page->lru, &pages);
	}
	list_for_each_entry_safe(page, next, &pages, lru)
		__free_page(page);
}

/**
 * mock_init - begin a test: the init function of the suites
 * @test: The test.
 *
 * Return: 0, or an error that ends the test.
 */
int mock_init(struct kunit *test)
{
	mock_log_clear();
	/*
	 * New pages wait in a list of the CPU's, which holds a reference to
	 * them, until somebody frees a page there.  On one CPU that can be
	 * foreseen, and references can be counted.
	 */
	return set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
}

MODULE_DESCRIPTION("KUnit tests for memory files");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
