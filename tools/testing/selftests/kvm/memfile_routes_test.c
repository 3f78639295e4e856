// SPDX-License-Identifier: GPL-2.0
/*
 * Every way there is to have the host's kernel, or KVM, read or write a page for
 * somebody: on ordinary memory, where all of them work, and on a page of a guest_memfd
 * that is private, or that the kernel has no direct map of.
 *
 * The page holds the beginning of an ELF file, whose build ID is what nobody may learn.
 * No test has a second copy of it: it is made, and recognised, from a seed.
 *
 * What is not here, because it discloses nothing: taking memory away (MADV_REMOVE,
 * fallocate(), MADV_HWPOISON).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sendfile.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"

#define ID_SIZE		20
#define RAM_DISK	"/dev/ram0"
#define SLOT		10

/* What a route that writes leaves behind, in each byte */
#define OVERWRITTEN	0xff

struct image {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	Elf64_Nhdr nhdr;
	char name[4];
	u8 id[ID_SIZE];
	u8 pad[4];	/* to a number of words, for ptrace() */
};

struct target {
	struct image *mem;
	int fd;
	u64 phys;	/* where the page is in memory */
	u32 seed;
};

/*
 * A route reads the image at ->mem, or at the start of ->fd, into @buf, or overwrites it
 * with what is in @buf, which is a page.  It returns 0, an errno, minus a signal, or that
 * this kernel or machine does not have it.
 */
typedef int route_fn(const struct target *target, struct image *buf);

#define NO_SUCH_ROUTE	10000

struct route {
	route_fn *fn;
	bool writes;
	/* What comes of it where it may not work; 0 if it works as on other memory. */
	int private, no_direct_map, direct_map;
};

static size_t page_size;

static u8 id_byte(u32 seed, int i)
{
	return (seed * 2654435761u + i * 40503u) >> 11;
}

static bool id_is_at(const void *p, u32 seed)
{
	const u8 *id = p;
	int i;

	for (i = 0; i < ID_SIZE; i++) {
		if (READ_ONCE(id[i]) != id_byte(seed, i))
			return false;
	}
	return true;
}

static void write_image(struct image *image, u32 seed)
{
	int i;

	*image = (struct image) {
		.ehdr = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 },
			.e_type = ET_DYN,
			.e_phoff = offsetof(struct image, phdr),
			.e_phentsize = sizeof(image->phdr),
			.e_phnum = 1,
		},
		.phdr = {
			.p_type = PT_NOTE,
			.p_offset = offsetof(struct image, nhdr),
			.p_filesz = offsetof(struct image, pad) - offsetof(struct image, nhdr),
		},
		.nhdr = {
			.n_namesz = sizeof(image->name),
			.n_descsz = ID_SIZE,
			.n_type = NT_GNU_BUILD_ID,
		},
		.name = "GNU",
	};
	for (i = 0; i < ID_SIZE; i++)
		WRITE_ONCE(image->id[i], id_byte(seed, i));
}

static bool overwritten(const void *p)
{
	const u8 *byte = p;
	int i;

	for (i = 0; i < sizeof(struct image); i++) {
		if (byte[i] != OVERWRITTEN)
			return false;
	}
	return true;
}

/* What a call that moves bytes returned */
static int moved(ssize_t ret)
{
	return ret < 0 ? errno : ret < (ssize_t)sizeof(struct image) ? ENODATA : 0;
}

/* All that is opened is closed by the end of the test, which is a process. */
static int scratch_file(void)
{
	return kvm_memfd_alloc(page_size, false);
}

static void scratch_pipe(int fd[2])
{
	TEST_ASSERT(!pipe2(fd, O_NONBLOCK), "pipe2(): %s", strerror(errno));
}

/* Copy an image, or say which signal came. */
static int touch(void *to, const void *from)
{
	struct sigaction old, new = { .sa_handler = expect_sigbus_handler };
	int sig = 0;

	sigaction(SIGBUS, &new, &old);
	if (!sigsetjmp(expect_sigbus_jmpbuf, 1))
		memcpy(to, from, sizeof(struct image));
	else
		sig = SIGBUS;
	sigaction(SIGBUS, &old, NULL);
	return -sig;
}

