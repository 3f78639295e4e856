// SPDX-License-Identifier: GPL-2.0
/*
 * What userspace cannot see, or bring about, of guest_memfd: who is asked to give pages
 * back, and what becomes of a VM if the sanitizer of memory files finds that a step was
 * taken with its memory that must not be.  The VM is a real one, made through /dev/kvm,
 * and so are its vCPU and its guest_memfd.  It never gets to run guest code.
 */
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs_struct.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/kvm_host.h>
#include <linux/memfile.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/pid.h>
#include <linux/sched/task.h>
#include <linux/uaccess.h>

#include <kunit/static_stub.h>
#include <kunit/test.h>

#include "../../mm/memfile/sanitizer.h"
#include "guest_memfd.h"

/**
 * struct vm_type - a kind of VM whose memory can be private
 * @number: For KVM_CREATE_VM.
 * @guarded: Whether something other than KVM guards private pages.
 */
struct vm_type {
	unsigned long number;
	bool guarded;
};

static const struct vm_type vm_types[] = {
#ifdef CONFIG_X86
	{ KVM_X86_SW_PROTECTED_VM },
#endif
#ifdef CONFIG_ARM64
	{ 0 },
	{ KVM_VM_TYPE_ARM_PROTECTED, .guarded = true },
#endif
};

/**
 * struct vm - a VM, as its VMM sees it
 * @vm: File of the VM.
 * @vcpu: File of its vCPU.
 * @gmem: File of its memory.
 */
struct vm {
	struct file *vm;
	struct file *vcpu;
	struct file *gmem;
};

static long do_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return file->f_op->unlocked_ioctl(file, cmd, arg);
}

static void put_file(void *file)
{
	fput(file);
}

static struct file *keep_file(struct kunit *test, struct file *file)
{
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_file, file));
	return file;
}

static void close_descriptor(void *fd)
{
	close_fd((unsigned long)fd);
}

/* The file that an ioctl has made. */
static struct file *keep_fd(struct kunit *test, long fd)
{
	KUNIT_ASSERT_GE(test, fd, 0);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, close_descriptor, (void *)fd));
	return keep_file(test, fget(fd));
}

/* Asks with an argument in memory of userspace. */
static long ioctl_user(struct file *file, unsigned int cmd, void __user *argp,
		       const void *arg, unsigned long size)
{
	return copy_to_user(argp, arg, size) ? -EFAULT :
	       do_ioctl(file, cmd, (__force unsigned long)argp);
}

/* A kernel thread sees no file system; so it looks where init does. */
static struct file *open_kvm(void)
{
	struct task_struct *init = get_pid_task(find_vpid(1), PIDTYPE_PID);
	struct path root;
	struct file *kvm;

	if (!init)
		return ERR_PTR(-ESRCH);
	task_lock(init);
	get_fs_root(init->fs, &root);
	task_unlock(init);
	put_task_struct(init);
	kvm = file_open_root(&root, "dev/kvm", O_RDWR, 0);
	path_put(&root);
	return kvm;
}

/* What there is to do until a vCPU can run. */
static void init_vcpu(struct kunit *test, struct vm *vm, void __user *argp)
{
#ifdef CONFIG_ARM64
	unsigned long arg = (__force unsigned long)argp;

	KUNIT_ASSERT_EQ(test, 0, do_ioctl(vm->vm, KVM_ARM_PREFERRED_TARGET, arg));
	KUNIT_ASSERT_EQ(test, 0, do_ioctl(vm->vcpu, KVM_ARM_VCPU_INIT, arg));
#endif
}

static struct vm create_vm(struct kunit *test)
{
	const struct vm_type *type = test->param_value;
	struct kvm_create_guest_memfd create = { .size = PAGE_SIZE };
	struct kvm_userspace_memory_region2 region = {
		.flags = KVM_MEM_GUEST_MEMFD,
		.memory_size = PAGE_SIZE,
	};
	struct file *kvm;
	void __user *argp;
	struct vm vm;
	long fd;

	argp = (void __user *)kunit_vm_mmap(test, NULL, 0, 2 * PAGE_SIZE,
					    PROT_READ | PROT_WRITE,
					    MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_NULL(test, argp);

	kvm = open_kvm();
	if (IS_ERR(kvm))
		kunit_skip(test, "no /dev/kvm");
	keep_file(test, kvm);
	fd = do_ioctl(kvm, KVM_CREATE_VM, type->number);
	if (fd == -EINVAL)
		kunit_skip(test, "no such VMs");
	vm.vm = keep_fd(test, fd);
	vm.vcpu = keep_fd(test, do_ioctl(vm.vm, KVM_CREATE_VCPU, 0));
	init_vcpu(test, &vm, argp);

	fd = ioctl_user(vm.vm, KVM_CREATE_GUEST_MEMFD, argp, &create, sizeof(create));
	KUNIT_ASSERT_GE(test, fd, 0);
	region.guest_memfd = fd;
	region.userspace_addr = (__force u64)argp + PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, 0, ioctl_user(vm.vm, KVM_SET_USER_MEMORY_REGION2, argp,
					    &region, sizeof(region)));
	vm.gmem = keep_fd(test, fd);
	KUNIT_ASSERT_EQ(test, 0, vfs_fallocate(vm.gmem, FALLOC_FL_KEEP_SIZE, 0, PAGE_SIZE));
	return vm;
}

