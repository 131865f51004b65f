/* A file system that refuses, for one folder and one process: LD_PRELOAD this.

   STRANGE_FOLDER   the folder, absolute
   STRANGE_REFUSES  any of: append rename link seek lock
   strange_arm(n, error, how) from inside the process: the n-th change below the folder (1 is the next) fails
   with `error`; how 0: that one alone, 1: all from then on, 2: it is a write that takes half, and the next
   fails. strange_count() tells the changes since then: opening to write, writing, closing, renaming, removing,
   making a folder.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 4096
static char kind[MOST]; /* of each descriptor: 0 not ours, 1 read, 2 written */
static int fault_at, fault_error, fault_how, changes;

static int refuses(const char *what) {
    const char *list = getenv("STRANGE_REFUSES");
    return list != NULL && strstr(list, what) != NULL;
}

static int below(const char *path) {
    const char *folder = getenv("STRANGE_FOLDER");
    char whole[PATH_MAX];
    size_t length;
    if (folder == NULL || path == NULL) return 0;
    if (path[0] != '/') {
        if (getcwd(whole, sizeof whole) == NULL) return 0;
        length = strlen(whole);
        snprintf(whole + length, sizeof whole - length, "/%s", path);
        path = whole;
    }
    length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

void strange_arm(int n, int error, int how) { fault_at = n; fault_error = error; fault_how = how; changes = 0; }
int strange_count(void) { return changes; }

/* Count a change; -1 where it is to fail, 1 where a write is to take half. */
static int change(int is_write) {
    changes++;
    if (fault_at == 0 || changes < fault_at) return 0;
    if (fault_how == 0 && changes > fault_at) return 0;
    if (fault_how == 2 && changes == fault_at) {
        if (is_write) return 1;
        fault_at++; /* the next write it is */
        return 0;
    }
    if (fault_how == 2 && changes > fault_at + 1) return 0;
    errno = fault_error;
    return -1;
}

#define REAL(name) static __typeof__(name) *real; if (real == NULL) real = dlsym(RTLD_NEXT, #name)

static int refused_open(const char *path, int flags) {
    if (!below(path) || (flags & (O_WRONLY | O_RDWR)) == 0) return 0;
    if ((flags & O_APPEND) && refuses("append")) { errno = ENOTSUP; return 1; }
    return change(0) < 0;
}

static int opened(const char *path, int flags, int fd) {
    if (fd >= 0 && fd < MOST) kind[fd] = below(path) ? ((flags & (O_WRONLY | O_RDWR)) ? 2 : 1) : 0;
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        return refused_open(path, flags) ? -1 : opened(path, flags, real(path, flags, mode)); }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        return refused_open(path, flags) ? -1 : opened(path, flags, real(at, path, flags, mode)); }
OPENAT(openat)
OPENAT(openat64)

#define WRITTEN(fd) ((fd) >= 0 && (fd) < MOST && kind[fd] == 2)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    int fault = WRITTEN(fd) ? change(1) : 0;
    return fault < 0 ? -1 : real(fd, data, fault ? (size + 1) / 2 : size);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    REAL(writev);
    int fault = WRITTEN(fd) ? change(1) : 0;
    if (fault < 0) return -1;
    if (fault == 0) return real(fd, pieces, count);
    struct iovec half = {pieces[0].iov_base, (pieces[0].iov_len + 1) / 2};
    return real(fd, &half, 1);
}

#define SEEK(name, off) \
    off name(int fd, off to, int whence) { \
        REAL(name); \
        if (WRITTEN(fd) && refuses("seek") && (whence != SEEK_SET || to != 0)) { \
            if (whence != SEEK_CUR || to != 0) { errno = ESPIPE; return -1; } } \
        return real(fd, to, whence); }
SEEK(lseek, off_t)
SEEK(lseek64, off64_t)

int close(int fd) {
    REAL(close);
    int written = WRITTEN(fd);
    if (fd >= 0 && fd < MOST) kind[fd] = 0;
    int done = real(fd);
    return written && change(0) < 0 ? -1 : done;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (below(to)) {
        if (refuses("rename")) { errno = EPERM; return -1; }
        if (change(0) < 0) return -1;
    }
    return real(from, to);
}

int link(const char *from, const char *to) {
    REAL(link);
    if (below(to) && refuses("link")) { errno = EPERM; return -1; }
    return real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return below(path) && change(0) < 0 ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return below(path) && change(0) < 0 ? -1 : real(path, mode);
}

int flock(int fd, int how) {
    REAL(flock);
    if (fd >= 0 && fd < MOST && kind[fd] && refuses("lock")) { errno = ENOLCK; return -1; }
    return real(fd, how);
}
