// SPDX-License-Identifier: GPL-2.0
/*
 * Every way for a host to get at memory that it has mapped, or has a file of.
 *
 * Each is tried on shared memory first: it has to work there, or its failing on
 * private memory would say nothing. One way is left out, because it is not an
 * attack: punching a hole (fallocate, MADV_REMOVE). A host may take memory away
 * from its guest; the pages are cleared before anybody else gets them.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/io_uring.h>
#include <linux/mman.h>

#include "checks.h"

#define IO_SIZE		4096		/* what a block device takes */
#define RAM_DISK	"/dev/ram0"

/*
 * An attempt reads the secret of @mem into @buf, or overwrites it with what is
 * in @buf. It returns 0 if it got through, an errno, or minus a signal.
 */
typedef int attempt_fn(const struct memory *mem, char *buf, int arg);

#define SKIP	10000
static const char *why_skipped;

static int skip(const char *why)
{
	why_skipped = why;
	return SKIP;
}

/* What a call that moves bytes returned */
static int moved(ssize_t ret)
{
	return ret < 0 ? errno : ret < SECRET_SIZE ? ENODATA : 0;
}

static int scratch_file(void)
{
	int fd = memfd_create("scratch", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, IO_SIZE))
		die("needs CONFIG_MEMFD_CREATE", "memfd_create(%d)", IO_SIZE);
	return fd;
}

static void make_pipe(int fd[2])
{
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK))
		die("too many open files?", "pipe2()");
}

static void close_pipe(int fd[2])
{
	close(fd[0]);
	close(fd[1]);
}

/* Touching memory */

/* Copy a secret; return 0, or minus the signal that the host gets for it. */
static int touch(void *to, const void *from)
{
	return copy_guarded(to, from, SECRET_SIZE);
}

static int try_load(const struct memory *mem, char *buf, int arg)
{
	return touch(buf, mem->map);
}

static int try_store(const struct memory *mem, char *buf, int arg)
{
	return touch(mem->map, buf);
}

static int try_mmap(const struct memory *mem, char *buf, int flags)
{
	void *map = mmap(NULL, MEM_SIZE, PROT_READ, flags, mem->fd, mem->offset);
	int ret;

	if (map == MAP_FAILED)
		return errno;
	ret = touch(buf, map);
	munmap(map, MEM_SIZE);
	return ret;
}

/* An old size of 0 makes a second mapping of the same pages. */
static int try_mremap(const struct memory *mem, char *buf, int arg)
{
	void *map = mremap(mem->map, 0, MEM_SIZE, MREMAP_MAYMOVE);
	int ret;

	if (map == MAP_FAILED)
		return errno;
	ret = touch(buf, map);
	munmap(map, MEM_SIZE);
	return ret;
}

static int try_madvise(const struct memory *mem, char *buf, int advice)
{
	int ret = madvise(mem->map, MEM_SIZE, advice) ? errno : 0;

	if (ret && (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE))
		return ret;
	/* Refusing the others is no protection: what counts is that they open nothing. */
	return touch(buf, mem->map);
}

/* The file */

static int try_read(const struct memory *mem, char *buf, int arg)
{
	lseek(mem->fd, mem->offset, SEEK_SET);
	return moved(read(mem->fd, buf, SECRET_SIZE));
}

static int try_pread(const struct memory *mem, char *buf, int arg)
{
	return moved(pread(mem->fd, buf, SECRET_SIZE, mem->offset));
}

static int try_write(const struct memory *mem, char *buf, int arg)
{
	lseek(mem->fd, mem->offset, SEEK_SET);
	return moved(write(mem->fd, buf, SECRET_SIZE));
}

static int try_pwrite(const struct memory *mem, char *buf, int arg)
{
	return moved(pwrite(mem->fd, buf, SECRET_SIZE, mem->offset));
}

static int try_splice(const struct memory *mem, char *buf, int writing)
{
	int ret, fd[2];

	make_pipe(fd);
	lseek(mem->fd, mem->offset, SEEK_SET);
	if (writing) {
		ret = moved(write(fd[1], buf, SECRET_SIZE)) ?:
		      moved(splice(fd[0], NULL, mem->fd, NULL, SECRET_SIZE, 0));
	} else {
		ret = moved(splice(mem->fd, NULL, fd[1], NULL, SECRET_SIZE, 0)) ?:
		      moved(read(fd[0], buf, SECRET_SIZE));
	}
	close_pipe(fd);
	return ret;
}

