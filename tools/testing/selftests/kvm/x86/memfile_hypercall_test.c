// SPDX-License-Identifier: GPL-2.0
/*
 * Conversion of a memory file (guest_memfd) because the guest asks for it, by
 * KVM_HC_MAP_GPA_RANGE: what the VMM is told, what the other vCPUs see until it
 * has answered, and what the kernel does by itself if the VMM allows it.
 *
 * Most of it runs in one thread, on one CPU, so that no vCPU is where it is not
 * expected, and no page is in another CPU's hands, for which a guest has to ask
 * the VMM.
 */
#define _GNU_SOURCE
#include <linux/stddef.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"

#define NR_PAGES	16
#define SIZE		(NR_PAGES * PAGE_SIZE)
#define SLOT		10
#define NR_VCPUS	4

/* A chunk is converted as a whole or not at all. */
#define CHUNK		512
#define NR_MANY		(3 * CHUNK)

/* Guest page frames that are mapped 1:1 from MEMFILE_GPA on. */
#define NR_GPA_PAGES	64

/* Or, where there are many */
#define MANY_PAGE	NR_GPA_PAGES

#define SHARED_FILE	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)
#define PRIVATE_FILE	GUEST_MEMFD_FLAG_MMAP

#define TO_PRIVATE	true
#define TO_SHARED	false

#define BOTH		(KVM_GUEST_MEMFD_CONVERT_TO_SHARED |			\
			 KVM_GUEST_MEMFD_CONVERT_TO_PRIVATE)

/* More than is ever asked for */
#define NO_LIMIT	SZ_1G

/* What the VMM lets a request fail with, for it to come again */
#define AGAIN		11

static int soak_seconds = 1;
static u32 seed = 1;

static u64 pattern(int page)
{
	return 0x5ec0de0000000001ULL + page * 0x100;
}

static gpa_t gpa(int page)
{
	return MEMFILE_GPA + page * PAGE_SIZE;
}

static u64 map_attrs(bool private)
{
	return private ? KVM_MAP_GPA_RANGE_ENCRYPTED : KVM_MAP_GPA_RANGE_DECRYPTED;
}

static u64 fault_flags(bool private)
{
	return private ? KVM_MEMORY_EXIT_FLAG_PRIVATE : 0;
}

/* Guest: vCPUs that ask, each for something of its own */

struct ask {
	u64 gpa;
	u64 npages;
	u64 attrs;	/* of the first request, if there are more */
	u64 rounds;	/* how many requests, back and forth; 0: one, for its result */
	u64 step;	/* use one of so many pages, between the requests */
};

static struct ask asks[NR_VCPUS];

static u64 map_gpa_range(gpa_t gpa, u64 npages, u64 attrs)
{
	return kvm_hypercall(KVM_HC_MAP_GPA_RANGE, gpa, npages, attrs, 0);
}

/* What was written before a conversion is there after it. */
static void guest_flip(struct ask *ask)
{
	u64 round, page, ret, *p;

	for (page = 0; page < ask->npages; page += ask->step) {
		p = (u64 *)(ask->gpa + page * PAGE_SIZE);
		WRITE_ONCE(*p, (u64)p);
	}
	for (round = 0; round < ask->rounds; round++) {
		do {
			ret = map_gpa_range(ask->gpa, ask->npages, ask->attrs ^
					    (round % 2 ? KVM_MAP_GPA_RANGE_ENCRYPTED : 0));
		} while (ret == (u64)-AGAIN);
		__GUEST_ASSERT(!ret, "request %lu: %ld", round, ret);

		for (page = 0; page < ask->npages; page += ask->step) {
			p = (u64 *)(ask->gpa + page * PAGE_SIZE);
			__GUEST_ASSERT(READ_ONCE(*p) == (u64)p + round,
				       "request %lu, page %lu: 0x%lx", round, page, *p);
			WRITE_ONCE(*p, (u64)p + round + 1);
		}
	}
}

static void asker_code(u64 id)
{
	for (;;) {
		struct ask ask = {
			.gpa = READ_ONCE(asks[id].gpa),
			.npages = READ_ONCE(asks[id].npages),
			.attrs = READ_ONCE(asks[id].attrs),
			.rounds = READ_ONCE(asks[id].rounds),
			.step = READ_ONCE(asks[id].step),
		};
		u64 ret = 0;

		if (ask.rounds)
			guest_flip(&ask);
		else
			ret = map_gpa_range(ask.gpa, ask.npages, ask.attrs);
		GUEST_SYNC1(ret);
	}
}

/* Host */

FIXTURE(memfile_hypercall)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[NR_VCPUS];	/* all but the last one ask */
	struct kvm_vcpu *user;			/* the last one, which has no say */
	char *mem;
	int fd;
};

#define TEST_DATA FIXTURE_DATA(memfile_hypercall)

static void bind_slot(struct kvm_vm *vm, u32 slot, int gpa_page, int nr, int fd,
		      int file_page)
{
	vm_set_user_memory_region2(vm, slot, KVM_MEM_GUEST_MEMFD, gpa(gpa_page),
				   nr * PAGE_SIZE, NULL, fd, file_page * PAGE_SIZE);
}

static void delete_slot(struct kvm_vm *vm, u32 slot)
{
	vm_set_user_memory_region2(vm, slot, 0, 0, 0, NULL, -1, 0);
}

static void enable_exits(struct kvm_vm *vm)
{
	vm_enable_cap(vm, KVM_CAP_EXIT_HYPERCALL, BIT(KVM_HC_MAP_GPA_RANGE));
}

static int __allow(struct kvm_vm *vm, u64 directions, u64 max_call, u64 max_shared)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_GUEST_MEMFD_GUEST_CONVERT,
		.args = { directions, max_call, max_shared },
	};

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

static void allow(struct kvm_vm *vm, u64 directions, u64 max_call, u64 max_shared)
{
	int r = __allow(vm, directions, max_call, max_shared);

	TEST_ASSERT_VM_VCPU_IOCTL(!r, KVM_ENABLE_CAP, r, vm);
}

static void use_file(TEST_DATA *self, u64 flags)
{
	if (self->fd >= 0) {
		delete_slot(self->vm, SLOT);
		kvm_munmap(self->mem, SIZE);
		kvm_close(self->fd);
	}
	self->fd = vm_create_guest_memfd(self->vm, SIZE, flags);
	self->mem = kvm_mmap(SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
}

FIXTURE_SETUP(memfile_hypercall)
{
	int i;

	pin_self_to_any_cpu();
	self->vm = __vm_create_with_vcpus(memfile_convert_shape(), NR_VCPUS, 0,
					  asker_code, self->vcpus);
	virt_map(self->vm, gpa(0), gpa(0), NR_GPA_PAGES);
	for (i = 0; i < NR_VCPUS; i++)
		vcpu_args_set(self->vcpus[i], 1, (u64)i);
	self->user = self->vcpus[NR_VCPUS - 1];
	vcpu_arch_set_entry_point(self->user, memfile_guest_code);

	self->fd = -1;
	use_file(self, SHARED_FILE);
	enable_exits(self->vm);
}

/* Every test is a process, whose end is one more release that must work. */
FIXTURE_TEARDOWN(memfile_hypercall)
{
}

static u64 *host_page(char *mem, int page)
{
	return (u64 *)(mem + page * PAGE_SIZE);
}

static void check_state(TEST_DATA *self, int page, int nr, bool private)
{
	TEST_ASSERT_RUN(self->fd, page * PAGE_SIZE, nr * PAGE_SIZE, private, nr * PAGE_SIZE);
}

static void convert(TEST_DATA *self, int page, int nr, bool private)
{
	memfile_convert(self->fd, page * PAGE_SIZE, nr * PAGE_SIZE, private);
}

static void fill_all(TEST_DATA *self)
{
	int i;

	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_fill(self->user, gpa(i), pattern(i));
}

/* The host finds the guest's data in what is shared, and nothing else. */
static void host_check(char *mem, int page, bool private, u64 val)
{
	if (private)
		TEST_EXPECT_SIGBUS(READ_ONCE(*host_page(mem, page)));
	else
		TEST_ASSERT(READ_ONCE(*host_page(mem, page)) == val,
			    "Page %d: wanted 0x%lx, got 0x%lx", page, val,
			    *host_page(mem, page));
}

static void check_all(TEST_DATA *self)
{
	bool private;
	int i;

	for (i = 0; i < NR_PAGES; i++) {
		memfile_guest_check(self->user, gpa(i), pattern(i));
		memfile_run(self->fd, i * PAGE_SIZE, PAGE_SIZE, &private);
		host_check(self->mem, i, private, pattern(i));
	}
}

static void start_request(TEST_DATA *self, int id, gpa_t gpa, u64 npages, u64 attrs)
{
	struct kvm_vcpu *vcpu = self->vcpus[id];
	struct ask ask = { .gpa = gpa, .npages = npages, .attrs = attrs };

	write_guest_global(self->vm, asks[id], ask);

	/* What an earlier exit left there must not pass for this one's. */
	memset(&vcpu->run->hypercall, 0xff, sizeof(vcpu->run->hypercall));
	vcpu_run(vcpu);
}

static void check_exit(struct kvm_vcpu *vcpu, gpa_t gpa, u64 npages, u64 attrs)
{
	struct kvm_run *run = vcpu->run;

	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_HYPERCALL);
	TEST_ASSERT_EQ(run->hypercall.nr, (u64)KVM_HC_MAP_GPA_RANGE);
	TEST_ASSERT_EQ(run->hypercall.args[0], gpa);
	TEST_ASSERT_EQ(run->hypercall.args[1], npages);
	TEST_ASSERT_EQ(run->hypercall.args[2], attrs);
	TEST_ASSERT_EQ(run->hypercall.ret, 0ULL);
	TEST_ASSERT_EQ(run->hypercall.flags, KVM_EXIT_HYPERCALL_LONG_MODE);
}

