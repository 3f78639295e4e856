// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations, and a model that is too simple to be wrong: an array of
 * the states of a window of the file, and an array of what is registered.  Of
 * the pages there is one truth, which the fakes look at, too.
 */
#include <errno.h>
#include <string.h>

#include "test.h"

#define WINDOW		((unsigned int)TEST_PAGES)
#define CONSUMERS	12
#define DOMAINS		3

struct model_consumer {
	struct test_consumer tc;
	bool registered;
	unsigned int domain;
	unsigned int start, end;	/* in the window */
};

static struct {
	struct test_file tf;
	pgoff_t base;			/* of the window, in the file */
	enum memfile_state states[WINDOW];
	struct model_consumer consumers[CONSUMERS];
	unsigned int seen;		/* events that were checked */
	unsigned int handled;		/* pages of this chunk */
	unsigned int nr_results[4];
} model;

/* What a conversion may end with, other than 0. */
static const int errors[] = { -EBUSY, -EAGAIN, -ENOMEM, -EINTR };

static int domains[DOMAINS];
static unsigned long random_state;

static unsigned int rnd(unsigned int below)
{
	/* xorshift64*, by Marsaglia and Vigna */
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (random_state * 0x2545f4914f6cdd1dUL >> 32) % below;
}

static void rnd_range(unsigned int *start, unsigned int *end)
{
	unsigned int a = rnd(WINDOW), b = rnd(WINDOW);

	/* Short ones meet borders more often. */
	if (rnd(2))
		b = min(WINDOW - 1U, a + rnd(4));
	*start = min(a, b);
	*end = max(a, b) + 1;
}

static unsigned int model_states(unsigned int start, unsigned int end)
{
	unsigned int states = 0;

	for (; start < end; start++)
		states |= model.states[start];
	return states;
}

static unsigned int model_nr_private(void)
{
	unsigned int i, nr = 0;

	for (i = 0; i < WINDOW; i++)
		nr += model.tf.pages[i].present && model.states[i] == MEMFILE_PRIVATE;
	return nr;
}

/* The next event of the log. */
static const struct test_event *model_see(enum test_event_type type)
{
	const struct test_event *event = &model.tf.events[model.seen++];

	check(model.seen <= model.tf.nr_events);
	check_eq(event->type, type);
	return event;
}

/* All who have registered a part of the range, and each of them once. */
static void model_see_notified(enum test_event_type type, unsigned int start,
			       unsigned int end, unsigned int states)
{
	const struct test_event *event;
	struct model_consumer *mc;
	bool seen[CONSUMERS] = { };
	unsigned int nr = 0, s, e;
	int i;

	for (i = 0; i < CONSUMERS; i++) {
		mc = &model.consumers[i];
		nr += mc->registered && mc->start < end && start < mc->end;
	}
	while (nr--) {
		event = model_see(type);
		mc = container_of(event->consumer, struct model_consumer, tc);
		check(!seen[mc - model.consumers]);
		seen[mc - model.consumers] = true;

		s = max(start, mc->start);
		e = min(end, mc->end);
		check_eq(event->start, model.base + s);
		check_eq(event->end, model.base + e);
		check_eq(event->states, states);
		check_eq(event->found, model_states(s, e));
	}
}

/*
 * All runs in a range that are in one state, up to the one with the first page
 * that stands in the way.
 */
static int model_see_runs(enum test_event_type type, unsigned int start,
			  unsigned int end, enum memfile_state state,
			  bool pins, bool references, unsigned int *where)
{
	const struct test_event *event;
	unsigned int i, next;
	int err = 0;

	for (i = start; i < end && !err; i = next) {
		for (next = i; next < end && model.states[next] == model.states[i]; next++)
			;
		if (model.states[i] != state)
			continue;
		event = model_see(type);
		check_eq(event->start, model.base + i);
		check_eq(event->end, model.base + next);
		check_eq(event->found, state);

		for (; i < next && !err; i++) {
			*where = i;
			if (type != TEST_TAKE_BACK)	/* for the second time */
				model.handled += model.tf.pages[i].present;
			if (pins && model.tf.pages[i].pinned)
				err = -EBUSY;
			else if (references && model.tf.pages[i].referenced)
				err = -EAGAIN;
		}
	}
	return err;
}

static unsigned int model_chunk_end(unsigned int start, unsigned int end)
{
	unsigned int nr = 0;

	for (; start < end && nr < TEST_BATCH; start++)
		nr += model.tf.pages[start].present;
	return start;
}

static int model_convert_chunk(unsigned int start, unsigned int end,
			       enum memfile_state to, unsigned int *where)
{
	enum memfile_state from = to ^ BOTH;
	int err = 0;

	if (to == MEMFILE_SHARED)
		err = model_see_runs(TEST_FIND_PINNED, start, end, from, true, false, where);
	if (err)
		return err;

