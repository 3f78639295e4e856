// SPDX-License-Identifier: GPL-2.0
/*
 * The host against a guest that runs: every attempt of attempts.c on the guest's
 * secret, and a search for it where it must never show up.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "machine.h"

#define PAGE_SIZE	4096
#define CHUNK		(1 << 20)

/* How often each of the secrets was seen. */
struct seen {
	uint64_t shared, private;
	unsigned int in_shared, in_private;
	char *buf;
};

static void look_at(struct seen *seen, void *at)
{
	seen->in_shared += secret_is_at(at, seen->shared);
	seen->in_private += secret_is_at(at, seen->private);
}

/* Millions of words: only one that begins a secret is worth a look at the rest. */
static void look_at_all(struct seen *seen, size_t len)
{
	const uint64_t shared = secret_next(seen->shared), private = secret_next(seen->private);
	uint64_t *word = (uint64_t *)seen->buf, *end = word + len / sizeof(*word);

	for (; word + SECRET_SIZE / sizeof(*word) <= end; word++)
		if (*word == shared || *word == private)
			look_at(seen, word);
}

/* What cannot be read is not there. A read ends where that begins. */
static void look_at_range(struct seen *seen, int fd, uint64_t from, uint64_t to)
{
	ssize_t len;

	for (; from < to; from += len) {
		len = pread(fd, seen->buf, to - from < CHUNK ? to - from : CHUNK, from);
		if (len > 0)
			look_at_all(seen, len);
		else
			len = PAGE_SIZE;
	}
}

/* The VMM's own address space, whatever is mapped there */
static const char *search_self(struct seen *seen)
{
	unsigned long long from, to;
	char line[256];
	FILE *maps = fopen("/proc/self/maps", "re");
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

	if (!maps || fd < 0)
		die("is /proc mounted?", "open(/proc/self/maps, mem)");
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%llx-%llx", &from, &to) == 2 && !(from >> 63) &&
		    from != (uintptr_t)seen->buf)
			look_at_range(seen, fd, from, to);
	}
	fclose(maps);
	close(fd);
	return NULL;
}

/* The kernel's mapping of all memory. The secret would be at the start of a page. */
static const char *search_kcore(struct seen *seen)
{
	int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	uint64_t secret[SECRET_SIZE / sizeof(uint64_t)];
	Elf64_Ehdr head;
	Elf64_Phdr segment;

	if (fd < 0)
		return "no /proc/kcore: needs CONFIG_PROC_KCORE, and root";
	if (pread(fd, &head, sizeof(head), 0) != sizeof(head))
		die("it is an ELF file", "pread(/proc/kcore, %zu)", sizeof(head));
	for (int i = 0; i < head.e_phnum; i++) {
		if (pread(fd, &segment, sizeof(segment), head.e_phoff + i * sizeof(segment)) !=
		    sizeof(segment))
			break;
		if (segment.p_type != PT_LOAD || segment.p_paddr == -1UL)
			continue;
		for (uint64_t at = 0; at < segment.p_filesz; at += PAGE_SIZE)
			if (pread(fd, secret, sizeof(secret), segment.p_offset + at) ==
			    sizeof(secret))
				look_at(seen, secret);
	}
	memset(secret, 0, sizeof(secret));
	close(fd);
	return NULL;
}

/* A child has the same memory, and dies of it. */
static void dump_core(const char *dir)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	/* Also what is shared, and files */
	if (setrlimit(RLIMIT_CORE, &unlimited) || write(fd, "0x1ff", 5) != 5 || chdir(dir))
		_exit(1);
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* Into the directory that it dies in, or to somebody else? */
static bool cores_stay(void)
{
	char pattern[128] = {};
	int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, pattern, sizeof(pattern) - 1) < 0)
		die("is /proc mounted?", "read(/proc/sys/kernel/core_pattern)");
	close(fd);
	return !strpbrk(pattern, "|/");
}

