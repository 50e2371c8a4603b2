#include "rows.h"

size_t ek_conv2d_s8_in_place_bytes(const ek_conv2d_s8_params *params) {
    return (size_t)(ek_kept_rows(params) * params->input_width * params->input_channels);
}
