/* The layers of the network. ww_kernels_int8.c and ww_kernels_float32.c implement them; one of the two is compiled. */
#ifndef WW_KERNELS_H
#define WW_KERNELS_H

#include <stdint.h>

#include "ww_config.h"

#if WW_INT8
typedef int16_t ww_value;
typedef int32_t ww_sum;
typedef struct {
    const int8_t *weight; /* [rows][columns] */
    const int32_t *bias;
    const int16_t *multiplier;
    const uint8_t *shift;
    int rows, columns, relu;
} ww_linear_layer;
typedef struct {
    const int16_t *weight; /* [kernel][channels], the present frame last */
    int channels, kernel, dilation, shift;
} ww_depthwise_layer;
#else
typedef float ww_value;
typedef float ww_sum;
typedef struct {
    const float *weight;
    const float *bias;
    int rows, columns, relu;
} ww_linear_layer;
typedef struct {
    const float *weight;
    int channels, kernel, dilation;
} ww_depthwise_layer;
#endif

/* out = weight x + bias, then + add (if it is not NULL), then ReLU (if the layer says so). */
void ww_linear(const ww_linear_layer *layer, const ww_value *x, const ww_value *add, ww_value *out);

/* The last layer: sums as they are. */
void ww_output(const ww_linear_layer *layer, const ww_value *x, ww_sum *out);

/* past holds (kernel - 1) * dilation frames, oldest at *position; x replaces that one. */
void ww_depthwise(const ww_depthwise_layer *layer, const ww_value *x, ww_value *past, int *position, ww_value *out);

/* The kernel frames side by side; past as above. */
void ww_frames(int channels, int kernel, int dilation, const ww_value *x, ww_value *past, int *position, ww_value *out);

/* The frame of tap (from 0, the oldest) in past; and the step to the next frame. */
static inline const ww_value *ww_past(const ww_value *past, int channels, int kernel, int dilation, int position,
                                      int tap) {
    int frames = (kernel - 1) * dilation, row = position + tap * dilation;
    return past + (row < frames ? row : row - frames) * channels;
}

static inline int ww_next(int kernel, int dilation, int position) {
    return position + 1 < (kernel - 1) * dilation ? position + 1 : 0;
}

#endif
