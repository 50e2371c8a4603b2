/* CMSDK APB UART of Arm's MPS2 and MPS3 boards (DDI 0479, "APB UART"). It holds one byte. */
#include "board.h"
#include EK_BOARD
#include "uart.h"

#define DATA EK_REGISTER(EK_UART0 + 0x00u)
#define STATE EK_REGISTER(EK_UART0 + 0x04u)
#define CONTROL EK_REGISTER(EK_UART0 + 0x08u)
#define INTERRUPTS EK_REGISTER(EK_UART0 + 0x0Cu)
#define DIVIDER EK_REGISTER(EK_UART0 + 0x10u)

#define STATE_WRITE_FULL 1u
#define STATE_READ_FULL 2u
#define CONTROL_BOTH_WAYS 3u
#define CONTROL_INTERRUPT_AT_BYTE (1u << 3)
#define INTERRUPT_RECEIVED 2u
#define DIVIDER_LEAST 16u

void ek_uart_open(uint32_t clock_hz, uint32_t baud) {
    const uint32_t divider = clock_hz / baud;
    DIVIDER = divider < DIVIDER_LEAST ? DIVIDER_LEAST : divider;
    CONTROL = CONTROL_BOTH_WAYS | CONTROL_INTERRUPT_AT_BYTE;
}

void ek_uart_write(uint8_t byte) {
    while ((STATE & STATE_WRITE_FULL) != 0) {
    }
    DATA = byte;
}

int32_t ek_uart_fetch(void) {
    INTERRUPTS = INTERRUPT_RECEIVED; /* writing clears it; the next byte sets it again */
    return (STATE & STATE_READ_FULL) != 0 ? (int32_t)(DATA & 0xFFu) : -1;
}
