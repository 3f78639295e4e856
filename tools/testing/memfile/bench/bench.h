/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MEMFILE_BENCH_H
#define _MEMFILE_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <sys/types.h>

#include "guest.h"

#define PAGE		4096UL
#define KB		(1UL << 10)
#define MB		(1UL << 20)
#define GB		(1UL << 30)

#define SLOT_GPA	GB	/* where the memory that is measured begins */

/* Newer than the kernel that this is compiled for, maybe. */
#ifndef GUEST_MEMFD_FLAG_NO_DIRECT_MAP
#define GUEST_MEMFD_FLAG_NO_DIRECT_MAP		(1ULL << 2)
#endif
#ifndef GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP
#define GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP	(1ULL << 30)
#endif

/*
 * measure.c
 */

#define ROUNDS_MAX	500

__attribute__((noreturn, format(printf, 1, 2)))
void die(const char *fmt, ...);

bool clock_select(const char *name);
uint64_t clock_now(void);
uint64_t clock_thread(void);
uint64_t clock_process(pid_t pid);
/* Whether it is CLOCK_MONOTONIC: one can wait for it. */
bool clock_is_time(void);
extern const char *clock_unit;

/* What a statement takes, less what it takes to look at the clock. */
#define TIMED(statement) ({						\
	uint64_t start_ = clock_now();					\
	statement;							\
	clock_since(start_); })
uint64_t clock_since(uint64_t start);

/* The result of a call that must not fail. */
#define CHECK(call) ({							\
	long result_ = (long)(call);					\
	if (result_ < 0)						\
		die("%s:%d: %s", __FILE__, __LINE__, #call);		\
	result_; })

/* One value for each time that something was done. */
struct samples {
	unsigned int nr;
	uint64_t value[ROUNDS_MAX];
};

void sample(struct samples *s, uint64_t value);
/* The median leaves the timer's ticks out. */
double median(struct samples *s);

/* Report "name value unit"; a name that ends in @x is a point of a curve. */
__attribute__((format(printf, 3, 4)))
void report(const char *unit, double value, const char *fmt, ...);
/* In units of the clock. */
__attribute__((format(printf, 2, 3)))
void report_time(double value, const char *fmt, ...);
__attribute__((format(printf, 3, 4)))
void report_per_page(uint64_t value, uint64_t len, const char *fmt, ...);

/* A line "key value" of a file in /proc, 0 if there is none. */
uint64_t proc_value(const char *path, const char *key);
/* Bytes in slabs, to the page. */
uint64_t slab_bytes(void);

/*
 * vm.c
 */

/* What kind of memory file a slot is made of. */
enum backing_type {
	/* Private memory in the file, shared memory beside it, the VM's attributes. */
	SPLIT,
	/* Both in the file, and converted there. */
	IN_PLACE,
	/* IN_PLACE where the kernel has it, else SPLIT. */
	BEST,
	/* A VM that has no private memory, a file that is mapped. */
	PLAIN,
	/* A VM whose guest owns its memory, and shares it by itself; anonymous memory. */
	PINNED,
	/* The same with a file where the kernel has it, else PINNED. */
	OWNED,
};

struct vcpu {
	int fd;
	struct kvm_run *run;
	/* Its memory is converted while it runs: an access may be refused, once. */
	bool converted;
	uint64_t refused;
	uint64_t exits;			/* to the VMM */
};

struct vm {
	int fd, stats;
	enum backing_type backing;
	uint64_t flags;			/* of the file, besides its backing's */
	struct vcpu vcpu;
	char *low;			/* slot 0: the guest's code */
	int gmem;
	char *hva;			/* what the host has of the memory */
	uint64_t size;
	unsigned int nr_slots;
	bool in_kernel;			/* the guest's requests are granted there */
};

extern int kvm_fd;

/*
 * Make a VM with one vCPU, and @size bytes of memory at SLOT_GPA. False if the
 * kernel does not offer that.
 */
