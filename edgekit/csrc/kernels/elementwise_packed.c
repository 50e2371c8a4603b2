#include "packed_values.h"
#include "plane.h"

/* Values are unpacked some at a time, which is a whole number of bytes of all of them. */
enum { CHUNK = 64 };

/* Rows of values without bits between them: pixels, or one row of all values. */
typedef struct shape {
    int32_t rows;
    int32_t columns;
} shape;

/* `bits` is the least of those of all tensors. */
static shape shape_of(int32_t pixels, int32_t channels, int32_t bits) {
    return (channels * bits & 7) == 0 ? (shape){1, pixels * channels} : (shape){pixels, channels};
}

/* Bytes of values, unpacked into `memory` where they are not bytes. */
static const int8_t *bytes_of(const uint8_t *from, int32_t bits, int32_t count, int8_t *memory) {
    if (bits == 8) {
        return (const int8_t *)from;
    }
    ek_unpack(from, bits, count, memory);
    return memory;
}

ek_status ek_add_packed(const ek_add_packed_params *params, const void *first, const void *second,
                        void *output) {
    const int32_t first_bits = params->first_bits, second_bits = params->second_bits;
    const int32_t bits = params->output_bits;
    const shape over = shape_of(params->pixels, params->channels,
                                ek_least(bits, ek_least(first_bits, second_bits)));
    const uint8_t *a = first, *b = second;
    uint8_t *to = output;
    int8_t a_bytes[CHUNK], b_bytes[CHUNK];
    ek_binary_s8_params chunk = params->base;
    for (int32_t axis = 0; axis < EK_KERNEL_AXES; axis++) {
        chunk.dims[axis] = 1;
        chunk.first_strides[axis] = chunk.second_strides[axis] = 1;
    }
    for (int32_t row = 0; row < over.rows; row++) {
        for (int32_t left = over.columns; left > 0; left -= CHUNK) {
            const int32_t count = ek_least(left, CHUNK);
            chunk.dims[EK_KERNEL_AXES - 1] = count;
            int8_t *sums = bits == 8 ? (int8_t *)to : a_bytes;
            (void)ek_add_s8(&chunk, bytes_of(a, first_bits, count, a_bytes),
                            bytes_of(b, second_bits, count, b_bytes), sums);
            if (bits < 8) {
                ek_pack(sums, count, bits, to);
            }
            a += ek_values_bytes(count, first_bits);
            b += ek_values_bytes(count, second_bits);
            to += ek_values_bytes(count, bits);
        }
    }
    return EK_STATUS_OK;
}

ek_status ek_lookup_packed(const ek_lookup_packed_params *params, const void *input, void *output) {
    const int32_t bits = params->output_bits;
    const shape over =
        shape_of(params->pixels, params->channels, ek_least(bits, params->input_bits));
    const int8_t *middle = params->table + ek_highest(params->input_bits) + 1;
    const uint8_t *from = input;
    uint8_t *to = output;
    int8_t bytes[CHUNK];
    for (int32_t row = 0; row < over.rows; row++) {
        for (int32_t left = over.columns; left > 0; left -= CHUNK) {
            const int32_t count = ek_least(left, CHUNK);
            ek_unpack(from, params->input_bits, count, bytes);
            for (int32_t i = 0; i < count; i++) {
                bytes[i] = middle[bytes[i]];
            }
            ek_pack(bytes, count, bits, to);
            from += ek_values_bytes(count, params->input_bits);
            to += ek_values_bytes(count, bits);
        }
    }
    return EK_STATUS_OK;
}
