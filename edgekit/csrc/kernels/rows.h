/* Rows of an image that a convolution reads while its output overwrites them.
 *
 * Where the output lies on the input, row y of the output overwrites row y of the input. Windows
 * reach as far up as the padding does, so that as many rows, and the one that is being overwritten,
 * are kept in scratch memory: a ring, into which each row is copied before any of its pixels is
 * written. A window that reads nothing above or left of its pixel needs no ring. */
#ifndef EDGEKIT_KERNELS_ROWS_H
#define EDGEKIT_KERNELS_ROWS_H

#include <string.h>

#include "edgekit/kernels.h"

typedef struct ek_rows {
    const int8_t *image;
    int8_t *ring;
    int32_t row_bytes;
    int32_t places; /* rows that fit the ring; 0 where nothing is overwritten */
    int32_t end;    /* rows before this one have been copied */
    int32_t first;  /* the row at the ring's begin */
} ek_rows;

/* How many rows a convolution keeps that works in place. */
static inline int32_t ek_kept_rows(const ek_conv2d_s8_params *params) {
    if (params->pad_top == 0 && params->pad_left == 0) {
        return 0;
    }
    return params->pad_top < params->input_height ? params->pad_top + 1 : params->input_height;
}

/* The rows of `image`; `ring` is memory of ek_conv2d_s8_in_place_bytes, if `in_place`. */
static inline ek_rows ek_rows_of(const ek_conv2d_s8_params *params, const int8_t *image,
                                 int8_t *ring, int32_t in_place) {
    return (ek_rows){.image = image,
                     .ring = ring,
                     .row_bytes = params->input_width * params->input_channels,
                     .places = in_place ? ek_kept_rows(params) : 0};
}

/* Copies row `y`, if it is the next one; to be called for every pixel of it, before it is read. */
static inline void ek_keep_row(ek_rows *rows, int32_t y) {
    if (rows->places == 0 || y != rows->end) {
        return;
    }
    if (rows->end - rows->first == rows->places) {
        rows->first = rows->end;
    }
    memcpy(rows->ring + (rows->end - rows->first) * rows->row_bytes,
           rows->image + rows->end * rows->row_bytes, (size_t)rows->row_bytes);
    rows->end++;
}

/* Where a row lies now. */
static inline const int8_t *ek_row(const ek_rows *rows, int32_t line) {
    if (line >= rows->end) {
        return rows->image + line * rows->row_bytes;
    }
    const int32_t place = line - rows->first;
    return rows->ring + (place < 0 ? place + rows->places : place) * rows->row_bytes;
}

#endif
