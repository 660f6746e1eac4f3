/* What `ww_model.c` promises of the network, by the function that emx-onnx-cgen makes of the ONNX graph. */
#include <math.h>
#include <string.h>

#include "ww_model.h"
#include "network.h" /* FEATURES and STATE, how many floats */

extern void network(const float *features, const float *state, float *posterior, float *next_state);

static float states[2][STATE];
static int now;

void ww_reset(void) {
    memset(states, 0, sizeof states);
}

void ww_step(const ww_value *features, ww_sum *logits) {
    float posterior;
    network(features, states[now], &posterior, states[1 - now]);
    now = 1 - now;
    logits[0] = logf(posterior / (1.0f - posterior));
}
