// SPDX-License-Identifier: GPL-2.0
/*
 * Protected VMs on a memory file (guest_memfd): the life of a page through every
 * transition, with a look at its content from both sides; what the host cannot do
 * to a page that is the guest's; how pages come back while the guest runs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "kvm_test_harness.h"
#include "arm64/pvm.h"

#define MMAP		GUEST_MEMFD_FLAG_MMAP
#define INIT_SHARED	GUEST_MEMFD_FLAG_INIT_SHARED
#define NO_DIRECT_MAP	GUEST_MEMFD_FLAG_NO_DIRECT_MAP
#define ONLY_SHARED	GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP	/* in the direct map */

#define NR_PAGES	64
#define NR_SHARED	8
#define FIRST_SHARED	(NR_PAGES - NR_SHARED)
#define PAGE		PVM_FIRST_PAGE
#define SECRET		0x5ec0de0000000000ULL
#define PUBLIC		0x9ab11c0000000000ULL

/* SMCCC_RET_INVALID_PARAMETER */
#define INVALID		(-3)

#define SZ		((u64)SZ_4K)

FIXTURE(memfile_pvm)
{
	struct pvm pvm;
	struct pvm_vcpu *vcpu;
};

FIXTURE_VARIANT(memfile_pvm)
{
	u64 flags;
};

FIXTURE_VARIANT_ADD(memfile_pvm, from_private)
{
	.flags = MMAP,
};

FIXTURE_VARIANT_ADD(memfile_pvm, from_shared)
{
	.flags = MMAP | INIT_SHARED | ONLY_SHARED,
};

FIXTURE_SETUP(memfile_pvm)
{
	pvm_create(&self->pvm, 1, NR_PAGES, NR_SHARED, variant->flags);
	self->vcpu = &self->pvm.vcpus[0];
}

/* Every test is a process, whose end is one more release that must work. */
FIXTURE_TEARDOWN(memfile_pvm)
{
}

static void assert_nothing_locked(void)
{
	TEST_ASSERT_EQ(pvm_status("VmLck"), 0);
	TEST_ASSERT_EQ(pvm_status("VmPin"), 0);
}

static void punch(struct pvm *pvm, int page, int nr)
{
	TEST_ASSERT(!fallocate(pvm->fd, MEMFILE_PUNCH, page * SZ, nr * SZ), "fallocate: %s",
		    strerror(errno));
}

static void assert_sigbus(struct pvm *pvm, int page)
{
	u64 val = 0;

	TEST_ASSERT(!pvm_host_can(pvm_host(pvm, page), false, &val),
		    "The host reads 0x%lx from page %d", val, page);
	TEST_ASSERT(!pvm_host_can(pvm_host(pvm, page), true, &val),
		    "The host writes to page %d", page);
}

static void assert_host_reads(struct pvm *pvm, int page, u64 want)
{
	u64 *p = pvm_host(pvm, page), val = ~want;
	int i;

	for (i = 0; i < 512; i++) {
		TEST_ASSERT(pvm_host_can(p + i, false, &val), "SIGBUS at page %d", page);
		TEST_ASSERT(val == want, "The host reads 0x%lx from page %d, not 0x%lx", val,
			    page, want);
	}
}

/* What was written before the guest ran is there, and nothing is locked. */
TEST_F(memfile_pvm, payload)
{
	u64 *p = pvm_host(&self->pvm, FIRST_SHARED);
	int i;

	for (i = 0; i < 512; i++)
		p[i] = PUBLIC;
	memfile_convert(self->pvm.fd, FIRST_SHARED * SZ, SZ, true);
	assert_sigbus(&self->pvm, FIRST_SHARED);
	/* There and back again */
	memfile_convert(self->pvm.fd, FIRST_SHARED * SZ, SZ, false);
	assert_host_reads(&self->pvm, FIRST_SHARED, PUBLIC);
	memfile_convert(self->pvm.fd, FIRST_SHARED * SZ, SZ, true);

	pvm_check(self->vcpu, FIRST_SHARED, PUBLIC);
	pvm_check(self->vcpu, PAGE, 0);
	for (i = PAGE; i < FIRST_SHARED; i++)
		pvm_fill(self->vcpu, i, SECRET + i);
	for (i = PAGE; i < FIRST_SHARED; i++)
		pvm_check(self->vcpu, i, SECRET + i);
	assert_nothing_locked();
}