static int try_sendfile(const struct memory *mem, char *buf, int arg)
{
	int to = scratch_file(), ret;

	lseek(mem->fd, mem->offset, SEEK_SET);
	ret = moved(sendfile(to, mem->fd, NULL, SECRET_SIZE)) ?:
	      moved(pread(to, buf, SECRET_SIZE, 0));
	close(to);
	return ret;
}

static int try_copy_file_range(const struct memory *mem, char *buf, int arg)
{
	int to = scratch_file(), ret;
	off_t from = mem->offset;

	ret = moved(copy_file_range(mem->fd, &from, to, NULL, SECRET_SIZE, 0)) ?:
	      moved(pread(to, buf, SECRET_SIZE, 0));
	close(to);
	return ret;
}

static int try_reopen(const struct memory *mem, char *buf, int arg)
{
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	ret = moved(pread(fd, buf, SECRET_SIZE, mem->offset));
	close(fd);
	return ret;
}

/* The mapping as a buffer, which the kernel reads or writes */

static int try_as_buffer(const struct memory *mem, char *buf, int writing)
{
	int fd = scratch_file(), ret;

	if (writing) {
		ret = moved(pwrite(fd, buf, SECRET_SIZE, 0)) ?:
		      moved(pread(fd, mem->map, SECRET_SIZE, 0));
	} else {
		ret = moved(pwrite(fd, mem->map, SECRET_SIZE, 0)) ?:
		      moved(pread(fd, buf, SECRET_SIZE, 0));
	}
	close(fd);
	return ret;
}

/* with_vmsplice: pages instead of bytes go into the pipe */
static int try_pipe(const struct memory *mem, char *buf, int with_vmsplice)
{
	struct iovec iov = { mem->map, SECRET_SIZE };
	int ret, fd[2];

	make_pipe(fd);
	ret = moved(with_vmsplice ? vmsplice(fd[1], &iov, 1, 0) :
				    write(fd[1], mem->map, SECRET_SIZE)) ?:
	      moved(read(fd[0], buf, SECRET_SIZE));
	close_pipe(fd);
	return ret;
}

/* O_DIRECT on a block device lets the device have the pages themselves. */
static int try_direct(const struct memory *mem, char *buf, int writing)
{
	static _Alignas(IO_SIZE) char before[IO_SIZE];
	int ret, fd = open(RAM_DISK, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return skip("no " RAM_DISK ": needs CONFIG_BLK_DEV_RAM");
	if (pread(fd, before, IO_SIZE, 0) != IO_SIZE)
		die("is its block size above 4096?", "pread(" RAM_DISK ", %d)", IO_SIZE);
	if (writing) {
		ret = moved(pwrite(fd, buf, IO_SIZE, 0)) ?:
		      moved(pread(fd, mem->map, IO_SIZE, 0));
	} else {
		ret = moved(pwrite(fd, mem->map, IO_SIZE, 0)) ?:
		      moved(pread(fd, buf, IO_SIZE, 0));
	}
	if (pwrite(fd, before, IO_SIZE, 0) != IO_SIZE)
		die("its first page is lost", "pwrite(" RAM_DISK ", %d)", IO_SIZE);
	close(fd);
	return ret;
}

/*
 * One request with a registered buffer, whose pages io_uring takes hold of when
 * they are registered, and for as long as it exists.
 */
static int uring_io(int ring, const struct io_uring_params *p, int opcode, int fd, void *buf)
{
	const size_t ring_size = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	struct iovec iov = { buf, IO_SIZE };
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	char *rings;
	int ret;

	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1))
		return errno;

	rings = mmap(NULL, ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqe == MAP_FAILED)
		die("needs one mapping for both rings (Linux 5.4)", "mmap(io_uring)");

	*sqe = (struct io_uring_sqe){
		.opcode = opcode,
		.fd = fd,
		.addr = (uintptr_t)buf,
		.len = SECRET_SIZE,
	};
	((uint32_t *)(rings + p->sq_off.array))[0] = 0;
	__atomic_store_n((uint32_t *)(rings + p->sq_off.tail), 1, __ATOMIC_RELEASE);
	cqe = (void *)(rings + p->cq_off.cqes);
	ret = syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1 ?
	      errno : cqe->res < 0 ? -cqe->res : 0;

	munmap(sqe, sizeof(*sqe));
	munmap(rings, ring_size);
	return ret;
}

