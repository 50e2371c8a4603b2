/* Time by SysTick, which counts the core's clock or one derived from it.
 *
 * An emulator that lets virtual time advance by a fixed amount for each instruction (QEMU's
 * -icount) makes this an exact instruction counter.
 */
#ifndef EDGEKIT_FIRMWARE_TICKS_H
#define EDGEKIT_FIRMWARE_TICKS_H

#include <stdint.h>

/* Start counting from 0; `period` ticks (2 .. 2^24) from one interrupt to the next. */
void ek_ticks_start(uint32_t period);

/* Ticks since the start. */
uint64_t ek_ticks(void);

#endif