/* Every way to a page that is not the host's ends in an error, and changes nothing. */
TEST_F(memfile_pvm, host_routes)
{
	struct iovec local = {}, remote = {};
	char *mem = (char *)pvm_host(&self->pvm, PAGE);
	u64 val = PUBLIC;
	int fds[2], fd, i;

	pvm_fill(self->vcpu, PAGE, SECRET);
	assert_sigbus(&self->pvm, PAGE);
	pvm_check(self->vcpu, PAGE, SECRET);

	ASSERT_EQ(0, pipe(fds));
	TEST_ASSERT_ERRNO(write(fds[1], mem, 8), EFAULT);
	ASSERT_EQ(8, write(fds[1], &val, 8));
	TEST_ASSERT_ERRNO(read(fds[0], mem, 8), EFAULT);
	pvm_check(self->vcpu, PAGE, SECRET);

	local = (struct iovec){ .iov_base = &val, .iov_len = 8 };
	remote = (struct iovec){ .iov_base = mem, .iov_len = 8 };
	TEST_ASSERT_ERRNO(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), EFAULT);
	TEST_ASSERT_ERRNO(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), EFAULT);
	TEST_ASSERT_ERRNO(vmsplice(fds[1], &remote, 1, 0), EFAULT);
	pvm_check(self->vcpu, PAGE, SECRET);

	fd = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, fd);
	TEST_ASSERT_ERRNO(pread(fd, &val, 8, (long)mem), EIO);
	TEST_ASSERT_ERRNO(pwrite(fd, &val, 8, (long)mem), EIO);
	pvm_check(self->vcpu, PAGE, SECRET);

	TEST_ASSERT_ERRNO(madvise(mem, SZ_4K, MADV_POPULATE_READ), EFAULT);
	TEST_ASSERT_ERRNO(madvise(mem, SZ_4K, MADV_POPULATE_WRITE), EFAULT);
	/* The file has not got these. */
	TEST_ASSERT_ERRNO(pread(self->pvm.fd, &val, 8, PAGE * SZ), ESPIPE);
	TEST_ASSERT_ERRNO(pwrite(self->pvm.fd, &val, 8, PAGE * SZ), ESPIPE);
	pvm_check(self->vcpu, PAGE, SECRET);

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, madvise(mem, SZ_4K, i ? MADV_DONTNEED : MADV_COLD));
		pvm_check(self->vcpu, PAGE, SECRET);
	}
	/* Not the guest's memory but a window to it. */
	ASSERT_EQ(0, munmap(mem, SZ_4K));
	pvm_check(self->vcpu, PAGE, SECRET);
	pvm_fill(self->vcpu, PAGE, SECRET + 1);
	pvm_check(self->vcpu, PAGE, SECRET + 1);
	assert_nothing_locked();
}

/* What the guest has not shared it does not share with the host unawares. */
TEST_F(memfile_pvm, shared_is_not_for_the_guest)
{
	u64 *p = pvm_host(&self->pvm, FIRST_SHARED), result;
	int i;

	for (i = 0; i < 512; i++)
		p[i] = PUBLIC;
	for (i = 0; i < 4; i++)
		pvm_faults(self->vcpu, i % 2 ? PVM_WRITE : PVM_READ, FIRST_SHARED + i / 2);
	assert_host_reads(&self->pvm, FIRST_SHARED, PUBLIC);

	/* The VMM can mend it, and the access goes on. */
	pvm_assert_fault(self->vcpu, pvm_try(self->vcpu, PVM_CHECK, pvm_gpa(FIRST_SHARED), PUBLIC,
					     0, &result), FIRST_SHARED);
	memfile_convert(self->pvm.fd, FIRST_SHARED * SZ, SZ, true);
	ASSERT_EQ(0, pvm_continue(self->vcpu, &result));
	ASSERT_EQ(0, result);
	assert_sigbus(&self->pvm, FIRST_SHARED);
}

/* Once the guest has a page, the VMM cannot convert it any more. */
TEST_F(memfile_pvm, claimed)
{
	struct pvm *pvm = &self->pvm;

	pvm_fill(self->vcpu, PAGE + 3, SECRET);
	TEST_ASSERT_CONVERT_FAILS(pvm->fd, (PAGE + 3) * SZ, SZ, false, EPERM, (PAGE + 3) * SZ);
	TEST_ASSERT_CONVERT_FAILS(pvm->fd, PAGE * SZ, 8 * SZ, false, EPERM, (PAGE + 3) * SZ);
	TEST_ASSERT_RUN(pvm->fd, 0, NR_PAGES * SZ, true, FIRST_SHARED * SZ);
	pvm_check(self->vcpu, PAGE + 3, SECRET);

	/* What it is already is no change; what nobody has is still the VMM's. */
	memfile_convert(pvm->fd, PAGE * SZ, (FIRST_SHARED - PAGE) * SZ, true);
	memfile_convert(pvm->fd, (PAGE + 4) * SZ, 4 * SZ, false);
	memfile_convert(pvm->fd, FIRST_SHARED * SZ, SZ, true);
	pvm_check(self->vcpu, PAGE + 3, SECRET);
	pvm_check(self->vcpu, FIRST_SHARED, 0);
	pvm_faults(self->vcpu, PVM_READ, PAGE + 4);
	TEST_ASSERT_CONVERT_FAILS(pvm->fd, FIRST_SHARED * SZ, SZ, false, EPERM, FIRST_SHARED * SZ);
}

/* The host can take memory away, but puts nothing in its place. */
TEST_F(memfile_pvm, punch)
{
	struct pvm *pvm = &self->pvm;
	long present;
	int i;

	for (i = PAGE; i < PAGE + 40; i++)
		pvm_fill(self->vcpu, i, SECRET + i);
	present = memfile_present(pvm->fd);

	punch(pvm, PAGE + 1, 38);
	TEST_ASSERT_PRESENT(pvm->fd, present - 38 * SZ);
	for (i = PAGE + 1; i < PAGE + 39; i++)
		pvm_faults(self->vcpu, i % 2 ? PVM_READ : PVM_WRITE, i);
	/* Nothing was allocated for it. */
	TEST_ASSERT_PRESENT(pvm->fd, present - 38 * SZ);
	pvm_check(self->vcpu, PAGE, SECRET + PAGE);
	pvm_check(self->vcpu, PAGE + 39, SECRET + PAGE + 39);

	/* Not even if the VMM wants that: */
	TEST_ASSERT(!fallocate(pvm->fd, MEMFILE_ALLOCATE, (PAGE + 1) * SZ, SZ), "fallocate: %s",
		    strerror(errno));
	pvm_faults(self->vcpu, PVM_READ, PAGE + 1);
	/* The page is the VMM's to use, and empty. */
	memfile_convert(pvm->fd, (PAGE + 1) * SZ, SZ, false);
	assert_host_reads(pvm, PAGE + 1, 0);
	pvm_faults(self->vcpu, PVM_READ, PAGE + 1);
	memfile_convert(pvm->fd, (PAGE + 1) * SZ, SZ, true);
	pvm_faults(self->vcpu, PVM_READ, PAGE + 1);

	/* A hole that the guest does not know is filled as ever. */
	punch(pvm, PAGE + 40, 8);
	pvm_check(self->vcpu, PAGE + 44, 0);
	pvm_fill(self->vcpu, PAGE + 44, SECRET);
	pvm_check(self->vcpu, PAGE + 44, SECRET);
}

