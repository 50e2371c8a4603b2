/* Q4_K and Q6_K: each 32-bit lane is a row. See kernels.h for the arithmetic. */
#include "blocks.h"

enum { TILE = 4 };

typedef struct k_tile {
    const int8_t *values[TILE];
    const int16_t *sums[TILE];
    const float *scales[TILE];
} k_tile;

typedef void (*k_step)(const uint8_t *block, const k_tile *at, int32_t b, int tokens,
                       __m256 totals[TILE]);

/* Byte `index` of every lane as two equal 16-bit values; unsigned, below 128. */
EK_INLINE __m256i spread_byte(__m256i words, int index) {
    const int zero = 0x80 << 8 | (int)(0x80u << 24);
    const __m256i lanes =
        _mm256_setr_epi32(0, 0x040004, 0x080008, 0x0C000C, 0, 0x040004, 0x080008, 0x0C000C);
    __m256i control = _mm256_add_epi32(lanes, _mm256_set1_epi32(index | index << 16 | zero));
    return _mm256_shuffle_epi8(words, control);
}

/* Bytes `first` and `second` of every lane as two signed 16-bit values. */
EK_INLINE __m256i widen_bytes(__m256i words, int first, int second) {
    const __m256i lanes = _mm256_setr_epi32(0, 0x04000400, 0x08000800, 0x0C000C00, 0, 0x04000400,
                                            0x08000800, 0x0C000C00);
    int bytes = 0x80 | first << 8 | 0x80 << 16 | second << 24;
    __m256i control = _mm256_add_epi32(lanes, _mm256_set1_epi32(bytes));
    return _mm256_srai_epi16(_mm256_shuffle_epi8(words, control), 8);
}

/* 32 columns of each nibble: the sums of products, in pairs of columns. */
EK_INLINE void q4_k_pairs(const uint8_t *words, const k_tile *at, int64_t column, int tokens,
                          __m256i low_sums[TILE], __m256i high_sums[TILE]) {
    const __m256i nibbles = _mm256_set1_epi8(15);
    for (int w = 0; w < 8; w++) {
        __m256i both = ek_load(words + w * 32);
        __m256i low = _mm256_and_si256(both, nibbles);
        __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibbles);
        for (int t = 0; t < tokens; t++) {
            const int8_t *x = at->values[t] + column + w * 4;
            __m256i first = _mm256_maddubs_epi16(low, ek_broadcast_word(x));
            __m256i second = _mm256_maddubs_epi16(high, ek_broadcast_word(x + 32));
            low_sums[t] = w == 0 ? first : _mm256_add_epi16(low_sums[t], first);
            high_sums[t] = w == 0 ? second : _mm256_add_epi16(high_sums[t], second);
            EK_KEEP(low_sums[t]);
            EK_KEEP(high_sums[t]);
        }
    }
}

typedef struct k_scales {
    __m256i scales[2]; /* bytes: 0 .. 3 and 4 .. 7 */
    __m256i minima[2];
} k_scales;

EK_INLINE k_scales unpack_scales(const uint8_t *packed) {
    const __m256i six = _mm256_set1_epi8(63);
    const __m256i four = _mm256_set1_epi8(15);
    const __m256i top = _mm256_set1_epi8(48);
    __m256i first = ek_load(packed);
    __m256i second = ek_load(packed + 32);
    __m256i third = ek_load(packed + 64);
    k_scales found;
    found.scales[0] = _mm256_and_si256(first, six);
    found.minima[0] = _mm256_and_si256(second, six);
    found.scales[1] = _mm256_or_si256(_mm256_and_si256(third, four),
                                      _mm256_and_si256(_mm256_srli_epi16(first, 2), top));
    found.minima[1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(third, 4), four),
                                      _mm256_and_si256(_mm256_srli_epi16(second, 2), top));
    return found;
}

