// SPDX-License-Identifier: GPL-2.0
/*
 * A Linux guest: its memory, a thread for each vCPU, and what to do when one of
 * them exits. The first thread waits for input, and for what the others leave to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <misc/pvpanic.h>

#include "machine.h"

static void wake_main(struct machine *m)
{
	const uint64_t one = 1;

	if (write(m->wakeup, &one, sizeof(one)) != sizeof(one))
		die("it is an eventfd", "write(wakeup)");
}

void machine_end(struct machine *m, enum end how, const char *why)
{
	say("the guest ends: %s\n", why);
	pthread_mutex_lock(&m->lock);
	if (m->ended < 0)
		m->ended = how;
	pthread_mutex_unlock(&m->lock);
	wake_main(m);
}

/* Memory */

/* For addresses of the VMM's own making. */
void *guest_memory(struct machine *m, uint64_t gpa, uint64_t size)
{
	const uint64_t offset = gpa - RAM_GPA;

	errno = 0;
	if (offset > m->options->memory || size > m->options->memory - offset)
		die("give it more with --memory", "no guest memory at %#llx, %#llx bytes",
		    (unsigned long long)gpa, (unsigned long long)size);
	return m->ram.map + offset;
}

/*
 * For addresses that come from the guest. They may be anything, and what is there
 * may be private, or become private right now.
 */
void *guest_range(struct machine *m, uint64_t gpa, size_t size)
{
	const uint64_t offset = gpa - RAM_GPA;

	if (offset > m->options->memory || size > m->options->memory - offset)
		return NULL;
	return m->ram.map + offset;
}

bool guest_read(struct machine *m, void *to, uint64_t gpa, size_t size)
{
	const void *from = guest_range(m, gpa, size);

	return from && !copy_guarded(to, from, size);
}

bool guest_write(struct machine *m, uint64_t gpa, const void *from, size_t size)
{
	void *to = guest_range(m, gpa, size);

	return to && !copy_guarded(to, from, size);
}

void *read_file(const char *path, const char *what, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat stat;
	size_t done = 0;
	ssize_t ret;
	void *data;

	if (fd < 0 || fstat(fd, &stat))
		die("see memfile-vmm -h", "--%s: open(%s)", what, path);
	data = malloc(stat.st_size);
	if (!data)
		die("out of memory?", "malloc(%lld)", (long long)stat.st_size);
	for (; done < stat.st_size; done += ret) {
		ret = read(fd, data + done, stat.st_size - done);
		if (ret <= 0)
			die("is it a regular file?", "--%s: read(%s)", what, path);
	}
	close(fd);
	*size = done;
	return data;
}

