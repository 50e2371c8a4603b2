/* Stands in front of the compiler's header: vectors of 512 bits in plain C (SIMDe), so that kernels
 * for processors that this computer is not run on it. */
#pragma once
#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
