/* PrimeCell UART PL011 (Arm DDI 0183), as in RP2040 and RP2350. It holds 32 received bytes. */
#include "board.h"
#include EK_BOARD
#include "uart.h"

#define DATA EK_REGISTER(EK_UART0 + 0x00u)
#define FLAGS EK_REGISTER(EK_UART0 + 0x18u)
#define DIVIDER EK_REGISTER(EK_UART0 + 0x24u)
#define FRACTION EK_REGISTER(EK_UART0 + 0x28u)
#define LINE EK_REGISTER(EK_UART0 + 0x2Cu)
#define CONTROL EK_REGISTER(EK_UART0 + 0x30u)
#define INTERRUPTS EK_REGISTER(EK_UART0 + 0x38u)

#define FLAGS_NOTHING_RECEIVED (1u << 4)
#define FLAGS_FULL (1u << 5)
#define LINE_8_BITS_FIFO ((3u << 5) | (1u << 4))
/* Where half of the FIFO is full, or less is there and nothing more came for 32 bits. */
#define INTERRUPT_AT_BYTES_OR_PAUSE ((1u << 4) | (1u << 6))
#define CONTROL_BOTH_WAYS ((1u << 0) | (1u << 8) | (1u << 9))

void ek_uart_open(uint32_t clock_hz, uint32_t baud) {
    /* clock / (16 baud), in 64ths, rounded. A write to LINE takes the divider over. */
    const uint32_t divider_64ths = (4u * clock_hz + baud / 2u) / baud;
    CONTROL = 0;
    DIVIDER = divider_64ths / 64u;
    FRACTION = divider_64ths % 64u;
    LINE = LINE_8_BITS_FIFO;
    CONTROL = CONTROL_BOTH_WAYS;
    INTERRUPTS = INTERRUPT_AT_BYTES_OR_PAUSE;
}

void ek_uart_write(uint8_t byte) {
    while ((FLAGS & FLAGS_FULL) != 0) {
    }
    DATA = byte;
}

int32_t ek_uart_fetch(void) {
    return (FLAGS & FLAGS_NOTHING_RECEIVED) != 0 ? -1 : (int32_t)(DATA & 0xFFu);
}
