// SPDX-License-Identifier: GPL-2.0
/*
 * Conversions of a memory file (guest_memfd) while vCPUs and host threads use
 * its pages, and while pages, mappings, memslots and the whole VMM come and go.
 *
 * Content is kept when a page is converted, so that it is there to be checked.
 * Every word carries a stamp: who wrote it, in which page, and a number.  One
 * vCPU owns a page.  It writes secrets to it, but only while the page is
 * private, and has overwritten them before the page is shared:
 *
 *	SHARED  -- converted, then told --> PRIVATE -- asked --> ERASE
 *	   ^                                                       |
 *	   '-- converted, then told -- ERASED <-- told by guest ---'
 *
 * So the host must never find a secret, however it races.  The other way
 * round, the host writes whenever it likes and takes the SIGBUS: in what the
 * guest knows to be private no word must change but by the guest's own hand.
 *
 * Other pages take no part in this, and have no secrets.  They are converted
 * without a word, at whatever moment, and so a good deal more often.
 *
 * The rest is for the kernel to notice: run it with lockdep and KASAN.
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "memfile_race.h"

#define NR_SLOTS	3
#define SLOT		10
#define SLOT_PAGES	16
#define NR_PAGES	(NR_SLOTS * SLOT_PAGES)
#define NR_WORDS	4
#define NR_POISONED	8

#define MMAP		GUEST_MEMFD_FLAG_MMAP
#define SHARED_FILE	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

static size_t page_size;
static size_t file_size;

/* Guest and host */

enum {
	BY_NOBODY = 0,	/* all of the word is 0 */
	BY_HOST,
	BY_GUEST,
	SECRET,
};

/* What an access reads where there is no memslot; the VMM says so. */
#define NO_SLOT		(~0ULL)

static u64 stamp(u64 who, u64 page, u64 nr)
{
	return who << 56 | page << 40 | (nr & GENMASK_ULL(39, 0));
}

static u64 stamp_who(u64 stamp)
{
	return stamp >> 56;
}

static bool stamp_is_of(u64 stamp, u64 page)
{
	return !stamp || ((stamp >> 40) & 0xffff) == page;
}

static u64 word_offset(u64 page, u64 word, u64 page_size)
{
	/* In every page at another place, never across its end */
	return page * page_size +
	       (word * (MEMFILE_PAGE_WORDS / NR_WORDS) + page % 7) * sizeof(u64);
}

enum phase {
	SHARED,
	PRIVATE,
	ERASE,
	ERASED,
	ANYTHING,	/* conversions come unannounced, there are no secrets */
};

static u64 phases[NR_PAGES];

/* Guest */

struct guest_config {
	u64 seed;
	u64 id;
	u64 nr_vcpus;
	u64 nr_pages;
	u64 nr_own;	/* so many pages are touched by their owners alone */
	u64 page_size;
	u64 punched;	/* a word may become 0 at any time */
};

static struct guest_config guest_configs[MAX_VCPUS + 1];
static bool guest_stop;

/* What the owner of a page expects to find in it */
static u64 expected[NR_PAGES][NR_WORDS];
static bool expects[NR_PAGES];
static u64 guest_nr[NR_PAGES];

static u64 *guest_word(struct guest_config *config, u64 page, u64 word)
{
	return (u64 *)(MEMFILE_GPA + word_offset(page, word, config->page_size));
}

static u64 guest_check(struct guest_config *config, u64 page, u64 word)
{
	u64 val = READ_ONCE(*guest_word(config, page, word));

	__GUEST_ASSERT(val == NO_SLOT || stamp_is_of(val, page),
		       "page %lu, word %lu: 0x%lx", page, word, val);
	return val;
}

/* What is written while there is no memslot is lost.  Make sure. */
static u64 guest_write(struct guest_config *config, u64 page, u64 word, u64 who)
{
	u64 *p = guest_word(config, page, word);
	u64 val = stamp(who, page, ++guest_nr[page]);

	do {
		WRITE_ONCE(*p, val);
	} while (READ_ONCE(*p) != val);
	return val;
}

static void guest_erase(struct guest_config *config, u64 page)
{
	int word;

	expects[page] = false;
	for (word = 0; word < NR_WORDS; word++)
		guest_write(config, page, word, BY_GUEST);
	__atomic_store_n(&phases[page], ERASED, __ATOMIC_RELEASE);
}

