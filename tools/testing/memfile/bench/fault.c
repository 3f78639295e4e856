// SPDX-License-Identifier: GPL-2.0
/* Pages on their way into a file and to the guest, and out. */
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"

static void measure_fault(enum backing_type backing, bool private, const char *name,
			  const struct kind *k)
{
	const uint64_t size = 64 * MB;
	struct vm vm;

	if (!vm_create_flags(&vm, backing, size, k->flags))
		return;
	if (backing != PLAIN)
		vm_mark(&vm, 0, size, private);
	gmem_allocate(&vm, 0, size);
	report_per_page(TIMED(guest_write(&vm, 0, size)), size, "fault.%s%s", name, k->suffix);
	vm_destroy(&vm);
}

/* The guest's first access to a page that the file has already. */
void work_fault(void)
{
	for_each_kind(k) {
		measure_fault(BEST, true, "private", k);
		measure_fault(IN_PLACE, false, "shared", k);
		measure_fault(PLAIN, false, "plain", k);
	}
	measure_fault(SPLIT, true, "split", &kinds[0]);
}

static void prefault(struct vm *vm, uint64_t size)
{
	struct kvm_pre_fault_memory range = { .gpa = SLOT_GPA, .size = size };

	while (range.size)
		if (ioctl(vm->vcpu.fd, KVM_PRE_FAULT_MEMORY, &range) && errno != EINTR)
			die("KVM_PRE_FAULT_MEMORY at %#llx", range.gpa);
}

static bool prepare(struct vm *vm, enum backing_type backing, uint64_t size,
		    const struct kind *k)
{
	if (!vm_create_flags(vm, backing, size, k->flags))
		return false;
	if (backing != PLAIN)
		vm_mark(vm, 0, size, true);
	return true;
}

static bool measure_populate(enum backing_type backing, const char *name, const struct kind *k)
{
	const uint64_t size = 256 * MB;
	const char *suffix = k->suffix;
	struct vm vm;

	if (!prepare(&vm, backing, size, k))
		return false;
	report_per_page(TIMED(gmem_allocate(&vm, 0, size)), size, "%s.fallocate%s", name, suffix);
	report_per_page(TIMED(gmem_allocate(&vm, 0, size)), size, "%s.again%s", name, suffix);
	report_per_page(TIMED(gmem_punch(&vm, 0, size)), size, "%s.punch%s", name, suffix);
	report_per_page(TIMED(guest_write(&vm, 0, size)), size, "%s.touch%s", name, suffix);
	report("pages", proc_value("/proc/vmstat", "nr_sec_page_table_pages"),
	       "%s.tables%s", name, suffix);
	report_per_page(TIMED(gmem_punch(&vm, 0, size)), size, "%s.punch_mapped%s", name, suffix);
	report("flushes", vm_stat(&vm, "remote_tlb_flush_requests"), "%s.flushes%s", name, suffix);
	vm_destroy(&vm);

	if (!prepare(&vm, backing, size, k))
		return false;
	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_PRE_FAULT_MEMORY) > 0)
		report_per_page(TIMED(prefault(&vm, size)), size, "%s.prefault%s", name, suffix);
	vm_destroy(&vm);
	return true;
}

/* The file by itself, or closing it would not be the end of it. */
static void release(enum backing_type backing, const char *name, const struct kind *k)
{
	const uint64_t size = 256 * MB;
	struct vm vm, file;

	if (!vm_create(&vm, backing, MB))
		return;
	file = vm;
	file.gmem = gmem_create(&vm, vm.backing, size, k->flags);
	if (file.gmem >= 0) {
		if (vm.backing == IN_PLACE)
			vm_mark(&file, 0, size, true);
		gmem_allocate(&file, 0, size);
		report_per_page(TIMED(close(file.gmem)), size, "%s.close%s", name, k->suffix);
	}
	vm_destroy(&vm);
}

static uint64_t splits(int level)
{
	return proc_value("/proc/vmstat", level == 2 ? "direct_map_level2_splits" :
						       "direct_map_level3_splits");
}

static void populate_kind(enum backing_type backing, const char *name, const struct kind *k)
{
	uint64_t before[] = { splits(2), splits(3) };

	if (!measure_populate(backing, name, k))
		return;
	release(backing, name, k);
	report("splits", splits(2) - before[0], "%s.splits_2M%s", name, k->suffix);
	report("splits", splits(3) - before[1], "%s.splits_1G%s", name, k->suffix);
}

void work_populate(void)
{
	for_each_kind(k)
		populate_kind(BEST, "populate", k);
}

void work_populate_plain(void)
{
	for_each_kind(k)
		populate_kind(PLAIN, "populate.plain", k);
}