/* Deleting a memslot gives all back, wiped; the pages are the file's. */
TEST_F(memfile_pvm, memslots)
{
	struct pvm *pvm = &self->pvm;
	int fd, i;

	fd = pvm_create_file(pvm, 32, variant->flags);
	ASSERT_LE(0, fd);
	memfile_convert(fd, 0, 32 * SZ, true);
	pvm_slot(pvm, 1, 256, 32, fd, 0);
	for (i = 0; i < 20; i++)
		pvm_fill(self->vcpu, 256 + i, SECRET + i);
	TEST_ASSERT_PRESENT(fd, 20 * SZ);

	pvm_slot(pvm, 1, 256, 0, -1, 0);
	TEST_ASSERT_PRESENT(fd, 20 * SZ);
	TEST_ASSERT_CONSUMERS(fd, 0);

	/* Where it was, the guest finds only what it did not have. */
	pvm_slot(pvm, 1, 256, 32, fd, 0);
	pvm_faults(self->vcpu, PVM_READ, 256);
	pvm_faults(self->vcpu, PVM_WRITE, 256 + 19);
	pvm_check(self->vcpu, 256 + 20, 0);
	pvm_slot(pvm, 1, 256, 0, -1, 0);

	/* Elsewhere it is new memory. */
	pvm_slot(pvm, 1, 384, 32, fd, 0);
	for (i = 0; i < 32; i++)
		pvm_check(self->vcpu, 384 + i, 0);
	pvm_fill(self->vcpu, 384, SECRET);
	pvm_slot(pvm, 1, 384, 0, -1, 0);

	/* And the host finds nothing in it. */
	memfile_convert(fd, 0, 32 * SZ, false);
	{
		char *mem = mmap(NULL, 32 * SZ, PROT_READ, MAP_SHARED, fd, 0);

		ASSERT_NE(MAP_FAILED, mem);
		for (i = 0; i < 32 * SZ / 8; i++)
			ASSERT_EQ(0, ((u64 *)mem)[i]);
	}
	pvm_check(self->vcpu, PAGE, 0);
	assert_nothing_locked();
}

/* The file can be closed first: then the guest has lost its memory. */
TEST_F(memfile_pvm, close_file)
{
	struct pvm *pvm = &self->pvm;
	int fd;

	fd = pvm_create_file(pvm, 32, variant->flags);
	ASSERT_LE(0, fd);
	memfile_convert(fd, 0, 32 * SZ, true);
	pvm_slot(pvm, 1, 256, 32, fd, 0);
	pvm_fill(self->vcpu, 256, SECRET);
	close(fd);
	pvm_faults(self->vcpu, PVM_READ, 256);
	pvm_faults(self->vcpu, PVM_READ, 256 + 1);
	pvm_check(self->vcpu, PAGE, 0);
}

/* A file that can be nothing but private, and one that cannot be mapped. */
TEST_F(memfile_pvm, no_mappings)
{
	struct pvm *pvm = &self->pvm;
	int fd, i;

	for (i = 0; i < 2; i++) {
		fd = pvm_create_file(pvm, 32, i ? INIT_SHARED : 0);
		ASSERT_LE(0, fd);
		pvm_slot(pvm, 1 + i, 256 + 64 * i, 32, fd, 0);
		if (i) {
			pvm_faults(self->vcpu, PVM_READ, 256 + 64 * i);
			memfile_convert(fd, 0, 32 * SZ, true);
		}
		pvm_check(self->vcpu, 256 + 64 * i, 0);
		pvm_fill(self->vcpu, 256 + 64 * i, SECRET);
		pvm_check(self->vcpu, 256 + 64 * i, SECRET);
	}
}

/* What does not go with a protected VM is refused, and leaves no trace. */
TEST_F(memfile_pvm, refused)
{
	struct pvm *pvm = &self->pvm;
	int fd = pvm_create_file(pvm, 32, variant->flags), other;
	struct pvm plain = { .mem = NULL };

	ASSERT_LE(0, fd);
	EXPECT_EQ(EINVAL, pvm_try_slot(pvm, 1, KVM_MEM_READONLY, 256, 32, fd, 0));
	EXPECT_EQ(EINVAL, pvm_try_slot(pvm, 1, KVM_MEM_LOG_DIRTY_PAGES, 256, 32, fd, 0));
	EXPECT_EQ(EINVAL, pvm_try_slot(pvm, 1, 0, 256, 33, fd, 0));

	/* The file of another VM */
	plain.vm_fd = ioctl(pvm->kvm_fd, KVM_CREATE_VM, 0);
	ASSERT_LE(0, plain.vm_fd);
	other = pvm_create_file(&plain, 32, variant->flags);
	ASSERT_LE(0, other);
	EXPECT_EQ(EINVAL, pvm_try_slot(pvm, 1, 0, 256, 32, other, 0));
	TEST_ASSERT_CONSUMERS(fd, 0);
	TEST_ASSERT_CONSUMERS(other, 0);
	pvm_slot(pvm, 1, 256, 32, fd, 0);
	memfile_convert(fd, 0, 32 * SZ, true);
	pvm_check(self->vcpu, 256, 0);
}