bool vm_create(struct vm *vm, enum backing_type backing, uint64_t size);
bool vm_create_flags(struct vm *vm, enum backing_type backing, uint64_t size, uint64_t flags);
bool vm_create_slots(struct vm *vm, enum backing_type backing, uint64_t size, uint64_t flags,
		     unsigned int nr_slots);
void vm_destroy(struct vm *vm);
/* Have the kernel grant what the guest asks for. */
bool vm_grant(struct vm *vm);
uint64_t vm_stat(struct vm *vm, const char *name);

void vcpu_create(struct vm *vm, struct vcpu *vcpu, int id);
void vcpu_destroy(struct vcpu *vcpu);

/* What programs the guest has. They work on pages from a gpa on, or on one. */
enum program {
	WRITE,		/* write to each page, DONE */
	ASK,		/* NOTHING, without end */
	ASK_HC,		/* ask for what is the case already, by hypercall */
	FLIP,		/* TO_SHARED, write, TO_PRIVATE, write; n times, DONE */
	FLIP_HC,	/* the same by hypercall */
	TRANSFER,	/* write, COPY; n times, DONE */
	TRANSFER_FLIP,	/* TO_SHARED, write, COPY, TO_PRIVATE, write; n times, DONE */
	SHARE,		/* share, write, unshare, write, by its own calls; n times, DONE */
	SHARE_COPY,	/* share, write, COPY, unshare, write; n times, DONE */
	SHARE_ALL,	/* share each page, DONE */
	UNSHARE_ALL,	/* unshare each page, DONE */
};

/* TRANSFER*: how many pages, with so many rounds to go */
static inline unsigned int transfer_pages(unsigned int n)
{
	return 1 + (n & 1);
}

void vcpu_start(struct vcpu *vcpu, enum program program, uint64_t gpa, uint64_t n);
/* Run until the guest asks for something: TO_SHARED and so on. */
unsigned int vcpu_run(struct vcpu *vcpu);
/* That is @want. */
void vcpu_expect(struct vcpu *vcpu, unsigned int want);

/*
 * Convert a range of the slot, as a VMM does; with SPLIT that is the attributes,
 * and to free the memory that is not used any more. Offsets are those of the slot.
 */
void vm_convert(struct vm *vm, uint64_t off, uint64_t len, bool to_private);
/* The same for memory that is not populated: nothing to free. */
void vm_mark(struct vm *vm, uint64_t off, uint64_t len, bool to_private);
void gmem_allocate(struct vm *vm, uint64_t off, uint64_t len);
void gmem_punch(struct vm *vm, uint64_t off, uint64_t len);
void guest_write(struct vm *vm, uint64_t off, uint64_t len);
void host_write(struct vm *vm, uint64_t off, uint64_t len);
/* A memory file by itself, or -1. */
int gmem_create(struct vm *vm, enum backing_type backing, uint64_t size, uint64_t flags);

/*
 * guest-ARCH.c
 */

bool arch_vm_type(enum backing_type backing, unsigned long *type);
bool arch_has_hypercall(void);
#define GUEST_CODE	0x10000UL	/* offset and gpa, in slot 0 */
#define LOW_SIZE	MB
void arch_vcpu_setup(struct vm *vm, struct vcpu *vcpu);
void arch_vcpu_start(struct vcpu *vcpu, enum program program, uint64_t gpa, uint64_t n);
/* -1: it is no request. */
int arch_request(const struct kvm_run *run);

/*
 * The work
 */

/* A work may be done on files that differ in their flags. */
struct kind {
	const char *suffix;
	uint64_t flags;
};

extern const struct kind kinds[];	/* ends with a suffix that is NULL */
#define for_each_kind(k) for (const struct kind *k = kinds; k->suffix; k++)

void work_fault(void);
void work_populate(void);
void work_populate_plain(void);
void work_flush(void);
void work_range(void);
void work_flip(void);
void work_grant(void);
void work_storm(void);
void work_busy(void);
void work_hole(void);
void work_populated(void);
void work_ranges(void);
void work_slots(void);
void work_state(void);
void work_owned(void);
void work_boot(void);

#endif