/* The VMM is asked for the last @rest of the pages. */
static void asks_vmm(TEST_DATA *self, int id, int page, u64 npages, bool private,
		     u64 rest)
{
	start_request(self, id, gpa(page), npages, map_attrs(private));
	check_exit(self->vcpus[id], gpa(page) + (npages - rest) * PAGE_SIZE, rest,
		   map_attrs(private));
}

static void guest_gets(struct kvm_vcpu *vcpu, u64 ret)
{
	struct ucall uc;

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		TEST_ASSERT(uc.args[0] == ret, "The guest should get %ld, it got %ld",
			    ret, uc.args[0]);
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		TEST_FAIL("Unexpected exit %u (%s)", vcpu->run->exit_reason,
			  exit_reason_str(vcpu->run->exit_reason));
	}
}

static void answer(struct kvm_vcpu *vcpu, u64 ret)
{
	vcpu->run->hypercall.ret = ret;
	vcpu_run(vcpu);
	guest_gets(vcpu, ret);
}

static void gets_at_once(TEST_DATA *self, int id, gpa_t gpa, u64 npages, u64 attrs,
			 u64 ret)
{
	start_request(self, id, gpa, npages, attrs);
	guest_gets(self->vcpus[id], ret);
}

/* The kernel does it. */
static void is_granted(TEST_DATA *self, int page, u64 npages, bool private)
{
	gets_at_once(self, 0, gpa(page), npages, map_attrs(private), 0);
}

/* The kernel does not, and the VMM says no. */
static void is_refused(TEST_DATA *self, int page, u64 npages, bool private)
{
	asks_vmm(self, 0, page, npages, private, npages);
	answer(self->vcpus[0], -KVM_EPERM);
}

static int prefault(struct kvm_vcpu *vcpu, int page, int nr, u64 *left)
{
	struct kvm_pre_fault_memory range = {
		.gpa = gpa(page),
		.size = nr * PAGE_SIZE,
	};
	int r;

	do {
		r = __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
	} while ((!r && range.size) || (r && errno == EINTR));
	*left = range.size;
	return r ? errno : 0;
}

/* Capability */

TEST_F(memfile_hypercall, capability)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_GUEST_MEMFD_GUEST_CONVERT };
	struct kvm_vm *plain = vm_create_barebones();
	u64 bit;
	int i;

	ASSERT_EQ(BOTH, kvm_check_cap(KVM_CAP_GUEST_MEMFD_GUEST_CONVERT));
	ASSERT_EQ(BOTH, vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_GUEST_CONVERT));
	ASSERT_EQ(0, vm_check_cap(plain, KVM_CAP_GUEST_MEMFD_GUEST_CONVERT));

	allow(self->vm, 0, 0, 0);
	allow(self->vm, KVM_GUEST_MEMFD_CONVERT_TO_SHARED, 0, 0);
	allow(self->vm, KVM_GUEST_MEMFD_CONVERT_TO_PRIVATE, PAGE_SIZE, 0);
	/* There is no limit for the limits. */
	allow(self->vm, BOTH, -PAGE_SIZE, -PAGE_SIZE);
	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);

	for (i = 0; i < 64; i++) {
		bit = BIT_ULL(i);
		if (!(bit & BOTH)) {
			TEST_ASSERT_ERRNO(__allow(self->vm, bit, 0, 0), EINVAL);
			TEST_ASSERT_ERRNO(__allow(self->vm, BOTH | bit, 0, 0), EINVAL);
		}
		TEST_ASSERT_ERRNO(__allow(plain, bit, 0, 0), EINVAL);
		cap.flags = i < 32 ? bit : 0;
		if (cap.flags)
			TEST_ASSERT_ERRNO(__vm_ioctl(self->vm, KVM_ENABLE_CAP, &cap), EINVAL);
	}
	TEST_ASSERT_ERRNO(__allow(plain, BOTH, 0, 0), EINVAL);
	for (bit = 1; bit < PAGE_SIZE; bit <<= 1) {
		TEST_ASSERT_ERRNO(__allow(self->vm, BOTH, bit, 0), EINVAL);
		TEST_ASSERT_ERRNO(__allow(self->vm, BOTH, PAGE_SIZE + bit, 0), EINVAL);
		TEST_ASSERT_ERRNO(__allow(self->vm, BOTH, 0, bit), EINVAL);
		TEST_ASSERT_ERRNO(__allow(self->vm, 0, PAGE_SIZE, PAGE_SIZE + bit), EINVAL);
	}
	cap.flags = 0;
	cap.args[3] = 1;
	TEST_ASSERT_ERRNO(__vm_ioctl(self->vm, KVM_ENABLE_CAP, &cap), EINVAL);
	cap.args[0] = BOTH;
	cap.args[3] = BIT_ULL(63);
	TEST_ASSERT_ERRNO(__vm_ioctl(self->vm, KVM_ENABLE_CAP, &cap), EINVAL);

	/* None of these has changed what was allowed before. */
	fill_all(self);
	is_granted(self, 0, NR_PAGES, TO_PRIVATE);
	is_granted(self, 0, NR_PAGES, TO_SHARED);
	check_all(self);
}

/* Without exits there is no hypercall, whatever else the VMM allows. */
TEST_F(memfile_hypercall, no_exits)
{
	vm_enable_cap(self->vm, KVM_CAP_EXIT_HYPERCALL, 0);
	fill_all(self);

	gets_at_once(self, 0, gpa(0), 1, map_attrs(TO_PRIVATE), -KVM_ENOSYS);
	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	gets_at_once(self, 0, gpa(0), 1, map_attrs(TO_PRIVATE), -KVM_ENOSYS);
	gets_at_once(self, 0, gpa(0), 0, map_attrs(TO_PRIVATE), -KVM_ENOSYS);
	check_state(self, 0, NR_PAGES, false);
	check_all(self);

	enable_exits(self->vm);
	is_granted(self, 0, 1, TO_PRIVATE);
	check_state(self, 0, 1, true);
	check_all(self);
}

