// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation that an operation on a memory file (guest_memfd) makes fails in
 * turn.  The operation then fails with ENOMEM and has changed nothing, or it got
 * along without; and it succeeds when it is tried again.
 *
 * Needs CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC and their files in debugfs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"

/* Half of the pages are at the end of a 2M block of the file, and half in the next. */
#define NR_PAGES	8
#define NR_BLOCKS	12
#define SLOT		10

/* More than any operation here allocates */
#define MAX_FAILURES	1000

#define MMAP		GUEST_MEMFD_FLAG_MMAP
#define INIT_SHARED	GUEST_MEMFD_FLAG_INIT_SHARED

static size_t page_size;
static size_t file_size;

/* Between which blocks: 1 is between the first and the second. */
static int border = 1;

static u64 offset_of(int page)
{
	return (u64)border * SZ_2M + (page - NR_PAGES / 2) * (s64)page_size;
}

static void write_file(const char *path, const char *value)
{
	int fd;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		ksft_exit_skip("No %s\n", path);
	TEST_ASSERT(write(fd, value, strlen(value)) == (ssize_t)strlen(value),
		    "%s: %s", path, strerror(errno));
	close(fd);
}

static void write_debugfs(const char *file, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s", file);
	write_file(path, value);
}

/* Let no allocation be exempt, and say nothing: a splat means something here. */
static void setup_fault_injection(void)
{
	write_debugfs("failslab/ignore-gfp-wait", "N");
	write_debugfs("failslab/verbose", "0");
	write_debugfs("fail_page_alloc/ignore-gfp-wait", "N");
	write_debugfs("fail_page_alloc/ignore-gfp-highmem", "N");
	write_debugfs("fail_page_alloc/min-order", "0");
	write_debugfs("fail_page_alloc/verbose", "0");
}

#define FAIL_NODES	"/sys/kernel/slab/radix_tree_node/failslab"

/*
 * The tree of a file's pages tries twice to get a node.  Let every try of this task fail,
 * and nothing else.
 */
static void fail_nodes(bool fail)
{
	const char *flag = fail ? "1" : "0";

	/* Or all would fail while the filters are not what they should be. */
	write_debugfs("failslab/probability", "0");
	write_debugfs("failslab/times", fail ? "-1" : "1");
	write_debugfs("failslab/task-filter", flag);
	write_debugfs("failslab/cache-filter", flag);
	write_file("/proc/self/make-it-fail", flag);
	write_file(FAIL_NODES, flag);
	write_debugfs("failslab/probability", fail ? "100" : "0");
}

static int nth_fd;

static void fail_nth(int nth)
{
	char buf[16];
	int len = snprintf(buf, sizeof(buf), "%d", nth);

	TEST_ASSERT(pwrite(nth_fd, buf, len, 0) == len, "fail-nth: %s", strerror(errno));
}

/* Whether it did: what is left over is an allocation that was not made. */
static bool failed_nth(void)
{
	char buf[16] = {};
	ssize_t len;

	/* The rest may meet this very read. */
	do {
		len = pread(nth_fd, buf, sizeof(buf) - 1, 0);
	} while (len < 0);
	fail_nth(0);
	return atoi(buf) == 0;
}

/* What a file and its slot are like, and what must not change by a failure. */
FIXTURE(memfile_fail_nth)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	char *mem;
	int fd;
	bool present;	/* all pages */
	char cgroup[64];
	u64 charged;
};

#define NTH_DATA FIXTURE_DATA(memfile_fail_nth)

FIXTURE_VARIANT(memfile_fail_nth)
{
	u64 flags;
};

FIXTURE_VARIANT_ADD(memfile_fail_nth, from_private)
{
	.flags = MMAP,
};

FIXTURE_VARIANT_ADD(memfile_fail_nth, from_shared)
{
	.flags = MMAP | INIT_SHARED,
};

