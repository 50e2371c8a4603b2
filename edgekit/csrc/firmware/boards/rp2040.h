/* Raspberry Pi Pico: RP2040 data sheet, section 2.2 "Address map", 2.14.3 (bits of the resets).
 * 12 MHz x 133 / 6 / 2 = 133 MHz. */
#ifndef EDGEKIT_FIRMWARE_BOARDS_RP2040_H
#define EDGEKIT_FIRMWARE_BOARDS_RP2040_H

#define EK_RESETS 0x4000C000u
#define EK_CLOCKS 0x40008000u
#define EK_XOSC 0x40024000u
#define EK_PLL_SYS 0x40028000u
#define EK_IO_BANK0 0x40014000u
#define EK_PADS_BANK0 0x4001C000u
#define EK_UART0 0x40034000u
#define EK_RESET_IO_BANK0 5u
#define EK_RESET_PADS_BANK0 8u
#define EK_RESET_PLL_SYS 12u
#define EK_RESET_UART0 22u
#define EK_PLL_MULTIPLIER 133u
#define EK_PLL_DIVIDER_1 6u
#define EK_PLL_DIVIDER_2 2u
#define EK_UART_INTERRUPT 20u

#endif
