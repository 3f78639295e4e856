// SPDX-License-Identifier: GPL-2.0
/*
 * Memory files (guest_memfd) under fire: vCPUs touch the pages of a file while
 * host threads allocate, punch, poison and map them, and while memslots, the
 * file and the whole VMM go away.
 *
 * A word of a page is either zero or holds the page's own pattern, for guest
 * and host at all times.  Anything else is another owner's memory, seen through
 * a mapping that should be gone.  For the same reason a thread recycles what is
 * freed and checks that nobody else writes to it.
 *
 * The rest is for the kernel to notice: run it with lockdep and KASAN.
 */
#define _GNU_SOURCE
#include <sys/wait.h>
#include <time.h>

#include "memfile_race.h"
#include "numaif.h"

#define NR_SLOTS	3
#define SLOT		10

/* A narrow file for contention, a wide one to notice if it were leaked. */
#define NARROW_PAGES	(NR_SLOTS * 32)
#define WIDE_PAGES	(NR_SLOTS * 256)

#define NR_POISONED	8

static size_t page_size;

struct race {
	const char *name;
	u64 flags;
	unsigned long vm_type;
	bool poison;

	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	pthread_t vcpu_threads[MAX_VCPUS];
	int nr_pages;
	int fd;
	char *mem;	/* mapping of the file */
	char *anon;	/* the shared part, if the VM has private memory */
};

struct worker {
	struct race *race;
	struct kvm_random_state rng;
	void (*work)(struct worker *worker);
	pthread_t thread;
};

static bool stop;

static bool is_shared(struct race *race)
{
	return race->flags & GUEST_MEMFD_FLAG_INIT_SHARED;
}

/* Guest and host */
static u64 pattern(u64 page)
{
	return 0x5ec0de0000000001ULL + page * 0x100;
}

static bool guest_stop;

/* What a vCPU touches */
struct guest_config {
	u64 seed;
	u64 id;
	u64 nr_vcpus;
	u64 nr_pages;
	u64 nr_own;	/* so many pages are divided among the vCPUs */
	u64 page_size;
};

static struct guest_config guest_configs[MAX_VCPUS];

static void guest_code(struct guest_config *config)
{
	struct kvm_random_state rng = new_kvm_random_state(config->seed);

	while (!READ_ONCE(guest_stop)) {
		u64 page = kvm_random_u32(&rng) % config->nr_pages;
		u64 word = kvm_random_u32(&rng) % MEMFILE_PAGE_WORDS;
		u64 *p, val;

		if (page < config->nr_own) {
			page += config->id - page % config->nr_vcpus;
			if (page >= config->nr_own)
				continue;
		}
		p = (u64 *)(MEMFILE_GPA + page * config->page_size) + word;
		val = READ_ONCE(*p);
		__GUEST_ASSERT(!val || val == pattern(page),
			       "page %lu, word %lu: 0x%lx", page, word, val);
		if (kvm_random_u32(&rng) & 1)
			WRITE_ONCE(*p, pattern(page));
	}
	GUEST_DONE();
}

static void *vcpu_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	struct kvm_run *run = vcpu->run;
	struct ucall uc;

	for (;;) {
		if (_vcpu_run(vcpu)) {
			/* No page, for whatever reason: the guest tries again. */
			TEST_ASSERT(errno == EFAULT || errno == EHWPOISON,
				    KVM_IOCTL_ERROR(KVM_RUN, -1));
			TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MEMORY_FAULT);
			if (READ_ONCE(stop))
				return NULL;
			continue;
		}
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_DONE:
			return NULL;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			/* No memslot */
			TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MMIO);
			if (!run->mmio.is_write)
				memset(run->mmio.data, 0, sizeof(run->mmio.data));
		}
	}
}

/*
 * All vCPUs touch the pages of the last @nr_common slots.  Slots that come and
 * go are not for that: if one vCPU is late with a fault for which there is no
 * memslot yet, and another one has the page of the new memslot mapped already,
 * x86's MMU WARNs about the former, whatever is behind the memslot.
 */
static void start_vcpus(struct race *race, int nr_common)
{
	int i;

	for (i = 0; i < nr_vcpus; i++) {
		guest_configs[i] = (struct guest_config) {
			.seed = seed + 100 + i,
			.id = i,
			.nr_vcpus = nr_vcpus,
			.nr_pages = race->nr_pages,
			.nr_own = race->nr_pages / NR_SLOTS * (NR_SLOTS - nr_common),
			.page_size = page_size,
		};
	}
	sync_global_to_guest(race->vm, guest_configs);

	for (i = 0; i < nr_vcpus; i++) {
		vcpu_args_set(race->vcpus[i], 1, (u64)&guest_configs[i]);
		kvm_pthread_create(&race->vcpu_threads[i], NULL, vcpu_thread,
				   race->vcpus[i]);
	}
}

