/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests that have memory files raced for have in common: their options, and
 * a process of its own for each race.
 */
#ifndef SELFTEST_KVM_MEMFILE_RACE_H
#define SELFTEST_KVM_MEMFILE_RACE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memfile_util.h"

#define MAX_VCPUS	4

struct race;

/* The first two have no default here. */
static int nr_vcpus;
static int nr_kills;
static int nr_conversions;
static int seconds = 1;
static const char *only;
static u32 seed;

static inline void race_help(const char *name)
{
	printf("Usage: %s [-h] [-s seconds] [-r seed] [-v vcpus] [-k kills] [-c conversions]\n"
	       "       [-t test]\n"
	       " -s: length of each race (default: %d)\n"
	       " -r: seed of the random operations (default: the time)\n"
	       " -v: number of vCPUs, up to %d (default: %d)\n"
	       " -k: how many VMMs to kill (default: %d)\n"
	       " -c: how many conversions a test that counts them waits for (default: %d)\n"
	       " -t: only this one of the tests\n",
	       name, seconds, MAX_VCPUS, nr_vcpus, nr_kills, nr_conversions);
}

static inline void race_options(int argc, char *argv[])
{
	int opt;

	seed = time(NULL);

	while ((opt = getopt(argc, argv, "hs:r:v:k:c:t:")) != -1) {
		switch (opt) {
		case 's':
			seconds = atoi_positive("Seconds", optarg);
			break;
		case 'r':
			seed = atoi_non_negative("Seed", optarg);
			break;
		case 'v':
			nr_vcpus = atoi_positive("Number of vCPUs", optarg);
			TEST_ASSERT(nr_vcpus <= MAX_VCPUS, "No more than %d vCPUs",
				    MAX_VCPUS);
			break;
		case 'k':
			nr_kills = atoi_non_negative("Number of kills", optarg);
			break;
		case 'c':
			nr_conversions = atoi_non_negative("Number of conversions", optarg);
			break;
		case 't':
			only = optarg;
			break;
		default:
			race_help(argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
}

static inline void race_begin(int nr_tests)
{
	ksft_set_plan(nr_tests);
	ksft_print_msg("seed %u, %d s each, %d vCPUs, %d kills\n", seed, seconds,
		       nr_vcpus, nr_kills);
}

/* Wait until what @unevictable was before is so again. */
static inline void race_memory_is_back(u64 unevictable)
{
	u64 now = 0;
	int tries;

	for (tries = 0; tries < 50; tries++) {
		now = memfile_meminfo("Unevictable");
		if (now < unevictable + SZ_1M)
			break;
		usleep(100000);
	}
	TEST_ASSERT(tries < 50, "%lu bytes were unevictable before, %lu are",
		    unevictable, now);

}

static inline void race_run(struct race *race, const char *name,
			    void (*test)(struct race *race))
{
	/* Generous: emulated, on a debug kernel, with all of it at work. */
	int deciseconds = 10 * (60 + 10 * seconds + 5 * nr_kills + nr_conversions / 50);
	pid_t pid;

	if (only && strcmp(only, name)) {
		ksft_test_result_skip("%s\n", name);
		return;
	}

	fflush(NULL);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid) {
		test(race);
		fflush(NULL);
		_exit(KSFT_PASS);
	}
	memfile_await(name, pid, deciseconds);
}

#endif /* SELFTEST_KVM_MEMFILE_RACE_H */