static const char *search_core(struct seen *seen)
{
	char dir[] = "/tmp/memfile-vmm-XXXXXX", path[512];
	const char *why = "no core was dumped";
	struct dirent *entry;
	pid_t pid;
	DIR *in;
	int fd;

	if (!cores_stay())
		return "core dumps go elsewhere: see sysctl kernel.core_pattern";
	if (!mkdtemp(dir))
		die("a core dump needs room there", "mkdtemp(%s)", dir);
	pid = fork();
	if (pid < 0)
		die("too many processes?", "fork()");
	if (!pid)
		dump_core(dir);
	waitpid(pid, NULL, 0);

	in = opendir(dir);
	if (!in)
		die("it was there a moment ago", "opendir(%s)", dir);
	while ((entry = readdir(in))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			die("it was dumped a moment ago", "open(%s)", path);
		look_at_range(seen, fd, 0, lseek(fd, 0, SEEK_END));
		why = NULL;
		close(fd);
		unlink(path);
	}
	closedir(in);
	rmdir(dir);
	return why;
}

static void search(struct seen *seen, const char *what, const char *(*where)(struct seen *))
{
	const char *why;

	seen->in_shared = seen->in_private = 0;
	why = where(seen);
	if (why)
		report_skip(what, why);
	else
		report(seen->in_shared && !seen->in_private, what,
		       seen->in_shared ? "found" : "not found", "nowhere",
		       seen->in_private ? "THE SECRET" : "nowhere");
}

/*
 * All other memory of the guest, its kernel for one: what the file calls private
 * must not come, and what it calls shared must. The guest may convert pages while
 * this goes on: then what the file says afterwards counts as well.
 */
static void try_all_pages(const struct machine *m)
{
	uint64_t shared = 0, leaked = 0, lost = 0, end;
	char control[32], came[32] = "EFAULT";
	int to = memfd_create("copy", MFD_CLOEXEC);
	bool private, loaded;

	if (to < 0)
		die("needs CONFIG_MEMFD_CREATE", "memfd_create()");
	for (uint64_t at = 0; at < m->options->memory; at = end) {
		private = is_private(m->ram.fd, at, m->options->memory, &end);
		for (; at < end; at += PAGE_SIZE) {
			loaded = pwrite(to, m->ram.map + at, 8, 0) == 8;
			if (loaded == private &&
			    is_private(m->ram.fd, at, at + PAGE_SIZE, NULL) == loaded)
				*(loaded ? &leaked : &lost) += PAGE_SIZE;
			else
				shared += loaded * PAGE_SIZE;
		}
	}
	close(to);
	snprintf(control, sizeof(control), lost ? "%llu KiB missing" : "got %llu KiB",
		 (unsigned long long)(lost ?: shared) >> 10);
	if (leaked)
		snprintf(came, sizeof(came), "%llu KiB", (unsigned long long)leaked >> 10);
	report(shared && !lost && !leaked, "each page as buffer: write() to a file", control,
	       "EFAULT", came);
}

/* At @gpa are the guest's two pieces. The first one is private, if the VM has such. */
void attack(struct machine *m, uint64_t gpa)
{
	void *map = guest_range(m, gpa, 2 * MEM_SIZE);
	const uint64_t offset = gpa - RAM_GPA;
	struct memory target = {
		.map = map, .fd = m->ram.fd, .offset = offset, .seed = m->ram.seed,
	};
	struct memory shared = {
		.map = map + MEM_SIZE, .fd = m->ram.fd, .offset = offset + MEM_SIZE,
		.seed = ~m->ram.seed,
	};
	struct seen seen = { .private = target.seed, .shared = shared.seed };
	struct memory file;

	if (!map || offset % MEM_SIZE) {
		report(false, "guest: say where the secrets are", "-", "aligned", "nonsense");
		return;
	}
	file = control_file(&shared);
	/* Shared, so that it is a line of its own in maps: what it holds is not searched. */
	seen.buf = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (seen.buf == MAP_FAILED)
		die("out of memory?", "mmap(%d)", CHUNK);

	report_head();
	if (m->options->protected) {
		try_everything(&shared, &file, &target, false);
		try_all_pages(m);
		search(&seen, "search the VMM's address space", search_self);
	} else if (m->no_direct_map) {
		try_everything(&file, &file, &target, true);
	} else {
		report_skip("all of it", "the host may do that with shared memory");
	}
	if (m->no_direct_map)
		search(&seen, "search /proc/kcore", search_kcore);
	else
		report_skip("search /proc/kcore", "guest memory is in the direct map");
	if (m->options->protected || m->no_direct_map)
		search(&seen, "search a core dump of the VMM", search_core);

	munmap(seen.buf, CHUNK);
	munmap(file.map, MEM_SIZE);
	close(file.fd);
}