static void join_vcpus(struct race *race)
{
	int i;

	WRITE_ONCE(stop, true);
	write_guest_global(race->vm, guest_stop, true);
	for (i = 0; i < nr_vcpus; i++)
		kvm_pthread_join(race->vcpu_threads[i], NULL);
}

static void set_slot(struct race *race, int slot, u32 flags)
{
	size_t size = race->nr_pages / NR_SLOTS * page_size;

	vm_set_user_memory_region2(race->vm, SLOT + slot, KVM_MEM_GUEST_MEMFD | flags,
				   MEMFILE_GPA + slot * size, size,
				   race->anon ? race->anon + slot * size : NULL,
				   race->fd, slot * size);
}

static void add_slot(struct race *race, int slot)
{
	set_slot(race, slot, 0);
}

static void delete_slot(struct race *race, int slot)
{
	vm_set_user_memory_region2(race->vm, SLOT + slot, 0, 0, 0, NULL, -1, 0);
}

static void create_vm(struct race *race, int nr_pages)
{
	struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = race->vm_type,
	};
	size_t size = nr_pages * page_size;

	race->nr_pages = nr_pages;
	race->vm = __vm_create_with_vcpus(shape, nr_vcpus, 0, guest_code, race->vcpus);
	virt_map(race->vm, MEMFILE_GPA, MEMFILE_GPA, size / race->vm->page_size);
	if (race->vm_type != VM_TYPE_DEFAULT) {
		race->anon = kvm_mmap(size, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1);
		vm_mem_set_private(race->vm, MEMFILE_GPA, size);
	}
}

static void create_file(struct race *race)
{
	race->fd = vm_create_guest_memfd(race->vm, race->nr_pages * page_size,
					 race->flags);
}

/* Host side accesses may find a poisoned page. */
static __thread sigjmp_buf sigbus_jmpbuf;
static __thread bool sigbus_expected;

static void sigbus_handler(int sig)
{
	/* TEST_ASSERT() is not for signal handlers. */
	if (!sigbus_expected)
		abort();
	siglongjmp(sigbus_jmpbuf, 1);
}

static u32 rnd(struct worker *worker, u32 max)
{
	return kvm_random_u32(&worker->rng) % max;
}

/* Mostly a few pages, now and then any number. */
static void random_range(struct worker *worker, int *page, int *nr)
{
	int nr_pages = worker->race->nr_pages;

	*page = rnd(worker, nr_pages);
	*nr = 1 + rnd(worker, rnd(worker, 16) ? 8 : nr_pages);
	*nr = min(*nr, nr_pages - *page);
}

static void do_fallocate(struct worker *worker, int mode)
{
	int page, nr;

	random_range(worker, &page, &nr);
	kvm_fallocate(worker->race->fd, mode, page * page_size, nr * page_size);
}

static void work_allocate(struct worker *worker)
{
	do_fallocate(worker, MEMFILE_ALLOCATE);
}

static void work_punch(struct worker *worker)
{
	do_fallocate(worker, MEMFILE_PUNCH);
}

static void work_slots(struct worker *worker)
{
	int slot = rnd(worker, NR_SLOTS - 1);

	delete_slot(worker->race, slot);
	usleep(rnd(worker, 1000));
	add_slot(worker->race, slot);
	usleep(rnd(worker, 5000));
}

