/* Prints the hits in a WAV file: ./example recording.wav */
#include <stdio.h>
#include <string.h>

#include "wakeword.h"

static unsigned long little_endian(const unsigned char *bytes, int count) {
    unsigned long value = 0;
    while (count-- > 0) {
        value = value << 8 | bytes[count];
    }
    return value;
}

/* Leaves the file where its samples begin; NULL, or what is wrong with it. */
static const char *find_samples(FILE *file, unsigned long *bytes) {
    unsigned char head[16];
    int format = 0;
    if (fread(head, 1, 12, file) != 12 || memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0) {
        return "not a WAV file";
    }
    while (fread(head, 1, 8, file) == 8) {
        unsigned long size = little_endian(head + 4, 4);
        if (memcmp(head, "data", 4) == 0) {
            *bytes = size;
            return format ? NULL : "not 16-bit PCM, 16 kHz, mono: convert it (ffmpeg -i IN -ar 16000 -ac 1 OUT.wav)";
        }
        if (memcmp(head, "fmt ", 4) == 0 && size >= 16) {
            if (fread(head, 1, 16, file) != 16) {
                break;
            }
            format = (little_endian(head, 2) == 1 || little_endian(head, 2) == 0xfffe) &&
                     little_endian(head + 2, 2) == 1 && little_endian(head + 4, 4) == 16000 &&
                     little_endian(head + 14, 2) == 16;
            size -= 16;
        }
        if (size >= 0x7fffffffUL || fseek(file, (long)(size + (size & 1)), SEEK_CUR) != 0) { /* a long of 32 bits */
            break;
        }
    }
    return "a WAV file without samples";
}

static void print_hit(const wakeword_hit *hit, void *context) {
    (void)context;
    printf("%.2f s  %s  score %.4f\n", (double)hit->samples / 16000.0, wakeword_phrases[hit->phrase],
           (double)hit->score);
}

int main(int argc, char **argv) {
    static unsigned char bytes[320];
    static int16_t samples[160];
    unsigned long left = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s recording.wav\n", argv[0]);
        return 2;
    }
    FILE *file = fopen(argv[1], "rb");
    const char *fault = file == NULL ? "cannot be opened" : find_samples(file, &left);
    if (fault != NULL) {
        fprintf(stderr, "%s: %s\n", argv[1], fault);
        return 2;
    }
    wakeword_init(print_hit, NULL);
    while (left >= 2) {
        size_t count = fread(bytes, 2, left < sizeof bytes ? left / 2 : sizeof bytes / 2, file);
        if (count == 0) {
            break;
        }
        for (size_t i = 0; i < count; i++) {
            samples[i] = (int16_t)little_endian(bytes + 2 * i, 2);
        }
        wakeword_process(samples, count);
        left -= 2 * count;
    }
    fclose(file);
    return 0;
}
