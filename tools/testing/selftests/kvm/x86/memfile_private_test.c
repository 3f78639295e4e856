// SPDX-License-Identifier: GPL-2.0
/*
 * Memory files (guest_memfd) as the private memory of a software-protected VM:
 * one memslot holds the private part in the file and the shared part in the
 * VMM's mapping, and the VM's memory attributes say which of the two a guest
 * access goes to.  And where that ends, with files that have both parts, which
 * are for memfile_convert_test.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"

#define NR_PAGES	16
#define SIZE		(NR_PAGES * PAGE_SIZE)
#define SLOT		10

#define PRIVATE		KVM_MEMORY_EXIT_FLAG_PRIVATE

static const struct vm_shape sw_protected_shape = {
	.mode = VM_MODE_DEFAULT,
	.type = KVM_X86_SW_PROTECTED_VM,
};

static u64 pattern(int page)
{
	return 0x5ec0de0000000001ULL + page * 0x100;
}

static gpa_t gpa(int page)
{
	return MEMFILE_GPA + page * PAGE_SIZE;
}

FIXTURE(memfile_private)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	char *hva;	/* the shared part */
	int fd;		/* the private part */
};

FIXTURE_SETUP(memfile_private)
{
	self->vm = vm_create_shape_with_one_vcpu(sw_protected_shape, &self->vcpu,
						 memfile_guest_code);
	virt_map(self->vm, gpa(0), gpa(0), 4 * NR_PAGES);
	self->fd = vm_create_guest_memfd(self->vm, SIZE, 0);
	self->hva = kvm_mmap(SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* Every test is a process, whose end is one more release that must work. */
FIXTURE_TEARDOWN(memfile_private)
{
}

static int __bind(struct kvm_vm *vm, u32 slot, int gpa_page, int nr, char *hva,
		  int fd, int file_page)
{
	return __vm_set_user_memory_region2(vm, slot, KVM_MEM_GUEST_MEMFD,
					    gpa(gpa_page), nr * PAGE_SIZE, hva, fd,
					    file_page * PAGE_SIZE);
}

static void bind_slot(struct kvm_vm *vm, u32 slot, int gpa_page, int nr, char *hva,
		      int fd, int file_page)
{
	int r = __bind(vm, slot, gpa_page, nr, hva, fd, file_page);

	TEST_ASSERT_VM_VCPU_IOCTL(!r, KVM_SET_USER_MEMORY_REGION2, r, vm);
}

static void delete_slot(struct kvm_vm *vm, u32 slot)
{
	vm_set_user_memory_region2(vm, slot, 0, 0, 0, NULL, -1, 0);
}

static void set_private(struct kvm_vm *vm, int page, int nr)
{
	vm_mem_set_private(vm, gpa(page), nr * PAGE_SIZE);
}

static void set_shared(struct kvm_vm *vm, int page, int nr)
{
	vm_mem_set_shared(vm, gpa(page), nr * PAGE_SIZE);
}

static int __set_attributes(struct kvm_vm *vm, int page, int nr, u64 attributes)
{
	struct kvm_memory_attributes attrs = {
		.address = gpa(page),
		.size = nr * PAGE_SIZE,
		.attributes = attributes,
	};

	return __vm_ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &attrs);
}

static void punch(int fd, int page, int nr)
{
	kvm_fallocate(fd, MEMFILE_PUNCH, page * PAGE_SIZE, nr * PAGE_SIZE);
}

static void allocate(int fd, int page, int nr)
{
	kvm_fallocate(fd, MEMFILE_ALLOCATE, page * PAGE_SIZE, nr * PAGE_SIZE);
}

static void host_check(char *hva, int page, u64 val)
{
	u64 *p = (u64 *)(hva + page * PAGE_SIZE);
	int i;

	for (i = 0; i < MEMFILE_PAGE_WORDS; i++)
		TEST_ASSERT(READ_ONCE(p[i]) == val,
			    "Shared page %d, word %d: wanted 0x%lx, got 0x%lx",
			    page, i, val, p[i]);
}

/* A private and a shared part in one memslot; each keeps its own content. */
TEST_F(memfile_private, two_parts)
{
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, self->fd, 0);
	set_private(self->vm, 4, 8);

	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_fill(self->vcpu, gpa(i), pattern(i));
	TEST_ASSERT_PRESENT(self->fd, 8 * PAGE_SIZE);
	for (i = 0; i < NR_PAGES; i++)
		host_check(self->hva, i, i >= 4 && i < 12 ? 0 : pattern(i));

	/* A private page becomes a shared one: the host's page shows, and back. */
	memset(self->hva + 5 * PAGE_SIZE, 0x11, PAGE_SIZE);
	set_shared(self->vm, 5, 1);
	memfile_guest_check(self->vcpu, gpa(5), 0x1111111111111111);
	memfile_guest_check(self->vcpu, gpa(4), pattern(4));
	memfile_guest_check(self->vcpu, gpa(6), pattern(6));
	set_private(self->vm, 5, 1);
	memfile_guest_check(self->vcpu, gpa(5), pattern(5));
	host_check(self->hva, 5, 0x1111111111111111);

	/* A shared page becomes a private one: a new page of the file, and back. */
	set_private(self->vm, 13, 1);
	memfile_guest_check(self->vcpu, gpa(13), 0);
	memfile_guest_fill(self->vcpu, gpa(13), pattern(100));
	host_check(self->hva, 13, pattern(13));
	set_shared(self->vm, 13, 1);
	memfile_guest_check(self->vcpu, gpa(13), pattern(13));
	TEST_ASSERT_PRESENT(self->fd, 9 * PAGE_SIZE);
}