/* What is no range at all is not for the VMM. */
TEST_F(memfile_hypercall, not_a_range)
{
	int i;

	for (i = 0; i < 2; i++) {
		gets_at_once(self, 0, gpa(0) + 1, 1, map_attrs(TO_PRIVATE), -KVM_EINVAL);
		gets_at_once(self, 0, gpa(1) - 1, 1, map_attrs(TO_PRIVATE), -KVM_EINVAL);
		gets_at_once(self, 0, gpa(0), 0, map_attrs(TO_PRIVATE), -KVM_EINVAL);
		gets_at_once(self, 0, gpa(0), -1, map_attrs(TO_PRIVATE), -KVM_EINVAL);
		gets_at_once(self, 0, gpa(0), -(gpa(0) / PAGE_SIZE), map_attrs(TO_PRIVATE),
			     -KVM_EINVAL);
		/* This one is a range, however long. */
		asks_vmm(self, 0, 1, -(gpa(2) / PAGE_SIZE), TO_PRIVATE,
			 -(gpa(2) / PAGE_SIZE));
		memfile_guest_fill(self->user, gpa(1), pattern(1));
		answer(self->vcpus[0], -KVM_E2BIG);
		check_state(self, 0, NR_PAGES, false);
		allow(self->vm, BOTH, -PAGE_SIZE, -PAGE_SIZE);
	}
	asks_vmm(self, 0, 1, 1ULL << 51, TO_PRIVATE, (1ULL << 51) - (NR_PAGES - 1));
	check_state(self, 0, 1, false);
	check_state(self, 1, NR_PAGES - 1, true);
	answer(self->vcpus[0], 0);
	asks_vmm(self, 0, 1, 1ULL << 51, TO_SHARED, (1ULL << 51) - (NR_PAGES - 1));
	check_state(self, 0, NR_PAGES, false);
	answer(self->vcpus[0], 0);
}

/* Exits */

static void one_exit(TEST_DATA *self, int page, int nr, bool private)
{
	asks_vmm(self, 0, page, nr, private, nr);
	check_state(self, page, nr, !private);
	convert(self, page, nr, private);
	answer(self->vcpus[0], 0);
	check_state(self, page, nr, private);
	check_all(self);
}

TEST_F(memfile_hypercall, exits)
{
	fill_all(self);
	one_exit(self, 3, 1, TO_PRIVATE);
	one_exit(self, 8, 8, TO_PRIVATE);
	one_exit(self, 3, 1, TO_SHARED);
	one_exit(self, 8, 8, TO_SHARED);
	one_exit(self, 0, NR_PAGES, TO_PRIVATE);
	one_exit(self, 0, NR_PAGES, TO_SHARED);

	/* The page sizes are hints, to the VMM only. */
	start_request(self, 0, gpa(3), 1, KVM_MAP_GPA_RANGE_ENCRYPTED | 0xf);
	check_exit(self->vcpus[0], gpa(3), 1, KVM_MAP_GPA_RANGE_ENCRYPTED | 0xf);
	memfile_guest_faults(self->user, GUEST_READ, gpa(3), 0, EFAULT);
	answer(self->vcpus[0], 0);
	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	gets_at_once(self, 0, gpa(3), 1, KVM_MAP_GPA_RANGE_ENCRYPTED | 0xf, 0);
	check_state(self, 3, 1, true);

	/* What KVM does not know is no conversion to it. */
	start_request(self, 0, gpa(0), NR_PAGES, BIT(5));
	check_exit(self->vcpus[0], gpa(0), NR_PAGES, BIT(5));
	check_state(self, 0, 3, false);
	check_all(self);
	answer(self->vcpus[0], -KVM_EINVAL);
	start_request(self, 0, gpa(3), 1, BIT_ULL(63));
	check_exit(self->vcpus[0], gpa(3), 1, BIT_ULL(63));
	check_all(self);
	answer(self->vcpus[0], 0);
	check_state(self, 3, 1, true);
}

/* A VM that cannot convert: its guest may ask all the same. */
TEST_F(memfile_hypercall, plain_vm)
{
	FIXTURE_DATA(memfile_hypercall) other = { .fd = -1 };
	int i;

	other.vm = vm_create_with_vcpus(NR_VCPUS, asker_code, other.vcpus);
	virt_map(other.vm, gpa(0), gpa(0), NR_PAGES);
	for (i = 0; i < NR_VCPUS; i++)
		vcpu_args_set(other.vcpus[i], 1, (u64)i);
	other.user = other.vcpus[NR_VCPUS - 1];
	vcpu_arch_set_entry_point(other.user, memfile_guest_code);
	use_file(&other, SHARED_FILE);

	gets_at_once(&other, 0, gpa(3), 2, map_attrs(TO_PRIVATE), -KVM_ENOSYS);
	enable_exits(other.vm);
	fill_all(&other);
	asks_vmm(&other, 0, 3, 2, TO_PRIVATE, 2);
	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_check(other.user, gpa(i), pattern(i));
	answer(other.vcpus[0], -KVM_EOPNOTSUPP);
	asks_vmm(&other, 0, 3, 2, TO_SHARED, 2);
	answer(other.vcpus[0], 0);
}

/* Pending */

static void check_pending_page(TEST_DATA *self, int page, bool private)
{
	memfile_guest_faults(self->user, GUEST_READ, gpa(page), fault_flags(private), EFAULT);
	memfile_guest_faults(self->user, GUEST_FILL, gpa(page), fault_flags(private), EFAULT);
}

/* All of the range, and nothing of what is around it */
static void check_pending(TEST_DATA *self, int page, int nr, bool private)
{
	check_pending_page(self, page, private);
	check_pending_page(self, page + nr / 2, private);
	check_pending_page(self, page + nr - 1, private);
	if (page) {
		memfile_guest_check(self->user, gpa(page - 1), pattern(page - 1));
		memfile_guest_fill(self->user, gpa(page - 1), pattern(page - 1));
	}
	if (page + nr < NR_PAGES) {
		memfile_guest_check(self->user, gpa(page + nr), pattern(page + nr));
		memfile_guest_fill(self->user, gpa(page + nr), pattern(page + nr));
	}
}

static void pending(TEST_DATA *self, int page, int nr, bool private)
{
	u64 result;
	int i;

	/* After this all of it is mapped, for writing, but for the neighbours. */
	convert(self, 0, NR_PAGES, !private);
	fill_all(self);
	for (i = max(page - 1, 0); i <= page + nr && i < NR_PAGES; i++) {
		if (i >= page && i < page + nr)
			continue;
		convert(self, i, 1, private);
		convert(self, i, 1, !private);
	}

	asks_vmm(self, 0, page, nr, private, nr);
	check_pending(self, page, nr, !private);
	/* Not so the host, whose mapping is as the file says. */
	host_check(self->mem, page, !private, pattern(page));
	check_state(self, page, nr, !private);

	/* The VMM does it in two steps; it is not over with either. */
	convert(self, page, 1, private);
	check_pending_page(self, page, private);
	convert(self, page, nr, private);
	check_pending(self, page, nr, private);
	host_check(self->mem, page, private, pattern(page));

	/* An access that has failed is one to try again. */
	TEST_ASSERT_EQ(memfile_guest_try(self->user, GUEST_READ, gpa(page), 0, &result),
		       EFAULT);
	vcpu_run_complete_io(self->vcpus[0]);
	vcpu_run(self->user);
	guest_gets(self->user, pattern(page));
	check_all(self);

	vcpu_run(self->vcpus[0]);
	guest_gets(self->vcpus[0], 0);
	fill_all(self);
	check_state(self, page, nr, private);
}

TEST_F(memfile_hypercall, pending)
{
	int private;

	for (private = 0; private < 2; private++) {
		pending(self, 4, 8, private);
		pending(self, 7, 1, private);
		pending(self, 0, 3, private);
		pending(self, NR_PAGES - 2, 2, private);
		pending(self, 0, NR_PAGES, private);
	}
}

/* Answered in full only: the VMM need not have done it, or anything. */
TEST_F(memfile_hypercall, pending_denied)
{
	int private;

	for (private = 0; private < 2; private++) {
		convert(self, 0, NR_PAGES, !private);
		fill_all(self);

		asks_vmm(self, 0, 4, 8, private, 8);
		check_pending(self, 4, 8, !private);
		answer(self->vcpus[0], -KVM_EPERM);
		check_state(self, 0, NR_PAGES, !private);
		check_all(self);

		/* The VMM lies. */
		asks_vmm(self, 0, 4, 8, private, 8);
		check_pending(self, 4, 8, !private);
		answer(self->vcpus[0], 0);
		check_state(self, 0, NR_PAGES, !private);
		check_all(self);
	}
}

