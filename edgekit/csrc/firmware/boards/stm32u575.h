/* STM32U575: RM0456, "Memory organization", "Reset and clock control"; non-secure addresses. */
#ifndef EDGEKIT_FIRMWARE_BOARDS_STM32U575_H
#define EDGEKIT_FIRMWARE_BOARDS_STM32U575_H

#define EK_CLOCK_HZ 4000000u       /* MSIS, range 4 */
#define EK_GPIO_ENABLE 0x46020C8Cu /* RCC_AHB2ENR1 */
#define EK_GPIO_ENABLE_BIT 0u
#define EK_USART_ENABLE 0x46020CA4u /* RCC_APB2ENR */
#define EK_USART_ENABLE_BIT 14u
#define EK_GPIOA 0x42020000u
#define EK_USART1 0x40013800u
#define EK_UART_INTERRUPT 61u

#endif
