// SPDX-License-Identifier: GPL-2.0
/*
 * A plain VM, all of whose memory (code, data, page tables) is guest_memfd that the
 * kernel has no direct map of: what KVM itself reads and writes there, for the guest,
 * and what becomes of that when the page goes.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <asm/kvm_para.h>
#include <asm/pvclock-abi.h>

#include "apic.h"
#include "kvm_test_harness.h"
#include "memfile_util.h"
#include "svm_util.h"
#include "userfaultfd_util.h"

#define NR_PAGES	16
#define SIZE		(NR_PAGES * PAGE_SIZE)
#define SLOT		10
#define FLAGS		(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |	\
			 GUEST_MEMFD_FLAG_NO_DIRECT_MAP)

#define MMIO_GPA	(MEMFILE_GPA + SZ_1G)
#define MMIO_ANSWER	0x6d6d696f00112233ULL

#define PAGE_CLOCK	1
#define PAGE_STEAL	2
#define PAGE_DATA	3
#define PAGE_VMCB	4

/* Behind the file: what the guest has in ordinary memory, and how it is told of it */
#define PAGE_ABSENT	NR_PAGES
#define NR_ABSENT	2
#define READY_VECTOR	0xec

enum guest_op {
	OP_NOTHING,
	OP_WRMSR,	/* @arg0, @arg1; the result is the exception or 0 */
	OP_MOVS,	/* from MMIO at @arg0 to memory at @arg1 */
	OP_NESTED,	/* the exit code of an L2 that does VMMCALL */
	OP_FILL,	/* page @arg0 with @arg1 */
	OP_CHECK,	/* the number of words in page @arg0 that are not @arg1 */
	OP_ABSENT,	/* the word at @arg0, that KVM is to tell of by @arg1 when it is there */
};

struct guest_cmd {
	u64 op;
	u64 arg0;
	u64 arg1;
};

static struct guest_cmd guest_cmd;

static gpa_t gpa(int page)
{
	return MEMFILE_GPA + page * PAGE_SIZE;
}

/* How often KVM has told the guest to wait, and to go on; and for what */
static u64 nr_waits, nr_ready;
static u64 waits_for;
static bool woken;

static struct kvm_vcpu_pv_apf_data *guest_apf_data(void)
{
	return (void *)gpa(PAGE_DATA);
}

/* The token is in CR2, and the reason is a word that KVM has written before. */
static void guest_pf_handler(struct ex_regs *regs)
{
	struct kvm_vcpu_pv_apf_data *data = guest_apf_data();

	GUEST_ASSERT_EQ(READ_ONCE(data->flags), KVM_PV_REASON_PAGE_NOT_PRESENT);
	asm volatile("mov %%cr2, %0" : "=r"(waits_for));
	WRITE_ONCE(data->flags, 0);
	WRITE_ONCE(nr_waits, nr_waits + 1);
}

static void guest_ready_handler(struct ex_regs *regs)
{
	struct kvm_vcpu_pv_apf_data *data = guest_apf_data();
	u32 token = READ_ONCE(data->token);

	WRITE_ONCE(data->token, 0);
	wrmsr(MSR_KVM_ASYNC_PF_ACK, 1);
	x2apic_write_reg(APIC_EOI, 0);
	/* Enabled, KVM tells the guest that there is nothing any more that it waits for. */
	if (token == ~0U) {
		WRITE_ONCE(woken, true);
		return;
	}
	GUEST_ASSERT_EQ(token, (u32)waits_for);
	WRITE_ONCE(nr_ready, nr_ready + 1);
}

static u64 guest_read_absent(u64 *word, u64 apf)
{
	u64 before = nr_ready, val;

	x2apic_enable();
	woken = false;
	wrmsr(MSR_KVM_ASYNC_PF_INT, READY_VECTOR);
	wrmsr(MSR_KVM_ASYNC_PF_EN, apf);
	/* With an interrupt to come that it cannot take, a vCPU is not told to wait. */
	sti_nop();
	while (!READ_ONCE(woken))
		cpu_relax();
	/* Told to wait, the guest tries it again, and KVM has the vCPU wait. */
	val = READ_ONCE(*word);
	while (READ_ONCE(nr_ready) == before)
		cpu_relax();
	cli();
	return val;
}

static void l2_guest_code(void)
{
	vmmcall();
}

