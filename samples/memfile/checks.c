// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel promises of private memory, checked with the smallest guest
 * there is: it writes two secrets, and tells whether they are still there.
 *
 * run_checks() below is the order of things in any VMM that uses memory files.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <linux/io_uring.h>

#include "checks.h"

#define GUEST_SECONDS	20
#define PAGE_SIZE	4096

static struct kvm_run *running;

void guest_start(struct vm *vm, struct vcpu *vcpu, void *home, guest_fn *entry,
		 const uint64_t args[3])
{
	vcpu_create(vm, vcpu, 0);
	memcpy(home + GUEST_CODE, __start_guest, __stop_guest - __start_guest);
	arch_start_guest(vm, vcpu, home,
			 GUEST_GPA + GUEST_CODE + ((char *)entry - __start_guest), args);
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
int guest_run(struct vcpu *vcpu)
{
	struct sigaction alarm_action = { .sa_handler = on_alarm };
	struct kvm_run *run = vcpu->run;
	int ret, what;

	running = run;
	sigaction(SIGALRM, &alarm_action, NULL);
	alarm(GUEST_SECONDS);
	/* The end of an io_uring also interrupts, some time later. */
	do {
		ret = ioctl(vcpu->fd, KVM_RUN, 0) ? -errno : 0;
	} while (ret == -EINTR && !run->immediate_exit);
	alarm(0);

	if (ret == -EINTR)
		die("it spins there; at 0x200, arm64: it took an exception and has no vectors",
		    "KVM_RUN: no exit in %d s, pc %#llx", GUEST_SECONDS,
		    (unsigned long long)arch_pc(vcpu));
	if (ret)
		return ret;

	what = arch_doorbell(run);
	errno = 0;
	if (what < 0)
		die(run->exit_reason == KVM_EXIT_SHUTDOWN ? "the guest took an exception" :
		    "KVM_EXIT_* in <linux/kvm.h> says what that is",
		    "KVM_RUN: unexpected exit, reason %u, pc %#llx", run->exit_reason,
		    (unsigned long long)arch_pc(vcpu));
	return what;
}

/* Let the guest go on, and check what it says about its memory. */
static void ask_guest(struct vcpu *vcpu, const char *what, int expected)
{
	int came = guest_run(vcpu);

	errno = came < 0 ? -came : 0;
	if (came < 0 && vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		die("is it private to one side and shared to the other? has the file a page there?",
		    "KVM_RUN: guest access to %#llx, flags %#llx",
		    vcpu->run->memory_fault.gpa, vcpu->run->memory_fault.flags);
	if (came < 0)
		die("see the kernel log", "KVM_RUN: exit reason %u", vcpu->run->exit_reason);
	report(came == expected, what, "-", "intact",
	       came == expected ? "intact" : came == GUEST_LOST ? "lost" : "nonsense");
}

/* Conversions. Somebody on the host has hold of the page at @offset: who asks is told. */
static void try_in_use(const struct memory *private, const char *what, uint64_t offset,
		       int expected)
{
	char text[16], came[32], wanted[32];
	uint64_t where;
	int ret = convert(private->fd, private->offset, MEM_SIZE, true, &where);

	snprintf(wanted, sizeof(wanted), "%s %#llx", outcome(expected, text),
		 (unsigned long long)offset);
	snprintf(came, sizeof(came), "%s %#llx", outcome(ret, text), (unsigned long long)where);
	report(ret == expected && where == offset, what, "-", wanted, came);
}

static void try_in_pipe(const struct memory *private, uint64_t offset)
{
	struct iovec iov = { private->map + offset, PAGE_SIZE };
	int fd[2];

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) || vmsplice(fd[1], &iov, 1, 0) != PAGE_SIZE)
		die("too many open files?", "vmsplice()");
	try_in_use(private, "a page is in a pipe: convert to private", offset, EAGAIN);
	close(fd[0]);
	close(fd[1]);
}

static void try_pinned(const struct memory *private, uint64_t offset)
{
	const char *what = "a page is pinned: convert to private";
	struct iovec iov = { private->map + offset, PAGE_SIZE };
	struct io_uring_params p = {};
	int ring = syscall(SYS_io_uring_setup, 1, &p);

	if (ring < 0) {
		report_skip(what, "no io_uring");
		return;
	}
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1))
		die("is RLIMIT_MEMLOCK below a page?", "IORING_REGISTER_BUFFERS");
	try_in_use(private, what, offset, EBUSY);
	if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0))
		die("there are some", "IORING_UNREGISTER_BUFFERS");
	close(ring);
}

