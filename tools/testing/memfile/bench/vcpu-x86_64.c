// SPDX-License-Identifier: GPL-2.0
/* The vCPU on x86_64. */
#include <sys/ioctl.h>

#include "bench.h"

static const char * const entry[] = {
	[WRITE]		= guest_write_all,
	[ASK]		= guest_ask,
	[ASK_HC]	= guest_ask_hc,
	[FLIP]		= guest_flip,
	[FLIP_HC]	= guest_flip_hc,
	[TRANSFER]	= guest_transfer,
	[TRANSFER_FLIP]	= guest_transfer_flip,
};

bool arch_vm_type(enum backing_type backing, unsigned long *type)
{
	if (backing == PINNED || backing == OWNED)
		return false;
	*type = backing == PLAIN ? KVM_X86_DEFAULT_VM : KVM_X86_SW_PROTECTED_VM;
	return ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES) & 1 << *type;
}

bool arch_has_hypercall(void)
{
	return true;
}

void arch_vcpu_setup(struct vm *vm, struct vcpu *vcpu)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXIT_HYPERCALL,
		.args = { 1 << KVM_HC_MAP_GPA_RANGE },
	};
	struct kvm_segment flat = {
		.limit = ~0U,
		.selector = 2 << 3,
		.type = 3,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
	struct kvm_sregs sregs;

	CHECK(ioctl(vm->fd, KVM_ENABLE_CAP, &cap));
	CHECK(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs));
	sregs.cr0 = 1 << 4 | 1;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.cs = flat;
	sregs.cs.selector = 1 << 3;
	sregs.cs.type = 11;
	CHECK(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs));
}

void arch_vcpu_start(struct vcpu *vcpu, enum program program, uint64_t gpa, uint64_t n)
{
	struct kvm_regs regs = {
		.rip = GUEST_CODE + (entry[program] - guest_code),
		.rbx = gpa,
		.rcx = n,
		.rflags = 2,
	};

	CHECK(ioctl(vcpu->fd, KVM_SET_REGS, &regs));
}

int arch_request(const struct kvm_run *run)
{
	if (run->exit_reason == KVM_EXIT_IO && run->io.port >= REQUEST_PORT)
		return run->io.port - REQUEST_PORT;
	if (run->exit_reason == KVM_EXIT_HYPERCALL && run->hypercall.nr == KVM_HC_MAP_GPA_RANGE)
		return run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED ? TO_PRIVATE :
									      TO_SHARED;
	return -1;
}