static void create_memory(struct machine *m)
{
	const struct options *o = m->options;
	const uint64_t absent = o->direct_map ? 0 :
				o->protected ? GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP :
					       GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
	const int offered = ioctl(m->vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	uint64_t flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	int err;

	/*
	 * All of it is shared to begin with, because the VMM has to put the kernel
	 * there. A plain VM's stays so: what it gains is that the host's kernel has
	 * no mapping of it, and no way to take a reference.
	 */
	m->no_direct_map = offered & absent;
	if (m->no_direct_map)
		flags |= absent;
	else if (absent)
		fprintf(stderr,
			"memfile-vmm: KVM_CAP_GUEST_MEMFD_FLAGS is %#x, without %#llx:\n"
			"             guest memory stays in the kernel's direct map\n", offered,
			(unsigned long long)absent);
	m->ram.fd = vm_create_file(&m->vm, o->memory, flags);
	m->ram.map = map_aligned(m->ram.fd, o->memory, MAP_SHARED);
	err = vm_add_memory(&m->vm, RAM_GPA, o->memory, m->ram.map, m->ram.fd);
	errno = err;
	if (err)
		die("alignment, overlap, or a file of another VM",
		    "KVM_SET_USER_MEMORY_REGION2(%#llx bytes)", (unsigned long long)o->memory);
	say("guest memory: %llu MiB, fd %d, flags %#llx, mapped at %p\n",
	    (unsigned long long)o->memory >> 20, m->ram.fd, (unsigned long long)flags,
	    m->ram.map);
}

/*
 * The guest has all of it for itself from its first instruction on, with what the VMM
 * has put there, and shares by itself what it wants to.
 */
static void make_private(struct machine *m)
{
	int err = convert_patiently(m->ram.fd, 0, m->options->memory, true);

	errno = err;
	if (err)
		die("EBUSY or EAGAIN: somebody uses a page of it",
		    "KVM_SET_MEMORY_ATTRIBUTES2(PRIVATE, all of the guest's memory)");
}

/*
 * Devices. @data comes from the guest, or goes to it. What nobody answers for reads
 * as ones, as on a bus.
 */

/*
 * Two registers. From the second one the guest reads what to make its secrets of. It
 * then writes to the first one in which page frame they are, and reads it until that
 * says 0: the host is through with them.
 */
static void access_doorbell(struct machine *m, uint64_t offset, void *data, size_t len,
			    bool is_write)
{
	uint32_t value;

	if (len != sizeof(value) || (is_write && (offset || !m->options->attack)))
		return;
	pthread_mutex_lock(&m->lock);
	if (is_write) {
		memcpy(&value, data, sizeof(value));
		m->attack_gpa = (uint64_t)value << 12;
		m->attack_wanted = true;
	} else {
		value = offset ? m->ram.seed : m->attack_wanted;
		memcpy(data, &value, sizeof(value));
	}
	pthread_mutex_unlock(&m->lock);
	if (is_write)
		wake_main(m);
}

/* The guest's panic notifier tells; the reboot that may follow is not heard then. */
static void access_panic(struct machine *m, uint8_t *data, bool is_write)
{
	if (!is_write)
		*data = PVPANIC_PANICKED;
	else if (*data & PVPANIC_PANICKED)
		machine_end(m, END_PANIC, "it panicked");
}

#ifdef POWER_BASE
static void access_power(struct machine *m, uint64_t offset, uint8_t *data, bool is_write)
{
	if (!is_write)
		*data = 0;
	else if (offset == 0 && *data & 1 << 5)
		machine_end(m, END_SHUTDOWN, "it shut down");
	else if (offset == 2)
		machine_end(m, END_REBOOT, "it rebooted");
}
#endif

static void access_device(struct machine *m, uint64_t at, void *data, size_t len, bool is_write)
{
	if (!is_write)
		memset(data, 0xff, len);
	if (at - SERIAL_BASE < 8)
		serial_access(m, at - SERIAL_BASE, data, is_write);
	else if (at - DOORBELL_BASE < 8)
		access_doorbell(m, at - DOORBELL_BASE, data, len, is_write);
	else if (at == PANIC_BASE)
		access_panic(m, data, is_write);
#ifdef POWER_BASE
	else if (at - POWER_BASE < 4)
		access_power(m, at - POWER_BASE, data, is_write);
#endif
	else if (m->options->disk && at - BLK_BASE < BLK_SIZE)
		blk_access(m, at - BLK_BASE, data, len, is_write);
}

/* Exits */

/*
 * The guest has asked for a conversion, and KVM has left it, or the rest of it, to
 * the VMM: a limit is exceeded, or the host uses a page. Return 0 or an errno.
 */
int machine_convert(struct machine *m, uint64_t gpa, uint64_t pages, bool to_private)
{
	int err = EINVAL;

	if (pages <= m->options->memory >> 12 && guest_range(m, gpa, pages << 12))
		err = convert_patiently(m->ram.fd, gpa - RAM_GPA, pages << 12, to_private);
	__atomic_add_fetch(err ? &m->refused : &m->conversions, 1, __ATOMIC_RELAXED);
	return err;
}

/*
 * An access of the wrong kind. It may be to memory that another vCPU has just asked
 * to be converted: that ends soon. Anything else would go on for ever.
 */
static void exit_memory_fault(struct vcpu *vcpu, unsigned int *tries)
{
	const struct kvm_run *run = vcpu->run;

	if (++*tries > 200)
		die("is it private to one side and shared to the other? is there memory at all?",
		    "KVM_RUN(vCPU %d): guest access to %#llx, flags %#llx, pc %#llx", vcpu->index,
		    run->memory_fault.gpa, run->memory_fault.flags,
		    (unsigned long long)arch_pc(vcpu));
	usleep(10000);
}

static void handle_exit(struct machine *m, struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	void *data;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		data = (void *)run + run->io.data_offset;
		for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
			access_device(m, run->io.port, data, run->io.size,
				      run->io.direction == KVM_EXIT_IO_OUT);
		break;
	case KVM_EXIT_MMIO:
		access_device(m, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
			      run->mmio.is_write);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		if (run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN)
			machine_end(m, END_SHUTDOWN, "it shut down");
		else
			machine_end(m, END_REBOOT, "it rebooted");
		pause();
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		errno = 0;
		die(run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ?
		    "KVM does not know the instruction, or there is no memory where it is" :
		    "KVM_INTERNAL_ERROR_* in <linux/kvm.h> says what that is",
		    "KVM_RUN(vCPU %d): internal error %u, pc %#llx", vcpu->index,
		    run->internal.suberror, (unsigned long long)arch_pc(vcpu));
	case KVM_EXIT_SHUTDOWN:
		errno = 0;
		die("the guest took an exception that it could not handle",
		    "KVM_RUN(vCPU %d): shutdown, pc %#llx", vcpu->index,
		    (unsigned long long)arch_pc(vcpu));
	default:
		if (arch_exit(m, run))
			break;
		errno = 0;
		die("KVM_EXIT_* in <linux/kvm.h> says what that is",
		    "KVM_RUN(vCPU %d): unexpected exit, reason %u, pc %#llx", vcpu->index,
		    run->exit_reason, (unsigned long long)arch_pc(vcpu));
	}
}

