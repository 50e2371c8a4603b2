#include "edgekit/version.h"

int32_t ek_abi_version(void) { return EK_ABI_VERSION; }
