/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MACHINE_H
#define _MACHINE_H

#include <pthread.h>

#include "memfile-vmm.h"

/*
 * The machine that Linux runs on. All of its memory is one file, one mapping and
 * one memory slot. Where the rest is, by architecture: ports on x86_64, which need
 * no decoding of instructions by KVM, else memory-mapped.
 */
#ifdef __x86_64__
#define RAM_GPA		0UL
#define SERIAL_BASE	0x3f8
#define SERIAL_IRQ	4
#define DOORBELL_BASE	0xf4
#define POWER_BASE	0x600		/* see acpi.c */
#define PANIC_BASE	0x604
#define BLK_BASE	0xd0000000UL
#define BLK_IRQ		5
#else
#define GIC_DIST_BASE	0x08000000
#define GIC_REDIST_BASE	0x080a0000
#define GIC_DIST_SIZE	0x10000
#define GIC_REDIST_SIZE	0x20000		/* for each CPU */
#define RAM_GPA		0x40000000UL
#define SERIAL_BASE	0x09000000
#define SERIAL_IRQ	0
#define PANIC_BASE	0x09010000
#define DOORBELL_BASE	0x09020000
#define BLK_BASE	0x0a000000
#define BLK_IRQ		1
#endif
#define BLK_SIZE	0x200

/* How a guest ends, and the VMM with it. */
enum end {
	END_SHUTDOWN = 0,
	END_ATTACKED = 1,
	END_FAILED = 2,
	END_REBOOT = 3,
	END_PANIC = 4,
};

struct machine {
	const struct options *options;
	struct vm vm;
	struct memory ram;
	struct vcpu *vcpus;
	uint64_t entry, argument;	/* of the kernel, as the boot protocol wants them */
	bool no_direct_map;		/* of private memory; in a plain VM, of all */
	bool attacked;

	pthread_mutex_t lock;		/* what follows, and the devices */
	int wakeup;			/* an eventfd: one of these has changed */
	bool attack_wanted;
	uint64_t attack_gpa;
	int ended;			/* an enum end, -1 while it runs */
	uint64_t exits, conversions, refused;
};

/* linux.c */
void machine_end(struct machine *m, enum end how, const char *why);
int machine_convert(struct machine *m, uint64_t gpa, uint64_t pages, bool to_private);
void *guest_memory(struct machine *m, uint64_t gpa, uint64_t size);
void *guest_range(struct machine *m, uint64_t gpa, size_t size);
bool guest_read(struct machine *m, void *to, uint64_t gpa, size_t size);
bool guest_write(struct machine *m, uint64_t gpa, const void *from, size_t size);
void *read_file(const char *path, const char *what, size_t *size);

/* boot-*.c: put kernel, initramfs and tables into memory */
void boot_load(struct machine *m);

/* arch-*.c */
void arch_create_machine(struct machine *m);
void arch_create_vcpu(struct machine *m, struct vcpu *vcpu);
void arch_start_kernel(struct machine *m);
bool arch_exit(struct machine *m, struct kvm_run *run);
void arch_set_irq(struct machine *m, unsigned int irq, bool level);

/* serial.c, virtio-blk.c */
void serial_access(struct machine *m, uint64_t offset, void *data, bool write);
void serial_input(struct machine *m, char c);
void blk_open(struct machine *m);
void blk_access(struct machine *m, uint64_t offset, void *data, size_t len, bool write);

/* attack.c, stats.c */
void attack(struct machine *m, uint64_t gpa);
void stats_open(struct machine *m);
void stats_print(struct machine *m);
void stats_summary(struct machine *m);

#endif
