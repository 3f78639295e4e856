// SPDX-License-Identifier: GPL-2.0
/*
 * Memory files (guest_memfd) behind the memslots of VMs without private memory:
 * what the guest finds in them, what reaches it when the file changes, when
 * each part of the whole goes away, and what is refused.
 *
 * All of it runs on a file that is shared, i.e. mapped by the host as well, and
 * on one that is not: for such VMs the guest may access either.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/align.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"
#include "numaif.h"

#define NR_PAGES	16
#define SLOT		10

/* Guest page frames that are mapped 1:1 from MEMFILE_GPA on. */
#define NR_GPA_PAGES	64

static size_t page_size;
static size_t file_size;

/* A value that tells one page of the file from another. */
static u64 pattern(int page)
{
	return 0x5ec0de0000000001ULL + page * 0x100;
}

static gpa_t gpa(int page)
{
	return MEMFILE_GPA + page * page_size;
}

FIXTURE(memfile)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	char *mem;
	int fd;
};

FIXTURE_VARIANT(memfile)
{
	u64 flags;
};

FIXTURE_VARIANT_ADD(memfile, shared)
{
	.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
};

FIXTURE_VARIANT_ADD(memfile, private)
{
	.flags = GUEST_MEMFD_FLAG_MMAP,
};

static struct kvm_vm *create_vm(struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, memfile_guest_code);

	virt_map(vm, gpa(0), gpa(0), NR_GPA_PAGES * page_size / vm->page_size);
	return vm;
}

FIXTURE_SETUP(memfile)
{
	self->vm = create_vm(&self->vcpu);
	self->fd = vm_create_guest_memfd(self->vm, file_size, variant->flags);
	self->mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
}

/* Every test is a process, whose end is one more release that must work. */
FIXTURE_TEARDOWN(memfile)
{
}

static int __bind(struct kvm_vm *vm, u32 slot, int gpa_page, int nr, int fd,
		  int file_page)
{
	return __vm_set_user_memory_region2(vm, slot, KVM_MEM_GUEST_MEMFD,
					    gpa(gpa_page), nr * page_size, NULL,
					    fd, file_page * page_size);
}

static void bind_slot(struct kvm_vm *vm, u32 slot, int gpa_page, int nr, int fd,
		      int file_page)
{
	int r = __bind(vm, slot, gpa_page, nr, fd, file_page);

	TEST_ASSERT_VM_VCPU_IOCTL(!r, KVM_SET_USER_MEMORY_REGION2, r, vm);
}

static void delete_slot(struct kvm_vm *vm, u32 slot)
{
	vm_set_user_memory_region2(vm, slot, 0, 0, 0, NULL, -1, 0);
}

static void punch(int fd, int page, int nr)
{
	kvm_fallocate(fd, MEMFILE_PUNCH, page * page_size, nr * page_size);
}

static void allocate(int fd, int page, int nr)
{
	kvm_fallocate(fd, MEMFILE_ALLOCATE, page * page_size, nr * page_size);
}

static u64 *host_page(char *mem, int page)
{
	return (u64 *)(mem + page * page_size);
}

/* What the host sees of a page: its content, or nothing at all. */
static void host_check(char *mem, u64 flags, int page, u64 val)
{
	u64 *p = host_page(mem, page);
	int i;

	if (!(flags & GUEST_MEMFD_FLAG_INIT_SHARED)) {
		TEST_EXPECT_SIGBUS(READ_ONCE(*p));
		TEST_EXPECT_SIGBUS(WRITE_ONCE(*p, 0));
		return;
	}
	for (i = 0; i < page_size / sizeof(*p); i++)
		TEST_ASSERT(READ_ONCE(p[i]) == val,
			    "File page %d, word %d: wanted 0x%lx, got 0x%lx",
			    page, i, val, p[i]);
}

TEST_F(memfile, capabilities)
{
	ASSERT_EQ(1, vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD));
	ASSERT_EQ(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
		  vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_FLAGS) & 3);
	/* A plain VM has no memory attributes, least of all a private one. */
	ASSERT_EQ(0, vm_check_cap(self->vm, KVM_CAP_MEMORY_ATTRIBUTES));
}

/* Nothing that happened before a memslot exists is lost on it. */
TEST_F(memfile, fallocate_then_bind)
{
	bool shared = variant->flags & GUEST_MEMFD_FLAG_INIT_SHARED;
	int i;

	allocate(self->fd, 0, 8);
	TEST_ASSERT_PRESENT(self->fd, 8 * page_size);
	TEST_ASSERT_CONSUMERS(self->fd, 0);

	for (i = 0; shared && i < 4; i++)
		memset(host_page(self->mem, i), i + 1, page_size);
	/* Freed again before anybody could be told of it. */
	punch(self->fd, 1, 1);
	TEST_ASSERT_PRESENT(self->fd, 7 * page_size);

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	TEST_ASSERT_CONSUMERS(self->fd, 1);
	for (i = 0; i < NR_PAGES; i++) {
		u64 val = shared && i < 4 && i != 1 ? (i + 1) * 0x0101010101010101ULL : 0;

		memfile_guest_check(self->vcpu, gpa(i), val);
		memfile_guest_fill(self->vcpu, gpa(i), pattern(i));
	}
	TEST_ASSERT_PRESENT(self->fd, file_size);

	/* The mapping is older than the memslot, and shows the same pages. */
	for (i = 0; i < NR_PAGES; i++)
		host_check(self->mem, variant->flags, i, pattern(i));
}

/* What is punched out is gone for the guest, and only that. */
TEST_F(memfile, punch_unmaps)
{
	int i, round;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);

	/* The second time, the pages were allocated by guest and host. */
	for (round = 0; round < 2; round++) {
		for (i = 0; i < NR_PAGES; i++)
			memfile_guest_fill(self->vcpu, gpa(i), pattern(i));

		punch(self->fd, 3, 4);
		TEST_ASSERT_PRESENT(self->fd, (NR_PAGES - 4) * page_size);
		for (i = 0; i < NR_PAGES; i++) {
			u64 val = i >= 3 && i < 7 ? 0 : pattern(i);

			if (i % 2)
				host_check(self->mem, variant->flags, i, val);
			memfile_guest_check(self->vcpu, gpa(i), val);
		}
		TEST_ASSERT_PRESENT(self->fd, file_size);
	}

	/* Past the end there is nothing, and it is no error to free that. */
	punch(self->fd, NR_PAGES - 1, 2);
	TEST_ASSERT_PRESENT(self->fd, (NR_PAGES - 1) * page_size);
	memfile_guest_check(self->vcpu, gpa(NR_PAGES - 2), pattern(NR_PAGES - 2));
	memfile_guest_check(self->vcpu, gpa(NR_PAGES - 1), 0);

	punch(self->fd, 0, NR_PAGES);
	TEST_ASSERT_PRESENT(self->fd, 0);
	for (i = 0; i < NR_PAGES; i++)
		memfile_guest_check(self->vcpu, gpa(i), 0);
}