/* Of a slot that all vCPUs use, and that nobody deletes. */
static void work_flags(struct worker *worker)
{
	set_slot(worker->race, NR_SLOTS - 1, rnd(worker, 2) ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	usleep(rnd(worker, 5000));
}

static void work_touch(struct worker *worker)
{
	struct race *race = worker->race;
	u64 page = rnd(worker, race->nr_pages), val;
	u64 *p = (u64 *)(race->mem + page * page_size) + rnd(worker, MEMFILE_PAGE_WORDS);

	sigbus_expected = race->poison;
	if (!sigsetjmp(sigbus_jmpbuf, 1)) {
		val = READ_ONCE(*p);
		TEST_ASSERT(!val || val == pattern(page), "Host, page %lu: 0x%lx", page,
			    val);
		if (rnd(worker, 2))
			WRITE_ONCE(*p, pattern(page));
	}
	sigbus_expected = false;
}

static void work_map(struct worker *worker)
{
	static const int modes[] = { MPOL_DEFAULT, MPOL_BIND, MPOL_INTERLEAVE };
	const unsigned long node = 1;
	int page, nr, mode = modes[rnd(worker, ARRAY_SIZE(modes))];
	char *mem;

	random_range(worker, &page, &nr);
	mem = __kvm_mmap(nr * page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 worker->race->fd, page * page_size);
	/* Fails without NUMA, which is no reason to do without the race. */
	mbind(mem, nr * page_size, mode, mode == MPOL_DEFAULT ? NULL : &node,
	      mode == MPOL_DEFAULT ? 0 : 8, 0);
	if (is_shared(worker->race) && !worker->race->poison)
		madvise(mem, nr * page_size, MADV_POPULATE_READ);
	kvm_munmap(mem, nr * page_size);
}

static void work_recycle(struct worker *worker)
{
	const size_t size = SZ_256K;
	const u64 mine = 0x5a5a5a5a5a5a5a5a;
	size_t i;
	u64 *mem;

	mem = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset(mem, mine & 0xff, size);
	usleep(rnd(worker, 500));
	for (i = 0; i < size / sizeof(*mem); i++)
		TEST_ASSERT(READ_ONCE(mem[i]) == mine,
			    "Memory of this process's own was overwritten with 0x%lx",
			    mem[i]);
	kvm_munmap(mem, size);
}

static void work_fdinfo(struct worker *worker)
{
	long present = memfile_present(worker->race->fd);

	/* The two figures are not read at one time, so twice the size may come. */
	TEST_ASSERT(present <= 2L * worker->race->nr_pages * (long)page_size,
		    "The file shows %ld bytes", present);
	usleep(1000);
}

static void work_poison(struct worker *worker)
{
	static int poisoned;
	int page = rnd(worker, worker->race->nr_pages);

	usleep(20000);
	if (poisoned >= NR_POISONED)
		return;

	sigbus_expected = true;
	if (!sigsetjmp(sigbus_jmpbuf, 1) &&
	    madvise(worker->race->mem + page * page_size, page_size, MADV_HWPOISON) &&
	    (errno == EINVAL || errno == EPERM))
		_exit(KSFT_SKIP);
	sigbus_expected = false;
	poisoned++;
}

static void work_attributes(struct worker *worker)
{
	int page, nr;

	random_range(worker, &page, &nr);
	vm_set_memory_attributes(worker->race->vm, MEMFILE_GPA + page * page_size,
				 nr * page_size,
				 rnd(worker, 2) ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0);
}

static void *worker_thread(void *arg)
{
	struct worker *worker = arg;

	while (!READ_ONCE(stop))
		worker->work(worker);
	return NULL;
}

static void add_worker(struct worker *workers, int *nr, struct race *race,
		       void (*work)(struct worker *worker))
{
	struct worker *worker = &workers[*nr];

	worker->race = race;
	worker->rng = new_kvm_random_state(seed + *nr);
	worker->work = work;
	(*nr)++;
}

/* Everything at one time, for @duration seconds after a byte went to @ready. */
static void run_race(struct race *race, int nr_pages, int duration, int ready)
{
	struct worker workers[12];
	int nr = 0, i;

	signal(SIGBUS, sigbus_handler);

	create_vm(race, nr_pages);
	create_file(race);
	for (i = 0; i < NR_SLOTS; i++)
		add_slot(race, i);
	if (nr_pages == WIDE_PAGES)
		kvm_fallocate(race->fd, MEMFILE_ALLOCATE, 0, nr_pages * page_size);
	if (race->flags & GUEST_MEMFD_FLAG_MMAP)
		race->mem = kvm_mmap(nr_pages * page_size, PROT_READ | PROT_WRITE,
				     MAP_SHARED, race->fd);

	add_worker(workers, &nr, race, work_allocate);
	add_worker(workers, &nr, race, work_punch);
	add_worker(workers, &nr, race, work_slots);
	add_worker(workers, &nr, race, work_recycle);
	add_worker(workers, &nr, race, work_fdinfo);
	if (race->flags & GUEST_MEMFD_FLAG_MMAP)
		add_worker(workers, &nr, race, work_map);
	if (is_shared(race))
		add_worker(workers, &nr, race, work_touch);
	if (race->poison)
		add_worker(workers, &nr, race, work_poison);
	if (race->anon)
		add_worker(workers, &nr, race, work_attributes);
	else
		add_worker(workers, &nr, race, work_flags);

	start_vcpus(race, 1);
	for (i = 0; i < nr; i++)
		kvm_pthread_create(&workers[i].thread, NULL, worker_thread, &workers[i]);
	if (ready >= 0)
		test_write(ready, "", 1);
	sleep(duration);

	join_vcpus(race);
	for (i = 0; i < nr; i++)
		kvm_pthread_join(workers[i].thread, NULL);

	/* Nothing went amiss in the books. */
	TEST_ASSERT_CONSUMERS(race->fd, NR_SLOTS);
	kvm_fallocate(race->fd, MEMFILE_PUNCH, 0, nr_pages * page_size);
	TEST_ASSERT_PRESENT(race->fd, 0);
	kvm_fallocate(race->fd, MEMFILE_ALLOCATE, 0, nr_pages * page_size);
	TEST_ASSERT_PRESENT(race->fd, nr_pages * page_size);
}

static void test_race(struct race *race)
{
	run_race(race, NARROW_PAGES, seconds, -1);
}

/* The last close of a file and the deletion of its memslots, at one time. */
struct closer {
	pthread_barrier_t barrier;
	bool done;
	int fd;
};

static void *closer_thread(void *arg)
{
	struct closer *closer = arg;

	for (;;) {
		pthread_barrier_wait(&closer->barrier);
		if (closer->done)
			return NULL;
		kvm_close(closer->fd);
		pthread_barrier_wait(&closer->barrier);
	}
}

static void test_close(struct race *race)
{
	struct kvm_random_state rng = new_kvm_random_state(seed);
	struct timespec start;
	struct closer closer = {};
	pthread_t thread;
	int i;

	create_vm(race, NARROW_PAGES);
	pthread_barrier_init(&closer.barrier, NULL, 2);
	kvm_pthread_create(&thread, NULL, closer_thread, &closer);
	start_vcpus(race, 0);

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		create_file(race);
		for (i = 0; i < NR_SLOTS; i++)
			add_slot(race, i);
		usleep(kvm_random_u32(&rng) % 2000);

		closer.fd = race->fd;
		pthread_barrier_wait(&closer.barrier);
		for (i = 0; i < NR_SLOTS; i++) {
			delete_slot(race, i);
			if (kvm_random_u32(&rng) & 1)
				sched_yield();
		}
		pthread_barrier_wait(&closer.barrier);
	} while (timespec_elapsed(start).tv_sec < seconds);

	closer.done = true;
	pthread_barrier_wait(&closer.barrier);
	kvm_pthread_join(thread, NULL);
	join_vcpus(race);
}

