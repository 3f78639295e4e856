// SPDX-License-Identifier: GPL-2.0
/*
 * A guest hypervisor whose own guest is one, too (FEAT_NV2), has a page with the
 * registers of the latter. While that one runs, the page is mapped in the host
 * kernel's fixmap, for the CPU to use (kvm_map_l1_vncr() in arch/arm64/kvm/nested.c).
 * Here it is a page of a memory file: the mapping must work without a direct map, and
 * be gone, TLB included, when the page is.
 *
 * L1 is the guest hypervisor, L2 its guest.
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include <asm/sysreg.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"

#define SLOT		10

/* Where TPIDR_EL2 is in the page: Arm ARM, FEAT_NV2, and asm/vncr_mapping.h. */
#define VNCR_TPIDR_EL2	0x090

#define MMAP		GUEST_MEMFD_FLAG_MMAP
#define INIT_SHARED	GUEST_MEMFD_FLAG_INIT_SHARED
#define NO_DIRECT_MAP	GUEST_MEMFD_FLAG_NO_DIRECT_MAP

static size_t page_size;

enum op {
	L1_READ,	/* load from the page */
	L1_WRITE,
	L2_READ,	/* read the register */
	L2_WRITE,
};

static struct {
	u64 op;
	u64 value;
} cmd;

/* Code for L2: one instruction, with its operand in x0, and back to L1. */
#define L2_CODE(instruction)				\
({							\
	void *__code;					\
							\
	asm volatile("adr	%0, 1f\n\t"		\
		     "b		2f\n"			\
		     "1:	" instruction "\n\t"	\
		     "hvc	#0\n"			\
		     "2:" : "=r" (__code));		\
	__code;						\
})

/* Where L1 goes on when L2 has called. */
static u64 l1_return;

static void l1_hvc_handler(struct ex_regs *regs)
{
	regs->pc = l1_return;
	regs->pstate = PSR_MODE_EL2h | PSR_D_BIT | PSR_A_BIT | PSR_I_BIT | PSR_F_BIT;
}

static u64 l1_run_l2(void *code, u64 value)
{
	register u64 x0 asm("x0") = value;
	u64 hcr = read_sysreg(hcr_el2);

	write_sysreg((hcr & ~HCR_EL2_TGE) | HCR_EL2_NV | HCR_EL2_NV2, hcr_el2);
	write_sysreg((u64)code, elr_el2);
	write_sysreg((u64)(PSR_MODE_EL1h | PSR_D_BIT | PSR_A_BIT | PSR_I_BIT | PSR_F_BIT),
		     spsr_el2);
	asm volatile("adr	x1, 1f\n\t"
		     "str	x1, %1\n\t"
		     "isb\n\t"
		     "eret\n"
		     "1:"
		     : "+r" (x0), "=m" (l1_return) : : "x1", "memory");
	write_sysreg(hcr, hcr_el2);
	isb();
	return x0;
}

/* L1 runs with VHE: for itself it has the registers of EL1, L2's are those of EL12. */
static void l1_code(void)
{
	u64 *word = (u64 *)(MEMFILE_GPA + VNCR_TPIDR_EL2);
	u64 result;

	write_sysreg_s(read_sysreg(tcr_el1), SYS_TCR_EL12);
	write_sysreg_s(read_sysreg(ttbr0_el1), SYS_TTBR0_EL12);
	write_sysreg_s(read_sysreg(mair_el1), SYS_MAIR_EL12);
	write_sysreg_s(read_sysreg(sctlr_el1), SYS_SCTLR_EL12);
	write_sysreg_s(MEMFILE_GPA, SYS_VNCR_EL2);
	isb();

	for (;;) {
		u64 value = READ_ONCE(cmd.value);

		result = 0;
		switch (READ_ONCE(cmd.op)) {
		case L1_READ:
			result = READ_ONCE(*word);
			break;
		case L1_WRITE:
			WRITE_ONCE(*word, value);
			break;
		case L2_READ:
			result = l1_run_l2(L2_CODE("mrs x0, tpidr_el2"), 0);
			break;
		case L2_WRITE:
			l1_run_l2(L2_CODE("msr tpidr_el2, x0"), value);
			break;
		}
		GUEST_SYNC1(result);
	}
}

FIXTURE(memfile_vncr)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	u64 *word;		/* where the host sees the register */
	int fd;
};