/* A hole punched through the host's mapping is one like any other. */
TEST_F(memfile, madvise)
{
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	memfile_guest_fill(self->vcpu, gpa(1), pattern(1));

	/* The page tables go, the memory stays. */
	kvm_madvise(self->mem, 2 * page_size, MADV_DONTNEED);
	host_check(self->mem, variant->flags, 0, pattern(0));
	memfile_guest_check(self->vcpu, gpa(0), pattern(0));

	kvm_madvise(self->mem, page_size, MADV_REMOVE);
	memfile_guest_check(self->vcpu, gpa(0), 0);
	memfile_guest_check(self->vcpu, gpa(1), pattern(1));
	host_check(self->mem, variant->flags, 0, 0);

	/* The kernel must not allocate on a private offset, nor map it. */
	if (!(variant->flags & GUEST_MEMFD_FLAG_INIT_SHARED)) {
		TEST_ASSERT_ERRNO(madvise(host_page(self->mem, 5), page_size,
					  MADV_POPULATE_WRITE), EFAULT);
		TEST_ASSERT_PRESENT(self->fd, 2 * page_size);
	}
}

/* Three memslots on one file, in an order that is not that of the file. */
TEST_F(memfile, three_slots)
{
	static const struct {
		int gpa, nr, file;
	} slots[] = {
		{ .gpa = 0,  .nr = 4, .file = 9 },
		{ .gpa = 20, .nr = 5, .file = 0 },
		{ .gpa = 8,  .nr = 4, .file = 5 },
	};
	int gpa_of[NR_PAGES];
	int s, i;

	for (s = 0; s < ARRAY_SIZE(slots); s++) {
		bind_slot(self->vm, SLOT + s, slots[s].gpa, slots[s].nr, self->fd,
			  slots[s].file);
		TEST_ASSERT_CONSUMERS(self->fd, s + 1);
		for (i = 0; i < slots[s].nr; i++)
			gpa_of[slots[s].file + i] = slots[s].gpa + i;
	}
	for (i = 0; i < 13; i++)
		memfile_guest_fill(self->vcpu, gpa(gpa_of[i]), pattern(i));
	for (i = 0; i < 13; i++)
		host_check(self->mem, variant->flags, i, pattern(i));

	/* The end of one slot and the start of another; the inside of a third. */
	punch(self->fd, 3, 4);
	punch(self->fd, 10, 2);
	for (i = 0; i < 13; i++) {
		bool hole = (i >= 3 && i < 7) || (i >= 10 && i < 12);

		memfile_guest_check(self->vcpu, gpa(gpa_of[i]), hole ? 0 : pattern(i));
		memfile_guest_fill(self->vcpu, gpa(gpa_of[i]), pattern(i));
	}

	/* Without its memslot a part of the file keeps its content. */
	delete_slot(self->vm, SLOT + 2);
	TEST_ASSERT_CONSUMERS(self->fd, 2);
	for (i = 5; i < 9; i++)
		memfile_guest_exits_mmio(self->vcpu, gpa(gpa_of[i]));
	memfile_guest_check(self->vcpu, gpa(gpa_of[4]), pattern(4));
	memfile_guest_check(self->vcpu, gpa(gpa_of[9]), pattern(9));
	punch(self->fd, 6, 1);

	bind_slot(self->vm, SLOT + 2, 40, 4, self->fd, 5);
	TEST_ASSERT_CONSUMERS(self->fd, 3);
	for (i = 5; i < 9; i++) {
		memfile_guest_check(self->vcpu, gpa(40 + i - 5), i == 6 ? 0 : pattern(i));
		memfile_guest_fill(self->vcpu, gpa(40 + i - 5), pattern(i));
		memfile_guest_exits_mmio(self->vcpu, gpa(gpa_of[i]));
	}

	/* Every slot at one time. */
	punch(self->fd, 0, NR_PAGES);
	TEST_ASSERT_PRESENT(self->fd, 0);
	for (i = 0; i < 13; i++)
		memfile_guest_check(self->vcpu,
				    gpa(i >= 5 && i < 9 ? 40 + i - 5 : gpa_of[i]), 0);
}

/* The same guest addresses show another part of the file from now on. */
TEST_F(memfile, rebind)
{
	int i;

	bind_slot(self->vm, SLOT, 0, 4, self->fd, 0);
	for (i = 0; i < 4; i++)
		memfile_guest_fill(self->vcpu, gpa(i), pattern(i));

	delete_slot(self->vm, SLOT);
	bind_slot(self->vm, SLOT, 0, 4, self->fd, 4);
	for (i = 0; i < 4; i++) {
		memfile_guest_check(self->vcpu, gpa(i), 0);
		memfile_guest_fill(self->vcpu, gpa(i), pattern(4 + i));
	}

	delete_slot(self->vm, SLOT);
	bind_slot(self->vm, SLOT, 0, 8, self->fd, 0);
	for (i = 0; i < 8; i++)
		memfile_guest_check(self->vcpu, gpa(i), pattern(i));
	TEST_ASSERT_CONSUMERS(self->fd, 1);
}

/* A page of the file has one guest address. */
TEST_F(memfile, overlap)
{
	static const struct {
		int file, nr;
	} overlapping[] = {
		{ 4, 4 }, { 7, 2 }, { 0, 5 }, { 5, 1 }, { 0, NR_PAGES }, { 7, 9 }, { 3, 2 },
	};
	int i;

	bind_slot(self->vm, SLOT, 4, 4, self->fd, 4);
	for (i = 4; i < 8; i++)
		memfile_guest_fill(self->vcpu, gpa(i), pattern(i));

	for (i = 0; i < ARRAY_SIZE(overlapping); i++) {
		TEST_ASSERT_ERRNO(__bind(self->vm, SLOT + 1, 32, overlapping[i].nr,
					 self->fd, overlapping[i].file), EEXIST);
		TEST_ASSERT_CONSUMERS(self->fd, 1);
	}
	TEST_ASSERT_PRESENT(self->fd, 4 * page_size);
	memfile_guest_exits_mmio(self->vcpu, gpa(32));

	/* The first binding must have been left as it was. */
	punch(self->fd, 7, 1);
	for (i = 4; i < 8; i++)
		memfile_guest_check(self->vcpu, gpa(i), i == 7 ? 0 : pattern(i));

	/* To touch is not to overlap. */
	bind_slot(self->vm, SLOT + 1, 0, 4, self->fd, 0);
	bind_slot(self->vm, SLOT + 2, 32, 1, self->fd, 8);
	TEST_ASSERT_CONSUMERS(self->fd, 3);
	memfile_guest_fill(self->vcpu, gpa(3), pattern(3));
	memfile_guest_fill(self->vcpu, gpa(32), pattern(8));
	memfile_guest_check(self->vcpu, gpa(4), pattern(4));
	host_check(self->mem, variant->flags, 3, pattern(3));
	host_check(self->mem, variant->flags, 8, pattern(8));
}