EK_INLINE void step_q4_k(const uint8_t *block, const k_tile *at, int32_t b, int tokens,
                         __m256 totals[TILE]) {
    k_scales factors = unpack_scales(block + 4 * EK_ROW_GROUP);
    const uint8_t *words = block + 16 * EK_ROW_GROUP;
    __m256i sums[TILE];
    __m256i minima[TILE];
    for (int t = 0; t < tokens; t++) {
        sums[t] = minima[t] = _mm256_setzero_si256();
    }
    for (int j = 0; j < 8; j += 2) {
        __m256i low[TILE];
        __m256i high[TILE];
        q4_k_pairs(words + j * 4 * 32, at, (int64_t)b * 256 + j * 32, tokens, low, high);
        __m256i low_scale = spread_byte(factors.scales[j / 4], j % 4);
        __m256i high_scale = spread_byte(factors.scales[j / 4], j % 4 + 1);
        __m256i low_minimum = spread_byte(factors.minima[j / 4], j % 4);
        __m256i high_minimum = spread_byte(factors.minima[j / 4], j % 4 + 1);
        for (int t = 0; t < tokens; t++) {
            const int16_t *x = at->sums[t] + (int64_t)b * 16 + j * 2;
            sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(low[t], low_scale));
            sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(high[t], high_scale));
            __m256i first = _mm256_madd_epi16(low_minimum, ek_broadcast_word(x));
            __m256i second = _mm256_madd_epi16(high_minimum, ek_broadcast_word(x + 2));
            minima[t] = _mm256_add_epi32(minima[t], _mm256_add_epi32(first, second));
        }
    }
    __m256 steps = ek_load_halves(block);
    __m256 steps_of_minima = ek_load_halves(block + 2 * EK_ROW_GROUP);
    for (int t = 0; t < tokens; t++) {
        __m256 scale = _mm256_broadcast_ss(&at->scales[t][b]);
        __m256 step = _mm256_mul_ps(steps, scale);
        __m256 minimum = _mm256_mul_ps(steps_of_minima, scale);
        totals[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[t]), step, totals[t]);
        totals[t] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(minima[t]), minimum, totals[t]);
    }
}

/* Four columns of each quarter of 128, unsigned. */
EK_INLINE void q6_k_words(const uint8_t *low, const uint8_t *high, __m256i out[4]) {
    const __m256i nibbles = _mm256_set1_epi8(15);
    const __m256i top = _mm256_set1_epi8(48);
    __m256i first = ek_load(low);
    __m256i second = ek_load(low + 8 * 32);
    __m256i upper = ek_load(high);
    out[0] = _mm256_or_si256(_mm256_and_si256(first, nibbles),
                             _mm256_and_si256(_mm256_slli_epi16(upper, 4), top));
    out[1] = _mm256_or_si256(_mm256_and_si256(second, nibbles),
                             _mm256_and_si256(_mm256_slli_epi16(upper, 2), top));
    out[2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(first, 4), nibbles),
                             _mm256_and_si256(upper, top));
    out[3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(second, 4), nibbles),
                             _mm256_and_si256(_mm256_srli_epi16(upper, 2), top));
}

