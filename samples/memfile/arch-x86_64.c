// SPDX-License-Identifier: GPL-2.0
/* x86_64: a software-protected VM, its guest in long mode. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "memfile-vmm.h"

const unsigned long private_vm_type = KVM_X86_SW_PROTECTED_VM;
const unsigned long plain_vm_type = KVM_X86_DEFAULT_VM;

const struct need needs[] = {
	{ "KVM_CAP_USER_MEMORY2", "the kernel is older than memory files",
	  KVM_CAP_USER_MEMORY2 },
	{ "KVM_CAP_VM_TYPES",
	  "needs CONFIG_KVM_SW_PROTECTED_VM and a CPU with EPT or NPT",
	  KVM_CAP_VM_TYPES, 1 << KVM_X86_SW_PROTECTED_VM },
	{}
};

/* KVM allows a guest only what its CPUID offers; without one, not even long mode. */
static void set_cpuid(struct vm *vm)
{
	const int max = 256;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + max * sizeof(cpuid->entries[0]));

	if (!cpuid)
		die("out of memory?", "calloc(CPUID)");
	cpuid->nent = max;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid))
		die("E2BIG: more entries are needed", "KVM_GET_SUPPORTED_CPUID(%d)", max);
	if (ioctl(vm->vcpu, KVM_SET_CPUID2, cpuid))
		die("it is what KVM says it supports", "KVM_SET_CPUID2(%u)", cpuid->nent);
	free(cpuid);
}

/*
 * Long mode is entered by setting the registers that it would leave behind. The
 * guest never loads a segment, so it needs no GDT; it takes no interrupt, and an
 * exception without an IDT is a triple fault, which ends KVM_RUN with
 * KVM_EXIT_SHUTDOWN. A real guest sets up both for itself.
 */
void arch_start_vcpu(struct vm *vm, void *shared, uint64_t pc, const uint64_t args[3])
{
	const uint64_t gpa = SHARED_GPA + GUEST_TABLES;
	uint64_t (*tables)[512] = shared + GUEST_TABLES;
	const struct kvm_segment code = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
	};
	const struct kvm_segment data = {
		.limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_regs regs = {
		.rip = pc, .rflags = 1 << 1, .rsp = SHARED_GPA + GUEST_STACK - 8,
		.rdi = args[0], .rsi = args[1], .rdx = args[2],
	};
	struct kvm_sregs sregs;

	set_cpuid(vm);

	/* The first GiB, mapped one to one in pages of 2M: present, writable, large */
	tables[0][0] = (gpa + 0x1000) | 0x3;
	tables[1][0] = (gpa + 0x2000) | 0x3;
	for (uint64_t i = 0; i < 512; i++)
		tables[2][i] = i << 21 | 0x83;

	if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs))
		die("a vCPU always has them", "KVM_GET_SREGS");
	sregs.cr3 = gpa;
	sregs.cr4 = 1 << 5;			/* PAE */
	sregs.cr0 = 1u << 31 | 1 << 4 | 1 << 0;	/* PG, ET, PE */
	sregs.efer = 1 << 10 | 1 << 8;		/* LMA, LME */
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	if (ioctl(vm->vcpu, KVM_SET_SREGS, &sregs))
		die("does its CPUID have long mode?", "KVM_SET_SREGS(long mode)");
	if (ioctl(vm->vcpu, KVM_SET_REGS, &regs))
		die("a vCPU always has them", "KVM_SET_REGS");
}

int arch_doorbell(const struct kvm_run *run)
{
	uint32_t what;

	if (run->exit_reason != KVM_EXIT_IO || run->io.port != DOORBELL_PORT ||
	    run->io.direction != KVM_EXIT_IO_OUT || run->io.size != sizeof(what))
		return -1;
	memcpy(&what, (const char *)run + run->io.data_offset, sizeof(what));
	return what;
}

uint64_t arch_pc(struct vm *vm)
{
	struct kvm_regs regs = {};

	ioctl(vm->vcpu, KVM_GET_REGS, &regs);
	return regs.rip;
}
