// SPDX-License-Identifier: GPL-2.0
/*
 * Conversion of a memory file (guest_memfd) between shared and private, in
 * place: what the file says of itself, what guest and host find in the pages
 * before and after, what stands in the way, and what is refused.
 *
 * Most of it runs on a file that starts private and on one that starts shared,
 * for these differ in what the kernel has to remember.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/align.h>
#include <linux/stddef.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"

#define NR_PAGES	16
#define SLOT		10

/* Guest page frames that are mapped 1:1 from MEMFILE_GPA on. */
#define NR_GPA_PAGES	64

/* A chunk is converted as a whole or not at all. */
#define CHUNK		512

#define MMAP		GUEST_MEMFD_FLAG_MMAP
#define INIT_SHARED	GUEST_MEMFD_FLAG_INIT_SHARED

#define TO_PRIVATE	true
#define TO_SHARED	false

static size_t page_size;
static size_t file_size;

static u64 pattern(int page)
{
	return 0x5ec0de0000000001ULL + page * 0x100;
}

static gpa_t gpa(int page)
{
	return MEMFILE_GPA + page * page_size;
}

static u64 *host_page(char *mem, int page)
{
	return (u64 *)(mem + page * page_size);
}

/* A file, and what is to be in it. */
FIXTURE(memfile_convert)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	char *mem;
	int fd;
	struct {
		int gpa;
		bool private;
		bool present;
		u64 val;
	} pages[NR_PAGES];
};

#define FILE_DATA FIXTURE_DATA(memfile_convert)

FIXTURE_VARIANT(memfile_convert)
{
	u64 flags;
};

FIXTURE_VARIANT_ADD(memfile_convert, from_private)
{
	.flags = MMAP,
};

FIXTURE_VARIANT_ADD(memfile_convert, from_shared)
{
	.flags = MMAP | INIT_SHARED,
};

static struct kvm_vm *create_vm(struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm;

	vm = vm_create_shape_with_one_vcpu(memfile_convert_shape(), vcpu,
					   memfile_guest_code);
	virt_map(vm, gpa(0), gpa(0), NR_GPA_PAGES * page_size / vm->page_size);
	return vm;
}

FIXTURE_SETUP(memfile_convert)
{
	int i;

	self->vm = create_vm(&self->vcpu);
	self->fd = vm_create_guest_memfd(self->vm, file_size, variant->flags);
	self->mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	for (i = 0; i < NR_PAGES; i++) {
		self->pages[i].gpa = i;
		self->pages[i].private = !(variant->flags & INIT_SHARED);
	}
}

/* Every test is a process, whose end is one more release that must work. */
FIXTURE_TEARDOWN(memfile_convert)
{
}

static void bind_slot(struct kvm_vm *vm, u32 slot, int gpa_page, int nr, int fd,
		      int file_page)
{
	vm_set_user_memory_region2(vm, slot, KVM_MEM_GUEST_MEMFD, gpa(gpa_page),
				   nr * page_size, NULL, fd, file_page * page_size);
}

static void delete_slot(struct kvm_vm *vm, u32 slot)
{
	vm_set_user_memory_region2(vm, slot, 0, 0, 0, NULL, -1, 0);
}

static void check_attributes(FILE_DATA *self)
{
	static unsigned int rounds;
	int start, end, next;

	for (start = 0; start < NR_PAGES; start++) {
		next = start + 1;
		while (next < NR_PAGES && self->pages[next].private == self->pages[start].private)
			next++;
		/* To the end of the file, and to one of the offsets before that */
		end = start + 1 + rounds++ % (NR_PAGES - start);
		TEST_ASSERT_RUN(self->fd, start * page_size, file_size - start * page_size,
				self->pages[start].private, (next - start) * page_size);
		TEST_ASSERT_RUN(self->fd, start * page_size, (end - start) * page_size,
				self->pages[start].private, (min(end, next) - start) * page_size);
	}
}

static void check_fdinfo(FILE_DATA *self)
{
	long private = 0, shared = 0;
	int i;

	for (i = 0; i < NR_PAGES; i++) {
		private += self->pages[i].present && self->pages[i].private;
		shared += self->pages[i].present && !self->pages[i].private;
	}
	TEST_ASSERT_EQ(memfile_fdinfo(self->fd, "memfile-private"), private * (long)page_size);
	TEST_ASSERT_EQ(memfile_fdinfo(self->fd, "memfile-shared"), shared * (long)page_size);
	TEST_ASSERT(memfile_fdinfo(self->fd, "memfile-longest-hold") <= CHUNK,
		    "The file was locked for %ld pages",
		    memfile_fdinfo(self->fd, "memfile-longest-hold"));
}

static void check_file(FILE_DATA *self)
{
	check_attributes(self);
	check_fdinfo(self);
}

static void convert(FILE_DATA *self, int page, int nr, bool private)
{
	int i;

	memfile_convert(self->fd, page * page_size, nr * page_size, private);
	for (i = page; i < page + nr; i++)
		self->pages[i].private = private;
	check_file(self);
}

static void convert_fails(FILE_DATA *self, int page, int nr, bool private, int err,
			  int where)
{
	TEST_ASSERT_CONVERT_FAILS(self->fd, page * page_size, nr * page_size, private,
				  err, where * page_size);
	check_file(self);
}

static void punch(FILE_DATA *self, int page, int nr)
{
	int i;

	kvm_fallocate(self->fd, MEMFILE_PUNCH, page * page_size, nr * page_size);
	for (i = page; i < page + nr; i++) {
		self->pages[i].present = false;
		self->pages[i].val = 0;
	}
	check_file(self);
}

static void guest_fill(FILE_DATA *self, int page, u64 val)
{
	memfile_guest_fill(self->vcpu, gpa(self->pages[page].gpa), val);
	self->pages[page].present = true;
	self->pages[page].val = val;
}

static void guest_check(FILE_DATA *self, int page)
{
	memfile_guest_check(self->vcpu, gpa(self->pages[page].gpa), self->pages[page].val);
	self->pages[page].present = true;
}

static void fill_words(u64 *p, u64 val)
{
	int i;

	for (i = 0; i < MEMFILE_PAGE_WORDS; i++)
		WRITE_ONCE(p[i], val);
}

static void check_words(u64 *p, u64 val)
{
	int i;

	for (i = 0; i < MEMFILE_PAGE_WORDS; i++)
		TEST_ASSERT(READ_ONCE(p[i]) == val, "Word %d: wanted 0x%lx, got 0x%lx", i,
			    val, p[i]);
}

static void host_fill(FILE_DATA *self, int page, u64 val)
{
	fill_words(host_page(self->mem, page), val);
	self->pages[page].present = true;
	self->pages[page].val = val;
}

