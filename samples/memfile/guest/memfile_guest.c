// SPDX-License-Identifier: GPL-2.0
/*
 * For a guest of samples/memfile: memory that is converted while the guest runs.
 *
 * A pool has two halves. The first is the guest's alone, and holds its secret. The
 * second is what a device would get: the guest shares it for a transfer, and makes it
 * private again. Whatever arrives must be what was sent.
 *
 * Then the host is told where the secrets are, and may try its luck; meanwhile the
 * guest keeps looking at its own.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cc_platform.h>
#include <linux/crc32.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kvm_para.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/set_memory.h>
#include <linux/sizes.h>

#define HALF		SZ_2M
#define POOL_ORDER	get_order(2 * HALF)
#define SECRET_WORDS	8

/* What the host has at these places: samples/memfile/machine.h */
#ifdef CONFIG_X86
#include <asm/cpuid/api.h>

#define DOORBELL_PORT	0xf4
#define SEED_PORT	0xf8
#else
#define DOORBELL_GPA	0x09020000
#endif

static unsigned int rounds = 64;
module_param(rounds, uint, 0400);
MODULE_PARM_DESC(rounds, "how often memory is converted there and back");

static struct page *pool;
/* Not in the pool, but with all else that a kernel has: as private as that is. */
static u64 kept[PAGE_SIZE / sizeof(u64)] __aligned(PAGE_SIZE);
static u64 seed;			/* of the secrets: the host's choice */

static u64 secret_next(u64 x)
{
	return x * 6364136223846793005ULL + 1442695040888963407ULL;
}

static void secret_write(u64 *to, u64 from)
{
	for (int i = 0; i < SECRET_WORDS; i++)
		to[i] = from = secret_next(from);
}

static bool secret_is_at(const u64 *at, u64 from)
{
	for (int i = 0; i < SECRET_WORDS; i++) {
		from = secret_next(from);
		if (READ_ONCE(at[i]) != from)
			return false;
	}
	return true;
}

#ifdef CONFIG_X86
static int map_doorbell(void)
{
	seed = inl(SEED_PORT);
	return 0;
}

static void ring(u32 frame)
{
	outl(frame, DOORBELL_PORT);
}

static bool is_busy(void)
{
	return inl(DOORBELL_PORT) == 1;
}

static bool can_convert(void)
{
	const u32 base = cpuid_base_hypervisor(KVM_SIGNATURE, 0);

	return base && cpuid_eax(base | KVM_CPUID_FEATURES) & BIT(KVM_FEATURE_HC_MAP_GPA_RANGE);
}

static int convert(void *addr, size_t size, bool private)
{
	long ret = kvm_hypercall3(KVM_HC_MAP_GPA_RANGE, __pa(addr), size >> PAGE_SHIFT,
				  (private ? KVM_MAP_GPA_RANGE_ENCRYPTED :
					     KVM_MAP_GPA_RANGE_DECRYPTED) |
				  KVM_MAP_GPA_RANGE_PAGE_SZ_4K);

	if (ret)
		pr_err("the host does not make %#lx, %zu bytes, %s: %ld\n", __pa(addr), size,
		       private ? "private" : "shared", ret);
	return ret ? -EIO : 0;
}
#else
static void __iomem *doorbell;

static int map_doorbell(void)
{
	doorbell = ioremap(DOORBELL_GPA, PAGE_SIZE);
	if (!doorbell)
		return -ENOMEM;
	seed = readl(doorbell + 4);
	return 0;
}

static void ring(u32 frame)
{
	writel(frame, doorbell);
}

static bool is_busy(void)
{
	return readl(doorbell) == 1;
}

/* A protected guest */
static bool can_convert(void)
{
	return cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
}

static int convert(void *addr, size_t size, bool private)
{
	const unsigned long at = (unsigned long)addr;
	int ret = private ? set_memory_encrypted(at, size >> PAGE_SHIFT) :
			    set_memory_decrypted(at, size >> PAGE_SHIFT);

	if (ret)
		pr_err("the host does not make %#llx, %zu bytes, %s: %d\n", __pa(addr), size,
		       private ? "private" : "shared", ret);
	return ret;
}
#endif

/* One transfer of @size bytes by way of @buffer, which is private before and after. */
static int transfer(void *buffer, void *from, size_t size, u32 sum)
{
	int ret = convert(buffer, size, false);

	if (ret)
		return ret;
	memcpy(buffer, from, size);
	if (crc32_le(~0, buffer, size) != sum) {
		pr_err("what was copied is not what arrived\n");
		return -EIO;
	}
	return convert(buffer, size, true);
}

static int convert_and_copy(void *private, void *buffers)
{
	size_t size, offset, total = 0;
	u32 sum;
	int ret;

	get_random_bytes(private, SZ_64K);

	for (unsigned int i = 0; i < rounds; i++) {
		size = PAGE_SIZE << i % 5;
		offset = i * SZ_64K % HALF;
		sum = crc32_le(~0, private, size);
		ret = transfer(buffers + offset, private, size, sum);
		if (ret)
			return ret;
		/* To private and back again keeps the content, too. */
		if (crc32_le(~0, buffers + offset, size) != sum) {
			pr_err("what became private is not what was there\n");
			return -EIO;
		}
		total += size;
	}
	pr_info("%u transfers of %zu KiB in all by way of converted memory\n", rounds,
		total >> 10);
	return convert(buffers, HALF, false);
}

/* Tell the host, and look on until it is through. */
static int be_attacked(void *private, void *shared)
{
	unsigned int looks = 1;

	ring(page_to_pfn(pool));
	for (; is_busy(); looks++) {
		if (!secret_is_at(private, seed) || !secret_is_at(kept, seed))
			break;
		msleep(20);
	}
	if (!secret_is_at(private, seed) || !secret_is_at(kept, seed) ||
	    !secret_is_at(shared, ~seed)) {
		pr_err("the secrets are not what they were\n");
		return -EIO;
	}
	pr_info("the secrets are what they were, looked at %u times\n", looks);
	return 0;
}

static int __init memfile_guest_init(void)
{
	void *private, *shared;
	int ret;

	ret = map_doorbell();
	if (ret)
		return ret;
	/* Aligned to its size, as all that the page allocator gives. */
	pool = alloc_pages(GFP_KERNEL | __GFP_ZERO, POOL_ORDER);
	if (!pool)
		return -ENOMEM;
	private = page_address(pool);
	shared = private + HALF;

	if (can_convert())
		ret = convert_and_copy(private, shared);
	if (!ret) {
		secret_write(private, seed);
		secret_write(kept, seed);
		secret_write(shared, ~seed);
		ret = be_attacked(private, shared);
	}
	/* The allocator gets it as it was, or not at all. */
	if (can_convert() && convert(shared, HALF, true))
		return -EIO;
	memzero_explicit(private, 2 * HALF);
	memzero_explicit(kept, sizeof(kept));
	__free_pages(pool, POOL_ORDER);
	return ret;
}
module_init(memfile_guest_init);

/* All is done when it is loaded. */
static void __exit memfile_guest_exit(void)
{
}
module_exit(memfile_guest_exit);

MODULE_DESCRIPTION("Convert guest memory between shared and private");
MODULE_LICENSE("GPL");