static void guest_code(struct svm_test_data *svm)
{
	for (;;) {
		u64 op = READ_ONCE(guest_cmd.op);
		u64 arg0 = READ_ONCE(guest_cmd.arg0);
		u64 arg1 = READ_ONCE(guest_cmd.arg1);
		u64 *page = (u64 *)arg0;
		u64 result = 0;
		int i;

		switch (op) {
		case OP_WRMSR:
			result = wrmsr_safe(arg0, arg1);
			break;
		case OP_MOVS:
			asm volatile("movsq" : "+S"(arg0), "+D"(arg1) : : "memory");
			break;
		case OP_NESTED:
			generic_svm_setup(svm, l2_guest_code);
			run_guest(svm->vmcb, svm->vmcb_gpa);
			result = READ_ONCE(svm->vmcb->control.exit_code);
			break;
		case OP_FILL:
			for (i = 0; i < MEMFILE_PAGE_WORDS; i++)
				WRITE_ONCE(page[i], arg1);
			break;
		case OP_CHECK:
			for (i = 0; i < MEMFILE_PAGE_WORDS; i++)
				result += READ_ONCE(page[i]) != arg1;
			break;
		case OP_ABSENT:
			result = guest_read_absent(page, arg1);
			break;
		}
		GUEST_SYNC1(result);
	}
}

FIXTURE(no_direct_map)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct svm_test_data *svm;
	char *mem;
	int fd;
};

static FIXTURE_DATA(no_direct_map) setup(struct vm_shape shape, u64 flags)
{
	FIXTURE_DATA(no_direct_map) self = {};
	gva_t svm_gva = 0;

	self.vm = vm_create_shape_with_one_vcpu(shape, &self.vcpu, guest_code);
	if (kvm_cpu_has(X86_FEATURE_SVM))
		self.svm = vcpu_alloc_svm(self.vm, &svm_gva);
	vcpu_args_set(self.vcpu, 1, svm_gva);
	virt_map(self.vm, gpa(0), gpa(0), 2 * NR_PAGES);
	virt_map(self.vm, MMIO_GPA, MMIO_GPA, 1);

	self.fd = vm_create_guest_memfd(self.vm, SIZE, flags);
	self.mem = kvm_mmap(SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self.fd);
	vm_set_user_memory_region2(self.vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0), SIZE,
				   self.mem, self.fd, 0);
	return self;
}

FIXTURE_SETUP(no_direct_map)
{
	*self = setup(VM_SHAPE_DEFAULT, FLAGS);
}

FIXTURE_TEARDOWN(no_direct_map)
{
}

static u64 guest_do(struct kvm_vcpu *vcpu, u64 op, u64 arg0, u64 arg1)
{
	struct guest_cmd cmd = { .op = op, .arg0 = arg0, .arg1 = arg1 };
	struct kvm_run *run = vcpu->run;
	const u64 answer = MMIO_ANSWER;
	struct ucall uc;

	write_guest_global(vcpu->vm, guest_cmd, cmd);
	vcpu_run(vcpu);
	if (op == OP_MOVS) {
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MMIO);
		TEST_ASSERT_EQ(run->mmio.phys_addr, arg0);
		TEST_ASSERT_EQ(run->mmio.len, 8u);
		memcpy(run->mmio.data, &answer, sizeof(answer));
		vcpu_run(vcpu);
	}
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), (u64)UCALL_SYNC);
	return uc.args[0];
}

static void enable_clock(struct kvm_vcpu *vcpu, gpa_t at)
{
	TEST_ASSERT_EQ(guest_do(vcpu, OP_WRMSR, MSR_KVM_SYSTEM_TIME_NEW,
				at | KVM_MSR_ENABLED), 0);
}

/* Have KVM write the guest's clock anew, with a time that it has not written before. */
static u64 set_clock(struct kvm_vcpu *vcpu)
{
	struct kvm_clock_data data = {};
	static u64 hours;

	data.clock = ++hours * 3600 * NSEC_PER_SEC;
	vm_ioctl(vcpu->vm, KVM_SET_CLOCK, &data);
	guest_do(vcpu, OP_NOTHING, 0, 0);
	return data.clock;
}

static bool clock_is(const void *page, u64 clock)
{
	const struct pvclock_vcpu_time_info *info = page;

	return info->version && !(info->version & 1) && info->tsc_to_system_mul &&
	       info->system_time / (3600 * NSEC_PER_SEC) == clock / (3600 * NSEC_PER_SEC);
}