static void guest_use_private(struct guest_config *config, u64 page, u64 word)
{
	u64 val;
	int i;

	if (!expects[page]) {
		for (i = 0; i < NR_WORDS; i++) {
			do {
				val = guest_check(config, page, i);
			} while (val == NO_SLOT);
			__GUEST_ASSERT(stamp_who(val) != SECRET,
				       "page %lu, word %d: 0x%lx, not erased", page, i, val);
			expected[page][i] = val;
		}
		expects[page] = true;
	}

	val = guest_check(config, page, word);
	if (val == NO_SLOT)
		return;
	__GUEST_ASSERT(val == expected[page][word] || (!val && config->punched),
		       "page %lu, word %lu: 0x%lx became 0x%lx while private", page, word,
		       expected[page][word], val);
	expected[page][word] = guest_write(config, page, word, SECRET);
}

static void guest_use(struct guest_config *config, u64 page, u64 word, bool write)
{
	u64 val;

	switch (__atomic_load_n(&phases[page], __ATOMIC_ACQUIRE)) {
	case SHARED:
		val = guest_check(config, page, word);
		__GUEST_ASSERT(val == NO_SLOT || stamp_who(val) != SECRET,
			       "page %lu, word %lu: 0x%lx, not erased", page, word, val);
		fallthrough;
	case ANYTHING:
		guest_check(config, page, word);
		if (write)
			WRITE_ONCE(*guest_word(config, page, word),
				   stamp(BY_GUEST, page, ++guest_nr[page]));
		break;
	case PRIVATE:
		guest_use_private(config, page, word);
		break;
	}
}

static void guest_code(struct guest_config *config)
{
	struct kvm_random_state rng = new_kvm_random_state(config->seed);
	u64 page, word;

	while (config->nr_pages && !READ_ONCE(guest_stop)) {
		for (page = config->id; page < config->nr_pages; page += config->nr_vcpus) {
			if (__atomic_load_n(&phases[page], __ATOMIC_ACQUIRE) == ERASE)
				guest_erase(config, page);
		}

		page = kvm_random_u32(&rng) % config->nr_pages;
		word = kvm_random_u32(&rng) % NR_WORDS;
		if (page % config->nr_vcpus == config->id)
			guest_use(config, page, word, kvm_random_u32(&rng) & 1);
		else if (page >= config->nr_own)
			guest_check(config, page, word);
	}
	GUEST_DONE();
}

/* Host */

struct race {
	const char *name;
	void (*test)(struct race *race);
	/* As long as it takes for as many conversions as were asked for */
	bool count;
	/* Others may have references to pages, and let go of them. */
	bool references;
	bool punch;
	bool slots;
	bool poison;

	u64 flags;
	bool anything;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS + 1];	/* one that does not run */
	pthread_t vcpu_threads[MAX_VCPUS];
	u64 *phases;
	char *mem;
	int fd;
	/* Figures for the log */
	unsigned long nr_converted, nr_pages_converted, nr_again, nr_bus, nr_fault;
};

struct worker {
	struct race *race;
	struct kvm_random_state rng;
	void (*work)(struct worker *worker);
	pthread_t thread;
};

static bool stop;

static u32 rnd(struct worker *worker, u32 max)
{
	return kvm_random_u32(&worker->rng) % max;
}

static __thread sigjmp_buf sigbus_jmpbuf;
static __thread bool sigbus_expected;

static void sigbus_handler(int sig)
{
	/* TEST_ASSERT() is not for signal handlers. */
	if (!sigbus_expected)
		abort();
	siglongjmp(sigbus_jmpbuf, 1);
}

static bool host_read(char *mem, u64 page, u64 word, u64 *val)
{
	bool done = false;

	sigbus_expected = true;
	if (!sigsetjmp(sigbus_jmpbuf, 1)) {
		*val = READ_ONCE(*(u64 *)(mem + word_offset(page, word, page_size)));
		done = true;
	}
	sigbus_expected = false;
	return done;
}

static bool host_write(char *mem, u64 page, u64 word, u64 val)
{
	bool done = false;

	sigbus_expected = true;
	if (!sigsetjmp(sigbus_jmpbuf, 1)) {
		WRITE_ONCE(*(u64 *)(mem + word_offset(page, word, page_size)), val);
		done = true;
	}
	sigbus_expected = false;
	return done;
}

