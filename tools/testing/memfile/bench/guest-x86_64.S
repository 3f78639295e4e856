/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest on x86_64: flat 32-bit code without paging, so that an address is a gpa.
 * EBX is the gpa to work on, ECX how many pages, or how many times.
 */
#include "guest.h"

	.section .rodata
	.code32
	.global	guest_code, guest_code_end, guest_write_all, guest_ask, guest_ask_hc
	.global	guest_flip, guest_flip_hc, guest_transfer, guest_transfer_flip

.macro request what
	outb	%al, $(REQUEST_PORT + \what)
.endm

/* KVM_HC_MAP_GPA_RANGE for ECX pages from EBX on: 0x10 is private, 0 shared. */
.macro map_gpa_range attributes
	movl	$12, %eax
	movl	$\attributes, %edx
	vmmcall
.endm

guest_code:

guest_write_all:
1:	movl	%ecx, (%ebx)
	addl	$4096, %ebx
	decl	%ecx
	jnz	1b
done:
	request	DONE
	jmp	done

guest_ask:
	request	NOTHING
	jmp	guest_ask

guest_ask_hc:
	movl	$1, %ecx
1:	map_gpa_range 0x10
	jmp	1b

guest_flip:
	request	TO_SHARED
	movl	%ecx, (%ebx)
	request	TO_PRIVATE
	movl	%ebx, (%ebx)
	decl	%ecx
	jnz	guest_flip
	jmp	done

guest_flip_hc:
	movl	%ecx, %edi
	movl	$1, %ecx
1:	map_gpa_range 0
	movl	%edi, (%ebx)
	map_gpa_range 0x10
	movl	%ebx, (%ebx)
	decl	%edi
	jnz	1b
	jmp	done

/* One page, and another one if the rest of the rounds is odd */
guest_transfer:
	movl	%ecx, (%ebx)
	testl	$1, %ecx
	jz	1f
	movl	%ecx, 4096(%ebx)
1:	request	COPY
	decl	%ecx
	jnz	guest_transfer
	jmp	done

guest_transfer_flip:
	request	TO_SHARED
	movl	%ecx, (%ebx)
	testl	$1, %ecx
	jz	1f
	movl	%ecx, 4096(%ebx)
1:	request	COPY
	request	TO_PRIVATE
	movl	%ebx, (%ebx)
	testl	$1, %ecx
	jz	2f
	movl	%ebx, 4096(%ebx)
2:	decl	%ecx
	jnz	guest_transfer_flip
	jmp	done

guest_code_end:
	.section .note.GNU-stack, "", @progbits
