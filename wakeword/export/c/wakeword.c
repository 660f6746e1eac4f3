/* The detector: samples to feature frames, four of them to a step of the network, posteriors to scores and hits. */
#include "wakeword.h"

#include <math.h>
#include <string.h>

#include "ww_kernels.h"
#include "ww_model.h"

typedef struct {
    float threshold;
    uint32_t waited; /* frames since the last hit, up to WW_REFRACTORY_FRAMES */
    int armed;
} trigger;

static struct {
    wakeword_on_hit on_hit;
    void *context;
    uint64_t samples;
    int16_t heard[WW_WINDOW];
    ww_value features[WW_FRAMES_PER_STEP * WW_MELS];
    float posteriors[WW_SMOOTHING_FRAMES][WW_OUTPUTS];
    float scores[WW_OUTPUTS];
    trigger triggers[WW_OUTPUTS];
    int filled;  /* of heard */
    int frames;  /* of features */
    int present; /* the row of posteriors that is written next, which holds the oldest */
} state;

void wakeword_init(wakeword_on_hit on_hit, void *context) {
    memset(&state, 0, sizeof state);
    ww_reset();
    state.on_hit = on_hit;
    state.context = context;
    state.filled = WW_WINDOW - WW_HOP; /* zeros, so that the first frame is complete after one hop */
    for (int phrase = 0; phrase < WW_OUTPUTS; phrase++) {
        state.triggers[phrase].threshold = ww_thresholds[phrase];
        state.triggers[phrase].waited = WW_REFRACTORY_FRAMES;
        state.triggers[phrase].armed = 1;
    }
}

void wakeword_set_threshold(int phrase, float threshold) {
    if (phrase >= 0 && phrase < WW_OUTPUTS) {
        state.triggers[phrase].threshold = threshold;
    }
}

float wakeword_score(int phrase) {
    return phrase >= 0 && phrase < WW_OUTPUTS ? state.scores[phrase] : 0.0f;
}

/* At most one hit an excursion above the threshold, and one in WW_REFRACTORY_FRAMES. */
static int fires(trigger *it, float score) {
    if (it->waited < WW_REFRACTORY_FRAMES) {
        it->waited++;
    }
    if (!(score >= it->threshold)) {
        it->armed = 1;
        return 0;
    }
    if (!it->armed || it->waited < WW_REFRACTORY_FRAMES) {
        return 0;
    }
    it->armed = 0;
    it->waited = 0;
    return 1;
}

static int step(void) {
    ww_sum logits[WW_OUTPUTS];
    int hits = 0;
    ww_step(state.features, logits);
    for (int phrase = 0; phrase < WW_OUTPUTS; phrase++) {
        float logit = (float)logits[phrase] * ww_logit_scale[phrase], sum = 0.0f;
        state.posteriors[state.present][phrase] = 1.0f / (1.0f + expf(-logit));
        for (int age = 1; age <= WW_SMOOTHING_FRAMES; age++) { /* the oldest first */
            sum += state.posteriors[(state.present + age) % WW_SMOOTHING_FRAMES][phrase];
        }
        state.scores[phrase] = sum / (float)WW_SMOOTHING_FRAMES;
        if (fires(&state.triggers[phrase], state.scores[phrase])) {
            wakeword_hit hit = {phrase, state.scores[phrase], state.samples};
            hits++;
            if (state.on_hit != NULL) {
                state.on_hit(&hit, state.context);
            }
        }
    }
    state.present = (state.present + 1) % WW_SMOOTHING_FRAMES;
    return hits;
}

int wakeword_process(const int16_t *samples, size_t count) {
    int hits = 0;
    while (count > 0) {
        size_t room = (size_t)(WW_WINDOW - state.filled), taken = count < room ? count : room;
        memcpy(state.heard + state.filled, samples, taken * sizeof *samples);
        state.filled += (int)taken;
        state.samples += taken;
        samples += taken;
        count -= taken;
        if (state.filled == WW_WINDOW) {
            ww_features(state.heard, state.features + state.frames * WW_MELS);
            state.filled = WW_WINDOW - WW_HOP;
            memmove(state.heard, state.heard + WW_HOP, (size_t)state.filled * sizeof *samples);
            if (++state.frames == WW_FRAMES_PER_STEP) {
                state.frames = 0;
                hits += step();
            }
        }
    }
    return hits;
}
