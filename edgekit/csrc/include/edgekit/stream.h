/* Inputs that are handed over part by part, for models whose first layers run patch by patch.
 *
 * Such a model has no buffer for its input. Whenever a patch begins it calls a function that the
 * application defines (see model.h) for the pixels that the patch needs: rows of a camera, a part
 * of a picture in flash or on a card. Patches come row by row from the top, and within a row from
 * the left. Parts of neighbours overlap, unless the model keeps rows: then every row is asked for
 * once at most, in order.
 */
#ifndef EDGEKIT_STREAM_H
#define EDGEKIT_STREAM_H

#include <stdint.h>

#include "edgekit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Elements begin[a] to begin[a] + size[a] - 1 of each axis a of an input. */
typedef struct {
    uint32_t input; /* which one, as in model.h */
    int32_t begin[4];
    int32_t size[4];
} ek_input_part;

#ifdef __cplusplus
}
#endif

#endif
