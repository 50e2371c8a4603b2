/* One serial port, polled. The board's file implements it. */
#ifndef EDGEKIT_FIRMWARE_UART_H
#define EDGEKIT_FIRMWARE_UART_H

#include <stdint.h>

/* Set the rate; 8 data bits, no parity, one stop bit. `clock_hz` is what the port's divider gets.
 */
void ek_uart_start(uint32_t clock_hz, uint32_t baud);

/* Wait until the byte is taken. */
void ek_uart_write(uint8_t byte);

/* Return the next byte, or -1 where none has arrived. */
int32_t ek_uart_read(void);

#endif
