/* Parts of the input of a model that is handed parts, from where the whole input lies in a file. */
#ifndef EDGEKIT_FIRMWARE_FILE_PARTS_H
#define EDGEKIT_FIRMWARE_FILE_PARTS_H

#include "firmware_model.h"

#ifdef EK_MODEL_READ_PART

/* Read bytes at a place of the input; 0 on success. */
typedef int (*ek_read_at)(uint32_t offset_bytes, void *to, uint32_t bytes);

static inline ek_status ek_read_part(const ek_input_part *part, ek_read_at read_at, void *to) {
    static const int32_t shape[4] = EK_MODEL_STREAMED_SHAPE;
    const uint32_t run_bytes = (uint32_t)part->size[3] * EK_MODEL_STREAMED_ITEM_BYTES;
    const int whole = part->size[3] == shape[3];
    const int32_t runs = whole ? 1 : part->size[2];
    const uint32_t bytes = whole ? run_bytes * (uint32_t)part->size[2] : run_bytes;
    uint8_t *place = to;
    for (int32_t n = 0; n < part->size[0]; n++) {
        for (int32_t y = 0; y < part->size[1]; y++) {
            for (int32_t x = 0; x < runs; x++) {
                const int32_t row = (part->begin[0] + n) * shape[1] + part->begin[1] + y;
                const int32_t pixel = row * shape[2] + part->begin[2] + x;
                const uint32_t element = (uint32_t)(pixel * shape[3] + part->begin[3]);
                if (read_at(element * EK_MODEL_STREAMED_ITEM_BYTES, place, bytes) != 0) {
                    return EK_STATUS_IO;
                }
                place += bytes;
            }
        }
    }
    return EK_STATUS_OK;
}

#endif
#endif
