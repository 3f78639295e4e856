// SPDX-License-Identifier: GPL-2.0
/*
 * Conversion: a range of guest memory changes between private and shared, in
 * place. File, mapping and memslot stay what they are.
 *
 * A VMM does this when its guest asks for it.
 */
#include <errno.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "memfile-vmm.h"

/*
 * Return 0 or an errno. In the latter case what is in front of @where may be
 * converted and what is behind it is not: after EAGAIN or EBUSY a VMM calls again
 * with the same range, once it has let go of the page there.
 */
int convert(int guest_memfd, uint64_t offset, uint64_t size, bool to_private, uint64_t *where)
{
	struct kvm_memory_attributes2 attrs = {
		.offset = offset,
		.size = size,
		.attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};
	int ret = ioctl(guest_memfd, KVM_SET_MEMORY_ATTRIBUTES2, &attrs) ? errno : 0;

	*where = attrs.error_offset;
	return ret;
}

/*
 * The same, but give those who will let go of a page by themselves (EAGAIN) a
 * second to do so. Who has one pinned (EBUSY) has to be told.
 */
int convert_patiently(int guest_memfd, uint64_t offset, uint64_t size, bool to_private)
{
	uint64_t where;
	int ret;

	for (int i = 0; i < 100; i++) {
		ret = convert(guest_memfd, offset, size, to_private, &where);
		if (ret != EAGAIN)
			break;
		usleep(10000);
	}
	return ret;
}

/* Of which kind is the memory at @from? All up to @end, if not beyond @to, is alike. */
bool is_private(int guest_memfd, uint64_t from, uint64_t to, uint64_t *end)
{
	struct kvm_memory_attributes2 attrs = { .offset = from, .size = to - from };

	if (ioctl(guest_memfd, KVM_GET_MEMORY_ATTRIBUTES2, &attrs))
		die("EOPNOTSUPP: the VM, or its type, has no private memory",
		    "KVM_GET_MEMORY_ATTRIBUTES2(%#llx, %#llx bytes)", (unsigned long long)from,
		    (unsigned long long)(to - from));
	if (end)
		*end = attrs.offset + attrs.size;
	return attrs.attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE;
}
