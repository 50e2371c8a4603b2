/* Field update on a board: where its slots are, and how its flash is written.
 *
 * The board's header gives EK_SLOT_0, EK_SLOT_1 (addresses) and EK_SLOT_BYTES; a driver gives
 * ek_board_flash.
 */
#ifndef EDGEKIT_FIRMWARE_SLOTS_H
#define EDGEKIT_FIRMWARE_SLOTS_H

#include "../monitor/update.h"

extern const ek_flash ek_board_flash;
extern const ek_update_layout ek_board_slots;

/* The slot that an address lies in, or EK_UPDATE_NO_SLOT. */
uint32_t ek_slot_of(uint32_t address);

/* Start the board anew, after what was sent has left the port. */
_Noreturn void ek_board_restart(void);

#endif