	model_see_notified(TEST_START, start, end, from);
	if (to == MEMFILE_SHARED)
		model_see_runs(TEST_TAKE_BACK, start, end, from, false, false, where);
	else
		err = model_see_runs(TEST_WITHDRAW, start, end, from, true, true, where);
	if (!err) {
		unsigned int i;

		for (i = start; i < end; i++)
			model.states[i] = to;
	}
	model_see_notified(TEST_END, start, end, from);
	return err;
}

/*
 * Whether memory is needed is the tree's own affair: @no_memory is the chunk
 * that has failed for want of it, as far as that is what has happened.
 */
static int model_convert(unsigned int start, unsigned int end,
			 enum memfile_state to, unsigned int no_memory,
			 bool signal, unsigned int signal_nth,
			 unsigned int *where, unsigned int *chunks)
{
	unsigned int next;
	int err = 0;

	for (*chunks = 0; start < end && !err; start = next) {
		*where = start;
		if (signal)
			return -EINTR;
		next = start + 1;
		if (model.states[start] == to)
			continue;

		next = model_chunk_end(start, end);
		model.handled = 0;
		++*chunks;
		signal = *chunks == signal_nth;
		if (*chunks == no_memory)
			err = -ENOMEM;
		else
			err = model_convert_chunk(start, next, to, where);
		check_eq(model_see(TEST_HOLD)->nr, model.handled);
	}
	return err;
}

static void step_convert(void)
{
	struct shim_lock *lock = &model.tf.memfile.vfs_inode.i_data.invalidate_lock;
	enum memfile_state to = rnd(2) ? MEMFILE_SHARED : MEMFILE_PRIVATE;
	unsigned int start, end, where, chunks, i;
	unsigned long holds = lock->nr_exclusive;
	unsigned int signal_nth = rnd(8) ? 0 : 1 + rnd(4);
	unsigned int fail_nth = rnd(8) ? 0 : 1 + rnd(4);
	bool signal = !rnd(50);
	pgoff_t at = ULONG_MAX;
	int err;

	rnd_range(&start, &end);
	model.seen = 0;
	model.tf.nr_events = 0;
	model.tf.signal_nth = signal_nth;
	shim_signal = signal;
	shim_fail_nth = fail_nth;
	err = memfile_convert(&model.tf.file, model.base + start, model.base + end,
			      to, &at);
	shim_signal = false;
	shim_fail_nth = 0;
	model.tf.signal_nth = 0;

	check(model.tf.nr_events <= TEST_EVENTS);
	check_eq(model_convert(start, end, to, err == -ENOMEM ? fail_nth : 0, signal,
			       signal_nth, &where, &chunks), err);
	if (err)
		check_eq(at, model.base + where);
	check_eq(model.tf.nr_events, model.seen);
	check_eq(lock->nr_exclusive - holds, chunks);
	check_eq(atomic_long_read(&model.tf.memfile.nr_private), model_nr_private());
	for (i = 0; i < WINDOW; i++)
		check_eq(memfile_state_at(&model.tf.memfile, model.base + i), model.states[i]);

	for (i = 0; i < ARRAY_SIZE(errors); i++)
		model.nr_results[i] += err == errors[i];
}

static void step_pages(void)
{
	unsigned int start, end;

	rnd_range(&start, &end);
	if (rnd(3))
		test_add_pages(&model.tf, model.base + start, model.base + end);
	else
		test_remove_pages(&model.tf, model.base + start, model.base + end);
	check_eq(atomic_long_read(&model.tf.memfile.nr_private), model_nr_private());
}

/* Somebody begins to use a page, or all have done with what they had. */
static void step_use(void)
{
	struct test_page *page = &model.tf.pages[rnd(WINDOW)];
	unsigned int i;

	if (rnd(3)) {
		page->pinned = page->present && rnd(2);
		page->referenced = page->present && rnd(2);
		return;
	}
	for (i = 0; i < WINDOW; i++) {
		model.tf.pages[i].pinned = false;
		model.tf.pages[i].referenced = false;
	}
}

/* The tree has no more entries than there are runs, and none if there is one. */
static void check_merged(void)
{
	MA_STATE(mas, &model.tf.memfile.states, 0, 0);
	enum memfile_state found, state = model.tf.memfile.state_of_rest;
	unsigned int i, next, nr = 0;
	void *entry;

	for (i = 0; i < WINDOW; i = next) {
		for (next = i; next < WINDOW && model.states[next] == model.states[i]; next++)
			;
		check_eq(memfile_query(&model.tf.file, model.base + i,
				       model.base + WINDOW, &found), model.base + next);
		check_eq(found, model.states[i]);
		nr += found != state;
	}
	if (!model.base && model_states(0, WINDOW) != BOTH)
		check_eq(nr, 0);
	rcu_read_lock();
	mas_for_each(&mas, entry, ULONG_MAX)
		nr--;
	rcu_read_unlock();
	check_eq(nr, 0);
}

