/* Lets firmware for one STM32 run on the emulated machine of another, whose registers differ.
 *
 * QEMU's netduinoplus2 has the USART of STM32F4 at 0x40011000. Firmware for an STM32 of a later
 * family accesses another USART, elsewhere. Its accesses fault (the address is forbidden by the
 * memory protection unit, or nothing is there); this program, which lies at the end of the flash,
 * takes the hard fault, performs the access on the USART that there is, and lets the firmware go
 * on behind the instruction. Any other fault is the firmware's own.
 *
 * EK_BOARD: header of the firmware's board. References: Armv7-M Architecture Reference Manual
 * (DDI 0403), A5 (encodings), A7.3.3 (if-then state), B1.5 (exceptions), B3.5 (protection);
 * RM0090, "USART" (STM32F4); RM0432, "USART" (STM32L4+).
 */
#include <stdint.h>

#include EK_BOARD

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define F4_USART1 0x40011000u
#define F4_SR REGISTER(F4_USART1 + 0x00u)
#define F4_DR REGISTER(F4_USART1 + 0x04u)
#define F4_CR1 REGISTER(F4_USART1 + 0x0Cu)
#define F4_CR1_ENABLE (1u << 13)

#define CR1 0x00u
#define ISR 0x1Cu
#define RDR 0x24u
#define TDR 0x28u
#define CR1_ENABLE (1u << 0)
/* Receiver, transmitter, interrupt at a byte: the same bits in both. */
#define CR1_SHARED ((1u << 2) | (1u << 3) | (1u << 5))

#define BLOCK_BYTES 0x400u

#define FLASH 0x08000000u
#define FLASH_BYTES 0x00100000u

#define MPU_CTRL REGISTER(0xE000ED94u)
#define MPU_RBAR REGISTER(0xE000ED9Cu)
#define MPU_RASR REGISTER(0xE000EDA0u)
#define MPU_ENABLE_WITH_DEFAULT_MAP 5u
#define REGION_VALID (1u << 4)
/* 2^(9 + 1) bytes, no access, enabled. */
#define REGION_FORBIDDEN ((9u << 1) | 1u)

#define FIRST_WIDE_PREFIX 0x1Du

/* What the emulated board fills in: two entries of the firmware's own vector table. */
typedef struct {
    void (*reset)(void);
    void (*hard_fault)(void);
} firmware_entries;

/* What ek_bridge_fault pushes, and above it the exception frame. */
typedef struct {
    uint32_t r4_to_r11[8];
    uint32_t r0_to_r3[4];
    uint32_t r12;
    uint32_t lr;
    uint32_t pc;
    uint32_t psr;
} registers;

/* A load or store of a word. */
typedef struct {
    uint32_t address;
    uint32_t *value;
    uint32_t code_bytes;
    int32_t is_store;
} access;

void ek_bridge_reset(void);
void ek_bridge_fault(void);
int32_t ek_bridge_access(registers *state);

__attribute__((section(".entries"), used)) const volatile firmware_entries ek_firmware = {0, 0};

__attribute__((section(".table"), used)) static void (*const ek_table[])(void) = {
    ek_bridge_reset,
    ek_bridge_fault,
};

void ek_bridge_reset(void) {
    MPU_RBAR = EK_USART1 | REGION_VALID;
    MPU_RASR = REGION_FORBIDDEN;
    MPU_CTRL = MPU_ENABLE_WITH_DEFAULT_MAP;
    __asm volatile("dsb\n isb" ::: "memory");
    ek_firmware.reset();
}

/* What is no access that is known goes to the firmware, as if this program were not there. The
 * return code of the exception stays in r4 meanwhile. */
__attribute__((naked)) void ek_bridge_fault(void) {
    __asm volatile("push {r4-r11}\n"
                   "mov r0, sp\n"
                   "mov r4, lr\n"
                   "bl ek_bridge_access\n"
                   "mov lr, r4\n"
                   "pop {r4-r11}\n"
                   "cbz r0, 1f\n"
                   "bx lr\n"
                   "1: ldr r0, =ek_firmware\n"
                   "ldr r0, [r0, #4]\n"
                   "bx r0\n");
}

