/* The smallest program around a model: what the model alone takes of a board's memories. */
#include "firmware_model.h"

volatile uint32_t ek_last_status;

#ifdef EK_MODEL_READ_PART
/* Here a camera would be read. */
ek_status EK_MODEL_READ_PART(const ek_input_part *part, void *to) {
    (void)part;
    (void)to;
    return EK_STATUS_OK;
}
#endif

int main(void) {
    ek_last_status = (uint32_t)EK_MODEL_INIT();
    for (;;) {
        ek_last_status = (uint32_t)EK_MODEL_RUN();
    }
}