static void step_look_up(void)
{
	unsigned int start, end;

	check_merged();
	rnd_range(&start, &end);
	check_eq(memfile_state_at(&model.tf.memfile, model.base + start),
		 model.states[start]);
	check_eq(memfile_states(&model.tf.memfile, model.base + start, model.base + end),
		 model_states(start, end));
}

static bool model_overlaps(unsigned int domain, unsigned int start,
			   unsigned int end)
{
	int i;

	for (i = 0; i < CONSUMERS; i++) {
		struct model_consumer *mc = &model.consumers[i];

		if (mc->registered && mc->domain == domain &&
		    mc->start < end && start < mc->end)
			return true;
	}
	return false;
}

static unsigned int model_nr_consumers(void)
{
	unsigned int nr = 0;
	int i;

	for (i = 0; i < CONSUMERS; i++)
		nr += model.consumers[i].registered;
	return nr;
}

static void step_register(void)
{
	struct model_consumer *mc = &model.consumers[rnd(CONSUMERS)];
	unsigned int start, end, domain = rnd(DOMAINS);
	int err;

	if (mc->registered) {
		memfile_unregister(&mc->tc.consumer);
		check(!mc->tc.consumer.inode);
		mc->registered = false;
	} else {
		rnd_range(&start, &end);
		err = test_register(&model.tf, &mc->tc, &domains[domain],
				    model.base + start, end - start);
		check_eq(err, model_overlaps(domain, start, end) ? -EEXIST : 0);
		check_eq(!mc->tc.consumer.inode, !!err);
		if (!err) {
			mc->registered = true;
			mc->domain = domain;
			mc->start = start;
			mc->end = end;
		}
	}
	check_eq(model.tf.memfile.nr_consumers, model_nr_consumers());
	check_eq(test_module.refs, model_nr_consumers());
}

static void check_calls(const struct test_call *call, bool told,
			pgoff_t start, pgoff_t end, unsigned int states)
{
	check_eq(call->nr, told);
	if (!told)
		return;
	check_eq(call->start, start);
	check_eq(call->end, end);
	check_eq(call->states, states);
}

static void step_notify(void)
{
	unsigned int start, end, how = rnd(3), states = 1 + rnd(BOTH);
	int i;

	if (how == 1)
		states = BOTH;
	rnd_range(&start, &end);
	for (i = 0; i < CONSUMERS; i++)
		test_forget_calls(&model.consumers[i].tc);

	if (how == 0) {
		test_allocated(&model.tf, model.base + start, model.base + end);
	} else if (how == 1) {
		end = start + 1;
		test_memory_failure(&model.tf, model.base + start);
	} else {
		test_invalidate(&model.tf, model.base + start, model.base + end,
				states);
	}

	for (i = 0; i < CONSUMERS; i++) {
		struct model_consumer *mc = &model.consumers[i];
		unsigned int s = max(start, mc->start), e = min(end, mc->end);
		bool told = mc->registered && s < e;

		check_calls(&mc->tc.allocated_call, told && how == 0,
			    model.base + s, model.base + e, 0);
		check_calls(&mc->tc.start_call, told && how,
			    model.base + s, model.base + e, states);
		check_calls(&mc->tc.end_call, told && how,
			    model.base + s, model.base + e, states);
	}
}

static void random_steps(unsigned int flags, pgoff_t base)
{
	unsigned long i;

	memset(&model, 0, sizeof(model));
	random_state = seed ?: 1;
	test_file_init(&model.tf, flags, base + WINDOW);
	model.base = base;
	model.tf.base = base;
	for (i = 0; i < WINDOW; i++)
		model.states[i] = flags & MEMFILE_INIT_SHARED ? MEMFILE_SHARED :
								  MEMFILE_PRIVATE;

	for (i = 0; i < steps; i++) {
		unsigned int what = rnd(12);

		if (what < 4)
			step_convert();
		else if (what < 5)
			step_pages();
		else if (what < 6)
			step_use();
		else if (what < 7)
			step_look_up();
		else if (what < 9)
			step_register();
		else
			step_notify();
	}
	/* All of it was tried, if there was time for it. */
	for (i = 0; i < ARRAY_SIZE(errors) && steps >= 3000; i++)
		check(model.nr_results[i] > 0);

	for (i = 0; i < CONSUMERS; i++) {
		if (model.consumers[i].registered)
			memfile_unregister(&model.consumers[i].tc.consumer);
	}
	test_file_exit(&model.tf);
}

static void random_private(void)
{
	random_steps(0, 0);
}

static void random_shared(void)
{
	random_steps(MEMFILE_INIT_SHARED, 12345);
}

static void random_end_of_largest_file(void)
{
	random_steps(0, LAST_INDEX + 1 - WINDOW);
}

const struct test random_tests[] = {
	{ "random_private", random_private },
	{ "random_shared", random_shared },
	{ "random_end_of_largest_file", random_end_of_largest_file },
	{ }
};
