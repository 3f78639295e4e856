// SPDX-License-Identifier: GPL-2.0
/*
 * A software-protected VM all of whose memory is private: code, stack and page tables,
 * which userspace cannot reach. KVM has to read them nevertheless, to emulate what the
 * guest does to memory that is not there, and write what the guest wants it to write.
 */
#include "kvm_test_harness.h"
#include "memfile_util.h"
#include <asm/pvclock-abi.h>

#define MMIO_GPA	0xd0000000ULL
#define ANSWER		0x1234567890abcdefULL

#define PORT			0x80
#define STRING_SIZE		64

/* What the guest is to do, written before all is private. */
static void (*guest_does)(u64 *mmio);

static char string[STRING_SIZE];
static struct pvclock_vcpu_time_info pvclock;
static gpa_t pvclock_gpa;

static void guest_loads_and_stores(u64 *mmio)
{
	u64 i;

	for (i = 0;; i++)
		WRITE_ONCE(mmio[1], READ_ONCE(mmio[0]) + i);
}

static void guest_string_io(u64 *mmio)
{
	u64 count;
	void *at;

	for (;;) {
		count = STRING_SIZE;
		at = string;
		asm volatile("rep insb" : "+c" (count), "+D" (at) : "d" (PORT) : "memory");
		count = STRING_SIZE;
		at = string;
		asm volatile("rep outsb" : "+c" (count), "+S" (at) : "d" (PORT) : "memory");
	}
}

static void guest_clock(u64 *mmio)
{
	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, pvclock_gpa | KVM_MSR_ENABLED);
	for (;;) {
		WRITE_ONCE(mmio[0], READ_ONCE(pvclock.version));
		WRITE_ONCE(mmio[1], READ_ONCE(pvclock.tsc_to_system_mul));
		WRITE_ONCE(mmio[2], READ_ONCE(pvclock.flags));
	}
}

static void guest_code(void)
{
	GUEST_SYNC(0);
	guest_does((void *)MMIO_GPA);
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

/* What the guest stores at an address that is not memory. */
static u64 expect_store(struct kvm_vcpu *vcpu, u64 addr)
{
	u64 val;

	expect_mmio(vcpu, addr, true);
	memcpy(&val, vcpu->run->mmio.data, sizeof(val));
	return val;
}

/* One load and one store, each of them emulated. */
static void round_trip(struct kvm_vcpu *vcpu, u64 i)
{
	struct kvm_run *run = vcpu->run;
	u64 val = ANSWER * (i + 1);

	expect_mmio(vcpu, MMIO_GPA, false);
	memcpy(run->mmio.data, &val, sizeof(val));
	TEST_ASSERT_EQ(expect_store(vcpu, MMIO_GPA + 8), ANSWER * (i + 1) + i);
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

	write_guest_global(self->vm, guest_does, guest_loads_and_stores);
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

/* Through a port to private memory, or from there; as many bytes at a time as KVM likes. */
static void transfer_string(struct kvm_vcpu *vcpu, int direction, char *data)
{
	struct kvm_run *run = vcpu->run;
	void *in_run = (void *)run;
	u32 done, len;

	for (done = 0; done < STRING_SIZE; done += len) {
		vcpu_run(vcpu);
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
		TEST_ASSERT_EQ(run->io.port, PORT);
		TEST_ASSERT_EQ(run->io.direction, direction);
		len = run->io.count * run->io.size;
		TEST_ASSERT(len <= STRING_SIZE - done, "%u bytes, %u were done", len, done);
		if (direction == KVM_EXIT_IO_IN)
			memcpy(in_run + run->io.data_offset, data + done, len);
		else
			memcpy(data + done, in_run + run->io.data_offset, len);
	}
}

TEST_F(memfile_emulation, string_io)
{
	char in[STRING_SIZE], out[STRING_SIZE];
	int i, j;

	write_guest_global(self->vm, guest_does, guest_string_io);
	for (i = 0; i < 4; i++) {
		memfile_convert(self->fd, 0, self->size, i % 2 == 0);
		for (j = 0; j < STRING_SIZE; j++)
			in[j] = i * STRING_SIZE + j;
		memset(out, 0, sizeof(out));
		transfer_string(self->vcpu, KVM_EXIT_IO_IN, in);
		transfer_string(self->vcpu, KVM_EXIT_IO_OUT, out);
		TEST_ASSERT(!memcmp(in, out, sizeof(in)), "What comes out is not what went in");
	}
}

/* The clock goes on in memory of either kind, whichever it was when it was set up. */
TEST_F(memfile_emulation, clock)
{
	u64 version, last = 0;
	gpa_t gpa;
	int i;

	gpa = addr_gva2gpa(self->vm, (gva_t)&pvclock);
	write_guest_global(self->vm, pvclock_gpa, gpa);
	write_guest_global(self->vm, guest_does, guest_clock);

	for (i = 0; i < 6; i++) {
		memfile_convert(self->fd, 0, self->size, i % 2 == 0);
		if (i)
			vcpu_ioctl(self->vcpu, KVM_KVMCLOCK_CTRL, NULL);
		version = expect_store(self->vcpu, MMIO_GPA);
		TEST_ASSERT(version > last && version % 2 == 0,
			    "Update %d: version %lu after %lu", i, version, last);
		TEST_ASSERT(expect_store(self->vcpu, MMIO_GPA + 8), "Update %d: no rate", i);
		TEST_ASSERT_EQ(!!(expect_store(self->vcpu, MMIO_GPA + 16) & PVCLOCK_GUEST_STOPPED),
			       !!i);
		last = version;
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
