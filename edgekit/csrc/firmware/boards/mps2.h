/* Arm MPS2 with AN386 as QEMU has it (Cortex-M4, 25 MHz): code memory is RAM, in which two slots
 * stand for flash. */
#ifndef EDGEKIT_FIRMWARE_BOARDS_MPS2_H
#define EDGEKIT_FIRMWARE_BOARDS_MPS2_H

#define EK_CLOCK_HZ 25000000u
#define EK_UART0 0x40004000u
#define EK_UART_INTERRUPT 0u
#define EK_SLOT_0 0x00100000u
#define EK_SLOT_1 0x00180000u
#define EK_SLOT_BYTES 0x00080000u

#endif