/* KVM_RUN, of which it is clear that it will not enter the guest. */
static long run(struct vm *vm)
{
	struct kvm_vcpu *vcpu = vm->vcpu->private_data;

	vcpu->run->immediate_exit__unsafe = 1;
	return do_ioctl(vm->vcpu, KVM_RUN, 0);
}

static void expect_alive(struct kunit *test, struct vm *vm)
{
	struct kvm_vcpu *vcpu = vm->vcpu->private_data;

	KUNIT_EXPECT_EQ(test, run(vm), -EINTR);
	KUNIT_EXPECT_FALSE(test, kvm_test_request(KVM_REQ_VM_DEAD, vcpu));
	KUNIT_EXPECT_GT(test, do_ioctl(vm->vm, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS), 0);
}

static unsigned int nr_reported;

static void count_reports(const struct memfile_violation *violation)
{
	nr_reported++;
}

/* Private memory is not for the host. */
static void access_private(struct kunit *test, struct vm *vm)
{
	struct folio *folio = filemap_get_folio(vm->gmem->f_mapping, 0);

	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	memfile_kernel_access(&folio->page);
	folio_put(folio);
	memfile_sanitizer_flush();
}

/* The VM that is concerned is dead: nothing can be done with it but close it. */
static void violation_ends_vm(struct kunit *test)
{
	struct vm vm = create_vm(test), other = create_vm(test);
	struct kvm_vcpu *vcpu = vm.vcpu->private_data;

	expect_alive(test, &vm);
	expect_alive(test, &other);
	access_private(test, &vm);
	KUNIT_EXPECT_EQ(test, 1, nr_reported);

	/* A vCPU that is running leaves the guest, and KVM_RUN, too. */
	KUNIT_EXPECT_TRUE(test, kvm_test_request(KVM_REQ_VM_DEAD, vcpu));
	KUNIT_EXPECT_EQ(test, run(&vm), -EIO);
	KUNIT_EXPECT_EQ(test, do_ioctl(vm.vcpu, KVM_GET_MP_STATE, 0), -EIO);
	KUNIT_EXPECT_EQ(test, do_ioctl(vm.vm, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS), -EIO);
	KUNIT_EXPECT_EQ(test, do_ioctl(vm.vm, KVM_CREATE_VCPU, 1), -EIO);
	expect_alive(test, &other);
}

#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_RECLAIM
static unsigned int nr_reclaimed;

static int count_reclaimed(unsigned long pfn, unsigned long nr)
{
	nr_reclaimed += nr;
	return 0;
}

/* What nobody guards, nobody has to give back: whoever was asked might wipe it. */
static void guarded_pages_are_reclaimed(struct kunit *test)
{
	const struct vm_type *type = test->param_value;
	struct vm vm = create_vm(test);

	nr_reclaimed = 0;
	kunit_activate_static_stub(test, kvm_gmem_reclaim, count_reclaimed);
	KUNIT_EXPECT_EQ(test, 0, vfs_fallocate(vm.gmem,
					       FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
					       0, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, nr_reclaimed, type->guarded);
}
#endif

static int gmem_vm_init(struct kunit *test)
{
	nr_reported = 0;
	kunit_activate_static_stub(test, memfile_report, count_reports);
	return 0;
}

static void describe_type(const struct vm_type *type, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "type %#lx", type->number);
}

KUNIT_ARRAY_PARAM(vm_types, vm_types, describe_type);

static struct kunit_case gmem_vm_cases[] = {
#ifdef CONFIG_HAVE_KVM_ARCH_GMEM_RECLAIM
	KUNIT_CASE_PARAM(guarded_pages_are_reclaimed, vm_types_gen_params),
#endif
	KUNIT_CASE_PARAM(violation_ends_vm, vm_types_gen_params),
	{}
};

static struct kunit_suite gmem_vm_suite = {
	.name = "kvm_gmem_vm",
	.init = gmem_vm_init,
	.test_cases = gmem_vm_cases,
};

kunit_test_suite(gmem_vm_suite);

MODULE_DESCRIPTION("KUnit tests of guest_memfd as part of a VM");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
