// SPDX-License-Identifier: GPL-2.0
/*
 * A Linux guest of the sample VMM, from the VMM's start to its end. The guest powers
 * off as soon as it has a first process. What it is made of is where the workbench
 * puts it.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define SECONDS	3		/* of processor time: several times what it takes */
#define TRIES	3

/* There is no PCI, and x86 takes long to see that. */
#ifdef __x86_64__
#define ARCH_CMDLINE	"pci=off "
#else
#define ARCH_CMDLINE	""
#endif
#define CMDLINE		"console=ttyS0 loglevel=0 panic=-1 nokaslr " ARCH_CMDLINE \
			"rdinit=/bin/busybox -- poweroff -f"

/* OWNED is what private memory is where guests own it. */
static const struct mode {
	const char *name;
	enum backing_type backing;
	uint64_t flags;
	char *options[2];
} modes[] = {
	{ "plain", PLAIN, 0, { "--direct-map" } },
	{ "plain.no_direct_map", PLAIN, GUEST_MEMFD_FLAG_NO_DIRECT_MAP },
	{ "protected", OWNED, 0, { "--protected", "--direct-map" } },
	{ "protected.private_no_direct_map", OWNED, GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP,
	  { "--protected" } },
	{}
};

static bool is_offered(const struct mode *mode)
{
	enum backing_type backing = mode->backing;
	unsigned long type;
	struct vm vm;

	if (backing == OWNED && !arch_vm_type(OWNED, &type))
		backing = IN_PLACE;
	if (!vm_create_flags(&vm, backing, MB, mode->flags))
		return false;
	vm_destroy(&vm);
	return vm.backing == backing;
}

static pid_t start_vmm(const struct mode *mode)
{
	char *const args[] = {
		"memfile-vmm", "--kernel", "guest/kernel", "--initrd", "guest/initramfs.cpio",
		"--memory", "128", "--cpus", "1", "--cmdline", CMDLINE,
		mode->options[0], mode->options[1], NULL
	};
	const struct rlimit limit = { SECONDS, SECONDS };
	pid_t pid = CHECK(fork());

	if (!pid) {
		CHECK(setrlimit(RLIMIT_CPU, &limit));
		CHECK(execvp(args[0], args));
	}
	return pid;
}

/*
 * Of all the VMM's threads, and of the guest: but not what goes by while the guest
 * has nothing to do, and waits for a timer of its own.
 *
 * An emulated SVM may deliver an interrupt once more, into its handler: that guest waits
 * for its own spinlock, and is given up.
 */
static uint64_t boot_guest(const struct mode *mode)
{
	siginfo_t info;
	uint64_t time;
	pid_t pid;

	for (int tries = 0; tries < TRIES; tries++) {
		pid = start_vmm(mode);
		CHECK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
		time = clock_process(pid);
		CHECK(waitpid(pid, NULL, 0));
		if (info.si_code == CLD_EXITED && !info.si_status)
			return time;
		fprintf(stderr, "boot.%s: the VMM ended with %s %d\n", mode->name,
			info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
		if (info.si_code == CLD_EXITED)
			break;
	}
	errno = 0;
	die("boot.%s: the guest did not power off", mode->name);
}

void work_boot(void)
{
	/* The first one brings what others find again. */
	boot_guest(&modes[0]);
	for (const struct mode *mode = modes; mode->name; mode++)
		if (is_offered(mode))
			report_time(boot_guest(mode), "boot.%s", mode->name);
}
