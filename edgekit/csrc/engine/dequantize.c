#include <string.h>

#include "quants.h"

static uint16_t read_u16(const uint8_t *bytes) {
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static float read_half(const uint8_t *bytes) { return ek_half_to_float(read_u16(bytes)); }

static void dequantize_q8_0(const uint8_t *block, float *out) {
    float scale = read_half(block);
    for (int i = 0; i < 32; i++) {
        out[i] = scale * (float)(int8_t)block[2 + i];
    }
}

static void dequantize_q4_0(const uint8_t *block, float *out) {
    float scale = read_half(block);
    for (int i = 0; i < 16; i++) {
        out[i] = scale * (float)((block[2 + i] & 15) - 8);
        out[i + 16] = scale * (float)((block[2 + i] >> 4) - 8);
    }
}

static void dequantize_q4_k(const uint8_t *block, float *out) {
    float scale = read_half(block);
    float scale_of_minima = read_half(block + 2);
    const uint8_t *packed = block + 4;
    for (int j = 0; j < 8; j++) {
        int s = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        int m = j < 4 ? packed[j + 4] & 63 : (packed[j + 4] >> 4) | (packed[j] >> 6) << 4;
        float step = scale * (float)s;
        float minimum = scale_of_minima * (float)m;
        const uint8_t *quants = block + 16 + (j / 2) * 32;
        for (int i = 0; i < 32; i++) {
            int q = j % 2 == 0 ? quants[i] & 15 : quants[i] >> 4;
            out[j * 32 + i] = step * (float)q - minimum;
        }
    }
}

static void dequantize_q6_k(const uint8_t *block, float *out) {
    float scale = read_half(block + 208);
    const int8_t *scales = (const int8_t *)(block + 192);
    for (int i = 0; i < 256; i++) {
        int half = i / 128;
        int quarter = i % 128 / 32;
        int low = block[half * 64 + (quarter % 2) * 32 + i % 32] >> (quarter / 2 * 4) & 15;
        int high = block[128 + half * 32 + i % 32] >> (quarter * 2) & 3;
        out[i] = scale * (float)scales[i / 16] * (float)((low | high << 4) - 32);
    }
}

static void dequantize_float(uint32_t type, const uint8_t *row, int32_t columns, float *out) {
    for (int32_t i = 0; i < columns; i++) {
        uint32_t bits;
        switch (type) {
        case EK_TYPE_F32:
            memcpy(&out[i], row + (int64_t)i * 4, sizeof(float));
            break;
        case EK_TYPE_F16:
            out[i] = read_half(row + (int64_t)i * 2);
            break;
        default: /* BF16 */
            bits = (uint32_t)read_u16(row + (int64_t)i * 2) << 16;
            memcpy(&out[i], &bits, sizeof bits);
        }
    }
}

void ek_dequantize_row(uint32_t type, const uint8_t *row, int32_t columns, float *out) {
    const ek_type *format = ek_type_find(type);
    if (format->columns == 1) {
        dequantize_float(type, row, columns, out);
        return;
    }
    for (int32_t i = 0; i < columns / format->columns; i++) {
        const uint8_t *block = row + (int64_t)i * format->bytes;
        float *values = out + (int64_t)i * format->columns;
        switch (type) {
        case EK_TYPE_Q8_0:
            dequantize_q8_0(block, values);
            break;
        case EK_TYPE_Q4_0:
            dequantize_q4_0(block, values);
            break;
        case EK_TYPE_Q4_K:
            dequantize_q4_k(block, values);
            break;
        default:
            dequantize_q6_k(block, values);
        }
    }
}
