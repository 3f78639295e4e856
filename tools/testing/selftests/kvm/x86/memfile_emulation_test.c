// SPDX-License-Identifier: GPL-2.0
/*
 * A software-protected VM all of whose memory is private: code, stack and page tables,
 * which userspace cannot reach. KVM has to read them nevertheless, to emulate what the
 * guest does to memory that is not there.
 */
#include "kvm_test_harness.h"
#include "memfile_util.h"

#define MMIO_GPA	0xd0000000ULL
#define ANSWER		0x1234567890abcdefULL

static void guest_code(void)
{
	volatile u64 *mmio = (void *)MMIO_GPA;
	u64 i;

	GUEST_SYNC(0);
	for (i = 0;; i++)
		mmio[1] = mmio[0] + i;
}

static void expect_mmio(struct kvm_vcpu *vcpu, u64 addr, bool write)
{
	struct kvm_run *run = vcpu->run;

	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(run->mmio.phys_addr, addr);
	TEST_ASSERT_EQ(run->mmio.len, 8u);
	TEST_ASSERT_EQ(run->mmio.is_write, write);
}

/* One load and one store, each of them emulated. */
static void round_trip(struct kvm_vcpu *vcpu, u64 i)
{
	struct kvm_run *run = vcpu->run;
	u64 val = ANSWER * (i + 1);

	expect_mmio(vcpu, MMIO_GPA, false);
	memcpy(run->mmio.data, &val, sizeof(val));
	expect_mmio(vcpu, MMIO_GPA + 8, true);
	memcpy(&val, run->mmio.data, sizeof(val));
	TEST_ASSERT_EQ(val, ANSWER * (i + 1) + i);
}

FIXTURE(memfile_emulation)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int fd;
	size_t size;
};

FIXTURE_VARIANT(memfile_emulation)
{
	const char *src;
};

FIXTURE_VARIANT_ADD(memfile_emulation, direct_map)
{
	.src = "guest_memfd",
};

FIXTURE_VARIANT_ADD(memfile_emulation, no_direct_map)
{
	.src = "guest_memfd_no_direct_map",
};

FIXTURE_SETUP(memfile_emulation)
{
	struct userspace_mem_region *region;
	struct ucall uc;

	setenv("KVM_SELFTEST_MEM_SRC", variant->src, 1);
	self->vm = vm_create_shape_with_one_vcpu(memfile_convert_shape(), &self->vcpu,
						 guest_code);
	virt_map(self->vm, MMIO_GPA, MMIO_GPA, 1);

	region = memslot2region(self->vm, 0);
	self->fd = region->fd;
	self->size = region->region.memory_size;

	vcpu_run(self->vcpu);
	TEST_ASSERT_EQ(get_ucall(self->vcpu, &uc), (u64)UCALL_SYNC);
}

FIXTURE_TEARDOWN(memfile_emulation)
{
}

TEST_F(memfile_emulation, private)
{
	u64 i;

	for (i = 0; i < 40; i++) {
		/* Shared, private, and what was private just before */
		if (i % 10 == 0)
			memfile_convert(self->fd, 0, self->size, (i / 10) % 2);
		round_trip(self->vcpu, i);
	}
}

/* What KVM has mapped for itself stands in nobody's way. */
TEST_F(memfile_emulation, conversions_between)
{
	u64 i;

	for (i = 0; i < 20; i++) {
		memfile_convert(self->fd, 0, self->size, true);
		round_trip(self->vcpu, i);
		memfile_convert(self->fd, 0, self->size, false);
	}
}

/* KVM can't do what nobody could: the memory with the code is gone. */
TEST_F(memfile_emulation, hole)
{
	struct kvm_run *run = self->vcpu->run;

	memfile_convert(self->fd, 0, self->size, true);
	round_trip(self->vcpu, 0);
	kvm_fallocate(self->fd, MEMFILE_PUNCH, 0, self->size);
	_vcpu_run(self->vcpu);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_SHUTDOWN ||
		    run->exit_reason == KVM_EXIT_INTERNAL_ERROR, "Exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
}

int main(int argc, char *argv[])
{
	memfile_require_convert();

	return test_harness_run(argc, argv);
}
