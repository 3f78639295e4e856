// SPDX-License-Identifier: GPL-2.0
/* The vCPU on arm64. Its MMU is on, or its accesses would bypass the caches. */
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "bench.h"

#define TABLE		0x20000UL	/* offset and gpa, in slot 0 */

static const char * const entry[] = {
	[WRITE]		= guest_write_all,
	[ASK]		= guest_ask,
	[FLIP]		= guest_flip,
	[TRANSFER]	= guest_transfer,
	[TRANSFER_FLIP]	= guest_transfer_flip,
	[SHARE]		= guest_share,
	[SHARE_COPY]	= guest_share_copy,
	[SHARE_ALL]	= guest_share_all,
	[UNSHARE_ALL]	= guest_unshare_all,
};

bool arch_vm_type(enum backing_type backing, unsigned long *type)
{
	*type = backing == PINNED || backing == OWNED ? KVM_VM_TYPE_ARM_PROTECTED : 0;
	return true;
}

bool arch_has_hypercall(void)
{
	return false;
}

#define CORE_REG(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
			 KVM_REG_ARM_CORE_REG(name))
#define SCTLR_EL1	ARM64_SYS_REG(3, 0, 1, 0, 0)
#define TTBR0_EL1	ARM64_SYS_REG(3, 0, 2, 0, 0)
#define TCR_EL1		ARM64_SYS_REG(3, 0, 2, 0, 2)
#define MAIR_EL1	ARM64_SYS_REG(3, 0, 10, 2, 0)

static void set_reg(struct vcpu *vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	CHECK(ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg));
}

static uint64_t get_reg(struct vcpu *vcpu, uint64_t id)
{
	uint64_t value = 0;
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	CHECK(ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg));
	return value;
}

void arch_vcpu_setup(struct vm *vm, struct vcpu *vcpu)
{
	uint64_t *table = (uint64_t *)(vm->low + TABLE);
	struct kvm_vcpu_init init;

	CHECK(ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init));
	CHECK(ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init));

	/* Blocks of 1 GiB, accessed, inner shareable; the doorbell's is a device's. */
	for (uint64_t i = 0; i <= 65; i++)
		table[i] = i * GB | 1 << 10 | 3 << 8 | 1;
	table[DOORBELL_GPA / GB] = DOORBELL_GPA | 3ULL << 53 | 1 << 10 | 1 << 2 | 1;
	set_reg(vcpu, MAIR_EL1, 0x00ff);
	/* 39 bits of address, 40 of gpa; TTBR1 is not used */
	set_reg(vcpu, TCR_EL1, 2ULL << 32 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25);
	set_reg(vcpu, TTBR0_EL1, TABLE);
	set_reg(vcpu, SCTLR_EL1, get_reg(vcpu, SCTLR_EL1) | 1 << 12 | 1 << 2 | 1);
}

void arch_vcpu_start(struct vcpu *vcpu, enum program program, uint64_t gpa, uint64_t n)
{
	set_reg(vcpu, CORE_REG(regs.regs[0]), gpa);
	set_reg(vcpu, CORE_REG(regs.regs[1]), n);
	set_reg(vcpu, CORE_REG(regs.regs[2]), DOORBELL_GPA);
	set_reg(vcpu, CORE_REG(regs.pc), GUEST_CODE + (entry[program] - guest_code));
}

int arch_request(const struct kvm_run *run)
{
	uint32_t request;

	if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.phys_addr != DOORBELL_GPA)
		return -1;
	memcpy(&request, run->mmio.data, sizeof(request));
	return request;
}