TEST_F(memfile_hypercall, pending_of_two)
{
	fill_all(self);

	asks_vmm(self, 0, 2, 2, TO_PRIVATE, 2);
	asks_vmm(self, 1, 8, 4, TO_PRIVATE, 4);
	check_pending(self, 2, 2, false);
	check_pending(self, 8, 4, false);
	convert(self, 8, 4, TO_PRIVATE);
	answer(self->vcpus[1], 0);
	check_pending(self, 2, 2, false);
	memfile_guest_check(self->user, gpa(8), pattern(8));
	memfile_guest_check(self->user, gpa(11), pattern(11));
	answer(self->vcpus[0], -KVM_EPERM);
	check_all(self);

	/* They overlap: what they both want is pending until both have it. */
	convert(self, 0, NR_PAGES, TO_SHARED);
	fill_all(self);
	asks_vmm(self, 0, 2, 6, TO_PRIVATE, 6);
	asks_vmm(self, 1, 5, 5, TO_PRIVATE, 5);
	check_pending(self, 2, 8, false);
	convert(self, 2, 6, TO_PRIVATE);
	answer(self->vcpus[0], 0);
	memfile_guest_check(self->user, gpa(4), pattern(4));
	check_pending_page(self, 5, true);
	check_pending_page(self, 7, true);
	check_pending_page(self, 8, false);
	convert(self, 5, 5, TO_PRIVATE);
	answer(self->vcpus[1], 0);
	check_all(self);

	/* One that waits for the VMM is no hindrance to one that need not. */
	asks_vmm(self, 1, 0, 1, TO_PRIVATE, 1);
	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	is_granted(self, 2, 8, TO_SHARED);
	check_pending_page(self, 0, false);
	is_granted(self, 0, 1, TO_PRIVATE);
	check_pending_page(self, 0, true);
	answer(self->vcpus[1], 0);
	check_all(self);
}

/* A vCPU that will never run again */
TEST_F(memfile_hypercall, pending_closed)
{
	size_t run_size = ioctl(self->vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);

	fill_all(self);
	asks_vmm(self, 0, 2, 6, TO_PRIVATE, 6);
	asks_vmm(self, 1, 7, 2, TO_PRIVATE, 2);
	check_pending(self, 2, 7, false);

	kvm_munmap(self->vcpus[0]->run, run_size);
	check_pending(self, 2, 7, false);
	kvm_close(self->vcpus[0]->fd);
	memfile_guest_check(self->user, gpa(2), pattern(2));
	memfile_guest_check(self->user, gpa(6), pattern(6));
	check_pending(self, 7, 2, false);
	kvm_munmap(self->vcpus[1]->run, run_size);
	kvm_close(self->vcpus[1]->fd);
	check_all(self);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	check_all(self);
}

/* Nor does the VMM get at it on the guest's behalf, whatever it does first. */
TEST_F(memfile_hypercall, pending_prefault)
{
	u64 left;
	int i;

	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		SKIP(return, "no KVM_PRE_FAULT_MEMORY");

	fill_all(self);
	asks_vmm(self, 0, 4, 2, TO_PRIVATE, 2);
	for (i = 0; i < 2; i++) {
		bool private = i == 1;

		/* If it left something behind, the guest would find it. */
		ASSERT_EQ(EFAULT, prefault(self->user, 4, 1, &left));
		ASSERT_EQ(PAGE_SIZE, left);
		check_pending(self, 4, 2, private);
		ASSERT_EQ(EFAULT, prefault(self->user, 2, 4, &left));
		ASSERT_EQ(2 * PAGE_SIZE, left);
		ASSERT_EQ(EFAULT, prefault(self->vcpus[0], 5, 1, &left));
		check_pending(self, 4, 2, private);
		convert(self, 4, 2, TO_PRIVATE);
	}
	vcpu_run_complete_io(self->vcpus[0]);
	ASSERT_EQ(0, prefault(self->user, 2, 4, &left));
	check_all(self);
}

/* Pending are addresses of the guest, and not pages or memslots. */
TEST_F(memfile_hypercall, pending_slots)
{
	fill_all(self);
	delete_slot(self->vm, SLOT);
	bind_slot(self->vm, SLOT, 0, 6, self->fd, 0);
	bind_slot(self->vm, SLOT + 1, 6, NR_PAGES - 6, self->fd, 6);
	check_all(self);

	/* In both of them */
	asks_vmm(self, 0, 4, 8, TO_PRIVATE, 8);
	check_pending(self, 4, 8, false);
	delete_slot(self->vm, SLOT + 1);
	check_pending_page(self, 5, false);
	bind_slot(self->vm, SLOT + 1, 6, NR_PAGES - 6, self->fd, 6);
	check_pending(self, 4, 8, false);
	kvm_fallocate(self->fd, MEMFILE_PUNCH, 5 * PAGE_SIZE, PAGE_SIZE);
	check_pending(self, 4, 8, false);
	TEST_ASSERT_PRESENT(self->fd, SIZE - PAGE_SIZE);
	convert(self, 4, 8, TO_PRIVATE);
	answer(self->vcpus[0], 0);
	memfile_guest_check(self->user, gpa(5), 0);
	memfile_guest_fill(self->user, gpa(5), pattern(5));
	check_all(self);
}

/* In the kernel */

/* If the VMM were asked, the first exit would not be the guest's last word. */
static void flip(TEST_DATA *self, int page, u64 npages, bool private, u64 rounds)
{
	bool at_last = rounds % 2 ? private : !private;
	struct ask ask = {
		.gpa = gpa(page),
		.npages = npages,
		.attrs = map_attrs(private),
		.rounds = rounds,
		.step = 1,
	};
	int i;

	write_guest_global(self->vm, asks[0], ask);
	vcpu_run(self->vcpus[0]);
	guest_gets(self->vcpus[0], 0);

	check_state(self, page, npages, at_last);
	for (i = page; i < page + npages; i++)
		host_check(self->mem, i, at_last, gpa(i) + rounds);
}

TEST_F(memfile_hypercall, in_kernel)
{
	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	flip(self, 3, 1, TO_PRIVATE, 1000);
	flip(self, 3, 1, TO_PRIVATE, 501);
	flip(self, 3, 1, TO_PRIVATE, 1);
	flip(self, 3, 1, TO_SHARED, 1);
	flip(self, 4, 7, TO_PRIVATE, 101);
	flip(self, 4, 7, TO_SHARED, 2);
	flip(self, 0, NR_PAGES, TO_SHARED, 100);
	flip(self, 0, NR_PAGES, TO_SHARED, 101);

	use_file(self, PRIVATE_FILE);
	flip(self, 0, 1, TO_SHARED, 1);
	flip(self, NR_PAGES - 1, 1, TO_SHARED, 101);
	flip(self, 5, 9, TO_SHARED, 3);
	/* As mixed as it is by now */
	flip(self, 0, NR_PAGES, TO_PRIVATE, 1);
	flip(self, 0, NR_PAGES, TO_SHARED, 1);
}

/* Nothing of what other vCPUs have mapped outlives it, and nothing is pending. */
TEST_F(memfile_hypercall, in_kernel_others)
{
	u64 before = -1, after = -1, exits;
	int i;

	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	fill_all(self);
	for (i = 0; i < 8; i++) {
		exits = vcpu_get_stat(self->user, exits);
		memfile_guest_do(self->user, GUEST_READ, gpa(5), 0);
		before = min(before, vcpu_get_stat(self->user, exits) - exits);
		is_granted(self, 4, 4, i % 2 == 0);
		exits = vcpu_get_stat(self->user, exits);
		memfile_guest_do(self->user, GUEST_READ, gpa(5), 0);
		after = min(after, vcpu_get_stat(self->user, exits) - exits);
		check_all(self);
	}
	/* Interrupts of the host are exits, too, so it is the fewest that count. */
	ASSERT_LT(before, after);
}

/* It needs no page: a hole has a state, which counts when it is filled. */
TEST_F(memfile_hypercall, in_kernel_holes)
{
	int i;

	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	is_granted(self, 4, 8, TO_PRIVATE);
	TEST_ASSERT_PRESENT(self->fd, 0);
	check_state(self, 0, 4, false);
	check_state(self, 4, 8, true);
	check_state(self, 12, 4, false);
	fill_all(self);
	check_all(self);
	kvm_fallocate(self->fd, MEMFILE_PUNCH, 0, SIZE);
	is_granted(self, 0, NR_PAGES, TO_SHARED);
	TEST_ASSERT_PRESENT(self->fd, 0);
	for (i = 0; i < NR_PAGES; i++)
		host_check(self->mem, i, false, 0);
}

static u64 faults_of_use(TEST_DATA *self, int page)
{
	u64 before = vcpu_get_stat(self->user, pf_taken);

	memfile_guest_fill(self->user, gpa(page), pattern(page));
	return vcpu_get_stat(self->user, pf_taken) - before;
}

