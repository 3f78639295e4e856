// SPDX-License-Identifier: GPL-2.0
/* Creation and the end of a memory file. */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/path.h>

#include "mock.h"

static void create_bad_args(struct kunit *test)
{
	static const unsigned int bad_flags[] = {
		BIT(6), BIT(31), ~0U, MEMFILE_MMAP | BIT(7),
	};
	static const loff_t bad_sizes[] = {
		0, 1, PAGE_SIZE - 1, PAGE_SIZE + 1, -1, -(loff_t)PAGE_SIZE,
		LLONG_MAX, LLONG_MIN,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(bad_flags); i++)
		KUNIT_EXPECT_PTR_EQ(test, ERR_PTR(-EINVAL),
				    memfile_create("mock", PAGE_SIZE, bad_flags[i],
						   &mock_owner_ops, NULL));
	for (i = 0; i < ARRAY_SIZE(bad_sizes); i++)
		KUNIT_EXPECT_PTR_EQ(test, ERR_PTR(-EINVAL),
				    memfile_create("mock", bad_sizes[i], 0,
						   &mock_owner_ops, NULL));
}

static void create_attributes(struct kunit *test)
{
	static const struct memfile_owner_ops other_ops;
	static const unsigned int flags[] = {
		0, MEMFILE_MMAP, MEMFILE_INIT_SHARED,
		MEMFILE_MMAP | MEMFILE_INIT_SHARED, MEMFILE_KEEP_CONTENT,
		MEMFILE_MMAP | MEMFILE_INIT_SHARED | MEMFILE_KEEP_CONTENT,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct mock_file *mf = mock_create(test, 3, flags[i]);
		struct inode *inode = file_inode(mf->file);

		KUNIT_EXPECT_EQ(test, memfile_flags(mf->file), flags[i]);
		KUNIT_EXPECT_PTR_EQ(test, mf,
				    memfile_owner_data(mf->file, &mock_owner_ops));
		KUNIT_EXPECT_NULL(test, memfile_owner_data(mf->file, &other_ops));
		KUNIT_EXPECT_EQ(test, i_size_read(inode), 3 * PAGE_SIZE);
		KUNIT_EXPECT_TRUE(test, S_ISREG(inode->i_mode));
		KUNIT_EXPECT_STREQ(test, "mock",
				   (const char *)file_dentry(mf->file)->d_name.name);
		KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
		KUNIT_EXPECT_TRUE(test, mapping_unevictable(mf->file->f_mapping));
	}
}

static void other_files(struct kunit *test)
{
	struct file *file = mock_other_file(test);

	KUNIT_EXPECT_NULL(test, memfile_owner_data(file, &mock_owner_ops));
}

/* Page offsets do not overflow, whatever the size. */
static void largest_file(struct kunit *test)
{
	unsigned long nr_pages = LLONG_MAX >> PAGE_SHIFT;
	struct mock_file *mf = mock_create(test, nr_pages, 0);
	struct mock_consumer *mc;
	struct memfile_pfn mp;

	mc = mock_register(test, mf, test, 0, nr_pages);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, nr_pages - 1, &mp));
	memfile_put_pfn(&mp);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			memfile_get_pfn(&mc->consumer, nr_pages, &mp));
	mock_allocate(test, mf, nr_pages - 3, 3);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 3);

	mock_log_clear();
	mock_punch(test, mf, 0, nr_pages);
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);
	MOCK_EXPECT(test, 0, MOCK_START, mc, 0, nr_pages);
	KUNIT_EXPECT_EQ(test, mc->balance, 0);
}

static void size_and_mode_are_constant(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3, 0);

	KUNIT_EXPECT_EQ(test, -EINVAL, vfs_truncate(&mf->file->f_path, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			vfs_truncate(&mf->file->f_path, 5 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, i_size_read(file_inode(mf->file)), 3 * PAGE_SIZE);
}

static void released_once(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3, 0);
	struct file *file = mf->file;

	mock_allocate(test, mf, 0, 3);
	get_file(file);
	fput(file);
	flush_delayed_fput();
	KUNIT_EXPECT_EQ(test, mf->nr_released, 0);

	/* By the way that close() goes, too. */
	mf->file = NULL;
	fput(file);
	flush_delayed_fput();
	KUNIT_EXPECT_EQ(test, mf->nr_released, 1);
}