/* Sums that leave 64 bits, or 63, must not turn into a range in the file. */
TEST_F(memfile, overflow_binding)
{
	const u64 top = ALIGN_DOWN(INT64_MAX, page_size) + page_size;
	const u64 offsets[] = {
		file_size, top - 2 * page_size, top - page_size, top,
		top + page_size, -file_size, -2 * page_size, -page_size,
	};
	const u64 sizes[] = { page_size, 2 * page_size, file_size };
	u64 last = top - 2 * page_size;
	int huge, i, j;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (j = 0; j < ARRAY_SIZE(sizes); j++)
			TEST_ASSERT_ERRNO(__vm_set_user_memory_region2(self->vm, SLOT,
					  KVM_MEM_GUEST_MEMFD, gpa(0), sizes[j], NULL,
					  self->fd, offsets[i]), EINVAL);
	}
	TEST_ASSERT_CONSUMERS(self->fd, 0);
	memfile_guest_exits_mmio(self->vcpu, gpa(0));

	/* In the largest file there is, all of this is one page off. */
	huge = vm_create_guest_memfd(self->vm, top - page_size, variant->flags);
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (j = 0; j < ARRAY_SIZE(sizes); j++) {
			if (offsets[i] + sizes[j] > offsets[i] &&
			    offsets[i] + sizes[j] < top)
				continue;
			TEST_ASSERT_ERRNO(__vm_set_user_memory_region2(self->vm, SLOT,
					  KVM_MEM_GUEST_MEMFD, gpa(0), sizes[j], NULL,
					  huge, offsets[i]), EINVAL);
		}
	}
	TEST_ASSERT_CONSUMERS(huge, 0);

	/* Its last page works as the first one does. */
	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0),
				   page_size, NULL, huge, last);
	TEST_ASSERT_CONSUMERS(huge, 1);
	kvm_fallocate(huge, MEMFILE_ALLOCATE, last, page_size);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	TEST_ASSERT_PRESENT(huge, page_size);
	kvm_fallocate(huge, MEMFILE_PUNCH, last, page_size);
	memfile_guest_check(self->vcpu, gpa(0), 0);
	kvm_fallocate(huge, MEMFILE_PUNCH, 0, top - page_size);
	TEST_ASSERT_PRESENT(huge, 0);
	kvm_close(huge);
}

/* A memslot that is right but for one change must be refused, for that. */
#define TEST_SLOT_REFUSED(vm, base, err, change...)				\
do {										\
	struct kvm_userspace_memory_region2 r = base;				\
	int __r;								\
										\
	change;									\
	__r = __vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &r);			\
	TEST_ASSERT(__r == -1 && errno == (err),				\
		    "'" #change "': wanted errno %d, got %d, errno %d (%s)",	\
		    err, __r, errno, strerror(errno));				\
} while (0)

/* What a memslot with a file must be refused for, and must survive. */
TEST_F(memfile, slot_errors)
{
	const size_t size = 4 * page_size;
	struct kvm_vm *vm = self->vm;
	struct kvm_vm *other = vm_create_barebones();
	int other_fd = vm_create_guest_memfd(other, file_size, variant->flags);
	const struct kvm_userspace_memory_region2 old = {
		.slot = SLOT,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = gpa(0),
		.memory_size = size,
		.guest_memfd = self->fd,
		.guest_memfd_offset = 4 * page_size,
	};
	const struct kvm_userspace_memory_region2 new = {
		.slot = SLOT + 1,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = gpa(32),
		.memory_size = size,
		.guest_memfd = self->fd,
		.guest_memfd_offset = 8 * page_size,
	};
	struct kvm_userspace_memory_region v1 = {
		.slot = SLOT + 1,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = gpa(32),
		.memory_size = size,
	};
	int pipes[2], i;
	char *anon;

	ASSERT_EQ(0, pipe(pipes));
	anon = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &old);
	for (i = 0; i < 4; i++)
		memfile_guest_fill(self->vcpu, gpa(i), pattern(i));

	/* Whatever is no file of this VM's */
	TEST_SLOT_REFUSED(vm, new, EBADF, r.guest_memfd = -1);
	TEST_SLOT_REFUSED(vm, new, EBADF, r.guest_memfd = dup(self->fd),
			  close(r.guest_memfd));
	TEST_SLOT_REFUSED(vm, new, EBADF, r.guest_memfd = open("/dev/null", O_PATH));
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = open("/dev/null", O_RDWR));
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = open("/", O_RDONLY));
	TEST_SLOT_REFUSED(vm, new, EINVAL,
			  r.guest_memfd = kvm_memfd_alloc(file_size, false));
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = kvm_new_eventfd());
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = epoll_create1(0));
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = pipes[0]);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = vm->kvm_fd);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = vm->fd);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = self->vcpu->fd);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd = other_fd);

	/* Whatever is not in the file */
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd_offset++);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd_offset += page_size / 2);
	TEST_SLOT_REFUSED(vm, new, EINVAL,
			  r.guest_memfd_offset = (NR_PAGES - 3) * page_size);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd_offset = file_size);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd_offset = -page_size);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_memfd_offset = INT64_MIN);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.memory_size = 9 * page_size);
	TEST_SLOT_REFUSED(vm, new, EINVAL,
			  r.memory_size = (NR_PAGES + 1) * page_size,
			  r.guest_memfd_offset = 0);

	/* Whatever is no guest memory */
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.memory_size = page_size / 2);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.memory_size = 0);
	TEST_SLOT_REFUSED(vm, new, EINVAL,
			  r.memory_size = ALIGN_DOWN(INT64_MAX, page_size));
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.memory_size = -page_size);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_phys_addr = -page_size);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.guest_phys_addr += 8);
	TEST_SLOT_REFUSED(vm, new, EEXIST, r.guest_phys_addr = gpa(3));
	TEST_SLOT_REFUSED(vm, new, EEXIST, r.guest_phys_addr = 0);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.userspace_addr = (u64)anon + 8);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.userspace_addr = -size);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.slot = 0xffff);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.slot |= 0xff0000);

	/* Whatever does not go with a file; flags are looked at first, the fd next. */
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.flags |= KVM_MEM_READONLY);
	TEST_SLOT_REFUSED(vm, new, EINVAL,
			  r.flags |= KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.flags |= KVM_MEM_READONLY,
			  r.guest_memfd = -1);
	TEST_SLOT_REFUSED(vm, new, EBADF, r.guest_memfd_offset = file_size,
			  r.guest_memfd = -1);
	for (i = 3; i < 32; i++)
		TEST_SLOT_REFUSED(vm, new, EINVAL, r.flags |= BIT(i));

	/* Whatever is no deletion: a memslot with a file stays where it is. */
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.guest_memfd_offset = 3 * page_size);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.guest_memfd_offset = 8 * page_size);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.guest_phys_addr = gpa(16));
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.userspace_addr = (u64)anon);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.memory_size = 2 * size);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.memory_size = page_size);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.flags = 0);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.flags = 0, r.userspace_addr = (u64)anon);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.flags = KVM_MEM_LOG_DIRTY_PAGES);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.flags |= KVM_MEM_READONLY);
	TEST_SLOT_REFUSED(vm, old, EINVAL, r.flags = KVM_MEM_READONLY);

	/* The old struct has no room for a file. */
	TEST_ASSERT_ERRNO(__vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &v1), EINVAL);

	/* RAM does not become a file either. */
	vm_set_user_memory_region2(vm, SLOT + 1, 0, gpa(32), size, anon, -1, 0);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.userspace_addr = (u64)anon);
	delete_slot(vm, SLOT + 1);
	TEST_SLOT_REFUSED(vm, new, EINVAL, r.flags = 0, r.memory_size = 0);

	TEST_ASSERT_CONSUMERS(self->fd, 1);
	TEST_ASSERT_CONSUMERS(other_fd, 0);
	TEST_ASSERT_PRESENT(self->fd, size);
	memfile_guest_exits_mmio(self->vcpu, gpa(32));
	for (i = 0; i < 4; i++)
		memfile_guest_check(self->vcpu, gpa(i), pattern(i));

	/* Had one of the failures kept a reference, this were not the last one. */
	kvm_munmap(self->mem, file_size);
	kvm_close(self->fd);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(0), 0, EFAULT);
}

