// SPDX-License-Identifier: GPL-2.0
/* Virtual machines on memory files, by KVM's ioctls and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

int kvm_fd;

static void *map(uint64_t size, int flags, int fd)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap of %#lx bytes", size);
	return p;
}

/* Never huge pages: memory files have none either, and what is compared is paths. */
static char *map_anonymous(uint64_t size)
{
	char *p = map(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}

int gmem_create(struct vm *vm, enum backing_type backing, uint64_t size, uint64_t flags)
{
	struct kvm_create_guest_memfd args = { .size = size, .flags = flags };

	if (backing != SPLIT)
		args.flags |= GUEST_MEMFD_FLAG_MMAP;
	if (backing != SPLIT && backing != OWNED)
		args.flags |= GUEST_MEMFD_FLAG_INIT_SHARED;
	return ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &args);
}

static void add_slot(struct vm *vm, int id, uint64_t gpa, uint64_t size, void *hva,
		     int gmem, uint64_t offset)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = id,
		.flags = gmem < 0 ? 0 : KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
		.guest_memfd = gmem,
		.guest_memfd_offset = offset,
	};

	CHECK(ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region));
}

void vcpu_create(struct vm *vm, struct vcpu *vcpu, int id)
{
	vcpu->fd = CHECK(ioctl(vm->fd, KVM_CREATE_VCPU, id));
	vcpu->run = map(CHECK(ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0)), MAP_SHARED, vcpu->fd);
	arch_vcpu_setup(vm, vcpu);
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, CHECK(ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0)));
	close(vcpu->fd);
}

static bool can_convert(int vm_fd)
{
	return ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES) > 0;
}

static bool has_attributes(int vm_fd)
{
	return ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_ATTRIBUTES) > 0;
}

/* BEST becomes what it stands for. */
static bool choose_backing(struct vm *vm, enum backing_type backing)
{
	if (backing == BEST)
		backing = can_convert(vm->fd) ? IN_PLACE : SPLIT;
	else if (backing == OWNED && !can_convert(vm->fd))
		backing = PINNED;
	vm->backing = backing;
	switch (backing) {
	case IN_PLACE:
		return can_convert(vm->fd);
	case SPLIT:
		return has_attributes(vm->fd);
	default:
		return true;
	}
}

bool vm_create_slots(struct vm *vm, enum backing_type backing, uint64_t size, uint64_t flags,
		     unsigned int nr_slots)
{
	unsigned long type;

	*vm = (struct vm){ .gmem = -1, .stats = -1, .size = size, .flags = flags,
			   .nr_slots = nr_slots };
	if (!arch_vm_type(backing, &type))
		return false;
	/* Let the kernel free what the last VM had: that is not our cost. */
	sleep(1);

	vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, type);
	if (vm->fd < 0)
		return false;
	if (choose_backing(vm, backing) && vm->backing != PINNED)
		vm->gmem = gmem_create(vm, vm->backing, size, flags);
	if (vm->gmem < 0 && vm->backing != PINNED) {
		close(vm->fd);
		return false;
	}

	vm->low = map_anonymous(LOW_SIZE);
	memcpy(vm->low + GUEST_CODE, guest_code, guest_code_end - guest_code);
	add_slot(vm, 0, 0, LOW_SIZE, vm->low, -1, 0);
	vm->hva = vm->backing == SPLIT || vm->backing == PINNED ?
		  map_anonymous(size) : map(size, MAP_SHARED, vm->gmem);
	size /= nr_slots;
	for (unsigned int i = 0; i < nr_slots; i++)
		add_slot(vm, 1 + i, SLOT_GPA + i * size, size, vm->hva + i * size, vm->gmem,
			 i * size);
	vcpu_create(vm, &vm->vcpu, 0);
	vm->stats = ioctl(vm->fd, KVM_GET_STATS_FD, 0);
	return true;
}

bool vm_create_flags(struct vm *vm, enum backing_type backing, uint64_t size, uint64_t flags)
{
	return vm_create_slots(vm, backing, size, flags, 1);
}

bool vm_create(struct vm *vm, enum backing_type backing, uint64_t size)
{
	return vm_create_slots(vm, backing, size, 0, 1);
}

