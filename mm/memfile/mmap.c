// SPDX-License-Identifier: GPL-2.0
/*
 * Host mappings of a memory file.  They are ordinary shared file mappings of
 * ordinary pages; a private offset is a SIGBUS.
 */
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "internal.h"

static vm_fault_t memfile_fault(struct vm_fault *vmf)
{
	struct inode *inode = file_inode(vmf->vma->vm_file);
	struct memfile *memfile = MEMFILE_I(inode);
	vm_fault_t ret = VM_FAULT_SIGBUS;
	struct folio *folio;

	if (vmf->pgoff >= i_size_read(inode) >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;

	filemap_invalidate_lock_shared(inode->i_mapping);

	if (memfile_state_at(memfile, vmf->pgoff) != MEMFILE_SHARED)
		goto unlock;

	folio = memfile_grab_sound_folio(memfile, vmf->pgoff);
	if (IS_ERR(folio)) {
		ret = vmf_error(PTR_ERR(folio));
		goto unlock;
	}

	/* The folio lock keeps the page in the file until it is mapped. */
	vmf->page = folio_file_page(folio, vmf->pgoff);
	memfile_shadow_fault(memfile, vmf->page, vmf->pgoff);
	ret = VM_FAULT_LOCKED;
unlock:
	filemap_invalidate_unlock_shared(inode->i_mapping);
	return ret;
}

#ifdef CONFIG_NUMA
static int memfile_set_policy(struct vm_area_struct *vma, struct mempolicy *mpol)
{
	struct inode *inode = file_inode(vma->vm_file);
	struct memfile *memfile = MEMFILE_I(inode);
	pgoff_t start = vma->vm_pgoff, end = start + vma_pages(vma), next;
	int err;

	filemap_invalidate_lock(inode->i_mapping);
	err = mpol_set_shared_policy(&memfile->policy, vma, mpol);
	filemap_invalidate_unlock(inode->i_mapping);
	if (err)
		return err;

	/* What is reserved was placed by the old policy. */
	for (; start < end; start = next) {
		filemap_invalidate_lock(inode->i_mapping);
		next = memfile_extents_batch_end(memfile, start, end);
		memfile_extents_unreserve(memfile, start, next);
		filemap_invalidate_unlock(inode->i_mapping);
	}
	return 0;
}

/*
 * Without a policy for the address the answer is NULL and not the task's
 * policy: get_mempolicy() tells the two apart.
 */
static struct mempolicy *memfile_get_policy(struct vm_area_struct *vma,
					    unsigned long addr, pgoff_t *ilx)
{
	struct inode *inode = file_inode(vma->vm_file);

	*ilx = inode->i_ino;
	return mpol_shared_policy_lookup(&MEMFILE_I(inode)->policy,
					 linear_page_index(vma, addr));
}
#endif

static const struct vm_operations_struct memfile_vm_ops = {
	.fault		= memfile_fault,
#ifdef CONFIG_NUMA
	.set_policy	= memfile_set_policy,
	.get_policy	= memfile_get_policy,
#endif
};

/**
 * memfile_mmap - map a memory file
 * @file: The file.
 * @vma: The mapping.
 *
 * Return: 0, or:
 *
 * * -ENODEV - the file was created without MEMFILE_MMAP
 * * -EINVAL - the mapping is not shared: a private copy of a guest's page
 *   has no use
 */
int memfile_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (!(MEMFILE_I(file_inode(file))->flags & MEMFILE_MMAP))
		return -ENODEV;
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;

	vma->vm_ops = &memfile_vm_ops;
	return 0;
}