/* The guest shares a page, both see what the other writes, and it ends that. */
TEST_F(memfile_pvm, share)
{
	struct pvm *pvm = &self->pvm;
	u64 *p = pvm_host(pvm, PAGE), val, exits;
	int i, round;

	for (round = 0; round < 4; round++) {
		pvm_fill(self->vcpu, PAGE, SECRET + round);
		assert_sigbus(pvm, PAGE);
		ASSERT_EQ(0, pvm_share(self->vcpu, PAGE));
		TEST_ASSERT_RUN(pvm->fd, PAGE * SZ, SZ, false, SZ);
		/* It is shared as it is; it is the guest's business to wipe it. */
		assert_host_reads(pvm, PAGE, SECRET + round);
		for (i = 0; i < 512; i++)
			p[i] = PUBLIC + round;
		pvm_check(self->vcpu, PAGE, PUBLIC + round);
		pvm_fill(self->vcpu, PAGE, ~PUBLIC);
		assert_host_reads(pvm, PAGE, ~PUBLIC);

		/* The VMM has no say in it. */
		TEST_ASSERT_CONVERT_FAILS(pvm->fd, PAGE * SZ, SZ, true, EPERM, PAGE * SZ);
		/* Its neighbours have nothing to do with it. */
		assert_sigbus(pvm, PAGE - 1);
		assert_sigbus(pvm, PAGE + 1);

		ASSERT_EQ(0, pvm_unshare(self->vcpu, PAGE));
		TEST_ASSERT_RUN(pvm->fd, PAGE * SZ, SZ, true, SZ);
		assert_sigbus(pvm, PAGE);
		pvm_check(self->vcpu, PAGE, ~PUBLIC);
		TEST_ASSERT_CONVERT_FAILS(pvm->fd, PAGE * SZ, SZ, false, EPERM, PAGE * SZ);
	}

	/* A page that the guest has never touched. */
	ASSERT_EQ(0, pvm_share(self->vcpu, PAGE + 3));
	assert_host_reads(pvm, PAGE + 3, 0);
	*pvm_host(pvm, PAGE + 3) = PUBLIC;
	ASSERT_EQ(PUBLIC, pvm_do(self->vcpu, PVM_READ, pvm_gpa(PAGE + 3), 0, 0));

	/* Of what the host has, the guest takes possession first. */
	exits = pvm_try(self->vcpu, PVM_CALL, pvm_gpa(FIRST_SHARED), PVM_MEM_SHARE, 0, &val);
	pvm_assert_fault(self->vcpu, exits, FIRST_SHARED);
	memfile_convert(pvm->fd, FIRST_SHARED * SZ, SZ, true);
	ASSERT_EQ(0, pvm_continue(self->vcpu, &val));
	ASSERT_EQ(0, val);
	assert_host_reads(pvm, FIRST_SHARED, 0);
	assert_nothing_locked();
}

/* What the guest asks for in vain */
TEST_F(memfile_pvm, share_errors)
{
	struct pvm *pvm = &self->pvm;
	struct pvm_vcpu *vcpu = self->vcpu;

	pvm_fill(vcpu, PAGE, SECRET);
	ASSERT_EQ(INVALID, pvm_unshare(vcpu, PAGE));
	ASSERT_EQ(0, pvm_share(vcpu, PAGE));
	ASSERT_EQ(INVALID, pvm_share(vcpu, PAGE));
	ASSERT_EQ(0, pvm_unshare(vcpu, PAGE));
	ASSERT_EQ(INVALID, pvm_unshare(vcpu, PAGE));
	pvm_check(vcpu, PAGE, SECRET);
	assert_sigbus(pvm, PAGE);

	/* Never touched; no memory; unaligned; more arguments */
	ASSERT_EQ(INVALID, pvm_unshare(vcpu, PAGE + 1));
	ASSERT_EQ(INVALID, pvm_unshare(vcpu, 1 << 16));
	ASSERT_EQ(INVALID, (long)pvm_do(vcpu, PVM_CALL, pvm_gpa(PAGE) + 8, PVM_MEM_SHARE, 0));
	ASSERT_EQ(INVALID, (long)pvm_do(vcpu, PVM_CALL, pvm_gpa(PAGE) + 8, PVM_MEM_UNSHARE, 0));
	ASSERT_EQ(INVALID, (long)pvm_do(vcpu, PVM_CALL, pvm_gpa(PAGE), PVM_MEM_SHARE, 1));
	ASSERT_EQ(INVALID, (long)pvm_do(vcpu, PVM_CALL, pvm_gpa(PAGE), PVM_MEM_UNSHARE, 1));
	ASSERT_EQ(INVALID, (long)pvm_do(vcpu, PVM_CALL, -SZ, PVM_MEM_UNSHARE, 0));
	assert_sigbus(pvm, PAGE);

	/* Taken from it */
	ASSERT_EQ(0, pvm_share(vcpu, PAGE));
	pvm_fill(vcpu, PAGE + 1, SECRET);
	punch(pvm, PAGE, 2);
	ASSERT_EQ(INVALID, pvm_share(vcpu, PAGE));
	ASSERT_EQ(INVALID, pvm_unshare(vcpu, PAGE));
	ASSERT_EQ(INVALID, pvm_share(vcpu, PAGE + 1));
	ASSERT_EQ(INVALID, pvm_unshare(vcpu, PAGE + 1));
	pvm_faults(vcpu, PVM_READ, PAGE);
	pvm_faults(vcpu, PVM_READ, PAGE + 1);
	pvm_check(vcpu, PAGE + 2, 0);
}

