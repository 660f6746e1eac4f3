/* What a machine offers: calls to the host (Arm's semihosting, as RISC-V has it too) and a count of instructions. */
#ifndef TARGET_H
#define TARGET_H

#include <stdint.h>

#ifdef __riscv

static inline uintptr_t semihost(uintptr_t operation, uintptr_t argument) {
    register uintptr_t a0 __asm__("a0") = operation;
    register uintptr_t a1 __asm__("a1") = argument;
    __asm__ volatile(".balign 16\n.option push\n.option norvc\nslli zero, zero, 0x1f\nebreak\nsrai zero, zero, 7\n"
                     ".option pop\n"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}

static inline uint32_t instructions_now(void) {
    uint32_t count;
    __asm__ volatile(".option push\n.option arch, +zicsr\ncsrr %0, minstret\n.option pop" : "=r"(count));
    return count;
}

static inline uint64_t instructions_since(uint32_t begun) {
    return instructions_now() - begun;
}

#else

static inline uintptr_t semihost(uintptr_t operation, uintptr_t argument) {
    register uintptr_t r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

/* With -icount shift=0 an instruction takes a nanosecond of the clock that SysTick counts down at, 24 bits of it. */
#define SYSTICK ((volatile uint32_t *)0xe000e010)

static inline uint32_t instructions_now(void) {
    return SYSTICK[2];
}

static inline uint64_t instructions_since(uint32_t begun) {
    return (uint64_t)((begun - SYSTICK[2]) & 0xffffffu) * 1000000000u / CLOCK_HZ;
}

#endif

static inline void print(const char *text) {
    semihost(0x04, (uintptr_t)text);
}

static inline void print_number(const char *name, uint64_t value) {
    char text[24], *at = text + sizeof text - 1;
    *at = 0;
    do {
        *--at = (char)('0' + value % 10);
    } while (value /= 10);
    print(name);
    print(at);
    print("\n");
}

static inline void semihost_exit(void) {
    uintptr_t stopped[2] = {0x20026, 0}; /* ADP_Stopped_ApplicationExit */
    semihost(0x18, sizeof(uintptr_t) == 4 ? stopped[0] : (uintptr_t)stopped);
}

#endif
