/* Faults on accesses beside the device's RAM, where an emulated machine has more than the device.
 */
#ifndef EDGEKIT_FIRMWARE_GUARDS_H
#define EDGEKIT_FIRMWARE_GUARDS_H

/* Turn the memory protection unit on. Armv8-M: exactly the memories of the linker script are
 * accessible. Armv7-M, whose regions are powers of two: 32 KiB before and behind each of them are
 * not (as far as the addresses of the memories allow it). Without such a unit: does nothing. */
void ek_guards_start(void);

#endif