/* While somebody uses a page by other means than a mapping, it stays shared. */
TEST_F(memfile_pvm, unshare_in_use)
{
	struct pvm *pvm = &self->pvm;
	struct pvm_vcpu *vcpu = self->vcpu;
	struct iovec iov = { .iov_base = pvm_host(pvm, PAGE), .iov_len = SZ_4K };
	char buf[64];
	int ring, fds[2], i;

	pvm_fill(vcpu, PAGE, PUBLIC);
	ASSERT_EQ(0, pvm_share(vcpu, PAGE));
	ring = memfile_pin(pvm_host(pvm, PAGE), SZ_4K);
	if (ring >= 0) {
		for (i = 0; i < 3; i++)
			ASSERT_EQ(INVALID, pvm_unshare(vcpu, PAGE));
		TEST_ASSERT_RUN(pvm->fd, PAGE * SZ, SZ, false, SZ);
		assert_host_reads(pvm, PAGE, PUBLIC);
		pvm_fill(vcpu, PAGE, PUBLIC + 1);
		assert_host_reads(pvm, PAGE, PUBLIC + 1);
		memfile_unpin(ring);
		/* What was pinned is let go of later. */
		for (i = 0; i < 100 && pvm_unshare(vcpu, PAGE); i++)
			usleep(50000);
		ASSERT_GT(100, i);
		assert_sigbus(pvm, PAGE);
		pvm_check(vcpu, PAGE, PUBLIC + 1);
		ASSERT_EQ(0, pvm_share(vcpu, PAGE));
	}

	/* A reference is as good as a pin. */
	assert_host_reads(pvm, PAGE, ring >= 0 ? PUBLIC + 1 : PUBLIC);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(64, vmsplice(fds[1], &(struct iovec){ iov.iov_base, 64 }, 1, 0));
	ASSERT_EQ(INVALID, pvm_unshare(vcpu, PAGE));
	assert_host_reads(pvm, PAGE, ring >= 0 ? PUBLIC + 1 : PUBLIC);
	ASSERT_EQ(64, read(fds[0], buf, 64));
	ASSERT_EQ(0, pvm_unshare(vcpu, PAGE));
	assert_sigbus(pvm, PAGE);
}

/*
 * The next signal is due in 200 us to 50 ms, so that there is, now and then, time enough
 * for a call of the guest's, however slow the machine is.
 */
static void next_signal(int sig)
{
	static unsigned int nr;
	struct itimerval timer = { .it_value.tv_usec = 200 << nr++ % 9 };

	setitimer(ITIMER_REAL, &timer, NULL);
}

/* A signal for the vCPU's task is not the guest's fault. */
TEST_F(memfile_pvm, share_interrupted)
{
	struct sigaction sa = { .sa_handler = next_signal };
	struct itimerval timer = {};
	u64 bad;

	sigaction(SIGALRM, &sa, NULL);
	next_signal(SIGALRM);
	bad = pvm_do(self->vcpu, PVM_FLIP, pvm_gpa(PAGE), 500, SECRET);
	signal(SIGALRM, SIG_IGN);
	setitimer(ITIMER_REAL, &timer, NULL);
	ASSERT_EQ(0, bad);
}