/* An owner may leave it to ->release to end registrations. */
static void release_unregisters(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 3, 0);
	struct mock_consumer *mc = mock_register(test, mf, test, 0, 3);

	mock_allocate(test, mf, 0, 3);
	mf->on_release = &mc->consumer;
	mock_close(mf);
	KUNIT_EXPECT_EQ(test, mf->nr_released, 1);
	KUNIT_EXPECT_NULL(test, mc->consumer.inode);
	/* The pages went after that: nobody was there to be told. */
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_START, mc), 0);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 3);
}

/* The owner's functions are needed until the last page is gone. */
static void module_is_pinned(struct kunit *test)
{
#ifdef MODULE
	int refs = module_refcount(THIS_MODULE);
	struct mock_consumer *mc, *second;
	struct mock_file *mf;
	struct path path;

	memfile_create("mock", 1, 0, &mock_owner_ops, NULL);
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs);

	mf = mock_create(test, 3, 0);
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs + 1);
	mc = mock_register(test, mf, test, 0, 3);
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs + 2);

	second = mock_consumer(test, test);
	KUNIT_EXPECT_EQ(test, -EEXIST,
			memfile_register(mf->file, &second->consumer, 0, 3));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			memfile_register(mf->file, &second->consumer, 3, 1));
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs + 2);

	mock_unregister(mc);
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs + 1);

	/* As open("/proc/self/fd/N", O_PATH) does. */
	mock_allocate(test, mf, 0, 3);
	path = mf->file->f_path;
	path_get(&path);
	mock_close(mf);
	KUNIT_EXPECT_EQ(test, mf->nr_released, 1);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 0);
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs + 1);

	path_put(&path);
	KUNIT_EXPECT_EQ(test, mock_log_count(MOCK_RECLAIM, NULL), 3);
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs);
#else
	kunit_skip(test, "not a module");
#endif
}

static void release_nothing(struct file *file)
{
}

static void ioctl(struct kunit *test)
{
	static const struct memfile_owner_ops without = {
		.owner = THIS_MODULE,
		.release = release_nothing,
	};
	struct mock_file *mf = mock_create(test, 3, 0);
	struct file *file = memfile_create("mock", PAGE_SIZE, 0, &without, NULL);

	KUNIT_EXPECT_EQ(test, 7,
			mf->file->f_op->unlocked_ioctl(mf->file, 3, 4));
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_EXPECT_EQ(test, -ENOTTY,
			file->f_op->unlocked_ioctl(file, 3, 4));
	__fput_sync(file);
}

static void fdinfo(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 100, 0);
	struct mock_consumer *mc;

	mock_convert(test, mf, 0, 10, MEMFILE_SHARED);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-consumers"), 0);
	mc = mock_register(test, mf, test, 0, 100);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-consumers"), 1);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-shared"), 0);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"), 0);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), 0);

	mock_allocate(test, mf, 5, 20);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-shared"), 5 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"), 15 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), 20);

	mock_allocate(test, mf, 0, 40);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-shared"), 10 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"), 30 * PAGE_SIZE);

	mock_punch(test, mf, 9, 2);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-shared"), 9 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"), 29 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-longest-hold"), 40);

	mock_punch(test, mf, 0, 100);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-shared"), 0);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-private"), 0);
	mock_unregister(mc);
	KUNIT_EXPECT_EQ(test, mock_fdinfo(test, mf, "memfile-consumers"), 0);
}

static struct kunit_case file_cases[] = {
	KUNIT_CASE(create_bad_args),
	KUNIT_CASE(create_attributes),
	KUNIT_CASE(other_files),
	KUNIT_CASE(largest_file),
	KUNIT_CASE(size_and_mode_are_constant),
	KUNIT_CASE(released_once),
	KUNIT_CASE(release_unregisters),
	KUNIT_CASE(module_is_pinned),
	KUNIT_CASE(ioctl),
	KUNIT_CASE(fdinfo),
	{}
};

static struct kunit_suite file_suite = {
	.name = "memfile_file",
	.init = mock_init,
	.test_cases = file_cases,
};

kunit_test_suite(file_suite);