TEST_F(memfile, create_errors)
{
	const u64 sizes[] = {
		0, 1, page_size / 2, page_size - 1, page_size + 1, INT64_MAX,
		INT64_MIN, INT64_MIN + page_size, -page_size, -1,
	};
	u64 flags = vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_FLAGS);
	struct kvm_create_guest_memfd args = {
		.size = page_size,
		.flags = variant->flags,
	};
	int next = dup(0), fd, i;

	kvm_close(next);

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		TEST_ASSERT_ERRNO(__vm_create_guest_memfd(self->vm, sizes[i],
				  variant->flags), EINVAL);
	for (i = 0; i < 64; i++) {
		if (flags & BIT_ULL(i))
			continue;
		TEST_ASSERT_ERRNO(__vm_create_guest_memfd(self->vm, page_size,
				  variant->flags | BIT_ULL(i)), EINVAL);
	}
	TEST_ASSERT_ERRNO(__vm_ioctl(self->vm, KVM_CREATE_GUEST_MEMFD,
			  (struct kvm_create_guest_memfd *)8), EFAULT);
	TEST_ASSERT_ERRNO(ioctl(self->vcpu->fd, KVM_CREATE_GUEST_MEMFD, &args), EINVAL);

	/* Each of these would have taken the next fd, had it not failed. */
	fd = vm_create_guest_memfd(self->vm, page_size, GUEST_MEMFD_FLAG_INIT_SHARED);
	ASSERT_EQ(next, fd);
	TEST_ASSERT_ERRNO((long)mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 0),
			  ENODEV);

	/* The reserved words were never looked at, so it is too late to refuse them. */
	memset(args.reserved, 0xff, sizeof(args.reserved));
	fd = __vm_ioctl(self->vm, KVM_CREATE_GUEST_MEMFD, &args);
	ASSERT_EQ(next + 1, fd);
}

/* What is wrong with a file is told also when no file could be had. */
TEST_F(memfile, create_with_no_fd_left)
{
	struct rlimit limit, none;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none = limit;
	none.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	TEST_ASSERT_ERRNO(__vm_create_guest_memfd(self->vm, 0, variant->flags), EINVAL);
	TEST_ASSERT_ERRNO(__vm_create_guest_memfd(self->vm, file_size + 1, variant->flags),
			  EINVAL);
	TEST_ASSERT_ERRNO(__vm_create_guest_memfd(self->vm, file_size, BIT_ULL(63)), EINVAL);
	TEST_ASSERT_ERRNO(__vm_create_guest_memfd(self->vm, file_size, variant->flags), EMFILE);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));

	/* The VM is not the worse for a file that it had for a moment. */
	kvm_close(vm_create_guest_memfd(self->vm, file_size, variant->flags));
}

TEST_F(memfile, fallocate_errors)
{
	const loff_t size = file_size;
	const loff_t top = ALIGN_DOWN(INT64_MAX, page_size);
	const struct {
		int mode;
		loff_t offset, len;
		int err;
	} bad[] = {
		{ 0, 0, page_size, EOPNOTSUPP },
		{ FALLOC_FL_PUNCH_HOLE, 0, page_size, EOPNOTSUPP },
		{ FALLOC_FL_COLLAPSE_RANGE, 0, page_size, EOPNOTSUPP },
		{ FALLOC_FL_ZERO_RANGE, 0, page_size, EOPNOTSUPP },
		{ FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, page_size, EOPNOTSUPP },
		{ FALLOC_FL_INSERT_RANGE, 0, page_size, EOPNOTSUPP },
		{ FALLOC_FL_UNSHARE_RANGE, 0, page_size, EOPNOTSUPP },
		{ FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_KEEP_SIZE, 0, page_size, EOPNOTSUPP },
		{ MEMFILE_PUNCH | FALLOC_FL_ZERO_RANGE, 0, page_size, EOPNOTSUPP },

		{ MEMFILE_ALLOCATE, 1, page_size, EINVAL },
		{ MEMFILE_ALLOCATE, 0, page_size - 1, EINVAL },
		{ MEMFILE_ALLOCATE, page_size / 2, page_size, EINVAL },
		{ MEMFILE_ALLOCATE, 0, 0, EINVAL },
		{ MEMFILE_ALLOCATE, 0, -page_size, EINVAL },
		{ MEMFILE_ALLOCATE, -page_size, page_size, EINVAL },
		{ MEMFILE_ALLOCATE, size, page_size, EINVAL },
		{ MEMFILE_ALLOCATE, size - page_size, 2 * page_size, EINVAL },
		{ MEMFILE_ALLOCATE, 0, top, EINVAL },
		{ MEMFILE_ALLOCATE, top - page_size, page_size, EINVAL },
		{ MEMFILE_ALLOCATE, top, page_size, EFBIG },

		{ MEMFILE_PUNCH, 1, page_size, EINVAL },
		{ MEMFILE_PUNCH, 0, page_size + 1, EINVAL },
		{ MEMFILE_PUNCH, size + 1, page_size, EINVAL },
		{ MEMFILE_PUNCH, 0, 0, EINVAL },
		{ MEMFILE_PUNCH, -page_size, 2 * page_size, EINVAL },
		{ MEMFILE_PUNCH, top, page_size, EFBIG },
	};
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	memfile_guest_fill(self->vcpu, gpa(NR_PAGES - 1), pattern(1));

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		int r = fallocate(self->fd, bad[i].mode, bad[i].offset, bad[i].len);

		TEST_ASSERT(r == -1 && errno == bad[i].err,
			    "fallocate(0x%x, 0x%lx, 0x%lx): wanted errno %d, got %d, errno %d (%s)",
			    bad[i].mode, (long)bad[i].offset, (long)bad[i].len,
			    bad[i].err, r, errno, strerror(errno));
	}
	for (i = 0; i < 32; i++) {
		if (BIT(i) & MEMFILE_PUNCH)
			continue;
		TEST_ASSERT_ERRNO(fallocate(self->fd, MEMFILE_ALLOCATE | BIT(i), 0,
					    page_size), EOPNOTSUPP);
		TEST_ASSERT_ERRNO(fallocate(self->fd, MEMFILE_PUNCH | BIT(i), 0,
					    page_size), EOPNOTSUPP);
	}

	/* Holes behind the end, up to the largest offset there is. */
	kvm_fallocate(self->fd, MEMFILE_PUNCH, size, page_size);
	kvm_fallocate(self->fd, MEMFILE_PUNCH, size + page_size, top - size - page_size);

	TEST_ASSERT_PRESENT(self->fd, 2 * page_size);
	memfile_guest_check(self->vcpu, gpa(0), pattern(0));
	memfile_guest_check(self->vcpu, gpa(NR_PAGES - 1), pattern(1));
}