/* What the guest has given up it gets anew, and empty: not before, and not the old. */
TEST_F(memfile_pvm, relinquish)
{
	struct pvm *pvm = &self->pvm;
	struct pvm_vcpu *vcpu = self->vcpu;
	long present;

	/* A page of its own: the file still has it, and the guest has it again. */
	pvm_fill(vcpu, PAGE, SECRET);
	present = memfile_present(pvm->fd);
	ASSERT_EQ(0, pvm_relinquish(vcpu, PAGE));
	ASSERT_EQ(INVALID, pvm_relinquish(vcpu, PAGE));
	assert_sigbus(pvm, PAGE);
	TEST_ASSERT_PRESENT(pvm->fd, present);
	pvm_check(vcpu, PAGE, 0);
	pvm_fill(vcpu, PAGE, SECRET);
	TEST_ASSERT_CONVERT_FAILS(pvm->fd, PAGE * SZ, SZ, false, EPERM, PAGE * SZ);

	/* The balloon: the guest gives it up, and the VMM punches it out. */
	ASSERT_EQ(0, pvm_relinquish(vcpu, PAGE));
	punch(pvm, PAGE, 1);
	TEST_ASSERT_PRESENT(pvm->fd, present - SZ);
	pvm_check(vcpu, PAGE, 0);
	pvm_fill(vcpu, PAGE, SECRET);
	TEST_ASSERT_PRESENT(pvm->fd, present);

	/* The other way round; a shared page, too. */
	pvm_fill(vcpu, PAGE + 1, SECRET);
	ASSERT_EQ(0, pvm_share(vcpu, PAGE + 1));
	punch(pvm, PAGE, 2);
	pvm_faults(vcpu, PVM_READ, PAGE);
	ASSERT_EQ(0, pvm_relinquish(vcpu, PAGE));
	pvm_check(vcpu, PAGE, 0);
	pvm_faults(vcpu, PVM_READ, PAGE + 1);
	ASSERT_EQ(0, pvm_relinquish(vcpu, PAGE + 1));
	/* It was shared when it went, and the guest has to own it again first. */
	pvm_faults(vcpu, PVM_READ, PAGE + 1);
	memfile_convert(pvm->fd, (PAGE + 1) * SZ, SZ, true);
	pvm_check(vcpu, PAGE + 1, 0);

	/* In between it is the VMM's, who finds nothing in it. */
	pvm_fill(vcpu, PAGE + 2, SECRET);
	ASSERT_EQ(0, pvm_relinquish(vcpu, PAGE + 2));
	memfile_convert(pvm->fd, (PAGE + 2) * SZ, SZ, false);
	assert_host_reads(pvm, PAGE + 2, 0);
	pvm_faults(vcpu, PVM_READ, PAGE + 2);
	memfile_convert(pvm->fd, (PAGE + 2) * SZ, SZ, true);
	pvm_check(vcpu, PAGE + 2, 0);
	assert_nothing_locked();
}

TEST_F(memfile_pvm, relinquish_errors)
{
	struct pvm *pvm = &self->pvm;
	struct pvm_vcpu *vcpu = self->vcpu;
	int fd;

	/* Shared */
	pvm_fill(vcpu, PAGE, PUBLIC);
	ASSERT_EQ(0, pvm_share(vcpu, PAGE));
	ASSERT_EQ(INVALID, pvm_relinquish(vcpu, PAGE));
	assert_host_reads(pvm, PAGE, PUBLIC);
	ASSERT_EQ(0, pvm_unshare(vcpu, PAGE));
	pvm_check(vcpu, PAGE, PUBLIC);

	/* Never touched; no memory; unaligned; more arguments */
	ASSERT_EQ(INVALID, pvm_relinquish(vcpu, PAGE + 1));
	ASSERT_EQ(INVALID, pvm_relinquish(vcpu, 1 << 16));
	ASSERT_EQ(INVALID, (long)pvm_do(vcpu, PVM_CALL, pvm_gpa(PAGE) + 8, PVM_MEM_RELINQUISH, 0));
	ASSERT_EQ(INVALID, (long)pvm_do(vcpu, PVM_CALL, pvm_gpa(PAGE), PVM_MEM_RELINQUISH, 1));
	ASSERT_EQ(INVALID, (long)pvm_do(vcpu, PVM_CALL, -SZ, PVM_MEM_RELINQUISH, 0));
	pvm_check(vcpu, PAGE, PUBLIC);

	/* A memslot that is gone: so are its pages, and the guest can say so. */
	fd = pvm_create_file(pvm, 32, variant->flags);
	ASSERT_LE(0, fd);
	memfile_convert(fd, 0, 32 * SZ, true);
	pvm_slot(pvm, 1, 256, 32, fd, 0);
	pvm_fill(vcpu, 256, SECRET);
	pvm_slot(pvm, 1, 256, 0, -1, 0);
	ASSERT_EQ(0, pvm_relinquish(vcpu, 256));
	ASSERT_EQ(INVALID, pvm_relinquish(vcpu, 256));
	pvm_slot(pvm, 1, 256, 32, fd, 0);
	pvm_check(vcpu, 256, 0);
}

/* A page with a memory error is taken from the guest, and nothing else is. */
TEST_F(memfile_pvm, memory_failure)
{
	struct pvm *pvm = &self->pvm;
	u64 *p = pvm_host(pvm, PAGE);

	pvm_fill(self->vcpu, PAGE, PUBLIC);
	pvm_fill(self->vcpu, PAGE + 1, SECRET);
	ASSERT_EQ(0, pvm_share(self->vcpu, PAGE));
	ASSERT_EQ(PUBLIC, *p);
	if (madvise(p, SZ_4K, MADV_HWPOISON) && errno != EBUSY)
		SKIP(return, "MADV_HWPOISON: %s", strerror(errno));
	assert_sigbus(pvm, PAGE);
	pvm_faults(self->vcpu, PVM_READ, PAGE);
	ASSERT_EQ(INVALID, pvm_unshare(self->vcpu, PAGE));
	punch(pvm, PAGE, 1);
	pvm_faults(self->vcpu, PVM_READ, PAGE);
	pvm_check(self->vcpu, PAGE + 1, SECRET);
	/* The guest can have another one. */
	ASSERT_EQ(0, pvm_relinquish(self->vcpu, PAGE));
	memfile_convert(pvm->fd, PAGE * SZ, SZ, true);
	pvm_check(self->vcpu, PAGE, 0);
}

static void assert_absent(struct pvm *pvm, long bytes)
{
	TEST_ASSERT_EQ(memfile_fdinfo(pvm->fd, "memfile-no-direct-map"), bytes);
}

static u64 pfn_of(void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	u64 entry = 0;

	TEST_ASSERT(pread(fd, &entry, 8, (u64)p / SZ * 8) == 8, "pagemap: %s", strerror(errno));
	close(fd);
	return entry & GENMASK_ULL(54, 0);
}

