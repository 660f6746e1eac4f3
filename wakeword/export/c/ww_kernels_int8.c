/* The layers in integers: int8 weights, int16 values, int32 sums; see ww_kernels.h.
 *
 * No sum can leave 32 bits: the exporter checks each row against values of 32767. Shifts of negative numbers round
 * down, as all compilers do that know these instruction sets. The three ways to sum give the same numbers. */
#include <string.h>

#include "ww_kernels.h"

#define LARGEST 32767
#define ROWS 4 /* summed at once, so that a value is loaded once for all of them */

typedef char shifts_round_down[(-3 >> 1) == -2 ? 1 : -1];

static ww_value clamped(int32_t y, int lowest) {
    return (ww_value)(y > LARGEST ? LARGEST : y < lowest ? lowest : y);
}

/* Adds the products of columns from on to the sums of four rows. */
static void add_from(int from, const int16_t *x, const int8_t *weight, int columns, int32_t *sums) {
    const int8_t *w0 = weight, *w1 = w0 + columns, *w2 = w1 + columns, *w3 = w2 + columns;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (int i = from; i < columns; i++) {
        s0 += w0[i] * x[i];
        s1 += w1[i] * x[i];
        s2 += w2[i] * x[i];
        s3 += w3[i] * x[i];
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)

#include <arm_mve.h>

/* Helium (Cortex-M55, M85): eight products at once. */
static void add_rows(const int16_t *x, const int8_t *weight, int columns, int32_t *sums) {
    const int8_t *w0 = weight, *w1 = w0 + columns, *w2 = w1 + columns, *w3 = w2 + columns;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    int i = 0;
    for (; i + 8 <= columns; i += 8) {
        int16x8_t values = vldrhq_s16(x + i);
        s0 = vmladavaq_s16(s0, values, vldrbq_s16(w0 + i));
        s1 = vmladavaq_s16(s1, values, vldrbq_s16(w1 + i));
        s2 = vmladavaq_s16(s2, values, vldrbq_s16(w2 + i));
        s3 = vmladavaq_s16(s3, values, vldrbq_s16(w3 + i));
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    add_from(i, x, weight, columns, sums);
}

#elif defined(__ARM_FEATURE_SIMD32) && __ARM_FEATURE_SIMD32 && defined(__GNUC__)

/* Cortex-M4, M7, M33: two products an instruction. Of four weights in a word, bytes 0 and 2 meet the even values, 1 and
 * 3 the odd ones. In assembly, since a compiler that orders these instructions itself runs out of registers. */
#define ADD_FOUR(sum, address)                                                            \
    __asm__("ldr %1, " address "\n\tsxtb16 %2, %1\n\tsxtb16 %1, %1, ror #8\n\t"           \
            "smlad %0, %3, %2, %0\n\tsmlad %0, %4, %1, %0"                                \
            : "+r"(sum), "=&r"(word), "=&r"(pair)                                         \
            : "r"(even), "r"(odd), "r"(first), "r"(third), "r"(columns))

static void add_rows(const int16_t *x, const int8_t *weight, int columns, int32_t *sums) {
    const int8_t *first = weight, *third = weight + 2 * columns;
    const int16_t *from = x, *end = x + (columns & ~3);
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (; from != end; from += 4, first += 4, third += 4) {
        uint32_t low, high, even, odd, word, pair;
        memcpy(&low, from, 4);
        memcpy(&high, from + 2, 4);
        __asm__("pkhbt %0, %1, %2, lsl #16" : "=&r"(even) : "r"(low), "r"(high));
        __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(odd) : "r"(high), "r"(low));
        ADD_FOUR(s0, "[%5]");
        ADD_FOUR(s1, "[%5, %7]");
        ADD_FOUR(s2, "[%6]");
        ADD_FOUR(s3, "[%6, %7]");
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    add_from(columns & ~3, x, weight, columns, sums);
}

#else

static void add_rows(const int16_t *x, const int8_t *weight, int columns, int32_t *sums) {
    add_from(0, x, weight, columns, sums);
}

#endif

/* The sums of up to ROWS rows from row on; returns how many. */
static int sums_of(const ww_linear_layer *layer, const int16_t *x, int row, int32_t *sums) {
    const int8_t *weight = layer->weight + row * layer->columns;
    int rows = layer->rows - row;
    if (rows >= ROWS) {
        memcpy(sums, layer->bias + row, ROWS * sizeof *sums);
        add_rows(x, weight, layer->columns, sums);
        return ROWS;
    }
    sums[0] = layer->bias[row];
    for (int i = 0; i < layer->columns; i++) {
        sums[0] += weight[i] * x[i];
    }
    return 1;
}

void ww_linear(const ww_linear_layer *layer, const ww_value *x, const ww_value *add, ww_value *out) {
    int32_t sums[ROWS];
    int lowest = layer->relu ? 0 : -LARGEST;
    for (int row = 0, count; row < layer->rows; row += count) {
        count = sums_of(layer, x, row, sums);
        for (int i = row; i < row + count; i++) {
            int32_t y = (int32_t)(((int64_t)sums[i - row] * layer->multiplier[i]) >> 16);
            y = (y + (1 << (layer->shift[i] - 1))) >> layer->shift[i];
            if (add != NULL) {
                y += add[i];
            }
            out[i] = clamped(y, lowest);
        }
    }
}

void ww_output(const ww_linear_layer *layer, const ww_value *x, ww_sum *out) {
    int32_t sums[ROWS];
    for (int row = 0, count; row < layer->rows; row += count) {
        count = sums_of(layer, x, row, sums);
        memcpy(out + row, sums, (size_t)count * sizeof *out);
    }
}

void ww_depthwise(const ww_depthwise_layer *layer, const ww_value *x, ww_value *past, int *position, ww_value *out) {
    int channels = layer->channels, last = layer->kernel - 1, half = 1 << (layer->shift - 1);
    const int16_t *heard[WW_LARGEST_KERNEL];
    for (int tap = 0; tap < last; tap++) {
        heard[tap] = ww_past(past, channels, layer->kernel, layer->dilation, *position, tap);
    }
    heard[last] = x;
    for (int i = 0; i < channels; i++) {
        const int16_t *weight = layer->weight + i;
        int32_t sum = half;
        for (int tap = 0; tap <= last; tap++, weight += channels) {
            sum += *weight * heard[tap][i];
        }
        out[i] = clamped(sum >> layer->shift, -LARGEST);
    }
    memcpy(past + *position * channels, x, (size_t)channels * sizeof *x);
    *position = ww_next(layer->kernel, layer->dilation, *position);
}