/* The mapping */

static int route_load(const struct target *target, struct image *buf)
{
	return touch(buf, target->mem);
}

static int route_store(const struct target *target, struct image *buf)
{
	return touch(target->mem, buf);
}

static int route_mmap(const struct target *target, struct image *buf)
{
	return touch(buf, kvm_mmap(page_size, PROT_READ, MAP_SHARED, target->fd));
}

/* An old size of 0 makes a second mapping of the same page. */
static int route_mremap(const struct target *target, struct image *buf)
{
	void *mem = mremap(target->mem, 0, page_size, MREMAP_MAYMOVE);

	return mem == MAP_FAILED ? errno : touch(buf, mem);
}

/* @buf is shared with the child. */
static int route_fork(const struct target *target, struct image *buf)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(-touch(buf, target->mem));
	TEST_ASSERT(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "Status 0x%x", status);
	return -WEXITSTATUS(status);
}

static int populate(const struct target *target, struct image *buf, int advice)
{
	return madvise(target->mem, page_size, advice) ? errno : touch(buf, target->mem);
}

static int route_populate_read(const struct target *target, struct image *buf)
{
	return populate(target, buf, MADV_POPULATE_READ);
}

static int route_populate_write(const struct target *target, struct image *buf)
{
	return populate(target, buf, MADV_POPULATE_WRITE);
}

/* To refuse such advice is no protection: what counts is that it opens nothing. */
static int route_madvise(const struct target *target, struct image *buf)
{
	static const int advice[] = {
		MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT, MADV_FREE, MADV_DONTNEED,
		MADV_MERGEABLE, MADV_HUGEPAGE, MADV_COLLAPSE, MADV_DOFORK, MADV_DODUMP,
		MADV_SOFT_OFFLINE,
	};
	int ret = 0, i;

	for (i = 0; i < ARRAY_SIZE(advice) && !ret; i++) {
		madvise(target->mem, page_size, advice[i]);
		memset(buf, 0, sizeof(*buf));
		ret = touch(buf, target->mem);
	}
	return ret;
}

/* The file */

static int route_read_file(const struct target *target, struct image *buf)
{
	lseek(target->fd, 0, SEEK_SET);
	return moved(read(target->fd, buf, sizeof(*buf)));
}

static int route_pread_file(const struct target *target, struct image *buf)
{
	return moved(pread(target->fd, buf, sizeof(*buf), 0));
}

static int route_write_file(const struct target *target, struct image *buf)
{
	lseek(target->fd, 0, SEEK_SET);
	return moved(write(target->fd, buf, sizeof(*buf)));
}

static int route_pwrite_file(const struct target *target, struct image *buf)
{
	return moved(pwrite(target->fd, buf, sizeof(*buf), 0));
}

static int route_splice_file(const struct target *target, struct image *buf)
{
	int fd[2];

	scratch_pipe(fd);
	lseek(target->fd, 0, SEEK_SET);
	return moved(splice(target->fd, NULL, fd[1], NULL, sizeof(*buf), 0)) ?:
	       moved(read(fd[0], buf, sizeof(*buf)));
}

static int route_splice_to_file(const struct target *target, struct image *buf)
{
	int fd[2];

	scratch_pipe(fd);
	lseek(target->fd, 0, SEEK_SET);
	return moved(write(fd[1], buf, sizeof(*buf))) ?:
	       moved(splice(fd[0], NULL, target->fd, NULL, sizeof(*buf), 0));
}

static int route_sendfile(const struct target *target, struct image *buf)
{
	int to = scratch_file();

	lseek(target->fd, 0, SEEK_SET);
	return moved(sendfile(to, target->fd, NULL, sizeof(*buf))) ?:
	       moved(pread(to, buf, sizeof(*buf), 0));
}

static int route_copy_file_range(const struct target *target, struct image *buf)
{
	int to = scratch_file();
	off_t from = 0;

	return moved(copy_file_range(target->fd, &from, to, NULL, sizeof(*buf), 0)) ?:
	       moved(pread(to, buf, sizeof(*buf), 0));
}

