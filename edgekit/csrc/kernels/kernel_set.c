#include "edgekit/kernels.h"

ek_status ek_kernels_portable(void) { return EK_STATUS_OK; }
