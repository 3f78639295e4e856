// SPDX-License-Identifier: GPL-2.0
/* x86_64: CPUID, and vCPUs that begin in long mode. */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/kvm_para.h>

#include "checks.h"
#include "machine.h"

#define MSR_MTRR_DEF_TYPE	0x2ff

const unsigned long private_vm_type = KVM_X86_SW_PROTECTED_VM;
const unsigned long plain_vm_type = KVM_X86_DEFAULT_VM;
const unsigned long own_vm_type;

const struct need needs[] = {
	{ "KVM_CAP_USER_MEMORY2", "the kernel is older than memory files",
	  KVM_CAP_USER_MEMORY2 },
	{ "KVM_CAP_VM_TYPES",
	  "needs CONFIG_KVM_SW_PROTECTED_VM and a CPU with EPT or NPT",
	  KVM_CAP_VM_TYPES, 1 << KVM_X86_SW_PROTECTED_VM },
	{}
};

/*
 * QEMU's emulated SVM does not switch what XSAVE saves: the guest kernel would die
 * when it sets up its FPU.
 */
static bool host_is_emulated(void)
{
	unsigned int eax, vendor[3] = {};

	__cpuid(0x40000000, eax, vendor[0], vendor[1], vendor[2]);
	return !memcmp(vendor, "TCGTCGTCGTCG", sizeof(vendor));
}

static void adapt_cpuid(struct kvm_cpuid_entry2 *e, const struct vcpu *vcpu,
			bool protected)
{
	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0x00ffffff) | vcpu->index << 24;	/* APIC ID */
		e->ecx |= 1 << 24 | 1u << 31;		/* TSC deadline timer, hypervisor */
		if (host_is_emulated())
			e->ecx &= ~(1 << 26 | 1 << 27 | 1 << 28 | 1 << 29 | 1 << 12);
		break;
	case 7:
		if (!host_is_emulated())
			break;
		e->ebx &= ~(1 << 5);			/* AVX2; what builds on it, too */
		e->ecx &= ~(1 << 9 | 1 << 10);
		break;
	case 0xb:
	case 0x1f:
	case 0x80000026:
		e->edx = vcpu->index;			/* x2APIC ID */
		break;
	case 0xd:
		if (host_is_emulated())
			e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x8000001e:
		e->eax = vcpu->index;
		break;
	case KVM_CPUID_FEATURES:
		/*
		 * Pages that KVM writes to by itself are private, too.  Steal time
		 * it cannot write there, the rest would cost more than it saves.
		 */
		if (protected) {
			e->eax &= ~(1 << KVM_FEATURE_ASYNC_PF | 1 << KVM_FEATURE_ASYNC_PF_INT |
				    1 << KVM_FEATURE_STEAL_TIME | 1 << KVM_FEATURE_PV_EOI);
			e->eax |= 1 << KVM_FEATURE_HC_MAP_GPA_RANGE;
		}
		break;
	}
}

/* KVM allows a guest only what its CPUID offers; without one, not even long mode. */
static void set_cpuid(struct vcpu *vcpu, bool protected)
{
	const int max = 256;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + max * sizeof(cpuid->entries[0]));

	if (!cpuid)
		die("out of memory?", "calloc(CPUID)");
	cpuid->nent = max;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid))
		die("E2BIG: more entries are needed", "KVM_GET_SUPPORTED_CPUID(%d)", max);
	for (unsigned int i = 0; i < cpuid->nent; i++)
		adapt_cpuid(&cpuid->entries[i], vcpu, protected);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid))
		die("it is what KVM says it supports", "KVM_SET_CPUID2(%u)", cpuid->nent);
	free(cpuid);
}

/*
 * Long mode is entered by setting the registers that it would leave behind. The
 * tables are three pages of the guest's, at @gpa, that the VMM has at @map: they
 * map the first GiB one to one in pages of 2M. Nothing loads a segment before the
 * guest has a GDT of its own; an exception without an IDT is a triple fault, which
 * ends KVM_RUN with KVM_EXIT_SHUTDOWN.
 */
static void start_in_long_mode(struct vcpu *vcpu, void *map, uint64_t gpa, struct kvm_regs *regs)
{
	uint64_t (*tables)[512] = map;
	const struct kvm_segment code = {
		.limit = ~0u, .selector = 16, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
	};
	const struct kvm_segment data = {
		.limit = ~0u, .selector = 24, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_sregs sregs;

	tables[0][0] = (gpa + 0x1000) | 0x3;		/* present, writable */
	tables[1][0] = (gpa + 0x2000) | 0x3;
	for (uint64_t i = 0; i < 512; i++)
		tables[2][i] = i << 21 | 0x83;		/* and large */

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		die("a vCPU always has them", "KVM_GET_SREGS");
	sregs.cr3 = gpa;
	sregs.cr4 = 1 << 5;			/* PAE */
	sregs.cr0 = 1u << 31 | 1 << 4 | 1 << 0;	/* PG, ET, PE */
	sregs.efer = 1 << 10 | 1 << 8;		/* LMA, LME */
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs))
		die("does its CPUID have long mode?", "KVM_SET_SREGS(long mode)");
	regs->rflags = 1 << 1;
	if (ioctl(vcpu->fd, KVM_SET_REGS, regs))
		die("a vCPU always has them", "KVM_SET_REGS");
}

