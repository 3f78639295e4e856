/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Protected VMs (kvm-arm.mode=protected) whose memory is a memory file.
 *
 * The library's VMs are of no use for that: it reads and writes the guest's memory
 * as it likes.  Here the guest is an agent that does one thing at a time for the
 * host.  It gets its orders, and gives its answers, by MMIO, through registers that
 * the host sees in struct kvm_run.
 */
#ifndef SELFTEST_KVM_ARM64_PVM_H
#define SELFTEST_KVM_ARM64_PVM_H

#include <asm/kvm.h>
#include <linux/sizes.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "memfile_util.h"

#define PVM_MMIO	0x10000000UL
#define PVM_GPA		0x80000000UL	/* of the code, the page table, the test's pages */
#define PVM_SLOT	0
#define PVM_MAX_VCPUS	4

#define PVM_CODE_PAGE	0
#define PVM_TABLE_PAGE	1
#define PVM_FIRST_PAGE	2		/* that is free for the test */

#define PVM_MEM_SHARE	0xc6000003UL
#define PVM_MEM_UNSHARE	0xc6000004UL
#define PVM_MEM_RELINQUISH 0xc6000009UL

/* What the agent does. */
enum pvm_op {
	PVM_FILL,	/* store a value in all words of a page */
	PVM_CHECK,	/* count the words that are not a value */
	PVM_READ,	/* load a word */
	PVM_WRITE,	/* store a word */
	PVM_CALL,	/* hvc: function, argument 1, argument 2 */
	PVM_FLIP,	/* share and unshare a page again and again */
};

/*
 * x0: operation, x1: address, x2: value, or function, or number of rounds, x3:
 * argument 2; the answer is in x0.
 *
 * PVM_FLIP stores its value, a secret, while the page is its own, and overwrites it
 * with 0 before it shares.  The answer: how often its own word was not what it had
 * stored (bits 63:48), share failed (47:24), unshare failed (23:0).
 */
asm(
"	.pushsection .rodata\n"
"	.balign	8\n"
"	.globl	pvm_agent, pvm_agent_end\n"
"pvm_agent:\n"
"	mov	x19, #0x10000000\n"
"1:	ldr	x0, [x19]\n"
"	ldr	x1, [x19, #8]\n"
"	ldr	x2, [x19, #16]\n"
"	ldr	x3, [x19, #24]\n"
"	mov	x4, x1\n"
"	mov	x5, #512\n"
"	cmp	x0, #1\n"
"	b.eq	11f\n"
"	cmp	x0, #2\n"
"	b.eq	12f\n"
"	cmp	x0, #3\n"
"	b.eq	13f\n"
"	cmp	x0, #4\n"
"	b.eq	14f\n"
"	cmp	x0, #5\n"
"	b.eq	15f\n"
	/* PVM_FILL */
"10:	str	x2, [x4], #8\n"
"	subs	x5, x5, #1\n"
"	b.ne	10b\n"
"	mov	x0, #0\n"
"	b	9f\n"
	/* PVM_CHECK */
"11:	mov	x0, #0\n"
"21:	ldr	x6, [x4], #8\n"
"	cmp	x6, x2\n"
"	cinc	x0, x0, ne\n"
"	subs	x5, x5, #1\n"
"	b.ne	21b\n"
"	b	9f\n"
"12:	ldr	x0, [x1]\n"
"	b	9f\n"
"13:	str	x2, [x1]\n"
"	mov	x0, #0\n"
"	b	9f\n"
"14:	mov	x0, x2\n"
"	mov	x2, x3\n"
"	mov	x3, #0\n"
"	hvc	#0\n"
"	b	9f\n"
	/* PVM_FLIP */
"15:	mov	x20, x1\n"
"	mov	x21, x2\n"
"	mov	x22, x3\n"
"	mov	x23, #0\n"
"25:	str	x22, [x20]\n"
"	dsb	sy\n"
"	ldr	x6, [x20]\n"
"	cmp	x6, x22\n"
"	b.eq	26f\n"
"	mov	x6, #1\n"
"	add	x23, x23, x6, lsl #48\n"
"26:	str	xzr, [x20]\n"
"	dsb	sy\n"
"27:	movz	x0, #0xc600, lsl #16\n"
"	movk	x0, #3\n"
"	mov	x1, x20\n"
"	mov	x2, #0\n"
"	mov	x3, #0\n"
"	hvc	#0\n"
"	cbz	x0, 28f\n"
"	mov	x6, #1\n"
"	add	x23, x23, x6, lsl #24\n"
"	b	30f\n"
"28:	ldr	x6, [x20, #8]\n"
"	str	x6, [x20, #16]\n"
	/* Until it succeeds: what is shared has no place for a secret. */
"29:	movz	x0, #0xc600, lsl #16\n"
"	movk	x0, #4\n"
"	mov	x1, x20\n"
"	mov	x2, #0\n"
"	mov	x3, #0\n"
"	hvc	#0\n"
"	cbz	x0, 30f\n"
"	add	x23, x23, #1\n"
"	tst	x23, #0xff0000\n"
"	b.eq	29b\n"
"	b	31f\n"
"30:	subs	x21, x21, #1\n"
"	b.ne	25b\n"
"31:	mov	x0, x23\n"
"9:	str	x0, [x19, #32]\n"
"	b	1b\n"
"pvm_agent_end:\n"
"	.popsection\n");