/* Punching frees the private page, not the shared one at the same address. */
TEST_F(memfile_private, punch)
{
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, self->fd, 0);
	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_fill(self->vcpu, gpa(i), pattern(100 + i));
	set_private(self->vm, 0, NR_PAGES);
	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_fill(self->vcpu, gpa(i), pattern(i));
	set_shared(self->vm, 4, 4);
	for (i = 4; i < 8; i++)
		memfile_guest_check(self->vcpu, gpa(i), pattern(100 + i));

	punch(self->fd, 2, 4);
	TEST_ASSERT_PRESENT(self->fd, (NR_PAGES - 4) * PAGE_SIZE);
	for (i = 0; i < NR_PAGES; i++) {
		u64 val = i >= 4 && i < 8 ? pattern(100 + i) :
			  i >= 2 && i < 4 ? 0 : pattern(i);

		memfile_guest_check(self->vcpu, gpa(i), val);
	}

	/* Pages 4 and 5 were freed behind the shared ones. */
	set_private(self->vm, 4, 4);
	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_check(self->vcpu, gpa(i), i >= 2 && i < 6 ? 0 : pattern(i));

	punch(self->fd, 0, NR_PAGES);
	TEST_ASSERT_PRESENT(self->fd, 0);
	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_check(self->vcpu, gpa(i), 0);
	set_shared(self->vm, 0, NR_PAGES);
	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_check(self->vcpu, gpa(i), pattern(100 + i));
}

/* File and attributes are older than the memslot that they meet in. */
TEST_F(memfile_private, bind_later)
{
	allocate(self->fd, 0, 8);
	set_private(self->vm, 0, NR_PAGES / 2);
	memset(self->hva, 0x22, SIZE);

	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(0), PRIVATE, EFAULT);
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, self->fd, 0);

	memfile_guest_check(self->vcpu, gpa(0), 0);
	memfile_guest_fill(self->vcpu, gpa(7), pattern(7));
	memfile_guest_check(self->vcpu, gpa(8), 0x2222222222222222);
	TEST_ASSERT_PRESENT(self->fd, 8 * PAGE_SIZE);

	/* Both survive the memslot, too. */
	delete_slot(self->vm, SLOT);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(7), PRIVATE, EFAULT);
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, self->fd, 0);
	memfile_guest_check(self->vcpu, gpa(7), pattern(7));
	memfile_guest_check(self->vcpu, gpa(15), 0x2222222222222222);
}

