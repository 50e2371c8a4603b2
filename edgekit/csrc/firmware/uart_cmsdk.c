/* CMSDK APB UART of Arm's MPS2 and MPS3 boards (DDI 0479, "APB UART"). EK_UART_ADDRESS: the port.
 */
#include "uart.h"

#define REGISTER(offset) (*(volatile uint32_t *)((uintptr_t)EK_UART_ADDRESS + (offset)))
#define DATA REGISTER(0x00u)
#define STATE REGISTER(0x04u)
#define CTRL REGISTER(0x08u)
#define BAUDDIV REGISTER(0x10u)
#define STATE_WRITE_FULL 1u
#define STATE_READ_FULL 2u
#define CTRL_BOTH_WAYS 3u
#define BAUDDIV_LEAST 16u

void ek_uart_open(uint32_t clock_hz, uint32_t baud) {
    const uint32_t divider = clock_hz / baud;
    BAUDDIV = divider < BAUDDIV_LEAST ? BAUDDIV_LEAST : divider;
    CTRL = CTRL_BOTH_WAYS;
}

void ek_uart_write(uint8_t byte) {
    while ((STATE & STATE_WRITE_FULL) != 0) {
    }
    DATA = byte;
}

int32_t ek_uart_fetch(void) {
    return (STATE & STATE_READ_FULL) != 0 ? (int32_t)(DATA & 0xFFu) : -1;
}
