// SPDX-License-Identifier: GPL-2.0
/*
 * What models of hardware have in common: a step that comes to them can be made to fail,
 * or be swallowed, and what they find wrong is told to the test, or, where the test is
 * about that, kept for it.
 */
#include <linux/kernel.h>
#include <linux/stdarg.h>

#include <kunit/test-bug.h>

#include "model.h"

/**
 * current_model - the model of the test that runs
 *
 * Nobody but a test comes to a model while a test runs.
 *
 * Return: The model.
 */
struct model *current_model(void)
{
	return kunit_get_current_test()->priv;
}

/**
 * model_fail - let a step fail
 * @model: The model.
 * @step: The step; 0 for none.
 * @after: How often it works before.
 * @always: Whether it fails from then on, or once.
 */
void model_fail(struct model *model, unsigned int step, unsigned int after, bool always)
{
	model->fail = step;
	model->fail_after = after;
	model->fail_always = always;
}

/**
 * model_fails - a step is taken: does it fail?
 * @model: The model.
 * @step: The step.
 *
 * Return: Whether model_fail() wants it to.
 */
bool model_fails(struct model *model, unsigned int step)
{
	model->calls[step]++;
	if (!model->fail || model->fail != step)
		return false;
	if (model->fail_after) {
		model->fail_after--;
		return false;
	}
	if (!model->fail_always)
		model->fail = 0;
	return true;
}

/**
 * model_leaves_out - a step is taken: is it to be swallowed?
 * @model: The model.
 * @step: The step.
 *
 * Return: Whether the step is the one that model_watch() leaves out: the caller returns
 * success then, and does nothing.
 */
bool model_leaves_out(struct model *model, unsigned int step)
{
	if (!model->left_out || model->left_out != step)
		return false;
	model->nr_left_out++;
	return true;
}

static void model_wrong(struct model *model, struct va_format *vaf)
{
	if (!model->nr_wrong++)
		snprintf(model->wrong, sizeof(model->wrong), "%pV", vaf);
}

/**
 * model_broken - a rule is broken that the hardware does not enforce by an error
 * @model: The model.
 * @fmt: What is wrong.
 *
 * Fails the test, unless it watches for that.
 */
void model_broken(struct model *model, const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	va_start(args, fmt);
	vaf.va = &args;
	if (model->watching)
		model_wrong(model, &vaf);
	else
		KUNIT_FAIL(model->test, "%pV", &vaf);
	va_end(args);
}

/**
 * model_refuses - the hardware does not do what it is asked for
 * @model: The model.
 * @fmt: What that is.
 *
 * Tests may do so on purpose, and KVM where it did not know better.  So that is only wrong
 * if the test watches for it.
 *
 * Return: Whether the caller is to return an error.  It need not if a step is left out:
 * that is noticed then, and all that KVM would do is complain.
 */
bool model_refuses(struct model *model, const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	if (!model->watching)
		return true;
	va_start(args, fmt);
	vaf.va = &args;
	model_wrong(model, &vaf);
	va_end(args);
	return !model->left_out;
}

/**
 * model_watch - from now on leave out a step, and see whether that is noticed
 * @model: The model.
 * @left_out: The step; 0 for none.
 */
void model_watch(struct model *model, unsigned int left_out)
{
	model->watching = true;
	model->left_out = left_out;
}

/**
 * model_expect_noticed - was it noticed that a step is left out?
 * @model: The model.
 *
 * And if none is, was nothing found to be wrong?
 */
void model_expect_noticed(struct model *model)
{
	struct kunit *test = model->test;

	if (!model->left_out) {
		KUNIT_EXPECT_EQ_MSG(test, 0, model->nr_wrong, "%s", model->wrong);
		return;
	}
	KUNIT_EXPECT_NE_MSG(test, 0, model->nr_left_out, "the step is never taken");
	KUNIT_EXPECT_NE_MSG(test, 0, model->nr_wrong, "nobody noticed");
	if (model->nr_wrong)
		kunit_info(test, "noticed: %s", model->wrong);
}
