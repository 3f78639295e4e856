// SPDX-License-Identifier: GPL-2.0
/*
 * Runs mm/memfile/state.c, notifier.c and convert.c in userspace: memfile [seed
 * [steps]].  Prints TAP; the exit status is 1 if a test failed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "test.h"

unsigned long seed;
unsigned long steps = 3000;
struct module test_module;

/* The part of core.c that the notifier needs: here every file is as it says. */
static const struct address_space_operations test_aops;

bool memfile_inode(const struct inode *inode)
{
	return inode->i_mapping->a_ops == &test_aops;
}

static jmp_buf failed;

void fail(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	printf("# %s:%d: ", file, line);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	longjmp(failed, 1);
}

static const struct memfile_owner_ops test_owner_ops;

void test_file_init(struct test_file *tf, unsigned int flags, pgoff_t nr_pages)
{
	struct memfile *memfile = &tf->memfile;
	struct inode *inode = &memfile->vfs_inode;

	memset(tf, 0, sizeof(*tf));
	inode->i_mapping = &inode->i_data;
	inode->i_mapping->host = inode;
	inode->i_mapping->a_ops = &test_aops;
	inode->i_size = nr_pages * 4096LL;
	tf->file.f_inode = inode;
	tf->file.f_mapping = inode->i_mapping;

	memfile->flags = flags;
	memfile->ops = &test_owner_ops;
	memfile->state_of_rest = memfile_state_default(memfile);
	mt_init_flags(&memfile->states, MT_FLAGS_ALLOC_RANGE | MT_FLAGS_USE_RCU);
	memfile->consumers = RB_ROOT_CACHED;
	test_module = (struct module) { };
	shim_signal = false;
	shim_other_signal = false;
	shim_fail_nth = 0;
}

void test_file_exit(struct test_file *tf)
{
	check_eq(tf->memfile.nr_consumers, 0);
	check(RB_EMPTY_ROOT(&tf->memfile.consumers.rb_root));
	check_eq(test_module.refs, 0);
	check(!shim_is_held(&tf->memfile.vfs_inode.i_data.invalidate_lock));
	check(!shim_is_held(&tf->memfile.consumers_lock.lock));
	mtree_destroy(&tf->memfile.states);
}

void test_convert(struct test_file *tf, pgoff_t start, pgoff_t end,
		  enum memfile_state to)
{
	pgoff_t where;

	tf->nr_events = 0;
	check_eq(memfile_convert(&tf->file, start, end, to, &where), 0);
}

void test_convert_fails(struct test_file *tf, pgoff_t start, pgoff_t end,
			enum memfile_state to, int err, pgoff_t where)
{
	pgoff_t at = ULONG_MAX;

	tf->nr_events = 0;
	check_eq(memfile_convert(&tf->file, start, end, to, &at), err);
	check_eq(at, where);
}

static bool holds_a_lock(struct memfile_consumer *consumer, bool exclusive)
{
	struct memfile *memfile = MEMFILE_I(consumer->inode);

	return memfile->consumers_lock.lock.exclusive ||
	       memfile->vfs_inode.i_data.invalidate_lock.exclusive ||
	       (!exclusive && memfile->vfs_inode.i_data.invalidate_lock.shared);
}

static void log_call(struct test_consumer *tc, enum test_event_type type,
		     const struct memfile_invalidation *inv)
{
	struct test_event *event = test_log(MEMFILE_I(tc->consumer.inode), type,
					    inv->start, inv->end);

	event->consumer = tc;
	event->states = inv->states;
}

static void record(struct test_call *call, pgoff_t start, pgoff_t end,
		   unsigned int states)
{
	call->nr++;
	call->start = start;
	call->end = end;
	call->states = states;
}

static void test_start(struct memfile_consumer *consumer,
		       const struct memfile_invalidation *inv)
{
	struct test_consumer *tc = container_of(consumer, struct test_consumer, consumer);

	check(holds_a_lock(consumer, true));
	check_eq(tc->end_call.nr, tc->start_call.nr);
	record(&tc->start_call, inv->start, inv->end, inv->states);
	log_call(tc, TEST_START, inv);
}