FIXTURE_SETUP(memfile_fail_nth)
{
	char path[64];

	self->vm = vm_create_shape_with_one_vcpu(memfile_convert_shape(), &self->vcpu,
						 memfile_guest_code);
	virt_map(self->vm, MEMFILE_GPA + offset_of(0), MEMFILE_GPA + offset_of(0),
		 NR_PAGES * page_size / self->vm->page_size);
	if (memfile_cgroup_enter(self->cgroup))
		self->charged = memfile_cgroup_read(self->cgroup, "memory.current", "");
	self->fd = vm_create_guest_memfd(self->vm, file_size, variant->flags);
	self->mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);

	/* Each test is a process. */
	snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", getpid());
	nth_fd = open(path, O_RDWR);
	TEST_ASSERT(nth_fd >= 0, "%s: %s", path, strerror(errno));
}

/* A block that got lost on the way would still be charged. */
FIXTURE_TEARDOWN(memfile_fail_nth)
{
	u64 now;

	kvm_munmap(self->mem, file_size);
	kvm_close(self->fd);
	if (!self->charged)
		return;
	kvm_vm_free(self->vm);
	now = memfile_cgroup_leave(self->cgroup, self->charged + SZ_1M);
	TEST_ASSERT(now <= self->charged + SZ_1M, "%lu bytes are still charged",
		    now - self->charged);
}

struct file_state {
	long private, shared, consumers;
	bool is_private[NR_PAGES];
};

static struct file_state file_state(int fd)
{
	struct file_state state = {
		.private = memfile_fdinfo(fd, "memfile-private"),
		.shared = memfile_fdinfo(fd, "memfile-shared"),
		.consumers = memfile_fdinfo(fd, "memfile-consumers"),
	};
	int i;

	for (i = 0; i < NR_PAGES; i++)
		memfile_run(fd, offset_of(i), page_size, &state.is_private[i]);
	return state;
}

/* What the kernel has of a shared page is what the host has written there. */
static void check_direct_map(NTH_DATA *self, const struct file_state *state,
			     const char *name, int nth)
{
	u64 seen, *page;
	int i;

	for (i = 0; i < NR_PAGES && self->present; i++) {
		if (state->is_private[i])
			continue;
		page = (u64 *)(self->mem + offset_of(i));
		*page = 0x5ec0de00 + i;
		TEST_ASSERT(!memfile_read_kcore(memfile_phys(page), &seen, sizeof(seen)) ||
			    seen == *page, "%s, allocation %d: page %d is not in the direct map",
			    name, nth, i);
	}
}

/*
 * Do @op, which returns 0 or an errno, with one failure after another until it has
 * met them all; and undo it after each success but the last.
 */
static void each_failure(NTH_DATA *self, const char *name, int (*op)(NTH_DATA *self),
			 void (*undo)(NTH_DATA *self))
{
	int nth, err, nr_failed = 0, nr_survived = 0;
	bool failed;

	for (nth = 1; nth < MAX_FAILURES; nth++) {
		struct file_state before = file_state(self->fd), after;
		long more, held_before = memfile_held(self->fd);
		long absent, absent_before = memfile_fdinfo(self->fd, "memfile-no-direct-map");

		fail_nth(nth);
		err = op(self);
		failed = failed_nth();

		TEST_ASSERT(!err || failed, "%s, allocation %d: errno %d (%s), and nothing failed",
			    name, nth, err, strerror(err));
		after = file_state(self->fd);
		check_direct_map(self, &after, name, nth);
		if (!failed)
			break;
		if (!err) {
			nr_survived++;
			undo(self);
			continue;
		}

		TEST_ASSERT(err == ENOMEM, "%s, allocation %d: errno %d (%s)", name, nth,
			    err, strerror(err));
		TEST_ASSERT(!memcmp(&before, &after, sizeof(before)),
			    "%s, allocation %d: private 0x%lx 0x%lx, shared 0x%lx 0x%lx, consumers %ld %ld",
			    name, nth, before.private, after.private, before.shared,
			    after.shared, before.consumers, after.consumers);
		/* A block that was reserved may stay, as a whole. */
		more = memfile_held(self->fd) - held_before;
		TEST_ASSERT(!more || more == SZ_2M,
			    "%s, allocation %d: the file has %ld bytes more", name, nth, more);
		absent = memfile_fdinfo(self->fd, "memfile-no-direct-map") - absent_before;
		TEST_ASSERT(!absent || absent == more,
			    "%s, allocation %d: %ld bytes more are out of the direct map",
			    name, nth, absent);
		nr_failed++;
	}
	TEST_ASSERT(nth < MAX_FAILURES, "%s does not come to an end", name);
	ksft_print_msg("%s: %d failures, %d without effect\n", name, nr_failed, nr_survived);
}

