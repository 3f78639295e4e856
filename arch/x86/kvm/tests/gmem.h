/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KVM_X86_TESTS_GMEM_H
#define _KVM_X86_TESTS_GMEM_H

#include <linux/fs.h>
#include <linux/memfile.h>

#include <kunit/test.h>

struct gmem_file;

/**
 * struct gmem_vm - what is different for each type of VM
 * @owner: The owner's functions; ->reclaim is the VM type's, the rest is set by
 *	gmem_create().
 * @prepare: As kvm_arch_gmem_make_private().  Optional.
 * @map: A page that was looked up is about to be mapped for the guest.
 * @unmap: The guest is about to lose its mapping of an offset.
 * @check: Is a page that is in the file as the VM type wants it?
 */
struct gmem_vm {
	struct memfile_owner_ops owner;
	int (*prepare)(struct gmem_file *gf, pgoff_t index, unsigned long pfn,
		       unsigned long nr);
	int (*map)(struct gmem_file *gf, pgoff_t index, const struct memfile_pfn *mp);
	void (*unmap)(struct gmem_file *gf, pgoff_t index);
	void (*check)(struct gmem_file *gf, pgoff_t index, enum memfile_state state,
		      struct page *page);
};

/**
 * struct gmem_mapping - what the guest has mapped at an offset
 * @pfn: The page.
 * @state: Its state; 0 if nothing is mapped.
 */
struct gmem_mapping {
	unsigned long pfn;
	enum memfile_state state;
};

/* Where the guest sees the file; aligned as file offsets are. */
#define GMEM_GFN	0x100000UL

/**
 * struct gmem_file - a memory file, and a guest that uses it
 * @test: The test.
 * @vm: The VM type's part.
 * @priv: The VM type's data.
 * @file: The file; NULL when it was closed.
 * @consumer: The guest's memory slot: all of the file.
 * @nr: Size of the file, in pages.
 * @absent: Set of states whose pages are out of the direct map.
 * @guest: What the guest has mapped, for each offset.
 *
 * Takes the place of virt/kvm/guest_memfd.c and of KVM's MMU, and does what they do, in
 * their order.
 */
struct gmem_file {
	struct kunit *test;
	struct gmem_vm *vm;
	void *priv;
	struct file *file;
	struct memfile_consumer consumer;
	unsigned long nr;
	unsigned int absent;
	struct gmem_mapping *guest;
};

struct gmem_file *gmem_create(struct kunit *test, struct gmem_vm *vm, void *priv,
			      unsigned long nr, unsigned int flags);
void gmem_close(struct gmem_file *gf);

int gmem_fault(struct gmem_file *gf, pgoff_t index);
void gmem_touch(struct gmem_file *gf, pgoff_t start, pgoff_t end);
int gmem_convert(struct gmem_file *gf, pgoff_t start, pgoff_t end, enum memfile_state to);
int gmem_allocate(struct gmem_file *gf, pgoff_t start, pgoff_t end);
int gmem_punch(struct gmem_file *gf, pgoff_t start, pgoff_t end);
void gmem_unmap(struct gmem_file *gf, pgoff_t start, pgoff_t end, unsigned int states);

enum memfile_state gmem_state(struct gmem_file *gf, pgoff_t index);
struct page *gmem_page(struct gmem_file *gf, pgoff_t index);
unsigned long gmem_pfn(struct gmem_file *gf, pgoff_t index);
bool gmem_has(struct gmem_file *gf, unsigned long pfn);
bool gmem_maps(struct gmem_file *gf, unsigned long pfn);
void gmem_write(struct gmem_file *gf, pgoff_t index, u8 byte);
void gmem_check(struct gmem_file *gf);

#endif /* _KVM_X86_TESTS_GMEM_H */