/* Neither the CPU nor the kernel gets at a private page for the host. */
static void host_refused(char *mem, int page)
{
	u64 *p = host_page(mem, page), word = 0;
	struct iovec local = { .iov_base = &word, .iov_len = sizeof(word) };
	struct iovec remote = { .iov_base = p, .iov_len = sizeof(word) };
	static unsigned int next;
	int pipes[2];

	TEST_EXPECT_SIGBUS(READ_ONCE(*p));
	TEST_EXPECT_SIGBUS(WRITE_ONCE(*p, 0));

	/* One of these at a time, for all of them take theirs. */
	switch (next++ % 5) {
	case 0:
		TEST_ASSERT_ERRNO(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
		break;
	case 1:
		TEST_ASSERT_ERRNO(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), EFAULT);
		break;
	case 2:
		TEST_ASSERT_ERRNO(madvise(p, page_size, MADV_POPULATE_READ), EFAULT);
		break;
	case 3:
		TEST_ASSERT_ERRNO(madvise(p, page_size, MADV_POPULATE_WRITE), EFAULT);
		break;
	case 4:
		TEST_ASSERT(!pipe(pipes), "pipe() failed");
		TEST_ASSERT_ERRNO(write(pipes[1], p, sizeof(*p)), EFAULT);
		TEST_ASSERT_ERRNO(vmsplice(pipes[1], &remote, 1, 0), EFAULT);
		test_write(pipes[1], &word, sizeof(word));
		TEST_ASSERT_ERRNO(read(pipes[0], p, sizeof(*p)), EFAULT);
		kvm_close(pipes[0]);
		kvm_close(pipes[1]);
		break;
	}
}

/* What the host gets of a page; in another mapping or process, if need be. */
static void host_check_at(FILE_DATA *self, char *mem, int page)
{
	if (self->pages[page].private) {
		host_refused(mem, page);
	} else {
		check_words(host_page(mem, page), self->pages[page].val);
		self->pages[page].present = true;
	}
}

static void host_check(FILE_DATA *self, int page)
{
	host_check_at(self, self->mem, page);
}

static void check_all(FILE_DATA *self)
{
	int i;

	for (i = 0; i < NR_PAGES; i++) {
		if (i % 2)
			host_check(self, i);
		guest_check(self, i);
		if (i % 2 == 0)
			host_check(self, i);
	}
	check_file(self);
}

/* Private or shared, the guest writes. */
static void fill_all(FILE_DATA *self, int seed)
{
	int i;

	for (i = 0; i < NR_PAGES; i++)
		guest_fill(self, i, pattern(seed * NR_PAGES + i));
}

TEST_F(memfile_convert, page_range_file)
{
	bool other = variant->flags & INIT_SHARED ? TO_PRIVATE : TO_SHARED;
	int i;

	check_file(self);
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	fill_all(self, 1);
	check_all(self);

	/* From the default and back to it: pages at both ends and in between */
	for (i = 0; i < NR_PAGES; i += 5) {
		convert(self, i, 1, other);
		check_all(self);
	}
	for (i = 0; i < NR_PAGES; i += 5)
		convert(self, i, 1, !other);
	check_all(self);

	convert(self, 3, 6, other);
	check_all(self);
	convert(self, 5, 2, !other);
	check_all(self);
	convert(self, 4, 8, other);
	check_all(self);
	convert(self, 0, NR_PAGES, other);
	fill_all(self, 2);
	check_all(self);
	convert(self, 0, NR_PAGES, !other);
	check_all(self);
}

/* Whatever the order, the answer is by state and not by how it came about. */
TEST_F(memfile_convert, runs)
{
	struct kvm_random_state rng = new_kvm_random_state(0x5eed);
	bool other = variant->flags & INIT_SHARED ? TO_PRIVATE : TO_SHARED;
	int i;

	/* To the left, to the right, and one that joins two */
	convert(self, 4, 2, other);
	convert(self, 2, 2, other);
	convert(self, 6, 2, other);
	convert(self, 10, 2, other);
	convert(self, 8, 2, other);
	TEST_ASSERT_RUN(self->fd, 2 * page_size, 14 * page_size, other, 10 * page_size);

	for (i = 0; i < 100; i++) {
		int page = kvm_random_u32(&rng) % NR_PAGES;
		int nr = 1 + kvm_random_u32(&rng) % (NR_PAGES - page);

		convert(self, page, nr, kvm_random_bool(&rng));
	}
	TEST_ASSERT_PRESENT(self->fd, 0);
}

/* What is there already is no conversion, and disturbs nobody. */
TEST_F(memfile_convert, to_the_same)
{
	int ring, i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	fill_all(self, 1);
	for (i = 0; i < 2; i++) {
		convert(self, 0, NR_PAGES, TO_PRIVATE);
		convert(self, 0, NR_PAGES, TO_PRIVATE);
		convert(self, 3, 1, TO_PRIVATE);
		check_all(self);
		convert(self, 0, NR_PAGES, TO_SHARED);
		convert(self, 0, NR_PAGES, TO_SHARED);
		convert(self, NR_PAGES - 1, 1, TO_SHARED);
		check_all(self);
	}

	ring = memfile_pin(self->mem, file_size);
	if (ring < 0)
		SKIP(return, "no io_uring");
	convert(self, 0, NR_PAGES, TO_SHARED);
	memfile_unpin(ring);
	kvm_close(ring);
	check_all(self);
}

/* A hole has a state, which needs no page, and counts when one comes. */
TEST_F(memfile_convert, holes)
{
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	for (i = 0; i < 3; i++) {
		convert(self, 0, NR_PAGES, TO_SHARED);
		convert(self, 4, 8, TO_PRIVATE);
		convert(self, 6, 4, TO_SHARED);
		TEST_ASSERT_PRESENT(self->fd, 0);
		check_all(self);
		fill_all(self, i);

		/* Some of the pages go, all of the states stay. */
		punch(self, 3, 6);
		check_all(self);
		punch(self, 0, NR_PAGES);
		check_all(self);
		punch(self, 0, NR_PAGES);
		convert(self, 0, NR_PAGES, TO_PRIVATE);
		TEST_ASSERT_PRESENT(self->fd, 0);
	}

	/* A private page that goes takes its content with it. */
	fill_all(self, 9);
	punch(self, 2, 1);
	convert(self, 0, NR_PAGES, TO_SHARED);
	check_all(self);
}

static void huge_file(struct kvm_vm *vm, struct kvm_vcpu *vcpu, u64 flags, u64 size)
{
	const u64 pages[] = { 0, ALIGN_DOWN(size / 2, page_size), size - page_size };
	bool private = !(flags & INIT_SHARED);
	int fd = vm_create_guest_memfd(vm, size, flags);
	struct timespec start;
	int i, round;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		vm_set_user_memory_region2(vm, SLOT + i, KVM_MEM_GUEST_MEMFD, gpa(i),
					   page_size, NULL, fd, pages[i]);
		memfile_guest_fill(vcpu, gpa(i), pattern(i));
	}
	TEST_ASSERT_RUN(fd, 0, size, private, size);

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (round = 0; round < 2; round++) {
		private = !private;
		memfile_convert(fd, 0, size, private);
		TEST_ASSERT_RUN(fd, 0, size, private, size);
		TEST_ASSERT_EQ(memfile_fdinfo(fd, "memfile-private"),
			       private ? 3 * (long)page_size : 0);
		TEST_ASSERT_PRESENT(fd, 3 * page_size);
		for (i = 0; i < ARRAY_SIZE(pages); i++)
			memfile_guest_check(vcpu, gpa(i), pattern(i));
	}

	private = !private;
	memfile_convert(fd, size - page_size, page_size, private);
	TEST_ASSERT_RUN(fd, 0, size, !private, size - page_size);
	TEST_ASSERT_RUN(fd, size - page_size, page_size, private, page_size);
	TEST_ASSERT(timespec_elapsed(start).tv_sec < 5, "It took %ld seconds",
		    timespec_elapsed(start).tv_sec);

	for (i = 0; i < ARRAY_SIZE(pages); i++)
		delete_slot(vm, SLOT + i);
	kvm_close(fd);
}