static void host_check(u64 page, u64 val)
{
	TEST_ASSERT(stamp_is_of(val, page), "Page %lu: the host found 0x%lx", page, val);
	TEST_ASSERT(stamp_who(val) != SECRET, "Page %lu: the host found secret 0x%lx",
		    page, val);
}

/* The kernel reads on the host's behalf. */
static bool pipe_read(char *mem, u64 page, u64 word, u64 *val)
{
	int pipes[2];
	ssize_t r;

	TEST_ASSERT(!pipe(pipes), "pipe() failed");
	r = write(pipes[1], mem + word_offset(page, word, page_size), sizeof(*val));
	TEST_ASSERT(r == sizeof(*val) || (r == -1 && errno == EFAULT),
		    "write() from page %lu: %ld, errno %d", page, r, errno);
	if (r > 0)
		TEST_ASSERT_EQ(read(pipes[0], val, sizeof(*val)), r);
	kvm_close(pipes[0]);
	kvm_close(pipes[1]);
	return r > 0;
}

static void work_touch(struct worker *worker)
{
	static u64 nr;
	struct race *race = worker->race;
	u64 page = rnd(worker, NR_PAGES), word = rnd(worker, NR_WORDS), val = 0;
	bool done;

	switch (rnd(worker, 16)) {
	case 0:
		done = pipe_read(race->mem, page, word, &val);
		break;
	case 1 ... 8:
		done = host_write(race->mem, page, word, stamp(BY_HOST, page, ++nr));
		break;
	default:
		done = host_read(race->mem, page, word, &val);
		break;
	}
	host_check(page, val);
	race->nr_bus += !done;
	/* There are not as many CPUs as there is work. */
	if (!rnd(worker, 32))
		usleep(rnd(worker, 200));
}

static void random_range(struct worker *worker, u64 *page, u64 *nr)
{
	*page = rnd(worker, NR_PAGES);
	*nr = 1 + rnd(worker, rnd(worker, 8) ? 4 : NR_PAGES);
	*nr = min(*nr, NR_PAGES - *page);
}

static bool convert(struct race *race, u64 page, u64 nr, bool private)
{
	u64 offset = page * page_size, size = nr * page_size, where;
	int err = memfile_try_convert(race->fd, offset, size, private, &where);

	if (err == EAGAIN && race->references && private) {
		TEST_ASSERT(where >= offset && where - offset < size,
			    "EAGAIN at 0x%lx, in the conversion of 0x%lx bytes at 0x%lx",
			    where, size, offset);
		race->nr_again++;
		return false;
	}
	TEST_ASSERT(!err, "Pages %lu to %lu to %s: errno %d (%s) at 0x%lx", page,
		    page + nr - 1, private ? "private" : "shared", err, strerror(err),
		    where);
	race->nr_converted++;
	race->nr_pages_converted += nr;
	return true;
}

static u64 phase_of(struct race *race, u64 page)
{
	/* The phases may be gone, with the VM whose memory they are. */
	if (race->anything)
		return ANYTHING;
	return __atomic_load_n(&race->phases[page], __ATOMIC_ACQUIRE);
}

static void set_phase(struct race *race, u64 page, u64 phase)
{
	__atomic_store_n(&race->phases[page], phase, __ATOMIC_RELEASE);
}

/* Unless there is somebody else who converts, what was just done is so. */
static void check_run(struct race *race, u64 page, u64 nr, bool private)
{
	if (!race->anything)
		TEST_ASSERT_RUN(race->fd, page * page_size, nr * page_size, private,
				nr * page_size);
}

static void make_private(struct race *race, u64 page, u64 nr)
{
	u64 i;

	/* What else is in the range may be private already. */
	if (!convert(race, page, nr, true)) {
		if (phase_of(race, page) == SHARED)
			check_run(race, page, 1, false);
		return;
	}
	check_run(race, page, nr, true);
	for (i = page; i < page + nr; i++) {
		if (phase_of(race, i) == SHARED)
			set_phase(race, i, PRIVATE);
	}
}

/* As far as the guest has nothing to hide */
static void make_shared(struct race *race, u64 page, u64 nr)
{
	u64 end = page + nr, i;

	for (i = page; i < end; i++) {
		if (phase_of(race, i) == PRIVATE || phase_of(race, i) == ERASE)
			break;
	}
	nr = i - page;
	convert(race, page, nr, false);
	check_run(race, page, nr, false);
	for (i = page; i < page + nr; i++) {
		if (phase_of(race, i) == ERASED)
			set_phase(race, i, SHARED);
	}
}

