/* A disk that fails: the Nth write or sync of a file under a folder answers EIO, once. What failed and when
   (nanoseconds since 1970, the call, the file) goes to a file elsewhere.

   SOAK_FAULT_DIR     files under it
   SOAK_FAULT_KIND    "write" or "sync"
   SOAK_FAULT_AT      which call fails, from 1
   SOAK_FAULT_MARK    where it is told; while that file exists nothing fails again */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls;

/* Whether this call is the one. */
static int fails(int file, const char *kind, const char *call) {
    const char *folder = getenv("SOAK_FAULT_DIR"), *wanted = getenv("SOAK_FAULT_KIND");
    const char *at = getenv("SOAK_FAULT_AT"), *mark = getenv("SOAK_FAULT_MARK");
    char link[64], path[PATH_MAX], told[PATH_MAX + 64];
    if (!folder || !wanted || !at || !mark || strcmp(kind, wanted) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0) return 0;
    if (atomic_fetch_add(&calls, 1) + 1 != atol(at)) return 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    length = snprintf(told, sizeof told, "%lld%09ld %s %s\n", (long long)now.tv_sec, now.tv_nsec, call, path);
    int out = open(mark, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out >= 0) {
        ssize_t (*really)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        if (really(out, told, (size_t)length) < 0) abort();
        close(out);
    }
    errno = EIO;
    return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t length) {
    REAL(write);
    return fails(file, "write", "write") ? -1 : real(file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    REAL(pwrite);
    return fails(file, "write", "pwrite") ? -1 : real(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    REAL(pwrite64);
    return fails(file, "write", "pwrite64") ? -1 : real(file, bytes, length, offset);
}

int fsync(int file) {
    REAL(fsync);
    return fails(file, "sync", "fsync") ? -1 : real(file);
}

int fdatasync(int file) {
    REAL(fdatasync);
    return fails(file, "sync", "fdatasync") ? -1 : real(file);
}

int sync_file_range(int file, off64_t offset, off64_t length, unsigned int flags) {
    REAL(sync_file_range);
    return fails(file, "sync", "sync_file_range") ? -1 : real(file, offset, length, flags);
}
