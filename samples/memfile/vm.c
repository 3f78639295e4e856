// SPDX-License-Identifier: GPL-2.0
/*
 * A VM, the memory file that its memory comes from, and its vCPUs: what a VMM
 * does before it runs anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "memfile-vmm.h"

int kvm_fd;

/* What a VM type has to have for memory that is converted in place. */
const struct need memory_needs[] = {
	{ "KVM_CAP_GUEST_MEMFD", "needs CONFIG_KVM_GUEST_MEMFD",
	  KVM_CAP_GUEST_MEMFD },
	{ "KVM_CAP_GUEST_MEMFD_FLAGS", "the kernel's memory files cannot be mapped",
	  KVM_CAP_GUEST_MEMFD_FLAGS,
	  GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED },
	{ "KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES",
	  "the kernel cannot make memory private where it is",
	  KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES, KVM_MEMORY_ATTRIBUTE_PRIVATE },
	{ "KVM_CAP_GUEST_MEMFD_CONTENT", "what is loaded, or what the guest shares, would be lost",
	  KVM_CAP_GUEST_MEMFD_CONTENT,
	  KVM_GUEST_MEMFD_CONTENT_TO_SHARED | KVM_GUEST_MEMFD_CONTENT_TO_PRIVATE },
	{}
};

void check_needs(int fd, const char *what, const struct need *need)
{
	for (; need->name; need++) {
		int has = ioctl(fd, KVM_CHECK_EXTENSION, need->cap);

		say("%s has %s = %#x\n", what, need->name, has);
		errno = 0;
		if (has <= 0 || (has & need->bits) != need->bits)
			die(need->advice, "KVM_CHECK_EXTENSION(%s) on %s says %#x, needed are %#x",
			    need->name, what, has, need->bits ?: 1);
	}
}

static void catch_faults(void);

void kvm_open(void)
{
	kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm_fd < 0)
		die("needs CONFIG_KVM, virtualization in the CPU, and permission to open it",
		    "open(/dev/kvm)");
	check_needs(kvm_fd, "KVM", needs);
	catch_faults();
}

void vm_create(struct vm *vm, unsigned long type)
{
	memset(vm, 0, sizeof(*vm));
	vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, type);
	if (vm->fd < 0)
		die(type && type == own_vm_type ? "needs kvm-arm.mode=protected" :
		    "KVM_CAP_VM_TYPES has the types that exist here", "KVM_CREATE_VM(%#lx)", type);
}

/* Without INIT_SHARED the file is private to begin with. */
int vm_create_file(struct vm *vm, uint64_t size, uint64_t flags)
{
	struct kvm_create_guest_memfd args = { .size = size, .flags = flags };
	int fd = ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &args);

	if (fd < 0)
		die("KVM_CAP_GUEST_MEMFD_FLAGS of this VM has the flags that it takes",
		    "KVM_CREATE_GUEST_MEMFD(size %#llx, flags %#llx)", args.size, args.flags);
	return fd;
}

/* Large pages, and the calls that are about them, need addresses that fit them. */
void *map_aligned(int fd, unsigned long size, int flags)
{
	void *hole = mmap(NULL, size + MEM_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *map;

	if (hole == MAP_FAILED)
		die("is there a limit on address space?", "mmap(%#lx)", size + MEM_SIZE);
	map = (void *)(((uintptr_t)hole + MEM_SIZE - 1) & -MEM_SIZE);
	if (mmap(map, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) != map)
		die("a memory file can be mapped if it was created with MMAP",
		    "mmap(fd %d, flags %#x)", fd, flags);
	return map;
}

/*
 * A memory file, if there is one, is where the guest's memory comes from. KVM
 * wants an address all the same: it is where KVM's own accesses go, which private
 * memory refuses.
 */
int vm_add_memory(struct vm *vm, uint64_t gpa, unsigned long size, void *map, int guest_memfd)
{
	struct kvm_userspace_memory_region2 slot = {
		.slot = vm->nr_slots,
		.flags = guest_memfd >= 0 ? KVM_MEM_GUEST_MEMFD : 0,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)map,
		.guest_memfd = guest_memfd >= 0 ? guest_memfd : 0,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &slot))
		return errno;
	vm->nr_slots++;
	return 0;
}

void vcpu_create(struct vm *vm, struct vcpu *vcpu, int index)
{
	int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	vcpu->index = index;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0)
		die("KVM_CAP_MAX_VCPUS is how many there can be; see the kernel log",
		    "KVM_CREATE_VCPU(%d)", index);
	vcpu->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		die("see KVM_GET_VCPU_MMAP_SIZE", "mmap(vCPU, %d)", size);
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(vcpu->fd);
}

/*
 * A page that the VMM has mapped may be private at any time: touching it is a
 * signal. So what a VMM reads or writes of its guest's memory goes through here.
 */
static __thread sigjmp_buf after_fault;
static __thread volatile sig_atomic_t guarded;

static void on_fault(int sig)
{
	if (guarded)
		siglongjmp(after_fault, sig);
	/* A mistake of ours: returning faults again, and ends it. */
	signal(sig, SIG_DFL);
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_handler = on_fault };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

/* Returns 0, or minus the signal that the host gets for it. */
int copy_guarded(void *to, const void *from, size_t len)
{
	int sig = sigsetjmp(after_fault, 1);

	if (!sig) {
		guarded = 1;
		memcpy(to, from, len);
	}
	guarded = 0;
	return -sig;
}