/* Only fallocate() and mmap() work on the file: there is no other way in. */
TEST_F(memfile, file_errors)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = page_size };
	int fd = self->fd, pipes[2], memfd;
	struct stat before, after;
	char path[64], buf[64] = "";
	off_t off = 0;

	ASSERT_EQ(0, pipe(pipes));
	memfd = kvm_memfd_alloc(page_size, false);
	ASSERT_EQ((ssize_t)sizeof(buf), write(pipes[1], buf, sizeof(buf)));
	allocate(fd, 0, 1);
	ASSERT_EQ(0, fstat(fd, &before));

	TEST_ASSERT_ERRNO(read(fd, buf, sizeof(buf)), EINVAL);
	TEST_ASSERT_ERRNO(pread(fd, buf, sizeof(buf), 0), ESPIPE);
	TEST_ASSERT_ERRNO(write(fd, buf, sizeof(buf)), EINVAL);
	TEST_ASSERT_ERRNO(pwrite(fd, buf, sizeof(buf), 0), ESPIPE);
	TEST_ASSERT_ERRNO(readv(fd, &iov, 1), EINVAL);
	TEST_ASSERT_ERRNO(writev(fd, &iov, 1), EINVAL);
	TEST_ASSERT_ERRNO(splice(fd, &off, pipes[1], NULL, sizeof(buf), 0), EINVAL);
	TEST_ASSERT_ERRNO(splice(pipes[0], NULL, fd, &off, sizeof(buf), 0), EINVAL);
	TEST_ASSERT_ERRNO(sendfile(memfd, fd, &off, sizeof(buf)), ESPIPE);
	TEST_ASSERT_ERRNO(copy_file_range(fd, &off, memfd, NULL, sizeof(buf), 0), EXDEV);
	TEST_ASSERT_ERRNO(lseek(fd, 0, SEEK_SET), ESPIPE);
	TEST_ASSERT_ERRNO(lseek(fd, 0, SEEK_HOLE), ESPIPE);
	TEST_ASSERT_ERRNO(fsync(fd), EINVAL);
	TEST_ASSERT_ERRNO(ioctl(fd, KVM_GET_API_VERSION, 0), ENOTTY);

	TEST_ASSERT_ERRNO(ftruncate(fd, 0), EINVAL);
	TEST_ASSERT_ERRNO(ftruncate(fd, 2 * file_size), EINVAL);
	TEST_ASSERT_ERRNO(ftruncate(fd, file_size), EINVAL);
	TEST_ASSERT_ERRNO(fchmod(fd, 0777), EINVAL);
	TEST_ASSERT_ERRNO(fchown(fd, 1, 1), EINVAL);
	TEST_ASSERT_ERRNO(futimens(fd, NULL), EINVAL);

	/* A second open file would have no VM. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TEST_ASSERT_ERRNO(open(path, O_RDWR), ENXIO);
	TEST_ASSERT_ERRNO(open(path, O_RDONLY), ENXIO);
	TEST_ASSERT_ERRNO(truncate(path, 0), EINVAL);

	ASSERT_EQ(0, fstat(fd, &after));
	ASSERT_EQ(before.st_size, after.st_size);
	ASSERT_EQ(before.st_mode, after.st_mode);
	ASSERT_EQ(before.st_uid, after.st_uid);
	TEST_ASSERT_PRESENT(fd, page_size);
}

TEST_F(memfile, mmap_errors)
{
	const size_t size = file_size;
	char *mem;

	TEST_ASSERT_ERRNO((long)mmap(NULL, size, PROT_READ, MAP_PRIVATE, self->fd, 0),
			  EINVAL);
	TEST_ASSERT_ERRNO((long)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE,
				     self->fd, 0), EINVAL);
	TEST_ASSERT_ERRNO((long)mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED,
				     self->fd, 0), EPERM);
	TEST_ASSERT_ERRNO(mprotect(self->mem, size, PROT_READ | PROT_EXEC), EACCES);
	TEST_ASSERT_ERRNO((long)mmap(NULL, size, PROT_READ, MAP_SHARED, self->fd, 1),
			  EINVAL);

	/* The mapping may reach over the end, accesses may not. */
	mem = __kvm_mmap(2 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
			 size - page_size);
	TEST_EXPECT_SIGBUS(READ_ONCE(mem[page_size]));
	TEST_EXPECT_SIGBUS(WRITE_ONCE(mem[page_size], 1));
	if (variant->flags & GUEST_MEMFD_FLAG_INIT_SHARED)
		WRITE_ONCE(mem[page_size - 1], 1);
	else
		TEST_EXPECT_SIGBUS(WRITE_ONCE(mem[page_size - 1], 1));
	kvm_munmap(mem, 2 * page_size);

	mem = __kvm_mmap(page_size, PROT_READ, MAP_SHARED, self->fd,
			 ALIGN_DOWN(INT64_MAX, page_size) - page_size);
	TEST_EXPECT_SIGBUS(READ_ONCE(mem[0]));
	kvm_munmap(mem, page_size);

	TEST_ASSERT_PRESENT(self->fd, variant->flags & GUEST_MEMFD_FLAG_INIT_SHARED ?
				      page_size : 0);
}

/* khugepaged's work would map more than the pages that were asked for. */
TEST_F(memfile, collapse)
{
	size_t pmd_size, nr, i;
	char *area, *mem;
	int fd;

	if (!thp_configured())
		SKIP(return, "no transparent huge pages");
	if (!(variant->flags & GUEST_MEMFD_FLAG_INIT_SHARED))
		SKIP(return, "the host maps no page of a private file");

	pmd_size = get_trans_hugepagesz();
	nr = pmd_size / page_size;
	fd = vm_create_guest_memfd(self->vm, pmd_size, variant->flags);
	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0),
				   pmd_size, NULL, fd, 0);

	area = kvm_mmap(2 * pmd_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	mem = mmap(align_ptr_up(area, pmd_size), pmd_size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	kvm_madvise(mem, pmd_size, MADV_HUGEPAGE);

	/* First with holes, then without; clean pages and dirty ones. */
	for (i = 0; i < nr; i += 2)
		*host_page(mem, i) = pattern(i);
	TEST_ASSERT_ERRNO(madvise(mem, pmd_size, MADV_COLLAPSE), EINVAL);
	TEST_ASSERT_PRESENT(fd, pmd_size / 2);

	for (i = 1; i < nr; i += 2)
		READ_ONCE(*host_page(mem, i));
	memfile_guest_fill(self->vcpu, gpa(1), pattern(1));
	TEST_ASSERT_ERRNO(madvise(mem, pmd_size, MADV_COLLAPSE), EINVAL);

	for (i = 0; i < nr; i++)
		TEST_ASSERT_EQ(*host_page(mem, i), i % 2 && i != 1 ? 0 : pattern(i));
	ASSERT_EQ(pattern(2), memfile_guest_do(self->vcpu, GUEST_READ, gpa(2), 0));
	memfile_guest_check(self->vcpu, gpa(1), pattern(1));
	memfile_guest_check(self->vcpu, gpa(3), 0);
	TEST_ASSERT_PRESENT(fd, pmd_size);
}

enum { FILE_FD, VM_FD, VCPU_FD, MAPPING, NR_PARTS };

static void close_part(struct kvm_vm *vm, struct kvm_vcpu *vcpu, int fd, char *mem,
		       int part)
{
	switch (part) {
	case FILE_FD:
		kvm_close(fd);
		break;
	case VM_FD:
		/* The fd of the statistics holds the VM as well. */
		kvm_close(vm->fd);
		if (vm->stats.fd >= 0)
			kvm_close(vm->stats.fd);
		break;
	case VCPU_FD:
		kvm_munmap(vcpu->run, ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL));
		kvm_close(vcpu->fd);
		if (vcpu->stats.fd >= 0)
			kvm_close(vcpu->stats.fd);
		break;
	case MAPPING:
		kvm_munmap(mem, file_size);
		break;
	}
}