/* In the answer of PVM_FLIP: it has tried to unshare for so often that it gave up. */
#define PVM_FLIP_GAVE_UP	0xff0000UL

extern char pvm_agent[], pvm_agent_end[];

struct pvm_vcpu {
	int fd;
	struct kvm_run *run;
	/* The order that the agent is at, and how far it has read it. */
	u64 order[4];
};

struct pvm {
	int kvm_fd;
	int vm_fd;
	int fd;			/* the memory file */
	u64 flags;
	int nr_pages;
	char *mem;
	int nr_vcpus;
	struct pvm_vcpu vcpus[PVM_MAX_VCPUS];
};

static inline bool pvm_supported(void)
{
	int kvm_fd = open_kvm_dev_path_or_exit();
	int fd = ioctl(kvm_fd, KVM_CREATE_VM, KVM_VM_TYPE_ARM_PROTECTED | 40);

	if (fd >= 0)
		close(fd);
	close(kvm_fd);
	return fd >= 0;
}

static inline gpa_t pvm_gpa(int page)
{
	return PVM_GPA + page * (gpa_t)SZ_4K;
}

static inline u64 *pvm_host(struct pvm *pvm, int page)
{
	return (u64 *)(pvm->mem + page * (size_t)SZ_4K);
}

/* 0 or the errno; of a protected VM, everything can be refused. */
static inline int pvm_try_slot(struct pvm *pvm, u32 slot, u32 flags, int gpa_page,
			       int nr, int fd, int file_page)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = flags | (nr ? KVM_MEM_GUEST_MEMFD : 0),
		.guest_phys_addr = pvm_gpa(gpa_page),
		.memory_size = nr * (u64)SZ_4K,
		.userspace_addr = fd == pvm->fd && pvm->mem ? (u64)pvm_host(pvm, file_page) : 0,
		.guest_memfd = fd,
		.guest_memfd_offset = file_page * (u64)SZ_4K,
	};

	return ioctl(pvm->vm_fd, KVM_SET_USER_MEMORY_REGION2, &region) ? errno : 0;
}

static inline void pvm_slot(struct pvm *pvm, u32 slot, int gpa_page, int nr, int fd,
			    int file_page)
{
	int err = pvm_try_slot(pvm, slot, 0, gpa_page, nr, fd, file_page);

	TEST_ASSERT(!err, "KVM_SET_USER_MEMORY_REGION2: %s", strerror(err));
}

static inline bool pvm_has_flag(struct pvm *pvm, int flag)
{
	return ioctl(pvm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS) & flag;
}

/* Without a direct map of private pages, if that is wanted and can be had. */
static inline int pvm_create_file(struct pvm *pvm, int nr_pages, u64 flags)
{
	struct kvm_create_guest_memfd args = {
		.size = nr_pages * (u64)SZ_4K,
		.flags = flags,
	};

	if (!pvm_has_flag(pvm, GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP))
		args.flags &= ~GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP;

	return ioctl(pvm->vm_fd, KVM_CREATE_GUEST_MEMFD, &args);
}

