/* STM32: USART1 on pins PA9 and PA10 (alternate function 7), where the bootloader in ROM listens
 * too (AN2606). Registers of the GPIO port are the same in all families; the board's header says
 * where they lie. The clock stays what it is after reset.
 */
#include "board.h"
#include EK_BOARD

#define MODER EK_REGISTER(EK_GPIOA + 0x00u)
#define AFRH EK_REGISTER(EK_GPIOA + 0x24u)

/* Two bits a pin in MODER, 2: alternate function; four bits a pin in AFRH, which begins at pin 8.
 */
#define MODER_MASK ((3u << 18) | (3u << 20))
#define MODER_ALTERNATE ((2u << 18) | (2u << 20))
#define AFRH_MASK ((15u << 4) | (15u << 8))
#define AFRH_USART1 ((7u << 4) | (7u << 8))

static void enable(uint32_t address, uint32_t bit) {
    EK_REGISTER(address) |= 1u << bit;
    /* A peripheral answers two cycles later (errata of most families): read back. */
    (void)EK_REGISTER(address);
}

uint32_t ek_board_start(void) {
    enable(EK_GPIO_ENABLE, EK_GPIO_ENABLE_BIT);
    enable(EK_USART_ENABLE, EK_USART_ENABLE_BIT);
    AFRH = (AFRH & ~AFRH_MASK) | AFRH_USART1;
    MODER = (MODER & ~MODER_MASK) | MODER_ALTERNATE;
    return EK_CLOCK_HZ;
}