static int route_reopen(const struct target *target, struct image *buf)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", target->fd);
	fd = open(path, O_RDWR);
	return fd < 0 ? errno : moved(pread(fd, buf, sizeof(*buf), 0));
}

/* The mapping as a buffer of a system call */

static int route_write(const struct target *target, struct image *buf)
{
	int fd = scratch_file();

	return moved(pwrite(fd, target->mem, sizeof(*buf), 0)) ?:
	       moved(pread(fd, buf, sizeof(*buf), 0));
}

static int route_read(const struct target *target, struct image *buf)
{
	int fd = scratch_file();

	return moved(pwrite(fd, buf, sizeof(*buf), 0)) ?:
	       moved(pread(fd, target->mem, sizeof(*buf), 0));
}

static int route_pipe(const struct target *target, struct image *buf)
{
	int fd[2];

	scratch_pipe(fd);
	return moved(write(fd[1], target->mem, sizeof(*buf))) ?:
	       moved(read(fd[0], buf, sizeof(*buf)));
}

static int route_vmsplice(const struct target *target, struct image *buf)
{
	struct iovec iov = { target->mem, sizeof(*buf) };
	int fd[2];

	scratch_pipe(fd);
	return moved(vmsplice(fd[1], &iov, 1, 0)) ?: moved(read(fd[0], buf, sizeof(*buf)));
}

static int route_direct_write(const struct target *target, struct image *buf)
{
	int fd = open(RAM_DISK, O_RDWR | O_DIRECT);

	return fd < 0 ? NO_SUCH_ROUTE :
	       moved(pwrite(fd, target->mem, page_size, 0)) ?:
	       moved(pread(fd, buf, page_size, 0));
}

static int route_direct_read(const struct target *target, struct image *buf)
{
	int fd = open(RAM_DISK, O_RDWR | O_DIRECT);

	return fd < 0 ? NO_SUCH_ROUTE :
	       moved(pwrite(fd, buf, page_size, 0)) ?:
	       moved(pread(fd, target->mem, page_size, 0));
}

