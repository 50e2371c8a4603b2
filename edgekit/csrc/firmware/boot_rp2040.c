/* Second stage of the boot ROM of RP2040 (data sheet, section 2.8.1.3): the first 256 bytes of the
 * flash, which the ROM copies into RAM and calls. It makes the flash readable as memory by the
 * command that every serial flash knows (03h, one bit wide; section 4.10, "SSI") and starts what
 * lies behind it. The last four bytes are a CRC, which whoever writes the image adds.
 */
#include "board.h"

#define SSI 0x18000000u
#define SSI_CONTROL_0 EK_REGISTER(SSI + 0x00u)
#define SSI_CONTROL_1 EK_REGISTER(SSI + 0x04u)
#define SSI_ENABLE EK_REGISTER(SSI + 0x08u)
#define SSI_DIVIDER EK_REGISTER(SSI + 0x14u)
#define SSI_SPI_CONTROL EK_REGISTER(SSI + 0xF4u)

#define READ_32_BITS ((31u << 16) | (3u << 8))
#define COMMAND_03_8_BITS_ADDRESS_24_BITS ((0x03u << 24) | (2u << 8) | (6u << 2))
#define CORE_CLOCKS_PER_BIT 4u

#define VECTORS 0x10000100u
#define VTOR EK_REGISTER(0xE000ED08u)

__attribute__((section(".boot"), noreturn, used)) void ek_second_stage(void) {
    SSI_ENABLE = 0;
    SSI_DIVIDER = CORE_CLOCKS_PER_BIT;
    SSI_CONTROL_0 = READ_32_BITS;
    SSI_CONTROL_1 = 0;
    SSI_SPI_CONTROL = COMMAND_03_8_BITS_ADDRESS_24_BITS;
    SSI_ENABLE = 1;
    VTOR = VECTORS;
    register const uint32_t *vectors __asm("r2") = (const uint32_t *)VECTORS;
    __asm volatile("ldr r0, [%0]\n ldr r1, [%0, #4]\n msr msp, r0\n bx r1" ::"r"(vectors)
                   : "r0", "r1");
    __builtin_unreachable();
}
