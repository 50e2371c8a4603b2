#include "semihosting.h"

#define SYS_OPEN 0x01u
#define SYS_CLOSE 0x02u
#define SYS_WRITE0 0x04u
#define SYS_WRITE 0x05u
#define SYS_READ 0x06u
#define SYS_SEEK 0x0Au
#define SYS_EXIT_EXTENDED 0x20u
#define STOPPED_BY_PROGRAM 0x20026u

static uint32_t call(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

int32_t ek_file_open(const char *name, uint32_t mode) {
    uint32_t length = 0;
    while (name[length] != 0) {
        ++length;
    }
    const uint32_t block[3] = {(uint32_t)name, mode, length};
    return (int32_t)call(SYS_OPEN, block);
}

uint32_t ek_file_read(int32_t file, void *data, uint32_t size_bytes) {
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)data, size_bytes};
    return size_bytes == 0 ? 0 : call(SYS_READ, block);
}

uint32_t ek_file_write(int32_t file, const void *data, uint32_t size_bytes) {
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)data, size_bytes};
    return size_bytes == 0 ? 0 : call(SYS_WRITE, block);
}

int32_t ek_file_seek(int32_t file, uint32_t offset_bytes) {
    const uint32_t block[2] = {(uint32_t)file, offset_bytes};
    return (int32_t)call(SYS_SEEK, block);
}

void ek_file_close(int32_t file) {
    const uint32_t block[1] = {(uint32_t)file};
    (void)call(SYS_CLOSE, block);
}

void ek_print(const char *text) { (void)call(SYS_WRITE0, text); }

_Noreturn void ek_exit(uint32_t status) {
    const uint32_t block[2] = {STOPPED_BY_PROGRAM, status};
    for (;;) {
        (void)call(SYS_EXIT_EXTENDED, block);
    }
}