static bool page_is(const char *page, int val)
{
	for (int i = 0; i < PAGE_SIZE; i++) {
		if (page[i] != val)
			return false;
	}
	return true;
}

/*
 * How many mappings KVM has of its own, counting the one that was seen last for as long
 * as the TLBs may know of it.
 */
static int kvm_mappings(void)
{
	static char last[64];
	char line[512];
	int nr = 0;
	FILE *f;

	f = fopen("/proc/vmallocinfo", "r");
	TEST_ASSERT(f, "Can't open /proc/vmallocinfo");
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "kvm_gmem_map") || strstr(line, "hva_to_pfn_retry")) {
			nr += sscanf(line, "%63s", last) == 1;
		} else if (*last && strstr(line, "unpurged vm_area") &&
			   !strncmp(line, last, strlen(last))) {
			nr++;
		}
	}
	fclose(f);
	return nr;
}

/* Or all of the others prove nothing. */
TEST_F(no_direct_map, gup)
{
	struct iovec local = { .iov_base = &local, .iov_len = 8 };
	struct iovec remote = { .iov_base = self->mem, .iov_len = 8 };

	memset(self->mem, 1, SIZE);
	TEST_ASSERT_ERRNO(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);

	remote.iov_base = addr_gva2hva(self->vm, (gva_t)&guest_cmd);
	TEST_ASSERT_ERRNO(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
}

TEST_F(no_direct_map, clock)
{
	u64 clock;

	enable_clock(self->vcpu, gpa(PAGE_CLOCK));
	clock = set_clock(self->vcpu);
	ASSERT_TRUE(clock_is(self->mem + PAGE_CLOCK * PAGE_SIZE, clock));

	/* Another place in the same page */
	enable_clock(self->vcpu, gpa(PAGE_CLOCK) + PAGE_SIZE / 2);
	clock = set_clock(self->vcpu);
	ASSERT_TRUE(clock_is(self->mem + PAGE_CLOCK * PAGE_SIZE + PAGE_SIZE / 2, clock));
	ASSERT_FALSE(clock_is(self->mem + PAGE_CLOCK * PAGE_SIZE, clock));
}

/* What the VMM has mapped, and where, does not matter. */
TEST_F(no_direct_map, clock_unmapped)
{
	char *mem = self->mem;
	u64 clock;

	enable_clock(self->vcpu, gpa(PAGE_CLOCK));
	set_clock(self->vcpu);
	kvm_munmap(mem, SIZE);
	clock = set_clock(self->vcpu);
	mem = kvm_mmap(SIZE, PROT_READ, MAP_SHARED, self->fd);
	ASSERT_TRUE(clock_is(mem + PAGE_CLOCK * PAGE_SIZE, clock));
}

/* KVM's mapping goes with the page, TLB entries included, and comes with the next. */
TEST_F(no_direct_map, clock_punched)
{
	char *page = self->mem + PAGE_CLOCK * PAGE_SIZE;
	u64 clock;

	enable_clock(self->vcpu, gpa(PAGE_CLOCK));
	clock = set_clock(self->vcpu);
	ASSERT_TRUE(clock_is(page, clock));
	ASSERT_EQ(kvm_mappings(), 1);

	kvm_fallocate(self->fd, MEMFILE_PUNCH, PAGE_CLOCK * PAGE_SIZE, PAGE_SIZE);
	ASSERT_EQ(kvm_mappings(), 0);
	TEST_ASSERT_PRESENT(self->fd, 0);

	clock = set_clock(self->vcpu);
	ASSERT_TRUE(clock_is(page, clock));
	ASSERT_EQ(kvm_mappings(), 1);

	/* What is not the clock's is not in the way of the clock. */
	kvm_fallocate(self->fd, MEMFILE_PUNCH, 0, PAGE_SIZE);
	ASSERT_EQ(kvm_mappings(), 1);
	clock = set_clock(self->vcpu);
	ASSERT_TRUE(clock_is(page, clock));
}

/* The slot goes, then the page, and the slot comes back. */
TEST_F(no_direct_map, clock_slot)
{
	char *page = self->mem + PAGE_CLOCK * PAGE_SIZE;
	u64 clock;

	enable_clock(self->vcpu, gpa(PAGE_CLOCK));
	set_clock(self->vcpu);
	ASSERT_EQ(kvm_mappings(), 1);
	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0), 0,
				   self->mem, self->fd, 0);
	ASSERT_EQ(kvm_mappings(), 0);

	memset(page, 0x55, PAGE_SIZE);
	set_clock(self->vcpu);
	ASSERT_TRUE(page_is(page, 0x55));

	vm_set_user_memory_region2(self->vm, SLOT, KVM_MEM_GUEST_MEMFD, gpa(0), SIZE,
				   self->mem, self->fd, 0);
	clock = set_clock(self->vcpu);
	ASSERT_TRUE(clock_is(page, clock));
}

