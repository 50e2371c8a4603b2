/* Arduino Nano 33 BLE, nRF52840 (product specification, "Memory", "UART"): pins TX and RX of the
 * board are P1.03 and P1.10. The core runs at 64 MHz from the oscillator that it starts with. */
#ifndef EDGEKIT_FIRMWARE_BOARDS_NANO33BLE_H
#define EDGEKIT_FIRMWARE_BOARDS_NANO33BLE_H

#define EK_CLOCK_HZ 64000000u
#define EK_UART0 0x40002000u
#define EK_UART_TX (32u + 3u)
#define EK_UART_RX (32u + 10u)
#define EK_UART_INTERRUPT 2u

#endif
