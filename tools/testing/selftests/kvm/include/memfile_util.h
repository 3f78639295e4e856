/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of guest_memfd's memory files have in common: a guest that
 * does one page operation at a time for the host, and the figures that the
 * kernel shows for a file.
 */
#ifndef SELFTEST_KVM_MEMFILE_UTIL_H
#define SELFTEST_KVM_MEMFILE_UTIL_H

#include <elf.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/stddef.h>
#include <linux/io_uring.h>
#include <linux/sizes.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kvm_syscalls.h"
#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

/* Above what the library maps for itself, and above any MMIO hole. */
#define MEMFILE_GPA		SZ_4G

/* What the guest fills and checks: its own page, which the host's may exceed. */
#define MEMFILE_PAGE_WORDS	(MIN_PAGE_SIZE / sizeof(u64))

#define MEMFILE_PUNCH		(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define MEMFILE_ALLOCATE	FALLOC_FL_KEEP_SIZE

enum memfile_guest_op {
	GUEST_FILL,	/* store a value in all words of a page */
	GUEST_CHECK,	/* count the words that are not a value */
	GUEST_READ,	/* load the first word only */
};

struct memfile_guest_cmd {
	u64 op;
	u64 gva;
	u64 val;
};

static struct memfile_guest_cmd memfile_guest_cmd;

static inline void memfile_guest_code(void)
{
	for (;;) {
		u64 op = READ_ONCE(memfile_guest_cmd.op);
		u64 val = READ_ONCE(memfile_guest_cmd.val);
		u64 *p = (u64 *)READ_ONCE(memfile_guest_cmd.gva);
		u64 result = 0;
		int i;

		switch (op) {
		case GUEST_FILL:
			for (i = 0; i < MEMFILE_PAGE_WORDS; i++)
				WRITE_ONCE(p[i], val);
			break;
		case GUEST_CHECK:
			for (i = 0; i < MEMFILE_PAGE_WORDS; i++)
				result += READ_ONCE(p[i]) != val;
			break;
		case GUEST_READ:
			result = READ_ONCE(p[0]);
			break;
		}
		GUEST_SYNC1(result);
	}
}

/* Let the guest do @op at @gpa, which is mapped 1:1; return KVM_RUN's errno. */
static inline int memfile_guest_try(struct kvm_vcpu *vcpu,
				    enum memfile_guest_op op, gpa_t gpa,
				    u64 val, u64 *result)
{
	struct memfile_guest_cmd cmd = { .op = op, .gva = gpa, .val = val };
	struct ucall uc;

	write_guest_global(vcpu->vm, memfile_guest_cmd, cmd);

	if (_vcpu_run(vcpu))
		return errno;

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		*result = uc.args[0];
		return 0;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		TEST_FAIL("Operation %u at 0x%lx: unexpected exit %u (%s)", op,
			  gpa, vcpu->run->exit_reason,
			  exit_reason_str(vcpu->run->exit_reason));
	}
	return 0;
}

static inline u64 memfile_guest_do(struct kvm_vcpu *vcpu,
				   enum memfile_guest_op op, gpa_t gpa, u64 val)
{
	u64 result = 0;
	int err;

	err = memfile_guest_try(vcpu, op, gpa, val, &result);
	TEST_ASSERT(!err, "Operation %u at 0x%lx: KVM_RUN failed, errno %d (%s)",
		    op, gpa, err, strerror(err));
	return result;
}

static inline void memfile_guest_fill(struct kvm_vcpu *vcpu, gpa_t gpa, u64 val)
{
	memfile_guest_do(vcpu, GUEST_FILL, gpa, val);
}

static inline void memfile_guest_check(struct kvm_vcpu *vcpu, gpa_t gpa, u64 val)
{
	u64 wrong = memfile_guest_do(vcpu, GUEST_CHECK, gpa, val);

	TEST_ASSERT(!wrong, "Guest page 0x%lx: %lu words are not 0x%lx, the first is 0x%lx",
		    gpa, wrong, val, memfile_guest_do(vcpu, GUEST_READ, gpa, 0));
}

/* Make the guest forget an access that cannot be completed. */
static inline void memfile_guest_restart(struct kvm_vcpu *vcpu)
{
#ifdef __x86_64__
	struct kvm_regs regs;

	/* A function expects the stack as a call leaves it. */
	vcpu_regs_get(vcpu, &regs);
	regs.rsp = (regs.rsp & ~0xfULL) - 8;
	vcpu_regs_set(vcpu, &regs);
#endif
	vcpu_arch_set_entry_point(vcpu, memfile_guest_code);
}