static void try_load_after(const struct memory *private, bool to_private, const char *what,
			   int expected)
{
	char buf[SECRET_SIZE] = {}, wanted[16], came[16];
	uint64_t where;
	int ret = convert(private->fd, private->offset, MEM_SIZE, to_private, &where) ?:
		  copy_guarded(buf, private->map, SECRET_SIZE);
	bool got = secret_is_at((uint64_t *)buf, private->seed);

	report(ret == expected && got == !expected, what, "-",
	       expected ? outcome(expected, wanted) : "the secret",
	       got ? "the secret" : outcome(ret, came));
}

/* What the guest has, private or shared, is not for the VMM to convert. */
static void try_owned(const struct memory *mem, const char *what, bool to_private)
{
	char text[16];
	uint64_t where = -1;
	int ret = convert(mem->fd, mem->offset, MEM_SIZE, to_private, &where);

	report(ret == EPERM && where == mem->offset, what, "-", "EPERM", outcome(ret, text));
}

static void try_conversions(const struct memory *private)
{
	try_load_after(private, false, "convert to shared, load", 0);
	try_in_pipe(private, 3 * PAGE_SIZE);
	try_pinned(private, 5 * PAGE_SIZE);
	try_load_after(private, true, "let go, convert to private, load", -SIGBUS);
}

int run_checks(bool protected)
{
	const bool own = protected && own_vm_type;
	struct memory shared = {}, file, private = {};
	struct vcpu vcpu;
	struct vm vm;
	uint64_t where;
	int err;

	/* 1. Ask what there is. Some answers depend on the type of the VM. */
	kvm_open();
	vm_create(&vm, own ? own_vm_type : private_vm_type);
	check_needs(vm.fd, "the VM", memory_needs);

	/*
	 * 2. Memory: one file for all of it, mapped once. Without INIT_SHARED it
	 * would be private to begin with.
	 */
	private.fd = vm_create_file(&vm, 3 * MEM_SIZE,
				    GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED);
	private.map = map_aligned(private.fd, 3 * MEM_SIZE, MAP_SHARED);
	shared.fd = private.fd;
	shared.offset = MEM_SIZE;
	shared.map = private.map + MEM_SIZE;
	say("fd %d, private memory at %p, shared at %p\n", private.fd, private.map, shared.map);

	/* 3. Guest-physical addresses for it. */
	err = vm_add_memory(&vm, PRIVATE_GPA, 3 * MEM_SIZE, private.map, private.fd);
	errno = err;
	if (err)
		die("alignment, overlap, or a file of another VM",
		    "KVM_SET_USER_MEMORY_REGION2(slot %u)", vm.nr_slots);

	/* 4. What the guest runs. It gets a seed, and makes the secrets of it. */
	if (getrandom(&private.seed, sizeof(private.seed), 0) != sizeof(private.seed))
		die("it is there since Linux 3.17", "getrandom(8)");
	shared.seed = ~private.seed;
	guest_start(&vm, &vcpu, private.map + 2 * MEM_SIZE, own ? guest_share : guest_main,
		    (const uint64_t[]){ SHARED_GPA, PRIVATE_GPA, private.seed });

	/* 5. What of it is the guest's alone: all, if it decides for itself what to share. */
	err = convert(private.fd, 0, own ? 3 * MEM_SIZE : MEM_SIZE, true, &where);
	errno = err;
	if (err)
		die("EBUSY or EAGAIN: somebody uses the page there",
		    "KVM_SET_MEMORY_ATTRIBUTES2(PRIVATE): at offset %#llx",
		    (unsigned long long)where);

	/* 6. Run. */
	say("the guest begins at pc %#llx\n", (unsigned long long)arch_pc(&vcpu));

	report_head();
	ask_guest(&vcpu, "guest: write secrets, read them back", GUEST_WROTE);

	file = control_file(&shared);
	try_everything(&shared, &file, &private, false);
	if (own) {
		try_owned(&private, "convert what the guest owns to shared", false);
		try_owned(&shared, "convert what it shares to private", true);
	} else {
		try_conversions(&private);
	}

	ask_guest(&vcpu, "guest: read the secrets again", GUEST_INTACT);

	vcpu_destroy(&vcpu);
	close(vm.fd);
	return report_result();
}
