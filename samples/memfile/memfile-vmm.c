// SPDX-License-Identifier: GPL-2.0
/*
 * A small VMM that gives a guest private memory from a memory file, and then
 * tries to read that memory itself.
 *
 * main() below is the order of things in any VMM that uses memory files.
 * convert.c makes memory private, and shared again; arch-*.c has what differs
 * between architectures, guest.c what runs inside, attempts.c every way that the
 * host tries.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "memfile-vmm.h"

#define GUEST_SECONDS	20

int kvm_fd;
static bool verbose;
static int held, failed, skipped;
static struct kvm_run *running;

void die(const char *advice, const char *fmt, ...)
{
	const int err = errno;
	va_list args;

	fprintf(stderr, "memfile-vmm: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "%s%s\n             %s\n", err ? ": " : "", err ? strerror(err) : "",
		advice);
	exit(2);
}

static void say(const char *fmt, ...)
{
	va_list args;

	if (!verbose)
		return;
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
}

static void check_needs(int fd, const char *what, const struct need *need)
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

static int create_guest_memfd(struct vm *vm, uint64_t size, uint64_t flags)
{
	struct kvm_create_guest_memfd args = { .size = size, .flags = flags };
	int fd = ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &args);

	if (fd < 0)
		die("KVM_CAP_GUEST_MEMFD_FLAGS of this VM has the flags that it takes",
		    "KVM_CREATE_GUEST_MEMFD(size %#llx, flags %#llx)", args.size, args.flags);
	return fd;
}

void vm_create(struct vm *vm, unsigned long type)
{
	memset(vm, 0, sizeof(*vm));
	vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, type);
	if (vm->fd < 0)
		die("KVM_CAP_VM_TYPES has the types that exist here", "KVM_CREATE_VM(%#lx)", type);
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

void vm_start(struct vm *vm, void *shared, guest_fn *entry, const uint64_t args[3])
{
	int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	vm->vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	if (vm->vcpu < 0)
		die("see the kernel log", "KVM_CREATE_VCPU(0)");
	vm->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	if (vm->run == MAP_FAILED)
		die("see KVM_GET_VCPU_MMAP_SIZE", "mmap(vCPU, %d)", size);

	memcpy(shared + GUEST_CODE, __start_guest, __stop_guest - __start_guest);
	arch_start_vcpu(vm, shared, SHARED_GPA + GUEST_CODE + ((char *)entry - __start_guest),
			args);
}

/* Also ends a KVM_RUN that begins only after the signal. */
static void on_alarm(int sig)
{
	running->immediate_exit = 1;
}

/*
 * Run until the guest rings, and return what it says; or the error of KVM_RUN,
 * negative. Nothing else is expected to happen, so anything else is the end.
 */
int vm_run(struct vm *vm)
{
	struct kvm_run *run = vm->run;
	int ret, what;

	running = run;
	alarm(GUEST_SECONDS);
	ret = ioctl(vm->vcpu, KVM_RUN, 0) ? -errno : 0;
	alarm(0);

	if (ret == -EINTR)
		die("it spins there; at 0x200, arm64: it took an exception and has no vectors",
		    "KVM_RUN: no exit in %d s, pc %#llx", GUEST_SECONDS,
		    (unsigned long long)arch_pc(vm));
	if (ret)
		return ret;

	what = arch_doorbell(run);
	errno = 0;
	if (what < 0)
		die(run->exit_reason == KVM_EXIT_SHUTDOWN ? "the guest took an exception" :
		    "KVM_EXIT_* in <linux/kvm.h> says what that is",
		    "KVM_RUN: unexpected exit, reason %u, pc %#llx", run->exit_reason,
		    (unsigned long long)arch_pc(vm));
	return what;
}