/* Three memslots, and attribute ranges that do not end where these end. */
TEST_F(memfile_private, three_slots)
{
	static const int file_of[] = { 8, 0, 4 };
	int s, i;

	for (s = 0; s < 3; s++)
		bind_slot(self->vm, SLOT + s, 4 * s, 4, self->hva + 4 * s * PAGE_SIZE,
			  self->fd, file_of[s]);
	TEST_ASSERT_CONSUMERS(self->fd, 3);
	set_private(self->vm, 2, 8);
	for (i = 0; i < 12; i++)
		memfile_guest_fill(self->vcpu, gpa(i), pattern(i));
	TEST_ASSERT_PRESENT(self->fd, 8 * PAGE_SIZE);

	/* File pages 3 to 4: the end of the second slot, the start of the third. */
	punch(self->fd, 3, 2);
	for (i = 0; i < 12; i++)
		memfile_guest_check(self->vcpu, gpa(i), i == 7 || i == 8 ? 0 : pattern(i));

	delete_slot(self->vm, SLOT + 1);
	TEST_ASSERT_CONSUMERS(self->fd, 2);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(5), PRIVATE, EFAULT);
	memfile_guest_check(self->vcpu, gpa(3), pattern(3));
	memfile_guest_check(self->vcpu, gpa(9), pattern(9));

	TEST_ASSERT_ERRNO(__bind(self->vm, SLOT + 1, 4, 4, self->hva, self->fd, 1), EEXIST);
	bind_slot(self->vm, SLOT + 1, 4, 4, self->hva + 4 * PAGE_SIZE, self->fd, 0);
	for (i = 0; i < 12; i++)
		memfile_guest_check(self->vcpu, gpa(i), i == 7 || i == 8 ? 0 : pattern(i));
}

/*
 * The VMM's mapping of the shared part is missing.  That is a failure of the
 * mapping and not of the file, and KVM need not say more than EFAULT.
 */
static void shared_access_fails(struct kvm_vcpu *vcpu, enum memfile_guest_op op,
				gpa_t gpa)
{
	u64 result;

	TEST_ASSERT_EQ(memfile_guest_try(vcpu, op, gpa, 0, &result), EFAULT);
	if (vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
		TEST_ASSERT_EQ(vcpu->run->memory_fault.gpa, gpa);
		TEST_ASSERT_EQ(vcpu->run->memory_fault.flags, 0);
	} else {
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_UNKNOWN);
	}
	memfile_guest_restart(vcpu);
}

/* An access of one kind where there is memory of the other kind only. */
TEST_F(memfile_private, wrong_kind)
{
	char *ram = kvm_mmap(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int i;

	/* Private, and there is a shared part only. */
	vm_set_user_memory_region2(self->vm, SLOT, 0, gpa(0), SIZE, ram, -1, 0);
	memfile_guest_fill(self->vcpu, gpa(3), pattern(3));
	set_private(self->vm, 3, 2);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(3), PRIVATE, EFAULT);
	memfile_guest_faults(self->vcpu, GUEST_FILL, gpa(4), PRIVATE, EFAULT);
	memfile_guest_fill(self->vcpu, gpa(2), pattern(2));
	set_shared(self->vm, 3, 2);
	memfile_guest_check(self->vcpu, gpa(3), pattern(3));

	/* Shared, and there is a private part only. */
	bind_slot(self->vm, SLOT + 1, 16, NR_PAGES, self->hva, self->fd, 0);
	kvm_munmap(self->hva, SIZE);
	shared_access_fails(self->vcpu, GUEST_READ, gpa(16));
	shared_access_fails(self->vcpu, GUEST_FILL, gpa(17));
	TEST_ASSERT_PRESENT(self->fd, 0);

	/* The VMM does what the exit asks for, and the access completes. */
	set_private(self->vm, 16, 2);
	for (i = 16; i < 18; i++) {
		memfile_guest_check(self->vcpu, gpa(i), 0);
		memfile_guest_fill(self->vcpu, gpa(i), pattern(i));
		memfile_guest_check(self->vcpu, gpa(i), pattern(i));
	}
	shared_access_fails(self->vcpu, GUEST_READ, gpa(18));
	TEST_ASSERT_PRESENT(self->fd, 2 * PAGE_SIZE);

	/* Private, and there is nothing at all. */
	set_private(self->vm, 32, 1);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(32), PRIVATE, EFAULT);
	memfile_guest_exits_mmio(self->vcpu, gpa(33));
}

/* Without the file the private part is gone, the shared one is not. */
TEST_F(memfile_private, close)
{
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, self->fd, 0);
	set_private(self->vm, 0, 8);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	memfile_guest_fill(self->vcpu, gpa(8), pattern(8));

	kvm_close(self->fd);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(0), PRIVATE, EFAULT);
	memfile_guest_faults(self->vcpu, GUEST_FILL, gpa(1), PRIVATE, EFAULT);
	memfile_guest_check(self->vcpu, gpa(8), pattern(8));

	set_shared(self->vm, 0, 1);
	memfile_guest_check(self->vcpu, gpa(0), 0);
	set_private(self->vm, 8, 1);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(8), PRIVATE, EFAULT);

	delete_slot(self->vm, SLOT);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(1), PRIVATE, EFAULT);
	self->fd = vm_create_guest_memfd(self->vm, SIZE, 0);
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, self->fd, 0);
	memfile_guest_check(self->vcpu, gpa(1), 0);
	memfile_guest_fill(self->vcpu, gpa(1), pattern(1));
}

