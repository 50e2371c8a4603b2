#include "uart.h"

#include EK_BOARD
#include "startup.h"

#define NVIC_ENABLE ((volatile uint32_t *)0xE000E100u)

/* More than a frame, so that a repeated request is whole even if it comes during a computation. */
#define KEPT_BYTES 512u

static volatile uint8_t kept[KEPT_BYTES];
static volatile uint32_t first;
static volatile uint32_t end;

void ek_uart_start(uint32_t clock_hz, uint32_t baud) {
    ek_uart_open(clock_hz, baud);
    NVIC_ENABLE[EK_UART_INTERRUPT / 32u] = 1u << (EK_UART_INTERRUPT % 32u);
}

/* A byte for which there is no room is lost; the frame's CRC tells. */
void ek_uart_handler(void) {
    int32_t byte;
    while ((byte = ek_uart_fetch()) >= 0) {
        const uint32_t next = (end + 1u) % KEPT_BYTES;
        if (next != first) {
            kept[end] = (uint8_t)byte;
            end = next;
        }
    }
}

int32_t ek_uart_read(void) {
    if (first == end) {
        return -1;
    }
    const uint8_t byte = kept[first];
    first = (first + 1u) % KEPT_BYTES;
    return byte;
}

/* Masked interrupts wake the core, but are served only after the mask is gone: none gets lost
 * between the question and the sleep. */
void ek_uart_wait(void) {
    __asm volatile("cpsid i" ::: "memory");
    if (first == end) {
        __asm volatile("wfi" ::: "memory");
    }
    __asm volatile("cpsie i\n isb" ::: "memory");
}
