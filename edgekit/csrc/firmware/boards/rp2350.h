/* Raspberry Pi Pico 2: RP2350 data sheet, "Address map", "Resets" (list of registers).
 * 12 MHz x 125 / 5 / 2 = 150 MHz. */
#ifndef EDGEKIT_FIRMWARE_BOARDS_RP2350_H
#define EDGEKIT_FIRMWARE_BOARDS_RP2350_H

#define EK_RESETS 0x40020000u
#define EK_CLOCKS 0x40010000u
#define EK_XOSC 0x40048000u
#define EK_PLL_SYS 0x40050000u
#define EK_IO_BANK0 0x40028000u
#define EK_PADS_BANK0 0x40038000u
#define EK_UART0 0x40070000u
#define EK_RESET_IO_BANK0 6u
#define EK_RESET_PADS_BANK0 9u
#define EK_RESET_PLL_SYS 14u
#define EK_RESET_UART0 26u
#define EK_PLL_MULTIPLIER 125u
#define EK_PLL_DIVIDER_1 5u
#define EK_PLL_DIVIDER_2 2u
#define EK_UART_INTERRUPT 33u

#endif
