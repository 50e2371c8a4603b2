/* What the start-up code offers to the program. */
#ifndef EDGEKIT_FIRMWARE_STARTUP_H
#define EDGEKIT_FIRMWARE_STARTUP_H

#include <stdint.h>

/* Called on every fault; the program may define it. Must not return. */
void ek_fault(void);

/* The SysTick exception; the program may define it. */
void ek_systick_handler(void);

/* The interrupt of the serial port, where EK_UART_INTERRUPT gives its number. */
void ek_uart_handler(void);

/* Paint the part of the stack below the caller again. */
void ek_stack_repaint(void);

/* Bytes of the stack that have been written since it was painted, counted from its top. */
uint32_t ek_stack_used_bytes(void);

#endif