/* The file goes. */
TEST_F(no_direct_map, clock_closed)
{
	enable_clock(self->vcpu, gpa(PAGE_CLOCK));
	set_clock(self->vcpu);
	ASSERT_EQ(kvm_mappings(), 1);
	kvm_munmap(self->mem, SIZE);
	kvm_close(self->fd);
	ASSERT_EQ(kvm_mappings(), 0);
	set_clock(self->vcpu);
}

/* An address in the VMM says nothing about guest_memfd: two slots may have the same. */
TEST_F(no_direct_map, clock_same_hva)
{
	int fd = vm_create_guest_memfd(self->vm, SIZE, FLAGS);
	char *mem = kvm_mmap(SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	u64 clock;

	vm_set_user_memory_region2(self->vm, SLOT + 1, KVM_MEM_GUEST_MEMFD, gpa(NR_PAGES),
				   SIZE, self->mem, fd, 0);
	enable_clock(self->vcpu, gpa(PAGE_CLOCK));
	set_clock(self->vcpu);
	enable_clock(self->vcpu, gpa(NR_PAGES + PAGE_CLOCK));
	/* Not before: on its way there the vCPU may write the first one once more. */
	memset(self->mem + PAGE_CLOCK * PAGE_SIZE, 0x55, PAGE_SIZE);
	clock = set_clock(self->vcpu);
	ASSERT_TRUE(page_is(self->mem + PAGE_CLOCK * PAGE_SIZE, 0x55));
	ASSERT_TRUE(clock_is(mem + PAGE_CLOCK * PAGE_SIZE, clock));
}

TEST_F(no_direct_map, steal_time)
{
	struct kvm_steal_time *st = (void *)(self->mem + PAGE_STEAL * PAGE_SIZE);
	u32 version;

	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_KVM_STEAL_TIME));
	ASSERT_EQ(guest_do(self->vcpu, OP_WRMSR, MSR_KVM_STEAL_TIME,
			   gpa(PAGE_STEAL) | KVM_MSR_ENABLED), 0);
	guest_do(self->vcpu, OP_NOTHING, 0, 0);
	version = st->version;
	ASSERT_NE(version, 0);
	ASSERT_EQ(version & 1, 0);
	usleep(1000);
	guest_do(self->vcpu, OP_NOTHING, 0, 0);
	ASSERT_NE(st->version, version);
}

static struct kvm_vm *absent_vm;
static char absent_content[PAGE_SIZE] __aligned(PAGE_SIZE);

/* The page comes when the guest knows that it has to wait for it, or never will. */
static int bring_absent(int uffd_mode, int uffd, struct uffd_msg *msg)
{
	struct uffdio_copy copy = {
		.dst = msg->arg.pagefault.address & PAGE_MASK,
		.src = (u64)absent_content,
		.len = PAGE_SIZE,
	};
	u64 *waits = addr_gva2hva(absent_vm, (gva_t)&nr_waits);
	u64 *ready = addr_gva2hva(absent_vm, (gva_t)&nr_ready);
	int tries;

	for (tries = 0; tries < 50 && READ_ONCE(*waits) == READ_ONCE(*ready); tries++)
		usleep(100000);
	return ioctl(uffd, UFFDIO_COPY, &copy);
}

/*
 * The words are written by the kernel when a page that the guest waits for is not there,
 * and when it is.  Of the file no page is ever absent for long, so it is another one.
 */