static void prefault(struct kvm_vcpu *vcpu, int page, int nr, int err)
{
	struct kvm_pre_fault_memory range = {
		.gpa = gpa(page),
		.size = nr * PAGE_SIZE,
	};
	int r;

	do {
		r = __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
	} while ((!r && range.size) || (r && errno == EINTR));
	TEST_ASSERT((r ? errno : 0) == err, "wanted errno %d, got %d, errno %d (%s)", err,
		    r, errno, strerror(errno));
	TEST_ASSERT_EQ(range.size, err ? nr * PAGE_SIZE : 0);
}

/* Prefaulting allocates what is private, and nothing that is not. */
TEST_F(memfile_private, prefault)
{
	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		SKIP(return, "no KVM_PRE_FAULT_MEMORY");

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, self->fd, 0);
	memset(self->hva, 0x33, SIZE);
	set_private(self->vm, 4, 4);

	prefault(self->vcpu, 0, 12, 0);
	TEST_ASSERT_PRESENT(self->fd, 4 * PAGE_SIZE);
	memfile_guest_check(self->vcpu, gpa(3), 0x3333333333333333);
	memfile_guest_check(self->vcpu, gpa(4), 0);
	memfile_guest_fill(self->vcpu, gpa(4), pattern(4));

	punch(self->fd, 4, 2);
	TEST_ASSERT_PRESENT(self->fd, 2 * PAGE_SIZE);
	prefault(self->vcpu, 4, 1, 0);
	TEST_ASSERT_PRESENT(self->fd, 3 * PAGE_SIZE);
	memfile_guest_check(self->vcpu, gpa(4), 0);
	memfile_guest_check(self->vcpu, gpa(5), 0);

	set_shared(self->vm, 4, 1);
	prefault(self->vcpu, 4, 1, 0);
	memfile_guest_check(self->vcpu, gpa(4), 0x3333333333333333);

	kvm_close(self->fd);
	prefault(self->vcpu, 5, 1, EFAULT);
	prefault(self->vcpu, 3, 1, 0);
}

/* What such a VM's files may be. */
TEST_F(memfile_private, flags)
{
	const u64 shared = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	int fd;

	ASSERT_EQ(1, vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD));
	ASSERT_EQ(shared, vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_FLAGS) & shared);
	ASSERT_EQ(KVM_MEMORY_ATTRIBUTE_PRIVATE,
		  vm_check_cap(self->vm, KVM_CAP_MEMORY_ATTRIBUTES));
	TEST_ASSERT_ERRNO((long)mmap(NULL, SIZE, PROT_READ, MAP_SHARED, self->fd, 0),
			  ENODEV);

	/* Such a file has both parts: neither is anywhere else. */
	fd = vm_create_guest_memfd(self->vm, SIZE, shared);
	memset(self->hva, 0x44, SIZE);
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, fd, 0);
	memfile_guest_check(self->vcpu, gpa(0), 0);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	host_check(self->hva, 0, 0x4444444444444444);
	memfile_convert(fd, 0, PAGE_SIZE, true);
	memfile_guest_check(self->vcpu, gpa(0), pattern(0));
	TEST_ASSERT_PRESENT(fd, PAGE_SIZE);
}

