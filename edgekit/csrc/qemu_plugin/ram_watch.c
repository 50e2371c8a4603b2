/* SPDX-License-Identifier: MIT
 *
 * Copyright (c) the edgekit authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
 * associated documentation files (the "Software"), to deal in the Software without restriction,
 * including without limitation the rights to use, copy, modify, merge, publish, distribute,
 * sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or
 * substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
 * NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
 * NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 *
 * A plugin for QEMU's code generator: which bytes of RAM does the firmware touch?
 *
 *     -plugin libram_watch.so,base=0x20000000,size=65536,out=touched.bin
 *
 * At exit `out` gets `size` bytes: 0 for a byte that was never accessed, else the sum of 1 (read)
 * and 2 (written). Prototypes are declared here because distributions ship QEMU without its plugin
 * header; they are version 1 of the interface (QEMU 4.2 to 8.x).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*tb_callback)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*memory_callback)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *);
typedef void (*exit_callback)(qemu_plugin_id_t, void *);

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_callback);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, memory_callback, int flags,
                                             int access, void *);
extern unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
extern _Bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exit_callback, void *);

#define NO_REGISTERS 0
#define READS_AND_WRITES 3
#define READ_MARK 1u
#define WRITE_MARK 2u

EXPORT int qemu_plugin_version = 1;

static uint64_t base;
static uint64_t size_bytes;
static char out[4096];
static uint8_t *marks;

static void on_access(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data) {
    (void)cpu;
    (void)data;
    const uint8_t mark = qemu_plugin_mem_is_store(info) ? WRITE_MARK : READ_MARK;
    const uint64_t width = (uint64_t)1 << qemu_plugin_mem_size_shift(info);
    for (uint64_t at = address; at < address + width; ++at) {
        if (at >= base && at - base < size_bytes) {
            marks[at - base] |= mark;
        }
    }
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < count; ++i) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        qemu_plugin_register_vcpu_mem_cb(instruction, on_access, NO_REGISTERS, READS_AND_WRITES,
                                         NULL);
    }
}

static void on_exit_of_machine(qemu_plugin_id_t id, void *data) {
    (void)id;
    (void)data;
    FILE *file = fopen(out, "wb");
    if (file == NULL || fwrite(marks, 1, size_bytes, file) != size_bytes || fclose(file) != 0) {
        fprintf(stderr, "ram_watch: %s cannot be written\n", out);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; ++i) {
        if (strncmp(argv[i], "base=", 5) == 0) {
            base = strtoull(argv[i] + 5, NULL, 0);
        } else if (strncmp(argv[i], "size=", 5) == 0) {
            size_bytes = strtoull(argv[i] + 5, NULL, 0);
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            snprintf(out, sizeof out, "%s", argv[i] + 4);
        }
    }
    marks = size_bytes == 0 || out[0] == 0 ? NULL : calloc(size_bytes, 1);
    if (marks == NULL) {
        fprintf(stderr, "ram_watch: give base=, size= and out=\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit_of_machine, NULL);
    return 0;
}