static int errno_of(long ret)
{
	return ret < 0 ? errno : 0;
}

static int op_create(NTH_DATA *self)
{
	struct kvm_create_guest_memfd args = { .size = file_size, .flags = MMAP };
	int fd = __vm_ioctl(self->vm, KVM_CREATE_GUEST_MEMFD, &args), err = errno_of(fd);

	if (fd >= 0)
		close(fd);
	return err;
}

static void nothing(NTH_DATA *self)
{
}

static int set_slot(NTH_DATA *self, u32 flags, size_t size)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = SLOT,
		.flags = flags,
		.guest_phys_addr = MEMFILE_GPA,
		.memory_size = size,
		.guest_memfd = self->fd,
	};

	return errno_of(ioctl(self->vm->fd, KVM_SET_USER_MEMORY_REGION2, &region));
}

static int op_bind(NTH_DATA *self)
{
	return set_slot(self, KVM_MEM_GUEST_MEMFD, file_size);
}

static int op_unbind(NTH_DATA *self)
{
	return set_slot(self, 0, 0);
}

static void undo_bind(NTH_DATA *self)
{
	TEST_ASSERT_EQ(op_unbind(self), 0);
}

static void undo_unbind(NTH_DATA *self)
{
	TEST_ASSERT_EQ(op_bind(self), 0);
}

static int op_log(NTH_DATA *self)
{
	return set_slot(self, KVM_MEM_GUEST_MEMFD | KVM_MEM_LOG_DIRTY_PAGES, file_size);
}

/* One page, as what a longer range got before it failed stays. */
static int fallocate_page(NTH_DATA *self, int mode, int page)
{
	return errno_of(fallocate(self->fd, mode, offset_of(page), page_size));
}

static int op_allocate(NTH_DATA *self)
{
	return fallocate_page(self, MEMFILE_ALLOCATE, 1);
}

static int op_punch(NTH_DATA *self)
{
	return fallocate_page(self, MEMFILE_PUNCH, 1);
}

static void undo_allocate(NTH_DATA *self)
{
	TEST_ASSERT_EQ(op_punch(self), 0);
}

static void undo_punch(NTH_DATA *self)
{
	TEST_ASSERT_EQ(op_allocate(self), 0);
}

/*
 * Across blocks: what was done to the one has to be undone if it fails for the other.
 * Page 1 is among these.
 */
static int convert(NTH_DATA *self, bool private)
{
	u64 where;

	return memfile_try_convert(self->fd, offset_of(1), (NR_PAGES - 2) * page_size, private,
				   &where);
}

static int op_to_shared(NTH_DATA *self)
{
	return convert(self, false);
}

static int op_to_private(NTH_DATA *self)
{
	return convert(self, true);
}

static void undo_to_shared(NTH_DATA *self)
{
	TEST_ASSERT_EQ(op_to_private(self), 0);
}

static void undo_to_private(NTH_DATA *self)
{
	TEST_ASSERT_EQ(op_to_shared(self), 0);
}

/* KVM_RUN writes to page 1.  A guest that was refused tries again when it runs. */
static int op_guest_write(NTH_DATA *self)
{
	return errno_of(__vcpu_run(self->vcpu));
}

static void guest_prepare(NTH_DATA *self)
{
	struct memfile_guest_cmd cmd = {
		.op = GUEST_FILL, .gva = MEMFILE_GPA + offset_of(1), .val = 0x77,
	};

	write_guest_global(self->vm, memfile_guest_cmd, cmd);
}

static void undo_guest_write(NTH_DATA *self)
{
	struct ucall uc;

	TEST_ASSERT_EQ(get_ucall(self->vcpu, &uc), (u64)UCALL_SYNC);
	TEST_ASSERT_EQ(op_punch(self), 0);
	guest_prepare(self);
}