static void test_close_order(u64 flags, const int *order)
{
	bool open[NR_PARTS] = { true, true, true, true };
	bool deleted = false;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int fd, i;
	char *mem;

	vm = create_vm(&vcpu);
	fd = vm_create_guest_memfd(vm, file_size, flags);
	mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	bind_slot(vm, SLOT, 0, 4, fd, 0);
	bind_slot(vm, SLOT + 1, 8, 4, fd, 8);
	memfile_guest_fill(vcpu, gpa(1), pattern(1));
	memfile_guest_fill(vcpu, gpa(9), pattern(9));

	for (i = 0; i < NR_PARTS; i++) {
		close_part(vm, vcpu, fd, mem, order[i]);
		open[order[i]] = false;

		if (open[FILE_FD]) {
			allocate(fd, 4, 1);
			punch(fd, 3, 2);
		}
		if (open[MAPPING]) {
			host_check(mem, flags, 1, pattern(1));
			host_check(mem, flags, 9, pattern(9));
		}
		if (!open[VCPU_FD])
			continue;
		/* The mapping holds the file as the fd does. */
		if (open[FILE_FD] || open[MAPPING]) {
			memfile_guest_check(vcpu, gpa(1), pattern(1));
			memfile_guest_fill(vcpu, gpa(10), pattern(10));
			continue;
		}

		/* A page that was mapped, and one of the other slot that was not */
		memfile_guest_faults(vcpu, GUEST_READ, gpa(1), 0, EFAULT);
		if (!deleted)
			memfile_guest_faults(vcpu, GUEST_FILL, gpa(11), 0, EFAULT);

		/* A memslot whose file is gone can be deleted, but need not be. */
		if (open[VM_FD] && !deleted) {
			delete_slot(vm, SLOT + 1);
			memfile_guest_exits_mmio(vcpu, gpa(11));
			deleted = true;
		}
	}
}

/* Every order of the parts that starts with the first @nr of @order. */
static void test_orders_from(u64 flags, int *order, int nr)
{
	int i, last;

	if (nr == NR_PARTS) {
		test_close_order(flags, order);
		return;
	}
	for (i = nr; i < NR_PARTS; i++) {
		last = order[i];
		order[i] = order[nr];
		order[nr] = last;
		test_orders_from(flags, order, nr + 1);
		order[nr] = order[i];
		order[i] = last;
	}
}

TEST_F_TIMEOUT(memfile, close_orders, 120)
{
	int order[NR_PARTS] = { FILE_FD, VM_FD, VCPU_FD, MAPPING };

	test_orders_from(variant->flags, order, 0);
}

/* A file that was passed on survives the VMM, and with it the VM it pins. */
TEST_F(memfile, outlives_process)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int sockets[2], fd, status;
	char *mem;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	if (!pid) {
		struct kvm_vcpu *vcpu;
		struct kvm_vm *vm = create_vm(&vcpu);

		fd = vm_create_guest_memfd(vm, file_size, variant->flags);
		bind_slot(vm, SLOT, 0, NR_PAGES, fd, 0);
		memfile_guest_fill(vcpu, gpa(2), pattern(2));

		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
		TEST_ASSERT_EQ(sendmsg(sockets[1], &msg, 0), (ssize_t)1);
		for (;;)
			pause();
	}
	kvm_close(sockets[1]);
	ASSERT_EQ(1, recvmsg(sockets[0], &msg, 0));
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));

	mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	host_check(mem, variant->flags, 2, pattern(2));
	TEST_ASSERT_PRESENT(fd, page_size);
	allocate(fd, 3, 1);
	punch(fd, 2, 1);
	host_check(mem, variant->flags, 2, 0);

	/* It belongs to the dead VM. */
	TEST_ASSERT_ERRNO(__bind(self->vm, SLOT, 0, NR_PAGES, fd, 0), EINVAL);

	kvm_munmap(mem, file_size);
	kvm_close(fd);
}

/*
 * A page of the file counts as unevictable from its allocation until its last
 * reference is gone.  Free memory is no measure: a good deal of what was freed
 * stays with the CPU that freed it.
 */
static bool unevictable_reaches(u64 bytes)
{
	int i;

	for (i = 0; i < 50; i++) {
		if (memfile_meminfo("Unevictable") <= bytes)
			return true;
		usleep(100000);
	}
	return false;
}

TEST_F(memfile, memory_is_given_back)
{
	const size_t size = SZ_32M, slack = SZ_4M;
	u64 before = memfile_meminfo("Unevictable"), used;
	int how, fd, status;
	pid_t pid;

	for (how = 0; how < 3; how++) {
		fd = vm_create_guest_memfd(self->vm, size, variant->flags);
		vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0),
					   size, NULL, fd, 0);
		kvm_fallocate(fd, MEMFILE_ALLOCATE, 0, size);
		memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
		used = memfile_meminfo("Unevictable") - before;
		TEST_ASSERT(used > size - slack && used < size + slack,
			    "%lu bytes allocated, %lu used", size, used);

		switch (how) {
		case 0:	/* by hand */
			kvm_fallocate(fd, MEMFILE_PUNCH, 0, size);
			TEST_ASSERT(unevictable_reaches(before + slack),
				    "%lu bytes were unevictable, %lu are", before,
				    memfile_meminfo("Unevictable"));
			kvm_close(fd);
			break;
		case 1:	/* by the last close, with the memslot in place */
			kvm_close(fd);
			break;
		case 2:	/* by the death of the process with the last reference */
			pid = fork();
			if (!pid)
				for (;;)
					pause();
			kvm_close(fd);
			memfile_guest_check(self->vcpu, gpa(0), pattern(0));
			kill(pid, SIGKILL);
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
			break;
		}
		TEST_ASSERT(unevictable_reaches(before + slack),
			    "case %d: %lu bytes were unevictable, %lu are", how, before,
			    memfile_meminfo("Unevictable"));
		memfile_guest_faults(self->vcpu, GUEST_READ, gpa(0), 0, EFAULT);
		delete_slot(self->vm, SLOT);
	}
}

/* The file is not locked for longer than it takes to handle 512 pages. */
TEST_F(memfile, bounded_hold)
{
	const size_t size = 2048 * page_size;
	int fd = vm_create_guest_memfd(self->vm, size, variant->flags);

	if (memfile_fdinfo(fd, "memfile-longest-hold") < 0)
		SKIP(return, "the kernel does not say how long the file was locked");

	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0),
				   size, NULL, fd, 0);
	kvm_fallocate(fd, MEMFILE_ALLOCATE, 0, size);
	TEST_ASSERT_PRESENT(fd, size);
	ASSERT_GE(512, memfile_fdinfo(fd, "memfile-longest-hold"));
	ASSERT_LT(0, memfile_fdinfo(fd, "memfile-longest-hold"));
	memfile_guest_fill(self->vcpu, gpa(33), pattern(33));
	kvm_fallocate(fd, MEMFILE_PUNCH, 0, size);
	TEST_ASSERT_PRESENT(fd, 0);
	ASSERT_GE(512, memfile_fdinfo(fd, "memfile-longest-hold"));
	memfile_guest_check(self->vcpu, gpa(33), 0);
}

/* Ask for @nr pages, and get all but @left of them, or the last call's errno. */
static int prefault(struct kvm_vcpu *vcpu, int page, int nr, int left)
{
	struct kvm_pre_fault_memory range = {
		.gpa = gpa(page),
		.size = nr * page_size,
	};
	int r;

	do {
		r = __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
	} while ((!r && range.size) || (r && errno == EINTR));
	r = r ? errno : 0;

	TEST_ASSERT_EQ(range.size, left * page_size);
	TEST_ASSERT_EQ(range.gpa, gpa(page + nr - left));
	return r;
}