static int try_uring(const struct memory *mem, char *buf, int writing)
{
	struct io_uring_params p = {};
	int fd, ret, ring = syscall(SYS_io_uring_setup, 1, &p);

	if (ring < 0)
		return skip(errno == EPERM ? "see sysctl kernel.io_uring_disabled" :
					     "no io_uring: needs CONFIG_IO_URING");
	fd = scratch_file();
	if (writing) {
		ret = moved(pwrite(fd, buf, SECRET_SIZE, 0)) ?:
		      uring_io(ring, &p, IORING_OP_READ_FIXED, fd, mem->map);
	} else {
		ret = uring_io(ring, &p, IORING_OP_WRITE_FIXED, fd, mem->map) ?:
		      moved(pread(fd, buf, SECRET_SIZE, 0));
	}
	close(fd);
	close(ring);
	return ret;
}

/* Other processes: a child has the same mappings */

static pid_t fork_victim(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("too many processes?", "fork()");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void end_victim(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* @buf is shared with the child, so what it reads arrives here. */
static int try_fork(const struct memory *mem, char *buf, int arg)
{
	pid_t pid = fork();
	int status = 0;

	if (pid < 0)
		die("too many processes?", "fork()");
	if (!pid)
		_exit(-touch(buf, mem->map));
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : -WEXITSTATUS(status);
}

static int try_process_vm(const struct memory *mem, char *buf, int writing)
{
	struct iovec here = { buf, SECRET_SIZE }, there = { mem->map, SECRET_SIZE };
	pid_t pid = fork_victim();
	int ret;

	ret = moved(writing ? process_vm_writev(pid, &here, 1, &there, 1, 0) :
			      process_vm_readv(pid, &here, 1, &there, 1, 0));
	end_victim(pid);
	return ret == ENOSYS ? skip("needs CONFIG_CROSS_MEMORY_ATTACH") : ret;
}

static int try_ptrace(const struct memory *mem, char *buf, int writing)
{
	long *here = (long *)buf, *there = mem->map;
	pid_t pid = fork_victim();
	int ret = 0;

	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) || waitpid(pid, NULL, 0) != pid)
		die("does a security module forbid it?", "PTRACE_ATTACH(own child)");
	for (size_t i = 0; i < SECRET_SIZE / sizeof(long) && !ret; i++) {
		errno = 0;
		if (writing)
			ptrace(PTRACE_POKEDATA, pid, there + i, here[i]);
		else
			here[i] = ptrace(PTRACE_PEEKDATA, pid, there + i, NULL);
		ret = errno;
	}
	end_victim(pid);
	return ret;
}

static int proc_mem(pid_t pid, const struct memory *mem, char *buf, int writing)
{
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	ret = moved(writing ? pwrite(fd, buf, SECRET_SIZE, (uintptr_t)mem->map) :
			      pread(fd, buf, SECRET_SIZE, (uintptr_t)mem->map));
	close(fd);
	return ret;
}

static int try_own_mem(const struct memory *mem, char *buf, int writing)
{
	return proc_mem(getpid(), mem, buf, writing);
}

static int try_child_mem(const struct memory *mem, char *buf, int writing)
{
	pid_t pid = fork_victim();
	int ret = proc_mem(pid, mem, buf, writing);

	end_victim(pid);
	return ret;
}