/* A single page is mapped at once, but not brought into being for that. */
TEST_F(memfile_hypercall, in_kernel_mapped)
{
	int i;

	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	fill_all(self);
	for (i = 0; i < 4; i++) {
		is_granted(self, 5, 1, i % 2 == 0);
		ASSERT_EQ(faults_of_use(self, 5), 0);
		check_all(self);
	}

	is_granted(self, 5, 2, TO_PRIVATE);
	ASSERT_EQ(faults_of_use(self, 5), 1);
	check_all(self);

	kvm_fallocate(self->fd, MEMFILE_PUNCH, 5 * PAGE_SIZE, PAGE_SIZE);
	is_granted(self, 5, 1, TO_SHARED);
	TEST_ASSERT_PRESENT(self->fd, SIZE - PAGE_SIZE);
	ASSERT_EQ(faults_of_use(self, 5), 1);
	check_all(self);
}

/* Limits */

TEST_F(memfile_hypercall, directions)
{
	fill_all(self);

	allow(self->vm, KVM_GUEST_MEMFD_CONVERT_TO_PRIVATE, NO_LIMIT, NO_LIMIT);
	is_granted(self, 2, 4, TO_PRIVATE);
	is_refused(self, 2, 4, TO_SHARED);
	check_state(self, 2, 4, true);

	allow(self->vm, KVM_GUEST_MEMFD_CONVERT_TO_SHARED, NO_LIMIT, NO_LIMIT);
	is_refused(self, 6, 4, TO_PRIVATE);
	check_state(self, 6, 4, false);
	is_granted(self, 2, 4, TO_SHARED);
	check_state(self, 0, NR_PAGES, false);

	allow(self->vm, 0, NO_LIMIT, NO_LIMIT);
	is_refused(self, 2, 4, TO_PRIVATE);
	is_refused(self, 2, 4, TO_SHARED);
	check_state(self, 0, NR_PAGES, false);
	check_all(self);
}

TEST_F(memfile_hypercall, max_call)
{
	fill_all(self);

	allow(self->vm, BOTH, 4 * PAGE_SIZE, NO_LIMIT);
	is_granted(self, 2, 4, TO_PRIVATE);
	is_refused(self, 6, 5, TO_PRIVATE);
	check_state(self, 6, 5, false);
	is_granted(self, 2, 4, TO_SHARED);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	is_refused(self, 2, 5, TO_SHARED);
	check_state(self, 0, NR_PAGES, true);
	is_granted(self, 2, 4, TO_SHARED);
	check_state(self, 2, 4, false);

	allow(self->vm, BOTH, PAGE_SIZE, NO_LIMIT);
	is_refused(self, 2, 2, TO_PRIVATE);
	is_granted(self, 2, 1, TO_PRIVATE);
	allow(self->vm, BOTH, 0, NO_LIMIT);
	is_refused(self, 3, 1, TO_PRIVATE);
	check_state(self, 0, 3, true);
	check_state(self, 3, 3, false);
	check_all(self);
}

TEST_F(memfile_hypercall, max_shared)
{
	use_file(self, PRIVATE_FILE);
	fill_all(self);

	allow(self->vm, BOTH, NO_LIMIT, 4 * PAGE_SIZE);
	is_granted(self, 0, 3, TO_SHARED);
	/* All of it or nothing */
	is_refused(self, 4, 2, TO_SHARED);
	check_state(self, 3, NR_PAGES - 3, true);
	/* What is so already takes nothing, in whatever company. */
	is_granted(self, 0, 1, TO_SHARED);
	is_granted(self, 4, 8, TO_PRIVATE);
	is_granted(self, 3, 1, TO_SHARED);
	is_refused(self, 4, 1, TO_SHARED);
	check_state(self, 0, 4, false);
	check_state(self, 4, NR_PAGES - 4, true);

	/* What is given back can be taken again. */
	is_granted(self, 1, 2, TO_PRIVATE);
	is_refused(self, 4, 3, TO_SHARED);
	is_granted(self, 10, 1, TO_SHARED);
	is_granted(self, 1, 1, TO_SHARED);
	is_refused(self, 2, 1, TO_SHARED);

	/* Partly so already, with room for all of it to be taken at first */
	is_granted(self, 0, 2, TO_PRIVATE);
	is_granted(self, 9, 2, TO_SHARED);
	is_granted(self, 0, 1, TO_SHARED);
	is_refused(self, 1, 1, TO_SHARED);
	/* From here on: pages 0, 3, 9 and 10 */
	is_granted(self, 0, NR_PAGES, TO_PRIVATE);
	is_granted(self, 12, 4, TO_SHARED);
	is_refused(self, 0, 1, TO_SHARED);

	/* It is the guest's account: what the VMM does is not on it. */
	convert(self, 12, 4, TO_PRIVATE);
	is_refused(self, 12, 1, TO_SHARED);
	convert(self, 0, 8, TO_SHARED);
	is_refused(self, 12, 1, TO_SHARED);
	is_granted(self, 0, 3, TO_PRIVATE);
	is_granted(self, 12, 3, TO_SHARED);
	is_refused(self, 15, 1, TO_SHARED);

	/* Another limit is for what there is, and there may be more already. */
	allow(self->vm, BOTH, NO_LIMIT, 5 * PAGE_SIZE);
	is_granted(self, 15, 1, TO_SHARED);
	is_refused(self, 8, 1, TO_SHARED);
	allow(self->vm, BOTH, NO_LIMIT, 2 * PAGE_SIZE);
	is_granted(self, 15, 1, TO_PRIVATE);
	is_refused(self, 15, 1, TO_SHARED);
	is_granted(self, 12, 3, TO_PRIVATE);
	is_granted(self, 12, 1, TO_SHARED);
	is_refused(self, 13, 1, TO_SHARED);
	check_all(self);
}

/* The guest has made private what was never on its account. */
TEST_F(memfile_hypercall, max_shared_credit)
{
	fill_all(self);

	allow(self->vm, BOTH, NO_LIMIT, 0);
	is_refused(self, 0, 1, TO_SHARED);
	is_granted(self, 0, 3, TO_PRIVATE);
	is_granted(self, 0, 2, TO_SHARED);
	is_refused(self, 1, 2, TO_SHARED);
	is_granted(self, 2, 1, TO_SHARED);
	is_refused(self, 2, 1, TO_SHARED);
	check_state(self, 0, NR_PAGES, false);
	check_all(self);
}

/* What the kernel leaves to the VMM */

static void map_many(struct kvm_vm *vm)
{
	virt_map(vm, gpa(MANY_PAGE), gpa(MANY_PAGE), NR_MANY);
}

