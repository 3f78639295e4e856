// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty logging of memory files (guest_memfd): a memslot's flags change while
 * the slot stays bound to its file, the log names the pages that the guest has
 * written and no others, and a slot with other flags is told of invalidations
 * like the one that it replaces.
 *
 * By the page, so that one fault more or less shows: the guest's own accesses
 * are what memfile_guest_code() does, one page at a time.
 */
#include "kvm_test_harness.h"
#include "memfile_util.h"

#define NR_PAGES	64
#define SLOT		10

#define MMAP		GUEST_MEMFD_FLAG_MMAP
#define INIT_SHARED	GUEST_MEMFD_FLAG_INIT_SHARED

#define GMEM		KVM_MEM_GUEST_MEMFD
#define LOG		(KVM_MEM_GUEST_MEMFD | KVM_MEM_LOG_DIRTY_PAGES)

static size_t page_size;
static size_t file_size;

static u64 pattern(int page)
{
	return 0xd1e70000000001ULL + page * 0x100;
}

static gpa_t gpa(int page)
{
	return MEMFILE_GPA + page * page_size;
}

/* A file in which everything is shared, and a slot on it. */
FIXTURE(memfile_dirty_log)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	char *mem;
	int fd;
	bool initially_set;
};

/*
 * x86 maps a page as writable whenever it may, and takes that for a write.
 */
#ifdef __x86_64__
#define READ_FAULT_LOGS	1ULL
#else
#define READ_FAULT_LOGS	0ULL
#endif

#define LOG_DATA FIXTURE_DATA(memfile_dirty_log)

FIXTURE_VARIANT(memfile_dirty_log)
{
	bool can_convert;
	bool initially_set;
};

FIXTURE_VARIANT_ADD(memfile_dirty_log, plain)
{
};

FIXTURE_VARIANT_ADD(memfile_dirty_log, convertible)
{
	.can_convert = true,
};

/* No write protection when logging starts, but when the log is cleared. */
FIXTURE_VARIANT_ADD(memfile_dirty_log, initially_set)
{
	.initially_set = true,
};

static int try_slot(LOG_DATA *self, u32 flags, int gpa_page, int nr, int fd, int page)
{
	return __vm_set_user_memory_region2(self->vm, SLOT, flags, gpa(gpa_page),
					    nr * page_size, NULL, fd, page * page_size);
}

static void set_slot(LOG_DATA *self, u32 flags)
{
	TEST_ASSERT(!try_slot(self, flags, 0, NR_PAGES, self->fd, 0),
		    "Flags 0x%x: errno %d (%s)", flags, errno, strerror(errno));
	TEST_ASSERT_CONSUMERS(self->fd, 1);
}

static struct kvm_vm *create_vm(struct vm_shape shape, struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm = vm_create_shape_with_one_vcpu(shape, vcpu, memfile_guest_code);

	virt_map(vm, gpa(0), gpa(0), NR_PAGES * page_size / vm->page_size);
	return vm;
}

FIXTURE_SETUP(memfile_dirty_log)
{
	struct vm_shape shape = VM_SHAPE_DEFAULT;

	if (variant->can_convert) {
		memfile_require_convert();
		shape = memfile_convert_shape();
	}
	self->vm = create_vm(shape, &self->vcpu);
	TEST_ASSERT_EQ(vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_DIRTY_LOG), 1u);
	self->initially_set = variant->initially_set;
	if (variant->initially_set)
		vm_enable_cap(self->vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
			      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
	self->fd = vm_create_guest_memfd(self->vm, file_size, MMAP | INIT_SHARED);
	self->mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	set_slot(self, GMEM);
}

/* Every test is a process, whose end is one more release that must work. */
FIXTURE_TEARDOWN(memfile_dirty_log)
{
}

static void guest_fill(LOG_DATA *self, int page)
{
	memfile_guest_fill(self->vcpu, gpa(page), pattern(page));
}

static void guest_read(LOG_DATA *self, int page)
{
	memfile_guest_do(self->vcpu, GUEST_READ, gpa(page), 0);
}