static void work_convert(struct worker *worker)
{
	struct race *race = worker->race;
	bool private = rnd(worker, 2);
	u64 page, nr, i;

	random_range(worker, &page, &nr);
	switch (phase_of(race, page)) {
	case SHARED:
		make_private(race, page, nr);
		break;
	case PRIVATE:
		for (i = page; i < NR_PAGES && phase_of(race, i) == PRIVATE; i++)
			set_phase(race, i, ERASE);
		break;
	case ERASED:
		make_shared(race, page, nr);
		break;
	case ANYTHING:
		/* So fast that not each of them finds the page mapped */
		for (i = rnd(worker, 32); i > 0; i--, private = !private) {
			if (private)
				make_private(race, page, nr);
			else
				make_shared(race, page, nr);
		}
		break;
	}
}

static void work_allocate(struct worker *worker)
{
	u64 page, nr;

	random_range(worker, &page, &nr);
	kvm_fallocate(worker->race->fd, MEMFILE_ALLOCATE, page * page_size, nr * page_size);
	usleep(rnd(worker, 500));
}

static void work_punch(struct worker *worker)
{
	u64 page, nr;

	random_range(worker, &page, &nr);
	kvm_fallocate(worker->race->fd, MEMFILE_PUNCH, page * page_size, nr * page_size);
	usleep(rnd(worker, 2000));
}

/* A mapping of its own for every look */
static void work_map(struct worker *worker)
{
	u64 page, nr, i, val;
	char *mem;

	random_range(worker, &page, &nr);
	mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, worker->race->fd);
	if (rnd(worker, 2))
		madvise(mem + page * page_size, nr * page_size, MADV_POPULATE_READ);
	for (i = page; i < page + nr; i++) {
		if (host_read(mem, i, rnd(worker, NR_WORDS), &val))
			host_check(i, val);
	}
	kvm_munmap(mem, file_size);
}

/* A second process that has the pages mapped, for as long as it lives */
static void work_fork(struct worker *worker)
{
	int status, i;
	u64 page, val;
	pid_t pid;

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid) {
		for (i = 0; i < 100; i++) {
			page = rnd(worker, NR_PAGES);
			if (host_read(worker->race->mem, page, rnd(worker, NR_WORDS), &val) &&
			    (!stamp_is_of(val, page) || stamp_who(val) == SECRET))
				_exit(1);
		}
		_exit(0);
	}
	/* The next child is to look elsewhere. */
	rnd(worker, 1);
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	TEST_ASSERT(!status, "A forked process found what it must not, status 0x%x", status);
}

static void add_slot(struct race *race, int slot)
{
	size_t size = SLOT_PAGES * page_size;

	vm_set_user_memory_region2(race->vm, SLOT + slot, KVM_MEM_GUEST_MEMFD,
				   MEMFILE_GPA + slot * size, size, NULL, race->fd,
				   slot * size);
}

/*
 * Not the last slot, which all vCPUs use: if one is late with a fault for which
 * there is no memslot yet, and another one has the page of the new memslot
 * mapped already, x86's MMU WARNs about the former, whatever is behind the
 * memslot.
 */
static void work_slots(struct worker *worker)
{
	int slot = rnd(worker, NR_SLOTS - 1);

	vm_set_user_memory_region2(worker->race->vm, SLOT + slot, 0, 0, 0, NULL, -1, 0);
	usleep(rnd(worker, 1000));
	add_slot(worker->race, slot);
	usleep(rnd(worker, 3000));
}

static void work_prefault(struct worker *worker)
{
	struct kvm_pre_fault_memory range;
	u64 page, nr;
	int r;

	random_range(worker, &page, &nr);
	range = (struct kvm_pre_fault_memory) {
		.gpa = MEMFILE_GPA + page * page_size,
		.size = nr * page_size,
	};
	r = __vcpu_ioctl(worker->race->vcpus[nr_vcpus], KVM_PRE_FAULT_MEMORY, &range);
	/* It may be converted between the question what it is and the fault. */
	TEST_ASSERT(!r || errno == EFAULT || errno == EAGAIN || errno == EINTR ||
		    (errno == EHWPOISON && worker->race->poison),
		    KVM_IOCTL_ERROR(KVM_PRE_FAULT_MEMORY, r));
}

