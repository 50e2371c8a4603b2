/* Bootloader of a board with two slots: starts the image that is to run, else waits for one.
 *
 * It marks an image before its first start; one that does not confirm itself is left after that
 * (../monitor/update.h). It is never written itself.
 */
#include "../monitor/monitor.h"
#include "board.h"
#include "slots.h"
#include "uart.h"

#define VTOR EK_REGISTER(0xE000ED08u)

static ek_monitor monitor;
static ek_monitor_update update;

static void send(void *context, const uint8_t *data, size_t bytes) {
    (void)context;
    for (size_t i = 0; i < bytes; ++i) {
        ek_uart_write(data[i]);
    }
}

static _Noreturn void start(uint32_t table) {
    const uint32_t stack = EK_REGISTER(table);
    const uint32_t reset = EK_REGISTER(table + 4u);
    VTOR = table;
    __asm volatile("dsb\n msr msp, %0\n bx %1" ::"r"(stack), "r"(reset) : "memory");
    __builtin_unreachable();
}

int main(void) {
    const uint32_t slot = ek_update_select(&ek_board_flash, &ek_board_slots);
    if (slot != EK_UPDATE_NO_SLOT &&
        ek_update_mark_tried(&ek_board_flash, &ek_board_slots, slot) == EK_STATUS_OK) {
        start(ek_board_slots.slot_address[slot] + EK_UPDATE_IMAGE);
    }
    ek_uart_start(ek_board_start(), EK_BAUD);
    update.flash = ek_board_flash;
    update.layout = ek_board_slots;
    update.running = EK_UPDATE_NO_SLOT;
    monitor.update = &update;
    monitor.write = send;
    monitor.restart = ek_board_restart;
    for (;;) {
        const int32_t byte = ek_uart_read();
        if (byte >= 0) {
            ek_monitor_feed(&monitor, (uint8_t)byte);
        } else {
            ek_uart_wait();
        }
    }
}