static uint32_t *register_of(registers *state, uint32_t number) {
    if (number < 4u) {
        return &state->r0_to_r3[number];
    }
    if (number < 12u) {
        return &state->r4_to_r11[number - 4u];
    }
    if (number == 12u) {
        return &state->r12;
    }
    return number == 14u ? &state->lr : 0;
}

/* 16 bits: LDR and STR with an offset in the instruction or in a register. */
static int32_t decode_narrow(registers *state, uint32_t code, access *found) {
    const uint32_t *base = register_of(state, (code >> 3) & 7u);
    found->value = register_of(state, code & 7u);
    found->code_bytes = 2u;
    if ((code >> 12) == 6u) {
        found->is_store = (code & 0x0800u) == 0;
        found->address = *base + ((code >> 6) & 31u) * 4u;
        return 1;
    }
    if ((code & 0xF600u) == 0x5000u) {
        found->is_store = (code & 0x0800u) == 0;
        found->address = *base + *register_of(state, (code >> 6) & 7u);
        return 1;
    }
    return 0;
}

/* 32 bits: LDR.W and STR.W with 12 bits of offset, or with 8 and write-back, or with a register. */
static int32_t decode_wide(registers *state, uint32_t code, uint32_t second, access *found) {
    uint32_t *base = register_of(state, code & 15u);
    found->value = register_of(state, second >> 12);
    found->code_bytes = 4u;
    found->is_store = (code & 0x0010u) == 0;
    if (base == 0 || found->value == 0) {
        return 0;
    }
    if ((code & 0xFFE0u) == 0xF8C0u) {
        found->address = *base + (second & 0xFFFu);
        return 1;
    }
    if ((code & 0xFFE0u) != 0xF840u) {
        return 0;
    }
    if ((second & 0x0800u) != 0) {
        const uint32_t offset = second & 0xFFu;
        const uint32_t moved = (second & 0x0200u) != 0 ? *base + offset : *base - offset;
        found->address = (second & 0x0400u) != 0 ? moved : *base;
        if ((second & 0x0100u) != 0) {
            *base = moved;
        }
        return 1;
    }
    const uint32_t *index = register_of(state, second & 15u);
    if ((second & 0x0FC0u) != 0 || index == 0) {
        return 0;
    }
    found->address = *base + (*index << ((second >> 4) & 3u));
    return 1;
}

/* Go on behind the instruction, in an if-then block too. */
static void advance(registers *state, uint32_t code_bytes) {
    state->pc += code_bytes;
    uint32_t it = ((state->psr >> 25) & 3u) | ((state->psr >> 8) & 0xFCu);
    it = (it & 7u) == 0 ? 0 : (it & 0xE0u) | ((it << 1) & 0x1Fu);
    state->psr = (state->psr & ~0x0600FC00u) | ((it & 3u) << 25) | ((it & 0xFCu) << 8);
}

static uint32_t load(uint32_t address) {
    switch (address - EK_USART1) {
    case CR1: {
        const uint32_t value = F4_CR1;
        return (value & CR1_SHARED) | ((value & F4_CR1_ENABLE) != 0 ? CR1_ENABLE : 0);
    }
    case ISR:
        return F4_SR;
    case RDR:
        return F4_DR;
    default:
        return 0;
    }
}

static void store(uint32_t address, uint32_t value) {
    switch (address - EK_USART1) {
    case CR1:
        F4_CR1 = (value & CR1_SHARED) | ((value & CR1_ENABLE) != 0 ? F4_CR1_ENABLE : 0);
        break;
    case TDR:
        F4_DR = value;
        break;
    default:
        break;
    }
}

/* Perform the access that faulted. 0: it is none of the USART's and of the pins'. */
int32_t ek_bridge_access(registers *state) {
    if (state->pc - FLASH >= FLASH_BYTES) {
        return 0;
    }
    const uint16_t *code = (const uint16_t *)state->pc;
    access found;
    const int32_t is_known = (code[0] >> 11) < FIRST_WIDE_PREFIX
                                 ? decode_narrow(state, code[0], &found)
                                 : decode_wide(state, code[0], code[1], &found);
    if (!is_known ||
        (found.address - EK_USART1 >= BLOCK_BYTES && found.address - EK_GPIOA >= BLOCK_BYTES)) {
        return 0;
    }
    if (found.is_store) {
        store(found.address, *found.value);
    } else {
        *found.value = load(found.address);
    }
    advance(state, found.code_bytes);
    return 1;
}
