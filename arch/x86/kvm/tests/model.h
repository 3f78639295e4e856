/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KVM_X86_TESTS_MODEL_H
#define _KVM_X86_TESTS_MODEL_H

#include <linux/compiler.h>
#include <linux/types.h>

#include <kunit/test.h>

struct gmem_file;

/*
 * Steps that can be made to fail, or be left out.  Below MODEL_STEP_KVM are the
 * instructions of the model, numbered by itself.  0 is none.
 */
enum model_step {
	MODEL_STEP_KVM	= 64,

	/* What KVM's MMU does for an invalidation. */
	MODEL_STEP_ZAP	= MODEL_STEP_KVM,
	MODEL_STEP_FLUSH_TLB,

	/* The hooks of guest_memfd, by their names in struct kvm_x86_ops. */
	MODEL_STEP_INVALIDATE_RANGE,
	MODEL_STEP_MAKE_PRIVATE,
	MODEL_STEP_MAKE_SHARED,
	MODEL_STEP_HIDE,

	MODEL_NR_STEPS
};

/**
 * struct model - what all models of hardware have in common
 * @test: The test.
 * @gf: The file whose pages the model is asked for.
 * @calls: How often each step was taken, or tried.
 * @fail: The step that fails; 0 for none.
 * @fail_after: How often it works before it does.
 * @fail_always: It goes on failing.
 * @left_out: The step that is said to have succeeded, but is not taken; 0 for none.
 * @nr_left_out: How often it was not.
 * @watching: Whether all that comes to the model has to be right the first time: neither
 *	may it refuse anything, nor a rule be broken.  Both are kept here, and do not fail
 *	the test by themselves.
 * @nr_wrong: How often something was wrong, while @watching.
 * @wrong: What it was first.
 *
 * The private data of a test is its model, which begins with this.
 */
struct model {
	struct kunit *test;
	struct gmem_file *gf;
	unsigned int calls[MODEL_NR_STEPS];
	unsigned int fail;
	unsigned int fail_after;
	bool fail_always;
	unsigned int left_out;
	unsigned int nr_left_out;
	bool watching;
	unsigned int nr_wrong;
	char wrong[128];
};

/**
 * struct model_step_param - a step to leave out, as a parameter of a test
 * @name: What the case is called.
 * @step: The step; 0 for none.
 * @flags: Flags of the file in which the step is taken; 0 for the usual ones.
 */
struct model_step_param {
	const char *name;
	unsigned int step;
	unsigned int flags;
};

struct model *current_model(void);

void model_fail(struct model *model, unsigned int step, unsigned int after, bool always);
bool model_fails(struct model *model, unsigned int step);
bool model_leaves_out(struct model *model, unsigned int step);

__printf(2, 3) void model_broken(struct model *model, const char *fmt, ...);
__printf(2, 3) bool model_refuses(struct model *model, const char *fmt, ...);

void model_watch(struct model *model, unsigned int left_out);
void model_expect_noticed(struct model *model);

#endif /* _KVM_X86_TESTS_MODEL_H */