static void test_end(struct memfile_consumer *consumer,
		     const struct memfile_invalidation *inv)
{
	struct test_consumer *tc = container_of(consumer, struct test_consumer, consumer);

	check(holds_a_lock(consumer, true));
	check_eq(tc->end_call.nr + 1, tc->start_call.nr);
	record(&tc->end_call, inv->start, inv->end, inv->states);
	log_call(tc, TEST_END, inv);
	check_eq(inv->start, tc->start_call.start);
	check_eq(inv->end, tc->start_call.end);
	check_eq(inv->states, tc->start_call.states);
}

static void test_allocated_cb(struct memfile_consumer *consumer, pgoff_t start,
			      pgoff_t end)
{
	struct test_consumer *tc = container_of(consumer, struct test_consumer, consumer);

	check(holds_a_lock(consumer, false));
	record(&tc->allocated_call, start, end, 0);
}

const struct memfile_consumer_ops test_consumer_ops = {
	.owner			= &test_module,
	.invalidate_start	= test_start,
	.invalidate_end		= test_end,
	.allocated		= test_allocated_cb,
};

int test_register(struct test_file *tf, struct test_consumer *tc, void *domain,
		  pgoff_t start, unsigned long nr)
{
	memset(tc, 0, sizeof(*tc));
	tc->consumer.ops = &test_consumer_ops;
	tc->consumer.domain = domain;
	return memfile_register(&tf->file, &tc->consumer, start, nr);
}

void test_forget_calls(struct test_consumer *tc)
{
	tc->start_call = (struct test_call) { };
	tc->end_call = (struct test_call) { };
	tc->allocated_call = (struct test_call) { };
}

void test_invalidate(struct test_file *tf, pgoff_t start, pgoff_t end,
		     unsigned int states)
{
	struct address_space *mapping = tf->memfile.vfs_inode.i_mapping;
	struct memfile_invalidation inv = {
		.start = start,
		.end = end,
		.states = states,
	};

	filemap_invalidate_lock(mapping);
	memfile_notify_start(&tf->memfile, &inv);
	memfile_notify_end(&tf->memfile, &inv);
	filemap_invalidate_unlock(mapping);
}

void test_memory_failure(struct test_file *tf, pgoff_t index)
{
	struct memfile_invalidation inv = {
		.start = index,
		.end = index + 1,
		.states = BOTH,
	};

	mutex_lock(&tf->memfile.consumers_lock);
	memfile_notify_start(&tf->memfile, &inv);
	memfile_notify_end(&tf->memfile, &inv);
	mutex_unlock(&tf->memfile.consumers_lock);
}

void test_allocated(struct test_file *tf, pgoff_t start, pgoff_t end)
{
	struct address_space *mapping = tf->memfile.vfs_inode.i_mapping;

	mapping->invalidate_lock.shared++;
	memfile_notify_allocated(&tf->memfile, start, end);
	mapping->invalidate_lock.shared--;
}

static const struct test *const groups[] = {
	state_tests, notifier_tests, convert_tests, random_tests,
};

int main(int argc, char **argv)
{
	/* Not in registers: their values must survive longjmp(). */
	static const struct test *test;
	static int i, nr, nr_failed;
	struct timeval now;

	gettimeofday(&now, NULL);
	seed = now.tv_sec * 1000000 + now.tv_usec;
	if (argc > 1)
		seed = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		steps = strtoul(argv[2], NULL, 0);

	maple_tree_init();
	rcu_init();
	rcu_register_thread();
	setvbuf(stdout, NULL, _IOLBF, 0);

	for (i = 0; i < ARRAY_SIZE(groups); i++)
		for (test = groups[i]; test->name; test++)
			nr++;
	printf("TAP version 13\n# seed %lu, %lu steps\n1..%d\n", seed, steps, nr);

	nr = 0;
	for (i = 0; i < ARRAY_SIZE(groups); i++) {
		for (test = groups[i]; test->name; test++) {
			bool ok = !setjmp(failed);

			if (ok)
				test->run();
			else
				nr_failed++;
			printf("%sok %d %s\n", ok ? "" : "not ", ++nr, test->name);
		}
	}

	rcu_barrier();
	rcu_unregister_thread();
	return nr_failed ? 1 : 0;
}