/* The access must end KVM_RUN with @err and a complete KVM_EXIT_MEMORY_FAULT. */
static inline void memfile_guest_faults(struct kvm_vcpu *vcpu,
					enum memfile_guest_op op, gpa_t gpa,
					u64 flags, int err)
{
	struct kvm_run *run = vcpu->run;
	u64 result;
	int r;

	/* What an earlier exit left there must not pass for this one's. */
	memset(&run->memory_fault, 0xff, sizeof(run->memory_fault));

	r = memfile_guest_try(vcpu, op, gpa, 0, &result);
	TEST_ASSERT(r == err, "Operation %u at 0x%lx: wanted errno %d from KVM_RUN, got %d (%s)",
		    op, gpa, err, r, strerror(r));
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MEMORY_FAULT);
	TEST_ASSERT_EQ(run->memory_fault.gpa, gpa);
	TEST_ASSERT_EQ(run->memory_fault.size, (u64)getpagesize());
	TEST_ASSERT_EQ(run->memory_fault.flags, flags);

	memfile_guest_restart(vcpu);
}

/* There is no memslot at @gpa, so the access is the VMM's to emulate. */
static inline void memfile_guest_exits_mmio(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	struct memfile_guest_cmd cmd = { .op = GUEST_READ, .gva = gpa };
	const u64 answer = 0x6d6d696f6d6d696f;
	struct kvm_run *run = vcpu->run;
	struct ucall uc;

	write_guest_global(vcpu->vm, memfile_guest_cmd, cmd);
	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(run->mmio.phys_addr, gpa);
	TEST_ASSERT_EQ(run->mmio.len, 8u);
	TEST_ASSERT_EQ(run->mmio.is_write, 0);

	memcpy(run->mmio.data, &answer, sizeof(answer));
	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), (u64)UCALL_SYNC);
	TEST_ASSERT_EQ(uc.args[0], answer);
}

/* A line of the file's fdinfo, or -1 if this kernel does not show it. */
static inline long memfile_fdinfo(int fd, const char *key)
{
	size_t len = strlen(key);
	char path[64], line[256];
	long val = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	TEST_ASSERT(f, "Can't open '%s'", path);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, len) && line[len] == ':')
			val = strtol(line + len + 1, NULL, 10);
	}
	fclose(f);
	return val;
}

static inline long memfile_consumers(int fd)
{
	return memfile_fdinfo(fd, "memfile-consumers");
}

/* Bytes that the file holds, or -1 if this kernel does not say. */
static inline long memfile_present(int fd)
{
	long private = memfile_fdinfo(fd, "memfile-private");
	long shared = memfile_fdinfo(fd, "memfile-shared");

	return private < 0 || shared < 0 ? -1 : private + shared;
}

/* Memory that the file holds for pages to come counts, too. */
static inline long memfile_held(int fd)
{
	return memfile_present(fd) + memfile_fdinfo(fd, "memfile-reserved");
}

#define TEST_ASSERT_PRESENT(fd, bytes)						\
do {										\
	long __present = memfile_present(fd);					\
										\
	TEST_ASSERT(__present < 0 || __present == (long)(bytes),		\
		    "The file should hold 0x%lx bytes, it holds 0x%lx",		\
		    (long)(bytes), __present);					\
} while (0)

#define TEST_ASSERT_CONSUMERS(fd, nr)						\
do {										\
	long __consumers = memfile_consumers(fd);				\
										\
	TEST_ASSERT(__consumers < 0 || __consumers == (long)(nr),		\
		    "The file should have %ld consumers, it has %ld",		\
		    (long)(nr), __consumers);					\
} while (0)

/* The system call must fail, and with just this errno. */
#define TEST_ASSERT_ERRNO(call, err)						\
do {										\
	long __ret, __errno;							\
										\
	errno = 0;								\
	__ret = (long)(call);							\
	__errno = errno;							\
	TEST_ASSERT(__ret == -1 && __errno == (err),				\
		    "%s: wanted errno %d, got %ld, errno %ld (%s)", #call,	\
		    (err), __ret, __errno, strerror(__errno));			\
} while (0)

/* The kind of VM whose files can be converted. */
static inline struct vm_shape memfile_convert_shape(void)
{
	struct vm_shape shape = VM_SHAPE_DEFAULT;

#ifdef __x86_64__
	shape.type = KVM_X86_SW_PROTECTED_VM;
#endif
	return shape;
}