void arch_start_guest(struct vm *vm, struct vcpu *vcpu, void *home, uint64_t pc,
		      const uint64_t args[3])
{
	struct kvm_regs regs = {
		.rip = pc, .rsp = GUEST_GPA + GUEST_STACK - 8,
		.rdi = args[0], .rsi = args[1], .rdx = args[2],
	};

	set_cpuid(vcpu, false);
	start_in_long_mode(vcpu, home + GUEST_TABLES, GUEST_GPA + GUEST_TABLES, &regs);
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

uint64_t arch_pc(struct vcpu *vcpu)
{
	struct kvm_regs regs = {};

	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	return regs.rip;
}

/* LAPICs and IOAPIC are KVM's. There is neither a PIC nor a PIT: see acpi.c. */
void arch_create_machine(struct machine *m)
{
	struct kvm_enable_cap hypercalls = {
		.cap = KVM_CAP_EXIT_HYPERCALL, .args = { 1 << KVM_HC_MAP_GPA_RANGE },
	};
	/* What the guest asks for KVM does by itself; at most 64M of it is shared. */
	struct kvm_enable_cap conversions = {
		.cap = KVM_CAP_GUEST_MEMFD_GUEST_CONVERT,
		.args = {
			KVM_GUEST_MEMFD_CONVERT_TO_SHARED | KVM_GUEST_MEMFD_CONVERT_TO_PRIVATE,
			MEM_SIZE, 64 << 20,
		},
	};

	/* Three pages that Intel CPUs may need, out of everybody's way. */
	if (ioctl(m->vm.fd, KVM_SET_TSS_ADDR, 0xfffbd000UL))
		die("it must not overlap memory", "KVM_SET_TSS_ADDR");
	if (ioctl(m->vm.fd, KVM_CREATE_IRQCHIP, 0))
		die("needs CONFIG_KVM_IOAPIC", "KVM_CREATE_IRQCHIP");
	if (!m->options->protected)
		return;
	if (ioctl(m->vm.fd, KVM_ENABLE_CAP, &hypercalls))
		die("the kernel is too old", "KVM_ENABLE_CAP(EXIT_HYPERCALL)");
	if (ioctl(m->vm.fd, KVM_ENABLE_CAP, &conversions))
		say("KVM does not convert memory by itself: the VMM does\n");
}

/*
 * KVM's default is the rate that the host took its TSC for when KVM was loaded. If
 * the host has learned better since, and cannot scale, KVM refuses its own default,
 * and timers of the guest come late by the time that the host is up. So ask until
 * it agrees, in steps of less than what it tolerates (250 ppm in both directions).
 */
static void set_tsc_rate(struct vcpu *vcpu)
{
	int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);

	for (int tries = 0; khz > 0 && ioctl(vcpu->fd, KVM_SET_TSC_KHZ, khz); tries++) {
		if (tries == 100)
			die("is the host's TSC stable?", "KVM_SET_TSC_KHZ(%d)", khz);
		khz += khz / 5000;
	}
}

void arch_create_vcpu(struct machine *m, struct vcpu *vcpu)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = {
		.head.nmsrs = 1,
		/* Without it all memory would be uncached: enabled, write-back */
		.entry = { .index = MSR_MTRR_DEF_TYPE, .data = 1 << 11 | 6 },
	};

	set_cpuid(vcpu, m->options->protected);
	set_tsc_rate(vcpu);
	if (ioctl(vcpu->fd, KVM_SET_MSRS, &msrs) != 1)
		die("does its CPUID have MTRRs?", "KVM_SET_MSRS(%#x)", MSR_MTRR_DEF_TYPE);
}

/* The first vCPU; the others wait until the kernel starts them, in real mode. */
void arch_start_kernel(struct machine *m)
{
	struct kvm_regs regs = { .rip = m->entry, .rsi = m->argument };
	const uint64_t gpa = 0x1000;

	start_in_long_mode(&m->vcpus[0], guest_memory(m, gpa, 0x3000), gpa, &regs);
}

bool arch_exit(struct machine *m, struct kvm_run *run)
{
	const __u64 *args = run->hypercall.args;

	if (run->exit_reason != KVM_EXIT_HYPERCALL)
		return false;
	if (run->hypercall.nr == KVM_HC_MAP_GPA_RANGE)
		run->hypercall.ret = -machine_convert(m, args[0], args[1],
						      args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED);
	else
		run->hypercall.ret = -KVM_ENOSYS;
	return true;
}

void arch_set_irq(struct machine *m, unsigned int irq, bool level)
{
	struct kvm_irq_level line = { .irq = irq, .level = level };

	if (ioctl(m->vm.fd, KVM_IRQ_LINE, &line))
		die("there are 24 of them", "KVM_IRQ_LINE(%u)", irq);
}
