/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MEMFILE_VMM_H
#define _MEMFILE_VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>

/*
 * The secrets that host and guest play for. A guest holds one in each of two
 * pieces of its memory that lie next to each other: first the piece that is to be
 * private, then a shared one. Both pieces begin with their secret.
 */
#define MEM_SIZE	0x200000UL
#define SECRET_SIZE	64

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

/* A piece of guest memory, as the host has it. */
struct memory {
	void *map;
	int fd;
	uint64_t offset;		/* of the piece in the file */
	uint64_t seed;			/* of the secret at its start */
};

struct vm {
	int fd;
	unsigned int nr_slots;
};

struct vcpu {
	int fd, index;
	struct kvm_run *run;
};

/* memfile-vmm.c: what the user sees */
extern bool verbose;
__attribute__((format(printf, 2, 3)))
_Noreturn void die(const char *advice, const char *fmt, ...);
__attribute__((format(printf, 1, 2)))
void say(const char *fmt, ...);
void report_head(void);
void report(bool ok, const char *what, const char *control, const char *expected,
	    const char *came);
void report_skip(const char *what, const char *why);
int report_result(void);

/* vm.c: the VM, its memory file, its memory slots and vCPUs */
struct need {
	const char *name, *advice;
	int cap;
	int bits;			/* 0: any value but 0 will do */
};

extern int kvm_fd;
extern const struct need memory_needs[];	/* these end with a nameless one */
void kvm_open(void);
void check_needs(int fd, const char *what, const struct need *needs);
void vm_create(struct vm *vm, unsigned long type);
int vm_create_file(struct vm *vm, uint64_t size, uint64_t flags);
void *map_aligned(int fd, unsigned long size, int flags);
int vm_add_memory(struct vm *vm, uint64_t gpa, unsigned long size, void *map, int guest_memfd);
void vcpu_create(struct vm *vm, struct vcpu *vcpu, int index);
void vcpu_destroy(struct vcpu *vcpu);
int copy_guarded(void *to, const void *from, size_t len);

/* convert.c */
int convert(int guest_memfd, uint64_t offset, uint64_t size, bool to_private, uint64_t *where);
int convert_patiently(int guest_memfd, uint64_t offset, uint64_t size, bool to_private);
bool is_private(int guest_memfd, uint64_t from, uint64_t to, uint64_t *end);

/* attempts.c */
const char *outcome(int ret, char text[16]);
struct memory control_file(const struct memory *like);
void try_everything(const struct memory *shared, const struct memory *file,
		    const struct memory *target, bool mapped);

/* checks.c */
int run_checks(bool protected);

/* linux.c */
struct options {
	const char *kernel, *initrd, *disk, *cmdline;
	unsigned int cpus;
	uint64_t memory;		/* in bytes */
	bool protected, direct_map, attack, stats;
};
int run_linux(const struct options *options);

/* arch-*.c */
extern const unsigned long private_vm_type, plain_vm_type;
extern const unsigned long own_vm_type;		/* the guest owns its memory; 0: no such type */
extern const struct need needs[];
uint64_t arch_pc(struct vcpu *vcpu);

#endif