TEST_F(memfile, prefault)
{
	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		SKIP(return, "no KVM_PRE_FAULT_MEMORY");

	/* The vCPU must have run once to have an MMU. */
	bind_slot(self->vm, SLOT, 0, 8, self->fd, 4);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));

	ASSERT_EQ(0, prefault(self->vcpu, 0, 6, 0));
	TEST_ASSERT_PRESENT(self->fd, 6 * page_size);
	memfile_guest_check(self->vcpu, gpa(0), pattern(0));
	memfile_guest_check(self->vcpu, gpa(5), 0);
	memfile_guest_fill(self->vcpu, gpa(5), pattern(5));

	punch(self->fd, 4 + 5, 1);
	memfile_guest_check(self->vcpu, gpa(5), 0);
	memfile_guest_fill(self->vcpu, gpa(5), pattern(5));
	punch(self->fd, 4 + 4, 2);
	TEST_ASSERT_PRESENT(self->fd, 4 * page_size);
	ASSERT_EQ(0, prefault(self->vcpu, 4, 2, 0));
	TEST_ASSERT_PRESENT(self->fd, 6 * page_size);
	memfile_guest_check(self->vcpu, gpa(4), 0);
	memfile_guest_check(self->vcpu, gpa(5), 0);
	memfile_guest_check(self->vcpu, gpa(0), pattern(0));

	/* Two pages more than the memslot has. */
	ASSERT_EQ(ENOENT, prefault(self->vcpu, 6, 4, 2));
	TEST_ASSERT_PRESENT(self->fd, 8 * page_size);

	kvm_munmap(self->mem, file_size);
	kvm_close(self->fd);
	ASSERT_EQ(EFAULT, prefault(self->vcpu, 0, 2, 2));
}

static const char *kill_reason(siginfo_t *info)
{
	return info->si_code == BUS_MCEERR_AR ? "BUS_MCEERR_AR" :
	       info->si_code == BUS_MCEERR_AO ? "BUS_MCEERR_AO" :
	       info->si_code == BUS_ADRERR ? "BUS_ADRERR" : "other";
}

static sigjmp_buf sigbus_jmpbuf;
static siginfo_t sigbus_info;

static void sigbus_handler(int sig, siginfo_t *info, void *context)
{
	sigbus_info = *info;
	siglongjmp(sigbus_jmpbuf, 1);
}

/* A memory error in a page: nobody reads it again, everything else goes on. */
TEST_F(memfile, hwpoison)
{
	struct sigaction sa = { .sa_sigaction = sigbus_handler, .sa_flags = SA_SIGINFO };
	char *mem;
	int r = 0;

	if (!(variant->flags & GUEST_MEMFD_FLAG_INIT_SHARED))
		SKIP(return, "madvise() reaches mapped pages only");

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	memfile_guest_fill(self->vcpu, gpa(1), pattern(1));
	memfile_guest_fill(self->vcpu, gpa(2), pattern(2));
	host_check(self->mem, variant->flags, 1, pattern(1));

	/* Whoever injects is the one who "consumed" the error: a signal may come. */
	sigaction(SIGBUS, &sa, NULL);
	if (!sigsetjmp(sigbus_jmpbuf, 1)) {
		r = madvise(host_page(self->mem, 1), page_size, MADV_HWPOISON);
		if (r && (errno == EINVAL || errno == EPERM))
			SKIP(return, "cannot inject memory errors");
		TEST_ASSERT(!r || errno == EBUSY, __KVM_SYSCALL_ERROR("madvise()", r));
	}

	memset(&sigbus_info, 0, sizeof(sigbus_info));
	if (!sigsetjmp(sigbus_jmpbuf, 1)) {
		READ_ONCE(*host_page(self->mem, 1));
		TEST_FAIL("The host read a poisoned page");
	}
	TEST_ASSERT(sigbus_info.si_code == BUS_MCEERR_AR ||
		    sigbus_info.si_code == BUS_MCEERR_AO, "Wanted a memory error, got %s",
		    kill_reason(&sigbus_info));
	TEST_ASSERT_EQ(sigbus_info.si_addr, (void *)host_page(self->mem, 1));

	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(1), 0, EHWPOISON);
	memfile_guest_faults(self->vcpu, GUEST_FILL, gpa(1), 0, EHWPOISON);
	memfile_guest_check(self->vcpu, gpa(0), pattern(0));
	memfile_guest_check(self->vcpu, gpa(2), pattern(2));
	host_check(self->mem, variant->flags, 0, pattern(0));
	TEST_ASSERT_PRESENT(self->fd, 3 * page_size);

	/* Once punched out, there is room for a good page. */
	punch(self->fd, 1, 1);
	memfile_guest_check(self->vcpu, gpa(1), 0);
	memfile_guest_fill(self->vcpu, gpa(1), pattern(1));
	mem = kvm_mmap(file_size, PROT_READ, MAP_SHARED, self->fd);
	host_check(mem, variant->flags, 1, pattern(1));
}

/* Where pages come from is the policy's choice, whoever touches them first. */
TEST_F(memfile, numa)
{
	const unsigned long nodes[] = { BIT(0), BIT(1) };
	int node, i;

	if (!is_multi_numa_node_system())
		SKIP(return, "one NUMA node only");
	if (!(variant->flags & GUEST_MEMFD_FLAG_INIT_SHARED))
		SKIP(return, "no way to see where a private page is");

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	for (i = 0; i < 4; i++)
		kvm_mbind(host_page(self->mem, i), page_size, MPOL_BIND, &nodes[i % 2],
			  8, 0);
	memfile_guest_fill(self->vcpu, gpa(0), 1);
	memfile_guest_fill(self->vcpu, gpa(1), 1);
	allocate(self->fd, 2, 2);

	for (i = 0; i < 4; i++) {
		kvm_get_mempolicy(&node, NULL, 0, host_page(self->mem, i),
				  MPOL_F_NODE | MPOL_F_ADDR);
		TEST_ASSERT(node == i % 2, "Page %d: wanted node %d, got %d", i, i % 2,
			    node);
	}
}

/* So it is if the policy is for less than what is allocated at a time. */
TEST_F(memfile, numa_part)
{
	const unsigned long nodes[] = { BIT(0), BIT(1) };
	const size_t size = SZ_2M;
	int fd, node, i;
	void *mem;

	if (!is_multi_numa_node_system())
		SKIP(return, "one NUMA node only");
	if (!(variant->flags & GUEST_MEMFD_FLAG_INIT_SHARED))
		SKIP(return, "no way to see where a private page is");

	fd = vm_create_guest_memfd(self->vm, size, variant->flags);
	mem = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	for (i = 0; i < 2; i++)
		kvm_mbind(mem + (NR_PAGES + i) * page_size, page_size, MPOL_BIND,
			  &nodes[i], 8, 0);
	allocate(fd, 0, size / page_size);

	for (i = 0; i < 2; i++) {
		kvm_get_mempolicy(&node, NULL, 0, mem + (NR_PAGES + i) * page_size,
				  MPOL_F_NODE | MPOL_F_ADDR);
		TEST_ASSERT(node == i, "Page %d: wanted node %d, got %d", NR_PAGES + i, i,
			    node);
	}
	kvm_munmap(mem, size);
	kvm_close(fd);
}