/* SIGKILL at a moment that nobody chose, and everything must be given back. */
static void test_kill(struct race *race)
{
	struct kvm_random_state rng = new_kvm_random_state(seed);
	u64 before = memfile_meminfo("Unevictable");
	int i, ready[2], status;
	pid_t pid;
	char c;

	for (i = 0; i < nr_kills; i++) {
		TEST_ASSERT(!pipe(ready), "pipe() failed");
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork() failed");
		if (!pid) {
			kvm_close(ready[0]);
			/* Every other one on a file that the host does not map. */
			if (i % 2)
				race->flags &= ~GUEST_MEMFD_FLAG_INIT_SHARED;
			seed += i;
			run_race(race, WIDE_PAGES, 600, ready[1]);
			_exit(1);
		}
		kvm_close(ready[1]);
		TEST_ASSERT(read(ready[0], &c, 1) == 1, "VMM %d did not start", i);
		kvm_close(ready[0]);

		usleep(kvm_random_u32(&rng) % 50000);
		kill(pid, SIGKILL);
		TEST_ASSERT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
			    WTERMSIG(status) == SIGKILL,
			    "VMM %d ended before it was killed, status 0x%x", i, status);
	}

	race_memory_is_back(before);
}

/*
 * In a process of its own, so that the next one runs whatever comes, even if
 * the process cannot be killed any more.
 */
#define SHARED	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

int main(int argc, char *argv[])
{
	struct race shared = { .name = "shared", .flags = SHARED };
	struct race private = { .name = "private", .flags = GUEST_MEMFD_FLAG_MMAP };
	struct race poison = { .name = "hwpoison", .flags = SHARED, .poison = true };
	struct race closing = { .name = "close", .flags = SHARED };
	struct race killed = { .name = "kill", .flags = SHARED };

	page_size = getpagesize();
	nr_vcpus = 2;
	nr_kills = 20;
	race_options(argc, argv);

	ksft_print_header();
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE((kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & SHARED) == SHARED);
#ifdef __x86_64__
	race_begin(6);
#else
	race_begin(5);
#endif

	race_run(&shared, shared.name, test_race);
	race_run(&private, private.name, test_race);
#ifdef __x86_64__
	struct race sw_protected = {
		.name = "sw_protected",
		.vm_type = KVM_X86_SW_PROTECTED_VM,
	};

	if (kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM))
		race_run(&sw_protected, sw_protected.name, test_race);
	else
		ksft_test_result_skip("%s\n", sw_protected.name);
#endif
	race_run(&closing, closing.name, test_close);
	race_run(&killed, killed.name, test_kill);
	/*
	 * The last one, as a kernel that deadlocks here leaves a process behind
	 * that holds on to its memory.
	 */
	race_run(&poison, poison.name, test_race);

	ksft_finished();
}
