// SPDX-License-Identifier: GPL-2.0
/*
 * What runs inside the guest. It is compiled with the VMM, into a section that
 * the VMM copies into guest memory: so nothing here may refer to anything
 * outside of that section, not even a constant.
 */
#include "checks.h"

/* ARM_SMCCC_VENDOR_HYP_KVM_MEM_SHARE_FUNC_ID: Documentation/virt/kvm/arm/hypercalls.rst */
#define MEM_SHARE	0xc6000003

#define __guest __attribute__((section("guest"), noreturn))

static __always_inline void ring(uint32_t what)
{
#ifdef __x86_64__
	asm volatile("outl %0, %1"
		     : : "a" (what), "Nd" ((uint16_t)DOORBELL_PORT) : "memory");
#else
	/* Spelled out: KVM cannot decode a store that updates its base register. */
	asm volatile("str %w0, [%1]" : : "r" (what), "r" (DOORBELL_GPA) : "memory");
#endif
}

__guest void guest_main(uint64_t shared, uint64_t private, uint64_t seed)
{
	uint64_t *in_shared = (uint64_t *)shared, *in_private = (uint64_t *)private;
	uint32_t good = GUEST_WROTE;

	secret_write(in_shared, ~seed);
	secret_write(in_private, seed);

	for (;;) {
		if (secret_is_at(in_shared, ~seed) && secret_is_at(in_private, seed))
			ring(good);
		else
			ring(GUEST_LOST);
		good = GUEST_INTACT;
	}
}

/* Where all memory is the guest's own to begin with, the guest shares a piece. */
__guest void guest_share(uint64_t shared, uint64_t private, uint64_t seed)
{
#ifdef __aarch64__
	for (uint64_t at = shared; at < shared + MEM_SIZE; at += 4096) {
		register uint64_t x0 asm("x0") = MEM_SHARE;
		register uint64_t x1 asm("x1") = at;
		register uint64_t x2 asm("x2") = 0;
		register uint64_t x3 asm("x3") = 0;

		asm volatile("hvc #0" : "+r" (x0), "+r" (x1), "+r" (x2), "+r" (x3) : : "memory");
		while (x0)
			ring(GUEST_REFUSED);
	}
#endif
	guest_main(shared, private, seed);
}

__guest void guest_copy(uint64_t to, uint64_t from, uint64_t len)
{
	volatile uint64_t *t = (uint64_t *)to, *f = (uint64_t *)from;

	for (uint64_t i = 0; i < len / 8; i++)
		t[i] = f[i];
	for (;;)
		ring(GUEST_COPIED);
}