/* io_uring has hold of the pages of a fixed buffer for as long as it is registered. */
static int fixed_buffer(int opcode, int fd, struct image *mem)
{
	struct io_uring_params p = { .flags = IORING_SETUP_NO_SQARRAY };
	struct iovec iov = { .iov_base = mem, .iov_len = page_size };
	int ring = syscall(__NR_io_uring_setup, 1, &p);
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	char *rings;

	if (ring < 0)
		return NO_SUCH_ROUTE;
	if (syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1))
		return errno;

	rings = __kvm_mmap(page_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
			   IORING_OFF_SQ_RING);
	sqe = __kvm_mmap(page_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	*sqe = (struct io_uring_sqe) {
		.opcode = opcode,
		.fd = fd,
		.addr = (u64)mem,
		.len = sizeof(*mem),
	};
	__atomic_store_n((u32 *)(rings + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return errno;
	cqe = (void *)(rings + p.cq_off.cqes);
	return cqe->res < 0 ? -cqe->res : moved(cqe->res);
}

static int route_uring_write(const struct target *target, struct image *buf)
{
	int fd = scratch_file();

	return fixed_buffer(IORING_OP_WRITE_FIXED, fd, target->mem) ?:
	       moved(pread(fd, buf, sizeof(*buf), 0));
}

static int route_uring_read(const struct target *target, struct image *buf)
{
	int fd = scratch_file();

	return moved(pwrite(fd, buf, sizeof(*buf), 0)) ?:
	       fixed_buffer(IORING_OP_READ_FIXED, fd, target->mem);
}

/* The kernel looks for the page behind a futex that processes share, and writes to it. */
static int route_futex(const struct target *target, struct image *buf)
{
	u32 *word = (u32 *)target->mem, local = 0;
	int op = FUTEX_OP(FUTEX_OP_SET, -1, FUTEX_OP_CMP_EQ, 0), i;

	for (i = 0; i < sizeof(*buf) / sizeof(*word); i++) {
		if (syscall(__NR_futex, &local, FUTEX_WAKE_OP, 1, 1, word + i, op) < 0)
			return errno;
	}
	return 0;
}

static int route_futex_wait(const struct target *target, struct image *buf)
{
	const struct timespec none = {};
	u32 *word = (u32 *)target->mem, magic;

	memcpy(&magic, ELFMAG, sizeof(magic));
	if (!syscall(__NR_futex, word, FUTEX_WAIT, magic, &none, NULL, 0) || errno != ETIMEDOUT)
		return errno;
	/* It was right about the first word: that is all it tells. */
	return touch(buf, target->mem);
}

/* Other processes */

static pid_t fork_victim(void)
{
	pid_t pid = fork();

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

static int process_vm(const struct target *target, struct image *buf, bool write)
{
	struct iovec here = { buf, sizeof(*buf) }, there = { target->mem, sizeof(*buf) };
	pid_t pid = fork_victim();
	int ret;

	if (write)
		ret = moved(process_vm_writev(pid, &here, 1, &there, 1, 0));
	else
		ret = moved(process_vm_readv(pid, &here, 1, &there, 1, 0));
	end_victim(pid);
	return ret;
}

static int route_process_vm_readv(const struct target *target, struct image *buf)
{
	return process_vm(target, buf, false);
}

static int route_process_vm_writev(const struct target *target, struct image *buf)
{
	return process_vm(target, buf, true);
}

static int ptrace_words(const struct target *target, struct image *buf, bool poke)
{
	long *here = (long *)buf, *there = (long *)target->mem;
	pid_t pid = fork_victim();
	int i, ret = 0;

	TEST_ASSERT(!ptrace(PTRACE_ATTACH, pid, NULL, NULL), "ptrace(): %s", strerror(errno));
	TEST_ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	for (i = 0; i < sizeof(*buf) / sizeof(long) && !ret; i++) {
		errno = 0;
		if (poke)
			ptrace(PTRACE_POKEDATA, pid, there + i, here[i]);
		else
			here[i] = ptrace(PTRACE_PEEKDATA, pid, there + i, NULL);
		ret = errno;
	}
	end_victim(pid);
	return ret;
}

static int route_ptrace_peek(const struct target *target, struct image *buf)
{
	return ptrace_words(target, buf, false);
}

static int route_ptrace_poke(const struct target *target, struct image *buf)
{
	return ptrace_words(target, buf, true);
}

static int proc_mem(pid_t pid, const struct target *target, struct image *buf, bool write)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	TEST_ASSERT(fd >= 0, "%s: %s", path, strerror(errno));
	return moved(write ? pwrite(fd, buf, sizeof(*buf), (off_t)target->mem) :
			     pread(fd, buf, sizeof(*buf), (off_t)target->mem));
}

static int route_proc_self_mem(const struct target *target, struct image *buf)
{
	return proc_mem(getpid(), target, buf, false);
}

static int route_proc_pid_mem(const struct target *target, struct image *buf)
{
	pid_t pid = fork_victim();
	int ret = proc_mem(pid, target, buf, false);

	end_victim(pid);
	return ret;
}

static int route_proc_pid_mem_write(const struct target *target, struct image *buf)
{
	pid_t pid = fork_victim();
	int ret = proc_mem(pid, target, buf, true);

	end_victim(pid);
	return ret;
}

/* The kernel's own views */

/* Where the page is, the kernel's direct map of it would be found: or there are zeros. */
static int route_kcore(const struct target *target, struct image *buf)
{
	if (!memfile_read_kcore(target->phys, buf, sizeof(*buf)))
		return NO_SUCH_ROUTE;
	return buf->ehdr.e_ident[0] ? 0 : ENODATA;
}

static void dump_core(const char *dir)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int fd = open("/proc/self/coredump_filter", O_WRONLY);

	/* Also what is shared, and files */
	if (setrlimit(RLIMIT_CORE, &unlimited) || write(fd, "0x1ff", 5) != 5 || chdir(dir))
		_exit(1);
	signal(SIGABRT, SIG_DFL);
	abort();
}

static int find_in_core(const char *path, u32 seed)
{
	int fd = open(path, O_RDONLY), ret = ENODATA;
	size_t size = lseek(fd, 0, SEEK_END), at;
	u8 *core = kvm_mmap(size, PROT_READ, MAP_SHARED, fd);

	for (at = 0; at + ID_SIZE <= size && ret; at++) {
		if (core[at] == id_byte(seed, 0) && id_is_at(core + at, seed))
			ret = 0;
	}
	kvm_munmap(core, size);
	kvm_close(fd);
	return ret;
}

static int route_core_dump(const struct target *target, struct image *buf)
{
	char dir[] = "/tmp/memfile_routes_test.XXXXXX", path[512];
	int ret = NO_SUCH_ROUTE;
	struct dirent *entry;
	pid_t pid;
	DIR *in;

	TEST_ASSERT(mkdtemp(dir), "mkdtemp(): %s", strerror(errno));
	pid = fork();
	if (!pid)
		dump_core(dir);
	waitpid(pid, NULL, 0);

	in = opendir(dir);
	while ((entry = readdir(in))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		ret = find_in_core(path, target->seed);
		unlink(path);
	}
	closedir(in);
	rmdir(dir);
	if (!ret)
		write_image(buf, target->seed);
	return ret;
}

/* A build ID is parsed in the page cache when the file is mapped. */
static int route_perf_build_id(const struct target *target, struct image *buf)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.mmap_data = 1,
		.mmap2 = 1,
		.build_id = 1,
	};
	int fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, 0);
	/* PERF_RECORD_MMAP2, see <linux/perf_event.h> */
	struct {
		struct perf_event_header header;
		u32 pid, tid;
		u64 addr, len, pgoff;
		u8 id_size, reserved[3], id[ID_SIZE];
	} *event;
	struct perf_event_mmap_page *ring;
	char *data;
	void *mem;
	u64 at;

	if (fd < 0)
		return NO_SUCH_ROUTE;
	ring = kvm_mmap(2 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	mem = kvm_mmap(page_size, PROT_READ, MAP_SHARED, target->fd);
	data = (char *)ring + ring->data_offset;
	for (at = 0; at < ring->data_head; at += event->header.size) {
		event = (void *)(data + at);
		if (event->header.type != PERF_RECORD_MMAP2 || event->addr != (u64)mem)
			continue;
		if (event->header.misc & PERF_RECORD_MISC_MMAP_BUILD_ID) {
			memcpy(buf->id, event->id, ID_SIZE);
			return 0;
		}
		break;
	}
	if (at >= ring->data_head)
		TEST_FAIL("No PERF_RECORD_MMAP2");
	return moved(0);
}