TEST_F(no_direct_map, async_pf)
{
	const u64 apf = gpa(PAGE_DATA) | KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_SEND_ALWAYS |
			KVM_ASYNC_PF_DELIVERY_AS_INT;
	const u64 pattern = 0xab5e27ab5e27ab5eULL;
	struct uffd_desc *uffd;
	char *mem;
	u64 i;

	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_KVM_ASYNC_PF));
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_KVM_ASYNC_PF_INT));
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_X2APIC));
	vm_install_exception_handler(self->vm, PF_VECTOR, guest_pf_handler);
	vm_install_exception_handler(self->vm, READY_VECTOR, guest_ready_handler);

	mem = kvm_mmap(NR_ABSENT * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1);
	vm_set_user_memory_region2(self->vm, SLOT + 1, 0, gpa(PAGE_ABSENT),
				   NR_ABSENT * PAGE_SIZE, mem, -1, 0);
	*(u64 *)absent_content = pattern;
	absent_vm = self->vm;
	uffd = uffd_setup_demand_paging(UFFDIO_REGISTER_MODE_MISSING, 0, mem,
					NR_ABSENT * PAGE_SIZE, 1, bring_absent);

	for (i = 1; i <= NR_ABSENT; i++) {
		ASSERT_EQ(pattern, guest_do(self->vcpu, OP_ABSENT,
					    gpa(PAGE_ABSENT + i - 1), apf));
		sync_global_from_guest(self->vm, nr_waits);
		sync_global_from_guest(self->vm, nr_ready);
		ASSERT_EQ(i, nr_waits);
		ASSERT_EQ(i, nr_ready);
		/* The next time the words are in another page. */
		kvm_fallocate(self->fd, MEMFILE_PUNCH, PAGE_DATA * PAGE_SIZE, PAGE_SIZE);
	}
	uffd_stop_demand_paging(uffd);
}

/* The instruction, its operand and the page tables are all in such memory. */
TEST_F(no_direct_map, mmio)
{
	u64 *data = (u64 *)(self->mem + PAGE_DATA * PAGE_SIZE);

	guest_do(self->vcpu, OP_MOVS, MMIO_GPA, gpa(PAGE_DATA));
	ASSERT_EQ(data[0], MMIO_ANSWER);

	/* Across two pages, of which one is not there */
	kvm_fallocate(self->fd, MEMFILE_PUNCH, PAGE_DATA * PAGE_SIZE, PAGE_SIZE);
	guest_do(self->vcpu, OP_MOVS, MMIO_GPA, gpa(PAGE_DATA + 1) - 4);
	ASSERT_EQ(*(u64 *)(self->mem + (PAGE_DATA + 1) * PAGE_SIZE - 4), MMIO_ANSWER);
}

TEST_F(no_direct_map, nested)
{
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_SVM));

	/* In the library's memory, and then in ours */
	ASSERT_EQ(guest_do(self->vcpu, OP_NESTED, 0, 0), SVM_EXIT_VMMCALL);
	self->svm->vmcb = (void *)gpa(PAGE_VMCB);
	self->svm->vmcb_gpa = gpa(PAGE_VMCB);
	ASSERT_EQ(guest_do(self->vcpu, OP_NESTED, 0, 0), SVM_EXIT_VMMCALL);
	ASSERT_EQ(kvm_mappings(), 0);

	kvm_fallocate(self->fd, MEMFILE_PUNCH, PAGE_VMCB * PAGE_SIZE, PAGE_SIZE);
	ASSERT_EQ(guest_do(self->vcpu, OP_NESTED, 0, 0), SVM_EXIT_VMMCALL);
}

