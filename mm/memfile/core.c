// SPDX-License-Identifier: GPL-2.0
/*
 * Memory files: the file, its inode, and the filesystem that these need.
 */
#include <linux/anon_inodes.h>
#include <linux/export.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#define CREATE_TRACE_POINTS
#include <trace/events/memfile.h>

#include "internal.h"

static struct kmem_cache *memfile_cachep __ro_after_init;
static struct vfsmount *memfile_mnt __ro_after_init;

/**
 * memfile_inode - is this the inode of a memory file?
 * @inode: Any inode.
 *
 * Context: Any.
 * Return: Whether it is.
 */
bool memfile_inode(const struct inode *inode)
{
	return inode->i_mapping->a_ops == &memfile_aops;
}

static int memfile_release(struct inode *inode, struct file *file)
{
	MEMFILE_I(inode)->ops->release(file);
	return 0;
}

static long memfile_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct memfile_owner_ops *ops = MEMFILE_I(file_inode(file))->ops;

	return ops->ioctl ? ops->ioctl(file, cmd, arg) : -ENOTTY;
}

static long memfile_fallocate(struct file *file, int mode, loff_t offset,
			      loff_t len)
{
	struct inode *inode = file_inode(file);
	loff_t size = i_size_read(inode);
	loff_t end = offset + len;	/* vfs_fallocate() excludes overflow */
	long err;

	/* The size is given at creation, and is constant. */
	if (!(mode & FALLOC_FL_KEEP_SIZE) ||
	    mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
		return -EOPNOTSUPP;
	if (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(len))
		return -EINVAL;

	if (mode & FALLOC_FL_PUNCH_HOLE)
		err = memfile_punch(MEMFILE_I(inode), offset >> PAGE_SHIFT,
				    min(end, size) >> PAGE_SHIFT);
	else if (end <= size)
		err = memfile_allocate(MEMFILE_I(inode), offset >> PAGE_SHIFT,
				       end >> PAGE_SHIFT);
	else
		err = -EINVAL;

	if (!err)
		file_modified(file);
	return err;
}

#ifdef CONFIG_PROC_FS
static void memfile_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct inode *inode = file_inode(file);
	struct memfile *memfile = MEMFILE_I(inode);
	unsigned long private = atomic_long_read(&memfile->nr_private);
	unsigned long present = READ_ONCE(inode->i_mapping->nrpages);

	/* Nothing holds the two still; never show less than nothing. */
	private = min(private, present);

	seq_printf(m, "memfile-default:\t%s\n",
		   memfile_state_default(memfile) == MEMFILE_SHARED ? "shared" :
								      "private");
	seq_printf(m, "memfile-shared:\t%lu\n", (present - private) << PAGE_SHIFT);
	seq_printf(m, "memfile-private:\t%lu\n", private << PAGE_SHIFT);
	seq_printf(m, "memfile-reserved:\t%lu\n",
		   atomic_long_read(&memfile->nr_reserved) << PAGE_SHIFT);
	seq_printf(m, "memfile-no-direct-map:\t%lu\n",
		   atomic_long_read(&memfile->nr_absent) << PAGE_SHIFT);
	seq_printf(m, "memfile-consumers:\t%u\n", READ_ONCE(memfile->nr_consumers));
	seq_printf(m, "memfile-longest-hold:\t%ld\n",
		   atomic_long_read(&memfile->longest_hold));
}
#endif

static const struct file_operations memfile_fops = {
	.mmap		= memfile_mmap,
	.release	= memfile_release,
	.fallocate	= memfile_fallocate,
	.unlocked_ioctl	= memfile_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
#ifdef CONFIG_PROC_FS
	.show_fdinfo	= memfile_show_fdinfo,
#endif
};

/* Neither size, nor mode, nor owner: whoever has the fd has the memory. */
static int memfile_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
			   struct iattr *attr)
{
	return -EINVAL;
}

static const struct inode_operations memfile_iops = {
	.setattr	= memfile_setattr,
};