/* Memory errors, in pages that are shared or not any more at that moment */
static void work_poison(struct worker *worker)
{
	static int poisoned;
	u64 page = rnd(worker, NR_PAGES);

	usleep(20000);
	if (poisoned >= NR_POISONED)
		return;

	sigbus_expected = true;
	if (!sigsetjmp(sigbus_jmpbuf, 1)) {
		if (!madvise(worker->race->mem + page * page_size, page_size, MADV_HWPOISON))
			poisoned++;
		else if (errno == EINVAL || errno == EPERM)
			_exit(KSFT_SKIP);
	}
	sigbus_expected = false;
}

static void work_fdinfo(struct worker *worker)
{
	long present = memfile_present(worker->race->fd);

	/* The two figures are not read at one time, so twice the size may come. */
	TEST_ASSERT(present <= 2 * (long)file_size, "The file shows %ld bytes", present);
	usleep(1000);
}

static void *worker_thread(void *arg)
{
	struct worker *worker = arg;

	/* There are more vCPUs than CPUs, and none of them ever sleeps. */
	if (worker->work == work_convert || worker->work == work_touch)
		setpriority(PRIO_PROCESS, 0, -5);
	while (!READ_ONCE(stop))
		worker->work(worker);
	return NULL;
}

static void *vcpu_thread(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	struct kvm_run *run = vcpu->run;
	u64 faulting = 0;
	int nr_faults = 0;
	struct ucall uc;

	for (;;) {
		if (_vcpu_run(vcpu)) {
			/* Converted between the question what it is and the fault. */
			TEST_ASSERT(errno == EFAULT || errno == EHWPOISON,
				    KVM_IOCTL_ERROR(KVM_RUN, -1));
			TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MEMORY_FAULT);
			if (errno == EHWPOISON) {
				/* Until it is punched out */
				if (READ_ONCE(stop))
					return NULL;
				continue;
			}
			/* That happens to any page now and then, but not time and again. */
			if (run->memory_fault.gpa != faulting)
				nr_faults = 0;
			faulting = run->memory_fault.gpa;
			TEST_ASSERT(++nr_faults < 1000, "Guest page 0x%llx cannot be accessed",
				    run->memory_fault.gpa);
			continue;
		}
		nr_faults = 0;
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
				memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		}
	}
}

static void create_vm(struct race *race)
{
	int i;

	race->vm = __vm_create_with_vcpus(memfile_convert_shape(), nr_vcpus + 1, 0,
					  guest_code, race->vcpus);
	virt_map(race->vm, MEMFILE_GPA, MEMFILE_GPA, file_size / race->vm->page_size);
	race->fd = vm_create_guest_memfd(race->vm, file_size, race->flags);
	race->mem = kvm_mmap(file_size, PROT_READ | PROT_WRITE, MAP_SHARED, race->fd);
	for (i = 0; i < NR_SLOTS; i++)
		add_slot(race, i);

	race->phases = addr_gva2hva(race->vm, (gva_t)phases);
	for (i = 0; i < NR_PAGES; i++) {
		if (race->anything || i % 8 < 4)
			set_phase(race, i, ANYTHING);
		else
			set_phase(race, i, race->flags == SHARED_FILE ? SHARED : PRIVATE);
	}

	for (i = 0; i <= nr_vcpus; i++) {
		guest_configs[i] = (struct guest_config) {
			.seed = seed + 100 + i,
			.id = i,
			.nr_vcpus = nr_vcpus,
			.nr_pages = i < nr_vcpus ? NR_PAGES : 0,
			.nr_own = race->slots ? NR_PAGES - SLOT_PAGES : 0,
			.page_size = page_size,
			.punched = race->punch,
		};
	}
	sync_global_to_guest(race->vm, guest_configs);
	for (i = 0; i <= nr_vcpus; i++)
		vcpu_args_set(race->vcpus[i], 1, (u64)&guest_configs[i]);
	/* It must have run once to have an MMU that can be prefaulted. */
	vcpu_thread(race->vcpus[nr_vcpus]);
}

static void start_vcpus(struct race *race)
{
	int i;

	for (i = 0; i < nr_vcpus; i++)
		kvm_pthread_create(&race->vcpu_threads[i], NULL, vcpu_thread,
				   race->vcpus[i]);
}