/* The same by a read of the file. */
static int route_maps_build_id(const struct target *target, struct image *buf)
{
	struct procmap_query query = {
		.size = sizeof(query),
		.query_addr = (u64)target->mem,
		.build_id_addr = (u64)buf->id,
		.build_id_size = ID_SIZE,
	};
	int fd = open("/proc/self/maps", O_RDONLY);

	TEST_ASSERT(fd >= 0, "/proc/self/maps: %s", strerror(errno));
	if (ioctl(fd, PROCMAP_QUERY, &query))
		return errno;
	return query.build_id_size ? 0 : ENODATA;
}

/* KVM itself: another VM that has the mapping for its memory */

static struct kvm_vm *second_vm(const struct target *target, struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, memfile_guest_code);

	virt_map(vm, MEMFILE_GPA, MEMFILE_GPA, page_size / vm->page_size);
	vm_set_user_memory_region(vm, SLOT, 0, MEMFILE_GPA, page_size, target->mem);
	return vm;
}

static int route_second_vm_read(const struct target *target, struct image *buf)
{
	struct kvm_vcpu *vcpu;
	u64 *to = (u64 *)buf;
	int i, ret = 0;

	second_vm(target, &vcpu);
	for (i = 0; i < sizeof(*buf) / sizeof(*to) && !ret; i++)
		ret = memfile_guest_try(vcpu, GUEST_READ, MEMFILE_GPA + i * sizeof(*to), 0,
					to + i);
	return ret;
}

