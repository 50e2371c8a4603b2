/* The smallest program around a model: what the model alone takes of a board's memories. */
#include "firmware_model.h"

volatile uint32_t ek_last_status;

int main(void) {
    ek_last_status = (uint32_t)EK_MODEL_INIT();
    for (;;) {
        ek_last_status = (uint32_t)EK_MODEL_RUN();
    }
}
