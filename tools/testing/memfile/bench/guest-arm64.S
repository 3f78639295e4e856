/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest on arm64. X0 is the gpa to work on, X1 how many pages, or how many times,
 * X2 the doorbell.
 */
#include "guest.h"

	.section .rodata
	.balign	4
	.global	guest_code, guest_code_end, guest_write_all, guest_ask, guest_ask_hc
	.global	guest_flip, guest_flip_hc, guest_transfer, guest_transfer_flip
	.global	guest_share, guest_share_copy, guest_share_all, guest_unshare_all

.macro request what
	mov	w3, #\what
	str	w3, [x2]
.endm

/*
 * KVM completes the last access to the doorbell when the vCPU runs next, by going on to
 * the next instruction: even if it has been sent elsewhere meanwhile.
 */
.macro entry name
\name:	nop
.endm

guest_code:

/* There is no hypercall to ask for a conversion, and nobody calls these. */
guest_ask_hc:
guest_flip_hc:

	entry	guest_write_all
1:	str	x1, [x0]
	add	x0, x0, #4096
	subs	x1, x1, #1
	b.ne	1b
done:
	request	DONE
	b	done

	entry	guest_ask
1:	request	NOTHING
	b	1b

	entry	guest_flip
1:	request	TO_SHARED
	str	x1, [x0]
	request	TO_PRIVATE
	str	x0, [x0]
	subs	x1, x1, #1
	b.ne	1b
	b	done

/* One page, and another one if the rest of the rounds is odd */
	entry	guest_transfer
1:	str	x1, [x0]
	tbz	x1, #0, 2f
	str	x1, [x0, #4096]
2:	request	COPY
	subs	x1, x1, #1
	b.ne	1b
	b	done

	entry	guest_transfer_flip
1:	request	TO_SHARED
	str	x1, [x0]
	tbz	x1, #0, 2f
	str	x1, [x0, #4096]
2:	request	COPY
	request	TO_PRIVATE
	str	x0, [x0]
	tbz	x1, #0, 3f
	str	x0, [x0, #4096]
3:	subs	x1, x1, #1
	b.ne	1b
	b	done

/* A hypercall of a protected guest, about the page at X9; no return if it fails. */
.macro mem_call function
	movz	x0, #0xc600, lsl #16
	movk	x0, #\function
	mov	x1, x9
	mov	x2, xzr
	mov	x3, xzr
	hvc	#0
	mov	x2, x11
	cbnz	x0, guest_ask
.endm

.macro share copy
	mov	x9, x0
	mov	x10, x1
	mov	x11, x2
1:	mem_call 3
	str	x10, [x9]
	.if	\copy
	request	COPY
	.endif
	mem_call 4
	str	x10, [x9]
	subs	x10, x10, #1
	b.ne	1b
	b	done
.endm

	entry	guest_share
	share	0

	entry	guest_share_copy
	share	1

.macro mem_call_all function
	mov	x9, x0
	mov	x10, x1
	mov	x11, x2
1:	mem_call \function
	add	x9, x9, #4096
	subs	x10, x10, #1
	b.ne	1b
	b	done
.endm

	entry	guest_share_all
	mem_call_all 3

	entry	guest_unshare_all
	mem_call_all 4

guest_code_end:
	.section .note.GNU-stack, "", %progbits
