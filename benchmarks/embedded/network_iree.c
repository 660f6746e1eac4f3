/* What `ww_model.c` promises of the network, by the kernels that IREE makes of the ONNX graph, called in its order.
 *
 * IREE's own runtime, which calls them on a device, is C in its repository and in none of its packages: flash, RAM and
 * instructions are without it. The structures are those of iree/hal/local/executable_library.h. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "ww_model.h"
#include "network.h" /* FEATURES and STATE, how many floats; TRANSIENT and OUT, how many bytes */

#define ALIGNED __attribute__((aligned(64)))
#define POSTERIOR ((4 * STATE + 63) / 64 * 64)

typedef struct {
    uint32_t size_x, size_y;
    uint16_t size_z, constant_count;
    uint32_t count_x, count_y;
    uint16_t count_z;
    uint8_t concurrency, binding_count;
    const uint32_t *constants;
    void *const *bindings;
    const size_t *lengths;
} dispatch_state;
typedef struct {
    uint32_t x, y;
    uint16_t z, reserved;
    uint32_t processor;
    void *local;
    uint32_t local_size;
} workgroup_state;
typedef int kernel(const void *environment, const dispatch_state *dispatch, const workgroup_state *workgroup);

static uint8_t transient[TRANSIENT] ALIGNED, state[4 * STATE] ALIGNED, out[OUT] ALIGNED, features[4 * FEATURES] ALIGNED;
static const uint32_t environment[64];

static void run(kernel *called, uint32_t workgroups, uint16_t constant_count, const uint32_t *constants,
                uint8_t binding_count, void *const *bindings, const size_t *lengths) {
    dispatch_state dispatch = {1, 1, 1, constant_count, workgroups, 1, 1, 1, binding_count, constants, bindings,
                               lengths};
    for (uint32_t i = 0; i < workgroups; i++) {
        workgroup_state workgroup = {i, 0, 0, 0, 0, NULL, 0};
        called(environment, &dispatch, &workgroup);
    }
}

#include "kernels.h" /* weights[], and step(): copies and calls of run() */

void ww_reset(void) {
    memset(state, 0, sizeof state);
}

void ww_step(const ww_value *heard, ww_sum *logits) {
    float posterior;
    memcpy(features, heard, sizeof features);
    step();
    memcpy(state, out, sizeof state);
    memcpy(&posterior, out + POSTERIOR, sizeof posterior);
    logits[0] = logf(posterior / (1.0f - posterior));
}