static int route_second_vm_write(const struct target *target, struct image *buf)
{
	struct kvm_vcpu *vcpu;
	u64 none;

	second_vm(target, &vcpu);
	return memfile_guest_try(vcpu, GUEST_FILL, MEMFILE_GPA, *(u64 *)buf, &none);
}

FIXTURE(memfile_routes)
{
	struct target ordinary, target;
	struct image *buf;
	bool absent;
};

FIXTURE_VARIANT(memfile_routes)
{
	u64 flags;
	bool private;
};

FIXTURE_VARIANT_ADD(memfile_routes, private)
{
	.flags = GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP,
	.private = true,
};

FIXTURE_VARIANT_ADD(memfile_routes, private_in_no_direct_map)
{
	.flags = GUEST_MEMFD_FLAG_NO_DIRECT_MAP,
	.private = true,
};

FIXTURE_VARIANT_ADD(memfile_routes, no_direct_map)
{
	.flags = GUEST_MEMFD_FLAG_NO_DIRECT_MAP,
};

/* What is shared in a file whose private pages have no direct map is as ordinary. */
FIXTURE_VARIANT_ADD(memfile_routes, shared)
{
	.flags = GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP,
};

static struct target make_target(int fd, u32 seed)
{
	struct target target = {
		.mem = kvm_mmap(page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd),
		.fd = fd,
		.seed = seed,
	};

	write_image(target.mem, seed);
	target.phys = memfile_phys(target.mem);
	return target;
}

FIXTURE_SETUP(memfile_routes)
{
	struct kvm_vm *vm = ____vm_create(memfile_convert_shape());
	u64 flags = variant->flags & vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS);
	int fd;

	if (!flags && !variant->private)
		SKIP(return, "All memory is in the direct map here");

	self->buf = kvm_mmap(page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	self->ordinary = make_target(scratch_file(), getpid());
	fd = vm_create_guest_memfd(vm, page_size, GUEST_MEMFD_FLAG_MMAP |
				   GUEST_MEMFD_FLAG_INIT_SHARED | flags);
	self->target = make_target(fd, ~getpid());
	if (variant->private)
		memfile_convert(fd, 0, page_size, true);
	self->absent = variant->private ? flags : flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
}

FIXTURE_TEARDOWN(memfile_routes)
{
}

#define ROUTES_DATA	FIXTURE_DATA(memfile_routes)
#define ROUTES_VARIANT	FIXTURE_VARIANT(memfile_routes)

static void do_route(ROUTES_DATA *self, const struct route *route,
		     const struct target *target, int want)
{
	int ret;

	memset(self->buf, route->writes ? OVERWRITTEN : 0, page_size);
	ret = route->fn(target, self->buf);
	if (ret == NO_SUCH_ROUTE) {
		ksft_print_msg("no such route here\n");
		exit(KSFT_SKIP);
	}
	TEST_ASSERT(ret == want, "%s: wanted %d (%s), got %d (%s)",
		    target == &self->ordinary ? "Ordinary memory" : "Guest memory", want,
		    want < 0 ? strsignal(-want) : strerror(want), ret,
		    ret < 0 ? strsignal(-ret) : strerror(ret));
	if (!route->writes)
		TEST_ASSERT(id_is_at(self->buf->id, target->seed) == !want,
			    want ? "The secret is disclosed" : "Not what was written there");
	else if (!want)
		TEST_ASSERT(overwritten(target->mem), "Nothing was written");
}

static void test_route(ROUTES_DATA *self, const ROUTES_VARIANT *variant,
		       const struct route *route)
{
	const bool whole = self->absent && variant->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
	int want = route->direct_map;

	/* That no page of the file has a direct map is what is found first. */
	if (whole)
		want = route->no_direct_map;
	if (variant->private && !(whole && want))
		want = route->private;

	do_route(self, route, &self->ordinary, 0);
	do_route(self, route, &self->target, want);

	if (want) {
		if (variant->private)
			memfile_convert(self->target.fd, 0, page_size, false);
		TEST_ASSERT(id_is_at(self->target.mem->id, self->target.seed),
			    "The content has changed");
	}
}

