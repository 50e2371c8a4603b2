#include <string.h>

#include "quants.h"

float ek_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half >> 15) << 31;
    uint32_t exponent = (half >> 10) & 31;
    uint32_t mantissa = half & 1023;
    uint32_t bits;
    float value;
    if (exponent == 31) {
        /* Quiet, as the instruction of x86 and Arm makes it. */
        bits = sign | 0x7F800000u | (mantissa << 13) | (mantissa != 0 ? 0x400000u : 0u);
    } else if (exponent != 0) {
        bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
    } else {
        /* Subnormal halves are whole multiples of 2^-24. */
        value = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t ek_float_to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = (bits >> 16) & 0x8000;
    uint32_t magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) {
        return (uint16_t)(sign | 0x7E00 | ((magnitude >> 13) & 0x3FF));
    }
    if (magnitude >= 0x477FF000) { /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7C00);
    }
    if (magnitude < 0x38800000) { /* subnormal: the adder of floats rounds to even */
        float absolute;
        memcpy(&absolute, &magnitude, sizeof absolute);
        absolute += 0.5f;
        memcpy(&magnitude, &absolute, sizeof magnitude);
        return (uint16_t)(sign | (magnitude - 0x3F000000));
    }
    magnitude += 0xC8000FFF + ((magnitude >> 13) & 1);
    return (uint16_t)(sign | (magnitude >> 13));
}
