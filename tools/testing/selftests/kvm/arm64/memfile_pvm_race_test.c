// SPDX-License-Identifier: GPL-2.0
/*
 * Protected VMs on a memory file (guest_memfd), while everybody does what he can to
 * their pages at the same time.
 *
 * A guest stores secrets in pages that are its own, and only there.  So the host must
 * never find one, and the guest must never find anything else.  The rest is for the
 * kernel, and for EL2, to notice: run it with lockdep and NVHE_EL2_DEBUG.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#include "arm64/pvm.h"

#define NR_PAGES	256
#define NR_SHARED	16
#define SLOT_GPA_PAGE	1024
#define SLOT_PAGES	64
#define SECRET		0x5ec0de0000000000ULL
#define SZ		((u64)SZ_4K)

static int seconds = 1;
static int nr_kills = 10;
static unsigned int seed;
static const char *only;

static struct pvm pvm;
static int slot_fd;
static bool stop;
static u64 nr_done[8];

/* The first page that a vCPU flips, and whether the other one flips it, too. */
static int flip_page[PVM_MAX_VCPUS];
static bool flip_same;

static u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static void *flip(void *arg)
{
	int i = (long)arg, n;
	struct pvm_vcpu *vcpu = &pvm.vcpus[i];
	u64 result;

	for (n = 0; !READ_ONCE(stop); n++) {
		result = pvm_do(vcpu, PVM_FLIP, pvm_gpa(flip_page[i] + n % 4), 50,
				flip_same ? 1 : SECRET + i);
		TEST_ASSERT(flip_same || !(result >> 48), "vCPU %d: %lu words lost", i,
			    result >> 48);
		/* Nobody else shares it; unshare may have to wait for somebody. */
		TEST_ASSERT(flip_same || !((result >> 24) & 0xffffff), "vCPU %d: share failed", i);
		WRITE_ONCE(nr_done[i], nr_done[i] + 1);
	}
	return NULL;
}

static void assert_no_secret(u64 val)
{
	TEST_ASSERT((val & GENMASK_ULL(63, 32)) != SECRET, "The host has found a secret: 0x%lx",
		    val);
}

static int random_page(unsigned int *state)
{
	return PVM_FIRST_PAGE + rand_r(state) % 16;
}

/* Loads, stores (not to the word of the secret), and mappings that come and go. */
static void *host_access(void *arg)
{
	unsigned int state = seed + 1;
	u64 val, *p;
	int page;

	while (!READ_ONCE(stop)) {
		page = random_page(&state);
		if (pvm_host_can(pvm_host(&pvm, page), false, &val))
			assert_no_secret(val);
		val = page;
		pvm_host_can(pvm_host(&pvm, page) + 8, true, &val);
		p = mmap(NULL, SZ, PROT_READ | PROT_WRITE, MAP_SHARED, pvm.fd, page * SZ);
		TEST_ASSERT(p != MAP_FAILED, "mmap: %s", strerror(errno));
		if (pvm_host_can(p, false, &val))
			assert_no_secret(val);
		munmap(p, SZ);
		WRITE_ONCE(nr_done[2], nr_done[2] + 1);
	}
	return NULL;
}

/* System calls on the pages, pins, and conversions that are not the VMM's to do. */
static void *host_calls(void *arg)
{
	unsigned int state = seed + 2;
	u64 val, where;
	int fds[2], page, err, ring;
	struct io_uring_params params = {};
	struct iovec iov;

	TEST_ASSERT(!pipe(fds), "pipe: %s", strerror(errno));
	ring = syscall(__NR_io_uring_setup, 1, &params);
	while (!READ_ONCE(stop)) {
		page = random_page(&state);
		if (write(fds[1], pvm_host(&pvm, page), 8) == 8) {
			TEST_ASSERT_EQ(read(fds[0], &val, 8), 8);
			assert_no_secret(val);
		}
		err = memfile_try_convert(pvm.fd, page * SZ, SZ, rand_r(&state) % 2, &where);
		TEST_ASSERT(!err || err == EPERM || err == EAGAIN || err == EBUSY,
			    "Conversion: %s", strerror(err));
		iov = (struct iovec){ pvm_host(&pvm, page), SZ };
		if (ring >= 0 && !(rand_r(&state) % 8) &&
		    !syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1))
			memfile_unpin(ring);
		WRITE_ONCE(nr_done[3], nr_done[3] + 1);
	}
	close(ring);
	close(fds[0]);
	close(fds[1]);
	return NULL;
}

