#include "edgekit/kernels.h"

ek_status ek_kernels_cortex_m_dsp(void) { return EK_STATUS_OK; }