/* Whoever causes the allocation pays, until the page is freed. */
TEST_F(memfile, memcg)
{
	const size_t size = SZ_16M, slack = SZ_2M;
	u64 before, now;
	char dir[64];
	int fd;

	if (!memfile_cgroup_enter(dir))
		SKIP(return, "no memory cgroups");

	fd = vm_create_guest_memfd(self->vm, size, variant->flags);
	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0), size,
				   NULL, fd, 0);
	before = memfile_cgroup_read(dir, "memory.current", "");
	kvm_fallocate(fd, MEMFILE_ALLOCATE, 0, size);
	now = memfile_cgroup_read(dir, "memory.current", "");
	TEST_ASSERT(now > before + size - slack, "%lu bytes allocated, %lu charged", size,
		    now - before);

	kvm_fallocate(fd, MEMFILE_PUNCH, 0, size / 2);
	kvm_close(fd);
	now = memfile_cgroup_leave(dir, before + slack);
	TEST_ASSERT(now <= before + slack, "%lu bytes are still charged", now - before);
}

/* One page in each block: what is reserved with it must make room for the next. */
static void touch_sparsely(struct kvm_vm *vm, struct kvm_vcpu *vcpu, u64 flags)
{
	const char *soak = getenv("SOAK_SECONDS");
	/* A block takes its time, where all that is done with it is checked. */
	const size_t size = soak && atoi(soak) > 10 ? SZ_1G : SZ_256M;
	const size_t max = SZ_16M, block = SZ_2M;
	struct kvm_pre_fault_memory range = {};
	char dir[64], limit[32];
	u64 before, peak;
	bool prefault;
	size_t at;
	char *mem;
	int fd;

	if (!memfile_cgroup_enter(dir))
		ksft_exit_skip("no memory cgroups\n");
	before = memfile_cgroup_read(dir, "memory.current", "");
	snprintf(limit, sizeof(limit), "%lu", max);
	memfile_cgroup_write(dir, "memory.max", limit);

	fd = vm_create_guest_memfd(vm, size, flags);
	mem = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	vm_set_user_memory_region2(vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0), size, NULL, fd, 0);

	/* Whoever can: the host, the guest, or nobody. */
	prefault = kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY);
	for (at = 0; at < size; at += block) {
		if (flags & GUEST_MEMFD_FLAG_INIT_SHARED) {
			mem[at] = 1;
		} else if (prefault) {
			range.gpa = gpa(0) + at;
			range.size = page_size;
			vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
		} else {
			kvm_fallocate(fd, MEMFILE_ALLOCATE, at, page_size);
		}
		TEST_ASSERT(memfile_held(fd) <= (long)max, "0x%lx bytes are held after 0x%lx",
			    memfile_held(fd), at);
	}
	TEST_ASSERT_PRESENT(fd, size / block * page_size);
	for (at = 0; at < size && flags & GUEST_MEMFD_FLAG_INIT_SHARED; at += block)
		TEST_ASSERT(mem[at] == 1 && !mem[at + 1], "Page at 0x%lx", at);

	peak = memfile_cgroup_read(dir, "memory.peak", "");
	ksft_print_msg("flags 0x%lx: at most %lu KiB, %lu times at the limit\n", flags,
		       peak / SZ_1K, memfile_cgroup_read(dir, "memory.events", "max"));
	TEST_ASSERT(peak <= max, "%lu bytes were charged", peak);
	TEST_ASSERT(memfile_cgroup_read(dir, "memory.events", "max"), "Nothing had to go back");
	TEST_ASSERT_EQ(memfile_cgroup_read(dir, "memory.events", "oom"), 0);
	TEST_ASSERT_EQ(memfile_cgroup_read(dir, "memory.events", "oom_kill"), 0);

	delete_slot(vm, SLOT);
	kvm_munmap(mem, size);
	kvm_close(fd);
	peak = memfile_cgroup_leave(dir, before + SZ_4M);
	TEST_ASSERT(peak <= before + SZ_4M, "%lu bytes are still charged", peak - before);
}

TEST_F_TIMEOUT(memfile, memory_max, 600)
{
	/* Whether the machine can do it at all is not the only question. */
	u64 no_direct_map = vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_FLAGS) &
			    GUEST_MEMFD_FLAG_NO_DIRECT_MAP;

	/* The vCPU must have run once to have an MMU. */
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	memfile_guest_fill(self->vcpu, gpa(0), pattern(0));
	delete_slot(self->vm, SLOT);

	touch_sparsely(self->vm, self->vcpu, variant->flags);
	if (no_direct_map)
		touch_sparsely(self->vm, self->vcpu, variant->flags | no_direct_map);
}

/* A VMM whose guest grows until the kernel has to kill it for the memory of its cgroup */
static void outgrow(const char *dir, size_t size, u64 flags)
{
	struct kvm_pre_fault_memory range;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	bool prefault;
	size_t at;
	char *mem;
	int fd;

	memfile_cgroup_write(dir, "cgroup.procs", "0");
	vm = create_vm(&vcpu);
	fd = vm_create_guest_memfd(vm, size, flags);
	mem = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	vm_set_user_memory_region2(vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0), size, NULL, fd, 0);
	memfile_guest_fill(vcpu, gpa(0), pattern(0));

	/* Whoever can in turn: the host, the guest, or nobody. */
	prefault = kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY);
	for (at = page_size; at < size; at += page_size) {
		range = (struct kvm_pre_fault_memory) { .gpa = gpa(0) + at, .size = page_size };
		if (flags & GUEST_MEMFD_FLAG_INIT_SHARED && at / page_size % 3 == 0)
			mem[at] = 1;
		else if (prefault && at / page_size % 3 == 1)
			vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
		else
			kvm_fallocate(fd, MEMFILE_ALLOCATE, at, page_size);
	}
	_exit(0);
}

static void kill_by_oom(u64 flags)
{
	const size_t max = SZ_16M, slack = SZ_2M;
	u64 before = memfile_meminfo("Unevictable"), charged, killed;
	char dir[64], limit[32];
	int status;
	pid_t pid;

	if (!memfile_cgroup_enter(dir))
		ksft_exit_skip("no memory cgroups\n");
	/* But only the VMM is to be there to be killed. */
	memfile_cgroup_write(MEMFILE_CGROUP, "cgroup.procs", "0");
	snprintf(limit, sizeof(limit), "%lu", max);
	memfile_cgroup_write(dir, "memory.max", limit);

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid)
		outgrow(dir, 2 * max, flags);
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	killed = memfile_cgroup_read(dir, "memory.events", "oom_kill");
	TEST_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && killed == 1,
		    "flags 0x%lx: status 0x%x, %lu processes were killed", flags, status, killed);

	charged = memfile_cgroup_leave(dir, slack);
	TEST_ASSERT(charged <= slack, "flags 0x%lx: %lu bytes are still charged", flags, charged);
	TEST_ASSERT(unevictable_reaches(before + slack),
		    "flags 0x%lx: %lu bytes were unevictable, %lu are", flags, before,
		    memfile_meminfo("Unevictable"));
}

/*
 * What a VMM had whose end nobody wanted comes back, too.  That it is in the direct map
 * again is for the KUnit test of free memory to see, which follows (direct_map_kunit).
 */
TEST_F_TIMEOUT(memfile, oom_kill, 600)
{
	u64 no_direct_map = vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_FLAGS) &
			    GUEST_MEMFD_FLAG_NO_DIRECT_MAP;

	kill_by_oom(variant->flags | no_direct_map);
}

int main(int argc, char *argv[])
{
	page_size = getpagesize();
	file_size = page_size * NR_PAGES;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_INIT_SHARED);

	return test_harness_run(argc, argv);
}