/* It takes as long as there are pages, and not as the file is large. */
TEST_F(memfile_convert, huge_file)
{
	const u64 top = ALIGN_DOWN(INT64_MAX, page_size);
	const u64 size = 1ULL << 40;
	char *mem;
	int fd;

	huge_file(self->vm, self->vcpu, variant->flags, size);
	huge_file(self->vm, self->vcpu, variant->flags, top);

	/* The same with all of it mapped */
	fd = vm_create_guest_memfd(self->vm, size, MMAP | INIT_SHARED);
	mem = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	WRITE_ONCE(mem[0], 1);
	WRITE_ONCE(mem[size - 1], 2);
	memfile_convert(fd, 0, size, TO_PRIVATE);
	TEST_EXPECT_SIGBUS(READ_ONCE(mem[0]));
	TEST_EXPECT_SIGBUS(READ_ONCE(mem[size / 2]));
	TEST_EXPECT_SIGBUS(READ_ONCE(mem[size - 1]));
	memfile_convert(fd, 0, size, TO_SHARED);
	ASSERT_EQ(1, READ_ONCE(mem[0]));
	ASSERT_EQ(0, READ_ONCE(mem[size / 2]));
	ASSERT_EQ(2, READ_ONCE(mem[size - 1]));
}

/* One mapping is enough for the file's whole life. */
TEST_F(memfile_convert, one_mapping)
{
	int round, i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	for (round = 0; round < 3; round++) {
		/* Private: what the guest writes survives what the host tries. */
		convert(self, 0, NR_PAGES, TO_PRIVATE);
		check_all(self);
		for (i = 0; i < NR_PAGES; i += 2)
			guest_fill(self, i, pattern(100 * round + i));
		check_all(self);

		/* Shared: it is for the host to see, and they write in turns. */
		convert(self, 0, NR_PAGES, TO_SHARED);
		check_all(self);
		for (i = 0; i < NR_PAGES; i++) {
			host_fill(self, i, pattern(200 * round + i));
			guest_check(self, i);
			guest_fill(self, i, pattern(300 * round + i));
			host_check(self, i);
			if (i % 4 == 3)
				host_fill(self, i, pattern(400 * round + i));
		}
	}
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	check_all(self);
	TEST_ASSERT_PRESENT(self->fd, file_size);
}

/* To the guest it makes no difference, neither in access nor in content. */
TEST_F(memfile_convert, both_kinds_in_a_slot)
{
	int i;

	/* All before there is a memslot */
	for (i = 0; i < NR_PAGES; i++)
		convert(self, i, 1, i % 3 == 0);
	for (i = 0; i < NR_PAGES; i++) {
		if (!self->pages[i].private)
			host_fill(self, i, pattern(i));
	}
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	TEST_ASSERT_CONSUMERS(self->fd, 1);
	check_all(self);
	fill_all(self, 1);
	check_all(self);

	for (i = 0; i < NR_PAGES; i++)
		convert(self, i, 1, i % 2);
	check_all(self);
	fill_all(self, 2);
	check_all(self);
	TEST_ASSERT_CONSUMERS(self->fd, 1);
}

/* One guest access, and how often it takes the vCPU out of the guest. */
static u64 guest_exits(FILE_DATA *self, int page)
{
	u64 before = vcpu_get_stat(self->vcpu, exits);

	memfile_guest_do(self->vcpu, GUEST_READ, gpa(self->pages[page].gpa), 0);
	return vcpu_get_stat(self->vcpu, exits) - before;
}

static int prefault(struct kvm_vcpu *vcpu, int page, int nr)
{
	struct kvm_pre_fault_memory range = {
		.gpa = gpa(page),
		.size = nr * page_size,
	};
	int r;

	do {
		r = __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
	} while ((!r && range.size) || (r && errno == EINTR));
	return r ? errno : 0;
}

/*
 * What is converted leaves the guest's page tables, and nothing else does.
 * Interrupts of the host are exits, too, so it is the fewest that count.
 */
TEST_F(memfile_convert, refault)
{
	bool can_prefault = kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY);
	u64 mapped = -1, converted = -1, same = -1, neighbour = -1, prefaulted = -1;
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	convert(self, 0, NR_PAGES, TO_SHARED);
	fill_all(self, 1);
	for (i = 0; i < 16; i++) {
		bool private = i % 2 == 0;

		mapped = min(mapped, guest_exits(self, 5));
		convert(self, 5, 1, private);
		neighbour = min(neighbour, guest_exits(self, 4));
		neighbour = min(neighbour, guest_exits(self, 6));
		converted = min(converted, guest_exits(self, 5));
		convert(self, 5, 1, private);
		same = min(same, guest_exits(self, 5));

		if (!can_prefault)
			continue;
		/* What was prefaulted in the old state does not stay. */
		convert(self, 8, 2, private);
		ASSERT_EQ(0, prefault(self->vcpu, 8, 2));
		convert(self, 8, 2, !private);
		converted = min(converted, guest_exits(self, 8));
		ASSERT_EQ(0, prefault(self->vcpu, 8, 2));
		prefaulted = min(prefaulted, guest_exits(self, 9));
	}
	ASSERT_LT(mapped, converted);
	ASSERT_EQ(mapped, same);
	ASSERT_EQ(mapped, neighbour);
	if (can_prefault)
		ASSERT_EQ(mapped, prefaulted);
	check_all(self);
}

/* Prefaulting allocates in whatever state the offset is, and changes none. */
TEST_F(memfile_convert, prefault)
{
	int i;

	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		SKIP(return, "no KVM_PRE_FAULT_MEMORY");

	/* The vCPU must have run once to have an MMU. */
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	guest_fill(self, 0, pattern(0));

	convert(self, 0, NR_PAGES, TO_PRIVATE);
	convert(self, 4, 4, TO_SHARED);
	ASSERT_EQ(0, prefault(self->vcpu, 0, 12));
	for (i = 0; i < 12; i++)
		self->pages[i].present = true;
	check_file(self);
	check_all(self);

	fill_all(self, 1);
	convert(self, 2, 4, TO_SHARED);
	convert(self, 6, 4, TO_PRIVATE);
	ASSERT_EQ(0, prefault(self->vcpu, 0, NR_PAGES));
	check_all(self);
}

/* The states are the file's.  Memslots come and go. */
TEST_F(memfile_convert, slot_updates)
{
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	convert(self, 0, NR_PAGES, TO_SHARED);
	convert(self, 2, 6, TO_PRIVATE);
	fill_all(self, 1);
	check_all(self);

	delete_slot(self->vm, SLOT);
	TEST_ASSERT_CONSUMERS(self->fd, 0);
	check_file(self);
	for (i = 0; i < NR_PAGES; i++)
		host_check(self, i);
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	check_all(self);

	/* Without a memslot it goes just as well. */
	delete_slot(self->vm, SLOT);
	convert(self, 0, 4, TO_PRIVATE);
	convert(self, 4, 4, TO_SHARED);
	memfile_guest_exits_mmio(self->vcpu, gpa(3));
	memfile_guest_exits_mmio(self->vcpu, gpa(5));
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	check_all(self);

	/* Other guest addresses, another size */
	delete_slot(self->vm, SLOT);
	bind_slot(self->vm, SLOT, 32, NR_PAGES / 2, self->fd, 0);
	bind_slot(self->vm, SLOT + 1, 20, NR_PAGES / 2, self->fd, NR_PAGES / 2);
	for (i = 0; i < NR_PAGES; i++)
		self->pages[i].gpa = i < NR_PAGES / 2 ? 32 + i : 20 + i - NR_PAGES / 2;
	check_all(self);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	convert(self, 6, 4, TO_SHARED);
	check_all(self);
}