/*
 * The same for one that is the guest's own: neither EL2 nor the host touches it to
 * wipe it, and nobody has it again.
 */
TEST_F(memfile_pvm, memory_failure_private)
{
	struct pvm *pvm = &self->pvm;
	u64 *p = pvm_host(pvm, PAGE), pfn;
	int fd;

	fd = open("/sys/kernel/debug/hwpoison/corrupt-pfn", O_WRONLY);
	if (fd < 0)
		SKIP(return, "needs CONFIG_HWPOISON_INJECT, debugfs, and root");

	pvm_fill(self->vcpu, PAGE, PUBLIC);
	pvm_fill(self->vcpu, PAGE + 1, SECRET);
	ASSERT_EQ(0, pvm_share(self->vcpu, PAGE));
	ASSERT_EQ(PUBLIC, READ_ONCE(*p));
	pfn = pfn_of(p);
	ASSERT_NE(0, pfn);
	ASSERT_EQ(0, pvm_unshare(self->vcpu, PAGE));
	pvm_fill(self->vcpu, PAGE, SECRET);

	TEST_ASSERT(dprintf(fd, "%lu", pfn) > 0 || errno == EBUSY, "corrupt-pfn: %s",
		    strerror(errno));
	close(fd);
	pvm_faults(self->vcpu, PVM_READ, PAGE);
	ASSERT_EQ(INVALID, pvm_share(self->vcpu, PAGE));
	memfile_convert(pvm->fd, PAGE * SZ, SZ, false);
	assert_sigbus(pvm, PAGE);
	memfile_convert(pvm->fd, PAGE * SZ, SZ, true);
	punch(pvm, PAGE, 1);
	pvm_faults(self->vcpu, PVM_READ, PAGE);
	pvm_check(self->vcpu, PAGE + 1, SECRET);
	ASSERT_EQ(0, pvm_relinquish(self->vcpu, PAGE));
	pvm_check(self->vcpu, PAGE, 0);
}

/* What is the guest's alone is out of the host's direct map, too. */
TEST_F(memfile_pvm, direct_map)
{
	struct pvm *pvm = &self->pvm;
	long private;

	if (!(variant->flags & ONLY_SHARED && pvm_has_flag(pvm, ONLY_SHARED)) &&
	    !ioctl(pvm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_DIRECT_MAP))
		SKIP(return, "private memory stays in the direct map");

	private = memfile_fdinfo(pvm->fd, "memfile-private");
	ASSERT_LT(0, private);
	assert_absent(pvm, private);
	pvm_fill(self->vcpu, PAGE, SECRET);
	assert_absent(pvm, private + SZ);
	ASSERT_EQ(0, pvm_share(self->vcpu, PAGE));
	assert_absent(pvm, private);
	assert_host_reads(pvm, PAGE, SECRET);
	ASSERT_EQ(0, pvm_unshare(self->vcpu, PAGE));
	assert_absent(pvm, private + SZ);
	pvm_check(self->vcpu, PAGE, SECRET);
	punch(pvm, PAGE, 1);
	assert_absent(pvm, private);
	pvm_faults(self->vcpu, PVM_READ, PAGE);
}

/* A file no page of which is there: sharing is for mappings, and not for pins. */
TEST_F(memfile_pvm, no_direct_map)
{
	struct pvm *pvm = &self->pvm;
	struct iovec iov;
	int fd, fds[2];
	u64 *p;

	if (!pvm_has_flag(pvm, NO_DIRECT_MAP))
		SKIP(return, "no files without a direct map");

	fd = pvm_create_file(pvm, 32, (variant->flags & ~ONLY_SHARED) | NO_DIRECT_MAP);
	ASSERT_LE(0, fd);
	memfile_convert(fd, 0, 32 * SZ, true);
	pvm_slot(pvm, 1, 256, 32, fd, 0);
	p = mmap(NULL, 32 * SZ, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);

	pvm_fill(self->vcpu, 256, SECRET);
	ASSERT_EQ(0, pvm_share(self->vcpu, 256));
	ASSERT_EQ(SZ, memfile_fdinfo(fd, "memfile-no-direct-map"));
	ASSERT_EQ(SECRET, *p);
	*p = PUBLIC;
	ASSERT_EQ(PUBLIC, pvm_do(self->vcpu, PVM_READ, pvm_gpa(256), 0, 0));
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec){ .iov_base = p, .iov_len = 8 };
	TEST_ASSERT_ERRNO(vmsplice(fds[1], &iov, 1, 0), EFAULT);
	ASSERT_EQ(8, write(fds[1], p, 8));
	ASSERT_EQ(0, pvm_unshare(self->vcpu, 256));
	TEST_ASSERT_ERRNO(write(fds[1], p, 8), EFAULT);
	ASSERT_EQ(PUBLIC, pvm_do(self->vcpu, PVM_READ, pvm_gpa(256), 0, 0));
	ASSERT_EQ(0, fallocate(fd, MEMFILE_PUNCH, 0, 32 * SZ));
	ASSERT_EQ(0, memfile_fdinfo(fd, "memfile-no-direct-map"));
}

