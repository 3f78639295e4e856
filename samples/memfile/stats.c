// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to the guest's memory: from fdinfo of its file, and from the
 * statistics that KVM keeps of a VM and of each vCPU.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "machine.h"

/*
 * The names that KVM has for them, on x86 or arm64 or both; a sum over the vCPUs, if
 * it is theirs.
 */
static const struct {
	const char *name, *heading;
} counters[] = {
	{ "exits", "exits" },
	{ "io_exits", "io" },
	{ "mmio_exits", "mmio" },
	{ "mmio_exit_user", "mmio" },
	{ "halt_exits", "halt" },
	{ "wfi_exit_stat", "halt" },
	{ "hypercalls", "hypercall" },
	{ "hvc_exit_stat", "hypercall" },
	{ "pf_taken", "faults" },
	{ "pf_fixed", "mapped" },
	{ "pages_4k", "pages 4K" },
	{ "pages_2m", "pages 2M" },
};

#define NR_COUNTERS	(sizeof(counters) / sizeof(*counters))

/* Of one VM or vCPU: where in its file the value of each counter is. */
struct stats_file {
	int fd;
	uint32_t offset[NR_COUNTERS];
};

static struct stats_file *files;
static unsigned int nr_files;
static struct timespec start;
static uint64_t last[NR_COUNTERS];

static void open_one(int owner, struct stats_file *file)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	size_t size;
	char *all;

	file->fd = ioctl(owner, KVM_GET_STATS_FD, NULL);
	if (file->fd < 0 || pread(file->fd, &header, sizeof(header), 0) != sizeof(header))
		die("see KVM_CAP_BINARY_STATS_FD", "KVM_GET_STATS_FD");
	size = sizeof(*desc) + header.name_size;
	all = malloc(size * header.num_desc);
	if (!all || pread(file->fd, all, size * header.num_desc, header.desc_offset) !=
		    size * header.num_desc)
		die("see KVM_CAP_BINARY_STATS_FD", "pread(%u descriptors)", header.num_desc);
	for (uint32_t i = 0; i < header.num_desc; i++) {
		desc = (void *)(all + i * size);
		for (size_t c = 0; c < NR_COUNTERS; c++)
			if (!strcmp(desc->name, counters[c].name))
				file->offset[c] = header.data_offset + desc->offset;
	}
	free(all);
}

void stats_open(struct machine *m)
{
	nr_files = m->options->cpus + 1;
	files = calloc(nr_files, sizeof(*files));
	if (!files)
		die("out of memory?", "calloc(%u files)", nr_files);
	open_one(m->vm.fd, &files[0]);
	for (unsigned int i = 1; i < nr_files; i++)
		open_one(m->vcpus[i - 1].fd, &files[i]);
	clock_gettime(CLOCK_MONOTONIC, &start);
}

static void read_counters(uint64_t *sums)
{
	uint64_t value;

	memset(sums, 0, sizeof(*sums) * NR_COUNTERS);
	for (unsigned int i = 0; i < nr_files; i++)
		for (size_t c = 0; c < NR_COUNTERS; c++)
			if (files[i].offset[c] &&
			    pread(files[i].fd, &value, sizeof(value), files[i].offset[c]) ==
			    sizeof(value))
				sums[c] += value;
}

/* All that the file says about itself, in KiB where it is bytes. */
static void print_file(struct machine *m)
{
	char path[64], line[128], *value;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", m->ram.fd);
	info = fopen(path, "re");
	if (!info)
		die("is /proc mounted?", "fopen(%s)", path);
	while (fgets(line, sizeof(line), info)) {
		value = strchr(line, ':');
		if (strncmp(line, "memfile-", 8) || !value)
			continue;
		*value++ = 0;
		if (strtoull(value, NULL, 10) >= 4096)
			fprintf(stderr, " %s %lluK", line + 8, strtoull(value, NULL, 10) >> 10);
	}
	fclose(info);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - start.tv_sec + (now.tv_nsec - start.tv_nsec) / 1e9;
}

void stats_print(struct machine *m)
{
	uint64_t sums[NR_COUNTERS];

	read_counters(sums);
	fprintf(stderr, "stats %6.1f s:", seconds());
	print_file(m);
	for (size_t c = 0; c < NR_COUNTERS; c++)
		if (sums[c] != last[c])
			fprintf(stderr, " %s +%lld", counters[c].heading,
				(long long)(sums[c] - last[c]));
	fputc('\n', stderr);
	memcpy(last, sums, sizeof(sums));
}

void stats_summary(struct machine *m)
{
	uint64_t sums[NR_COUNTERS];

	read_counters(sums);
	fprintf(stderr, "stats in all %.1f s:", seconds());
	print_file(m);
	for (size_t c = 0; c < NR_COUNTERS; c++)
		if (sums[c])
			fprintf(stderr, " %s %llu", counters[c].heading,
				(unsigned long long)sums[c]);
	fprintf(stderr, ", to the VMM: exits %llu, conversions %llu, refused %llu\n",
		(unsigned long long)m->exits, (unsigned long long)m->conversions,
		(unsigned long long)m->refused);
}