/* There is no second truth about a file that says itself what is private. */
TEST_F(memfile_private, attributes_of_a_governed_slot)
{
	static const struct {
		int page, nr;
	} ranges[] = {
		{ 8, 4 }, { 8, 1 }, { 11, 1 }, { 9, 2 }, { 4, 5 }, { 11, 4 }, { 0, 32 },
	};
	const u64 flags[] = {
		GUEST_MEMFD_FLAG_MMAP, GUEST_MEMFD_FLAG_INIT_SHARED,
		GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	int i, j, fd;

	/* A neighbour of the old kind, on which everything goes on. */
	bind_slot(self->vm, SLOT, 0, 4, self->hva, self->fd, 0);

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		bool private = !(flags[i] & GUEST_MEMFD_FLAG_INIT_SHARED);

		fd = vm_create_guest_memfd(self->vm, SIZE, flags[i]);
		bind_slot(self->vm, SLOT + 1, 8, 4, NULL, fd, 0);
		memfile_guest_fill(self->vcpu, gpa(8), pattern(8));

		for (j = 0; j < ARRAY_SIZE(ranges); j++) {
			/* Not even what would be no change is accepted. */
			TEST_ASSERT_ERRNO(__set_attributes(self->vm, ranges[j].page,
					  ranges[j].nr, KVM_MEMORY_ATTRIBUTE_PRIVATE), EINVAL);
			TEST_ASSERT_ERRNO(__set_attributes(self->vm, ranges[j].page,
					  ranges[j].nr, 0), EINVAL);
		}
		TEST_ASSERT_RUN(fd, 0, SIZE, private, SIZE);
		memfile_guest_check(self->vcpu, gpa(8), pattern(8));

		/* Right before it and right behind it */
		set_private(self->vm, 2, 6);
		set_private(self->vm, 12, 4);
		memfile_guest_fill(self->vcpu, gpa(2), pattern(2));
		memfile_guest_faults(self->vcpu, GUEST_READ, gpa(12), PRIVATE, EFAULT);
		memfile_guest_check(self->vcpu, gpa(11), 0);
		set_shared(self->vm, 2, 6);
		set_shared(self->vm, 12, 4);

		/* The file's own word goes through, and the VM's not after it. */
		memfile_convert(fd, 0, SIZE, !private);
		TEST_ASSERT_ERRNO(__set_attributes(self->vm, 8, 1,
				  KVM_MEMORY_ATTRIBUTE_PRIVATE), EINVAL);
		memfile_guest_check(self->vcpu, gpa(8), pattern(8));

		delete_slot(self->vm, SLOT + 1);
		set_private(self->vm, 8, 4);
		set_shared(self->vm, 8, 4);
		kvm_close(fd);
	}
}

static void governed_slot_refused(struct kvm_vm *vm, int page, int nr, int fd)
{
	TEST_ASSERT_ERRNO(__bind(vm, SLOT, page, nr, NULL, fd, 0), EINVAL);
	TEST_ASSERT_CONSUMERS(fd, 0);
}

TEST_F(memfile_private, governed_slot_over_attributes)
{
	const u64 flags[] = {
		GUEST_MEMFD_FLAG_MMAP, GUEST_MEMFD_FLAG_INIT_SHARED,
		GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		fd = vm_create_guest_memfd(self->vm, SIZE, flags[i]);

		set_private(self->vm, 3, 2);
		governed_slot_refused(self->vm, 0, 4, fd);
		governed_slot_refused(self->vm, 4, 4, fd);
		governed_slot_refused(self->vm, 3, 2, fd);
		governed_slot_refused(self->vm, 0, 8, fd);
		/* Next to it */
		bind_slot(self->vm, SLOT, 0, 3, NULL, fd, 0);
		bind_slot(self->vm, SLOT + 1, 5, 3, NULL, fd, 3);
		delete_slot(self->vm, SLOT);
		delete_slot(self->vm, SLOT + 1);

		set_shared(self->vm, 3, 1);
		governed_slot_refused(self->vm, 0, 8, fd);
		set_shared(self->vm, 4, 1);
		bind_slot(self->vm, SLOT, 0, 8, NULL, fd, 0);
		memfile_guest_fill(self->vcpu, gpa(4), pattern(4));
		memfile_convert(fd, 0, 4 * PAGE_SIZE, false);
		memfile_convert(fd, 4 * PAGE_SIZE, 4 * PAGE_SIZE, true);
		memfile_guest_check(self->vcpu, gpa(4), pattern(4));
		memfile_guest_check(self->vcpu, gpa(3), 0);
		delete_slot(self->vm, SLOT);
		kvm_close(fd);
	}

	/* A file without flags may meet attributes that are older. */
	set_private(self->vm, 3, 2);
	bind_slot(self->vm, SLOT, 0, 8, self->hva, self->fd, 0);
	memfile_guest_fill(self->vcpu, gpa(3), pattern(3));
	TEST_ASSERT_PRESENT(self->fd, PAGE_SIZE);
}