void vm_destroy(struct vm *vm)
{
	munmap(vm->hva, vm->size);
	munmap(vm->low, LOW_SIZE);
	close(vm->gmem);
	if (vm->stats >= 0)
		close(vm->stats);
	vcpu_destroy(&vm->vcpu);
	close(vm->fd);
}

bool vm_grant(struct vm *vm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_GUEST_MEMFD_GUEST_CONVERT,
		.args = { KVM_GUEST_MEMFD_CONVERT_TO_SHARED |
			  KVM_GUEST_MEMFD_CONVERT_TO_PRIVATE, vm->size, vm->size },
	};

	return arch_has_hypercall() && vm->backing == IN_PLACE &&
	       !ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
}

/* One of KVM's statistics of the VM, which is a single number. */
uint64_t vm_stat(struct vm *vm, const char *name)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	uint64_t value = 0;
	size_t size;

	if (vm->stats < 0)
		return 0;
	CHECK(pread(vm->stats, &header, sizeof(header), 0));
	size = sizeof(*desc) + header.name_size;
	desc = malloc(size);
	for (uint32_t i = 0; i < header.num_desc; i++) {
		CHECK(pread(vm->stats, desc, size, header.desc_offset + i * size));
		if (strcmp(desc->name, name))
			continue;
		CHECK(pread(vm->stats, &value, sizeof(value), header.data_offset + desc->offset));
		break;
	}
	free(desc);
	return value;
}

void vcpu_start(struct vcpu *vcpu, enum program program, uint64_t gpa, uint64_t n)
{
	arch_vcpu_start(vcpu, program, gpa, n);
}

unsigned int vcpu_run(struct vcpu *vcpu)
{
	int request;

	while (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
		if (errno == EFAULT && vcpu->converted &&
		    vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT)
			vcpu->refused++;
		else if (errno != EINTR)
			die("KVM_RUN, exit reason %u", vcpu->run->exit_reason);
	}
	vcpu->exits++;
	request = arch_request(vcpu->run);
	if (request < 0) {
		errno = 0;
		die("exit reason %u from the guest", vcpu->run->exit_reason);
	}
	return request;
}

void vcpu_expect(struct vcpu *vcpu, unsigned int want)
{
	unsigned int request = vcpu_run(vcpu);

	if (request != want) {
		errno = 0;
		die("the guest asks for %d instead of %d", request, want);
	}
}

static void set_vm_attributes(struct vm *vm, uint64_t off, uint64_t len, bool to_private)
{
	struct kvm_memory_attributes attributes = {
		.address = SLOT_GPA + off,
		.size = len,
		.attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};

	CHECK(ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attributes));
}

static void set_file_attributes(struct vm *vm, uint64_t off, uint64_t len, bool to_private)
{
	struct kvm_memory_attributes2 attributes = {
		.offset = off,
		.size = len,
		.attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};

	CHECK(ioctl(vm->gmem, KVM_SET_MEMORY_ATTRIBUTES2, &attributes));
}

void vm_mark(struct vm *vm, uint64_t off, uint64_t len, bool to_private)
{
	if (vm->backing == SPLIT)
		set_vm_attributes(vm, off, len, to_private);
	else
		set_file_attributes(vm, off, len, to_private);
}

void vm_convert(struct vm *vm, uint64_t off, uint64_t len, bool to_private)
{
	vm_mark(vm, off, len, to_private);
	if (vm->backing != SPLIT)
		return;
	if (to_private)
		CHECK(madvise(vm->hva + off, len, MADV_DONTNEED));
	else
		gmem_punch(vm, off, len);
}

void gmem_allocate(struct vm *vm, uint64_t off, uint64_t len)
{
	CHECK(fallocate(vm->gmem, FALLOC_FL_KEEP_SIZE, off, len));
}

void gmem_punch(struct vm *vm, uint64_t off, uint64_t len)
{
	CHECK(fallocate(vm->gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, off, len));
}

void guest_write(struct vm *vm, uint64_t off, uint64_t len)
{
	vcpu_start(&vm->vcpu, WRITE, SLOT_GPA + off, len / PAGE);
	vcpu_expect(&vm->vcpu, DONE);
}

void host_write(struct vm *vm, uint64_t off, uint64_t len)
{
	for (uint64_t i = off; i < off + len; i += PAGE)
		*(volatile char *)(vm->hva + i) = 1;
}
