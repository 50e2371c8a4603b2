#include "update.h"

#include <string.h>

#include "frame.h"

#define CHUNK 64u

enum { MAGIC, FORMAT, VERSION, ADDRESS, SIZE, IMAGE_CRC, RESERVED, HEADER_CRC };

static uint32_t word(const uint8_t *header, uint32_t index) {
    return ek_get_u32(header + 4u * index);
}

static int32_t is_header(const ek_update_layout *layout, uint32_t index, const uint8_t *header) {
    return word(header, MAGIC) == EK_UPDATE_MAGIC && word(header, FORMAT) == EK_UPDATE_FORMAT &&
           word(header, HEADER_CRC) == ek_crc32(0, header, EK_UPDATE_HEADER - 4u) &&
           word(header, ADDRESS) == layout->slot_address[index] + EK_UPDATE_IMAGE &&
           word(header, SIZE) > 0 && word(header, SIZE) <= layout->slot_bytes - EK_UPDATE_IMAGE;
}

static int32_t is_image(const ek_flash *flash, uint32_t address, const uint8_t *header) {
    uint8_t part[CHUNK];
    const uint32_t size = word(header, SIZE);
    uint32_t crc = 0;
    for (uint32_t done = 0; done < size;) {
        const uint32_t bytes = size - done < CHUNK ? size - done : CHUNK;
        if (flash->read(flash->context, address + EK_UPDATE_IMAGE + done, part, bytes) != 0) {
            return 0;
        }
        crc = ek_crc32(crc, part, bytes);
        done += bytes;
    }
    return crc == word(header, IMAGE_CRC);
}

/* A mark that was interrupted counts by its cleared bits: `least` of them. */
static uint8_t is_marked(const ek_flash *flash, uint32_t address, uint32_t least) {
    uint8_t mark[EK_UPDATE_MARK];
    uint32_t cleared = 0;
    if (flash->read(flash->context, address, mark, sizeof mark) != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < 8u * EK_UPDATE_MARK; ++i) {
        cleared += (((uint32_t)mark[i / 8u] >> (i % 8u)) & 1u) ^ 1u;
    }
    return cleared >= least;
}

void ek_update_inspect(const ek_flash *flash, const ek_update_layout *layout, uint32_t index,
                       ek_update_slot *slot) {
    uint8_t header[EK_UPDATE_HEADER];
    memset(slot, 0, sizeof *slot);
    if (index >= EK_UPDATE_SLOTS) {
        return;
    }
    const uint32_t address = layout->slot_address[index];
    if (flash->read(flash->context, address, header, sizeof header) != 0 ||
        !is_header(layout, index, header)) {
        return;
    }
    slot->version = word(header, VERSION);
    slot->size_bytes = word(header, SIZE);
    slot->crc = word(header, IMAGE_CRC);
    slot->is_valid = (uint8_t)is_image(flash, address, header);
    /* Half of the bits: one that ages neither makes nor undoes a mark. */
    slot->is_tried = is_marked(flash, address + EK_UPDATE_TRIAL, 4u * EK_UPDATE_MARK);
    slot->is_confirmed = is_marked(flash, address + EK_UPDATE_CONFIRMED, 4u * EK_UPDATE_MARK);
}

uint32_t ek_update_select(const ek_flash *flash, const ek_update_layout *layout) {
    uint32_t chosen = EK_UPDATE_NO_SLOT;
    uint32_t best_version = 0;
    uint8_t best_trusted = 0;
    for (uint32_t index = 0; index < EK_UPDATE_SLOTS; ++index) {
        ek_update_slot slot;
        ek_update_inspect(flash, layout, index, &slot);
        const uint8_t trusted = slot.is_confirmed || !slot.is_tried;
        if (!slot.is_valid || trusted < best_trusted) {
            continue;
        }
        if (chosen == EK_UPDATE_NO_SLOT || trusted > best_trusted || slot.version > best_version) {
            chosen = index;
            best_version = slot.version;
            best_trusted = trusted;
        }
    }
    return chosen;
}

static ek_status mark(const ek_flash *flash, uint32_t address) {
    uint8_t zeros[EK_UPDATE_MARK];
    memset(zeros, 0, sizeof zeros);
    return flash->program(flash->context, address, zeros, sizeof zeros) == 0
               ? EK_STATUS_OK
               : EK_STATUS_OUT_OF_RANGE;
}

ek_status ek_update_mark_tried(const ek_flash *flash, const ek_update_layout *layout,
                               uint32_t index) {
    ek_update_slot slot;
    ek_update_inspect(flash, layout, index, &slot);
    if (!slot.is_valid) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    return slot.is_tried ? EK_STATUS_OK
                         : mark(flash, layout->slot_address[index] + EK_UPDATE_TRIAL);
}

ek_status ek_update_confirm(const ek_flash *flash, const ek_update_layout *layout, uint32_t index) {
    ek_update_slot slot;
    ek_update_inspect(flash, layout, index, &slot);
    if (!slot.is_valid) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    return slot.is_confirmed ? EK_STATUS_OK
                             : mark(flash, layout->slot_address[index] + EK_UPDATE_CONFIRMED);
}

ek_status ek_update_begin(const ek_flash *flash, const ek_update_layout *layout, uint32_t index,
                          uint32_t running) {
    if (index >= EK_UPDATE_SLOTS || index == running) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    return flash->erase(flash->context, layout->slot_address[index], layout->slot_bytes) == 0
               ? EK_STATUS_OK
               : EK_STATUS_OUT_OF_RANGE;
}

ek_status ek_update_write(const ek_flash *flash, const ek_update_layout *layout, uint32_t index,
                          uint32_t offset, const void *data, uint32_t bytes) {
    const uint32_t room = layout->slot_bytes - EK_UPDATE_IMAGE;
    if (index >= EK_UPDATE_SLOTS || offset % 32u != 0 || bytes % 32u != 0) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    if (offset > room || bytes > room - offset) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    const uint32_t address = layout->slot_address[index] + EK_UPDATE_IMAGE + offset;
    return flash->program(flash->context, address, data, bytes) == 0 ? EK_STATUS_OK
                                                                     : EK_STATUS_OUT_OF_RANGE;
}

ek_status ek_update_finish(const ek_flash *flash, const ek_update_layout *layout, uint32_t index,
                           const uint8_t *header) {
    if (index >= EK_UPDATE_SLOTS || !is_header(layout, index, header) ||
        !is_image(flash, layout->slot_address[index], header)) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    if (flash->program(flash->context, layout->slot_address[index], header, EK_UPDATE_HEADER) !=
        0) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    ek_update_slot slot;
    ek_update_inspect(flash, layout, index, &slot);
    return slot.is_valid ? EK_STATUS_OK : EK_STATUS_INVALID_ARGUMENT;
}
