/* Field update: two slots in flash, one of which runs while the other is written.
 *
 *     offset 0     header, EK_UPDATE_HEADER bytes; written last, which is what makes an image valid
 *     offset 64    trial mark: erased, or cleared at the first start of the image
 *     offset 128   confirmed mark: erased, or cleared by the image once it works
 *     offset 1024  the image
 *
 *     header: magic | format | version | address | size | CRC-32 of the image | 0 | CRC-32 of these
 *
 * 32-bit little-endian words. Every mark has a flash word of its own (32 bytes on some parts), so
 * that no word is programmed twice. Only the slot that does not run is ever erased: whenever power
 * is lost, a complete image is left. Described in docs/serial-protocol.md.
 *
 * Pure functions over a flash interface; no allocation, no global state.
 */
#ifndef EDGEKIT_MONITOR_UPDATE_H
#define EDGEKIT_MONITOR_UPDATE_H

#include <stdint.h>

#include "edgekit/status.h"

#define EK_UPDATE_MAGIC 0x55504B45u /* "EKPU" */
#define EK_UPDATE_FORMAT 1u
#define EK_UPDATE_HEADER 32u
#define EK_UPDATE_TRIAL 64u
#define EK_UPDATE_CONFIRMED 128u
#define EK_UPDATE_MARK 32u
#define EK_UPDATE_IMAGE 1024u
#define EK_UPDATE_SLOTS 2u
#define EK_UPDATE_NO_SLOT 0xFFFFFFFFu

/* Access to flash, by address. Each returns 0 where it worked. */
typedef struct ek_flash {
    int32_t (*read)(void *context, uint32_t address, void *data, uint32_t bytes);
    /* Clears bits; begins and ends at a multiple of 32 bytes. */
    int32_t (*program)(void *context, uint32_t address, const void *data, uint32_t bytes);
    /* Sets a whole slot to ones. */
    int32_t (*erase)(void *context, uint32_t address, uint32_t bytes);
    void *context;
} ek_flash;

typedef struct ek_update_layout {
    uint32_t slot_address[EK_UPDATE_SLOTS];
    uint32_t slot_bytes; /* more than EK_UPDATE_IMAGE */
} ek_update_layout;

typedef struct ek_update_slot {
    uint32_t version;
    uint32_t size_bytes;
    uint32_t crc;
    uint8_t is_valid; /* header and image are what was sent */
    uint8_t is_tried;
    uint8_t is_confirmed;
} ek_update_slot;

/* Read a slot and check header and image; a slot that cannot be read is not valid. */
void ek_update_inspect(const ek_flash *flash, const ek_update_layout *layout, uint32_t index,
                       ek_update_slot *slot);

/* The slot to run: of the valid ones that are confirmed or were never tried, the highest version;
 * where there is none, a valid one that was tried (better than nothing); else EK_UPDATE_NO_SLOT,
 * and the bootloader waits for an image. */
uint32_t ek_update_select(const ek_flash *flash, const ek_update_layout *layout);

/* To be called with the selected slot before it is run: an image gets one start to confirm itself,
 * then the other slot is taken again. */
ek_status ek_update_mark_tried(const ek_flash *flash, const ek_update_layout *layout,
                               uint32_t index);

/* To be called by the image that runs, once it works. */
ek_status ek_update_confirm(const ek_flash *flash, const ek_update_layout *layout, uint32_t index);

/* Erase a slot; `running` is refused. */
ek_status ek_update_begin(const ek_flash *flash, const ek_update_layout *layout, uint32_t index,
                          uint32_t running);

/* Program a part of the image; offset and bytes are multiples of 32. */
ek_status ek_update_write(const ek_flash *flash, const ek_update_layout *layout, uint32_t index,
                          uint32_t offset, const void *data, uint32_t bytes);

/* Read the image back, compare its CRC with that of `header` (EK_UPDATE_HEADER bytes) and only
 * then write the header. EK_STATUS_INVALID_ARGUMENT where header or image is wrong. */
ek_status ek_update_finish(const ek_flash *flash, const ek_update_layout *layout, uint32_t index,
                           const uint8_t *header);

#endif
