/* The monitor and the update logic on a computer: the line is standard input and output, flash is a
 * file with the semantics of NOR flash, and power can be cut at any operation.
 *
 *     host FLASH CUT          answers frames; exit status 42 where power was cut
 *     host FLASH CUT app N    the same, slot N runs
 *     host FLASH CUT boot     selects a slot, marks it as tried, prints its index (or -1)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "firmware_model.h"
#include "monitor.h"

#define SLOT 8192u
#define BASE 0x08000000u
#define UNIT 32u

extern const char *const ek_monitor_model_name;
extern const ek_monitor_tensor ek_monitor_tensors[];

static uint8_t content[2 * SLOT];
static const char *path;
static long cut;
static long operations;

static void save(void) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(content, sizeof content, 1, file) != 1 || fclose(file) != 0) {
        abort();
    }
}

static void spend(void) {
    if (cut >= 0 && operations >= cut) {
        save();
        _exit(42);
    }
    ++operations;
}

static int32_t outside(uint32_t address, uint32_t bytes) {
    return address < BASE || address - BASE > sizeof content ||
           bytes > sizeof content - (address - BASE);
}

static int32_t read_flash(void *context, uint32_t address, void *data, uint32_t bytes) {
    (void)context;
    if (outside(address, bytes)) {
        return 1;
    }
    memcpy(data, content + (address - BASE), bytes);
    return 0;
}

static int32_t program_flash(void *context, uint32_t address, const void *data, uint32_t bytes) {
    const uint8_t *from = (const uint8_t *)data;
    (void)context;
    if (outside(address, bytes) || address % UNIT != 0 || bytes % UNIT != 0) {
        return 1;
    }
    for (uint32_t i = 0; i < bytes; ++i) {
        if (i % 8 == 0) {
            spend();
        }
        content[address - BASE + i] &= from[i];
    }
    return 0;
}

static int32_t erase_flash(void *context, uint32_t address, uint32_t bytes) {
    (void)context;
    if (outside(address, bytes)) {
        return 1;
    }
    for (uint32_t i = 0; i < bytes; ++i) {
        if (i % 256 == 0) {
            spend();
        }
        content[address - BASE + i] = 0xFF;
    }
    return 0;
}

static void send(void *context, const uint8_t *data, size_t bytes) {
    (void)context;
    if (fwrite(data, bytes, 1, stdout) != 1 || fflush(stdout) != 0) {
        _exit(3);
    }
}

int main(int argc, char **argv) {
    static ek_monitor monitor;
    if (argc < 3) {
        return 2;
    }
    path = argv[1];
    cut = strtol(argv[2], NULL, 10);
    memset(content, 0xFF, sizeof content);
    FILE *file = fopen(path, "rb");
    if (file != NULL) {
        if (fread(content, sizeof content, 1, file) != 1) {
            return 2;
        }
        fclose(file);
    }
    ek_monitor_update update = {
        .flash = {read_flash, program_flash, erase_flash, NULL},
        .layout = {{BASE, BASE + SLOT}, SLOT},
    };
    update.running = ek_update_select(&update.flash, &update.layout);
    if (argc > 4) {
        update.running = (uint32_t)strtoul(argv[4], NULL, 10);
    } else if (argc > 3) {
        if (update.running != EK_UPDATE_NO_SLOT) {
            (void)ek_update_mark_tried(&update.flash, &update.layout, update.running);
        }
        save();
        printf("%d\n", update.running == EK_UPDATE_NO_SLOT ? -1 : (int)update.running);
        return 0;
    }
    const ek_monitor_model model = {
        .name = ek_monitor_model_name,
        .inputs = EK_MODEL_INPUTS,
        .outputs = EK_MODEL_OUTPUTS,
        .tensors = ek_monitor_tensors,
        .init = EK_MODEL_INIT,
        .run = EK_MODEL_RUN,
        .tensor = EK_MODEL_TENSOR,
    };
    monitor.model = &model;
    monitor.update = &update;
    monitor.write = send;
    uint8_t bytes[512];
    ssize_t count;
    while ((count = read(STDIN_FILENO, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < count; ++i) {
            ek_monitor_feed(&monitor, bytes[i]);
        }
    }
    save();
    return 0;
}
