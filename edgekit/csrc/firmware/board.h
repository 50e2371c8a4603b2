/* What a board needs before its serial port works. The board's file implements it. */
#ifndef EDGEKIT_FIRMWARE_BOARD_H
#define EDGEKIT_FIRMWARE_BOARD_H

#include <stdint.h>

#define EK_REGISTER(address) (*(volatile uint32_t *)(address))

/* Start clocks, connect the port to its pins. Returns the clock in Hz of core, SysTick and port. */
uint32_t ek_board_start(void);

#endif