/* A file with some chunks of pages, all of them there */
static int create_many(TEST_DATA *self, char **mem)
{
	int fd = vm_create_guest_memfd(self->vm, NR_MANY * PAGE_SIZE, SHARED_FILE);
	int i;

	*mem = kvm_mmap(NR_MANY * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	bind_slot(self->vm, SLOT + 1, MANY_PAGE, NR_MANY, fd, 0);
	for (i = 0; i < NR_MANY; i++)
		*host_page(*mem, i) = pattern(i);
	return fd;
}

static void check_many(int fd, char *mem, int nr_private)
{
	int i;

	if (nr_private)
		TEST_ASSERT_RUN(fd, 0, NR_MANY * PAGE_SIZE, true, nr_private * PAGE_SIZE);
	if (nr_private < NR_MANY)
		TEST_ASSERT_RUN(fd, nr_private * PAGE_SIZE,
				(NR_MANY - nr_private) * PAGE_SIZE, false,
				(NR_MANY - nr_private) * PAGE_SIZE);
	for (i = 0; i < NR_MANY; i += 73)
		host_check(mem, i, i < nr_private, pattern(i));
}

static void page_in_use(TEST_DATA *self, bool use_ring, int busy, int done)
{
	const int rest = NR_MANY - done, page = MANY_PAGE + done;
	int fd, pipes[2], ring = -1;
	char *mem;

	fd = create_many(self, &mem);
	if (use_ring) {
		ring = memfile_pin(host_page(mem, busy), PAGE_SIZE);
	} else {
		struct iovec iov = {
			.iov_base = host_page(mem, busy),
			.iov_len = PAGE_SIZE,
		};

		TEST_ASSERT(!pipe(pipes), "pipe() failed");
		TEST_ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), (ssize_t)PAGE_SIZE);
	}

	/* Without an answer of the VMM nothing changes, of that part. */
	asks_vmm(self, 0, MANY_PAGE, NR_MANY, TO_PRIVATE, rest);
	check_many(fd, mem, done);
	answer(self->vcpus[0], -AGAIN);
	asks_vmm(self, 0, MANY_PAGE, NR_MANY, TO_PRIVATE, rest);
	check_many(fd, mem, done);

	if (done)
		TEST_ASSERT_EQ(memfile_guest_do(self->user, GUEST_READ, gpa(page - 1), 0),
			       pattern(done - 1));
	check_pending_page(self, page, false);
	check_pending_page(self, MANY_PAGE + busy, false);
	check_pending_page(self, MANY_PAGE + NR_MANY - 1, false);

	TEST_ASSERT_CONVERT_FAILS(fd, done * PAGE_SIZE, rest * PAGE_SIZE, TO_PRIVATE,
				  use_ring ? EBUSY : EAGAIN, busy * PAGE_SIZE);
	if (use_ring) {
		memfile_unpin(ring);
	} else {
		kvm_close(pipes[0]);
		kvm_close(pipes[1]);
	}
	memfile_convert(fd, done * PAGE_SIZE, rest * PAGE_SIZE, TO_PRIVATE);
	check_pending_page(self, page, true);
	answer(self->vcpus[0], 0);
	check_many(fd, mem, NR_MANY);
	TEST_ASSERT_EQ(memfile_guest_do(self->user, GUEST_READ, gpa(MANY_PAGE + busy), 0),
		       pattern(busy));

	is_granted(self, MANY_PAGE, NR_MANY, TO_SHARED);
	check_many(fd, mem, 0);
	is_granted(self, MANY_PAGE, NR_MANY, TO_PRIVATE);
	check_many(fd, mem, NR_MANY);

	delete_slot(self->vm, SLOT + 1);
	kvm_munmap(mem, NR_MANY * PAGE_SIZE);
	kvm_close(fd);
}

TEST_F(memfile_hypercall, page_in_pipe)
{
	map_many(self->vm);
	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	page_in_use(self, false, CHUNK, CHUNK);
	page_in_use(self, false, CHUNK - 1, 0);
}

TEST_F(memfile_hypercall, registered_buffer)
{
	struct io_uring_params params = {};

	if (syscall(__NR_io_uring_setup, 1, &params) < 0)
		SKIP(return, "no io_uring");

	map_many(self->vm);
	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	page_in_use(self, true, CHUNK + 188, CHUNK);
	page_in_use(self, true, 3 * CHUNK - 1, 2 * CHUNK);
}

/* What the kernel could not do is not on the guest's account. */
TEST_F(memfile_hypercall, account_of_a_part)
{
	int pipes[2], fd;
	struct iovec iov;
	char *mem;

	map_many(self->vm);
	fd = create_many(self, &mem);
	iov = (struct iovec) { .iov_base = host_page(mem, CHUNK), .iov_len = PAGE_SIZE };
	TEST_ASSERT(!pipe(pipes), "pipe() failed");
	TEST_ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), (ssize_t)PAGE_SIZE);

	/* A chunk's worth of credit, and not a page more */
	allow(self->vm, BOTH, NO_LIMIT, 0);
	asks_vmm(self, 0, MANY_PAGE, NR_MANY, TO_PRIVATE, 2 * CHUNK);
	kvm_close(pipes[0]);
	kvm_close(pipes[1]);
	memfile_convert(fd, 0, NR_MANY * PAGE_SIZE, TO_PRIVATE);
	answer(self->vcpus[0], 0);
	is_refused(self, MANY_PAGE, CHUNK + 1, TO_SHARED);
	is_granted(self, MANY_PAGE + 1, CHUNK, TO_SHARED);
	is_refused(self, MANY_PAGE, 1, TO_SHARED);

	/* To shared: the part of a request that is in no slot, and is not done */
	allow(self->vm, BOTH, NO_LIMIT, 100 * PAGE_SIZE);
	asks_vmm(self, 0, MANY_PAGE + NR_MANY - 2, 99, TO_SHARED, 97);
	answer(self->vcpus[0], 0);
	is_refused(self, MANY_PAGE + NR_MANY - 101, 99, TO_SHARED);
	is_granted(self, MANY_PAGE + NR_MANY - 100, 98, TO_SHARED);
	is_refused(self, MANY_PAGE, 1, TO_SHARED);
}

