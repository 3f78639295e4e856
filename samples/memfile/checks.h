/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _CHECKS_H
#define _CHECKS_H

#include "memfile-vmm.h"

/*
 * The small guest of the checks. Its guest-physical layout is the same on every
 * architecture: a piece of private memory, one of shared memory, and one that holds
 * what the guest needs to run, because the VMM has to put that there; in this order
 * also in the file.
 */
#define PRIVATE_GPA	0x200000UL
#define SHARED_GPA	0x400000UL
#define GUEST_GPA	0x600000UL

#define GUEST_CODE	0x10000UL	/* offsets into the last piece */
#define GUEST_STACK	0x20000UL	/* grows down */
#define GUEST_TABLES	0x20000UL

/* What the guest says when it rings the doorbell. */
enum {
	GUEST_WROTE = 1,	/* both secrets are written and read back */
	GUEST_INTACT,		/* both are still what they were */
	GUEST_LOST,		/* one of them is not */
	GUEST_COPIED,
	GUEST_REFUSED,		/* it could not share its memory */
};

#define DOORBELL_PORT	0xf4		/* x86_64 */
#define DOORBELL_GPA	0x40000000UL	/* arm64 */

/* guest.c: copied into the guest, never called on the host */
typedef void guest_fn(uint64_t, uint64_t, uint64_t);
guest_fn guest_main, guest_share, guest_copy;
extern const char __start_guest[], __stop_guest[];	/* the linker's names */

/* checks.c */
void guest_start(struct vm *vm, struct vcpu *vcpu, void *home, guest_fn *entry,
		 const uint64_t args[3]);
int guest_run(struct vcpu *vcpu);

/* arch-*.c */
void arch_start_guest(struct vm *vm, struct vcpu *vcpu, void *home, uint64_t pc,
		      const uint64_t args[3]);
int arch_doorbell(const struct kvm_run *run);

#endif
