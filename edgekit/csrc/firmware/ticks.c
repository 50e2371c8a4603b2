#include "ticks.h"

#include "startup.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define ENABLE_WITH_INTERRUPT_AND_CORE_CLOCK 7u

static uint32_t period_ticks;
static volatile uint32_t periods;

void ek_systick_handler(void) { periods = periods + 1; }

void ek_ticks_start(uint32_t period) {
    SYST_CSR = 0;
    period_ticks = period;
    periods = 0;
    SYST_RVR = period - 1;
    SYST_CVR = 0;
    SYST_CSR = ENABLE_WITH_INTERRUPT_AND_CORE_CLOCK;
}

uint64_t ek_ticks(void) {
    uint32_t before;
    uint32_t left;
    do {
        before = periods;
        left = SYST_CVR;
    } while (before != periods);
    const uint32_t gone = left == 0 ? 0 : period_ticks - left;
    return (uint64_t)before * period_ticks + gone;
}
