/* Inference over the serial port (docs/serial-protocol.md).
 *
 * EK_CLOCK_HZ: what the core, SysTick and the port's divider run at; EK_BAUD: rate of the port.
 * monitor_model.c, which is generated with the model, describes it.
 */
#include "../monitor/monitor.h"
#include "firmware_model.h"
#include "ticks.h"
#include "uart.h"

#define SYSTICK_PERIOD (1u << 24)

extern const char *const ek_monitor_model_name;
extern const ek_monitor_tensor ek_monitor_tensors[];

static ek_monitor_model model;
static ek_monitor monitor;

static void send(void *context, const uint8_t *data, size_t bytes) {
    (void)context;
    for (size_t i = 0; i < bytes; ++i) {
        ek_uart_write(data[i]);
    }
}

int main(void) {
    ek_uart_start(EK_CLOCK_HZ, EK_BAUD);
    ek_ticks_start(SYSTICK_PERIOD);
    model = (ek_monitor_model){
        .name = ek_monitor_model_name,
        .inputs = EK_MODEL_INPUTS,
        .outputs = EK_MODEL_OUTPUTS,
        .tensors = ek_monitor_tensors,
        .init = EK_MODEL_INIT,
        .run = EK_MODEL_RUN,
        .tensor = EK_MODEL_TENSOR,
        .ticks = ek_ticks,
        .clock_hz = EK_CLOCK_HZ,
    };
    monitor.model = &model;
    monitor.write = send;
    for (;;) {
        const int32_t byte = ek_uart_read();
        if (byte >= 0) {
            ek_monitor_feed(&monitor, (uint8_t)byte);
        }
    }
}