/* Pages that nobody flips go, and so does a memslot. */
static void *host_takes(void *arg)
{
	unsigned int state = seed + 3;
	int page, err, i;

	for (i = 0; !READ_ONCE(stop); i++) {
		page = 128 + rand_r(&state) % 96;
		err = fallocate(pvm.fd, MEMFILE_PUNCH, page * SZ,
				(1 + rand_r(&state) % 8) * SZ);
		TEST_ASSERT(!err, "fallocate: %s", strerror(errno));
		if (!(i % 8)) {
			pvm_slot(&pvm, 1, SLOT_GPA_PAGE + 4 * i, 0, -1, 0);
			pvm_slot(&pvm, 1, SLOT_GPA_PAGE + 4 * (i + 8), SLOT_PAGES, slot_fd, 0);
		}
		WRITE_ONCE(nr_done[4], nr_done[4] + 1);
		usleep(500);
	}
	pvm_slot(&pvm, 1, SLOT_GPA_PAGE, 0, -1, 0);
	return NULL;
}

/* The guest uses what is being taken from it: it finds it as it was, or not at all. */
static void *touch(void *arg)
{
	static u64 content[NR_PAGES];
	struct pvm_vcpu *vcpu = &pvm.vcpus[(long)arg];
	unsigned int state = seed + 4;
	u64 result;
	int page, err, n;

	for (n = 0; !READ_ONCE(stop); n++) {
		if (n % 8 == 7) {
			/* No page but MMIO, which is as good, or a slot's page. */
			page = SLOT_GPA_PAGE + rand_r(&state) % 4096;
		} else {
			page = 128 + rand_r(&state) % 96;
		}
		vcpu->order[0] = page < NR_PAGES && content[page] ? PVM_READ : PVM_WRITE;
		vcpu->order[1] = pvm_gpa(page);
		vcpu->order[2] = SECRET + n;
		/* What is no memory is the VMM's: the agent must not take it for an order. */
		for (;;) {
			err = ioctl(vcpu->fd, KVM_RUN, 0) ? errno : 0;
			if (err == EINTR)
				continue;
			if (err || vcpu->run->mmio.phys_addr < PVM_GPA) {
				if (err || vcpu->run->mmio.is_write)
					break;
				memcpy(vcpu->run->mmio.data,
				       &vcpu->order[(vcpu->run->mmio.phys_addr - PVM_MMIO) / 8], 8);
			}
		}
		if (err) {
			pvm_assert_fault(vcpu, err, page);
			pvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc), pvm_gpa(PVM_CODE_PAGE));
			/* Give it up, and start anew with another one. */
			if (page < NR_PAGES && !pvm_relinquish(vcpu, page))
				content[page] = 0;
		} else if (page < NR_PAGES) {
			memcpy(&result, vcpu->run->mmio.data, 8);
			TEST_ASSERT(!content[page] || content[page] == result,
				    "Page %d: 0x%lx, not 0x%lx", page, result, content[page]);
			content[page] = content[page] ?: SECRET + n;
			/* Now and then before it is taken */
			if (n % 16 == 3 && !pvm_relinquish(vcpu, page))
				content[page] = 0;
		}
		WRITE_ONCE(nr_done[1], nr_done[1] + 1);
	}
	return NULL;
}

