#define _GNU_SOURCE 1 /* asprintf, strchrnul */

#include "worker/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN_LEAF "sequoiad"
#define PERIOD_US 100000

struct sq_cgroup {
	int dir;                          /* the folder of the calls' cgroups */
	char memory_max[32], cpu_max[48]; /* "": no limit */
};

static int put(int dir, const char *file, const char *text)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* --- where we are --- */

static int get(int dir, const char *file, char *text, size_t cap)
{
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, cap - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	text[n] = '\0';
	return 0;
}

/* Field number n (from 0) of a line of blank-separated fields; in place. */
static char *field(char *line, int n)
{
	while (n-- > 0 && line) {
		line = strchr(line, ' ');
		if (line)
			line++;
	}
	if (line)
		*strchrnul(line, ' ') = '\0';
	return line;
}

/* Where cgroup v2 is mounted: mountinfo's "id parent dev root MOUNT opts ... - cgroup2 ...". */
static int find_mount(char out[PATH_MAX])
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	int rc = -ENOENT;

	if (!f)
		return -errno;
	while (rc < 0 && getline(&line, &cap, f) > 0) {
		const char *mount = strstr(line, " - cgroup2 ") ? field(line, 4) : NULL;

		if (mount && strlen(mount) < PATH_MAX)
			rc = (strcpy(out, mount), 0);
	}
	free(line);
	fclose(f);
	return rc;
}

/* Our own cgroup: the line "0::/path" of /proc/self/cgroup; without our leaf at its end. */
static int find_path(char out[PATH_MAX])
{
	char text[8192], *p, *leaf;

	if (get(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text)) < 0)
		return -ENOENT;
	p = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!p)
		return -ENOENT;
	p = strchr(p, '/');
	if (!p)
		return -ENOENT;
	*strchrnul(p, '\n') = '\0';
	leaf = strrchr(p, '/');
	if (strcmp(leaf, "/" OWN_LEAF) == 0)
		*leaf = '\0';
	if (strlen(p) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(out, p);
	return 0;
}

static int open_own(struct sq_error *e)
{
	char mount[PATH_MAX], path[PATH_MAX], *full;
	int fd;

	if (find_mount(mount) < 0 || find_path(path) < 0)
		return sq_error_set(e, ENOENT, "no cgroup v2 is mounted");
	if (asprintf(&full, "%s%s", mount, path) < 0)
		return sq_error_set(e, ENOMEM, "out of memory");
	fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = sq_error_set(e, errno, "%s: %s", full, strerror(errno));
	free(full);
	return fd;
}

/* --- making room --- */

static int make_dir(int at, const char *name)
{
	return mkdirat(at, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int enable(int dir, const char *controller, struct sq_error *e)
{
	char text[16];
	int rc;

	snprintf(text, sizeof(text), "+%s", controller);
	rc = put(dir, "cgroup.subtree_control", text);
	if (rc < 0)
		return sq_error_set(e, -rc, "the %s controller is not delegated: %s", controller,
				    strerror(-rc));
	return 0;
}

static int enable_all(const struct sq_cgroup *g, int dir, struct sq_error *e)
{
	int rc = 0;

	if (g->memory_max[0])
		rc = enable(dir, "memory", e);
	if (rc == 0 && g->cpu_max[0])
		rc = enable(dir, "cpu", e);
	return rc;
}

/* Moves the proxy out of the way, hands the controllers down, makes the backend's folder. */
static int prepare(struct sq_cgroup *g, int own, const char *backend, struct sq_error *e)
{
	char name[NAME_MAX + 1];
	int rc = make_dir(own, OWN_LEAF);

	if (rc == 0)
		rc = put(own, OWN_LEAF "/cgroup.procs", "0");
	if (rc < 0)
		return sq_error_set(e, -rc, "the cgroup is not delegated: %s", strerror(-rc));
	rc = enable_all(g, own, e);
	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "backend-%.100s", backend);
	rc = make_dir(own, name);
	if (rc == 0) {
		g->dir = openat(own, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = g->dir < 0 ? -errno : 0;
	}
	if (rc < 0)
		return sq_error_set(e, -rc, "%s: %s", name, strerror(-rc));
	return enable_all(g, g->dir, e);
}

struct sq_cgroup *sq_cgroup_open(const char *backend, uint64_t memory_bytes, double cpus,
				 struct sq_error *e)
{
	struct sq_cgroup *g = calloc(1, sizeof(*g));
	int own;

	if (!g) {
		sq_error_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	g->dir = -1;
	if (memory_bytes > 0)
		snprintf(g->memory_max, sizeof(g->memory_max), "%llu",
			 (unsigned long long)memory_bytes);
	if (cpus > 0)
		snprintf(g->cpu_max, sizeof(g->cpu_max), "%.0f %d", cpus * PERIOD_US, PERIOD_US);
	own = open_own(e);
	if (own >= 0 && prepare(g, own, backend, e) == 0) {
		close(own);
		return g;
	}
	if (own >= 0) {
		put(own, "cgroup.procs", "0"); /* back to where we were */
		unlinkat(own, OWN_LEAF, AT_REMOVEDIR);
		close(own);
	}
	sq_cgroup_close(g);
	return NULL;
}

void sq_cgroup_close(struct sq_cgroup *g)
{
	if (!g)
		return;
	if (g->dir >= 0)
		close(g->dir);
	free(g);
}

/* --- one call --- */

int sq_cgroup_make(struct sq_cgroup *g, const char *name)
{
	int dir, fd, rc = make_dir(g->dir, name);

	if (rc < 0)
		return rc;
	dir = openat(g->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	if (g->memory_max[0])
		rc = put(dir, "memory.max", g->memory_max);
	if (rc == 0 && g->memory_max[0])
		put(dir, "memory.swap.max", "0"); /* absent without swap accounting */
	if (rc == 0 && g->cpu_max[0])
		rc = put(dir, "cpu.max", g->cpu_max);
	fd = rc < 0 ? rc : openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		fd = -errno;
	close(dir);
	return fd;
}

int sq_cgroup_remove(struct sq_cgroup *g, const char *name)
{
	char path[NAME_MAX + 1];

	if (unlinkat(g->dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	snprintf(path, sizeof(path), "%.100s/cgroup.kill", name);
	put(g->dir, path, "1");
	return unlinkat(g->dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -EBUSY;
}
