// SPDX-License-Identifier: GPL-2.0
/*
 * What a VMM sees that uses guest_memfd in a way that cannot work.
 *
 * Documentation/virt/kvm/guest-memory-files.rst has a table of symptoms and causes. For
 * each row there is a test case of the row's name: it provides each of the causes that
 * a test can provide, and expects the symptom.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"
#ifdef __aarch64__
#include "arm64/pvm.h"
#else
#include "x86/flds_emulation.h"
#endif

#define NR_PAGES	8
#define NR_GPA_PAGES	32
#define SLOT		10
#define FLAGS		(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)
#define PATTERN		0x5ec0de0000000001ULL

static size_t page_size;
static size_t file_size;

static gpa_t gpa(int page)
{
	return MEMFILE_GPA + page * page_size;
}

/* What works: a file that is mapped, and in a slot from gpa(0) on. */
FIXTURE(symptoms)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int fd;
	char *mem;
};

static int try_create(struct kvm_vm *vm, u64 size, u64 flags)
{
	int fd = __vm_create_guest_memfd(vm, size, flags);

	if (fd < 0)
		return errno;
	kvm_close(fd);
	return 0;
}

static int try_slot(struct kvm_vm *vm, u32 slot, u32 flags, gpa_t at, u64 size, int fd,
		    u64 offset)
{
	return __vm_set_user_memory_region2(vm, slot, flags | KVM_MEM_GUEST_MEMFD, at, size,
					    NULL, fd, offset) ? errno : 0;
}

FIXTURE_SETUP(symptoms)
{
	self->vm = vm_create_shape_with_one_vcpu(memfile_convert_shape(), &self->vcpu,
						 memfile_guest_code);
	virt_map(self->vm, gpa(0), gpa(0), NR_GPA_PAGES * page_size / self->vm->page_size);
	self->fd = vm_create_guest_memfd(self->vm, file_size, FLAGS);
	self->mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	ASSERT_EQ(0, try_slot(self->vm, SLOT, 0, gpa(0), file_size, self->fd, 0));
	memfile_guest_fill(self->vcpu, gpa(0), PATTERN);
}

FIXTURE_TEARDOWN(symptoms)
{
}

TEST_F(symptoms, create_einval)
{
	const u64 listed = vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_FLAGS);
	int i;

	for (i = 0; i < 64; i++) {
		ASSERT_EQ(listed & BIT_ULL(i) ? 0 : EINVAL,
			  try_create(self->vm, file_size, BIT_ULL(i)));
	}
	if (listed & GUEST_MEMFD_FLAG_NO_DIRECT_MAP &&
	    listed & GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP)
		ASSERT_EQ(EINVAL, try_create(self->vm, file_size, GUEST_MEMFD_FLAG_NO_DIRECT_MAP |
					     GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP));
	ASSERT_EQ(EINVAL, try_create(self->vm, 0, FLAGS));
	ASSERT_EQ(EINVAL, try_create(self->vm, file_size + 1, FLAGS));
	ASSERT_EQ(EINVAL, try_create(self->vm, page_size / 2, FLAGS));
	ASSERT_EQ(0, try_create(self->vm, file_size, FLAGS));
}