void vm_destroy(struct vm *vm)
{
	munmap(vm->run, ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(vm->vcpu);
	close(vm->fd);
}

static void print_row(const char *a, const char *b, const char *c, const char *d, const char *e)
{
	printf("%-38s %-18s %-10s %-12s %s\n", a, b, c, d, e);
}

void report(bool ok, const char *what, const char *control, const char *expected,
	    const char *came)
{
	print_row(what, control, expected, came, ok ? "held" : "FAILED");
	*(ok ? &held : &failed) += 1;
}

void report_skip(const char *what, const char *why)
{
	print_row(what, "-", "-", "skipped", why);
	skipped++;
}

/* Let the guest go on, and check what it says about its memory. */
static void ask_guest(struct vm *vm, const char *what, int expected)
{
	int came = vm_run(vm);

	errno = came < 0 ? -came : 0;
	if (came < 0 && vm->run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		die("is it private to one side and shared to the other? has the file a page there?",
		    "KVM_RUN: guest access to %#llx, flags %#llx",
		    vm->run->memory_fault.gpa, vm->run->memory_fault.flags);
	if (came < 0)
		die("see the kernel log", "KVM_RUN: exit reason %u", vm->run->exit_reason);
	report(came == expected, what, "-", "intact",
	       came == expected ? "intact" : came == GUEST_LOST ? "lost" : "nonsense");
}

int main(int argc, char **argv)
{
	static const struct need vm_needs[] = {
		{ "KVM_CAP_GUEST_MEMFD", "needs CONFIG_KVM_GUEST_MEMFD; a protected VM has none",
		  KVM_CAP_GUEST_MEMFD },
		{ "KVM_CAP_GUEST_MEMFD_FLAGS", "the kernel's memory files cannot be mapped",
		  KVM_CAP_GUEST_MEMFD_FLAGS,
		  GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED },
		{ "KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES",
		  "the kernel cannot make memory private where it is",
		  KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES, KVM_MEMORY_ATTRIBUTE_PRIVATE },
		{ "KVM_CAP_GUEST_MEMFD_CONTENT", "what the guest shares would be lost",
		  KVM_CAP_GUEST_MEMFD_CONTENT, KVM_GUEST_MEMFD_CONTENT_TO_SHARED },
		{}
	};
	struct sigaction alarm_action = { .sa_handler = on_alarm };
	struct memory shared = {}, file = {}, private = {};
	struct vm vm;
	uint64_t where;
	int opt, err;

	while ((opt = getopt(argc, argv, "vh")) != -1) {
		if (opt == 'v') {
			verbose = true;
			continue;
		}
		fprintf(opt == 'h' ? stdout : stderr,
			"usage: memfile-vmm [-v] [-h]\n"
			"Run a guest on private memory, and try to read that as the host. Needs\n"
			"/dev/kvm, and /dev/ram0 for O_DIRECT, whose first page it puts back.\n"
			"  -v  also say what KVM offers and what is created\n"
			"Exit status: 0 all checks held, 1 some did not, 2 it could not be tried\n");
		return opt == 'h' ? 0 : 2;
	}
	setlinebuf(stdout);
	sigaction(SIGALRM, &alarm_action, NULL);

	/* 1. Ask what there is. Some answers depend on the type of the VM. */
	kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm_fd < 0)
		die("needs CONFIG_KVM, virtualization in the CPU, and permission to open it",
		    "open(/dev/kvm)");
	check_needs(kvm_fd, "KVM", needs);
	vm_create(&vm, private_vm_type);
	check_needs(vm.fd, "the VM", vm_needs);

	/*
	 * 2. Memory: one file for all of it, mapped once. Without INIT_SHARED it
	 * would be private to begin with.
	 */
	private.fd = create_guest_memfd(&vm, 2 * MEM_SIZE,
					GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED);
	private.map = map_aligned(private.fd, 2 * MEM_SIZE, MAP_SHARED);
	shared.fd = private.fd;
	shared.map = private.map + MEM_SIZE;
	say("fd %d, private memory at %p, shared at %p\n", private.fd, private.map, shared.map);

	/* 3. Guest-physical addresses for it. */
	err = vm_add_memory(&vm, PRIVATE_GPA, 2 * MEM_SIZE, private.map, private.fd);
	errno = err;
	if (err)
		die("alignment, overlap, or a file of another VM",
		    "KVM_SET_USER_MEMORY_REGION2(slot %u)", vm.nr_slots);

	/* 4. What of it is the guest's alone. */
	err = convert(private.fd, 0, MEM_SIZE, true, &where);
	errno = err;
	if (err)
		die("EBUSY or EAGAIN: somebody uses the page there",
		    "KVM_SET_MEMORY_ATTRIBUTES2(PRIVATE): at offset %#llx",
		    (unsigned long long)where);

	/* 5. Run. The guest gets a seed, and makes the secrets of it. */
	if (getrandom(&private.seed, sizeof(private.seed), 0) != sizeof(private.seed))
		die("it is there since Linux 3.17", "getrandom(8)");
	shared.seed = ~private.seed;
	vm_start(&vm, shared.map, guest_main,
		 (const uint64_t[]){ SHARED_GPA, PRIVATE_GPA, private.seed });
	say("the guest begins at pc %#llx\n", (unsigned long long)arch_pc(&vm));

	print_row("tried", "on shared memory", "expected", "came", "so it");
	ask_guest(&vm, "guest: write secrets, read them back", GUEST_WROTE);

	/* A memory file has no read() or write(), so those are shown to work here. */
	file.fd = memfd_create("control", MFD_CLOEXEC);
	if (file.fd < 0 || ftruncate(file.fd, MEM_SIZE))
		die("needs CONFIG_MEMFD_CREATE", "memfd_create(%#lx)", MEM_SIZE);
	file.map = map_aligned(file.fd, MEM_SIZE, MAP_SHARED);
	file.seed = shared.seed;
	memcpy(file.map, shared.map, SECRET_SIZE);

	try_everything(&shared, &file, &private);
	try_conversions(&private);

	ask_guest(&vm, "guest: read the secrets again", GUEST_INTACT);

	vm_destroy(&vm);
	if (skipped)
		printf("memfile: %d skipped\n", skipped);
	printf("memfile: %d checks held, %d failed\n", held, failed);
	return failed ? 1 : 0;
}
