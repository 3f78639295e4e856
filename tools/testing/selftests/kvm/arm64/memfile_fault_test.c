// SPDX-License-Identifier: GPL-2.0
/*
 * Memory files (guest_memfd) on arm64: a guest access for which there is no
 * page ends KVM_RUN and says where, it neither spins nor gets lost; and memslots
 * that the architecture cannot have are refused.
 */
#define _GNU_SOURCE
#include "kvm_test_harness.h"
#include "memfile_util.h"

#define NR_PAGES	16
#define SLOT		10

#define MMAP		GUEST_MEMFD_FLAG_MMAP
#define INIT_SHARED	GUEST_MEMFD_FLAG_INIT_SHARED

static size_t page_size;

FIXTURE(memfile_arm64)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int fd;
};

FIXTURE_VARIANT(memfile_arm64)
{
	u64 flags;
};

FIXTURE_VARIANT_ADD(memfile_arm64, shared)
{
	.flags = MMAP | INIT_SHARED,
};

FIXTURE_VARIANT_ADD(memfile_arm64, private)
{
	.flags = MMAP,
};

static gpa_t gpa(int page)
{
	return MEMFILE_GPA + page * page_size;
}

FIXTURE_SETUP(memfile_arm64)
{
	self->vm = vm_create_with_one_vcpu(&self->vcpu, memfile_guest_code);
	virt_map(self->vm, gpa(0), gpa(0), NR_PAGES * page_size / self->vm->page_size);
	self->fd = vm_create_guest_memfd(self->vm, NR_PAGES * page_size, variant->flags);
	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0),
				   NR_PAGES * page_size, NULL, self->fd, 0);
}

/* Every test is a process, whose end is one more release that must work. */
FIXTURE_TEARDOWN(memfile_arm64)
{
}

/* One access, one exit: nothing is tried again and again in the kernel. */
TEST_F(memfile_arm64, no_spin)
{
	u64 before;
	int i;

	memfile_guest_fill(self->vcpu, gpa(0), 1);
	memfile_guest_check(self->vcpu, gpa(1), 0);
	kvm_close(self->fd);

	for (i = 0; i < 8; i++) {
		before = vcpu_get_stat(self->vcpu, exits);
		memfile_guest_faults(self->vcpu, i % 2 ? GUEST_FILL : GUEST_READ,
				     gpa(i / 2), 0, EFAULT);
		/* Interrupts of the host are exits, too. */
		ASSERT_GT(before + 16, vcpu_get_stat(self->vcpu, exits));
	}
}

static void guest_exec_code(u64 gva, u64 size)
{
	u64 page;

	for (page = 0; ; page++) {
		u32 *code = (u32 *)(gva + page * size);

		/* The second page is a hole when it is fetched from. */
		if (page != 1)
			WRITE_ONCE(*code, 0xd65f03c0);	/* ret */
		dsb(ish);
		asm volatile("ic ialluis\n\tdsb ish\n\tisb" : : : "memory");
		((void (*)(void))code)();
		GUEST_SYNC1(page);
	}
}

/* Fetching instructions is an access like others. */
TEST_F(memfile_arm64, exec)
{
	struct kvm_run *run = self->vcpu->run;
	struct ucall uc;

	vcpu_arch_set_entry_point(self->vcpu, guest_exec_code);
	vcpu_args_set(self->vcpu, 2, gpa(0), (u64)page_size);

	/* Mapped by the write, and made executable by the fetch. */
	vcpu_run(self->vcpu);
	ASSERT_EQ(UCALL_SYNC, get_ucall(self->vcpu, &uc));
	ASSERT_EQ(0, uc.args[0]);

	/* A page that is first reached by a fetch, and cannot be had. */
	kvm_close(self->fd);
	ASSERT_EQ(-1, _vcpu_run(self->vcpu));
	ASSERT_EQ(EFAULT, errno);
	ASSERT_EQ(KVM_EXIT_MEMORY_FAULT, run->exit_reason);
	ASSERT_EQ(gpa(1), run->memory_fault.gpa);
	ASSERT_EQ(page_size, run->memory_fault.size);
	ASSERT_EQ(0, run->memory_fault.flags);
}

/* A memslot that the architecture refuses leaves no trace on the file. */
TEST_F(memfile_arm64, refused_slots)
{
	const u64 flags = KVM_MEM_GUEST_MEMFD;
	u64 limit = 1ULL << self->vm->pa_bits;
	int fd;

	fd = vm_create_guest_memfd(self->vm, NR_PAGES * page_size, variant->flags);
	TEST_ASSERT_ERRNO(__vm_set_user_memory_region2(self->vm, SLOT + 1, flags,
			  limit, page_size, NULL, fd, 0), EFAULT);
	TEST_ASSERT_ERRNO(__vm_set_user_memory_region2(self->vm, SLOT + 1, flags,
			  limit - page_size, 2 * page_size, NULL, fd, 0), EFAULT);
	TEST_ASSERT_CONSUMERS(fd, 0);

	/* The last page that there is. */
	vm_set_user_memory_region2(self->vm, SLOT + 1, flags, limit - page_size,
				   page_size, NULL, fd, 0);
	TEST_ASSERT_CONSUMERS(fd, 1);
	memfile_guest_fill(self->vcpu, gpa(0), 1);
	memfile_guest_check(self->vcpu, gpa(0), 1);
}

int main(int argc, char *argv[])
{
	page_size = getpagesize();

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));

	return test_harness_run(argc, argv);
}