#define TEST_ROUTE(name, ...)							\
static const struct route name##_route = { .fn = route_##name, __VA_ARGS__ };	\
TEST_F(memfile_routes, name)							\
{										\
	test_route(self, variant, &name##_route);				\
}

/* No file of this kind can be read or written. */
#define NEVER(err)	.private = (err), .no_direct_map = (err), .direct_map = (err)
/* The kernel gets at what the host has mapped, by that mapping. */
#define MAPPED(err)	.private = (err)
/* The kernel gets at no page that it has no direct map of. */
#define PRESENT(err)	.private = (err), .no_direct_map = (err)

TEST_ROUTE(load, MAPPED(-SIGBUS))
TEST_ROUTE(store, MAPPED(-SIGBUS), .writes = true)
TEST_ROUTE(mmap, MAPPED(-SIGBUS))
TEST_ROUTE(mremap, MAPPED(-SIGBUS))
TEST_ROUTE(fork, MAPPED(-SIGBUS))
TEST_ROUTE(populate_read, .private = EFAULT, .no_direct_map = EINVAL)
TEST_ROUTE(populate_write, .private = EFAULT, .no_direct_map = EINVAL)
TEST_ROUTE(madvise, MAPPED(-SIGBUS))

TEST_ROUTE(read_file, NEVER(EINVAL))
TEST_ROUTE(pread_file, NEVER(ESPIPE))
TEST_ROUTE(write_file, NEVER(EINVAL), .writes = true)
TEST_ROUTE(pwrite_file, NEVER(ESPIPE), .writes = true)
TEST_ROUTE(splice_file, NEVER(EINVAL))
TEST_ROUTE(splice_to_file, NEVER(EINVAL), .writes = true)
TEST_ROUTE(sendfile, NEVER(EINVAL))
TEST_ROUTE(copy_file_range, NEVER(EXDEV))
TEST_ROUTE(reopen, NEVER(ENXIO))

TEST_ROUTE(write, MAPPED(EFAULT))
TEST_ROUTE(read, MAPPED(EFAULT), .writes = true)
TEST_ROUTE(pipe, MAPPED(EFAULT))
TEST_ROUTE(vmsplice, PRESENT(EFAULT))
TEST_ROUTE(direct_write, PRESENT(EFAULT))
TEST_ROUTE(direct_read, PRESENT(EFAULT), .writes = true)
TEST_ROUTE(uring_write, PRESENT(EFAULT))
TEST_ROUTE(uring_read, PRESENT(EFAULT), .writes = true)
TEST_ROUTE(futex, PRESENT(EFAULT), .writes = true)
TEST_ROUTE(futex_wait, PRESENT(EFAULT))

TEST_ROUTE(process_vm_readv, PRESENT(EFAULT))
TEST_ROUTE(process_vm_writev, PRESENT(EFAULT), .writes = true)
TEST_ROUTE(ptrace_peek, PRESENT(EIO))
TEST_ROUTE(ptrace_poke, PRESENT(EIO), .writes = true)
TEST_ROUTE(proc_self_mem, PRESENT(EIO))
TEST_ROUTE(proc_pid_mem, PRESENT(EIO))
TEST_ROUTE(proc_pid_mem_write, PRESENT(EIO), .writes = true)

TEST_ROUTE(core_dump, PRESENT(ENODATA))
/* There are no files with a build ID among those of guests. */
TEST_ROUTE(perf_build_id, NEVER(ENODATA))
TEST_ROUTE(maps_build_id, NEVER(ENODATA))

TEST_ROUTE(second_vm_read, PRESENT(EFAULT))
TEST_ROUTE(second_vm_write, PRESENT(EFAULT), .writes = true)

TEST_F(memfile_routes, kcore)
{
	/* Private or not, this is about the direct map. */
	const int want = self->absent ? ENODATA : 0;
	const struct route route = {
		.fn = route_kcore, .private = want, .no_direct_map = want, .direct_map = want,
	};

	test_route(self, variant, &route);
}

int main(int argc, char *argv[])
{
	memfile_require_convert();
	page_size = getpagesize();

	return test_harness_run(argc, argv);
}
