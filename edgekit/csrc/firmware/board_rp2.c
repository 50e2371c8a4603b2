/* RP2040 and RP2350: UART0 on pins GP0 and GP1, crystal of 12 MHz, PLL (RP2040 data sheet, sections
 * 2.14 "Subsystem resets", 2.15 "Clocks", 2.16 "Crystal oscillator", 2.18 "PLL", 2.19 "GPIO"; the
 * chapters of the same names in the RP2350 data sheet). The board's header says where they lie.
 */
#include "board.h"
#include EK_BOARD

/* Writing here clears the bits that are set (section 2.1.2, "Atomic register access"). */
#define CLEAR 0x3000u

#define RESETS_DONE (EK_RESETS + 0x8u)
#define XOSC_CONTROL EK_REGISTER(EK_XOSC + 0x00u)
#define XOSC_STATUS EK_REGISTER(EK_XOSC + 0x04u)
#define XOSC_STARTUP EK_REGISTER(EK_XOSC + 0x0Cu)
#define XOSC_1_TO_15_MHZ_ENABLE ((0xFABu << 12) | 0xAA0u)
#define XOSC_STABLE (1u << 31)
#define XOSC_STARTUP_1_MS 47u /* in 256 periods of 12 MHz */
#define CRYSTAL_HZ 12000000u

#define CLOCK_REF_CONTROL EK_REGISTER(EK_CLOCKS + 0x30u)
#define CLOCK_REF_SELECTED EK_REGISTER(EK_CLOCKS + 0x38u)
#define CLOCK_SYS_CONTROL EK_REGISTER(EK_CLOCKS + 0x3Cu)
#define CLOCK_SYS_SELECTED EK_REGISTER(EK_CLOCKS + 0x44u)
#define CLOCK_PERI_CONTROL EK_REGISTER(EK_CLOCKS + 0x48u)
#define REF_FROM_CRYSTAL 2u
#define SYS_FROM_AUXILIARY 1u
#define PERI_ENABLE_FROM_SYS (1u << 11)

#define PLL_STATUS EK_REGISTER(EK_PLL_SYS + 0x0u)
#define PLL_FEEDBACK EK_REGISTER(EK_PLL_SYS + 0x8u)
#define PLL_DIVIDERS EK_REGISTER(EK_PLL_SYS + 0xCu)
#define PLL_LOCKED (1u << 31)
#define PLL_POWER_CORE_AND_VCO ((1u << 0) | (1u << 5))
#define PLL_POWER_DIVIDERS (1u << 3)

#define PIN_CONTROL(pin) EK_REGISTER(EK_IO_BANK0 + 8u * (pin) + 4u)
#define PAD_CONTROL(pin) EK_REGISTER(EK_PADS_BANK0 + 4u * (pin) + 4u)
#define PIN_IS_UART 2u
#define PAD_INPUT_ENABLED (1u << 6)
#define PAD_OUTPUT_DISABLED (1u << 7)
#define PAD_ISOLATED (1u << 8) /* RP2350; reserved in RP2040 */

static void leave_reset(uint32_t bits) {
    EK_REGISTER(EK_RESETS + CLEAR) = bits;
    while ((EK_REGISTER(RESETS_DONE) & bits) != bits) {
    }
}

static void start_crystal(void) {
    XOSC_STARTUP = XOSC_STARTUP_1_MS;
    XOSC_CONTROL = XOSC_1_TO_15_MHZ_ENABLE;
    while ((XOSC_STATUS & XOSC_STABLE) == 0) {
    }
    CLOCK_REF_CONTROL = REF_FROM_CRYSTAL;
    while ((CLOCK_REF_SELECTED & (1u << REF_FROM_CRYSTAL)) == 0) {
    }
}

static void start_pll(void) {
    leave_reset(1u << EK_RESET_PLL_SYS);
    PLL_STATUS = 1; /* the reference is not divided */
    PLL_FEEDBACK = EK_PLL_MULTIPLIER;
    EK_REGISTER(EK_PLL_SYS + 0x4u + CLEAR) = PLL_POWER_CORE_AND_VCO;
    while ((PLL_STATUS & PLL_LOCKED) == 0) {
    }
    PLL_DIVIDERS = (EK_PLL_DIVIDER_1 << 16) | (EK_PLL_DIVIDER_2 << 12);
    EK_REGISTER(EK_PLL_SYS + 0x4u + CLEAR) = PLL_POWER_DIVIDERS;
    CLOCK_SYS_CONTROL = SYS_FROM_AUXILIARY; /* whose source 0 is this PLL */
    while ((CLOCK_SYS_SELECTED & (1u << SYS_FROM_AUXILIARY)) == 0) {
    }
}

static void connect(uint32_t pin) {
    PIN_CONTROL(pin) = PIN_IS_UART;
    PAD_CONTROL(pin) =
        (PAD_CONTROL(pin) & ~(PAD_OUTPUT_DISABLED | PAD_ISOLATED)) | PAD_INPUT_ENABLED;
}

uint32_t ek_board_start(void) {
    start_crystal();
    start_pll();
    CLOCK_PERI_CONTROL = PERI_ENABLE_FROM_SYS;
    leave_reset((1u << EK_RESET_IO_BANK0) | (1u << EK_RESET_PADS_BANK0) | (1u << EK_RESET_UART0));
    connect(0);
    connect(1);
    return CRYSTAL_HZ * EK_PLL_MULTIPLIER / EK_PLL_DIVIDER_1 / EK_PLL_DIVIDER_2;
}
