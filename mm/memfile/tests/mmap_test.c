// SPDX-License-Identifier: GPL-2.0
/* What the host sees of a memory file through a mapping. */
#include <linux/mm.h>
#include <linux/mman.h>

#include "mock.h"

static int mmu;

static void mmap_refused(struct kunit *test)
{
	struct mock_file *none = mock_create(test, 4, 0);
	struct mock_file *mf = mock_create(test, 4, MEMFILE_MMAP);

	KUNIT_EXPECT_EQ(test, (unsigned long)-ENODEV,
			kunit_vm_mmap(test, none->file, 0, PAGE_SIZE,
				      PROT_READ, MAP_SHARED, 0));
	KUNIT_EXPECT_EQ(test, (unsigned long)-EINVAL,
			kunit_vm_mmap(test, mf->file, 0, PAGE_SIZE,
				      PROT_READ, MAP_PRIVATE, 0));
}

/* Both see the same page; a punch takes it from both. */
static void shared_offsets(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 4, MEMFILE_MMAP | MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 4);
	void __user *addr = mock_mmap(test, mf, 4);
	struct memfile_pfn mp;
	u8 byte = 1;

	mock_dirty_free_pages(test, 256);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_EQ(test, byte, 0);
	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 1, &mp));
	mock_fill(mp.page, 0x55);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_EQ(test, byte, 0x55);
	KUNIT_EXPECT_TRUE(test, mock_can_write(addr, 1, 0x66));
	KUNIT_EXPECT_EQ(test, *(u8 *)page_address(mp.page), 0x66);

	mock_punch(test, mf, 0, 4);
	KUNIT_EXPECT_FALSE(test, folio_mapped(page_folio(mp.page)));
	memfile_put_pfn(&mp);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_EQ(test, byte, 0);
}

static void private_offsets(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 4, MEMFILE_MMAP);
	struct mock_consumer *mc;
	struct memfile_pfn mp;
	void __user *addr;
	u8 byte;

	mock_convert(test, mf, 2, 1, MEMFILE_SHARED);
	mc = mock_register(test, mf, &mmu, 0, 4);
	addr = mock_mmap(test, mf, 4);

	KUNIT_EXPECT_FALSE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_FALSE(test, mock_can_write(addr, 1, 1));
	/* A fault that fails does not allocate. */
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 0);

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 1, &mp));
	KUNIT_EXPECT_FALSE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_FALSE(test, mock_can_write(addr, 1, 1));
	KUNIT_EXPECT_FALSE(test, folio_mapped(page_folio(mp.page)));
	memfile_put_pfn(&mp);

	KUNIT_EXPECT_TRUE(test, mock_can_write(addr, 2, 1));
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 2, &byte));
	KUNIT_EXPECT_FALSE(test, mock_can_read(addr, 3, &byte));
}

static void behind_the_end(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 2, MEMFILE_MMAP | MEMFILE_INIT_SHARED);
	void __user *addr = mock_mmap(test, mf, 4);
	u8 byte;

	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_FALSE(test, mock_can_read(addr, 2, &byte));
	KUNIT_EXPECT_FALSE(test, mock_can_write(addr, 3, 1));
	KUNIT_EXPECT_EQ(test, mock_nr_pages(mf), 1);
}

#ifdef CONFIG_MEMORY_FAILURE
static void hwpoison(struct kunit *test)
{
	struct mock_file *mf = mock_create(test, 4, MEMFILE_MMAP | MEMFILE_INIT_SHARED);
	struct mock_consumer *mc = mock_register(test, mf, &mmu, 0, 4);
	void __user *addr = mock_mmap(test, mf, 4);
	struct memfile_pfn mp;
	u8 byte;

	KUNIT_ASSERT_EQ(test, 0, memfile_get_pfn(&mc->consumer, 1, &mp));
	memfile_put_pfn(&mp);
	memory_failure(mp.pfn, MF_SW_SIMULATED);
	KUNIT_EXPECT_FALSE(test, mock_can_read(addr, 1, &byte));
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 2, &byte));

	mock_punch(test, mf, 1, 1);
	KUNIT_EXPECT_TRUE(test, mock_can_read(addr, 1, &byte));
	mock_unpoison(mp.pfn);
}
#endif

static struct kunit_case mmap_cases[] = {
	KUNIT_CASE(mmap_refused),
	KUNIT_CASE(shared_offsets),
	KUNIT_CASE(private_offsets),
	KUNIT_CASE(behind_the_end),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(hwpoison),
#endif
	{}
};

static struct kunit_suite mmap_suite = {
	.name = "memfile_mmap",
	.init = mock_init,
	.test_cases = mmap_cases,
};

kunit_test_suite(mmap_suite);
