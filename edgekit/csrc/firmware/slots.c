#include "slots.h"

#include "board.h"
#include EK_BOARD

#define AIRCR EK_REGISTER(0xE000ED0Cu)
#define AIRCR_KEY_RESET ((0x05FAu << 16) | (1u << 2))
#define PAUSE 200000u /* two bytes at the slowest usual rate, on the fastest core */

const ek_update_layout ek_board_slots = {{EK_SLOT_0, EK_SLOT_1}, EK_SLOT_BYTES};

uint32_t ek_slot_of(uint32_t address) {
    for (uint32_t index = 0; index < EK_UPDATE_SLOTS; ++index) {
        if (address - ek_board_slots.slot_address[index] < EK_SLOT_BYTES) {
            return index;
        }
    }
    return EK_UPDATE_NO_SLOT;
}

_Noreturn void ek_board_restart(void) {
    for (volatile uint32_t i = 0; i < PAUSE; ++i) {
    }
    __asm volatile("dsb" ::: "memory");
    AIRCR = AIRCR_KEY_RESET;
    for (;;) {
    }
}