TEST_F(symptoms, mmap_enodev)
{
	int fd = vm_create_guest_memfd(self->vm, file_size, GUEST_MEMFD_FLAG_INIT_SHARED);

	TEST_ASSERT_ERRNO(mmap(NULL, file_size, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
}

TEST_F(symptoms, mmap_einval)
{
	TEST_ASSERT_ERRNO(mmap(NULL, file_size, PROT_READ, MAP_PRIVATE, self->fd, 0), EINVAL);
}

static sigjmp_buf after_sigbus;
static volatile sig_atomic_t sigbus_code;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	sigbus_code = info->si_code;
	siglongjmp(after_sigbus, 1);
}

/* The si_code of the SIGBUS that a load gets, or 0. */
static int load(const char *at)
{
	sigbus_code = 0;
	if (!sigsetjmp(after_sigbus, 1))
		READ_ONCE(*at);
	return sigbus_code;
}

static void catch_sigbus(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
}

/* Whoever injects an error may be the one who gets the signal. */
static bool poison(char *page)
{
	int r = 0;

	if (!sigsetjmp(after_sigbus, 1))
		r = madvise(page, page_size, MADV_HWPOISON);
	TEST_ASSERT(!r || errno == EBUSY || errno == EINVAL || errno == EPERM,
		    "MADV_HWPOISON: %s", strerror(errno));
	return !r || errno == EBUSY;
}

TEST_F(symptoms, sigbus)
{
	char *mem;

	catch_sigbus();
	memfile_convert(self->fd, 0, page_size, true);
	ASSERT_EQ(BUS_ADRERR, load(self->mem));
	memfile_convert(self->fd, 0, page_size, false);
	ASSERT_EQ(0, load(self->mem));

	mem = kvm_mmap(2 * file_size, PROT_READ, MAP_SHARED, self->fd);
	ASSERT_EQ(0, load(mem + file_size - page_size));
	ASSERT_EQ(BUS_ADRERR, load(mem + file_size));

	if (!poison(self->mem + page_size))
		SKIP(return, "cannot inject memory errors");
	ASSERT_EQ(BUS_MCEERR_AR, load(self->mem + page_size));
}

TEST_F(symptoms, buffer_efault)
{
	struct iovec here = { .iov_base = &here, .iov_len = 8 }, there = { .iov_len = 8 };
	int to, fd;

	to = memfd_create("copy", MFD_CLOEXEC);
	ASSERT_LE(0, to);
	ASSERT_EQ(8, pwrite(to, self->mem, 8, 0));
	memfile_convert(self->fd, 0, page_size, true);
	TEST_ASSERT_ERRNO(pwrite(to, self->mem, 8, 0), EFAULT);
	TEST_ASSERT_ERRNO(pread(to, self->mem, 8, 0), EFAULT);

	fd = __vm_create_guest_memfd(self->vm, file_size, FLAGS | GUEST_MEMFD_FLAG_NO_DIRECT_MAP);
	if (fd < 0)
		SKIP(return, "KVM_CAP_GUEST_MEMFD_FLAGS has no NO_DIRECT_MAP");
	there.iov_base = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_EQ(8, pwrite(to, there.iov_base, 8, 0));
	TEST_ASSERT_ERRNO(process_vm_readv(getpid(), &here, 1, &there, 1, 0), EFAULT);
}

TEST_F(symptoms, slot_eexist)
{
	ASSERT_EQ(EEXIST, try_slot(self->vm, SLOT + 1, 0, gpa(NR_PAGES), page_size, self->fd, 0));
	ASSERT_EQ(EEXIST, try_slot(self->vm, SLOT + 1, 0, gpa(NR_PAGES), file_size, self->fd, 0));
	/* So are guest addresses that are in another slot. */
	ASSERT_EQ(EEXIST, try_slot(self->vm, SLOT + 1, 0, gpa(1), page_size,
				   vm_create_guest_memfd(self->vm, file_size, FLAGS), 0));
}

TEST_F(symptoms, slot_einval)
{
	struct kvm_vm *other = vm_create_barebones_type(memfile_convert_shape().type);
	int fd = vm_create_guest_memfd(self->vm, file_size, FLAGS);
	const gpa_t at = gpa(NR_PAGES);

	ASSERT_EQ(EINVAL, try_slot(self->vm, SLOT + 1, 0, at + 1, page_size, fd, 0));
	ASSERT_EQ(EINVAL, try_slot(self->vm, SLOT + 1, 0, at, page_size + 1, fd, 0));
	ASSERT_EQ(EINVAL, try_slot(self->vm, SLOT + 1, 0, at, page_size, fd, 1));
	ASSERT_EQ(EINVAL, try_slot(self->vm, SLOT + 1, 0, at, file_size, fd, page_size));
	ASSERT_EQ(EINVAL, try_slot(other, SLOT + 1, 0, at, file_size, fd, 0));
	ASSERT_EQ(EINVAL, try_slot(self->vm, SLOT, KVM_MEM_READONLY, gpa(0), file_size,
				   self->fd, 0));
	ASSERT_EQ(EINVAL, try_slot(self->vm, SLOT, 0, at, file_size, self->fd, 0));
#ifdef __x86_64__
	vm_mem_set_private(self->vm, at, page_size);
	ASSERT_EQ(EINVAL, try_slot(self->vm, SLOT + 1, 0, at, file_size, fd, 0));
	vm_mem_set_shared(self->vm, at, page_size);
#endif
	ASSERT_EQ(0, try_slot(self->vm, SLOT + 1, 0, at, file_size, fd, 0));
}

TEST_F(symptoms, convert_ebusy)
{
	int ring = memfile_pin(self->mem + page_size, page_size);

	if (ring < 0)
		SKIP(return, "no io_uring");
	TEST_ASSERT_CONVERT_FAILS(self->fd, 0, file_size, true, EBUSY, page_size);
	memfile_unpin(ring);
	memfile_convert(self->fd, 0, file_size, true);
}

TEST_F(symptoms, convert_eagain)
{
	struct iovec iov = { .iov_base = self->mem + page_size, .iov_len = 64 };
	char buf[64];
	int fds[2], i;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(64, vmsplice(fds[1], &iov, 1, 0));
	for (i = 0; i < 5; i++)
		TEST_ASSERT_CONVERT_FAILS(self->fd, 0, file_size, true, EAGAIN, page_size);
	ASSERT_EQ(64, read(fds[0], buf, 64));
	memfile_convert(self->fd, 0, file_size, true);
}

#ifdef __x86_64__
#define PRIVATE		KVM_MEMORY_EXIT_FLAG_PRIVATE
#else
#define PRIVATE		0
#endif

TEST_F(symptoms, run_efault)
{
	kvm_munmap(self->mem, file_size);
	kvm_close(self->fd);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(1), PRIVATE, EFAULT);
	memfile_guest_faults(self->vcpu, GUEST_FILL, gpa(0), PRIVATE, EFAULT);
}