/* A page that goes while it is shared or unshared: the guest gets another one. */
static void *flip_taken(void *arg)
{
	int i = (long)arg, page, err, n;
	struct pvm_vcpu *vcpu = &pvm.vcpus[i];
	u64 result, where;

	for (n = 0; !READ_ONCE(stop); n++) {
		page = flip_page[i] + n % 4;
		err = pvm_try(vcpu, PVM_FLIP, pvm_gpa(page), 50, SECRET + i, &result);
		if (err) {
			pvm_assert_fault(vcpu, err, page);
			pvm_set_reg(vcpu, ARM64_CORE_REG(regs.pc), pvm_gpa(PVM_CODE_PAGE));
		} else {
			TEST_ASSERT(!(result >> 48), "vCPU %d: %lu words lost", i, result >> 48);
		}
		/* The agent gave up: it was shared when it went, and cannot be unshared. */
		if (err || result & PVM_FLIP_GAVE_UP) {
			pvm_relinquish(vcpu, page);
			memfile_try_convert(pvm.fd, page * SZ, SZ, true, &where);
		}
		WRITE_ONCE(nr_done[i], nr_done[i] + 1);
	}
	return NULL;
}

static void *host_punches(void *arg)
{
	unsigned int state = seed + 5;
	int page, err;

	while (!READ_ONCE(stop)) {
		page = flip_page[rand_r(&state) % 2] + rand_r(&state) % 4;
		err = fallocate(pvm.fd, MEMFILE_PUNCH, page * SZ, SZ);
		TEST_ASSERT(!err, "fallocate: %s", strerror(errno));
		WRITE_ONCE(nr_done[4], nr_done[4] + 1);
		usleep(rand_r(&state) % 2000);
	}
	return NULL;
}

static void create(void)
{
	int i;

	pvm_create(&pvm, 2, NR_PAGES, NR_SHARED,
		   GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_PRIVATE_NO_DIRECT_MAP);
	slot_fd = pvm_create_file(&pvm, SLOT_PAGES, 0);
	TEST_ASSERT(slot_fd >= 0, "KVM_CREATE_GUEST_MEMFD: %s", strerror(errno));
	/* What the guest does not have yet the VMM can convert. */
	for (i = PVM_FIRST_PAGE; i < PVM_FIRST_PAGE + 16; i++)
		pvm_fill(&pvm.vcpus[0], i, 0);
	memset(nr_done, 0, sizeof(nr_done));
	flip_page[0] = PVM_FIRST_PAGE;
	flip_page[1] = flip_same ? PVM_FIRST_PAGE : PVM_FIRST_PAGE + 8;
	stop = false;
}

static void race(void *(*const *threads)(void *), int nr, u64 ms)
{
	u64 end = now_ms() + ms;
	pthread_t ids[8];
	long i;

	for (i = 0; i < nr; i++)
		TEST_ASSERT(!pthread_create(&ids[i], NULL, threads[i], (void *)i), "thread %ld", i);
	while (now_ms() < end)
		usleep(10000);
	WRITE_ONCE(stop, true);
	for (i = 0; i < nr; i++)
		pthread_join(ids[i], NULL);
	ksft_print_msg("rounds: %lu %lu %lu %lu %lu\n", nr_done[0], nr_done[1], nr_done[2],
		       nr_done[3], nr_done[4]);
}

/* Two vCPUs share and unshare pages of their own. */
static void *(*const flippers[])(void *) = { flip, flip, host_access, host_calls };
/* The same while the host punches them out. */
static void *(*const punchers[])(void *) = { flip_taken, flip_taken, host_access, host_calls,
					     host_punches };
/* One does, and the other one uses memory that is taken from it. */
static void *(*const takers[])(void *) = { flip, touch, host_access, host_calls, host_takes };

static void test_flip(void)
{
	create();
	race(flippers, ARRAY_SIZE(flippers), seconds * 1000);
	close(slot_fd);
	pvm_close(&pvm);
}