/* Three memslots on one file, in an order that is not that of the file. */
TEST_F(memfile_convert, three_slots)
{
	static const struct {
		int gpa, nr, file;
	} slots[] = {
		{ .gpa = 0,  .nr = 6, .file = 10 },
		{ .gpa = 20, .nr = 5, .file = 0 },
		{ .gpa = 8,  .nr = 5, .file = 5 },
	};
	int s, i;

	for (s = 0; s < ARRAY_SIZE(slots); s++) {
		bind_slot(self->vm, SLOT + s, slots[s].gpa, slots[s].nr, self->fd,
			  slots[s].file);
		for (i = 0; i < slots[s].nr; i++)
			self->pages[slots[s].file + i].gpa = slots[s].gpa + i;
	}
	TEST_ASSERT_CONSUMERS(self->fd, 3);
	fill_all(self, 1);
	check_all(self);

	/* The inside of one; the end of one and the start of another; all three */
	convert(self, 6, 2, TO_SHARED);
	convert(self, 1, 2, TO_PRIVATE);
	check_all(self);
	convert(self, 3, 4, TO_PRIVATE);
	convert(self, 8, 4, TO_SHARED);
	check_all(self);
	convert(self, 4, 8, TO_SHARED);
	check_all(self);
	fill_all(self, 2);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	check_all(self);

	delete_slot(self->vm, SLOT + 2);
	convert(self, 0, NR_PAGES, TO_SHARED);
	convert(self, 3, 4, TO_PRIVATE);
	bind_slot(self->vm, SLOT + 2, 8, 5, self->fd, 5);
	check_all(self);
}

/* Nothing but the file is needed, neither memslot nor mapping nor VM. */
TEST_F(memfile_convert, file_alone)
{
	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	fill_all(self, 1);

	kvm_munmap(self->vcpu->run, ioctl(self->vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL));
	kvm_close(self->vcpu->fd);
	if (self->vcpu->stats.fd >= 0)
		kvm_close(self->vcpu->stats.fd);
	kvm_close(self->vm->fd);
	if (self->vm->stats.fd >= 0)
		kvm_close(self->vm->stats.fd);
	kvm_munmap(self->mem, file_size);

	convert(self, 0, 8, TO_SHARED);
	self->mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	host_check(self, 0);
	host_check(self, 7);
	host_check(self, 8);
	convert(self, 4, 8, TO_PRIVATE);
	host_check(self, 4);
	convert(self, 4, 12, TO_SHARED);
	host_check(self, 4);
	host_check(self, NR_PAGES - 1);
}