TEST_F(symptoms, run_ehwpoison)
{
	catch_sigbus();
	WRITE_ONCE(self->mem[page_size], 1);
	if (!poison(self->mem + page_size))
		SKIP(return, "cannot inject memory errors");
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(1), 0, EHWPOISON);
}

TEST_F(symptoms, run_mmio)
{
	memfile_guest_exits_mmio(self->vcpu, gpa(NR_PAGES));
	vm_set_user_memory_region2(self->vm, SLOT, 0, 0, 0, NULL, -1, 0);
	memfile_guest_exits_mmio(self->vcpu, gpa(0));
}

TEST_F(symptoms, zeros)
{
	const int content = KVM_GUEST_MEMFD_CONTENT_TO_SHARED | KVM_GUEST_MEMFD_CONTENT_TO_PRIVATE;

	kvm_fallocate(self->fd, MEMFILE_PUNCH, 0, page_size);
	memfile_guest_check(self->vcpu, gpa(0), 0);

	/* No other cause can be had where content survives all conversions. */
	ASSERT_EQ(content, vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_CONTENT));
	memfile_guest_fill(self->vcpu, gpa(0), PATTERN);
	memfile_convert(self->fd, 0, page_size, true);
	memfile_guest_check(self->vcpu, gpa(0), PATTERN);
	memfile_convert(self->fd, 0, page_size, false);
	memfile_guest_check(self->vcpu, gpa(0), PATTERN);
}

#ifdef __x86_64__
TEST_F(symptoms, convert_eopnotsupp)
{
	struct kvm_memory_attributes2 attrs = { .size = file_size };
	struct kvm_vm *plain = vm_create_barebones();
	int fd;

	fd = vm_create_guest_memfd(plain, file_size, FLAGS);
	TEST_ASSERT_ERRNO(ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES2, &attrs), EOPNOTSUPP);
	fd = vm_create_guest_memfd(self->vm, file_size, 0);
	TEST_ASSERT_ERRNO(ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES2, &attrs), EOPNOTSUPP);
}

TEST_F(symptoms, attributes_einval)
{
	struct kvm_memory_attributes attrs = {
		.address = gpa(0),
		.size = page_size,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};

	TEST_ASSERT_ERRNO(__vm_ioctl(self->vm, KVM_SET_MEMORY_ATTRIBUTES, &attrs), EINVAL);
}

/* Memory of one kind only, and the guest's access is of the other one. */
TEST_F(symptoms, run_efault_other_kind)
{
	vm_mem_set_private(self->vm, gpa(NR_PAGES), page_size);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(NR_PAGES), PRIVATE, EFAULT);
}

static void guest_asks(gpa_t at)
{
	kvm_hypercall(KVM_HC_MAP_GPA_RANGE, at, 1,
		      KVM_MAP_GPA_RANGE_ENCRYPTED | KVM_MAP_GPA_RANGE_PAGE_SZ_4K, 0);
	GUEST_DONE();
}

