/* A wake-word detector: 16 kHz mono audio in, hits out. C99, one stream, no heap; not to be called by two threads. */
#ifndef WAKEWORD_H
#define WAKEWORD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A phrase was heard: its number, its score from 0 to 1, and after how many samples of the stream that was known. */
typedef struct {
    int phrase;
    float score;
    uint64_t samples;
} wakeword_hit;

typedef void (*wakeword_on_hit)(const wakeword_hit *hit, void *context);

/* What it listens for: names in UTF-8. */
extern const int wakeword_phrase_count;
extern const char *const wakeword_phrases[];

/* Begin a stream, with the model's own thresholds. on_hit is called from within wakeword_process; it may be NULL. */
void wakeword_init(wakeword_on_hit on_hit, void *context);

/* The next samples, 16-bit, 16 kHz, mono; any number of them, 0 too. Returns how many hits were in them. Blocks of any
 * size give the same hits; each 640 samples (at the usual settings) the network runs once. */
int wakeword_process(const int16_t *samples, size_t count);

/* The score that a phrase must reach, above 0 and at most 1; until the next wakeword_init. */
void wakeword_set_threshold(int phrase, float threshold);

/* The last score of a phrase: the mean of its last posteriors; 0 before the first. */
float wakeword_score(int phrase);

#ifdef __cplusplus
}
#endif

#endif
