#include "packed_values.h"
#include "plane.h"

/* Values are unpacked some at a time, which is a whole number of bytes of all of them. */
enum { CHUNK = 64 };

/* Fields of 4 bits; how many values for each entry of a table of sums make up for filling it. */
enum { FIELDS = 16, WORTHWHILE = 2 };

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

/* Sums some values at a time, as bytes. */
EK_APART void add_chunks(const ek_add_packed_params *params, const uint8_t *first,
                         const uint8_t *second, uint8_t *output) {
    const int32_t first_bits = params->first_bits, second_bits = params->second_bits;
    const int32_t bits = params->output_bits;
    const shape over = shape_of(params->pixels, params->channels,
                                ek_least(bits, ek_least(first_bits, second_bits)));
    int8_t first_bytes[CHUNK], second_bytes[CHUNK];
    ek_binary_s8_params chunk = params->base;
    for (int32_t axis = 0; axis < EK_KERNEL_AXES; axis++) {
        chunk.dims[axis] = 1;
        chunk.first_strides[axis] = chunk.second_strides[axis] = 1;
    }
    for (int32_t row = 0; row < over.rows; row++) {
        for (int32_t left = over.columns; left > 0; left -= CHUNK) {
            const int32_t count = ek_least(left, CHUNK);
            chunk.dims[EK_KERNEL_AXES - 1] = count;
            int8_t *sums = bits == 8 ? (int8_t *)output : first_bytes;
            (void)ek_add_s8(&chunk, bytes_of(first, first_bits, count, first_bytes),
                            bytes_of(second, second_bits, count, second_bytes), sums);
            if (bits < 8) {
                ek_pack(sums, count, bits, output);
            }
            first += ek_values_bytes(count, first_bits);
            second += ek_values_bytes(count, second_bits);
            output += ek_values_bytes(count, bits);
        }
    }
}

/* The values of all fields. */
static const int8_t *values_of(int32_t bits) {
    static const int8_t nibbles[FIELDS] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    static const int8_t quarters[] = {0, 1, -2, -1};
    return bits == 4 ? nibbles : quarters;
}

/* What operands that have 4 or 2 bits both can sum up to: fields of the output, those of a field
 * of the second operand one after the other. */
EK_APART void fill_table(const ek_add_packed_params *params, uint8_t *table) {
    const int32_t first_bits = params->first_bits, second_bits = params->second_bits;
    ek_binary_s8_params all = params->base;
    for (int32_t axis = 0; axis < EK_KERNEL_AXES; axis++) {
        all.dims[axis] = 1;
        all.first_strides[axis] = all.second_strides[axis] = 0;
    }
    all.dims[EK_KERNEL_AXES - 2] = 1 << second_bits;
    all.dims[EK_KERNEL_AXES - 1] = 1 << first_bits;
    all.first_strides[EK_KERNEL_AXES - 1] = all.second_strides[EK_KERNEL_AXES - 2] = 1;
    (void)ek_add_s8(&all, values_of(first_bits), values_of(second_bits), (int8_t *)table);
    for (int32_t i = 0; i < 1 << (first_bits + second_bits); i++) {
        table[i] &= (uint8_t)((1 << params->output_bits) - 1);
    }
}

/* Sums bytes of two values of 4 bits. */
static void add_nibbles(const uint8_t *first, const uint8_t *second, int32_t bytes,
                        const uint8_t *table, uint8_t *output) {
    for (; bytes > 0; bytes--) {
        const uint32_t a = *first++, b = *second++;
        const uint32_t low = table[(a & 15) | (b & 15) << 4];
        *output++ = (uint8_t)(low | (uint32_t)table[a >> 4 | (b & 0xF0u)] << 4);
    }
}

/* Sums values one by one. */
static void add_fields(const ek_add_packed_params *params, const uint8_t *first,
                       const uint8_t *second, int32_t count, const uint8_t *table,
                       uint8_t *output) {
    const int32_t first_bits = params->first_bits, second_bits = params->second_bits;
    uint32_t byte = 0;
    int32_t place = 0;
    for (int32_t i = 0; i < count; i++) {
        const int32_t field =
            ek_field_at(first, i, first_bits) | ek_field_at(second, i, second_bits) << first_bits;
        byte |= (uint32_t)table[field] << place;
        place += params->output_bits;
        if (place == 8 || i == count - 1) {
            *output++ = (uint8_t)byte;
            byte = 0;
            place = 0;
        }
    }
}