/* What is written now shows now, and not once more. */
static void log_is(LOG_DATA *self, u64 want)
{
	u64 log = ~want, again = 0;

	kvm_vm_get_dirty_log(self->vm, SLOT, &log);
	if (self->initially_set) {
		again = log;
		kvm_vm_clear_dirty_log(self->vm, SLOT, &again, 0, NR_PAGES);
	}
	TEST_ASSERT(log == want, "The log is 0x%lx and not 0x%lx", log, want);

	kvm_vm_get_dirty_log(self->vm, SLOT, &again);
	TEST_ASSERT(!again, "After it was read, the log is 0x%lx", again);
}

/* An empty log, of pages that the guest has mapped for reading at the most. */
static void start_log(LOG_DATA *self)
{
	set_slot(self, LOG);
	if (self->initially_set)
		log_is(self, ~0ULL);
	else
		log_is(self, 0);
}

TEST_F(memfile_dirty_log, writes)
{
	int i;

	for (i = 0; i < NR_PAGES; i += 2)
		guest_fill(self, i);
	start_log(self);

	guest_read(self, 0);
	guest_read(self, 2);
	log_is(self, 0);
	guest_read(self, 1);
	log_is(self, READ_FAULT_LOGS << 1);

	/* Present and not, read before and not */
	guest_fill(self, 0);
	guest_fill(self, 1);
	guest_fill(self, 4);
	guest_fill(self, NR_PAGES - 1);
	guest_read(self, 6);
	log_is(self, BIT(0) | BIT(1) | BIT(4) | BIT(NR_PAGES - 1));

	guest_fill(self, 4);
	log_is(self, BIT(4));

	for (i = 0; i < NR_PAGES; i++) {
		guest_fill(self, i);
		log_is(self, BIT(i));
		memfile_guest_check(self->vcpu, gpa(i), pattern(i));
	}
}

/* The end of logging leaves nothing write-protected, and all of it bound. */
TEST_F(memfile_dirty_log, on_and_off)
{
	int round, i;

	for (round = 0; round < 10; round++) {
		start_log(self);
		for (i = 0; i < NR_PAGES; i += 3)
			guest_fill(self, i);
		set_slot(self, GMEM);
		for (i = 0; i < NR_PAGES; i++)
			guest_fill(self, i);
		for (i = 0; i < NR_PAGES; i++)
			TEST_ASSERT_EQ(*(u64 *)(self->mem + i * page_size), pattern(i));
	}
	TEST_ASSERT_PRESENT(self->fd, file_size);
}

/* Whoever takes pages away tells the slot that there is now. */
TEST_F(memfile_dirty_log, invalidations)
{
	int round;

	for (round = 0; round < 4; round++) {
		guest_fill(self, 7);
		set_slot(self, round % 2 ? GMEM : LOG);
		kvm_fallocate(self->fd, MEMFILE_PUNCH, 0, file_size);
		memfile_guest_check(self->vcpu, gpa(7), 0);
	}

	/* It is this slot that goes, and no other is left on the file. */
	vm_set_user_memory_region2(self->vm, SLOT, 0, 0, 0, NULL, -1, 0);
	TEST_ASSERT_CONSUMERS(self->fd, 0);
	memfile_guest_exits_mmio(self->vcpu, gpa(7));
	set_slot(self, LOG);
	guest_fill(self, 7);
}

/* A page keeps its log through conversions, and is logged in either state. */
TEST_F(memfile_dirty_log, conversions)
{
	if (!variant->can_convert)
		SKIP(return, "nothing to convert");

	start_log(self);
	guest_fill(self, 3);
	memfile_convert(self->fd, 0, 8 * page_size, true);
	guest_fill(self, 5);
	guest_read(self, 6);
	log_is(self, BIT(3) | BIT(5) | READ_FAULT_LOGS << 6);
	guest_fill(self, 6);
	memfile_convert(self->fd, 0, 8 * page_size, false);
	log_is(self, BIT(6));
	guest_read(self, 5);
	log_is(self, READ_FAULT_LOGS << 5);
	guest_fill(self, 5);
	log_is(self, BIT(5));
	memfile_guest_check(self->vcpu, gpa(3), pattern(3));
}