static void join_vcpus(struct race *race)
{
	int i;

	write_guest_global(race->vm, guest_stop, true);
	for (i = 0; i < nr_vcpus; i++)
		kvm_pthread_join(race->vcpu_threads[i], NULL);
}

static void start_worker(struct worker *workers, int *nr, struct race *race,
			 void (*work)(struct worker *worker))
{
	struct worker *worker = &workers[*nr];

	worker->race = race;
	worker->rng = new_kvm_random_state(seed + *nr);
	worker->work = work;
	kvm_pthread_create(&worker->thread, NULL, worker_thread, worker);
	(*nr)++;
}

/* With nobody else at work, all works, and the books are right. */
static void check_afterwards(struct race *race)
{
	memfile_convert(race->fd, 0, file_size, true);
	TEST_ASSERT_RUN(race->fd, 0, file_size, true, file_size);
	TEST_ASSERT_EQ(memfile_fdinfo(race->fd, "memfile-shared"), 0L);
	memfile_convert(race->fd, 0, file_size, false);
	TEST_ASSERT_RUN(race->fd, 0, file_size, false, file_size);
	TEST_ASSERT_EQ(memfile_fdinfo(race->fd, "memfile-private"), 0L);
	memfile_convert(race->fd, 0, file_size / 2, true);

	kvm_fallocate(race->fd, MEMFILE_PUNCH, 0, file_size);
	TEST_ASSERT_PRESENT(race->fd, 0);
	kvm_fallocate(race->fd, MEMFILE_ALLOCATE, 0, file_size);
	TEST_ASSERT_EQ(memfile_fdinfo(race->fd, "memfile-private"), (long)file_size / 2);
	TEST_ASSERT_EQ(memfile_fdinfo(race->fd, "memfile-shared"), (long)file_size / 2);
}

static void test_race(struct race *race)
{
	struct worker workers[12];
	int nr = 0, i;

	create_vm(race);
	start_vcpus(race);
	start_worker(workers, &nr, race, work_convert);
	start_worker(workers, &nr, race, work_touch);
	if (race->punch) {
		start_worker(workers, &nr, race, work_punch);
		start_worker(workers, &nr, race, work_allocate);
		start_worker(workers, &nr, race, work_fdinfo);
		if (kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
			start_worker(workers, &nr, race, work_prefault);
	}
	if (race->references) {
		start_worker(workers, &nr, race, work_map);
		start_worker(workers, &nr, race, work_fork);
		start_worker(workers, &nr, race, work_touch);
	}
	if (race->slots)
		start_worker(workers, &nr, race, work_slots);
	if (race->poison)
		start_worker(workers, &nr, race, work_poison);

	sleep(seconds);
	while (race->count && READ_ONCE(race->nr_converted) < nr_conversions)
		usleep(100000);
	WRITE_ONCE(stop, true);
	for (i = 0; i < nr; i++)
		kvm_pthread_join(workers[i].thread, NULL);
	join_vcpus(race);

	ksft_print_msg("%s: %lu conversions of %lu pages, %lu times EAGAIN, %lu times SIGBUS\n",
		       race->name, race->nr_converted, race->nr_pages_converted,
		       race->nr_again, race->nr_bus);
	TEST_ASSERT(race->nr_converted, "Nothing was converted");
	TEST_ASSERT_CONSUMERS(race->fd, NR_SLOTS);
	check_afterwards(race);
}

/* The VM goes, under the conversions of its file, in good order. */
static void test_teardown(struct race *race)
{
	struct timespec start;
	int rounds = 0;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		struct worker workers[2];
		int nr = 0, i;

		race->anything = true;
		create_vm(race);
		stop = false;
		start_vcpus(race);
		start_worker(workers, &nr, race, work_convert);
		start_worker(workers, &nr, race, work_touch);
		usleep(rnd(&workers[0], 20000));

		join_vcpus(race);
		if (rounds % 2) {
			for (i = 0; i < NR_SLOTS; i++)
				vm_set_user_memory_region2(race->vm, SLOT + i, 0, 0, 0,
							   NULL, -1, 0);
		}
		kvm_vm_free(race->vm);
		usleep(rnd(&workers[0], 2000));

		WRITE_ONCE(stop, true);
		for (i = 0; i < nr; i++)
			kvm_pthread_join(workers[i].thread, NULL);
		check_afterwards(race);
		kvm_munmap(race->mem, file_size);
		kvm_close(race->fd);
		rounds++;
	} while (timespec_elapsed(start).tv_sec < seconds);
	ksft_print_msg("%s: %d times, %lu conversions\n", race->name, rounds,
		       race->nr_converted);
}