static inline void pvm_set_reg(struct pvm_vcpu *vcpu, u64 id, u64 val)
{
	struct kvm_one_reg reg = { .id = id, .addr = (u64)&val };

	TEST_ASSERT(!ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg), "KVM_SET_ONE_REG 0x%lx: %s",
		    id, strerror(errno));
}

static inline u64 pvm_get_reg(struct pvm_vcpu *vcpu, u64 id)
{
	u64 val;
	struct kvm_one_reg reg = { .id = id, .addr = (u64)&val };

	TEST_ASSERT(!ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg), "KVM_GET_ONE_REG 0x%lx: %s",
		    id, strerror(errno));
	return val;
}

/*
 * RAM is normal memory, so that the caches do not come between host and guest; the
 * first GiB is device memory.  The table is one of 4 blocks.
 */
static inline void pvm_init_vcpu(struct pvm *pvm, int i)
{
	struct kvm_vcpu_init init = {
		.target = KVM_ARM_TARGET_GENERIC_V8,
		.features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2,
	};
	struct pvm_vcpu *vcpu = &pvm->vcpus[i];

	vcpu->fd = ioctl(pvm->vm_fd, KVM_CREATE_VCPU, i);
	TEST_ASSERT(vcpu->fd >= 0, "KVM_CREATE_VCPU: %s", strerror(errno));
	TEST_ASSERT(!ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init), "KVM_ARM_VCPU_INIT: %s",
		    strerror(errno));
	vcpu->run = mmap(NULL, ioctl(pvm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0),
			 PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	TEST_ASSERT(vcpu->run != MAP_FAILED, "mmap of a vCPU: %s", strerror(errno));

	pvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc), pvm_gpa(PVM_CODE_PAGE));
	pvm_set_reg(vcpu, KVM_ARM64_SYS_REG(SYS_MAIR_EL1), 0xff00);
	/* 32 bits of address, 40 of output, 4K, inner shareable, write-back */
	pvm_set_reg(vcpu, KVM_ARM64_SYS_REG(SYS_TCR_EL1),
		    32 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2ULL << 32);
	pvm_set_reg(vcpu, KVM_ARM64_SYS_REG(SYS_TTBR0_EL1), pvm_gpa(PVM_TABLE_PAGE));
	pvm_set_reg(vcpu, KVM_ARM64_SYS_REG(SYS_SCTLR_EL1),
		    pvm_get_reg(vcpu, KVM_ARM64_SYS_REG(SYS_SCTLR_EL1)) |
		    SCTLR_EL1_M | SCTLR_EL1_C | SCTLR_EL1_I);
}

/* A VM whose memory is private, except for @nr_shared pages at the end. */
static inline void pvm_create(struct pvm *pvm, int nr_vcpus, int nr_pages, int nr_shared,
			      u64 flags)
{
	const u64 block = 1 | 1 << 10;		/* valid, accessed */
	u64 *table;
	int i;

	memset(pvm, 0, sizeof(*pvm));
	pvm->flags = flags;
	pvm->nr_pages = nr_pages;
	pvm->nr_vcpus = nr_vcpus;
	pvm->kvm_fd = open_kvm_dev_path_or_exit();
	pvm->vm_fd = ioctl(pvm->kvm_fd, KVM_CREATE_VM, KVM_VM_TYPE_ARM_PROTECTED | 40);
	TEST_ASSERT(pvm->vm_fd >= 0, "KVM_CREATE_VM: %s", strerror(errno));
	pvm->fd = pvm_create_file(pvm, nr_pages, flags);
	TEST_ASSERT(pvm->fd >= 0, "KVM_CREATE_GUEST_MEMFD: %s", strerror(errno));
	pvm->mem = mmap(NULL, nr_pages * (size_t)SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED,
			pvm->fd, 0);
	TEST_ASSERT(pvm->mem != MAP_FAILED, "mmap: %s", strerror(errno));

	/* The way for the payload: shared, written, private. */
	memfile_convert(pvm->fd, 0, nr_pages * (u64)SZ_4K, false);
	memcpy(pvm_host(pvm, PVM_CODE_PAGE), pvm_agent, pvm_agent_end - pvm_agent);
	table = pvm_host(pvm, PVM_TABLE_PAGE);
	table[0] = block;
	table[2] = PVM_GPA | block | 1 << 2 | 3 << 8;
	memfile_convert(pvm->fd, 0, (nr_pages - nr_shared) * (u64)SZ_4K, true);

	pvm_slot(pvm, PVM_SLOT, 0, nr_pages, pvm->fd, 0);
	for (i = 0; i < nr_vcpus; i++)
		pvm_init_vcpu(pvm, i);
}

