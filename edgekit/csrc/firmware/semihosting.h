/* Files of the host, by semihosting (Arm, "Semihosting for AArch32 and AArch64", operations 0x01 to
 * 0x20). Only for emulators and debuggers: on a board without one the breakpoint faults.
 */
#ifndef EDGEKIT_FIRMWARE_SEMIHOSTING_H
#define EDGEKIT_FIRMWARE_SEMIHOSTING_H

#include <stdint.h>

#define EK_FILE_READ 1u  /* "rb" */
#define EK_FILE_WRITE 5u /* "wb" */

/* Returns a handle, or -1. */
int32_t ek_file_open(const char *name, uint32_t mode);

/* Return the bytes that were NOT read or written: 0 on success. */
uint32_t ek_file_read(int32_t file, void *data, uint32_t size_bytes);
uint32_t ek_file_write(int32_t file, const void *data, uint32_t size_bytes);

/* Go to a place counted from the begin. Returns 0 on success. */
int32_t ek_file_seek(int32_t file, uint32_t offset_bytes);

void ek_file_close(int32_t file);

/* Write text to the error stream of the emulator. */
void ek_print(const char *text);

/* End the emulator with an exit status. */
_Noreturn void ek_exit(uint32_t status);

#endif