TEST_F(memfile_hypercall, two_kinds_of_slots)
{
	char *ram = kvm_mmap(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct kvm_vm *vm = self->vm;
	int fd, i;

	allow(vm, BOTH, NO_LIMIT, NO_LIMIT);
	fill_all(self);
	/* Ordinary ones behind it: for the VM to say what is private there */
	vm_set_user_memory_region2(vm, SLOT + 1, 0, gpa(NR_PAGES), SIZE, ram, -1, 0);
	memfile_guest_fill(self->user, gpa(NR_PAGES), pattern(NR_PAGES));

	asks_vmm(self, 0, 12, 8, TO_PRIVATE, 4);
	check_state(self, 0, 12, false);
	check_state(self, 12, 4, true);
	/* Not pending: it is not memory that could be converted, either. */
	memfile_guest_check(self->user, gpa(NR_PAGES), pattern(NR_PAGES));
	memfile_guest_check(self->user, gpa(NR_PAGES - 1), pattern(NR_PAGES - 1));
	answer(self->vcpus[0], 0);
	asks_vmm(self, 0, NR_PAGES, 4, TO_PRIVATE, 4);
	answer(self->vcpus[0], 0);

	/* Ordinary first: all of it is left to the VMM. */
	delete_slot(vm, SLOT + 1);
	delete_slot(vm, SLOT);
	vm_set_user_memory_region2(vm, SLOT + 1, 0, gpa(NR_PAGES), SIZE, ram, -1, 0);
	bind_slot(vm, SLOT, 2 * NR_PAGES, NR_PAGES, self->fd, 0);
	asks_vmm(self, 0, 2 * NR_PAGES - 1, 4, TO_PRIVATE, 4);
	check_state(self, 0, 12, false);
	memfile_guest_check(self->user, gpa(2 * NR_PAGES), pattern(0));
	answer(self->vcpus[0], 0);

	/* A file that leaves it to the VM is as good as none. */
	fd = vm_create_guest_memfd(vm, SIZE, 0);
	delete_slot(vm, SLOT + 1);
	vm_set_user_memory_region2(vm, SLOT + 1, KVM_MEM_GUEST_MEMFD, gpa(NR_PAGES), SIZE,
				   ram, fd, 0);
	asks_vmm(self, 0, 2 * NR_PAGES - 1, 1, TO_PRIVATE, 1);
	memfile_guest_check(self->user, gpa(NR_PAGES), pattern(NR_PAGES));
	answer(self->vcpus[0], 0);
	asks_vmm(self, 0, NR_PAGES, 2 * NR_PAGES, TO_SHARED, 2 * NR_PAGES);
	check_state(self, 12, 4, true);
	answer(self->vcpus[0], 0);
	delete_slot(vm, SLOT + 1);
	kvm_close(fd);

	/* Two files, and nothing behind them */
	fd = vm_create_guest_memfd(vm, SIZE, SHARED_FILE);
	bind_slot(vm, SLOT + 1, 3 * NR_PAGES, NR_PAGES, fd, 0);
	is_granted(self, 2 * NR_PAGES + 1, 2 * NR_PAGES - 2, TO_PRIVATE);
	check_state(self, 0, 1, false);
	check_state(self, 1, NR_PAGES - 1, true);
	TEST_ASSERT_RUN(fd, 0, SIZE, true, SIZE - PAGE_SIZE);
	asks_vmm(self, 0, 3 * NR_PAGES, NR_PAGES + 1, TO_PRIVATE, 1);
	TEST_ASSERT_RUN(fd, 0, SIZE, true, SIZE);
	answer(self->vcpus[0], 0);
	asks_vmm(self, 0, 4 * NR_PAGES, 1, TO_PRIVATE, 1);
	answer(self->vcpus[0], 0);
	asks_vmm(self, 0, 0, 2 * NR_PAGES + 1, TO_PRIVATE, 2 * NR_PAGES + 1);
	check_state(self, 0, 1, false);
	answer(self->vcpus[0], 0);

	/* A file that is gone */
	kvm_close(fd);
	asks_vmm(self, 0, 3 * NR_PAGES - 1, 2, TO_SHARED, 1);
	answer(self->vcpus[0], 0);
	check_state(self, NR_PAGES - 1, 1, false);
	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_check(self->user, gpa(2 * NR_PAGES + i), pattern(i));
}

/* Signals */

static void nothing(int sig)
{
}

/* Each time at another moment of a request, or between two */
static void set_alarm(struct kvm_random_state *rng)
{
	struct itimerval timer = { .it_value.tv_usec = 1 + kvm_random_u32(rng) % 8000 };

	TEST_ASSERT(!setitimer(ITIMER_REAL, &timer, NULL), "setitimer() failed");
}

/* Each page of a request that a signal has cut in two is converted just once. */
TEST_F_TIMEOUT(memfile_hypercall, signals, 60)
{
	struct kvm_random_state rng = new_kvm_random_state(seed);
	struct kvm_vcpu *vcpu = self->vcpus[0];
	struct kvm_run *run = vcpu->run;
	unsigned int nr_exits = 0, nr_parts = 0, runs;
	struct timespec start;
	struct ask ask = {
		.gpa = gpa(MANY_PAGE),
		.npages = NR_MANY,
		.attrs = map_attrs(TO_PRIVATE),
		.rounds = 8,
		.step = 97,
	};
	bool private;
	char *mem;
	int fd, i;

	map_many(self->vm);
	fd = create_many(self, &mem);
	allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
	signal(SIGALRM, nothing);
	clock_gettime(CLOCK_MONOTONIC, &start);

	for (runs = 0; runs < 3 || (!nr_parts && timespec_elapsed(start).tv_sec < 20); runs++) {
		write_guest_global(self->vm, asks[0], ask);
		for (;;) {
			gpa_t from;
			u64 left;
			int done;

			set_alarm(&rng);
			vcpu_run(vcpu);
			if (run->exit_reason != KVM_EXIT_HYPERCALL)
				break;

			from = run->hypercall.args[0];
			left = run->hypercall.args[1];
			done = NR_MANY - left;
			private = run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED;
			check_exit(vcpu, gpa(MANY_PAGE + done), left, map_attrs(private));
			TEST_ASSERT(left && left <= NR_MANY, "%lu pages at 0x%lx are left",
				    left, from);
			nr_exits++;
			if (done) {
				nr_parts++;
				TEST_ASSERT_RUN(fd, 0, NR_MANY * PAGE_SIZE, private,
						done * PAGE_SIZE);
			}
			/* The next try finds done what was done before. */
			run->hypercall.ret = -AGAIN;
		}
		setitimer(ITIMER_REAL, &(struct itimerval){}, NULL);
		guest_gets(vcpu, 0);

		TEST_ASSERT_RUN(fd, 0, NR_MANY * PAGE_SIZE, false, NR_MANY * PAGE_SIZE);
		for (i = 0; i < NR_MANY; i++)
			host_check(mem, i, false, i % ask.step ? pattern(i) :
				   gpa(MANY_PAGE + i) + ask.rounds);
		for (i = 0; i < NR_MANY; i++)
			*host_page(mem, i) = pattern(i);

		/* There and back: the account is what it was. */
		allow(self->vm, BOTH, NO_LIMIT, 0);
		is_refused(self, MANY_PAGE, 1, TO_SHARED);
		memfile_convert(fd, 0, PAGE_SIZE, TO_PRIVATE);
		allow(self->vm, BOTH, NO_LIMIT, PAGE_SIZE);
		is_granted(self, MANY_PAGE, 1, TO_SHARED);
		is_refused(self, MANY_PAGE, 1, TO_SHARED);
		allow(self->vm, BOTH, NO_LIMIT, NO_LIMIT);
		is_granted(self, MANY_PAGE, 1, TO_PRIVATE);
		memfile_convert(fd, 0, PAGE_SIZE, TO_SHARED);
	}
	ksft_print_msg("%u requests, %u cut off, %u in two\n", runs * (unsigned int)ask.rounds,
		       nr_exits, nr_parts);
	ASSERT_LT(0, nr_exits);
}

/* Races */

/*
 * Pages of the main file: each vCPU has some of its own, whose content only it
 * changes, and the rest are everybody's and punched now and then.  Nobody uses
 * those of the other file, whose memslot comes and goes.
 */
#define NR_OWN		2
#define FIRST_COMMON	(NR_VCPUS * NR_OWN)
#define NR_COMMON	(NR_PAGES - FIRST_COMMON)
#define FIRST_UNUSED	(2 * NR_PAGES)
#define NR_UNUSED	NR_PAGES

/* The most pages in one request that the kernel grants */
#define MAX_CALL	6

static bool guest_stop;
static u64 nr_asked[NR_VCPUS];
static u64 guest_seed;

static u64 stamp(u64 page, u64 nr)
{
	return (page + 1) << 48 | nr;
}

static void guest_ask(u64 id, u64 page, u64 nr, bool private)
{
	u64 ret = map_gpa_range(gpa(page), nr, map_attrs(private));

	__GUEST_ASSERT(!ret, "pages %lu to %lu: %ld", page, page + nr - 1, ret);
	WRITE_ONCE(nr_asked[id], nr_asked[id] + 1);
}

static void guest_use_own(u64 id, struct kvm_random_state *rng, u64 *expected)
{
	u64 nr = 1 + kvm_random_u32(rng) % NR_OWN, i, val;

	for (i = 0; i < nr; i++) {
		expected[i] = stamp(id * NR_OWN + i, kvm_random_u32(rng));
		WRITE_ONCE(*(u64 *)gpa(id * NR_OWN + i), expected[i]);
	}
	guest_ask(id, id * NR_OWN, nr, kvm_random_bool(rng));
	for (i = 0; i < nr; i++) {
		val = READ_ONCE(*(u64 *)gpa(id * NR_OWN + i));
		__GUEST_ASSERT(val == expected[i], "page %lu: wanted 0x%lx, got 0x%lx",
			       id * NR_OWN + i, expected[i], val);
	}
}

static void guest_use_common(u64 id, struct kvm_random_state *rng)
{
	u64 page = FIRST_COMMON + kvm_random_u32(rng) % NR_COMMON;
	u64 nr = 1 + kvm_random_u32(rng) % (NR_PAGES - page);
	u64 val, *p;

	guest_ask(id, page, nr, kvm_random_bool(rng));
	p = (u64 *)gpa(page + kvm_random_u32(rng) % nr);
	page = ((u64)p - MEMFILE_GPA) / PAGE_SIZE;
	val = READ_ONCE(*p);
	__GUEST_ASSERT(!val || val >> 48 == page + 1, "page %lu: 0x%lx", page, val);
	WRITE_ONCE(*p, stamp(page, kvm_random_u32(rng)));
}

static void guest_ask_unused(u64 id, struct kvm_random_state *rng)
{
	u64 page = FIRST_UNUSED + kvm_random_u32(rng) % NR_UNUSED;

	guest_ask(id, page, 1 + kvm_random_u32(rng) % (FIRST_UNUSED + NR_UNUSED - page),
		  kvm_random_bool(rng));
}

static void racer_code(u64 id)
{
	struct kvm_random_state rng = new_kvm_random_state(READ_ONCE(guest_seed) + id);
	u64 expected[NR_OWN];

	while (!READ_ONCE(guest_stop)) {
		guest_use_own(id, &rng, expected);
		guest_use_common(id, &rng);
		guest_ask_unused(id, &rng);
	}
	GUEST_DONE();
}

struct race {
	TEST_DATA *data;
	int unused_fd;
	struct kvm_random_state rngs[4];
	unsigned long nr_exits, nr_faults, nr_busy, nr_bus;
};

struct racer {
	struct race *race;
	struct kvm_vcpu *vcpu;
	pthread_t thread;
};

static bool stop;
static __thread sigjmp_buf sigbus_jmpbuf;

static void sigbus_handler(int sig)
{
	siglongjmp(sigbus_jmpbuf, 1);
}

static u32 rnd(struct race *race, int who, u32 max)
{
	return kvm_random_u32(&race->rngs[who]) % max;
}

/* Whoever reads a page through the kernel has pinned it for that time. */
static void race_convert(struct race *race, int fd, u64 offset, u64 size, bool private)
{
	u64 error_offset;
	int err;

	while ((err = memfile_try_convert(fd, offset, size, private, &error_offset))) {
		TEST_ASSERT((err == EAGAIN || err == EBUSY) && private,
			    "0x%lx bytes at 0x%lx: %s at 0x%lx", size, offset,
			    strerror(err), error_offset);
		race->nr_busy++;
		sched_yield();
	}
}

static void race_answer(struct race *race, struct kvm_vcpu *vcpu)
{
	u64 start = vcpu->run->hypercall.args[0] - MEMFILE_GPA;
	u64 size = vcpu->run->hypercall.args[1] * PAGE_SIZE;
	bool private = vcpu->run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED;
	int fd = race->data->fd;

	if (start >= FIRST_UNUSED * PAGE_SIZE) {
		start -= FIRST_UNUSED * PAGE_SIZE;
		fd = race->unused_fd;
	}
	race_convert(race, fd, start, size, private);
	vcpu->run->hypercall.ret = 0;
	race->nr_exits++;
}

static void *racer_thread(void *arg)
{
	struct racer *racer = arg;
	struct kvm_vcpu *vcpu = racer->vcpu;
	struct race *race = racer->race;
	struct timespec last;
	struct ucall uc;

	clock_gettime(CLOCK_MONOTONIC, &last);
	for (;;) {
		if (_vcpu_run(vcpu)) {
			TEST_ASSERT(errno == EFAULT, KVM_IOCTL_ERROR(KVM_RUN, -1));
			TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MEMORY_FAULT);
			/* Pending, or converted right now */
			TEST_ASSERT(timespec_elapsed(last).tv_sec < 60,
				    "Guest page 0x%llx cannot be accessed",
				    vcpu->run->memory_fault.gpa);
			race->nr_faults++;
			sched_yield();
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &last);
		if (vcpu->run->exit_reason == KVM_EXIT_HYPERCALL) {
			race_answer(race, vcpu);
			continue;
		}
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_DONE:
			return NULL;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("Unexpected exit %u (%s)", vcpu->run->exit_reason,
				  exit_reason_str(vcpu->run->exit_reason));
		}
	}
}