static inline void memfile_require_convert(void)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES));
#ifdef __x86_64__
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));
#endif
}

/* Convert, and return 0 or the errno, and where that came from. */
static inline int memfile_try_convert(int fd, u64 offset, u64 size, bool private,
				      u64 *error_offset)
{
	struct kvm_memory_attributes2 attrs = {
		.offset = offset,
		.size = size,
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
		.error_offset = -1,
	};
	int err = ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES2, &attrs) ? errno : 0;

	*error_offset = attrs.error_offset;
	return err;
}

static inline void memfile_convert(int fd, u64 offset, u64 size, bool private)
{
	u64 error_offset;
	int err = memfile_try_convert(fd, offset, size, private, &error_offset);

	TEST_ASSERT(!err, "0x%lx bytes at 0x%lx to %s: errno %d (%s) at 0x%lx", size,
		    offset, private ? "private" : "shared", err, strerror(err),
		    error_offset);
}

#define TEST_ASSERT_CONVERT_FAILS(fd, offset, size, private, err, where)	\
do {										\
	u64 __where;								\
	int __err = memfile_try_convert(fd, offset, size, private, &__where);	\
										\
	TEST_ASSERT(__err == (err) && __where == (u64)(where),			\
		    "wanted errno %d at 0x%lx, got %d (%s) at 0x%lx", (err),	\
		    (u64)(where), __err, strerror(__err), __where);		\
} while (0)

/* The state at @offset, and how far it reaches in a range. */
static inline u64 memfile_run(int fd, u64 offset, u64 size, bool *private)
{
	struct kvm_memory_attributes2 attrs = {
		.offset = offset,
		.size = size,
		.attributes = -1,
	};

	TEST_ASSERT(!ioctl(fd, KVM_GET_MEMORY_ATTRIBUTES2, &attrs),
		    "KVM_GET_MEMORY_ATTRIBUTES2: %s", strerror(errno));
	TEST_ASSERT_EQ(attrs.offset, offset);
	TEST_ASSERT(!(attrs.attributes & ~KVM_MEMORY_ATTRIBUTE_PRIVATE),
		    "Attributes 0x%llx", attrs.attributes);
	*private = attrs.attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE;
	return attrs.size;
}

#define TEST_ASSERT_RUN(fd, offset, size, want_private, want_size)		\
do {										\
	bool __private;								\
	u64 __size = memfile_run(fd, offset, size, &__private);			\
										\
	TEST_ASSERT(__private == (want_private) && __size == (u64)(want_size),	\
		    "From 0x%lx on: wanted 0x%lx bytes %s, got 0x%lx %s",	\
		    (u64)(offset), (u64)(want_size),				\
		    (want_private) ? "private" : "shared", __size,		\
		    __private ? "private" : "shared");				\
} while (0)

static inline u64 memfile_meminfo(const char *key)
{
	size_t len = strlen(key);
	char line[256];
	u64 val = 0;
	FILE *f;

	f = fopen("/proc/meminfo", "r");
	TEST_ASSERT(f, "Can't open /proc/meminfo");
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, len) && line[len] == ':')
			val = strtoull(line + len + 1, NULL, 10) * 1024;
	}
	fclose(f);
	return val;
}

/* Where in memory a page is that has been touched. */
static inline u64 memfile_phys(const void *mem)
{
	const size_t page_size = getpagesize();
	u64 entry;
	int fd;

	fd = open("/proc/self/pagemap", O_RDONLY);
	TEST_ASSERT(fd >= 0, "/proc/self/pagemap: %s", strerror(errno));
	TEST_ASSERT_EQ(pread(fd, &entry, sizeof(entry), (u64)mem / page_size * sizeof(entry)),
		       (ssize_t)sizeof(entry));
	kvm_close(fd);
	return (entry & GENMASK_ULL(54, 0)) * page_size;
}

/*
 * Read memory where the kernel has it mapped, as its page tables have it: zeros, where it
 * has not.  What was freed of the kernel's image is in the direct map only, but also in
 * the segment of the image.  Return false if there is no /proc/kcore.
 */
