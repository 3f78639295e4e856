/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MEMFILE_TESTS_MOCK_H
#define _MEMFILE_TESTS_MOCK_H

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/memfile.h>

#include <kunit/test.h>

/* What an owner or a consumer was told. */
enum mock_event_type {
	MOCK_START,
	MOCK_END,
	MOCK_PREPARE,
	MOCK_ALLOCATED,
	MOCK_RECLAIM,
};

/**
 * struct mock_event - one call
 * @type: Which.
 * @consumer: Who was called; NULL for the owner.
 * @start: First page offset.
 * @end: Page offset behind the last one.
 * @states: Of the invalidation.
 * @state: What the first offset is in, at that time.
 * @pfn: Of prepare and reclaim.
 * @nr_pages: How many pages were in the file.
 * @exclusive: Whether invalidate_lock was held exclusively.
 * @held: Whether it was held in any mode.
 * @locked: Of reclaim: whether the folio was locked.
 * @present: Of reclaim: whether the page was in the direct map.
 * @content: Of reclaim: the first byte of the page, as it was found.
 */
struct mock_event {
	enum mock_event_type type;
	struct mock_consumer *consumer;
	pgoff_t start;
	pgoff_t end;
	unsigned int states;
	enum memfile_state state;
	unsigned long pfn;
	unsigned long nr_pages;
	bool exclusive;
	bool held;
	bool locked;
	bool present;
	u8 content;
};

#define MOCK_EVENTS	64

/**
 * struct mock_log - the calls of a test, in their order
 * @nr: How many there were; it may be more than were kept.
 * @events: The first of them.
 * @reclaim_err: What ->reclaim returns.
 * @reclaim_keeps: ->reclaim leaves the content of the page as it is.
 *
 * There is one: ->reclaim does not say which file it is for.
 */
struct mock_log {
	unsigned int nr;
	struct mock_event events[MOCK_EVENTS];
	int reclaim_err;
	bool reclaim_keeps;
};

extern struct mock_log mock_log;

void mock_log_clear(void);
unsigned int mock_log_count(enum mock_event_type type,
			    const struct mock_consumer *consumer);

/**
 * struct mock_file - a memory file, as its owner sees it
 * @file: The file; NULL when it was closed.
 * @nr_released: How often ->release was called.
 * @released: Completed by ->release.
 * @on_release: To be unregistered by ->release.
 */
struct mock_file {
	struct file *file;
	int nr_released;
	struct completion released;
	struct memfile_consumer *on_release;
};

extern const struct memfile_owner_ops mock_owner_ops;

struct file *mock_other_file(struct kunit *test);
struct mock_file *mock_create(struct kunit *test, unsigned long nr_pages,
			      unsigned int flags);
void mock_close(struct mock_file *mf);
unsigned long mock_nr_pages(struct mock_file *mf);
unsigned long mock_fdinfo(struct kunit *test, struct mock_file *mf,
			  const char *key);
void mock_allocate(struct kunit *test, struct mock_file *mf, pgoff_t start,
		   unsigned long nr);
void mock_punch(struct kunit *test, struct mock_file *mf, pgoff_t start,
		unsigned long nr);
void mock_convert(struct kunit *test, struct mock_file *mf, pgoff_t start,
		  unsigned long nr, enum memfile_state to);

/* What the host does through a mapping */
void __user *mock_mmap(struct kunit *test, struct mock_file *mf,
		       unsigned long nr_pages);
bool mock_can_read(void __user *map, pgoff_t index, u8 *byte);
bool mock_can_write(void __user *map, pgoff_t index, u8 byte);

/**
 * struct mock_consumer - a consumer that writes down what it is told
 * @consumer: The consumer.
 * @prepare_err: What ->prepare returns.
 * @nr_claimed: Number of offsets, from @first_claimed on, that only the guest may
 *	convert.
 * @first_claimed: The first of them.
 * @signal: Sent to the task that calls @signal_at; 0 for none.
 * @signal_at: The kind of call.
 * @balance: Invalidations that have started, and not ended.
 * @inv: The last of them.
 * @nr_violated: How often it was told that it cannot rely on the file.
 */
struct mock_consumer {
	struct memfile_consumer consumer;
	int prepare_err;
	unsigned long nr_claimed;
	pgoff_t first_claimed;
	int signal;
	enum mock_event_type signal_at;
	int balance;
	struct memfile_invalidation inv;
	int nr_violated;
};

struct mock_consumer *mock_consumer(struct kunit *test, void *domain);
struct mock_consumer *mock_register(struct kunit *test, struct mock_file *mf,
				    void *domain, pgoff_t start, unsigned long nr);
void mock_unregister(struct mock_consumer *mc);

/* Signals to a kernel thread, which gets those that it asks for. */
void mock_want_signals(void);
void mock_forget_signals(void);

/* Content of pages */
void mock_fill(struct page *page, u8 byte);
bool mock_is_filled(struct page *page, u8 byte);
void mock_unpoison(unsigned long pfn);
void mock_dirty_free_pages(struct kunit *test, unsigned int nr);

/* Expect an event of the log. */
#define MOCK_EXPECT(test, i, _type, _consumer, _start, _end)			\
	do {									\
		const struct mock_event *_event = &mock_log.events[i];		\
										\
		KUNIT_EXPECT_EQ(test, _event->type, _type);			\
		KUNIT_EXPECT_PTR_EQ(test, _event->consumer, _consumer);		\
		KUNIT_EXPECT_EQ(test, _event->start, _start);			\
		KUNIT_EXPECT_EQ(test, _event->end, _end);			\
	} while (0)

int mock_init(struct kunit *test);

#endif /* _MEMFILE_TESTS_MOCK_H */