/* Both flip the same pages: what comes out of it is known to nobody, but to all alike. */
static void test_flip_same(void)
{
	struct pvm_vcpu *vcpu = &pvm.vcpus[0];
	bool private;
	u64 val;
	int page;

	flip_same = true;
	create();
	race(flippers, ARRAY_SIZE(flippers), seconds * 1000);
	for (page = PVM_FIRST_PAGE; page < PVM_FIRST_PAGE + 4; page++) {
		memfile_run(pvm.fd, page * SZ, SZ, &private);
		if (!private)
			TEST_ASSERT_EQ(pvm_unshare(vcpu, page), 0);
		TEST_ASSERT(!pvm_host_can(pvm_host(&pvm, page), false, &val),
			    "Page %d is the guest's, and the host reads it", page);
		pvm_fill(vcpu, page, 7);
		TEST_ASSERT_EQ(pvm_share(vcpu, page), 0);
		TEST_ASSERT(pvm_host_can(pvm_host(&pvm, page), false, &val) && val == 7,
			    "Page %d is shared, and the host does not read it", page);
	}
	close(slot_fd);
	pvm_close(&pvm);
}

static void test_flip_punched(void)
{
	create();
	race(punchers, ARRAY_SIZE(punchers), seconds * 1000);
	close(slot_fd);
	pvm_close(&pvm);
}

static void test_take(void)
{
	create();
	pvm_slot(&pvm, 1, SLOT_GPA_PAGE, SLOT_PAGES, slot_fd, 0);
	race(takers, ARRAY_SIZE(takers), seconds * 1000);
	close(slot_fd);
	pvm_close(&pvm);
}

/* The VMM is killed in the middle of it. */
static void test_kill(void)
{
	unsigned int state = seed + 5;
	u64 before = 0, after = 0;
	pid_t pid;
	int i, status;

	for (i = 0; i < nr_kills + 2; i++) {
		/* After the first ones: what is allocated once is. */
		if (i == 2)
			before = pvm_memory_left();
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			create();
			pvm_slot(&pvm, 1, SLOT_GPA_PAGE, SLOT_PAGES, slot_fd, 0);
			if (i % 2)
				race(flippers, ARRAY_SIZE(flippers), 60000);
			else
				race(takers, ARRAY_SIZE(takers), 60000);
			_exit(0);
		}
		usleep(50000 + rand_r(&state) % 400000);
		kill(pid, SIGKILL);
		TEST_ASSERT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
			    WTERMSIG(status) == SIGKILL, "Status 0x%x", status);
	}
	/* The last references go after grace periods. */
	for (i = 0; i < 50 && after + SZ_2M < before; i++) {
		usleep(100000);
		after = pvm_memory_left();
	}
	TEST_ASSERT(after + SZ_2M >= before, "%lu kB did not come back after %d kills",
		    (before - after) / 1024, nr_kills);
}

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = {
	{ "flip", test_flip },
	{ "flip_same", test_flip_same },
	{ "flip_punched", test_flip_punched },
	{ "take", test_take },
	{ "kill", test_kill },
};

int main(int argc, char *argv[])
{
	pid_t pid;
	int opt, i;

	seed = time(NULL);
	while ((opt = getopt(argc, argv, "s:k:r:t:")) != -1) {
		switch (opt) {
		case 's':
			seconds = atoi_positive("Seconds", optarg);
			break;
		case 'k':
			nr_kills = atoi_positive("Kills", optarg);
			break;
		case 'r':
			seed = atoi_paranoid(optarg);
			break;
		case 't':
			only = optarg;
			break;
		default:
			ksft_exit_fail_msg("usage: %s [-s secs] [-k kills] [-r seed] [-t test]\n",
					   argv[0]);
		}
	}

	ksft_print_header();
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE(getpagesize() == SZ_4K);
	if (!pvm_supported())
		ksft_exit_skip("no protected VMs: needs kvm-arm.mode=protected\n");
	ksft_print_msg("seed %u\n", seed);

	ksft_set_plan(only ? 1 : ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (only && strcmp(only, tests[i].name))
			continue;
		fflush(stdout);
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			tests[i].fn();
			fflush(stdout);
			_exit(0);
		}
		memfile_await(tests[i].name, pid, (seconds + 60 + nr_kills) * 10);
	}
	ksft_finished();
}