/* Both calls at work in one VM, each on its own file; the wrong one is refused. */
TEST_F(memfile_private, old_and_new)
{
	int fd = vm_create_guest_memfd(self->vm, SIZE, GUEST_MEMFD_FLAG_MMAP);
	struct kvm_memory_attributes2 attrs = { .size = SIZE };
	u64 error_offset;
	char *mem;

	mem = kvm_mmap(SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->hva, self->fd, 0);
	bind_slot(self->vm, SLOT + 1, NR_PAGES, NR_PAGES, NULL, fd, 0);
	set_private(self->vm, 0, 8);

	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	memfile_guest_fill(self->vcpu, gpa(8), pattern(8));
	memfile_guest_fill(self->vcpu, gpa(16), pattern(16));
	TEST_ASSERT_PRESENT(self->fd, PAGE_SIZE);
	TEST_ASSERT_PRESENT(fd, PAGE_SIZE);
	host_check(self->hva, 8, pattern(8));
	TEST_EXPECT_SIGBUS(READ_ONCE(*mem));

	ASSERT_EQ(EOPNOTSUPP, memfile_try_convert(self->fd, 0, SIZE, false, &error_offset));
	ASSERT_EQ(EOPNOTSUPP, memfile_try_convert(self->fd, 0, SIZE, true, &error_offset));
	TEST_ASSERT_ERRNO(ioctl(self->fd, KVM_GET_MEMORY_ATTRIBUTES2, &attrs), EOPNOTSUPP);
	/* Before a look at the range, which is wrong, too */
	ASSERT_EQ(EOPNOTSUPP, memfile_try_convert(self->fd, 1, SIZE, true, &error_offset));

	memfile_convert(fd, 0, SIZE, false);
	host_check(mem, 0, pattern(16));
	memfile_guest_check(self->vcpu, gpa(0), pattern(0));
	memfile_guest_check(self->vcpu, gpa(8), pattern(8));
	memfile_guest_check(self->vcpu, gpa(16), pattern(16));
	set_shared(self->vm, 0, 8);
	memfile_guest_check(self->vcpu, gpa(0), 0);
	set_private(self->vm, 0, 8);
	memfile_guest_check(self->vcpu, gpa(0), pattern(0));
	memfile_guest_check(self->vcpu, gpa(16), pattern(16));
}

/* Private is what a guest asks for when it faults on a file that is gone. */
TEST_F(memfile_private, close_governed)
{
	int fd = vm_create_guest_memfd(self->vm, SIZE, GUEST_MEMFD_FLAG_INIT_SHARED);

	bind_slot(self->vm, SLOT, 0, NR_PAGES, NULL, fd, 0);
	memfile_convert(fd, 0, SIZE / 2, true);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	memfile_guest_fill(self->vcpu, gpa(8), pattern(8));
	kvm_close(fd);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(0), PRIVATE, EFAULT);
	memfile_guest_faults(self->vcpu, GUEST_FILL, gpa(8), PRIVATE, EFAULT);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(15), PRIVATE, EFAULT);
	/* Still not for the VM to say */
	TEST_ASSERT_ERRNO(__set_attributes(self->vm, 0, 1, 0), EINVAL);
	delete_slot(self->vm, SLOT);
	memfile_guest_exits_mmio(self->vcpu, gpa(0));
}

static bool reader_stops;

static void read_for_ever(void)
{
	for (;;)
		READ_ONCE(*(u64 *)MEMFILE_GPA);
}

static void *reader_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	while (!READ_ONCE(reader_stops)) {
		if (!__vcpu_run(vcpu))
			TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MMIO);
		else
			TEST_ASSERT(errno == EINTR, "%s, exit reason %u, flags 0x%llx",
				    strerror(errno), vcpu->run->exit_reason,
				    vcpu->run->memory_fault.flags);
	}
	return NULL;
}

/* Where a slot with shared memory comes and goes, there is memory, or MMIO. */
TEST_F(memfile_private, shared_slot_goes)
{
	const u64 flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	pthread_t reader;
	int fd, i;

	vm = vm_create_shape_with_one_vcpu(sw_protected_shape, &vcpu, read_for_ever);
	virt_map(vm, gpa(0), gpa(0), NR_PAGES);
	fd = vm_create_guest_memfd(vm, SIZE, flags);

	pthread_create(&reader, NULL, reader_thread, vcpu);
	for (i = 0; i < 100; i++) {
		bind_slot(vm, SLOT, 0, NR_PAGES, NULL, fd, 0);
		usleep(500);
		delete_slot(vm, SLOT);
	}
	WRITE_ONCE(reader_stops, true);
	pthread_join(reader, NULL);
	kvm_vm_free(vm);
	kvm_close(fd);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));

	return test_harness_run(argc, argv);
}