/* INIT_SHARED without MMAP: nobody on the host's side, conversions all the same. */
TEST_F(memfile_convert, without_mmap)
{
	int fd;

	if (!(variant->flags & INIT_SHARED))
		SKIP(return, "such a file has no conversions");

	fd = vm_create_guest_memfd(self->vm, file_size, INIT_SHARED);
	TEST_ASSERT_ERRNO((long)mmap(NULL, file_size, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
	kvm_munmap(self->mem, file_size);
	kvm_close(self->fd);
	self->fd = fd;
	bind_slot(self->vm, SLOT, 0, NR_PAGES, fd, 0);
	guest_fill(self, 3, pattern(3));
	guest_fill(self, 4, pattern(4));
	convert(self, 0, 4, TO_PRIVATE);
	guest_check(self, 3);
	guest_check(self, 4);
	guest_check(self, 5);
	guest_check(self, 0);
	convert(self, 2, 4, TO_SHARED);
	guest_check(self, 3);
}

/* A call that is right but for one change must be refused, for that. */
#define __TEST_REFUSED(self, cmd, err, change...)				\
do {										\
	struct kvm_memory_attributes2 a = {					\
		.offset = 4 * page_size,					\
		.size = 4 * page_size,						\
		.attributes = (self)->pages[4].private ? 0 :				\
			      KVM_MEMORY_ATTRIBUTE_PRIVATE,			\
	};									\
	int __r;								\
										\
	change;									\
	__r = ioctl((self)->fd, cmd, &a);					\
	TEST_ASSERT(__r == -1 && errno == (err),				\
		    #cmd ", '" #change "': wanted errno %d, got %d, errno %d (%s)", \
		    err, __r, errno, strerror(errno));				\
	/* All of it is in one state. */					\
	TEST_ASSERT_RUN((self)->fd, 0, file_size, (self)->pages[0].private, file_size); \
} while (0)

#define TEST_REFUSED(self, err, change...)					\
do {										\
	__TEST_REFUSED(self, KVM_SET_MEMORY_ATTRIBUTES2, err, change);		\
	__TEST_REFUSED(self, KVM_GET_MEMORY_ATTRIBUTES2, err, change);		\
} while (0)

TEST_F(memfile_convert, errors)
{
	const u64 top = ALIGN_DOWN(INT64_MAX, page_size) + page_size;
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	fill_all(self, 1);

	/* Twice, the second time with the states the other way round */
	do {
		TEST_REFUSED(self, EINVAL, a.offset += 1);
		TEST_REFUSED(self, EINVAL, a.offset += 8);
		TEST_REFUSED(self, EINVAL, a.offset += page_size / 2);
		TEST_REFUSED(self, EINVAL, a.size += 1);
		TEST_REFUSED(self, EINVAL, a.size -= 1);
		TEST_REFUSED(self, EINVAL, a.size = page_size / 2);
		TEST_REFUSED(self, EINVAL, a.size = 1);
		TEST_REFUSED(self, EINVAL, a.size = 0);
		TEST_REFUSED(self, EINVAL, a.size = 0, a.offset = 0);
		TEST_REFUSED(self, EINVAL, a.size = 0, a.offset = file_size);

		TEST_REFUSED(self, EINVAL, a.offset = file_size);
		TEST_REFUSED(self, EINVAL, a.offset = file_size - 3 * page_size);
		TEST_REFUSED(self, EINVAL, a.size = file_size);
		TEST_REFUSED(self, EINVAL, a.offset = 0, a.size = file_size + page_size);
		TEST_REFUSED(self, EINVAL, a.offset = file_size, a.size = page_size);
		TEST_REFUSED(self, EINVAL, a.offset = top);
		TEST_REFUSED(self, EINVAL, a.offset = top - page_size);
		TEST_REFUSED(self, EINVAL, a.size = top);
		TEST_REFUSED(self, EINVAL, a.size = top - 4 * page_size);

		/* Sums that leave 64 bits, and end in the file */
		TEST_REFUSED(self, EINVAL, a.offset = -page_size);
		TEST_REFUSED(self, EINVAL, a.offset = -4 * page_size);
		TEST_REFUSED(self, EINVAL, a.offset = -page_size, a.size = 2 * page_size);
		TEST_REFUSED(self, EINVAL, a.size = -page_size);
		TEST_REFUSED(self, EINVAL, a.size = -4 * page_size);
		TEST_REFUSED(self, EINVAL, a.size = -2 * page_size);

		for (i = 0; i < 64; i++) {
			TEST_REFUSED(self, EINVAL, a.flags = BIT_ULL(i));
			if (BIT_ULL(i) == KVM_MEMORY_ATTRIBUTE_PRIVATE)
				continue;
			__TEST_REFUSED(self, KVM_SET_MEMORY_ATTRIBUTES2, EINVAL,
				       a.attributes = BIT_ULL(i));
			__TEST_REFUSED(self, KVM_SET_MEMORY_ATTRIBUTES2, EINVAL,
				       a.attributes |= BIT_ULL(i));
		}
		for (i = 0; i < ARRAY_SIZE(((struct kvm_memory_attributes2 *)0)->reserved); i++) {
			TEST_REFUSED(self, EINVAL, a.reserved[i] = 1);
			TEST_REFUSED(self, EINVAL, a.reserved[i] = BIT_ULL(63));
		}

		check_all(self);
		convert(self, 0, NR_PAGES, !self->pages[0].private);
	} while (self->pages[0].private == !!(variant->flags & INIT_SHARED));
}

/* A struct that cannot be read, or not be written, changes nothing. */
TEST_F(memfile_convert, bad_address)
{
	const unsigned long cmds[] = { KVM_SET_MEMORY_ATTRIBUTES2, KVM_GET_MEMORY_ATTRIBUTES2 };
	const struct kvm_memory_attributes2 good = {
		.size = file_size,
		.attributes = self->pages[0].private ? 0 : KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	struct kvm_memory_attributes2 *attrs;
	char *area;
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	fill_all(self, 1);
	area = kvm_mmap(2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		TEST_ASSERT_ERRNO(ioctl(self->fd, cmds[i], NULL), EFAULT);
		TEST_ASSERT_ERRNO(ioctl(self->fd, cmds[i], 8), EFAULT);
		TEST_ASSERT_ERRNO(ioctl(self->fd, cmds[i], -8), EFAULT);

		/* Only what is below the last word can be read. */
		attrs = (void *)(area + page_size + 8 - sizeof(*attrs));
		*attrs = good;
		mprotect(area + page_size, page_size, PROT_NONE);
		TEST_ASSERT_ERRNO(ioctl(self->fd, cmds[i], attrs), EFAULT);
		mprotect(area + page_size, page_size, PROT_READ | PROT_WRITE);

		/* All of it can be read, what the kernel has to say not be written. */
		attrs = (void *)(area + page_size -
				 offsetof(struct kvm_memory_attributes2, error_offset));
		*attrs = good;
		mprotect(area + page_size, page_size, PROT_READ);
		TEST_ASSERT_ERRNO(ioctl(self->fd, cmds[i], attrs), EFAULT);
		mprotect(area, page_size, PROT_READ);
		TEST_ASSERT_ERRNO(ioctl(self->fd, cmds[i], attrs), EFAULT);
		mprotect(area, 2 * page_size, PROT_READ | PROT_WRITE);
	}
	check_file(self);
	check_all(self);

	/* It may be in what is converted.  Nobody is left to read it there. */
	convert(self, 0, NR_PAGES, TO_SHARED);
	attrs = (void *)self->mem;
	*attrs = (struct kvm_memory_attributes2) {
		.size = file_size,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	ASSERT_EQ(0, ioctl(self->fd, KVM_SET_MEMORY_ATTRIBUTES2, attrs));
	for (i = 0; i < NR_PAGES; i++)
		self->pages[i].private = true;
	check_file(self);
	TEST_ASSERT_ERRNO(ioctl(self->fd, KVM_SET_MEMORY_ATTRIBUTES2, attrs), EFAULT);
	TEST_ASSERT_ERRNO(ioctl(self->fd, KVM_GET_MEMORY_ATTRIBUTES2, attrs), EFAULT);
	check_file(self);
}

/* The calls are the file's, and its own only. */
TEST_F(memfile_convert, wrong_file)
{
	struct kvm_memory_attributes2 attrs = { .size = page_size };
	struct kvm_memory_attributes old = { .address = gpa(0), .size = page_size };
	int fds[] = { self->vm->fd, self->vcpu->fd, self->vm->kvm_fd };
	int i;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		ASSERT_EQ(-1, ioctl(fds[i], KVM_SET_MEMORY_ATTRIBUTES2, &attrs));
		ASSERT_TRUE(errno == ENOTTY || errno == EINVAL);
		ASSERT_EQ(-1, ioctl(fds[i], KVM_GET_MEMORY_ATTRIBUTES2, &attrs));
		ASSERT_TRUE(errno == ENOTTY || errno == EINVAL);
	}
	TEST_ASSERT_ERRNO(ioctl(self->fd, KVM_SET_MEMORY_ATTRIBUTES, &old), ENOTTY);
	TEST_ASSERT_ERRNO(ioctl(self->fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD), ENOTTY);
	check_file(self);
}


/* Who holds on to a shared page does so for the whole of a conversion. */
TEST_F(memfile_convert, registered_buffer)
{
	int ring, i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	convert(self, 0, NR_PAGES, TO_SHARED);
	fill_all(self, 1);
	ring = memfile_pin(host_page(self->mem, 5), 2 * page_size);
	if (ring < 0)
		SKIP(return, "no io_uring");

	for (i = 0; i < 2; i++) {
		convert_fails(self, 0, NR_PAGES, TO_PRIVATE, EBUSY, 5);
		check_all(self);
		convert_fails(self, 5, 1, TO_PRIVATE, EBUSY, 5);
		convert_fails(self, 6, 10, TO_PRIVATE, EBUSY, 6);
		check_all(self);
	}
	convert(self, 0, 5, TO_PRIVATE);
	convert(self, 7, NR_PAGES - 7, TO_PRIVATE);
	check_all(self);
	convert_fails(self, 0, NR_PAGES, TO_PRIVATE, EBUSY, 5);
	/* Nothing to do where it is pinned */
	convert(self, 0, NR_PAGES, TO_SHARED);
	convert_fails(self, 4, 2, TO_PRIVATE, EBUSY, 5);

	memfile_unpin(ring);
	kvm_close(ring);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	check_all(self);
}

/* Put a page, not a copy of it, into a pipe. */
static void splice_page(int *pipes, void *page)
{
	struct iovec iov = { .iov_base = page, .iov_len = page_size };

	TEST_ASSERT(!pipe(pipes), "pipe() failed");
	TEST_ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), (ssize_t)page_size);
}

static void drain_page(int *pipes, u64 val)
{
	u64 words[MEMFILE_PAGE_WORDS];
	size_t left = page_size;

	while (left) {
		ssize_t r = read(pipes[0], words, min(left, sizeof(words)));

		TEST_ASSERT(r > 0, "read() failed");
		left -= r;
	}
	check_words(words, val);
	kvm_close(pipes[0]);
	kvm_close(pipes[1]);
}

TEST_F(memfile_convert, page_in_pipe)
{
	int pipes[2], ring, i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	convert(self, 0, NR_PAGES, TO_SHARED);
	fill_all(self, 1);

	splice_page(pipes, host_page(self->mem, 7));
	for (i = 0; i < 2; i++) {
		convert_fails(self, 0, NR_PAGES, TO_PRIVATE, EAGAIN, 7);
		check_all(self);
		convert_fails(self, 7, 1, TO_PRIVATE, EAGAIN, 7);
	}
	convert(self, 0, 7, TO_PRIVATE);
	convert(self, 8, NR_PAGES - 8, TO_PRIVATE);
	convert_fails(self, 3, 9, TO_PRIVATE, EAGAIN, 7);
	check_all(self);
	drain_page(pipes, self->pages[7].val);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	check_all(self);

	/* The first one that is in the way, whatever its kind */
	convert(self, 0, NR_PAGES, TO_SHARED);
	ring = memfile_pin(host_page(self->mem, 9), page_size);
	if (ring < 0)
		SKIP(return, "no io_uring");
	splice_page(pipes, host_page(self->mem, 3));
	convert_fails(self, 0, NR_PAGES, TO_PRIVATE, EAGAIN, 3);
	convert_fails(self, 4, NR_PAGES - 4, TO_PRIVATE, EBUSY, 9);
	drain_page(pipes, self->pages[3].val);
	convert_fails(self, 0, NR_PAGES, TO_PRIVATE, EBUSY, 9);
	splice_page(pipes, host_page(self->mem, 11));
	convert_fails(self, 0, NR_PAGES, TO_PRIVATE, EBUSY, 9);
	memfile_unpin(ring);
	kvm_close(ring);
	convert_fails(self, 0, NR_PAGES, TO_PRIVATE, EAGAIN, 11);

	/* Out of the file, the page is the pipe's, and the hole is nobody's. */
	punch(self, 11, 1);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	drain_page(pipes, pattern(NR_PAGES + 11));
	check_all(self);
}

static void check_states(int fd, size_t nr, size_t nr_private)
{
	if (nr_private)
		TEST_ASSERT_RUN(fd, 0, nr * page_size, true, nr_private * page_size);
	if (nr_private < nr)
		TEST_ASSERT_RUN(fd, nr_private * page_size, (nr - nr_private) * page_size,
				false, (nr - nr_private) * page_size);
}

/* All but a chunk with a page that is in the way, and what follows, is done. */
static void test_chunks(struct kvm_vm *vm, u64 flags, int step, int busy, int done)
{
	const size_t nr = 3 * CHUNK;
	int fd = vm_create_guest_memfd(vm, nr * page_size, flags);
	long present = DIV_ROUND_UP(nr, step) * page_size;
	int ring = -1, pipes[2], use_ring;
	char *mem;
	size_t i;

	mem = kvm_mmap(nr * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	memfile_convert(fd, 0, nr * page_size, TO_SHARED);
	for (i = 0; i < nr; i += step)
		*host_page(mem, i) = pattern(i);

	for (use_ring = 0; use_ring < 2; use_ring++) {
		if (use_ring) {
			ring = memfile_pin(host_page(mem, busy), page_size);
			if (ring < 0)
				break;
		} else {
			splice_page(pipes, host_page(mem, busy));
		}
		TEST_ASSERT_CONVERT_FAILS(fd, 0, nr * page_size, TO_PRIVATE,
					  use_ring ? EBUSY : EAGAIN, busy * page_size);
		check_states(fd, nr, done);
		TEST_ASSERT_EQ(memfile_fdinfo(fd, "memfile-private"),
			       DIV_ROUND_UP(done, step) * (long)page_size);
		TEST_ASSERT_PRESENT(fd, present);
		if (done)
			host_refused(mem, (done - 1) / step * step);
		for (i = DIV_ROUND_UP(done, step) * step; i < nr; i += 37 * step)
			TEST_ASSERT_EQ(*host_page(mem, i), pattern(i));

		if (use_ring) {
			memfile_unpin(ring);
			kvm_close(ring);
		} else {
			kvm_close(pipes[0]);
			kvm_close(pipes[1]);
		}
		memfile_convert(fd, 0, nr * page_size, TO_PRIVATE);
		check_states(fd, nr, nr);
		TEST_ASSERT_EQ(memfile_fdinfo(fd, "memfile-private"), present);
		host_refused(mem, busy);

		memfile_convert(fd, 0, nr * page_size, TO_SHARED);
		check_states(fd, nr, 0);
		TEST_ASSERT_EQ(memfile_fdinfo(fd, "memfile-shared"), present);
		for (i = 0; i < nr; i += 37 * step)
			TEST_ASSERT_EQ(*host_page(mem, i), pattern(i));
	}
	TEST_ASSERT_PRESENT(fd, present);
	TEST_ASSERT_EQ(memfile_fdinfo(fd, "memfile-longest-hold"),
		       (long)min(CHUNK, (int)DIV_ROUND_UP(nr, step)));
	kvm_munmap(mem, nr * page_size);
	kvm_close(fd);
}

TEST_F(memfile_convert, chunks)
{
	if (variant->flags & INIT_SHARED) {
		test_chunks(self->vm, variant->flags, 1, CHUNK - 1, 0);
		test_chunks(self->vm, variant->flags, 1, CHUNK, CHUNK);
		test_chunks(self->vm, variant->flags, 2, 2 * CHUNK, 2 * CHUNK - 1);
		return;
	}
	test_chunks(self->vm, variant->flags, 1, CHUNK + 188, CHUNK);
	test_chunks(self->vm, variant->flags, 1, 3 * CHUNK - 1, 2 * CHUNK);
	/* Holes do not count: the first chunk ends behind its 512th page. */
	test_chunks(self->vm, variant->flags, 2, 2 * CHUNK - 2, 0);
	test_chunks(self->vm, variant->flags, 3, 3 * CHUNK - 3, 0);
}

/* A page of this process's whose first access can be put off. */
struct lazy_page {
	char *mem;
	int uffd;
};

static bool lazy_create(struct lazy_page *lazy)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	lazy->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (lazy->uffd < 0)
		return false;
	lazy->mem = kvm_mmap(page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1);
	reg.range.start = (u64)lazy->mem;
	reg.range.len = page_size;
	TEST_ASSERT(!ioctl(lazy->uffd, UFFDIO_API, &api) &&
		    !ioctl(lazy->uffd, UFFDIO_REGISTER, &reg), "userfaultfd: %s",
		    strerror(errno));
	return true;
}

static void lazy_wait(struct lazy_page *lazy)
{
	struct pollfd pollfd = { .fd = lazy->uffd, .events = POLLIN };
	struct uffd_msg msg;

	TEST_ASSERT(poll(&pollfd, 1, 30000) == 1, "Nobody uses the page");
	TEST_ASSERT_EQ(read(lazy->uffd, &msg, sizeof(msg)), (ssize_t)sizeof(msg));
}

static void lazy_resolve(struct lazy_page *lazy)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (u64)lazy->mem, .len = page_size },
	};

	TEST_ASSERT(!ioctl(lazy->uffd, UFFDIO_ZEROPAGE, &zero), "UFFDIO_ZEROPAGE: %s",
		    strerror(errno));
}

