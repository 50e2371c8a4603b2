/* Vector table and reset for Cortex-M, without a vendor library.
 *
 * The stack lies at the lowest address of its memory (the linker script's doing), so that an
 * overflow leaves the memory and faults at once instead of writing over data. Before main it is
 * painted; ek_stack_used_bytes tells how much of the paint is gone.
 */
#include "startup.h"

#include <stdint.h>

#ifdef EK_BOARD
#include EK_BOARD
#endif

extern uint32_t ek_stack_low[];
extern uint32_t ek_stack_high[];
extern uint32_t ek_data_load[];
extern uint32_t ek_data_start[];
extern uint32_t ek_data_end[];
extern uint32_t ek_bss_start[];
extern uint32_t ek_bss_end[];

extern int main(void);

#define EK_STACK_PAINT 0xA5C3E1F7u
#define EK_CPACR (*(volatile uint32_t *)0xE000ED88u)
#define EK_VTOR (*(volatile uint32_t *)0xE000ED08u)

void ek_reset(void);

/* Without a debugger or an emulator nobody can be told: wait for the watchdog or a reset. */
__attribute__((weak)) void ek_fault(void) {
    for (;;) {
    }
}

/* The fault may be that the stack has run out of its memory: begin a new one. */
__attribute__((naked)) static void fault_entry(void) {
    __asm volatile("ldr r0, =ek_stack_high\n mov sp, r0\n ldr r0, =ek_fault\n bx r0");
}

__attribute__((weak)) void ek_systick_handler(void) {}

/* EK_UART_INTERRUPT of a board: the number of the one peripheral interrupt that is used. */
#ifdef EK_UART_INTERRUPT
#define VECTORS (16 + EK_UART_INTERRUPT + 1)
#else
#define VECTORS 16
#endif

__attribute__((section(".vectors"), used)) static const void *const ek_vectors[VECTORS] = {
    ek_stack_high,             /* initial stack pointer */
    (const void *)ek_reset,    /* reset */
    (const void *)fault_entry, /* non-maskable interrupt */
    (const void *)fault_entry, /* hard fault */
    (const void *)fault_entry, /* memory management */
    (const void *)fault_entry, /* bus fault */
    (const void *)fault_entry, /* usage fault */
    (const void *)fault_entry, /* secure fault */
    0,
    0,
    0,                         /* reserved */
    (const void *)fault_entry, /* supervisor call */
    (const void *)fault_entry, /* debug monitor */
    0,                         /* reserved */
    (const void *)fault_entry, /* pendable service */
    (const void *)ek_systick_handler,
#ifdef EK_UART_INTERRUPT
    [16 + EK_UART_INTERRUPT] = (const void *)ek_uart_handler,
#endif
};

static void paint_stack(void) {
    uint32_t *top = (uint32_t *)__builtin_frame_address(0) - 8;
    for (volatile uint32_t *word = ek_stack_low; word < top; ++word) {
        *word = EK_STACK_PAINT;
    }
}

void ek_stack_repaint(void) { paint_stack(); }

uint32_t ek_stack_used_bytes(void) {
    const volatile uint32_t *word = ek_stack_low;
    while (word < ek_stack_high && *word == EK_STACK_PAINT) {
        ++word;
    }
    return (uint32_t)((const volatile char *)ek_stack_high - (const volatile char *)word);
}

void ek_reset(void) {
#if defined(__ARM_FP)
    EK_CPACR |= 0xFu << 20; /* full access to the floating-point and vector unit */
    __asm volatile("dsb\n isb" ::: "memory");
#endif
#if !defined(__ARM_ARCH_6M__) || defined(EK_HAS_VTOR)
    EK_VTOR = (uint32_t)ek_vectors;
#endif
    const uint32_t *load = ek_data_load;
    for (uint32_t *word = ek_data_start; word < ek_data_end; ++word) {
        *word = *load++;
    }
    for (uint32_t *word = ek_bss_start; word < ek_bss_end; ++word) {
        *word = 0;
    }
    paint_stack();
    (void)main();
    for (;;) {
    }
}