static inline void pvm_close(struct pvm *pvm)
{
	int i, size = ioctl(pvm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	for (i = 0; i < pvm->nr_vcpus; i++) {
		munmap(pvm->vcpus[i].run, size);
		close(pvm->vcpus[i].fd);
	}
	close(pvm->vm_fd);
	munmap(pvm->mem, pvm->nr_pages * (size_t)SZ_4K);
	close(pvm->fd);
	close(pvm->kvm_fd);
}

/*
 * Let the agent go on with its order until it has an answer.  Return 0, or KVM_RUN's
 * errno: then it is still at it, and may be let go on again.
 */
static inline int pvm_continue(struct pvm_vcpu *vcpu, u64 *result)
{
	struct kvm_run *run = vcpu->run;
	u64 reg;

	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0)) {
			if (errno == EINTR)
				continue;
			return errno;
		}
		TEST_ASSERT(run->exit_reason == KVM_EXIT_MMIO && run->mmio.len == 8,
			    "Exit %u (%s)", run->exit_reason, exit_reason_str(run->exit_reason));
		reg = (run->mmio.phys_addr - PVM_MMIO) / 8;
		if (run->mmio.is_write) {
			TEST_ASSERT(reg == 4, "MMIO at 0x%llx", run->mmio.phys_addr);
			memcpy(result, run->mmio.data, 8);
			return 0;
		}
		TEST_ASSERT(reg < 4, "MMIO at 0x%llx", run->mmio.phys_addr);
		memcpy(run->mmio.data, &vcpu->order[reg], 8);
	}
}

static inline int pvm_try(struct pvm_vcpu *vcpu, enum pvm_op op, gpa_t gpa, u64 val,
			  u64 arg, u64 *result)
{
	vcpu->order[0] = op;
	vcpu->order[1] = gpa;
	vcpu->order[2] = val;
	vcpu->order[3] = arg;
	return pvm_continue(vcpu, result);
}

static inline u64 pvm_do(struct pvm_vcpu *vcpu, enum pvm_op op, gpa_t gpa, u64 val, u64 arg)
{
	u64 result = 0;
	int err = pvm_try(vcpu, op, gpa, val, arg, &result);

	TEST_ASSERT(!err, "Operation %d at 0x%lx: KVM_RUN: %s, exit %u, fault at 0x%llx", op, gpa,
		    strerror(err), vcpu->run->exit_reason, vcpu->run->memory_fault.gpa);
	return result;
}

static inline void pvm_fill(struct pvm_vcpu *vcpu, int page, u64 val)
{
	pvm_do(vcpu, PVM_FILL, pvm_gpa(page), val, 0);
}

static inline void pvm_check(struct pvm_vcpu *vcpu, int page, u64 val)
{
	u64 wrong = pvm_do(vcpu, PVM_CHECK, pvm_gpa(page), val, 0);

	TEST_ASSERT(!wrong, "Page %d: %lu words are not 0x%lx, the first is 0x%lx", page, wrong,
		    val, pvm_do(vcpu, PVM_READ, pvm_gpa(page), 0, 0));
}

static inline long pvm_share(struct pvm_vcpu *vcpu, int page)
{
	return pvm_do(vcpu, PVM_CALL, pvm_gpa(page), PVM_MEM_SHARE, 0);
}

static inline long pvm_unshare(struct pvm_vcpu *vcpu, int page)
{
	return pvm_do(vcpu, PVM_CALL, pvm_gpa(page), PVM_MEM_UNSHARE, 0);
}

