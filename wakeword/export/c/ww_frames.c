/* Frames side by side, whatever a value is: see ww_kernels.h. */
#include <string.h>

#include "ww_kernels.h"

void ww_frames(int channels, int kernel, int dilation, const ww_value *x, ww_value *past, int *position,
               ww_value *out) {
    size_t size = (size_t)channels * sizeof *x;
    for (int tap = 0; tap < kernel - 1; tap++) {
        memcpy(out + tap * channels, ww_past(past, channels, kernel, dilation, *position, tap), size);
    }
    memcpy(out + (kernel - 1) * channels, x, size);
    memcpy(past + *position * channels, x, size);
    *position = ww_next(kernel, dilation, *position);
}
