// SPDX-License-Identifier: GPL-2.0
/*
 * mm/memfile/pages.c for those who convert: pages that are nothing but flags, in
 * a window of the file, and a log of what is asked for.
 */
#include <errno.h>

#include "test.h"

bool shim_signal;
bool shim_other_signal;
unsigned int shim_fail_nth;

static struct test_file *to_test_file(struct memfile *memfile)
{
	return container_of(memfile, struct test_file, memfile);
}

static struct test_page *page_at(struct test_file *tf, pgoff_t index)
{
	check(index >= tf->base && index < tf->base + TEST_PAGES);
	return &tf->pages[index - tf->base];
}

/* The first page in a range, or the end of the range. */
static pgoff_t next_page(struct test_file *tf, pgoff_t index, pgoff_t end)
{
	if (index < tf->base)
		index = min(tf->base, end);
	for (; index < end && index < tf->base + TEST_PAGES; index++) {
		if (page_at(tf, index)->present)
			return index;
	}
	return end;
}

#define for_each_page(index, tf, start, end)				\
	for (index = next_page(tf, start, end); index < (end);		\
	     index = next_page(tf, index + 1, end))

void test_add_pages(struct test_file *tf, pgoff_t start, pgoff_t end)
{
	for (; start < end; start++) {
		if (page_at(tf, start)->present)
			continue;
		page_at(tf, start)->present = true;
		page_at(tf, start)->absent =
			memfile_state_at(&tf->memfile, start) & tf->memfile.absent;
		if (memfile_state_at(&tf->memfile, start) == MEMFILE_PRIVATE)
			atomic_long_add(1, &tf->memfile.nr_private);
	}
}

void test_remove_pages(struct test_file *tf, pgoff_t start, pgoff_t end)
{
	pgoff_t index;

	for_each_page(index, tf, start, end) {
		*page_at(tf, index) = (struct test_page) { };
		if (memfile_state_at(&tf->memfile, index) == MEMFILE_PRIVATE)
			atomic_long_sub(1, &tf->memfile.nr_private);
	}
}

struct test_event *test_log(struct memfile *memfile, enum test_event_type type,
			    pgoff_t start, pgoff_t end)
{
	struct test_file *tf = to_test_file(memfile);
	static struct test_event overflow;
	unsigned int nr = tf->nr_events++;
	struct test_event *event;

	event = nr < TEST_EVENTS ? &tf->events[nr] : &overflow;
	*event = (struct test_event) {
		.type = type,
		.start = start,
		.end = end,
		.found = start < end ? memfile_states(memfile, start, end) : 0,
	};
	return event;
}

static void assert_locked(struct memfile *memfile)
{
	check(memfile->vfs_inode.i_data.invalidate_lock.exclusive);
	/* Comes inside the folio lock, which is taken in here. */
	check(!shim_is_held(&memfile->consumers_lock.lock));
}

void memfile_note_hold(struct memfile *memfile, long nr)
{
	assert_locked(memfile);
	test_log(memfile, TEST_HOLD, 0, 0)->nr = nr;
}

pgoff_t memfile_chunk_end(struct memfile *memfile, pgoff_t start, pgoff_t end)
{
	struct test_file *tf = to_test_file(memfile);
	unsigned int nr = 0;
	pgoff_t index;

	assert_locked(memfile);
	check(start < end);
	if (tf->signal_nth && !--tf->signal_nth)
		shim_signal = true;

	for_each_page(index, tf, start, end) {
		if (++nr == TEST_BATCH)
			return index + 1;
	}
	return end;
}

/* The first page that is in use, by a pin or also by another reference. */
static int find_in_use(struct memfile *memfile, pgoff_t start, pgoff_t end,
		       struct memfile_conversion *conv, enum test_event_type type,
		       bool references)
{
	struct test_file *tf = to_test_file(memfile);
	pgoff_t index;

	assert_locked(memfile);
	test_log(memfile, type, start, end);
	conv->nr_offsets += end - start;
	for_each_page(index, tf, start, end) {
		struct test_page *page = page_at(tf, index);

		conv->nr++;
		if (!page->pinned && !(references && page->referenced))
			continue;
		conv->where = index;
		return page->pinned ? -EBUSY : -EAGAIN;
	}
	return 0;
}

int memfile_withdraw(struct memfile *memfile, pgoff_t start, pgoff_t end,
		     struct memfile_conversion *conv)
{
	return find_in_use(memfile, start, end, conv, TEST_WITHDRAW, true);
}

int memfile_find_pinned(struct memfile *memfile, pgoff_t start, pgoff_t end,
			struct memfile_conversion *conv)
{
	return find_in_use(memfile, start, end, conv, TEST_FIND_PINNED, false);
}

static int change_direct_map(struct memfile *memfile, pgoff_t start, pgoff_t end,
			     unsigned int states, bool remove)
{
	struct test_file *tf = to_test_file(memfile);
	pgoff_t index;

	assert_locked(memfile);
	test_log(memfile, remove ? TEST_REMOVE : TEST_RESTORE, start, end);
	if (tf->fail_direct_map && !--tf->fail_direct_map)
		return -ENOMEM;

	for_each_page(index, tf, start, end) {
		if (!(memfile_state_at(memfile, index) & states))
			continue;
		check_eq(page_at(tf, index)->absent, !remove);
		page_at(tf, index)->absent = remove;
	}
	return 0;
}

int memfile_remove_direct_map(struct memfile *memfile, pgoff_t start, pgoff_t end,
			      unsigned int states)
{
	return change_direct_map(memfile, start, end, states, true);
}

int memfile_restore_direct_map(struct memfile *memfile, pgoff_t start, pgoff_t end,
			       unsigned int states)
{
	return change_direct_map(memfile, start, end, states, false);
}

/* Every page is where its state wants it. */
void test_check_direct_map(struct test_file *tf)
{
	pgoff_t index;

	for_each_page(index, tf, tf->base, tf->base + TEST_PAGES)
		check_eq(page_at(tf, index)->absent,
			 !!(memfile_state_at(&tf->memfile, index) & tf->memfile.absent));
}

int memfile_take_back(struct memfile *memfile, pgoff_t start, pgoff_t end,
		      struct memfile_conversion *conv)
{
	struct test_file *tf = to_test_file(memfile);
	pgoff_t index;

	assert_locked(memfile);
	test_log(memfile, TEST_TAKE_BACK, start, end);
	for_each_page(index, tf, start, end)
		check(memfile->absent & MEMFILE_SHARED || !page_at(tf, index)->absent);
	return 0;
}