static void lazy_free(struct lazy_page *lazy)
{
	kvm_munmap(lazy->mem, page_size);
	kvm_close(lazy->uffd);
}

struct io {
	pthread_t thread;
	struct lazy_page lazy;
	void *page;
	ssize_t result;
	int disk;
};

/* The disk gets the file's page first, and waits for the other one. */
static void *direct_write(void *arg)
{
	struct io *io = arg;
	struct iovec iov[] = {
		{ .iov_base = io->page, .iov_len = page_size },
		{ .iov_base = io->lazy.mem, .iov_len = page_size },
	};

	io->result = pwritev(io->disk, iov, 2, 0);
	return NULL;
}

static void *remote_read(void *arg)
{
	struct io *io = arg;
	struct iovec remote = { .iov_base = io->page, .iov_len = page_size };
	struct iovec local = { .iov_base = io->lazy.mem, .iov_len = page_size };

	io->result = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	return NULL;
}

static void test_in_flight(FILE_DATA *self, struct io *io, void *(*work)(void *),
			   ssize_t result)
{
	convert(self, 0, NR_PAGES, TO_SHARED);
	io->page = host_page(self->mem, 5);
	kvm_pthread_create(&io->thread, NULL, work, io);
	lazy_wait(&io->lazy);
	convert_fails(self, 0, NR_PAGES, TO_PRIVATE, EBUSY, 5);
	check_all(self);
	lazy_resolve(&io->lazy);
	kvm_pthread_join(io->thread, NULL);
	lazy_free(&io->lazy);
	TEST_ASSERT_EQ(io->result, result);

	convert(self, 0, NR_PAGES, TO_PRIVATE);
	check_all(self);
}