/* Converts until a while after its parent has died. */
static void run_survivor(struct race *race, pid_t parent, int done)
{
	struct worker worker = {
		.race = race,
		.rng = new_kvm_random_state(seed),
	};
	int i, left = 20;

	/* All of the VM but the file is the parent's. */
	for (i = 0; i <= nr_vcpus; i++)
		kvm_munmap(race->vcpus[i]->run,
			   ioctl(race->vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL));
	for (i = 3; i < 256; i++) {
		if (i != race->fd && i != done)
			close(i);
	}
	/* Its phases are memory of the parent's, too, as it was at the fork. */
	while (getppid() == parent || left--)
		work_convert(&worker);
	check_afterwards(race);
	test_write(done, "", 1);
	_exit(0);
}

static void run_victim(struct race *race, int ready, int done)
{
	struct worker workers[8];
	pid_t self = getpid();
	int nr = 0;

	race->anything = true;
	race->slots = true;
	race->references = true;
	create_vm(race);
	if (!fork())
		run_survivor(race, self, done);
	kvm_close(done);

	start_vcpus(race);
	start_worker(workers, &nr, race, work_convert);
	start_worker(workers, &nr, race, work_touch);
	start_worker(workers, &nr, race, work_punch);
	start_worker(workers, &nr, race, work_slots);
	start_worker(workers, &nr, race, work_map);
	test_write(ready, "", 1);
	for (;;)
		pause();
}

/* SIGKILL at a moment that nobody chose; somebody else still has the file. */
static void test_kill(struct race *race)
{
	struct kvm_random_state rng = new_kvm_random_state(seed);
	u64 before = memfile_meminfo("Unevictable");
	int ready[2], done[2], status, i;
	pid_t pid;
	char c;

	for (i = 0; i < nr_kills; i++) {
		TEST_ASSERT(!pipe(ready) && !pipe(done), "pipe() failed");
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork() failed");
		if (!pid) {
			seed += i;
			race->flags = i % 2 ? SHARED_FILE : MMAP;
			run_victim(race, ready[1], done[1]);
		}
		kvm_close(ready[1]);
		kvm_close(done[1]);
		TEST_ASSERT(read(ready[0], &c, 1) == 1, "VMM %d did not start", i);

		usleep(kvm_random_u32(&rng) % 50000);
		kill(pid, SIGKILL);
		TEST_ASSERT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
			    WTERMSIG(status) == SIGKILL,
			    "VMM %d ended before it was killed, status 0x%x", i, status);
		TEST_ASSERT(read(done[0], &c, 1) == 1, "Who survived VMM %d failed", i);
		kvm_close(ready[0]);
		kvm_close(done[0]);
	}

	race_memory_is_back(before);
}

/*
 * In a process of its own, so that the next one runs whatever comes, even if
 * the process cannot be killed any more.
 */
int main(int argc, char *argv[])
{
	struct race races[] = {
		{ .name = "touch", .test = test_race, .flags = MMAP, .count = true },
		{ .name = "punch", .test = test_race, .flags = SHARED_FILE, .punch = true },
		{ .name = "references", .test = test_race, .flags = MMAP, .references = true },
		{ .name = "slots", .test = test_race, .flags = SHARED_FILE, .slots = true },
		{ .name = "teardown", .test = test_teardown, .flags = MMAP },
		{ .name = "kill", .test = test_kill },
		{
			.name = "hwpoison", .test = test_race, .flags = SHARED_FILE,
			/* The guest cannot erase what has an error. */
			.anything = true,
			.poison = true, .punch = true, .references = true,
		},
	};
	int i;

	page_size = getpagesize();
	file_size = NR_PAGES * page_size;
	nr_vcpus = MAX_VCPUS;
	nr_kills = 2;
	race_options(argc, argv);

	ksft_print_header();
	memfile_require_convert();
	race_begin(ARRAY_SIZE(races));
	signal(SIGBUS, sigbus_handler);

	for (i = 0; i < ARRAY_SIZE(races); i++)
		race_run(&races[i], races[i].name, races[i].test);

	ksft_finished();
}
