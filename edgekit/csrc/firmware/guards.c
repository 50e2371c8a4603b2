#include "guards.h"

#include <stdint.h>

/* Memory protection unit (Armv7-M, B3.5; Armv8-M, D1.2). */
#define MPU_TYPE (*(volatile uint32_t *)0xE000ED90u)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94u)
#define MPU_RNR (*(volatile uint32_t *)0xE000ED98u)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9Cu)
#define MPU_RASR (*(volatile uint32_t *)0xE000EDA0u)
#define MPU_RLAR (*(volatile uint32_t *)0xE000EDA0u)
#define MPU_MAIR0 (*(volatile uint32_t *)0xE000EDC0u)

extern char ek_vectors_low[], ek_vectors_high[];
extern char ek_flash_low[], ek_flash_high[];
extern char ek_ram_low[], ek_ram_high[];
extern char ek_arena_low[], ek_arena_high[];

#if defined(__ARM_ARCH) && __ARM_ARCH >= 8

#define CTRL_ENABLE 1u
#define NORMAL_UNCACHED 0x44u
#define READ_ONLY (2u << 1)
#define NO_EXECUTE 1u

static uint32_t allow(uint32_t region, const char *low, const char *high, uint32_t access) {
    if (low == high) {
        return region;
    }
    MPU_RNR = region;
    MPU_RBAR = (uint32_t)low | access;
    MPU_RLAR = (((uint32_t)high - 1) & ~31u) | 1u;
    return region + 1;
}

void ek_guards_start(void) {
    if (MPU_TYPE == 0) {
        return;
    }
    MPU_MAIR0 = NORMAL_UNCACHED;
    uint32_t region = allow(0, ek_vectors_low, ek_vectors_high, READ_ONLY);
    region = allow(region, ek_flash_low, ek_flash_high, READ_ONLY);
    region = allow(region, ek_ram_low, ek_ram_high, NO_EXECUTE);
    (void)allow(region, ek_arena_low, ek_arena_high, NO_EXECUTE);
    MPU_CTRL = CTRL_ENABLE;
    __asm volatile("dsb\n isb" ::: "memory");
}

#else

#define CTRL_ENABLE_WITH_DEFAULT_MAP 5u
#define GUARD_BYTES 0x8000u
#define GUARD_ATTRIBUTES ((1u << 28) | (14u << 1) | 1u) /* no access, 2^15 bytes, enabled */

static uint32_t forbid(uint32_t region, uint32_t address) {
    if (address % GUARD_BYTES != 0) {
        return region;
    }
    MPU_RNR = region;
    MPU_RBAR = address;
    MPU_RASR = GUARD_ATTRIBUTES;
    return region + 1;
}

void ek_guards_start(void) {
    if (MPU_TYPE == 0) {
        return;
    }
    uint32_t region = forbid(0, (uint32_t)ek_ram_low - GUARD_BYTES);
    region = forbid(region, (uint32_t)ek_ram_high);
    if (ek_arena_low != ek_arena_high) {
        region = forbid(region, (uint32_t)ek_arena_low - GUARD_BYTES);
        region = forbid(region, (uint32_t)ek_arena_high);
    }
    (void)region;
    MPU_CTRL = CTRL_ENABLE_WITH_DEFAULT_MAP;
    __asm volatile("dsb\n isb" ::: "memory");
}

#endif