/* One vCPU has asked for a conversion, another one does not wait for it. */
TEST_F(symptoms, run_efault_being_converted)
{
	struct kvm_vcpu *asks;

	vm_enable_cap(self->vm, KVM_CAP_EXIT_HYPERCALL, BIT(KVM_HC_MAP_GPA_RANGE));
	asks = vm_vcpu_add(self->vm, 1, guest_asks);
	vcpu_args_set(asks, 1, gpa(0));
	vcpu_run(asks);
	TEST_ASSERT_KVM_EXIT_REASON(asks, KVM_EXIT_HYPERCALL);
	memfile_guest_faults(self->vcpu, GUEST_READ, gpa(0), 0, EFAULT);
	memfile_guest_check(self->vcpu, gpa(1), 0);

	memfile_convert(self->fd, 0, page_size, true);
	asks->run->hypercall.ret = 0;
	vcpu_run(asks);
	TEST_ASSERT_EQ(get_ucall(asks, NULL), (u64)UCALL_DONE);
	memfile_guest_check(self->vcpu, gpa(0), PATTERN);
}

static void guest_flds(u64 at)
{
	flds(at);
}

TEST_F(symptoms, run_internal_error)
{
	vcpu_args_set(self->vcpu, 1, gpa(NR_PAGES));
	vcpu_arch_set_entry_point(self->vcpu, guest_flds);
	vcpu_run(self->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpu, KVM_EXIT_INTERNAL_ERROR);
	TEST_ASSERT_EQ(self->vcpu->run->internal.suberror, (u32)KVM_INTERNAL_ERROR_EMULATION);
}

/* All of the guest's memory is gone, its page tables for one. */
TEST(run_shutdown)
{
	struct userspace_mem_region *region;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	setenv("KVM_SELFTEST_MEM_SRC", "guest_memfd", 1);
	vm = vm_create_shape_with_one_vcpu(memfile_convert_shape(), &vcpu, memfile_guest_code);
	region = memslot2region(vm, 0);
	kvm_fallocate(region->fd, MEMFILE_PUNCH, 0, region->region.memory_size);
	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_SHUTDOWN);
}

/* As set_tsc_rate() of samples/memfile does it. */
TEST_F(symptoms, late_timers)
{
	unsigned long khz = __vcpu_ioctl(self->vcpu, KVM_GET_TSC_KHZ, NULL);
	int tries;

	ASSERT_LT(0, khz);
	for (tries = 0; tries < 100; tries++, khz += khz / 5000) {
		if (!__vcpu_ioctl(self->vcpu, KVM_SET_TSC_KHZ, (void *)khz))
			break;
		ASSERT_EQ(EINVAL, errno);
	}
	ASSERT_GT(100, tries);

	if (kvm_has_cap(KVM_CAP_TSC_CONTROL))
		SKIP(return, "KVM refuses no rate where it can scale the TSC");
	TEST_ASSERT_ERRNO(__vcpu_ioctl(self->vcpu, KVM_SET_TSC_KHZ, (void *)(khz / 2)), EINVAL);
}
#else
static void guest_load_pair(u64 at)
{
	asm volatile("ldp x2, x3, [%0]" : : "r" (at) : "x2", "x3", "memory");
}

TEST_F(symptoms, run_enosys)
{
	vcpu_args_set(self->vcpu, 1, gpa(NR_PAGES));
	vcpu_arch_set_entry_point(self->vcpu, guest_load_pair);
	TEST_ASSERT_EQ(_vcpu_run(self->vcpu), -1);
	TEST_ASSERT_EQ(errno, ENOSYS);
}

TEST(convert_eperm)
{
	struct pvm pvm;

	if (!pvm_supported())
		SKIP(return, "needs kvm-arm.mode=protected");
	pvm_create(&pvm, 1, NR_PAGES, 0, FLAGS);
	pvm_fill(&pvm.vcpus[0], PVM_FIRST_PAGE, PATTERN);
	TEST_ASSERT_CONVERT_FAILS(pvm.fd, PVM_FIRST_PAGE * page_size, page_size, false, EPERM,
				  PVM_FIRST_PAGE * page_size);
}

/* A protected guest whose memory is of the other kind, and one that it was taken from */
TEST(run_efault_protected)
{
	struct pvm pvm;

	if (!pvm_supported())
		SKIP(return, "needs kvm-arm.mode=protected");
	pvm_create(&pvm, 1, NR_PAGES, 1, FLAGS);
	pvm_faults(&pvm.vcpus[0], PVM_READ, NR_PAGES - 1);
	pvm_fill(&pvm.vcpus[0], PVM_FIRST_PAGE, PATTERN);
	kvm_fallocate(pvm.fd, MEMFILE_PUNCH, PVM_FIRST_PAGE * page_size, page_size);
	pvm_faults(&pvm.vcpus[0], PVM_READ, PVM_FIRST_PAGE);
}
#endif

int main(int argc, char *argv[])
{
	page_size = getpagesize();
	file_size = page_size * NR_PAGES;

	memfile_require_convert();

	return test_harness_run(argc, argv);
}
