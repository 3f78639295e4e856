// SPDX-License-Identifier: GPL-2.0
/*
 * arm64: a plain VM, whose guest may do the same with either kind of memory; or a
 * protected one (kvm-arm.mode=protected), whose guest gets private memory only, and
 * shares what it likes by itself.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "checks.h"
#include "machine.h"

/* The smallest guest-physical space there is: every machine can have it. */
const unsigned long private_vm_type = KVM_VM_TYPE_ARM_IPA_SIZE(32);
const unsigned long plain_vm_type = KVM_VM_TYPE_ARM_IPA_SIZE(32);
const unsigned long own_vm_type = KVM_VM_TYPE_ARM_PROTECTED | KVM_VM_TYPE_ARM_IPA_SIZE(32);

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

static uint64_t get_reg(struct vcpu *vcpu, uint64_t id)
{
	uint64_t value = 0;
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	if (ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg))
		die("see KVM_GET_REG_LIST", "KVM_GET_ONE_REG(%#llx)", reg.id);
	return value;
}

static void set_reg(struct vcpu *vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	if (ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg))
		die("see KVM_GET_REG_LIST", "KVM_SET_ONE_REG(%#llx)", reg.id);
}

static void init_vcpu(struct vm *vm, struct vcpu *vcpu, uint32_t features)
{
	struct kvm_vcpu_init init;

	if (ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init))
		die("see the kernel log for the CPU", "KVM_ARM_PREFERRED_TARGET");
	init.features[0] |= features;
	if (ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init))
		die("see the kernel log for the CPU", "KVM_ARM_VCPU_INIT(%u, features %#x)",
		    init.target, init.features[0]);
}

/*
 * The guest starts with its MMU on: without it, its accesses would bypass the
 * caches, and the host would not see what they wrote.
 */
void arch_start_guest(struct vm *vm, struct vcpu *vcpu, void *home, uint64_t pc,
		      const uint64_t args[3])
{
	uint64_t *table = home + GUEST_TABLES;

	init_vcpu(vm, vcpu, 0);

	/* Blocks of 1 GiB: normal memory, and the doorbell's, not executable */
	table[0] = 1 << 10 | 3 << 8 | 1;
	table[1] = DOORBELL_GPA | 3ULL << 53 | 1 << 10 | 1 << 2 | 1;
	set_reg(vcpu, MAIR_EL1, 0x00ff);
	/* 39 bits of address, so that one table is enough; TTBR1 is not used */
	set_reg(vcpu, TCR_EL1, 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25);
	set_reg(vcpu, TTBR0_EL1, GUEST_GPA + GUEST_TABLES);
	set_reg(vcpu, SCTLR_EL1, get_reg(vcpu, SCTLR_EL1) | 1 << 12 | 1 << 2 | 1 << 0);

	for (int i = 0; i < 3; i++)
		set_reg(vcpu, CORE_REG(regs.regs[0]) + i * 2, args[i]);
	set_reg(vcpu, CORE_REG(sp_el1), GUEST_GPA + GUEST_STACK);
	set_reg(vcpu, CORE_REG(regs.pc), pc);
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

uint64_t arch_pc(struct vcpu *vcpu)
{
	return get_reg(vcpu, CORE_REG(regs.pc));
}

static void set_gic(int gic, uint32_t group, uint64_t attr, const void *value)
{
	struct kvm_device_attr args = {
		.group = group, .attr = attr, .addr = (uintptr_t)value,
	};

	if (ioctl(gic, KVM_SET_DEVICE_ATTR, &args))
		die("Documentation/virt/kvm/devices/arm-vgic-v3.rst has them",
		    "KVM_SET_DEVICE_ATTR(GICv3, group %u, attribute %llu)", group, args.attr);
}

static int gic;

void arch_create_machine(struct machine *m)
{
	struct kvm_create_device args = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	const uint64_t dist = GIC_DIST_BASE, redist = GIC_REDIST_BASE;

	if (ioctl(m->vm.fd, KVM_CREATE_DEVICE, &args))
		die("needs a host with a GICv3", "KVM_CREATE_DEVICE(GICv3)");
	gic = args.fd;
	set_gic(gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist);
	set_gic(gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, &redist);
}

/* All but the first one are off until it calls PSCI for them. */
void arch_create_vcpu(struct machine *m, struct vcpu *vcpu)
{
	init_vcpu(&m->vm, vcpu, 1 << KVM_ARM_VCPU_PSCI_0_2 |
		  (vcpu->index ? 1 << KVM_ARM_VCPU_POWER_OFF : 0));
}

/* With its MMU off. The GIC has to know all vCPUs by now. */
void arch_start_kernel(struct machine *m)
{
	const uint32_t irqs = 64;

	set_gic(gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs);
	set_gic(gic, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	set_reg(&m->vcpus[0], CORE_REG(regs.pc), m->entry);
	set_reg(&m->vcpus[0], CORE_REG(regs.regs[0]), m->argument);
}

bool arch_exit(struct machine *m, struct kvm_run *run)
{
	return false;
}

void arch_set_irq(struct machine *m, unsigned int irq, bool level)
{
	struct kvm_irq_level line = {
		.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (irq + 32),
		.level = level,
	};

	if (ioctl(m->vm.fd, KVM_IRQ_LINE, &line))
		die("there are 32 of them", "KVM_IRQ_LINE(SPI %u)", irq);
}