static inline long pvm_relinquish(struct pvm_vcpu *vcpu, int page)
{
	return pvm_do(vcpu, PVM_CALL, pvm_gpa(page), PVM_MEM_RELINQUISH, 0);
}

/* KVM_RUN must have failed with a KVM_EXIT_MEMORY_FAULT for a private access. */
static inline void pvm_assert_fault(struct pvm_vcpu *vcpu, int err, int page)
{
	struct kvm_run *run = vcpu->run;

	TEST_ASSERT(err == EFAULT, "Wanted EFAULT, got %d (%s)", err, strerror(err));
	TEST_ASSERT(run->exit_reason == KVM_EXIT_MEMORY_FAULT, "Exit %u (%s)", run->exit_reason,
		    exit_reason_str(run->exit_reason));
	TEST_ASSERT_EQ(run->memory_fault.gpa, pvm_gpa(page));
	TEST_ASSERT_EQ(run->memory_fault.size, (u64)SZ_4K);
	TEST_ASSERT_EQ(run->memory_fault.flags, (u64)KVM_MEMORY_EXIT_FLAG_PRIVATE);
}

/* The access fails, and again: nothing is put in the place of what was there. */
static inline void pvm_faults(struct pvm_vcpu *vcpu, enum pvm_op op, int page)
{
	u64 result;
	int i, err;

	memset(&vcpu->run->memory_fault, 0xff, sizeof(vcpu->run->memory_fault));
	err = pvm_try(vcpu, op, pvm_gpa(page), 0, 0, &result);
	pvm_assert_fault(vcpu, err, page);
	for (i = 0; i < 2; i++)
		pvm_assert_fault(vcpu, pvm_continue(vcpu, &result), page);
	/* The agent gives up and waits for another order. */
	pvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc), pvm_gpa(PVM_CODE_PAGE));
}

static sigjmp_buf pvm_jmp;

static inline void pvm_sigbus_handler(int sig)
{
	siglongjmp(pvm_jmp, 1);
}

/* Whether the host can load from, or store to, its mapping of a page. */
static inline bool pvm_host_can(u64 *p, bool write, u64 *val)
{
	/* A stage-2 fault would be a SIGSEGV, and is not wanted. */
	struct sigaction old, sa = { .sa_handler = pvm_sigbus_handler };
	bool can = false;

	sigaction(SIGBUS, &sa, &old);
	if (!sigsetjmp(pvm_jmp, 1)) {
		if (write)
			WRITE_ONCE(*p, *val);
		else
			*val = READ_ONCE(*p);
		can = true;
	}
	sigaction(SIGBUS, &old, NULL);
	return can;
}

/* A line of /proc/self/status, in kB. */
static inline long pvm_status(const char *key)
{
	size_t len = strlen(key);
	char line[256];
	long val = -1;
	FILE *f;

	f = fopen("/proc/self/status", "r");
	TEST_ASSERT(f, "Can't open /proc/self/status");
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, len) && line[len] == ':')
			val = strtol(line + len + 1, NULL, 10);
	}
	fclose(f);
	return val;
}

/* Pages that the CPUs have to themselves, for the next allocations, in bytes. */
static inline u64 pvm_percpu_pages(void)
{
	u64 nr = 0, count;
	char line[256];
	FILE *f;

	f = fopen("/proc/zoneinfo", "r");
	TEST_ASSERT(f, "Can't open /proc/zoneinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %lu", &count) == 1)
			nr += count;
	fclose(f);
	return nr * getpagesize();
}

/*
 * Memory that no page of a guest, no page table and no donation to EL2 takes, in bytes.
 * What slabs hold counts as if it were free: KASAN keeps for long what was freed there,
 * and kmemleak, which looks for what was not, keeps records.  From there it gets to the
 * CPUs' lists first, which MemFree does not know of.
 */
static inline u64 pvm_memory_left(void)
{
	return memfile_meminfo("MemFree") + memfile_meminfo("Slab") + pvm_percpu_pages();
}

#endif /* SELFTEST_KVM_ARM64_PVM_H */
