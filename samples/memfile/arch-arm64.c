// SPDX-License-Identifier: GPL-2.0
/* arm64: a plain VM. What the guest may do with either kind of memory is the same. */
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "memfile-vmm.h"

/* The smallest guest-physical space there is: every machine can have it. */
const unsigned long private_vm_type = KVM_VM_TYPE_ARM_IPA_SIZE(32);
const unsigned long plain_vm_type = KVM_VM_TYPE_ARM_IPA_SIZE(32);

const struct need needs[] = {
	{ "KVM_CAP_USER_MEMORY2", "the kernel is older than memory files",
	  KVM_CAP_USER_MEMORY2 },
	{ "KVM_CAP_ARM_VM_IPA_SIZE", "the kernel is too old, or has no stage 2",
	  KVM_CAP_ARM_VM_IPA_SIZE },
	{}
};

#define CORE_REG(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(name))
#define SCTLR_EL1	ARM64_SYS_REG(3, 0, 1, 0, 0)
#define TTBR0_EL1	ARM64_SYS_REG(3, 0, 2, 0, 0)
#define TCR_EL1		ARM64_SYS_REG(3, 0, 2, 0, 2)
#define MAIR_EL1	ARM64_SYS_REG(3, 0, 10, 2, 0)

static uint64_t get_reg(struct vm *vm, uint64_t id)
{
	uint64_t value = 0;
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	if (ioctl(vm->vcpu, KVM_GET_ONE_REG, &reg))
		die("see KVM_GET_REG_LIST", "KVM_GET_ONE_REG(%#llx)", reg.id);
	return value;
}

static void set_reg(struct vm *vm, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	if (ioctl(vm->vcpu, KVM_SET_ONE_REG, &reg))
		die("see KVM_GET_REG_LIST", "KVM_SET_ONE_REG(%#llx)", reg.id);
}

/*
 * The guest starts with its MMU on: without it, its accesses would bypass the
 * caches, and the host would not see what they wrote.
 */
void arch_start_vcpu(struct vm *vm, void *shared, uint64_t pc, const uint64_t args[3])
{
	uint64_t *table = shared + GUEST_TABLES;
	struct kvm_vcpu_init init;

	if (ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init))
		die("see the kernel log for the CPU", "KVM_ARM_PREFERRED_TARGET");
	if (ioctl(vm->vcpu, KVM_ARM_VCPU_INIT, &init))
		die("see the kernel log for the CPU", "KVM_ARM_VCPU_INIT(%u)", init.target);

	/* Blocks of 1 GiB: normal memory, and the doorbell's, not executable */
	table[0] = 1 << 10 | 3 << 8 | 1;
	table[1] = DOORBELL_GPA | 3ULL << 53 | 1 << 10 | 1 << 2 | 1;
	set_reg(vm, MAIR_EL1, 0x00ff);
	/* 39 bits of address, so that one table is enough; TTBR1 is not used */
	set_reg(vm, TCR_EL1, 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25);
	set_reg(vm, TTBR0_EL1, SHARED_GPA + GUEST_TABLES);
	set_reg(vm, SCTLR_EL1, get_reg(vm, SCTLR_EL1) | 1 << 12 | 1 << 2 | 1 << 0);

	for (int i = 0; i < 3; i++)
		set_reg(vm, CORE_REG(regs.regs[0]) + i * 2, args[i]);
	set_reg(vm, CORE_REG(sp_el1), SHARED_GPA + GUEST_STACK);
	set_reg(vm, CORE_REG(regs.pc), pc);
}

int arch_doorbell(const struct kvm_run *run)
{
	uint32_t what;

	if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.phys_addr != DOORBELL_GPA ||
	    !run->mmio.is_write || run->mmio.len != sizeof(what))
		return -1;
	memcpy(&what, run->mmio.data, sizeof(what));
	return what;
}

uint64_t arch_pc(struct vm *vm)
{
	return get_reg(vm, CORE_REG(regs.pc));
}
