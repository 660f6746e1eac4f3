/* Log-mel energies of a frame in integers: window, Fourier transform, triangular filters, logarithm.
 *
 * A frame is first made as loud as 16 bits allow (by a power of two: `louder`). The wave has WW_FRACTION_BITS bits below
 * the unit of a 16-bit sample, so many that no sum can leave 30 bits; sines are in units of 2^-31, the filters' weights
 * of 2^-15, logarithms (base 2) of 2^-20. */
#include "ww_kernels.h"
#include "ww_model.h"

#define HALF (WW_FFT / 2)
#define WINDOW_SHIFT (WW_WINDOW_BITS - WW_FRACTION_BITS)

static int32_t wave[WW_FFT]; /* HALF complex numbers: real and imaginary part in turns */
static uint64_t power[HALF + 1];

/* a c + b s, for c and s in units of 2^-31: both products round down, by half a unit on average, hence the 1. */
static inline int32_t turned(int32_t a, int32_t c, int32_t b, int32_t s) {
    return 2 * ((int32_t)(((int64_t)a * c) >> 32) + (int32_t)(((int64_t)b * s) >> 32) + 1);
}

/* The Fourier transform of HALF complex numbers in place: radix 2, what goes in already in bit-reversed order. */
static void transform(void) {
    for (int i = 0; i < WW_FFT; i += 4) { /* the first stage multiplies by 1 alone */
        int32_t real = wave[i + 2], imaginary = wave[i + 3];
        wave[i + 2] = wave[i] - real;
        wave[i + 3] = wave[i + 1] - imaginary;
        wave[i] += real;
        wave[i + 1] += imaginary;
    }
    for (int length = 4; length <= HALF; length *= 2) {
        int stride = WW_FFT / length; /* of the twiddles exp(-2 pi i k / WW_FFT) */
        for (int k = 0; k < length / 2; k++) {
            int32_t c = ww_cosine[k * stride], s = ww_sine[k * stride];
            for (int i = 2 * k; i < WW_FFT; i += 2 * length) {
                int32_t *low = wave + i, *high = low + length;
                int32_t real = turned(high[0], c, high[1], s), imaginary = turned(high[1], c, -high[0], s);
                high[0] = low[0] - real;
                high[1] = low[1] - imaginary;
                low[0] += real;
                low[1] += imaginary;
            }
        }
    }
}

static uint64_t power_of(int32_t twice_real, int32_t twice_imaginary) {
    int64_t real = twice_real >> 1, imaginary = twice_imaginary >> 1;
    return (uint64_t)(real * real + imaginary * imaginary) >> WW_POWER_SHIFT;
}

/* The power of each bin of the real signal whose even samples were real parts, the odd ones imaginary parts. */
static void powers(void) {
    power[0] = power_of(2 * (wave[0] + wave[1]), 0);
    power[HALF] = power_of(2 * (wave[0] - wave[1]), 0);
    for (int k = 1; k <= HALF / 2; k++) {
        const int32_t *a = wave + 2 * k, *b = wave + 2 * (HALF - k);
        int32_t even_r = a[0] + b[0], even_i = a[1] - b[1], odd_r = a[1] + b[1], odd_i = b[0] - a[0];
        int32_t r = turned(odd_r, ww_cosine[k], odd_i, ww_sine[k]);
        int32_t i = turned(odd_i, ww_cosine[k], -odd_r, ww_sine[k]);
        power[k] = power_of(even_r + r, even_i + i);
        power[HALF - k] = power_of(even_r - r, even_i - i);
    }
}

/* The logarithm of a number above 0 to the base 2, in units of 2^-20: a table of 64 steps, straight lines between. */
static int32_t logarithm(uint64_t x) {
    int32_t whole = 63;
    while (x >> 56 == 0) {
        x <<= 8;
        whole -= 8;
    }
    while (x >> 63 == 0) {
        x <<= 1;
        whole--;
    }
    uint32_t fraction = (uint32_t)(x >> 32) & 0x7fffffffu; /* of 2^31 */
    const int32_t *step = ww_logarithm + (fraction >> 25);
    int32_t part = (int32_t)(fraction & 0x1ffffffu) >> 10; /* of 2^15 */
    return (whole << 20) + step[0] + (((step[1] - step[0]) * part) >> 15);
}

void ww_features(const int16_t *samples, ww_value *features) {
    int32_t peaks = 0; /* has the highest bit of the largest sample */
    int louder = 0;
    for (int i = 0; i < WW_WINDOW; i++) {
        peaks |= samples[i] < 0 ? -(samples[i] + 1) : samples[i];
    }
    while (louder < WW_MOST_LOUDER && peaks < 1 << (14 - louder)) {
        louder++;
    }
    for (int i = 0; i < WW_FFT; i++) {
        /* Rounded to the nearest: a constant error would be a rectangle, which leaks into all bins. */
        int64_t sample = i < WW_WINDOW ? (int64_t)(samples[i] * (1 << louder)) * ww_window[i] : 0;
        wave[2 * ww_order[i / 2] + i % 2] = (int32_t)((sample + (1 << (WINDOW_SHIFT - 1))) >> WINDOW_SHIFT);
    }
    transform();
    powers();
    const int16_t *filter = ww_filters;
    for (int band = 0; band < WW_MELS; band++) {
        uint64_t energy = WW_FLOOR << 2 * louder;
        const uint64_t *bin = power + ww_first_bin[band];
        for (int i = 0; i < ww_bins[band]; i++) {
            energy += bin[i] * (uint64_t)*filter++;
        }
        int32_t octaves = logarithm(energy) - (2 * louder << 20);
        int64_t units = (octaves * WW_LOGARITHM_UNITS + WW_ZERO) >> 36;
        features[band] = (ww_value)(units > 32767 ? 32767 : units < -32767 ? -32767 : units);
    }
}