/* How many calls of the guest have got to the host. */
static u64 nr_calls(struct pvm_vcpu *vcpu)
{
	int fd = ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);
	struct kvm_stats_desc *stats, *desc;
	struct kvm_stats_header header;
	u64 nr = 0;
	u32 i;

	TEST_ASSERT(fd >= 0, "KVM_GET_STATS_FD: %s", strerror(errno));
	read_stats_header(fd, &header);
	stats = read_stats_descriptors(fd, &header);
	for (i = 0; i < header.num_desc; i++) {
		desc = get_stats_descriptor(stats, i, &header);
		if (!strcmp(desc->name, "hvc_exit_stat"))
			read_stat_data(fd, &header, desc, &nr, 1);
	}
	free(stats);
	close(fd);
	return nr;
}

/* What was pinned memory before is treated as ever, beside a memory file. */
TEST_F(memfile_pvm, anonymous)
{
	struct kvm_userspace_memory_region region = {
		.slot = 1,
		.guest_phys_addr = pvm_gpa(512),
		.memory_size = 16 * SZ,
	};
	char *mem = mmap(NULL, 16 * SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u64 *p = (u64 *)mem, calls;
	int i;

	region.userspace_addr = (u64)mem;
	ASSERT_EQ(0, ioctl(self->pvm.vm_fd, KVM_SET_USER_MEMORY_REGION, &region));
	for (i = 0; i < 16; i++)
		pvm_fill(self->vcpu, 512 + i, SECRET);
	ASSERT_EQ(64, pvm_status("VmLck") + pvm_status("VmPin"));
	calls = nr_calls(self->vcpu);
	ASSERT_EQ(0, pvm_share(self->vcpu, 512));
	ASSERT_EQ(SECRET, *p);
	ASSERT_EQ(INVALID, pvm_share(self->vcpu, 512));
	ASSERT_EQ(0, pvm_unshare(self->vcpu, 512));
	ASSERT_EQ(INVALID, pvm_unshare(self->vcpu, 512));
	pvm_check(self->vcpu, 512, SECRET);
	ASSERT_EQ(INVALID, pvm_relinquish(self->vcpu, 512));
	pvm_check(self->vcpu, 512, SECRET);
	ASSERT_EQ(0, pvm_share(self->vcpu, 513));
	ASSERT_EQ(SECRET, p[512]);
	/* EL2 can answer by itself, since nobody on the host has to know. */
	ASSERT_EQ(calls, nr_calls(self->vcpu));
	pvm_fill(self->vcpu, PAGE, SECRET);
	ASSERT_EQ(0, pvm_share(self->vcpu, PAGE));
	ASSERT_EQ(0, pvm_unshare(self->vcpu, PAGE));
	ASSERT_EQ(calls + 2, nr_calls(self->vcpu));

	region.memory_size = 0;
	TEST_ASSERT_ERRNO(ioctl(self->pvm.vm_fd, KVM_SET_USER_MEMORY_REGION, &region), EPERM);
	pvm_close(&self->pvm);
	assert_nothing_locked();
	ASSERT_EQ(0, *p);
	ASSERT_EQ(SECRET, p[512]);
}

/* Nothing is locked, so there is no limit; and nobody has to be root. */
TEST(unprivileged)
{
	struct rlimit none = {};
	struct pvm pvm;
	int i;

	/* It is for /dev/kvm alone that somebody has to be somebody. */
	ASSERT_EQ(0, chmod("/dev/kvm", 0666));
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &none));
	ASSERT_EQ(0, setgroups(0, NULL));
	ASSERT_EQ(0, setresgid(65534, 65534, 65534));
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));

	pvm_create(&pvm, 1, NR_PAGES, NR_SHARED, MMAP | INIT_SHARED);
	/* Its own status, where setuid() has taken /proc away from it */
	ASSERT_EQ(0, prctl(PR_SET_DUMPABLE, 1));
	for (i = PAGE; i < FIRST_SHARED; i++)
		pvm_fill(&pvm.vcpus[0], i, SECRET + i);
	for (i = PAGE; i < FIRST_SHARED; i++)
		pvm_check(&pvm.vcpus[0], i, SECRET + i);
	assert_nothing_locked();
	pvm_close(&pvm);
}

/* A fixture for the sake of the time limit: emulated, and with KASAN, it takes minutes. */
FIXTURE(pvm_memory)
{
};

FIXTURE_SETUP(pvm_memory)
{
}

FIXTURE_TEARDOWN(pvm_memory)
{
}

/* Whatever the VMM closes first, the pages come back. */
TEST_F_TIMEOUT(pvm_memory, comes_back, 600)
{
	const int rounds = 6, nr = 256;
	u64 before = 0, after;
	struct pvm pvm;
	int i, j;

	for (i = 0; i < rounds; i++) {
		if (i == 1)
			before = pvm_memory_left();
		pvm_create(&pvm, 1, nr, 0, MMAP);
		for (j = PAGE; j < nr; j++)
			pvm_do(&pvm.vcpus[0], PVM_WRITE, pvm_gpa(j), SECRET, 0);
		if (i % 2) {
			munmap(pvm.mem, nr * SZ);
			close(pvm.fd);
		}
		pvm_close(&pvm);
		/* What is freed after a grace period */
		usleep(200000);
	}
	after = pvm_memory_left();
	/* All but the first round would be five times that if they were lost. */
	ASSERT_LT(before, after + nr * SZ);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE(getpagesize() == SZ_4K);
	if (!pvm_supported())
		ksft_exit_skip("no protected VMs: needs kvm-arm.mode=protected\n");

	return test_harness_run(argc, argv);
}
