/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MEMFILE_BENCH_GUEST_H
#define _MEMFILE_BENCH_GUEST_H

/* What the guest wants of the VMM. */
#define TO_SHARED	0
#define TO_PRIVATE	1
#define NOTHING		2
#define DONE		3
#define COPY		4

/* Where it says that: the first of so many I/O ports, or a page without memory */
#define REQUEST_PORT	0x10
#define DOORBELL_GPA	0x1900000000

#ifndef __ASSEMBLER__
/* guest-ARCH.S: from here to there is what the guest gets */
extern const char guest_code[], guest_code_end[];
/* The programs; what they do is said where enum program is. */
extern const char guest_write_all[], guest_ask[], guest_ask_hc[], guest_flip[],
	guest_flip_hc[], guest_transfer[], guest_transfer_flip[], guest_share[],
	guest_share_copy[], guest_share_all[], guest_unshare_all[];
#endif

#endif
