#include "depthwise.h"

/* Reads rows of the plane until all that windows of row `y` of the output reach are there. */
static void read_rows(const ek_conv2d_s8_params *params, const ek_inside *inside,
                      const int8_t *from, int32_t channels, int32_t y, ek_ring *kept) {
    const int32_t end = ek_ring_move(params, y, kept);
    for (; kept->end < end; kept->end++) {
        int16_t *to = ek_ring_next(kept);
        if (kept->end < inside->top || kept->end >= inside->bottom) {
            ek_ring_fill(to, params->input_zero_point, EK_RING_CHANNELS / 2 * kept->pitch);
            continue;
        }
        const int32_t line = (kept->end - params->pad_top) * params->input_width;
        ek_ring_copy(from + line * params->input_channels, params->input_channels, channels,
                     inside->right - inside->left, to + inside->left, kept->pitch);
    }
}

/* One row of some channels by kernels of 3 by 3, with the short rescaling to all of int8. Sums are
 * computed by four, whether or not as many outputs are left. */
static void convolve_row_3x3(const ek_conv2d_s8_params *params, const ek_kernel_3x3 *kernel,
                             int32_t channels, const uint32_t *top, const uint32_t *middle,
                             const uint32_t *bottom, int8_t *output) {
    const int32_t step = params->output_channels;
    for (; channels > 0; channels--) {
        int8_t *to = output++;
        for (int32_t left = params->output_width; left > 0; left -= 4) {
            int32_t a, b, c, d;
            if (params->stride_width == 1) {
                EK_FOUR_OUTPUTS(EK_ROW_BY_ONE);
            } else {
                EK_FOUR_OUTPUTS(EK_ROW_BY_TWO);
            }
            to[0] = ek_finish_3x3(a, kernel);
            if (left >= 4) {
                to[step] = ek_finish_3x3(b, kernel);
                to[2 * step] = ek_finish_3x3(c, kernel);
                to[3 * step] = ek_finish_3x3(d, kernel);
                to += 4 * step;
                continue;
            }
            if (left > 1) {
                to[step] = ek_finish_3x3(b, kernel);
            }
            if (left > 2) {
                to[2 * step] = ek_finish_3x3(c, kernel);
            }
        }
        /* Windows are a pair wider than what four outputs are apart. */
        top++, middle++, bottom++, kernel++;
    }
}

/* Clamps a row of some channels to bounds that are narrower than those of int8. */
static void clamp_row(const ek_conv2d_s8_params *params, int32_t channels, int8_t *output) {
    const int32_t low = params->activation_min, high = params->activation_max;
    for (int32_t left = params->output_width; left > 0; left--) {
        for (int32_t i = 0; i < channels; i++) {
            output[i] = (int8_t)ek_clamp(output[i], low, high);
        }
        output += params->output_channels;
    }
}

/* All rows of `channels` channels from `first` on. */
static void convolve_channels(const ek_conv2d_s8_params *params, const ek_inside *inside,
                              const int8_t *input, int32_t first, int32_t channels, ek_ring *kept,
                              int8_t *output) {
    const int32_t multiplier = params->output_channels / params->input_channels;
    const ek_output_stage stage = {params->output_zero_point, params->activation_min,
                                   params->activation_max, params->simple_rescale};
    const ek_output_stage full = {.low = -128, .high = 127};
    const int32_t is_clamped = !ek_is_full(&stage);
    const int32_t is_usual = ek_is_3x3(params) && multiplier == 1 && params->stride_width <= 2 &&
                             ek_is_usual(&full, params->channels + first * EK_CHANNEL_FIELDS + 1,
                                         EK_CHANNEL_FIELDS, channels);
    ek_kernel_3x3 kernels[EK_RING_CHANNELS];
    for (int32_t i = 0; is_usual && i < channels; i++) {
        ek_read_kernel(params, first + i, &kernels[i]);
        kernels[i].half = ek_half_of(&stage, kernels[i].shift);
    }
    kept->end = 0;
    output += first * multiplier;
    for (int32_t y = 0; y < params->output_height; y++) {
        read_rows(params, inside, input + first, channels, y, kept);
        if (is_usual) {
            convolve_row_3x3(params, kernels, channels, ek_ring_row(kept, 2, 0),
                             ek_ring_row(kept, 1, 0), ek_ring_row(kept, 0, 0), output);
            if (is_clamped) {
                clamp_row(params, channels, output);
            }
        } else {
            for (int32_t i = 0; i < channels * multiplier; i++) {
                ek_depthwise_row(params, kept, i / multiplier, first * multiplier + i, output + i);
            }
        }
        output += params->output_width * params->output_channels;
    }
}

ek_status ek_depthwise_conv2d_s8(const ek_conv2d_s8_params *params, const int8_t *input,
                                 void *scratch, int8_t *output) {
    const ek_inside inside = ek_inside_of(params, ek_plane_height(params), ek_plane_width(params));
    ek_ring kept = ek_ring_of(params, params->input_zero_point, scratch);
    for (int32_t batch = 0; batch < params->batches; batch++) {
        for (int32_t first = 0; first < params->input_channels; first += EK_RING_CHANNELS) {
            convolve_channels(params, &inside, input, first,
                              ek_least(params->input_channels - first, EK_RING_CHANNELS), &kept,
                              output);
        }
        input += params->input_height * params->input_width * params->input_channels;
        output += params->output_height * params->output_width * params->output_channels;
    }
    return EK_STATUS_OK;
}

/* The ring: rows of four channels in 16 bits. */
size_t ek_depthwise_conv2d_s8_scratch_bytes(const ek_conv2d_s8_params *params) {
    return ek_ring_bytes(params);
}
