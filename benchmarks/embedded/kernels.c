/* Instructions of `ww_kernels.c` and of CMSIS-NN for layers with the shapes of `micro`; weights and values at random. */
#include "arm_nnfunctions.h"
#include "arm_nnsupportfunctions.h"
#include "target.h"
#include "ww_kernels.h"

#define LARGEST 25600
#define MULTIPLIER 1518500250
#define MEASURE(name, call)                                \
    do {                                                   \
        uint32_t begun = instructions_now();               \
        call;                                              \
        print_number(name " ", instructions_since(begun)); \
    } while (0)

static int8_t weight[LARGEST], x8[512], y8[512], scratch[8192];
static int16_t x16[512], y16[512], multiplier[160], depthwise[480], past[320];
static uint8_t shift[160];
static int32_t bias[160], multipliers[160], shifts[160];
static int64_t wide_bias[160];

static int32_t drawn(int bits) {
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (int32_t)state >> (32 - bits);
}

static void linear(const char *shape, int rows, int columns) {
    static const cmsis_nn_per_tensor_quant_params one = {MULTIPLIER, -8};
    const cmsis_nn_per_channel_quant_params each = {multipliers, shifts};
    const cmsis_nn_context context = {scratch, sizeof scratch};
    const cmsis_nn_fc_params connected = {128, 0, -128, {-128, 127}};
    const cmsis_nn_conv_params convolution = {128, -128, {1, 1}, {0, 0}, {1, 1}, {-128, 127}};
    cmsis_nn_dims in = {1, 1, 1, columns}, out = {1, 1, 1, rows}, across = {columns, 1, 1, rows};
    cmsis_nn_dims down = {rows, 1, 1, columns};
    ww_linear_layer layer = {weight, bias, multiplier, shift, rows, columns, 1};
    print(shape);
    print("\n");
    MEASURE("  wakeword, 16 bits", ww_linear(&layer, x16, NULL, y16));
#ifdef WITH_S16
    MEASURE("  CMSIS-NN, 16 bits, fully connected",
            arm_nn_vec_mat_mult_t_s16(x16, weight, wide_bias, y16, MULTIPLIER, -8, columns, rows, -32768, 32767));
#endif
    MEASURE("  CMSIS-NN, 8 bits, fully connected",
            arm_fully_connected_s8(&context, &connected, &one, &in, x8, &across, weight, &out, bias, &out, y8));
    MEASURE("  CMSIS-NN, 8 bits, 1x1 convolution",
            arm_convolve_wrapper_s8(&context, &convolution, &each, &in, x8, &down, weight, &out, bias, &out, y8));
}

static void per_channel(void) {
    const cmsis_nn_per_channel_quant_params each = {multipliers, shifts};
    const cmsis_nn_context context = {scratch, sizeof scratch};
    const cmsis_nn_dw_conv_params settings = {128, -128, 1, {1, 1}, {0, 0}, {1, 1}, {-128, 127}};
    cmsis_nn_dims in = {1, 3, 1, 160}, out = {1, 1, 1, 160};
    ww_depthwise_layer layer = {depthwise, 160, 3, 1, 10};
    int position = 0;
    print("depthwise, 160\n");
    MEASURE("  wakeword, 16 bits", ww_depthwise(&layer, x16, past, &position, y16));
    MEASURE("  CMSIS-NN, 8 bits", arm_depthwise_conv_wrapper_s8(&context, &settings, &each, &in, x8, &in, weight, &out,
                                                                bias, &out, y8));
}

int main(void) {
    for (int i = 0; i < LARGEST; i++) {
        weight[i] = (int8_t)drawn(8);
    }
    for (int i = 0; i < 512; i++) {
        x16[i] = (int16_t)drawn(14);
        x8[i] = (int8_t)drawn(8);
    }
    for (int i = 0; i < 480; i++) {
        depthwise[i] = (int16_t)drawn(12);
    }
    for (int i = 0; i < 160; i++) {
        bias[i] = drawn(14), wide_bias[i] = bias[i];
        multiplier[i] = 20000, shift[i] = 8, multipliers[i] = MULTIPLIER, shifts[i] = -8;
    }
    linear("160 to 160", 160, 160);
    linear("128 to 160", 160, 128);
    linear("480 to 48", 48, 480);
    linear("144 to 48", 48, 144);
    per_channel();
    semihost_exit();
    return 0;
}