struct vcpu_thread {
	struct machine *m;
	struct vcpu *vcpu;
};

static void *run_vcpu(void *arg)
{
	const struct vcpu_thread thread = *(struct vcpu_thread *)arg;
	struct machine *m = thread.m;
	struct vcpu *vcpu = thread.vcpu;
	unsigned int tries = 0;

	free(arg);
	for (;;) {
		if (!ioctl(vcpu->fd, KVM_RUN, 0)) {
			tries = 0;
			handle_exit(m, vcpu);
		} else if (errno == EFAULT && vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
			exit_memory_fault(vcpu, &tries);
		} else if (errno != EINTR && errno != EAGAIN) {
			die("see the kernel log", "KVM_RUN(vCPU %d), pc %#llx", vcpu->index,
			    (unsigned long long)arch_pc(vcpu));
		}
		__atomic_add_fetch(&m->exits, 1, __ATOMIC_RELAXED);
	}
}

/* Signals are for the first thread: none may end a KVM_RUN here. */
static void start_vcpu(struct machine *m, struct vcpu *vcpu)
{
	struct vcpu_thread *arg = malloc(sizeof(*arg));
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (arg)
		*arg = (struct vcpu_thread){ m, vcpu };
	errno = arg ? pthread_create(&thread, NULL, run_vcpu, arg) : ENOMEM;
	if (errno)
		die("too many threads?", "pthread_create(vCPU %d)", vcpu->index);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The terminal: what is typed goes to the guest as it is, except for Ctrl-C. */

static struct termios terminal;

static void restore_terminal(void)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
}

static void on_end(int sig)
{
	restore_terminal();
	_exit(END_FAILED);
}

static void take_terminal(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &terminal))
		return;
	raw = terminal;
	raw.c_lflag &= ~(ICANON | ECHO);
	raw.c_iflag &= ~ICRNL;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	atexit(restore_terminal);
	signal(SIGINT, on_end);
	signal(SIGTERM, on_end);
}

/* Return how the guest ended. */
static int wait_for_guest(struct machine *m)
{
	struct pollfd fds[] = {
		{ .fd = m->wakeup, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN },
	};
	char input[16];
	uint64_t count;
	ssize_t len;

	while (m->ended < 0) {
		/* Without an event for a second: time for another line. */
		if (!poll(fds, 2, 1000) && m->options->stats)
			stats_print(m);
		if (fds[0].revents & POLLIN && read(m->wakeup, &count, sizeof(count)) < 0)
			die("it is an eventfd", "read(wakeup)");
		if (fds[1].revents) {
			len = read(STDIN_FILENO, input, sizeof(input));
			if (len <= 0)
				fds[1].fd = -1;
			for (ssize_t i = 0; i < len; i++)
				serial_input(m, input[i]);
		}
		if (m->attack_wanted) {
			attack(m, m->attack_gpa);
			m->attacked = true;
			pthread_mutex_lock(&m->lock);
			m->attack_wanted = false;
			pthread_mutex_unlock(&m->lock);
		}
	}
	return m->ended;
}

int run_linux(const struct options *options)
{
	struct machine machine = {
		.options = options,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.wakeup = eventfd(0, EFD_CLOEXEC),
		.ended = -1,
	}, *m = &machine;
	int status, result = 0;

	if (getrandom(&m->ram.seed, sizeof(uint32_t), 0) != sizeof(uint32_t))
		die("it is there since Linux 3.17", "getrandom(4)");
	kvm_open();
	vm_create(&m->vm, !options->protected ? plain_vm_type : own_vm_type ?: private_vm_type);
	if (options->protected)
		check_needs(m->vm.fd, "the VM", memory_needs);
	create_memory(m);
	arch_create_machine(m);
	if (options->disk)
		blk_open(m);

	m->vcpus = calloc(options->cpus, sizeof(*m->vcpus));
	if (!m->vcpus || m->wakeup < 0)
		die("out of memory?", "calloc(%u vCPUs)", options->cpus);
	for (unsigned int i = 0; i < options->cpus; i++) {
		vcpu_create(&m->vm, &m->vcpus[i], i);
		arch_create_vcpu(m, &m->vcpus[i]);
	}
	boot_load(m);
	arch_start_kernel(m);
	if (options->protected)
		make_private(m);
	if (options->stats)
		stats_open(m);

	take_terminal();
	for (unsigned int i = 0; i < options->cpus; i++)
		start_vcpu(m, &m->vcpus[i]);
	status = wait_for_guest(m);

	if (options->stats)
		stats_summary(m);
	if (options->attack && !m->attacked)
		report(false, "guest: say where the secrets are", "-", "an address", "nothing");
	if (options->attack)
		result = report_result();
	/* A guest that ended before its time: how, is worth more than that it did. */
	return m->attacked && result ? result : status ?: result;
}