/**
 * memfile_create - create a memory file
 * @name: Name to show for the file, and the class that security modules see.
 * @size: Size in bytes, constant from now on.
 * @flags: MEMFILE_* flags.
 * @ops: The owner's functions.
 * @data: The owner's data, for memfile_owner_data().
 *
 * Pages are unmovable, unevictable, and charged to the memory cgroup of the
 * task that causes their allocation.
 *
 * Context: Process context, may sleep.
 * Return: The file, or an ERR_PTR():
 *
 * * -EINVAL - unknown flags, flags that contradict each other, or a size that is
 *   no positive multiple of the page size
 * * -EOPNOTSUPP - pages are to be out of the direct map, and this machine cannot
 *   do that
 * * -ENODEV - the owner's module is being unloaded, or there is no filesystem
 *   because it could not be mounted at boot
 * * -ENOMEM - no memory
 * * any error of a security module
 */
struct file *memfile_create(const char *name, loff_t size, unsigned int flags,
			    const struct memfile_owner_ops *ops, void *data)
{
	struct memfile *memfile;
	struct inode *inode;
	struct file *file;
	int absent;

	if (flags & ~(MEMFILE_MMAP | MEMFILE_INIT_SHARED | MEMFILE_KEEP_CONTENT |
		      MEMFILE_NO_DIRECT_MAP | MEMFILE_PRIVATE_NO_DIRECT_MAP |
		      MEMFILE_NEED_DIRECT_MAP))
		return ERR_PTR(-EINVAL);
	if (size <= 0 || !PAGE_ALIGNED(size))
		return ERR_PTR(-EINVAL);
	absent = memfile_absent_states(flags);
	if (absent < 0)
		return ERR_PTR(absent);
	if (!memfile_mnt || !try_module_get(ops->owner))
		return ERR_PTR(-ENODEV);

	inode = anon_inode_make_secure_inode(memfile_mnt->mnt_sb, name, NULL);
	if (IS_ERR(inode)) {
		module_put(ops->owner);
		return ERR_CAST(inode);
	}

	/* From here on the inode has the reference to the module. */
	memfile = MEMFILE_I(inode);
	memfile->ops = ops;
	memfile->flags = flags;
	memfile->absent = absent;
	memfile->state_of_rest = memfile_state_default(memfile);
	memfile_sanitizer_begin(memfile);
	mt_set_external_lock(&memfile->states, &inode->i_mapping->invalidate_lock);

	inode->i_op = &memfile_iops;
	inode->i_mode |= S_IFREG;
	inode->i_size = size;
	inode->i_mapping->a_ops = &memfile_aops;
	mapping_set_gfp_mask(inode->i_mapping, GFP_HIGHUSER);
	mapping_set_inaccessible(inode->i_mapping);
	if (absent & MEMFILE_SHARED)
		mapping_set_no_direct_map(inode->i_mapping);
	/* Call ->invalidate_folio for pages without private data, too. */
	mapping_set_release_always(inode->i_mapping);

	file = alloc_file_pseudo(inode, memfile_mnt, name, O_RDWR | O_LARGEFILE,
				 &memfile_fops);
	if (IS_ERR(file)) {
		iput(inode);
		return file;
	}
	file->private_data = data;
	/* How recently a page was used is of no interest: none is reclaimed. */
	file->f_mode |= FMODE_NOREUSE;
	return file;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_create,
			  "kvm,kvm_snp_kunit,kvm_tdx_kunit,memfile_kunit");

/**
 * memfile_owner_data - what the owner gave to memfile_create()
 * @file: Any file.
 * @ops: The owner's functions.
 *
 * Context: Any.
 * Return: The data, or NULL if @file is no memory file that was created with
 *	@ops.
 */
void *memfile_owner_data(const struct file *file,
			 const struct memfile_owner_ops *ops)
{
	if (file->f_op != &memfile_fops || MEMFILE_I(file_inode(file))->ops != ops)
		return NULL;
	return file->private_data;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_owner_data,
			  "kvm,kvm_snp_kunit,kvm_tdx_kunit,memfile_kunit");