FIXTURE_SETUP(memfile_vncr)
{
	u64 flags = MMAP | INIT_SHARED | NO_DIRECT_MAP;
	void *mem;

	/* Some machines cannot change their direct map. */
	flags &= kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS);

	self->vm = vm_create_with_one_vcpu(&self->vcpu, l1_code);
	vm_init_descriptor_tables(self->vm);
	vcpu_init_descriptor_tables(self->vcpu);
	vm_install_sync_handler(self->vm, VECTOR_SYNC_LOWER_64, ESR_ELx_EC_HVC64,
				l1_hvc_handler);

	self->fd = vm_create_guest_memfd(self->vm, page_size, flags);
	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, MEMFILE_GPA,
				   page_size, NULL, self->fd, 0);
	virt_map(self->vm, MEMFILE_GPA, MEMFILE_GPA, page_size / self->vm->page_size);
	mem = kvm_mmap(page_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	self->word = mem + VNCR_TPIDR_EL2;
}

FIXTURE_TEARDOWN(memfile_vncr)
{
}

static u64 guest_do(struct kvm_vcpu *vcpu, enum op op, u64 value)
{
	struct ucall uc;

	cmd.op = op;
	cmd.value = value;
	sync_global_to_guest(vcpu->vm, cmd);
	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		return uc.args[0];
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("ucall %ld, exit %u", uc.cmd, vcpu->run->exit_reason);
	}
	return 0;
}

/* All three see the same page. */
TEST_F(memfile_vncr, access)
{
	guest_do(self->vcpu, L1_WRITE, 1);
	ASSERT_EQ(1, guest_do(self->vcpu, L2_READ, 0));
	guest_do(self->vcpu, L2_WRITE, 2);
	ASSERT_EQ(2, guest_do(self->vcpu, L1_READ, 0));
	ASSERT_EQ(2, READ_ONCE(*self->word));
	WRITE_ONCE(*self->word, 3);
	ASSERT_EQ(3, guest_do(self->vcpu, L2_READ, 0));
}

/* A page that L2 is the first one to reach, and the one after a punch, are zero. */
TEST_F(memfile_vncr, punch)
{
	int i;

	for (i = 1; i < 10; i++) {
		ASSERT_EQ(0, guest_do(self->vcpu, L2_READ, 0));
		guest_do(self->vcpu, L2_WRITE, i);
		ASSERT_EQ(i, READ_ONCE(*self->word));
		kvm_fallocate(self->fd, MEMFILE_PUNCH, 0, page_size);
	}
	TEST_ASSERT_PRESENT(self->fd, 0);
}

/* A mapping is there for both states, and for each conversion is made anew. */
TEST_F(memfile_vncr, convert)
{
	int i;

	for (i = 1; i < 10; i++) {
		guest_do(self->vcpu, L2_WRITE, 2 * i);
		memfile_convert(self->fd, 0, page_size, true);
		ASSERT_EQ(2 * i, guest_do(self->vcpu, L2_READ, 0));
		guest_do(self->vcpu, L2_WRITE, 2 * i + 1);
		memfile_convert(self->fd, 0, page_size, false);
		ASSERT_EQ(2 * i + 1, READ_ONCE(*self->word));
	}
}

/* L2's access ends KVM_RUN and says where, if there is no page. */
TEST_F(memfile_vncr, no_page)
{
	struct kvm_run *run = self->vcpu->run;

	guest_do(self->vcpu, L2_WRITE, 1);
	kvm_munmap((void *)self->word - VNCR_TPIDR_EL2, page_size);
	kvm_close(self->fd);

	cmd.op = L2_READ;
	sync_global_to_guest(self->vm, cmd);
	_vcpu_run(self->vcpu);
	ASSERT_EQ(KVM_EXIT_MEMORY_FAULT, run->exit_reason);
	ASSERT_EQ(MEMFILE_GPA, run->memory_fault.gpa);
	ASSERT_EQ(page_size, run->memory_fault.size);
	ASSERT_EQ(0, run->memory_fault.flags);
}

static bool has_nested_nested(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	u64 mmfr4;

	if (!test_supports_el2())
		return false;
	vm = vm_create_with_one_vcpu(&vcpu, NULL);
	mmfr4 = vcpu_get_reg(vcpu, KVM_ARM64_SYS_REG(SYS_ID_AA64MMFR4_EL1));
	kvm_vm_free(vm);
	return SYS_FIELD_GET(ID_AA64MMFR4_EL1, NV_frac, mmfr4);
}

int main(int argc, char *argv[])
{
	page_size = getpagesize();

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE(has_nested_nested());

	return test_harness_run(argc, argv);
}
