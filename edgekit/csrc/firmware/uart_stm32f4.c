/* USART of STM32F4 (RM0090, "Universal synchronous asynchronous receiver transmitter"). */
#include "board.h"
#include EK_BOARD
#include "uart.h"

#define SR EK_REGISTER(EK_USART1 + 0x00u)
#define DR EK_REGISTER(EK_USART1 + 0x04u)
#define BRR EK_REGISTER(EK_USART1 + 0x08u)
#define CR1 EK_REGISTER(EK_USART1 + 0x0Cu)

#define SR_RECEIVED (1u << 5)
#define SR_TAKES (1u << 7)
#define CR1_ENABLE_BOTH_WAYS ((1u << 13) | (1u << 3) | (1u << 2))
#define CR1_INTERRUPT_AT_BYTE (1u << 5)

void ek_uart_open(uint32_t clock_hz, uint32_t baud) {
    BRR = (clock_hz + baud / 2u) / baud;
    CR1 = CR1_ENABLE_BOTH_WAYS | CR1_INTERRUPT_AT_BYTE;
}

void ek_uart_write(uint8_t byte) {
    while ((SR & SR_TAKES) == 0) {
    }
    DR = byte;
}

/* Reading SR, then DR also clears an overrun. */
int32_t ek_uart_fetch(void) { return (SR & SR_RECEIVED) == 0 ? -1 : (int32_t)(DR & 0xFFu); }
