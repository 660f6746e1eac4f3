/* From reset to main: memory as C wants it, the floating-point unit on. */
#include "target.h"

extern uint32_t data_from[], data_to[], data_end[], bss_from[], bss_end[], stack_top[];
int main(void);

__attribute__((used)) void start_c(void) {
    uint32_t *from = data_from;
    for (uint32_t *to = data_to; to < data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = bss_from; to < bss_end;) {
        *to++ = 0;
    }
#ifndef __riscv
    SYSTICK[1] = 0xffffff;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5; /* on, at the clock of the processor, without interrupts */
#endif
    main();
    for (;;) {
    }
}

#ifdef __riscv

void reset(void);

__attribute__((section(".reset"), naked)) void reset(void) {
    __asm__ volatile(".option arch, +zicsr\nla sp, stack_top\nli t0, 0x6000\ncsrs mstatus, t0\nj start_c");
}

#else

void reset(void);

void reset(void) {
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20; /* CPACR: the floating-point unit, or Helium */
    __asm__ volatile("dsb\nisb\nb start_c");
}

static void fault(void) {
    static const char text[] = "fault\n";
    semihost(0x04, (uintptr_t)text);
    semihost_exit();
    for (;;) {
    }
}

__attribute__((section(".reset"), used)) static void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};

#endif
