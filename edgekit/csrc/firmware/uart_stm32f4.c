/* USART1 of STM32F405 on pins PA9 and PA10, the port of its ROM bootloader (RM0090 chapters 7, 8,
 * 30; AN2606). The core runs from the internal oscillator that it starts with: 16 MHz. */
#include "uart.h"

#define RCC_AHB1ENR (*(volatile uint32_t *)0x40023830u)
#define RCC_APB2ENR (*(volatile uint32_t *)0x40023844u)
#define GPIOA_MODER (*(volatile uint32_t *)0x40020000u)
#define GPIOA_AFRH (*(volatile uint32_t *)0x40020024u)
#define USART_SR (*(volatile uint32_t *)0x40011000u)
#define USART_DR (*(volatile uint32_t *)0x40011004u)
#define USART_BRR (*(volatile uint32_t *)0x40011008u)
#define USART_CR1 (*(volatile uint32_t *)0x4001100Cu)

#define AHB1_GPIOA 1u
#define APB2_USART1 (1u << 4)
#define PINS_ALTERNATE ((2u << 18) | (2u << 20))
#define PINS_MODE_MASK ((3u << 18) | (3u << 20))
#define PINS_AF7 ((7u << 4) | (7u << 8))
#define PINS_AF_MASK ((15u << 4) | (15u << 8))
#define SR_RECEIVED (1u << 5)
#define SR_TAKES (1u << 7)
#define CR1_ENABLE_BOTH_WAYS ((1u << 13) | (1u << 3) | (1u << 2))

void ek_uart_start(uint32_t clock_hz, uint32_t baud) {
    RCC_AHB1ENR |= AHB1_GPIOA;
    RCC_APB2ENR |= APB2_USART1;
    GPIOA_MODER = (GPIOA_MODER & ~PINS_MODE_MASK) | PINS_ALTERNATE;
    GPIOA_AFRH = (GPIOA_AFRH & ~PINS_AF_MASK) | PINS_AF7;
    USART_BRR = (clock_hz + baud / 2u) / baud;
    USART_CR1 = CR1_ENABLE_BOTH_WAYS;
}

void ek_uart_write(uint8_t byte) {
    while ((USART_SR & SR_TAKES) == 0) {
    }
    USART_DR = byte;
}

int32_t ek_uart_read(void) {
    return (USART_SR & SR_RECEIVED) == 0 ? -1 : (int32_t)(USART_DR & 0xFFu);
}