/* What Xen guests share with the hypervisor, if the VMM sets it by its gpa */
TEST_F(no_direct_map, xen)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
		.msr = 0x40000200,
	};
	struct kvm_xen_hvm_attr long_mode = {
		.type = KVM_XEN_ATTR_TYPE_LONG_MODE,
		.u.long_mode = 1,
	};
	struct kvm_xen_hvm_attr shared_info = { .type = KVM_XEN_ATTR_TYPE_SHARED_INFO };
	struct kvm_xen_vcpu_attr time_info = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO,
		.u.gpa = gpa(PAGE_CLOCK),
	};
	struct kvm_xen_vcpu_attr runstate = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR,
		/* Across two pages */
		.u.gpa = gpa(PAGE_STEAL + 1) - 24,
	};
	u64 *state = (u64 *)(self->mem + (PAGE_STEAL + 1) * PAGE_SIZE - 24);
	char *info = self->mem + PAGE_VMCB * PAGE_SIZE;
	int caps = kvm_check_cap(KVM_CAP_XEN_HVM);
	u64 clock;

	TEST_REQUIRE(caps & KVM_XEN_HVM_CONFIG_SHARED_INFO);
	TEST_REQUIRE(caps & KVM_XEN_HVM_CONFIG_RUNSTATE);
	vm_ioctl(self->vm, KVM_XEN_HVM_CONFIG, &config);
	vm_ioctl(self->vm, KVM_XEN_HVM_SET_ATTR, &long_mode);

	/* It holds the wall clock, which is not 0. */
	shared_info.u.shared_info.gfn = gpa(PAGE_VMCB) >> PAGE_SHIFT;
	vm_ioctl(self->vm, KVM_XEN_HVM_SET_ATTR, &shared_info);
	ASSERT_FALSE(page_is(info, 0));

	vcpu_ioctl(self->vcpu, KVM_XEN_VCPU_SET_ATTR, &time_info);
	clock = set_clock(self->vcpu);
	ASSERT_TRUE(clock_is(self->mem + PAGE_CLOCK * PAGE_SIZE, clock));

	vcpu_ioctl(self->vcpu, KVM_XEN_VCPU_SET_ATTR, &runstate);
	guest_do(self->vcpu, OP_NOTHING, 0, 0);
	/* The time when the state was entered, and the time spent running */
	ASSERT_NE(state[1], 0);
	ASSERT_NE(state[2], 0);

	kvm_fallocate(self->fd, MEMFILE_PUNCH, 0, SIZE);
	ASSERT_EQ(kvm_mappings(), 0);
	clock = set_clock(self->vcpu);
	ASSERT_TRUE(clock_is(self->mem + PAGE_CLOCK * PAGE_SIZE, clock));
	ASSERT_NE(state[2], 0);
}

/* By its userspace address KVM finds a page only if GUP may. */
TEST_F(no_direct_map, xen_hva)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
		.msr = 0x40000200,
	};
	struct kvm_xen_hvm_attr shared_info = { .type = KVM_XEN_ATTR_TYPE_SHARED_INFO_HVA };
	struct kvm_xen_vcpu_attr vcpu_info = { .type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO_HVA };
	char *info = self->mem + PAGE_VMCB * PAGE_SIZE, *anon;

	TEST_REQUIRE(kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_SHARED_INFO_HVA);
	vm_ioctl(self->vm, KVM_XEN_HVM_CONFIG, &config);
	anon = kvm_mmap(PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset(info, 0, PAGE_SIZE);

	shared_info.u.shared_info.hva = (u64)anon;
	vm_ioctl(self->vm, KVM_XEN_HVM_SET_ATTR, &shared_info);
	ASSERT_FALSE(page_is(anon, 0));
	shared_info.u.shared_info.hva = (u64)info;
	TEST_ASSERT_ERRNO(__vm_ioctl(self->vm, KVM_XEN_HVM_SET_ATTR, &shared_info), EFAULT);
	ASSERT_TRUE(page_is(info, 0));

	vcpu_info.u.hva = (u64)anon;
	vcpu_ioctl(self->vcpu, KVM_XEN_VCPU_SET_ATTR, &vcpu_info);
	vcpu_info.u.hva = (u64)info;
	TEST_ASSERT_ERRNO(__vcpu_ioctl(self->vcpu, KVM_XEN_VCPU_SET_ATTR, &vcpu_info), EFAULT);
	guest_do(self->vcpu, OP_NOTHING, 0, 0);
	ASSERT_TRUE(page_is(info, 0));

	/* Nothing is left that stands in the way of the one that works. */
	shared_info.type = KVM_XEN_ATTR_TYPE_SHARED_INFO;
	shared_info.u.shared_info.gfn = gpa(PAGE_VMCB) >> PAGE_SHIFT;
	vm_ioctl(self->vm, KVM_XEN_HVM_SET_ATTR, &shared_info);
	ASSERT_FALSE(page_is(info, 0));
}

