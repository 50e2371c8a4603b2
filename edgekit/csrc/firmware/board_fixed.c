/* A board whose port works as it is: pins belong to the port's registers, the clock is fixed. */
#include "board.h"
#include EK_BOARD

uint32_t ek_board_start(void) { return EK_CLOCK_HZ; }