/* The flags are all that can change. */
TEST_F(memfile_dirty_log, refused)
{
	int other = vm_create_guest_memfd(self->vm, file_size, MMAP | INIT_SHARED);
	int copy = kvm_dup(self->fd);
	u64 closed_flags = 0;
	u64 log;

#ifdef __x86_64__
	/* Nobody else can have what is in a file that is closed. */
	if (variant->can_convert)
		closed_flags = KVM_MEMORY_EXIT_FLAG_PRIVATE;
#endif
	TEST_ASSERT_ERRNO(try_slot(self, LOG, 0, NR_PAGES, other, 0), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, GMEM, 0, NR_PAGES, other, 0), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, LOG, 0, NR_PAGES, -1, 0), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, LOG, 0, NR_PAGES, self->vm->fd, 0), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, LOG, 0, NR_PAGES, self->fd, 1), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, LOG, 0, NR_PAGES - 1, self->fd, 0), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, LOG, 1, NR_PAGES, self->fd, 0), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, GMEM, 1, NR_PAGES, self->fd, 0), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, 0, 0, NR_PAGES, self->fd, 0), EINVAL);
	TEST_ASSERT_ERRNO(try_slot(self, LOG | KVM_MEM_READONLY, 0, NR_PAGES, self->fd, 0),
			  EINVAL);
	TEST_ASSERT_ERRNO(__vm_set_user_memory_region(self->vm, SLOT, KVM_MEM_LOG_DIRTY_PAGES,
						      gpa(0), file_size, NULL), EINVAL);
	guest_fill(self, 0);
	TEST_ASSERT_ERRNO(ioctl(self->vm->fd, KVM_GET_DIRTY_LOG,
				&(struct kvm_dirty_log){ .slot = SLOT,
							 .dirty_bitmap = &log }), ENOENT);

	/* The same file by another name, and what is so already */
	TEST_ASSERT(!try_slot(self, LOG, 0, NR_PAGES, copy, 0), "%s", strerror(errno));
	set_slot(self, LOG);
	set_slot(self, LOG);

	/* Nobody can name a file that is closed. */
	kvm_munmap(self->mem, file_size);
	kvm_close(copy);
	kvm_close(self->fd);
	TEST_ASSERT_ERRNO(try_slot(self, GMEM, 0, NR_PAGES, self->fd, 0), EINVAL);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(0), closed_flags, EFAULT);
}

/* What userspace cannot read it cannot migrate. */
TEST_F(memfile_dirty_log, private_memory)
{
#ifdef __x86_64__
	int private;

	if (!variant->can_convert)
		SKIP(return, "no private memory");

	memfile_convert(self->fd, (NR_PAGES - 1) * page_size, page_size, true);
	TEST_ASSERT_ERRNO(try_slot(self, LOG, 0, NR_PAGES, self->fd, 0), EINVAL);
	memfile_convert(self->fd, (NR_PAGES - 1) * page_size, page_size, false);
	set_slot(self, LOG);
	memfile_convert(self->fd, (NR_PAGES - 1) * page_size, page_size, true);
	set_slot(self, GMEM);

	private = vm_create_guest_memfd(self->vm, file_size, 0);
	TEST_ASSERT_ERRNO(__vm_set_user_memory_region2(self->vm, SLOT + 1, LOG,
						       gpa(NR_PAGES), file_size, NULL,
						       private, 0), EINVAL);
#else
	if (!variant->can_convert)
		SKIP(return, "no private memory");

	/* Of a VM that is not protected, offsets are private to the VM, not to KVM. */
	memfile_convert(self->fd, 0, file_size, true);
	start_log(self);
	guest_fill(self, 9);
	log_is(self, BIT(9));
#endif
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD_DIRTY_LOG));

	page_size = getpagesize();
	file_size = page_size * NR_PAGES;

	return test_harness_run(argc, argv);
}
