/* Preloaded: large reads wait as long as the file that STALL names exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

enum { LARGE_BYTES = 4096, WAIT_US = 20000 };

ssize_t pread64(int file, void *buffer, size_t bytes, off64_t offset) {
    static ssize_t (*original)(int, void *, size_t, off64_t);
    const char *stall = getenv("STALL");
    if (original == NULL) {
        original = (ssize_t(*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
    }
    while (bytes > LARGE_BYTES && stall != NULL && access(stall, F_OK) == 0) {
        usleep(WAIT_US);
    }
    return original(file, buffer, bytes, offset);
}
