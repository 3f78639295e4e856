// SPDX-License-Identifier: GPL-2.0
/*
 * Conversion: a range of guest memory changes between private and shared, in
 * place. File, mapping and memslot stay what they are.
 *
 * A VMM does this when its guest asks for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <linux/io_uring.h>

#include "memfile-vmm.h"

#define PAGE_SIZE	4096

/*
 * Return 0 or an errno. In the latter case what is in front of @where may be
 * converted and what is behind it is not: after EAGAIN or EBUSY a VMM calls again
 * with the same range, once it has let go of the page there.
 */
int convert(int guest_memfd, uint64_t offset, uint64_t size, bool to_private, uint64_t *where)
{
	struct kvm_memory_attributes2 attrs = {
		.offset = offset,
		.size = size,
		.attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};
	int ret = ioctl(guest_memfd, KVM_SET_MEMORY_ATTRIBUTES2, &attrs) ? errno : 0;

	*where = attrs.error_offset;
	return ret;
}

/* Somebody on the host has hold of the page at @offset: who asks is told. */
static void try_in_use(const struct memory *private, const char *what, uint64_t offset,
		       int expected)
{
	char text[16], came[32], wanted[32];
	uint64_t where;
	int ret = convert(private->fd, 0, MEM_SIZE, true, &where);

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
	int ret = convert(private->fd, 0, MEM_SIZE, to_private, &where) ?:
		  touch(buf, private->map);
	bool got = secret_is_at((uint64_t *)buf, private->seed);

	report(ret == expected && got == !expected, what, "-",
	       expected ? outcome(expected, wanted) : "the secret",
	       got ? "the secret" : outcome(ret, came));
}

void try_conversions(const struct memory *private)
{
	try_load_after(private, false, "convert to shared, load", 0);
	try_in_pipe(private, 3 * PAGE_SIZE);
	try_pinned(private, 5 * PAGE_SIZE);
	try_load_after(private, true, "let go, convert to private, load", -SIGBUS);
}