/* What was shared once KVM does not keep mapped: it copies the clock there from now on. */
TEST(clock_converted)
{
	FIXTURE_DATA(no_direct_map) self;
	const u64 pattern = 0x5ec0de5ec0de5ec0ULL;
	char *page;
	u64 clock;

	memfile_require_convert();
	unsetenv("KVM_SELFTEST_MEM_SRC");
	self = setup(memfile_convert_shape(), FLAGS & ~GUEST_MEMFD_FLAG_NO_DIRECT_MAP);
	page = self.mem + PAGE_CLOCK * PAGE_SIZE;

	enable_clock(self.vcpu, gpa(PAGE_CLOCK));
	clock = set_clock(self.vcpu);
	ASSERT_TRUE(clock_is(page, clock));

	memfile_convert(self.fd, PAGE_CLOCK * PAGE_SIZE, PAGE_SIZE, true);
	guest_do(self.vcpu, OP_FILL, gpa(PAGE_CLOCK), pattern);
	clock = set_clock(self.vcpu);
	ASSERT_EQ(guest_do(self.vcpu, OP_CHECK, gpa(PAGE_CLOCK), pattern),
		  sizeof(struct pvclock_vcpu_time_info) / sizeof(u64));

	memfile_convert(self.fd, PAGE_CLOCK * PAGE_SIZE, PAGE_SIZE, false);
	ASSERT_TRUE(clock_is(page, clock));
	clock = set_clock(self.vcpu);
	ASSERT_TRUE(clock_is(page, clock));
}

struct race {
	struct kvm_vcpu *vcpu;
	bool stop;
	u64 clocks;
	u64 nested;
};

static void *race_vcpu(void *arg)
{
	struct race *race = arg;
	bool svm = kvm_cpu_has(X86_FEATURE_SVM);

	while (!READ_ONCE(race->stop)) {
		set_clock(race->vcpu);
		race->clocks++;
		/* The VMCB may have been lost on the way. */
		if (svm && guest_do(race->vcpu, OP_NESTED, 0, 0) == SVM_EXIT_VMMCALL)
			race->nested++;
	}
	return NULL;
}

/*
 * Pages are punched that KVM has just mapped, and whoever gets them next has them for
 * himself.
 */
TEST_F_TIMEOUT(no_direct_map, race, 600)
{
	const char *seconds = getenv("SOAK_SECONDS");
	struct race race = { .vcpu = self->vcpu };
	int nr = 8, rounds = 0, i;
	pthread_t thread;
	time_t end;
	char *mem;

	if (self->svm) {
		self->svm->vmcb = (void *)gpa(PAGE_VMCB);
		self->svm->vmcb_gpa = gpa(PAGE_VMCB);
	}
	enable_clock(self->vcpu, gpa(PAGE_CLOCK));
	ASSERT_EQ(guest_do(self->vcpu, OP_WRMSR, MSR_KVM_STEAL_TIME,
			   gpa(PAGE_STEAL) | KVM_MSR_ENABLED), 0);
	mem = kvm_mmap(nr * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	ASSERT_EQ(pthread_create(&thread, NULL, race_vcpu, &race), 0);
	end = time(NULL) + (seconds ? atoi(seconds) : 2);
	/* Once at least the vCPU has to come through, however slow the machine is. */
	while (time(NULL) < end || !READ_ONCE(race.clocks) ||
	       (self->svm && !READ_ONCE(race.nested))) {
		kvm_fallocate(self->fd, MEMFILE_PUNCH, PAGE_CLOCK * PAGE_SIZE, 4 * PAGE_SIZE);
		memset(mem, 0x55, nr * PAGE_SIZE);
		if (rounds++ % 4)
			sched_yield();
		else
			usleep(200);
		for (i = 0; i < nr; i++)
			TEST_ASSERT(page_is(mem + i * PAGE_SIZE, 0x55),
				    "Somebody has written to page %d in round %d", i, rounds);
		TEST_ASSERT(!madvise(mem, nr * PAGE_SIZE, MADV_DONTNEED), "madvise()");
	}
	WRITE_ONCE(race.stop, true);
	pthread_join(thread, NULL);
	ksft_print_msg("%d holes, %lu clocks, %lu of L2\n", rounds, race.clocks, race.nested);
	ASSERT_TRUE(clock_is(self->mem + PAGE_CLOCK * PAGE_SIZE, set_clock(self->vcpu)));
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE((kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & FLAGS) == FLAGS);

	/* The memory that the library provides is to be of the same kind. */
	setenv("KVM_SELFTEST_MEM_SRC", "guest_memfd_no_direct_map", 1);
	return test_harness_run(argc, argv);
}
