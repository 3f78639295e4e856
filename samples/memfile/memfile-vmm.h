/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MEMFILE_VMM_H
#define _MEMFILE_VMM_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

/*
 * Guest-physical layout, the same on every architecture: one piece of private
 * memory and one of shared memory, in this order also in the file. Both begin
 * with a page that holds a secret; the shared one also holds what the guest needs
 * to run, because the VMM has to put that there.
 */
#define MEM_SIZE	0x200000UL
#define PRIVATE_GPA	0x200000UL
#define SHARED_GPA	0x400000UL

#define GUEST_CODE	0x10000UL	/* offsets into the shared piece */
#define GUEST_STACK	0x20000UL	/* grows down */
#define GUEST_TABLES	0x20000UL

#define SECRET_SIZE	64

/* What the guest says when it rings the doorbell. */
enum {
	GUEST_WROTE = 1,	/* both secrets are written and read back */
	GUEST_INTACT,		/* both are still what they were */
	GUEST_LOST,		/* one of them is not */
	GUEST_COPIED,
};

#define DOORBELL_PORT	0xf4		/* x86_64 */
#define DOORBELL_GPA	0x40000000UL	/* arm64 */

/* Guest and host have to agree on the secret, so any generator will do. */
#define secret_next(x)	((x) * 6364136223846793005ULL + 1442695040888963407ULL)

static __always_inline void secret_write(volatile uint64_t *to, uint64_t seed)
{
	for (int i = 0; i < SECRET_SIZE / 8; i++)
		to[i] = seed = secret_next(seed);
}

static __always_inline bool secret_is_at(volatile uint64_t *at, uint64_t seed)
{
	bool same = true;

	for (int i = 0; i < SECRET_SIZE / 8; i++)
		same &= at[i] == (seed = secret_next(seed));
	return same;
}

/* guest.c: copied into the guest, never called on the host */
typedef void guest_fn(uint64_t, uint64_t, uint64_t);
guest_fn guest_main, guest_copy;
extern const char __start_guest[], __stop_guest[];	/* the linker's names */

/* A piece of guest memory, as the host has it. */
struct memory {
	void *map;
	int fd;
	uint64_t seed;			/* of the secret at its start */
};

struct vm {
	int fd, vcpu;
	unsigned int nr_slots;
	struct kvm_run *run;
};

/* memfile-vmm.c */
extern int kvm_fd;
__attribute__((format(printf, 2, 3)))
_Noreturn void die(const char *advice, const char *fmt, ...);
void *map_aligned(int fd, unsigned long size, int flags);
void vm_create(struct vm *vm, unsigned long type);
int vm_add_memory(struct vm *vm, uint64_t gpa, unsigned long size, void *map, int guest_memfd);
void vm_start(struct vm *vm, void *shared, guest_fn *entry, const uint64_t args[3]);
int vm_run(struct vm *vm);
void vm_destroy(struct vm *vm);
void report(bool ok, const char *what, const char *control, const char *expected,
	    const char *came);
void report_skip(const char *what, const char *why);

/* convert.c */
int convert(int guest_memfd, uint64_t offset, uint64_t size, bool to_private, uint64_t *where);
void try_conversions(const struct memory *private);

/* attempts.c */
int touch(void *to, const void *from);
const char *outcome(int ret, char text[16]);
void try_everything(const struct memory *shared, const struct memory *file,
		    const struct memory *private);

/* arch-*.c */
struct need {
	const char *name, *advice;
	int cap;
	int bits;			/* 0: any value but 0 will do */
};

extern const unsigned long private_vm_type, plain_vm_type;
extern const struct need needs[];	/* ends with a nameless one */
void arch_start_vcpu(struct vm *vm, void *shared, uint64_t pc, const uint64_t args[3]);
int arch_doorbell(const struct kvm_run *run);
uint64_t arch_pc(struct vm *vm);

#endif
