// SPDX-License-Identifier: GPL-2.0
/*
 * What of a guest_memfd is in the direct map of the host, for each way to create one.
 *
 * Some hosts cannot change their direct map, and some were told to leave it alone.  This
 * is about them, too: there all that was asked for is refused, what is said agrees with
 * what is done, and a file that asks for nothing works as it does elsewhere.
 */
#include <fcntl.h>

#include "kvm_test_harness.h"
#include "memfile_util.h"

#define NO_DIRECT_MAP		GUEST_MEMFD_FLAG_NO_DIRECT_MAP
#define PRIVATE_NO_DIRECT_MAP	GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP
#define BOTH			(NO_DIRECT_MAP | PRIVATE_NO_DIRECT_MAP)

#define SLOT			10
#define PATTERN			0x6d656d66696c6531ULL

/* Is @what one of the words in a file? */
static bool file_has(const char *path, const char *what)
{
	char buf[4096], *word, *rest;
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	len = read(fd, buf, sizeof(buf) - 1);
	TEST_ASSERT(len >= 0, "read('%s'): %s", path, strerror(errno));
	kvm_close(fd);
	buf[len] = 0;
	for (word = strtok_r(buf, "\n ", &rest); word; word = strtok_r(NULL, "\n ", &rest)) {
		if (!strcmp(word, what))
			return true;
	}
	return false;
}

/* Was this host booted so that its direct map stays as it is? */
static bool direct_map_is_fixed(void)
{
#ifdef __aarch64__
	return file_has("/proc/cmdline", "rodata=off") ||
	       file_has("/proc/cmdline", "rodata=noalias");
#else
	return false;
#endif
}

FIXTURE(memfile_direct_map)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	u64 listed;
};

FIXTURE_VARIANT(memfile_direct_map)
{
	u64 flags;
};

FIXTURE_VARIANT_ADD(memfile_direct_map, default)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(memfile_direct_map, private)
{
	.flags = PRIVATE_NO_DIRECT_MAP,
};

FIXTURE_VARIANT_ADD(memfile_direct_map, all)
{
	.flags = NO_DIRECT_MAP,
};

FIXTURE_SETUP(memfile_direct_map)
{
	self->vm = vm_create_shape_with_one_vcpu(memfile_convert_shape(), &self->vcpu,
						 memfile_guest_code);
	self->listed = vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_FLAGS);
}

FIXTURE_TEARDOWN(memfile_direct_map)
{
	kvm_vm_free(self->vm);
}

/* The page has the pattern in all of it.  Is it in the direct map? */
static void check_page(int fd, u64 phys, bool absent)
{
	u64 words[16] = {};

	TEST_ASSERT_EQ(memfile_fdinfo(fd, "memfile-no-direct-map"),
		       absent ? (long)getpagesize() : 0L);
	if (memfile_read_kcore(phys, words, sizeof(words)))
		TEST_ASSERT(words[0] == (absent ? 0 : PATTERN),
			    "The kernel should have %s there, it reads 0x%lx",
			    absent ? "no memory" : "the guest's", words[0]);
}

TEST_F(memfile_direct_map, files)
{
	const u64 kept = vm_check_cap(self->vm, KVM_CAP_GUEST_MEMFD_DIRECT_MAP);
	const u64 flags = variant->flags ? variant->flags : kept;
	const size_t size = getpagesize();
	u64 phys;
	char *mem;
	int fd;

	if (variant->flags & ~self->listed) {
		TEST_ASSERT_ERRNO(__vm_create_guest_memfd(self->vm, size,
							  GUEST_MEMFD_FLAG_MMAP |
							  variant->flags), EINVAL);
		return;
	}

	fd = vm_create_guest_memfd(self->vm, size, GUEST_MEMFD_FLAG_MMAP |
				   GUEST_MEMFD_FLAG_INIT_SHARED | variant->flags);
	mem = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	virt_map(self->vm, MEMFILE_GPA, MEMFILE_GPA, size / self->vm->page_size);
	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, MEMFILE_GPA, size,
				   NULL, fd, 0);

	memfile_guest_fill(self->vcpu, MEMFILE_GPA, PATTERN);
	TEST_ASSERT_EQ(READ_ONCE(*(u64 *)mem), PATTERN);
	phys = memfile_phys(mem);
	check_page(fd, phys, flags & NO_DIRECT_MAP);

	memfile_convert(fd, 0, size, true);
	check_page(fd, phys, flags);
	memfile_guest_check(self->vcpu, MEMFILE_GPA, PATTERN);

	memfile_convert(fd, 0, size, false);
	check_page(fd, phys, flags & NO_DIRECT_MAP);
	TEST_ASSERT_EQ(READ_ONCE(*(u64 *)mem), PATTERN);

	kvm_munmap(mem, size);
	kvm_close(fd);
}

/* What KVM says must follow from how the host was booted. */
TEST(capabilities)
{
	const char *policy = "/sys/module/memfile/parameters/private_direct_map";
	const bool keep = file_has(policy, "keep");
	struct kvm_vm *vm = vm_create_barebones_type(memfile_convert_shape().type);
	const u64 listed = vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS);

	TEST_ASSERT(keep != file_has(policy, "remove"), "The policy is neither keep nor remove");
	if (file_has("/proc/cmdline", "memfile.private_direct_map=keep"))
		TEST_ASSERT(keep, "The policy is not what the command line says");
	if (direct_map_is_fixed())
		TEST_ASSERT(!(listed & BOTH), "Flags 0x%lx with a direct map that is fixed",
			    listed);
	TEST_ASSERT_EQ((u64)vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_DIRECT_MAP),
		       keep ? 0 : listed & PRIVATE_NO_DIRECT_MAP);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	memfile_require_convert();

	return test_harness_run(argc, argv);
}
