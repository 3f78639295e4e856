/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/memfile.h>

static inline void trace_memfile_invalidate(const struct inode *inode,
					    pgoff_t start, pgoff_t end,
					    unsigned int states)
{
}

static inline void trace_memfile_convert(const struct inode *inode,
					 pgoff_t start, pgoff_t end,
					 enum memfile_state to, int err,
					 pgoff_t where)
{
}
