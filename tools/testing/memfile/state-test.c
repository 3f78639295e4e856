// SPDX-License-Identifier: GPL-2.0
/* Lookups in the state tree, where the result is plain to see. */
#include "test.h"

static void state_default(void)
{
	struct test_file tf;

	test_file_init(&tf, 0, LAST_INDEX + 1);
	check_eq(memfile_state_default(&tf.memfile), MEMFILE_PRIVATE);
	check_eq(memfile_state_at(&tf.memfile, 0), MEMFILE_PRIVATE);
	check_eq(memfile_state_at(&tf.memfile, LAST_INDEX), MEMFILE_PRIVATE);
	check_eq(memfile_states(&tf.memfile, 0, LAST_INDEX + 1), MEMFILE_PRIVATE);
	check_eq(memfile_states(&tf.memfile, 7, 8), MEMFILE_PRIVATE);
	test_file_exit(&tf);

	test_file_init(&tf, MEMFILE_INIT_SHARED, LAST_INDEX + 1);
	check_eq(memfile_state_default(&tf.memfile), MEMFILE_SHARED);
	check_eq(memfile_state_at(&tf.memfile, LAST_INDEX), MEMFILE_SHARED);
	check_eq(memfile_states(&tf.memfile, 0, LAST_INDEX + 1), MEMFILE_SHARED);
	test_file_exit(&tf);

	/* That the host may map the file says nothing about who may now. */
	test_file_init(&tf, MEMFILE_MMAP, 1);
	check_eq(memfile_state_default(&tf.memfile), MEMFILE_PRIVATE);
	test_file_exit(&tf);
}

/* One range that differs from the default: what borders on it, what holds it. */
static void state_borders(void)
{
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	test_convert(&tf, 10, 20, MEMFILE_SHARED);
	check_eq(memfile_state_at(&tf.memfile, 9), MEMFILE_PRIVATE);
	check_eq(memfile_state_at(&tf.memfile, 10), MEMFILE_SHARED);
	check_eq(memfile_state_at(&tf.memfile, 19), MEMFILE_SHARED);
	check_eq(memfile_state_at(&tf.memfile, 20), MEMFILE_PRIVATE);

	check_eq(memfile_states(&tf.memfile, 0, 10), MEMFILE_PRIVATE);
	check_eq(memfile_states(&tf.memfile, 0, 11), BOTH);
	check_eq(memfile_states(&tf.memfile, 9, 10), MEMFILE_PRIVATE);
	check_eq(memfile_states(&tf.memfile, 9, 20), BOTH);
	check_eq(memfile_states(&tf.memfile, 10, 20), MEMFILE_SHARED);
	check_eq(memfile_states(&tf.memfile, 12, 13), MEMFILE_SHARED);
	check_eq(memfile_states(&tf.memfile, 10, 21), BOTH);
	check_eq(memfile_states(&tf.memfile, 19, 21), BOTH);
	check_eq(memfile_states(&tf.memfile, 20, 100), MEMFILE_PRIVATE);
	check_eq(memfile_states(&tf.memfile, 0, 100), BOTH);
	test_file_exit(&tf);
}

/* Entries that leave a hole between them, and none. */
static void state_neighbours(void)
{
	struct test_file tf;

	test_file_init(&tf, 0, 100);
	test_convert(&tf, 10, 20, MEMFILE_SHARED);
	test_convert(&tf, 21, 30, MEMFILE_SHARED);
	check_eq(memfile_states(&tf.memfile, 10, 30), BOTH);
	test_convert(&tf, 20, 21, MEMFILE_SHARED);
	check_eq(memfile_states(&tf.memfile, 10, 30), MEMFILE_SHARED);
	test_file_exit(&tf);
}

static void state_first_and_last(void)
{
	struct test_file tf;

	/* A single entry at 0 is a special case of the maple tree. */
	test_file_init(&tf, 0, LAST_INDEX + 1);
	test_convert(&tf, 0, 1, MEMFILE_SHARED);
	check_eq(memfile_state_at(&tf.memfile, 0), MEMFILE_SHARED);
	check_eq(memfile_state_at(&tf.memfile, 1), MEMFILE_PRIVATE);
	check_eq(memfile_states(&tf.memfile, 0, 1), MEMFILE_SHARED);
	check_eq(memfile_states(&tf.memfile, 0, 2), BOTH);
	check_eq(memfile_states(&tf.memfile, 1, 2), MEMFILE_PRIVATE);

	test_convert(&tf, LAST_INDEX, LAST_INDEX + 1, MEMFILE_SHARED);
	check_eq(memfile_state_at(&tf.memfile, LAST_INDEX), MEMFILE_SHARED);
	check_eq(memfile_state_at(&tf.memfile, LAST_INDEX - 1), MEMFILE_PRIVATE);
	check_eq(memfile_states(&tf.memfile, LAST_INDEX, LAST_INDEX + 1), MEMFILE_SHARED);
	check_eq(memfile_states(&tf.memfile, 1, LAST_INDEX), MEMFILE_PRIVATE);
	check_eq(memfile_states(&tf.memfile, 1, LAST_INDEX + 1), BOTH);

	test_convert(&tf, 0, LAST_INDEX + 1, MEMFILE_SHARED);
	check_eq(memfile_states(&tf.memfile, 0, LAST_INDEX + 1), MEMFILE_SHARED);
	test_file_exit(&tf);
}

const struct test state_tests[] = {
	{ "state_default", state_default },
	{ "state_borders", state_borders },
	{ "state_neighbours", state_neighbours },
	{ "state_first_and_last", state_first_and_last },
	{ }
};