/* The kernel is just about to use the page, on somebody's behalf. */
TEST_F(memfile_convert, io_in_flight)
{
	struct io io = {};
	u64 *block;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	fill_all(self, 1);
	if (!lazy_create(&io.lazy))
		SKIP(return, "no userfaultfd");
	test_in_flight(self, &io, remote_read, page_size);

	io.disk = open("/dev/ram0", O_RDWR | O_DIRECT);
	if (io.disk < 0)
		SKIP(return, "no RAM disk");
	lazy_create(&io.lazy);
	test_in_flight(self, &io, direct_write, 2 * page_size);

	/* The disk has it, and writes to what is shared only. */
	block = kvm_mmap(page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	ASSERT_EQ((ssize_t)page_size, pread(io.disk, block, page_size, 0));
	check_words(block, self->pages[5].val);
	TEST_ASSERT_ERRNO(pread(io.disk, host_page(self->mem, 6), page_size, 0), EFAULT);
	TEST_ASSERT_ERRNO(pwrite(io.disk, host_page(self->mem, 6), page_size, 0), EFAULT);
	check_all(self);
	convert(self, 6, 1, TO_SHARED);
	ASSERT_EQ((ssize_t)page_size, pread(io.disk, host_page(self->mem, 6), page_size, 0));
	self->pages[6].val = self->pages[5].val;
	check_all(self);
	convert(self, 6, 1, TO_PRIVATE);
	check_all(self);
}

/* There is more to a mapping than page tables. */
TEST_F(memfile_convert, mlocked)
{
	int i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	for (i = 0; i < 4; i++) {
		convert(self, 0, NR_PAGES, TO_SHARED);
		if (i < 3)
			ASSERT_EQ(0, mlock(self->mem, file_size));
		fill_all(self, i);
		convert(self, 0, 9, TO_PRIVATE);
		check_all(self);
		convert(self, 0, NR_PAGES, TO_PRIVATE);
		check_all(self);
		if (i == 2)
			ASSERT_EQ(0, munlock(self->mem, file_size));
	}
	/* It fails, as it does for all that cannot be accessed, but locks. */
	TEST_ASSERT_ERRNO(mlock(self->mem, file_size), ENOMEM);
	convert(self, 0, NR_PAGES, TO_SHARED);
	check_all(self);
	convert(self, 0, NR_PAGES, TO_PRIVATE);
	check_all(self);
}

TEST_F(memfile_convert, populated)
{
	const size_t nr = 2 * CHUNK + 10;
	int fd = vm_create_guest_memfd(self->vm, nr * page_size, variant->flags);
	char *mem;
	size_t i;

	mem = kvm_mmap(nr * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	for (i = 0; i < 2; i++) {
		memfile_convert(fd, 0, nr * page_size, TO_SHARED);
		kvm_madvise(mem, nr * page_size, variant->flags & INIT_SHARED ?
						 MADV_POPULATE_READ : MADV_POPULATE_WRITE);
		TEST_ASSERT_PRESENT(fd, nr * page_size);
		memfile_convert(fd, 0, nr * page_size, TO_PRIVATE);
		TEST_ASSERT_RUN(fd, 0, nr * page_size, true, nr * page_size);
		host_refused(mem, 0);
		host_refused(mem, nr - 1);
		if (i == 0)
			kvm_fallocate(fd, MEMFILE_PUNCH, 0, nr * page_size);
	}
	ASSERT_GE(CHUNK, memfile_fdinfo(fd, "memfile-longest-hold"));
}

/* Every process loses the page, and gets it back by the mapping that it has. */
TEST_F(memfile_convert, two_processes)
{
	int to[2], from[2], status, i;
	char byte = 0;
	pid_t pid;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	convert(self, 0, NR_PAGES, TO_SHARED);
	fill_all(self, 1);
	check_all(self);
	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));

	pid = fork();
	if (!pid) {
		kvm_close(to[1]);
		for (;;) {
			/* The model is the parent's, as it was told. */
			if (read(to[0], self->pages, sizeof(self->pages)) <= 0)
				_exit(0);
			for (i = 0; i < NR_PAGES; i++)
				host_check(self, i);
			test_write(from[1], &byte, 1);
		}
	}
	kvm_close(to[0]);
	kvm_close(from[1]);
	for (i = 0; i < 4; i++) {
		test_write(to[1], self->pages, sizeof(self->pages));
		ASSERT_EQ(1, read(from[0], &byte, 1));
		convert(self, 0, i % 2 ? NR_PAGES : 7, i % 2 ? TO_SHARED : TO_PRIVATE);
		check_all(self);
	}
	kvm_close(to[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

TEST_F(memfile_convert, many_mappings)
{
	const int nr = 600;
	char **mems = calloc(nr, sizeof(*mems));
	int round, i;

	bind_slot(self->vm, SLOT, 0, NR_PAGES, self->fd, 0);
	for (i = 0; i < nr; i++) {
		mems[i] = __kvm_mmap(page_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
				     i % NR_PAGES * page_size);
		/* Neighbours must not become one. */
		if (i / NR_PAGES % 2)
			mprotect(mems[i], page_size, PROT_READ);
	}
	for (round = 0; round < 2; round++) {
		convert(self, 0, NR_PAGES, TO_SHARED);
		fill_all(self, round);
		for (i = 0; i < nr; i++)
			TEST_ASSERT_EQ(*(u64 *)mems[i], self->pages[i % NR_PAGES].val);
		convert(self, 0, NR_PAGES, TO_PRIVATE);
		for (i = 0; i < nr; i++)
			TEST_EXPECT_SIGBUS(READ_ONCE(*mems[i]));
		check_all(self);
	}
}

struct toucher {
	pthread_barrier_t barrier;
	FILE_DATA *self;
	int nr, round;
	bool done;
};

static void *toucher_thread(void *arg)
{
	struct toucher *toucher = arg;
	FILE_DATA *self = toucher->self;
	int i;

	pin_self_to_cpu(1);
	for (;;) {
		pthread_barrier_wait(&toucher->barrier);
		if (toucher->done)
			return NULL;
		if (toucher->round % 3 == 2)
			kvm_fallocate(self->fd, MEMFILE_ALLOCATE, 0, toucher->nr * page_size);
		for (i = 0; i < toucher->nr && toucher->round % 3; i++)
			WRITE_ONCE(*host_page(self->mem, i), i);
		for (i = 0; i < toucher->nr && toucher->round % 3 == 0; i++)
			READ_ONCE(*host_page(self->mem, i));
		pthread_barrier_wait(&toucher->barrier);
	}
}

/* A new page is in the hands of the CPU that allocated it for a while. */
TEST_F(memfile_convert, other_cpu)
{
	struct toucher toucher = { .self = self };
	pthread_t thread;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU only");

	pin_self_to_cpu(0);
	memfile_convert(self->fd, 0, file_size, TO_SHARED);
	pthread_barrier_init(&toucher.barrier, NULL, 2);
	kvm_pthread_create(&thread, NULL, toucher_thread, &toucher);
	for (toucher.round = 0; toucher.round < 20; toucher.round++) {
		toucher.nr = 1 + toucher.round % (NR_PAGES - 1);
		pthread_barrier_wait(&toucher.barrier);
		pthread_barrier_wait(&toucher.barrier);
		memfile_convert(self->fd, 0, file_size, TO_PRIVATE);
		memfile_convert(self->fd, 0, file_size, TO_SHARED);
		kvm_fallocate(self->fd, MEMFILE_PUNCH, 0, file_size);
	}
	toucher.done = true;
	pthread_barrier_wait(&toucher.barrier);
	kvm_pthread_join(thread, NULL);
}

/* What has been converted of a range from its start on. */
static u64 converted_to(int fd, size_t size, bool private)
{
	bool now;
	u64 run = memfile_run(fd, 0, size, &now);

	return now == private ? run : 0;
}

/* In a process of its own, which a timer ends. */
static void convert_and_die(int fd, size_t size, bool private, u64 usecs)
{
	struct itimerval timer = {
		.it_value = { .tv_sec = usecs / 1000000, .tv_usec = usecs % 1000000 },
	};
	u64 error_offset;

	setitimer(ITIMER_REAL, &timer, NULL);
	memfile_try_convert(fd, 0, size, private, &error_offset);
	_exit(0);
}

/* A fatal signal ends a conversion between two chunks, and soon. */
TEST_F(memfile_convert, killed)
{
	const size_t nr = 16 * CHUNK, size = nr * page_size;
	int fd = vm_create_guest_memfd(self->vm, size, variant->flags);
	bool private = !(variant->flags & INIT_SHARED);
	int round, status, halfway = 0;
	struct timespec start;
	u64 usecs, done;
	char *mem;
	pid_t pid;
	size_t i;

	mem = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	memfile_convert(fd, 0, size, TO_SHARED);
	for (i = 0; i < nr; i += 3)
		*host_page(mem, i) = pattern(i);
	kvm_fallocate(fd, MEMFILE_ALLOCATE, 0, size);

	memfile_convert(fd, 0, size, !private);
	clock_gettime(CLOCK_MONOTONIC, &start);
	memfile_convert(fd, 0, size, private);
	usecs = timespec_to_ns(timespec_elapsed(start)) / 1000;

	/* A machine that is slow all of a sudden may need a few more. */
	for (round = 0; round < 100 && halfway < 3; round++) {
		memfile_convert(fd, 0, size, !private);

		pid = fork();
		if (!pid)
			convert_and_die(fd, size, private, usecs * (round % 8 + 1) / 8 + 1);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));

		done = converted_to(fd, size, private);
		ASSERT_EQ(0, done % (CHUNK * page_size));
		if (done < size) {
			halfway += done > 0;
			TEST_ASSERT_RUN(fd, done, size - done, !private, size - done);
		}
		TEST_ASSERT_EQ((u64)memfile_fdinfo(fd, "memfile-private"),
			       private ? done : size - done);
		TEST_ASSERT_PRESENT(fd, size);

		/* Who comes next can finish it. */
		memfile_convert(fd, 0, size, private);
		TEST_ASSERT_RUN(fd, 0, size, private, size);
	}
	TEST_ASSERT(halfway, "None of %d conversions was ended halfway", round);

	memfile_convert(fd, 0, size, TO_SHARED);
	for (i = 0; i < nr; i += 3 * 7)
		TEST_ASSERT_EQ(*host_page(mem, i), pattern(i));
	ASSERT_GE(CHUNK, memfile_fdinfo(fd, "memfile-longest-hold"));
}

TEST(capabilities)
{
	const int content = KVM_GUEST_MEMFD_CONTENT_TO_SHARED | KVM_GUEST_MEMFD_CONTENT_TO_PRIVATE;
	struct kvm_vm *vm = vm_create_barebones_type(memfile_convert_shape().type);

	ASSERT_EQ(KVM_MEMORY_ATTRIBUTE_PRIVATE,
		  kvm_check_cap(KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES));
	/* Whether content is kept depends on the VM. */
	ASSERT_EQ(0, kvm_check_cap(KVM_CAP_GUEST_MEMFD_CONTENT));
	ASSERT_EQ(MMAP | INIT_SHARED, kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) &
				      (MMAP | INIT_SHARED));

	ASSERT_EQ(1, vm_check_cap(vm, KVM_CAP_GUEST_MEMFD));
	ASSERT_EQ(MMAP | INIT_SHARED, vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS) &
				      (MMAP | INIT_SHARED));
	ASSERT_EQ(KVM_MEMORY_ATTRIBUTE_PRIVATE,
		  vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES));
	ASSERT_EQ(content, vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_CONTENT));
}