/* KVM itself: a second VM has the mapping for its memory, its guest copies. */
static int try_second_vm(const struct memory *mem, char *buf, int writing)
{
	void *low = map_aligned(-1, MEM_SIZE, MAP_SHARED | MAP_ANONYMOUS);
	const uint64_t to_low[] = { GUEST_GPA, PRIVATE_GPA, SECRET_SIZE };
	const uint64_t from_low[] = { PRIVATE_GPA, GUEST_GPA, SECRET_SIZE };
	struct vcpu vcpu;
	struct vm vm;
	int ret;

	memcpy(low, buf, SECRET_SIZE);
	vm_create(&vm, plain_vm_type);
	guest_start(&vm, &vcpu, low, guest_copy, writing ? from_low : to_low);
	ret = vm_add_memory(&vm, GUEST_GPA, MEM_SIZE, low, -1) ?:
	      vm_add_memory(&vm, PRIVATE_GPA, MEM_SIZE, mem->map, -1);
	if (!ret) {
		ret = guest_run(&vcpu);
		ret = ret == GUEST_COPIED ? 0 : -ret;
	}
	vcpu_destroy(&vcpu);
	close(vm.fd);
	if (!writing)
		memcpy(buf, low, SECRET_SIZE);
	munmap(low, MEM_SIZE);
	return ret;
}

static const struct attempt {
	const char *what;
	attempt_fn *try;
	int arg;
	int expected;			/* an errno, or minus a signal */
	bool on_file;			/* shown to work on a memfd only */
	bool writing;
	int by_page;			/* the errno if there is only no direct map, or 0 */
} attempts[] = {
	{ "load from the mapping", try_load, 0, -SIGBUS },
	{ "store to the mapping", try_store, 0, -SIGBUS, .writing = 1 },
	{ "mmap() again, load", try_mmap, MAP_SHARED, -SIGBUS, .on_file = 1 },
	{ "mmap(MAP_PRIVATE), load", try_mmap, MAP_PRIVATE, EINVAL, .on_file = 1 },
	{ "mremap() to a second mapping, load", try_mremap, 0, -SIGBUS },
	{ "fork(), child loads", try_fork, 0, -SIGBUS },
	{ "MADV_POPULATE_READ, load", try_madvise, MADV_POPULATE_READ, EFAULT, .by_page = EINVAL },
	{ "MADV_POPULATE_WRITE, load", try_madvise, MADV_POPULATE_WRITE, EFAULT,
	  .by_page = EINVAL },
	{ "MADV_DONTNEED, load", try_madvise, MADV_DONTNEED, -SIGBUS },
	{ "MADV_PAGEOUT, load", try_madvise, MADV_PAGEOUT, -SIGBUS },
	{ "MADV_COLLAPSE, load", try_madvise, MADV_COLLAPSE, -SIGBUS },
	{ "MADV_MERGEABLE, load", try_madvise, MADV_MERGEABLE, -SIGBUS },

	{ "read() the file", try_read, 0, EINVAL, .on_file = 1 },
	{ "pread() the file", try_pread, 0, ESPIPE, .on_file = 1 },
	{ "write() the file", try_write, 0, EINVAL, .on_file = 1, .writing = 1 },
	{ "pwrite() the file", try_pwrite, 0, ESPIPE, .on_file = 1, .writing = 1 },
	{ "splice() from the file", try_splice, 0, EINVAL, .on_file = 1 },
	{ "splice() to the file", try_splice, 1, EINVAL, .on_file = 1, .writing = 1 },
	{ "sendfile() from the file", try_sendfile, 0, EINVAL, .on_file = 1 },
	{ "copy_file_range() from the file", try_copy_file_range, 0, EXDEV, .on_file = 1 },
	{ "open(/proc/self/fd/N), pread()", try_reopen, 0, ENXIO, .on_file = 1 },

	{ "mapping as buffer: write() to a file", try_as_buffer, 0, EFAULT },
	{ "mapping as buffer: read() from a file", try_as_buffer, 1, EFAULT, .writing = 1 },
	{ "mapping as buffer: write() to a pipe", try_pipe, 0, EFAULT },
	{ "vmsplice() to a pipe", try_pipe, 1, EFAULT, .by_page = EFAULT },
	{ "O_DIRECT write() to " RAM_DISK, try_direct, 0, EFAULT, .by_page = EFAULT },
	{ "O_DIRECT read() from " RAM_DISK, try_direct, 1, EFAULT, .writing = 1,
	  .by_page = EFAULT },
	{ "io_uring registered buffer, write", try_uring, 0, EFAULT, .by_page = EFAULT },
	{ "io_uring registered buffer, read", try_uring, 1, EFAULT, .writing = 1,
	  .by_page = EFAULT },

	{ "process_vm_readv() of a child", try_process_vm, 0, EFAULT, .by_page = EFAULT },
	{ "process_vm_writev() to a child", try_process_vm, 1, EFAULT, .writing = 1,
	  .by_page = EFAULT },
	{ "PTRACE_PEEKDATA of a child", try_ptrace, 0, EIO, .by_page = EIO },
	{ "PTRACE_POKEDATA to a child", try_ptrace, 1, EIO, .writing = 1, .by_page = EIO },
	{ "/proc/self/mem, pread()", try_own_mem, 0, EIO, .by_page = EIO },
	{ "/proc/self/mem, pwrite()", try_own_mem, 1, EIO, .writing = 1, .by_page = EIO },
	{ "/proc/PID/mem of a child, pread()", try_child_mem, 0, EIO, .by_page = EIO },
	{ "/proc/PID/mem of a child, pwrite()", try_child_mem, 1, EIO, .writing = 1,
	  .by_page = EIO },

	/* What a protected guest shares with the host is not for the host to pass on. */
	{ "second VM on the mapping, guest reads", try_second_vm, 0, EFAULT, .on_file = 1,
	  .by_page = EFAULT },
	{ "second VM on the mapping, guest writes", try_second_vm, 1, EFAULT, .on_file = 1,
	  .writing = 1, .by_page = EFAULT },
};

