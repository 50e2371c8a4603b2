/* UART of nRF51 and nRF52 without EasyDMA (nRF52840 product specification, "UART"). It holds six
 * received bytes. The rate is that of the board's header, whatever the clock. */
#include "board.h"
#include EK_BOARD
#include "uart.h"

#define START_RECEIVING EK_REGISTER(EK_UART0 + 0x000u)
#define START_SENDING EK_REGISTER(EK_UART0 + 0x008u)
#define RECEIVED EK_REGISTER(EK_UART0 + 0x108u)
#define SENT EK_REGISTER(EK_UART0 + 0x11Cu)
#define INTERRUPTS EK_REGISTER(EK_UART0 + 0x304u)
#define ENABLE EK_REGISTER(EK_UART0 + 0x500u)
#define PIN_TX EK_REGISTER(EK_UART0 + 0x50Cu)
#define PIN_RX EK_REGISTER(EK_UART0 + 0x514u)
#define RX_DATA EK_REGISTER(EK_UART0 + 0x518u)
#define TX_DATA EK_REGISTER(EK_UART0 + 0x51Cu)
#define RATE EK_REGISTER(EK_UART0 + 0x524u)
#define CONFIG EK_REGISTER(EK_UART0 + 0x56Cu)

#define ENABLED 4u
#define INTERRUPT_AT_BYTE (1u << 2)
#define RATE_MASK 0xFFFFF000u

void ek_uart_open(uint32_t clock_hz, uint32_t baud) {
    (void)clock_hz;
    PIN_TX = EK_UART_TX;
    PIN_RX = EK_UART_RX;
    CONFIG = 0; /* no parity, no flow control */
    /* A fraction of 16 MHz in 32 bits, of which the lowest 12 are not there: rounded. The factor
     * is 2^32 / 16,000,000 = 268.4354..., here 268 + 7 / 16. */
    RATE = (268u * baud + 7u * baud / 16u + 0x800u) & RATE_MASK;
    ENABLE = ENABLED;
    INTERRUPTS = INTERRUPT_AT_BYTE;
    START_RECEIVING = 1;
    START_SENDING = 1;
}

void ek_uart_write(uint8_t byte) {
    SENT = 0;
    TX_DATA = byte;
    while (SENT == 0) {
    }
}

int32_t ek_uart_fetch(void) {
    if (RECEIVED == 0) {
        return -1;
    }
    RECEIVED = 0; /* before the data is taken: the next byte sets it again */
    return (int32_t)(RX_DATA & 0xFFu);
}