#ifdef __x86_64__
static void check_no_conversions(struct kvm_vm *vm, u64 flags, bool private)
{
	int fd = vm_create_guest_memfd(vm, file_size, flags);
	struct kvm_memory_attributes2 attrs = {
		.size = file_size,
		.attributes = private ? 0 : KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};

	TEST_ASSERT_ERRNO(ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES2, &attrs), EOPNOTSUPP);
	TEST_ASSERT_ERRNO(ioctl(fd, KVM_GET_MEMORY_ATTRIBUTES2, &attrs), EOPNOTSUPP);
	/* No more do they what would change nothing. */
	attrs.attributes ^= KVM_MEMORY_ATTRIBUTE_PRIVATE;
	TEST_ASSERT_ERRNO(ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES2, &attrs), EOPNOTSUPP);
	TEST_ASSERT_ERRNO(ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES2, NULL), EFAULT);
	TEST_ASSERT_ERRNO(ioctl(fd, KVM_GET_MEMORY_ATTRIBUTES2, NULL), EFAULT);
	if (flags & MMAP) {
		char *mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);

		if (private)
			TEST_EXPECT_SIGBUS(READ_ONCE(*mem));
		else
			WRITE_ONCE(*mem, 1);
		kvm_munmap(mem, file_size);
	}
	kvm_close(fd);
}

/* Without a flag, what is private is not for the file to say. */
TEST(no_flags)
{
	struct kvm_vm *vm = vm_create_barebones_type(memfile_convert_shape().type);

	check_no_conversions(vm, 0, true);
}

/* A VM without private memory: its files are what they were created as. */
TEST(plain_vm)
{
	struct kvm_vm *vm = vm_create_barebones();

	ASSERT_EQ(1, vm_check_cap(vm, KVM_CAP_GUEST_MEMFD));
	ASSERT_EQ(MMAP | INIT_SHARED, vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS) &
				      (MMAP | INIT_SHARED));
	ASSERT_EQ(0, vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES));
	ASSERT_EQ(0, vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_CONTENT));

	check_no_conversions(vm, 0, true);
	check_no_conversions(vm, MMAP, true);
	check_no_conversions(vm, INIT_SHARED, false);
	check_no_conversions(vm, MMAP | INIT_SHARED, false);
}
#else
/* Without attributes of the VM's, every file says itself what is private. */
TEST(no_flags)
{
	struct kvm_vm *vm = vm_create_barebones();
	int fd = vm_create_guest_memfd(vm, file_size, 0);

	TEST_ASSERT_RUN(fd, 0, file_size, true, file_size);
	memfile_convert(fd, 0, page_size, false);
	TEST_ASSERT_RUN(fd, 0, file_size, false, page_size);
	TEST_ASSERT_RUN(fd, page_size, file_size - page_size, true, file_size - page_size);
}
#endif

int main(int argc, char *argv[])
{
	page_size = getpagesize();
	file_size = page_size * NR_PAGES;

	memfile_require_convert();

	return test_harness_run(argc, argv);
}