/* The host's own fault is tried again by the kernel, so it never fails for good. */
static int op_host_write(NTH_DATA *self)
{
	WRITE_ONCE(self->mem[offset_of(1)], 1);
	return 0;
}

TEST_F(memfile_fail_nth, create)
{
	each_failure(self, "create", op_create, nothing);
}

TEST_F(memfile_fail_nth, slots)
{
	each_failure(self, "bind", op_bind, undo_bind);
	if (variant->flags & INIT_SHARED)
		each_failure(self, "dirty log", op_log, undo_unbind);
	each_failure(self, "unbind", op_unbind, undo_unbind);
}

TEST_F(memfile_fail_nth, pages)
{
	TEST_ASSERT_EQ(op_bind(self), 0);
	each_failure(self, "allocate", op_allocate, undo_allocate);
	/* What has been punched does not come from the block again. */
	undo_allocate(self);
	each_failure(self, "allocate again", op_allocate, undo_allocate);
	/* The direct map of a block is split once, so this takes more than one. */
	for (border = 2; border < NR_BLOCKS; border++) {
		undo_punch(self);
		each_failure(self, "punch", op_punch, undo_punch);
	}
}

/* A page that does not get into the file goes back to the block that it is from. */
TEST_F(memfile_fail_nth, nodes)
{
	long reserved;
	int err;

	if (access(FAIL_NODES, W_OK))
		SKIP(return, "no " FAIL_NODES);

	kvm_fallocate(self->fd, MEMFILE_ALLOCATE, 0, page_size);
	reserved = memfile_fdinfo(self->fd, "memfile-reserved");
	if (reserved != (long)(SZ_2M - page_size))
		SKIP(return, "no 2M of memory in one piece");

	fail_nodes(true);
	err = op_allocate(self);
	fail_nodes(false);
	TEST_ASSERT_EQ(err, ENOMEM);
	TEST_ASSERT_PRESENT(self->fd, page_size);
	TEST_ASSERT_EQ(memfile_fdinfo(self->fd, "memfile-reserved"), reserved);

	TEST_ASSERT_EQ(op_allocate(self), 0);
	TEST_ASSERT_PRESENT(self->fd, 2 * page_size);
	TEST_ASSERT_EQ(memfile_fdinfo(self->fd, "memfile-reserved"), reserved - (long)page_size);
}

TEST_F(memfile_fail_nth, guest)
{
	TEST_ASSERT_EQ(op_bind(self), 0);
	/* What a vCPU needs to run at all is not at issue. */
	memfile_guest_fill(self->vcpu, MEMFILE_GPA + offset_of(1), 0x66);
	undo_guest_write(self);
	each_failure(self, "guest write", op_guest_write, undo_guest_write);
	memfile_guest_check(self->vcpu, MEMFILE_GPA + offset_of(1), 0x77);
}

TEST_F(memfile_fail_nth, host)
{
	TEST_ASSERT_EQ(op_to_shared(self), 0);
	each_failure(self, "host write", op_host_write, undo_allocate);
}

static void each_conversion(NTH_DATA *self, bool private)
{
	if (private)
		each_failure(self, "to private", op_to_private, undo_to_private);
	else
		each_failure(self, "to shared", op_to_shared, undo_to_shared);
}

/*
 * Of holes, and then of pages.  Only for the first time, and not always then, the direct
 * map of a block has to be split.
 */
TEST_F(memfile_fail_nth, conversions)
{
	const bool private = variant->flags & INIT_SHARED;

	TEST_ASSERT_EQ(op_bind(self), 0);
	each_conversion(self, private);
	each_conversion(self, !private);

	kvm_fallocate(self->fd, MEMFILE_ALLOCATE, 0, file_size);
	self->present = true;
	for (border = 1; border < NR_BLOCKS; border += 2) {
		each_conversion(self, private);
		each_conversion(self, !private);
	}
}

int main(int argc, char *argv[])
{
	memfile_require_convert();
	setup_fault_injection();

	page_size = getpagesize();
	file_size = NR_BLOCKS * SZ_2M;

	return test_harness_run(argc, argv);
}