static inline bool memfile_read_kcore(u64 phys, void *buf, size_t len)
{
	bool found = false, zero = true;
	Elf64_Ehdr head;
	Elf64_Phdr seg;
	size_t byte;
	off_t at;
	int fd, i;

	fd = open("/proc/kcore", O_RDONLY);
	if (fd < 0)
		return false;
	test_read(fd, &head, sizeof(head));
	for (i = 0; i < head.e_phnum && zero; i++) {
		at = head.e_phoff + i * sizeof(seg);
		TEST_ASSERT_EQ(pread(fd, &seg, sizeof(seg), at), (ssize_t)sizeof(seg));
		if (seg.p_type != PT_LOAD || seg.p_paddr == -1UL || phys < seg.p_paddr ||
		    phys >= seg.p_paddr + seg.p_filesz)
			continue;
		at = seg.p_offset + phys - seg.p_paddr;
		TEST_ASSERT_EQ(pread(fd, buf, len, at), (ssize_t)len);
		found = true;
		for (byte = 0; byte < len && zero; byte++)
			zero = !((char *)buf)[byte];
	}
	TEST_ASSERT(found, "0x%lx is nowhere in /proc/kcore", phys);
	kvm_close(fd);
	return true;
}

#define MEMFILE_CGROUP		"/sys/fs/cgroup"

static inline void memfile_cgroup_write(const char *dir, const char *file, const char *what)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY);
	TEST_ASSERT(fd >= 0, "open('%s'): %s", path, strerror(errno));
	test_write(fd, what, strlen(what));
	kvm_close(fd);
}

/* The number that is all of @file, or that follows @key there. */
static inline u64 memfile_cgroup_read(const char *dir, const char *file, const char *key)
{
	char path[128], line[128];
	size_t len = strlen(key);
	u64 val = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "r");
	TEST_ASSERT(f, "open('%s'): %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, len) && (!len || line[len] == ' '))
			val = strtoull(line + len, NULL, 10);
	}
	fclose(f);
	return val;
}

/* Make a memory cgroup, and go there; return false if that cannot be done. */
static inline bool memfile_cgroup_enter(char dir[64])
{
	char path[128];

	snprintf(dir, 64, MEMFILE_CGROUP "/memfile_test.%d", getpid());
	if (mkdir(dir, 0755))
		return false;
	snprintf(path, sizeof(path), "%s/memory.current", dir);
	if (access(path, R_OK)) {
		rmdir(dir);
		return false;
	}
	memfile_cgroup_write(dir, "cgroup.procs", "0");
	return true;
}

/*
 * Leave the cgroup, or it could not be removed, and remove it once no more than @bytes
 * are charged to it.  Return what was charged in the end.
 */
static inline u64 memfile_cgroup_leave(const char *dir, u64 bytes)
{
	u64 now;
	int i;

	memfile_cgroup_write(MEMFILE_CGROUP, "cgroup.procs", "0");
	for (i = 0; i < 50; i++) {
		now = memfile_cgroup_read(dir, "memory.current", "");
		if (now <= bytes)
			break;
		usleep(100000);
	}
	rmdir(dir);
	return now;
}

/* Pin a buffer, as io_uring does; return the ring, or -1 if there is no io_uring. */
static inline int memfile_pin(void *buf, size_t size)
{
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct io_uring_params params = {};
	int ring = syscall(__NR_io_uring_setup, 1, &params);

	if (ring < 0)
		return -1;
	TEST_ASSERT(!syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1),
		    "IORING_REGISTER_BUFFERS: %s", strerror(errno));
	return ring;
}

/* The ring stays: its end is signalled to those who use it, now or later. */
static inline void memfile_unpin(int ring)
{
	TEST_ASSERT(!syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS,
			     NULL, 0), "IORING_UNREGISTER_BUFFERS: %s", strerror(errno));
}

/* Report how a test ends that runs in a process of its own, or does not. */
static inline void memfile_await(const char *name, pid_t pid, int deciseconds)
{
	int status = 0;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (!deciseconds--) {
			ksft_print_msg("%s: takes too long\n", name);
			kill(pid, SIGKILL);
			sleep(1);
			if (!waitpid(pid, &status, WNOHANG))
				ksft_print_msg("%s: stuck in the kernel\n", name);
			ksft_test_result_fail("%s\n", name);
			return;
		}
		usleep(100000);
	}

	if (WIFSIGNALED(status))
		ksft_print_msg("%s: killed by signal %d\n", name, WTERMSIG(status));
	if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		ksft_test_result_skip("%s\n", name);
	else
		ksft_test_result(WIFEXITED(status) && !WEXITSTATUS(status), "%s\n", name);
}

#endif /* SELFTEST_KVM_MEMFILE_UTIL_H */
