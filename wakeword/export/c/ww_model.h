/* What the exporter wrote of the trained model in ww_model.c, beside the sizes in ww_config.h. */
#ifndef WW_MODEL_H
#define WW_MODEL_H

#include "ww_kernels.h"

/* Of the features: the window, exp(-2 pi i k / WW_FFT) in two parts, the order in which the transform wants its input,
 * and for each band its first bin, how many bins, and their weights one band after the other. */
#if WW_INT8
extern const int16_t ww_filters[];
extern const int32_t ww_window[WW_WINDOW], ww_cosine[WW_FFT / 2], ww_sine[WW_FFT / 2], ww_logarithm[65];
#else
extern const float ww_window[WW_WINDOW], ww_filters[];
extern const float ww_cosine[WW_FFT / 2], ww_sine[WW_FFT / 2];
#endif
extern const uint16_t ww_order[WW_FFT / 2];
extern const uint16_t ww_first_bin[WW_MELS], ww_bins[WW_MELS];

/* Of each phrase: its threshold, and what one unit of its logit is worth. */
extern const float ww_thresholds[WW_OUTPUTS];
extern const float ww_logit_scale[WW_OUTPUTS];

/* A frame of features from the WW_WINDOW samples that end with it. */
void ww_features(const int16_t *samples, ww_value *features);

/* The network: zero state, and a step from WW_FRAMES_PER_STEP frames of features to a logit a phrase. */
void ww_reset(void);
void ww_step(const ww_value *features, ww_sum *logits);

#endif