/**
 * memfile_flags - how a memory file was created
 * @file: A memory file.
 *
 * Context: Any.
 * Return: The flags that were given to memfile_create().
 */
unsigned int memfile_flags(const struct file *file)
{
	return MEMFILE_I(file_inode(file))->flags;
}
EXPORT_SYMBOL_FOR_MODULES(memfile_flags, "kvm,memfile_kunit");

static struct inode *memfile_alloc_inode(struct super_block *sb)
{
	struct memfile *memfile;

	memfile = alloc_inode_sb(sb, memfile_cachep, GFP_KERNEL);
	if (!memfile)
		return NULL;

	memfile->ops = NULL;
	memfile->flags = 0;
	memfile->absent = 0;
	/*
	 * Gaps are of no interest, but without them mt_free_walk() takes the
	 * metadata of an inner node, in the place of its last slot, for a slot.
	 */
	mt_init_flags(&memfile->states, MT_FLAGS_ALLOC_RANGE | MT_FLAGS_USE_RCU |
					MT_FLAGS_LOCK_EXTERN);
	memfile->state_seq = 0;
	memfile->consumers = RB_ROOT_CACHED;
	mutex_init(&memfile->consumers_lock);
	memfile->nr_consumers = 0;
	mpol_shared_policy_init(&memfile->policy, NULL);
	xa_init(&memfile->extents);
	memfile->last_extent = NULL;
	atomic_long_set(&memfile->nr_private, 0);
	atomic_long_set(&memfile->nr_single, 0);
	atomic_long_set(&memfile->nr_reserved, 0);
	atomic_long_set(&memfile->nr_absent, 0);
	atomic_long_set(&memfile->longest_hold, 0);
	return &memfile->vfs_inode;
}

static void memfile_evict_inode(struct inode *inode)
{
	memfile_evict(MEMFILE_I(inode));
	clear_inode(inode);
}

static void memfile_destroy_inode(struct inode *inode)
{
	struct memfile *memfile = MEMFILE_I(inode);

	WARN_ON_ONCE(memfile->nr_consumers);
	/* Nobody is left to keep out, but the tree checks for its lock. */
	filemap_invalidate_lock(inode->i_mapping);
	__mt_destroy(&memfile->states);
	filemap_invalidate_unlock(inode->i_mapping);
	mpol_free_shared_policy(&memfile->policy);
	/* The last page is gone, and with it the last call of ->reclaim. */
	if (memfile->ops) {
		memfile_sanitizer_end(memfile);
		module_put(memfile->ops->owner);
	}
}

static void memfile_free_inode(struct inode *inode)
{
	kmem_cache_free(memfile_cachep, MEMFILE_I(inode));
}

static const struct super_operations memfile_super_ops = {
	.statfs		= simple_statfs,
	.alloc_inode	= memfile_alloc_inode,
	.evict_inode	= memfile_evict_inode,
	.destroy_inode	= memfile_destroy_inode,
	.free_inode	= memfile_free_inode,
};

static int memfile_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *ctx = init_pseudo(fc, GUEST_MEMFD_MAGIC);

	if (!ctx)
		return -ENOMEM;
	ctx->ops = &memfile_super_ops;
	return 0;
}

static struct file_system_type memfile_fs_type = {
	.name		 = "memfile",
	.init_fs_context = memfile_init_fs_context,
	.kill_sb	 = kill_anon_super,
};

static void memfile_init_once(void *object)
{
	struct memfile *memfile = object;

	inode_init_once(&memfile->vfs_inode);
}

static int __init memfile_init(void)
{
	struct vfsmount *mnt;
	int err;

	err = memfile_shrinker_init();
	if (err)
		return err;

	memfile_cachep = kmem_cache_create("memfile", sizeof(struct memfile), 0,
					   SLAB_ACCOUNT | SLAB_PANIC,
					   memfile_init_once);
	mnt = kern_mount(&memfile_fs_type);
	if (IS_ERR(mnt))
		return PTR_ERR(mnt);

	mnt->mnt_flags |= MNT_NOEXEC;
	memfile_mnt = mnt;
	return 0;
}
fs_initcall(memfile_init);
