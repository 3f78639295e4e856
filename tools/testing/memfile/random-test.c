// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations, and a model that is too simple to be wrong: an array of
 * the states of a window of the file, and an array of what is registered.
 */
#include <errno.h>
#include <string.h>

#include "test.h"

#define WINDOW		64
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
} model;

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

static void step_set_state(void)
{
	enum memfile_state state = rnd(2) ? MEMFILE_SHARED : MEMFILE_PRIVATE;
	unsigned int start, end;

	rnd_range(&start, &end);
	/* What has the default state may be said to have it, or left out. */
	if (state == memfile_state_default(&model.tf.memfile) && rnd(4))
		test_clear_state(&model.tf, model.base + start, model.base + end);
	else
		test_set_state(&model.tf, model.base + start, model.base + end, state);
	for (; start < end; start++)
		model.states[start] = state;
}

static void step_look_up(void)
{
	unsigned int start, end;

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
	unsigned int start, end, how = rnd(3);
	int i;

	rnd_range(&start, &end);
	for (i = 0; i < CONSUMERS; i++)
		test_forget_calls(&model.consumers[i].tc);

	if (how == 0) {
		test_allocated(&model.tf, model.base + start, model.base + end);
	} else if (how == 1) {
		end = start + 1;
		test_memory_failure(&model.tf, model.base + start);
	} else {
		test_invalidate(&model.tf, model.base + start, model.base + end);
	}

	for (i = 0; i < CONSUMERS; i++) {
		struct model_consumer *mc = &model.consumers[i];
		unsigned int s = max(start, mc->start), e = min(end, mc->end);
		bool told = mc->registered && s < e;
		unsigned int states = told ? model_states(s, e) : 0;

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
	for (i = 0; i < WINDOW; i++)
		model.states[i] = flags & MEMFILE_INIT_SHARED ? MEMFILE_SHARED :
								  MEMFILE_PRIVATE;

	for (i = 0; i < steps; i++) {
		unsigned int what = rnd(8);

		if (what < 1)
			step_set_state();
		else if (what < 3)
			step_look_up();
		else if (what < 5)
			step_register();
		else
			step_notify();
	}

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