const char *outcome(int ret, char text[16])
{
	if (!ret)
		return "no error";
	snprintf(text, 16, ret < 0 ? "SIG%s" : "%s",
		 (ret < 0 ? sigabbrev_np(-ret) : strerrorname_np(ret)) ?: "?");
	return text;
}

static void try_one(const struct attempt *try, const struct memory *shared,
		    const struct memory *target, int expected, char *buf)
{
	char control_text[16], expected_text[16], came_text[16];
	const char *control;
	int ret, pattern = try->writing ? 0x5a : 0;
	bool worked, leaked;

	memset(buf, pattern, IO_SIZE);
	ret = try->try(shared, buf, try->arg);
	if (ret == SKIP) {
		report_skip(try->what, why_skipped);
		return;
	}
	worked = !ret && (try->writing ? !memcmp(shared->map, buf, SECRET_SIZE) :
					 secret_is_at((uint64_t *)buf, shared->seed));
	control = !worked ? outcome(ret, control_text) :
		  try->writing ? "overwritten" : "got the secret";
	/* The guest will look at this one too. */
	secret_write(shared->map, shared->seed);

	memset(buf, pattern, IO_SIZE);
	ret = try->try(target, buf, try->arg);
	leaked = secret_is_at((uint64_t *)buf, target->seed);
	report(worked && !leaked && ret == expected, try->what, control,
	       outcome(expected, expected_text),
	       leaked ? "THE SECRET" : outcome(ret, came_text));
}

/* A memory file has no read() or write(): that those work is shown on this one. */
struct memory control_file(const struct memory *like)
{
	struct memory file = { .fd = memfd_create("control", MFD_CLOEXEC), .seed = like->seed };

	if (file.fd < 0 || ftruncate(file.fd, MEM_SIZE))
		die("needs CONFIG_MEMFD_CREATE", "memfd_create(%#lx)", MEM_SIZE);
	file.map = map_aligned(file.fd, MEM_SIZE, MAP_SHARED);
	secret_write(file.map, file.seed);
	return file;
}

/*
 * @mapped: the host may map @target, as it may @shared, but there is no direct map of
 * it: then it is only whether the kernel can get hold of the pages.
 */
void try_everything(const struct memory *shared, const struct memory *file,
		    const struct memory *target, bool mapped)
{
	char *buf = mmap(NULL, IO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (buf == MAP_FAILED)
		die("out of memory?", "mmap(%d)", IO_SIZE);

	for (size_t i = 0; i < sizeof(attempts) / sizeof(*attempts); i++)
		if (!mapped || attempts[i].by_page)
			try_one(&attempts[i], attempts[i].on_file ? file : shared, target,
				mapped ? attempts[i].by_page : attempts[i].expected, buf);
	munmap(buf, IO_SIZE);
}
