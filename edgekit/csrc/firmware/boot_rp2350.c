/* What the boot ROM of RP2350 looks for in the first 4 KiB of an image (data sheet, section 5.9,
 * "Metadata block details"): one block that calls it an executable for the secure state of the Arm
 * cores. The vector table lies at the begin of the flash. */
#include <stdint.h>

#define BLOCK_BEGIN 0xFFFFDED3u
#define IMAGE_TYPE_EXECUTABLE_ARM_SECURE 0x10210142u
#define LAST_ITEM_OF_1_WORD 0x000001FFu
#define NEXT_IS_THIS_BLOCK 0u
#define BLOCK_END 0xAB123579u

__attribute__((section(".boot"), used)) static const uint32_t image_definition[] = {
    BLOCK_BEGIN, IMAGE_TYPE_EXECUTABLE_ARM_SECURE, LAST_ITEM_OF_1_WORD, NEXT_IS_THIS_BLOCK,
    BLOCK_END,
};