static void *convert_thread(void *arg)
{
	struct race *race = arg;

	while (!READ_ONCE(stop)) {
		u64 page = rnd(race, 0, NR_PAGES), nr = 1 + rnd(race, 0, NR_PAGES - page);

		race_convert(race, race->data->fd, page * PAGE_SIZE, nr * PAGE_SIZE,
			     rnd(race, 0, 2));
		usleep(rnd(race, 0, 500));
	}
	return NULL;
}

static void *punch_thread(void *arg)
{
	struct race *race = arg;

	while (!READ_ONCE(stop)) {
		u64 page = rnd(race, 1, NR_COMMON), nr = 1 + rnd(race, 1, NR_COMMON - page);

		kvm_fallocate(race->data->fd, MEMFILE_PUNCH,
			      (FIRST_COMMON + page) * PAGE_SIZE, nr * PAGE_SIZE);
		usleep(rnd(race, 1, 1000));
	}
	return NULL;
}

static bool host_read(u64 *p, u64 *val)
{
	if (sigsetjmp(sigbus_jmpbuf, 1))
		return false;
	*val = READ_ONCE(*p);
	return true;
}

static bool remote_read(u64 *p, u64 *val)
{
	struct iovec local = { .iov_base = val, .iov_len = sizeof(*val) };
	struct iovec remote = { .iov_base = p, .iov_len = sizeof(*val) };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == sizeof(*val);
}

static void *touch_thread(void *arg)
{
	struct race *race = arg;

	while (!READ_ONCE(stop)) {
		u64 page = rnd(race, 2, NR_PAGES), val;
		u64 *p = host_page(race->data->mem, page);

		if (rnd(race, 2, 2) ? host_read(p, &val) : remote_read(p, &val))
			TEST_ASSERT(!val || val >> 48 == page + 1,
				    "Page %lu: the host found 0x%lx", page, val);
		else
			race->nr_bus++;
		if (!rnd(race, 2, 16))
			usleep(rnd(race, 2, 200));
	}
	return NULL;
}

static void *slot_thread(void *arg)
{
	struct race *race = arg;

	while (!READ_ONCE(stop)) {
		delete_slot(race->data->vm, SLOT + 1);
		usleep(rnd(race, 3, 300));
		bind_slot(race->data->vm, SLOT + 1, FIRST_UNUSED, NR_UNUSED,
			  race->unused_fd, 0);
		usleep(rnd(race, 3, 1000));
	}
	return NULL;
}

TEST_F_TIMEOUT(memfile_hypercall, race, 600)
{
	void *(*const work[])(void *) = {
		convert_thread, punch_thread, touch_thread, slot_thread,
	};
	struct race race = { .data = self };
	pthread_t threads[ARRAY_SIZE(work)];
	struct racer racers[NR_VCPUS];
	u64 asked = 0;
	cpu_set_t cpus;
	int i;

	/* Here, and only here, all CPUs are wanted. */
	memset(&cpus, 0xff, sizeof(cpus));
	TEST_ASSERT(!sched_setaffinity(0, sizeof(cpus), &cpus), "sched_setaffinity() failed");

	allow(self->vm, BOTH, MAX_CALL * PAGE_SIZE, NO_LIMIT);
	race.unused_fd = vm_create_guest_memfd(self->vm, NR_UNUSED * PAGE_SIZE, PRIVATE_FILE);
	bind_slot(self->vm, SLOT + 1, FIRST_UNUSED, NR_UNUSED, race.unused_fd, 0);
	write_guest_global(self->vm, guest_seed, (u64)seed);
	signal(SIGBUS, sigbus_handler);

	for (i = 0; i < ARRAY_SIZE(work); i++)
		race.rngs[i] = new_kvm_random_state(seed + 100 + i);
	for (i = 0; i < NR_VCPUS; i++) {
		racers[i] = (struct racer) { .race = &race, .vcpu = self->vcpus[i] };
		vcpu_arch_set_entry_point(self->vcpus[i], racer_code);
		kvm_pthread_create(&racers[i].thread, NULL, racer_thread, &racers[i]);
	}
	for (i = 0; i < ARRAY_SIZE(work); i++)
		kvm_pthread_create(&threads[i], NULL, work[i], &race);

	sleep(soak_seconds);
	WRITE_ONCE(stop, true);
	for (i = 0; i < ARRAY_SIZE(work); i++)
		kvm_pthread_join(threads[i], NULL);
	write_guest_global(self->vm, guest_stop, true);
	for (i = 0; i < NR_VCPUS; i++)
		kvm_pthread_join(racers[i].thread, NULL);

	sync_global_from_guest(self->vm, nr_asked);
	for (i = 0; i < NR_VCPUS; i++)
		asked += nr_asked[i];
	ksft_print_msg("seed %u: %lu requests, %lu exits, %lu faults\n", seed, asked,
		       race.nr_exits, race.nr_faults);
	ksft_print_msg("%lu times busy, %lu times SIGBUS or EFAULT\n", race.nr_busy,
		       race.nr_bus);
	ASSERT_LT(race.nr_exits, asked);

	/* With nobody else at work, all works, and nothing is pending any more. */
	memfile_convert(self->fd, 0, SIZE, TO_PRIVATE);
	TEST_ASSERT_EQ(memfile_fdinfo(self->fd, "memfile-shared"), 0L);
	memfile_convert(self->fd, 0, SIZE, TO_SHARED);
	TEST_ASSERT_EQ(memfile_fdinfo(self->fd, "memfile-private"), 0L);
	vcpu_arch_set_entry_point(self->user, memfile_guest_code);
	fill_all(self);
	check_all(self);
}

/* -s seconds and -r seed, before what the harness takes */
int main(int argc, char *argv[])
{
	while (argc > 2 && (!strcmp(argv[1], "-s") ||
			    (!strcmp(argv[1], "-r") && isdigit(argv[2][0])))) {
		if (argv[1][1] == 's')
			soak_seconds = atoi_positive("Seconds", argv[2]);
		else
			seed = atoi_non_negative("Seed", argv[2]);
		argv[2] = argv[0];
		argv += 2;
		argc -= 2;
	}

	memfile_require_convert();
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD_GUEST_CONVERT));

	return test_harness_run(argc, argv);
}
