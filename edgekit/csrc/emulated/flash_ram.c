/* Flash of an emulated machine whose code memory is RAM (mps2): written as NOR flash is, so that
 * programming only clears bits. */
#include <string.h>

#include "slots.h"

static int32_t read_flash(void *context, uint32_t address, void *data, uint32_t bytes) {
    (void)context;
    memcpy(data, (const void *)(uintptr_t)address, bytes);
    return 0;
}

static int32_t program_flash(void *context, uint32_t address, const void *data, uint32_t bytes) {
    uint8_t *to = (uint8_t *)(uintptr_t)address;
    const uint8_t *from = (const uint8_t *)data;
    (void)context;
    if (ek_slot_of(address) == EK_UPDATE_NO_SLOT) {
        return 1;
    }
    for (uint32_t i = 0; i < bytes; ++i) {
        to[i] &= from[i];
    }
    return 0;
}

static int32_t erase_flash(void *context, uint32_t address, uint32_t bytes) {
    (void)context;
    if (ek_slot_of(address) == EK_UPDATE_NO_SLOT) {
        return 1;
    }
    memset((void *)(uintptr_t)address, 0xFF, bytes);
    return 0;
}

const ek_flash ek_board_flash = {read_flash, program_flash, erase_flash, NULL};
