/* USART of STM32 families since F0 (RM0385, RM0432, RM0433, RM0455, RM0456, "Universal synchronous
 * receiver transmitter"); the FIFO that some have stays off. */
#include "board.h"
#include EK_BOARD
#include "uart.h"

#define CR1 EK_REGISTER(EK_USART1 + 0x00u)
#define CR2 EK_REGISTER(EK_USART1 + 0x04u)
#define CR3 EK_REGISTER(EK_USART1 + 0x08u)
#define BRR EK_REGISTER(EK_USART1 + 0x0Cu)
#define ISR EK_REGISTER(EK_USART1 + 0x1Cu)
#define RDR EK_REGISTER(EK_USART1 + 0x24u)
#define TDR EK_REGISTER(EK_USART1 + 0x28u)

#define ISR_RECEIVED (1u << 5)
#define ISR_TAKES (1u << 7)
#define CR1_ENABLE_BOTH_WAYS ((1u << 0) | (1u << 2) | (1u << 3))
#define CR1_INTERRUPT_AT_BYTE (1u << 5)
/* An overrun would stop reception until it is cleared; a lost byte is found by the frame's CRC. */
#define CR3_NO_OVERRUN (1u << 12)

void ek_uart_open(uint32_t clock_hz, uint32_t baud) {
    CR1 = 0;
    CR2 = 0;
    CR3 = CR3_NO_OVERRUN;
    BRR = (clock_hz + baud / 2u) / baud;
    CR1 = CR1_ENABLE_BOTH_WAYS | CR1_INTERRUPT_AT_BYTE;
}

void ek_uart_write(uint8_t byte) {
    while ((ISR & ISR_TAKES) == 0) {
    }
    TDR = byte;
}

int32_t ek_uart_fetch(void) { return (ISR & ISR_RECEIVED) == 0 ? -1 : (int32_t)(RDR & 0xFFu); }
