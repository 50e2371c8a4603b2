/* One serial port. The board's driver moves bytes, uart.c keeps those that arrive in between. */
#ifndef EDGEKIT_FIRMWARE_UART_H
#define EDGEKIT_FIRMWARE_UART_H

#include <stdint.h>

/* Start the port: 8 data bits, no parity, one stop bit. `clock_hz` is what its divider gets. */
void ek_uart_start(uint32_t clock_hz, uint32_t baud);

/* Wait until the byte is taken. */
void ek_uart_write(uint8_t byte);

/* Return the next byte, or -1 where none has arrived. */
int32_t ek_uart_read(void);

/* Sleep until a byte or another interrupt comes; does not sleep where one is there. */
void ek_uart_wait(void);

/* What a driver offers to uart.c: start with an interrupt at every byte; fetch one, or -1. */
void ek_uart_open(uint32_t clock_hz, uint32_t baud);
int32_t ek_uart_fetch(void);

#endif
