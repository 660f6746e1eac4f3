/* Runs an exported model on clip.pcm (16-bit, 16 kHz) by semihosting; prints hits, stack and instructions. */
#include "target.h"
#include "wakeword.h"

#define MOST_HITS 64
#define PAINT 0xa5a5a5a5u

extern uint32_t stack_end[], stack_top[]; /* by the linker script */

static wakeword_hit found[MOST_HITS];
static int count;

static void keep(const wakeword_hit *hit, void *context) {
    (void)context;
    if (count < MOST_HITS) {
        found[count++] = *hit;
    }
}

int main(void) {
    static int16_t samples[160];
    static const char name[] = "clip.pcm";
    uintptr_t open[3] = {(uintptr_t)name, 1, sizeof name - 1};
    uintptr_t file = semihost(0x01, (uintptr_t)open);
    uint64_t instructions = 0, most = 0, heard = 0;
    volatile uint32_t *bottom = stack_end;
    while ((uintptr_t)bottom < (uintptr_t)__builtin_frame_address(0) - 128) {
        *bottom++ = PAINT;
    }
    wakeword_init(keep, 0);
    for (;;) {
        uintptr_t read[3] = {file, (uintptr_t)samples, sizeof samples};
        uint32_t got = (sizeof samples - semihost(0x06, (uintptr_t)read)) / 2;
        if (got == 0 || file == (uintptr_t)-1) {
            break;
        }
        uint32_t begun = instructions_now();
        wakeword_process(samples, got);
        uint64_t took = instructions_since(begun);
        instructions += took;
        most = took > most ? took : most;
        heard += got;
    }
    for (bottom = stack_end; *bottom == PAINT; bottom++) {
    }
    print_number("samples ", heard);
    print_number("instructions ", instructions);
    print_number("most ", most);
    print_number("stack ", (uint64_t)((uintptr_t)stack_top - (uintptr_t)bottom));
    for (int i = 0; i < count; i++) {
        print_number("phrase ", (uint64_t)found[i].phrase);
        print_number("at ", found[i].samples);
        print_number("score ", (uint64_t)(found[i].score * 1e6f + 0.5f));
    }
    semihost_exit();
    return 0;
}
