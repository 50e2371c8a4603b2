/* Inference over the serial port (docs/serial-protocol.md).
 *
 * EK_BAUD: rate of the port; EK_BOARD: header of the board. monitor_model.c, which is generated
 * with the model, describes it.
 */
#include "../monitor/monitor.h"
#include "board.h"
#include "firmware_model.h"
#include "ticks.h"
#include "uart.h"

#include EK_BOARD
#ifdef EK_SLOT_BYTES
#include "slots.h"
static ek_monitor_update update;
#endif

#define SYSTICK_PERIOD (1u << 24)

extern const char *const ek_monitor_model_name;
extern const ek_monitor_tensor ek_monitor_tensors[];

extern const uint8_t ek_flash_low[];
extern const uint8_t ek_image_end[];

static ek_monitor_model model;
static ek_monitor monitor;
static int32_t is_damaged;

static void check_image(void) {
    const size_t bytes = (size_t)(ek_image_end - ek_flash_low);
    is_damaged = ek_crc32(0, ek_flash_low, bytes) != ek_get_u32(ek_image_end);
}

static ek_status init(void) { return is_damaged ? EK_STATUS_CORRUPT : EK_MODEL_INIT(); }

static ek_status run(void) { return is_damaged ? EK_STATUS_CORRUPT : EK_MODEL_RUN(); }

static void send(void *context, const uint8_t *data, size_t bytes) {
    (void)context;
    for (size_t i = 0; i < bytes; ++i) {
        ek_uart_write(data[i]);
    }
}

int main(void) {
    const uint32_t clock_hz = ek_board_start();
    ek_uart_start(clock_hz, EK_BAUD);
    check_image();
    ek_ticks_start(SYSTICK_PERIOD);
    model = (ek_monitor_model){
        .name = ek_monitor_model_name,
        .inputs = EK_MODEL_INPUTS,
        .outputs = EK_MODEL_OUTPUTS,
        .tensors = ek_monitor_tensors,
        .init = init,
        .run = run,
        .tensor = EK_MODEL_TENSOR,
        .ticks = ek_ticks,
        .clock_hz = clock_hz,
    };
    monitor.model = &model;
    monitor.write = send;
#ifdef EK_SLOT_BYTES
    update.flash = ek_board_flash;
    update.layout = ek_board_slots;
    update.running = ek_slot_of((uint32_t)(uintptr_t)ek_flash_low);
    monitor.update = &update;
    monitor.restart = ek_board_restart;
#endif
    for (;;) {
        const int32_t byte = ek_uart_read();
        if (byte >= 0) {
            ek_monitor_feed(&monitor, (uint8_t)byte);
        } else {
            ek_uart_wait();
        }
    }
}
