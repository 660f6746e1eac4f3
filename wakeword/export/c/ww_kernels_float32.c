/* The layers in floating point: for parity and for parts with room; see ww_kernels.h. */
#include <string.h>

#include "ww_kernels.h"

static float sum_of(const ww_linear_layer *layer, const float *x, int row) {
    const float *weight = layer->weight + row * layer->columns;
    float sum = layer->bias[row];
    for (int i = 0; i < layer->columns; i++) {
        sum += weight[i] * x[i];
    }
    return sum;
}

void ww_linear(const ww_linear_layer *layer, const ww_value *x, const ww_value *add, ww_value *out) {
    for (int row = 0; row < layer->rows; row++) {
        float y = sum_of(layer, x, row);
        if (add != NULL) {
            y += add[row];
        }
        out[row] = layer->relu && y < 0.0f ? 0.0f : y;
    }
}

void ww_output(const ww_linear_layer *layer, const ww_value *x, ww_sum *out) {
    for (int row = 0; row < layer->rows; row++) {
        out[row] = sum_of(layer, x, row);
    }
}

void ww_depthwise(const ww_depthwise_layer *layer, const ww_value *x, ww_value *past, int *position, ww_value *out) {
    int channels = layer->channels, last = layer->kernel - 1;
    for (int i = 0; i < channels; i++) {
        out[i] = layer->weight[last * channels + i] * x[i];
    }
    for (int tap = 0; tap < last; tap++) {
        const float *heard = ww_past(past, channels, layer->kernel, layer->dilation, *position, tap);
        for (int i = 0; i < channels; i++) {
            out[i] += layer->weight[tap * channels + i] * heard[i];
        }
    }
    memcpy(past + *position * channels, x, (size_t)channels * sizeof *x);
    *position = ww_next(layer->kernel, layer->dilation, *position);
}
