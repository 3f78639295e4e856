/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM memfile

#if !defined(_TRACE_MEMFILE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MEMFILE_H

#include <linux/fs.h>
#include <linux/memfile.h>
#include <linux/tracepoint.h>

TRACE_DEFINE_ENUM(MEMFILE_SHARED);
TRACE_DEFINE_ENUM(MEMFILE_PRIVATE);

#define show_memfile_state(state)			\
	__print_symbolic(state,				\
			 { MEMFILE_SHARED, "shared" },	\
			 { MEMFILE_PRIVATE, "private" })

#define show_memfile_states(states)			\
	__print_flags(states, "|",			\
		      { MEMFILE_SHARED, "shared" },	\
		      { MEMFILE_PRIVATE, "private" })

DECLARE_EVENT_CLASS(memfile_page,
	TP_PROTO(const struct inode *inode, pgoff_t index, unsigned long pfn,
		 enum memfile_state state),
	TP_ARGS(inode, index, pfn, state),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(pgoff_t, index)
		__field(unsigned long, pfn)
		__field(unsigned int, state)
	),
	TP_fast_assign(
		__entry->ino = inode->i_ino;
		__entry->index = index;
		__entry->pfn = pfn;
		__entry->state = state;
	),
	TP_printk("ino=%llu index=0x%lx pfn=0x%lx state=%s",
		  __entry->ino, __entry->index, __entry->pfn,
		  show_memfile_state(__entry->state))
);

DEFINE_EVENT(memfile_page, memfile_allocate,
	TP_PROTO(const struct inode *inode, pgoff_t index, unsigned long pfn,
		 enum memfile_state state),
	TP_ARGS(inode, index, pfn, state)
);

DEFINE_EVENT(memfile_page, memfile_free,
	TP_PROTO(const struct inode *inode, pgoff_t index, unsigned long pfn,
		 enum memfile_state state),
	TP_ARGS(inode, index, pfn, state)
);

TRACE_EVENT(memfile_invalidate,
	TP_PROTO(const struct inode *inode, pgoff_t start, pgoff_t end,
		 unsigned int states),
	TP_ARGS(inode, start, end, states),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(pgoff_t, start)
		__field(pgoff_t, end)
		__field(unsigned int, states)
	),
	TP_fast_assign(
		__entry->ino = inode->i_ino;
		__entry->start = start;
		__entry->end = end;
		__entry->states = states;
	),
	TP_printk("ino=%llu range=[0x%lx,0x%lx) states=%s",
		  __entry->ino, __entry->start, __entry->end,
		  show_memfile_states(__entry->states))
);

TRACE_EVENT(memfile_convert,
	TP_PROTO(const struct inode *inode, pgoff_t start, pgoff_t end,
		 enum memfile_state to, int err, pgoff_t where),
	TP_ARGS(inode, start, end, to, err, where),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(pgoff_t, start)
		__field(pgoff_t, end)
		__field(pgoff_t, where)
		__field(unsigned int, to)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->ino = inode->i_ino;
		__entry->start = start;
		__entry->end = end;
		__entry->where = where;
		__entry->to = to;
		__entry->err = err;
	),
	TP_printk("ino=%llu range=[0x%lx,0x%lx) to=%s err=%d where=0x%lx",
		  __entry->ino, __entry->start, __entry->end,
		  show_memfile_state(__entry->to), __entry->err, __entry->where)
);

TRACE_EVENT(memfile_direct_map,
	TP_PROTO(const struct inode *inode, pgoff_t start, pgoff_t end,
		 bool remove, int err),
	TP_ARGS(inode, start, end, remove, err),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(pgoff_t, start)
		__field(pgoff_t, end)
		__field(bool, remove)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->ino = inode->i_ino;
		__entry->start = start;
		__entry->end = end;
		__entry->remove = remove;
		__entry->err = err;
	),
	TP_printk("ino=%llu range=[0x%lx,0x%lx) %s err=%d",
		  __entry->ino, __entry->start, __entry->end,
		  __entry->remove ? "remove" : "restore", __entry->err)
);

#endif /* _TRACE_MEMFILE_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
