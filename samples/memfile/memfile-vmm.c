// SPDX-License-Identifier: GPL-2.0
/*
 * A small VMM whose guests have their memory in a memory file: private memory,
 * that the VMM itself cannot reach, or memory that the kernel cannot.
 *
 * It is meant to be read and copied from, in this order:
 *
 *   vm.c		a VM, its memory file, slots and vCPUs
 *   convert.c		memory becomes private, and shared again
 *   linux.c		a Linux guest: memory, vCPU threads, exits
 *   boot-*.c		how Linux wants to be started (x86_64: and acpi.c)
 *   serial.c virtio-blk.c	what devices there are
 *   attack.c attempts.c	every way that the host tries to get at the guest's memory
 *   stats.c		what it costs
 *   checks.c guest.c	the smallest guest there is, to check what the kernel promises
 *   arch-*.c		registers, CPUID, interrupt controllers
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memfile-vmm.h"

bool verbose;
static int held, failed, skipped;

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

void say(const char *fmt, ...)
{
	va_list args;

	if (!verbose)
		return;
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
}

static void print_row(const char *a, const char *b, const char *c, const char *d, const char *e)
{
	printf("%-38s %-18s %-10s %-12s %s\n", a, b, c, d, e);
}

void report_head(void)
{
	print_row("tried", "on shared memory", "expected", "came", "so it");
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

int report_result(void)
{
	if (skipped)
		printf("memfile: %d skipped\n", skipped);
	printf("memfile: %d checks held, %d failed\n", held, failed);
	return failed ? 1 : 0;
}

static const char usage[] =
"usage: memfile-vmm [-v] [--protected]\n"
"Run a guest on private memory, and try to read that as the host. Needs\n"
"/dev/kvm, and /dev/ram0 for O_DIRECT, whose first page it puts back.\n"
"--protected is for arm64: a guest that owns its memory, and shares it by itself.\n"
"\n"
"   or: memfile-vmm [-v] --kernel FILE [option ...]\n"
"Run Linux on a memory file, with its console on stdin and stdout. Its memory is\n"
"not in the kernel's direct map, where the kernel offers that. The options:\n"
"  --initrd FILE        its initramfs\n"
"  --disk FILE          its /dev/vda; a file that can only be read is read-only\n"
"  --cmdline TEXT       its command line (a serial console, and reboot after panic)\n"
"  --memory MIB         how much it has (256)\n"
"  --cpus N             how many vCPUs (2)\n"
"  --protected          a VM that has private memory: all of it is, until the guest\n"
"                       shares a part\n"
"  --direct-map         do not ask the kernel to take its memory out of that\n"
"  --attack             when the guest says where its secret is, try to get at it\n"
"  --stats              what happens to its memory, once a second, on stderr\n"
"\n"
"  -v  also say what KVM offers and what is created\n"
"\n"
"Exit status: 0 all checks held, the guest shut down; 1 a check did not hold;\n"
"2 it could not be tried; 3 the guest rebooted; 4 the guest panicked\n";

static uint64_t number(const char *text, const char *option, uint64_t least, uint64_t most)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	errno = 0;
	if (end == text || *end || value < least || value > most)
		die("see memfile-vmm -h", "--%s %s: not a number from %llu to %llu", option, text,
		    (unsigned long long)least, (unsigned long long)most);
	return value;
}

int main(int argc, char **argv)
{
	enum { KERNEL = 1, INITRD, DISK, CMDLINE, MEMORY, CPUS, PROTECTED, DIRECT_MAP,
	       ATTACK, STATS };
	static const struct option names[] = {
		{ "kernel", required_argument, NULL, KERNEL },
		{ "initrd", required_argument, NULL, INITRD },
		{ "disk", required_argument, NULL, DISK },
		{ "cmdline", required_argument, NULL, CMDLINE },
		{ "memory", required_argument, NULL, MEMORY },
		{ "cpus", required_argument, NULL, CPUS },
		{ "protected", no_argument, NULL, PROTECTED },
		{ "direct-map", no_argument, NULL, DIRECT_MAP },
		{ "attack", no_argument, NULL, ATTACK },
		{ "stats", no_argument, NULL, STATS },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct options options = { .memory = 256UL << 20, .cpus = 2 };
	int opt, index = 0, others = 0;

	setlinebuf(stdout);
	while ((opt = getopt_long(argc, argv, "vh", names, &index)) != -1) {
		switch (opt) {
		case 'v':
			verbose = true;
			continue;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case KERNEL:
			options.kernel = optarg;
			break;
		case INITRD:
			options.initrd = optarg;
			break;
		case DISK:
			options.disk = optarg;
			break;
		case CMDLINE:
			options.cmdline = optarg;
			break;
		case MEMORY:
			options.memory = number(optarg, names[index].name, 32, 3072) << 20;
			break;
		case CPUS:
			options.cpus = number(optarg, names[index].name, 1, 64);
			break;
		case PROTECTED:
			options.protected = true;
			break;
		case DIRECT_MAP:
			options.direct_map = true;
			break;
		case ATTACK:
			options.attack = true;
			break;
		case STATS:
			options.stats = true;
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
		others += opt != KERNEL && opt != PROTECTED;
	}
	if (optind < argc || (others && !options.kernel) ||
	    (options.protected && !options.kernel && !own_vm_type)) {
		fputs(usage, stderr);
		return 2;
	}
	return options.kernel ? run_linux(&options) : run_checks(options.protected);
}