/* Products of pairs are at most 63 x 127 x 2 = 16,002: two of them fit 16 bits. */
EK_INLINE void step_q6_k(const uint8_t *block, const k_tile *at, int32_t b, int tokens,
                         __m256 totals[TILE]) {
    const uint8_t *low = block + 2 * EK_ROW_GROUP;
    const uint8_t *high = low + 128 * EK_ROW_GROUP;
    const uint8_t *factors = high + 64 * EK_ROW_GROUP;
    __m256i sums[TILE];
    __m256i offsets[TILE];
    for (int t = 0; t < tokens; t++) {
        sums[t] = offsets[t] = _mm256_setzero_si256();
    }
    for (int i = 0; i < 8; i++) {
        __m256i pair = widen_bytes(ek_load(factors + i / 2 * 32), i % 2 * 2, i % 2 * 2 + 1);
        for (int t = 0; t < tokens; t++) {
            __m256i x = ek_broadcast_word(at->sums[t] + (int64_t)b * 16 + i * 2);
            offsets[t] = _mm256_add_epi32(offsets[t], _mm256_madd_epi16(pair, x));
        }
    }
#pragma GCC unroll 4
    for (int part = 0; part < 4; part++) { /* 16 columns of each quarter of each half */
        int half = part / 2;
        __m256i scales[4];
        for (int quarter = 0; quarter < 4; quarter++) {
            int byte = quarter % 2 * 2 + part % 2;
            scales[quarter] =
                widen_bytes(ek_load(factors + (half * 2 + quarter / 2) * 32), byte, byte);
        }
#pragma GCC unroll 2
        for (int k = part * 4; k < part * 4 + 4; k += 2) { /* words of `high` */
            __m256i words[2][4];
            q6_k_words(low + (half * 8 + k) * 32, high + k * 32, words[0]);
            q6_k_words(low + (half * 8 + k + 1) * 32, high + (k + 1) * 32, words[1]);
            for (int t = 0; t < tokens; t++) {
                const int8_t *x = at->values[t] + (int64_t)b * 256 + half * 128 + k % 8 * 4;
                for (int quarter = 0; quarter < 4; quarter++) {
                    const int8_t *columns = x + quarter * 32;
                    __m256i pairs = _mm256_add_epi16(
                        _mm256_maddubs_epi16(words[0][quarter], ek_broadcast_word(columns)),
                        _mm256_maddubs_epi16(words[1][quarter], ek_broadcast_word(columns + 4)));
                    __m256i whole = _mm256_madd_epi16(pairs, scales[quarter]);
                    sums[t] = _mm256_add_epi32(sums[t], whole);
                    EK_KEEP(sums[t]);
                }
            }
        }
    }
    __m256 steps = ek_load_halves(block);
    for (int t = 0; t < tokens; t++) {
        __m256i whole = _mm256_sub_epi32(sums[t], _mm256_slli_epi32(offsets[t], 5));
        __m256 step = _mm256_mul_ps(steps, _mm256_broadcast_ss(&at->scales[t][b]));
        totals[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), step, totals[t]);
    }
}

EK_INLINE void run_tile(const uint8_t *group, const ek_blocks *x, int32_t first, int tokens,
                        int32_t block_bytes, float *out, int64_t out_stride, k_step step) {
    int32_t blocks = x->columns / 256;
    k_tile at;
    __m256 totals[TILE];
    for (int t = 0; t < tokens; t++) {
        int64_t start = (int64_t)(first + t) * blocks;
        at.values[t] = x->values + start * 256;
        at.sums[t] = (const int16_t *)(const void *)x->sums + start * 16;
        at.scales[t] = x->scales + start;
        totals[t] = _mm256_setzero_ps();
    }
    for (int32_t b = 0; b < blocks; b++) {
        const uint8_t *block = group + (int64_t)b * block_bytes * EK_ROW_GROUP;
        const uint8_t *next = block + block_bytes * EK_ROW_GROUP;
        for (int32_t line = 0; line < block_bytes * EK_ROW_GROUP; line += 64) {
            _mm_prefetch((const char *)next + line, _MM_HINT_T0);
        }
        step(block, &at, b, tokens, totals);
    }
    for (int t = 0; t < tokens; t++) {
        _mm256_storeu_ps(out + (first + t) * out_stride, totals[t]);
    }
}

EK_INLINE void run_groups(const uint8_t *groups, int32_t group_count, const ek_blocks *x,
                          float *out, int64_t out_stride, int32_t block_bytes, k_step step) {
    int64_t group_bytes = (int64_t)(x->columns / 256) * block_bytes * EK_ROW_GROUP;
    for (int32_t g = 0; g < group_count; g++) {
        const uint8_t *group = groups + g * group_bytes;
        float *rows = out + (int64_t)g * EK_ROW_GROUP;
        int32_t t = 0;
        for (; t + TILE <= x->tokens; t += TILE) {
            run_tile(group, x, t, TILE, block_bytes, rows, out_stride, step);
        }
        for (; t < x->tokens; t++) {
            run_tile(group, x, t, 1, block_bytes, rows, out_stride, step);
        }
    }
}

void ek_avx2_group_q4_k(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q4_K_BYTES, step_q4_k);
}

void ek_avx2_group_q6_k(const uint8_t *groups, int32_t group_count, const ek_blocks *x, float *out,
                        int64_t out_stride) {
    run_groups(groups, group_count, x, out, out_stride, EK_Q6_K_BYTES, step_q6_k);
}
