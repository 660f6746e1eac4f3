/* Log-mel energies of a frame in floating point: window, Fourier transform, triangular filters, logarithm. */
#include <math.h>

#include "ww_kernels.h"
#include "ww_model.h"

#define HALF (WW_FFT / 2)

static float wave[WW_FFT]; /* HALF complex numbers: real and imaginary part in turns */
static float power[HALF + 1];

/* The Fourier transform of HALF complex numbers in place: radix 2, what goes in already in bit-reversed order. */
static void transform(void) {
    for (int i = 0; i < WW_FFT; i += 4) { /* the first stage multiplies by 1 alone */
        float real = wave[i + 2], imaginary = wave[i + 3];
        wave[i + 2] = wave[i] - real;
        wave[i + 3] = wave[i + 1] - imaginary;
        wave[i] += real;
        wave[i + 1] += imaginary;
    }
    for (int length = 4; length <= HALF; length *= 2) {
        int stride = WW_FFT / length; /* of the twiddles exp(-2 pi i k / WW_FFT) */
        for (int k = 0; k < length / 2; k++) {
            float c = ww_cosine[k * stride], s = ww_sine[k * stride];
            for (int i = 2 * k; i < WW_FFT; i += 2 * length) {
                float *low = wave + i, *high = low + length;
                float real = high[0] * c + high[1] * s, imaginary = high[1] * c - high[0] * s;
                high[0] = low[0] - real;
                high[1] = low[1] - imaginary;
                low[0] += real;
                low[1] += imaginary;
            }
        }
    }
}

/* The power of each bin of the real signal whose even samples were real parts, the odd ones imaginary parts. */
static void powers(void) {
    power[0] = (wave[0] + wave[1]) * (wave[0] + wave[1]);
    power[HALF] = (wave[0] - wave[1]) * (wave[0] - wave[1]);
    for (int k = 1; k <= HALF / 2; k++) {
        const float *a = wave + 2 * k, *b = wave + 2 * (HALF - k);
        float even_r = 0.5f * (a[0] + b[0]), even_i = 0.5f * (a[1] - b[1]);
        float odd_r = 0.5f * (a[1] + b[1]), odd_i = 0.5f * (b[0] - a[0]);
        float c = ww_cosine[k], s = ww_sine[k];
        float turned_r = odd_r * c + odd_i * s, turned_i = odd_i * c - odd_r * s;
        float r = even_r + turned_r, i = even_i + turned_i;
        power[k] = r * r + i * i;
        r = even_r - turned_r;
        i = even_i - turned_i;
        power[HALF - k] = r * r + i * i;
    }
}

void ww_features(const int16_t *samples, ww_value *features) {
    for (int i = 0; i < HALF; i++) {
        float *to = wave + 2 * ww_order[i];
        to[0] = 2 * i < WW_WINDOW ? (float)samples[2 * i] * ww_window[2 * i] : 0.0f;
        to[1] = 2 * i + 1 < WW_WINDOW ? (float)samples[2 * i + 1] * ww_window[2 * i + 1] : 0.0f;
    }
    transform();
    powers();
    const float *filter = ww_filters;
    for (int band = 0; band < WW_MELS; band++) {
        float energy = 0.0f;
        const float *bin = power + ww_first_bin[band];
        for (int i = 0; i < ww_bins[band]; i++) {
            energy += bin[i] * *filter++;
        }
        features[band] = (logf(energy + WW_FLOOR) - WW_OFFSET) / WW_SCALE;
    }
}