/* Looks sums up. */
EK_APART void add_by_table(const ek_add_packed_params *params, const uint8_t *first,
                           const uint8_t *second, uint8_t *output) {
    const int32_t least =
        ek_least(params->output_bits, ek_least(params->first_bits, params->second_bits));
    const int32_t has_nibbles =
        least == 4 && params->output_bits + params->first_bits + params->second_bits == 12;
    const shape over = shape_of(params->pixels, params->channels, least);
    uint8_t table[FIELDS * FIELDS];
    fill_table(params, table);
    for (int32_t row = 0; row < over.rows; row++) {
        /* What is left over of the last byte of a pixel need not be zero. */
        const int32_t pairs = has_nibbles ? over.columns / 2 : 0, rest = over.columns - 2 * pairs;
        add_nibbles(first, second, pairs, table, output);
        add_fields(params, first + pairs, second + pairs, rest, table, output + pairs);
        first += ek_values_bytes(over.columns, params->first_bits);
        second += ek_values_bytes(over.columns, params->second_bits);
        output += ek_values_bytes(over.columns, params->output_bits);
    }
}

ek_status ek_add_packed(const ek_add_packed_params *params, const void *first, const void *second,
                        void *output) {
    const int32_t is_narrow = params->first_bits < 8 && params->second_bits < 8;
    const int32_t sums = 1 << (params->first_bits + params->second_bits);
    if (is_narrow && params->pixels * params->channels >= WORTHWHILE * sums) {
        add_by_table(params, first, second, output);
    } else {
        add_chunks(params, first, second, output);
    }
    return EK_STATUS_OK;
}

/* Looks `count` values up, from whole bytes to whole bytes. */
static void look_up(const int8_t *table, const uint8_t *from, int32_t input_bits, int32_t count,
                    int32_t bits, uint8_t *to) {
    const uint32_t sign = 1u << (input_bits - 1), mask = (1u << bits) - 1u;
    uint32_t fields = 0, byte = 0;
    int32_t unread = 0, place = 0;
    for (; count > 0; count--) {
        if (unread == 0) {
            fields = *from++;
            unread = 8;
        }
        byte |= ((uint32_t)table[(fields & (2 * sign - 1)) ^ sign] & mask) << place;
        fields >>= input_bits;
        unread -= input_bits;
        place += bits;
        if (place == 8 || count == 1) {
            *to++ = (uint8_t)byte;
            byte = 0;
            place = 0;
        }
    }
}

/* The same by two values, which change to or from 4 bits. */
EK_INLINED void look_up_twos(const int8_t *table, const uint8_t *from, int32_t input_bits,
                             int32_t twos, int32_t bits, uint8_t *to) {
    for (; twos > 0; twos--, from += input_bits / 4, to += bits / 4) {
        const int32_t first = table[input_bits == 4 ? (from[0] & 15) ^ 8 : from[0] ^ 128];
        const int32_t second = table[input_bits == 4 ? (from[0] >> 4) ^ 8 : from[1] ^ 128];
        if (bits == 4) {
            *to = (uint8_t)((first & 15) | second * 16);
        } else {
            to[0] = (uint8_t)first;
            to[1] = (uint8_t)second;
        }
    }
}

ek_status ek_lookup_packed(const ek_lookup_packed_params *params, const void *input, void *output) {
    const int32_t input_bits = params->input_bits, bits = params->output_bits;
    const shape over = shape_of(params->pixels, params->channels, ek_least(bits, input_bits));
    const int8_t *table = params->table;
    const uint8_t *from = input;
    uint8_t *to = output;
    for (int32_t row = 0; row < over.rows; row++) {
        int32_t twos = over.columns / 2;
        if (input_bits == 4 && bits == 4) {
            look_up_twos(table, from, 4, twos, 4, to);
        } else if (input_bits == 4 && bits == 8) {
            look_up_twos(table, from, 4, twos, 8, to);
        } else if (input_bits == 8 && bits == 4) {
            look_up_twos(table, from, 8, twos, 4, to);
        } else {
            twos = 0;
        }
        look_up(table, from + twos * input_bits / 4, input_bits, over.columns - 2 * twos, bits,
                to + twos * bits / 4);
        from += ek_values_bytes(over.columns, input_bits);
        to += ek_values_bytes(over.columns, bits);
    }
    return EK_STATUS_OK;
}
