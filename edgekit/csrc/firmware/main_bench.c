/* Runs the model on inputs from a file of the host and counts instructions, under an emulator.
 *
 * input.bin   uint32 runs, uint32 period; then the inputs of each run, one after the other
 * output.bin  the outputs of each run
 * report.bin  struct report
 *
 * `period` is the number of SysTick ticks between two interrupts. A short one makes interrupts hit
 * every depth of the stack, the longest (2^24) disturbs the count least.
 */
#include "file_parts.h"
#include "firmware_model.h"
#include "guards.h"
#include "semihosting.h"
#include "startup.h"
#include "ticks.h"

#define REPORT_MAGIC 0x544B4745u

struct report {
    uint32_t magic;
    uint32_t status; /* ek_status of the first run that failed, else 0 */
    uint32_t runs;
    uint32_t stack_used_bytes; /* deepest while the model ran, from the top of the stack */
    uint64_t ticks_total;
    uint64_t ticks_least;
    uint64_t ticks_most;
    uint64_t ticks_overhead; /* of reading the counter twice */
};

static uint32_t header[2];
static struct report result;

void ek_fault(void) {
    ek_print("fault: an access outside the memories of the device, or a stack overflow\n");
    ek_exit(99);
}

static void fail(const char *message) {
    ek_print(message);
    ek_exit(98);
}

#ifdef EK_MODEL_READ_PART
/* The input stays in the file, where the model reads its parts: that is counted too. */
static int32_t parts_file;
static uint32_t parts_start = sizeof header;

static int read_at(uint32_t offset_bytes, void *to, uint32_t bytes) {
    return ek_file_seek(parts_file, parts_start + offset_bytes) != 0 ||
           ek_file_read(parts_file, to, bytes) != 0;
}

ek_status EK_MODEL_READ_PART(const ek_input_part *part, void *to) {
    return ek_read_part(part, read_at, to);
}

static void read_inputs(int32_t file) {
    if (parts_file != 0) {
        parts_start += ek_model_tensor_bytes[0];
    }
    parts_file = file;
}
#else
static void read_inputs(int32_t file) {
    for (uint32_t i = 0; i < EK_MODEL_INPUTS; ++i) {
        if (ek_file_read(file, EK_MODEL_TENSOR(i), ek_model_tensor_bytes[i]) != 0) {
            fail("input.bin ends too early\n");
        }
    }
}
#endif

static void write_outputs(int32_t file) {
    for (uint32_t i = EK_MODEL_INPUTS; i < EK_MODEL_INPUTS + EK_MODEL_OUTPUTS; ++i) {
        if (ek_file_write(file, EK_MODEL_TENSOR(i), ek_model_tensor_bytes[i]) != 0) {
            fail("output.bin cannot be written\n");
        }
    }
}

static void run_once(void) {
    const uint64_t before = ek_ticks();
    const ek_status status = EK_MODEL_RUN();
    const uint64_t ticks = ek_ticks() - before - result.ticks_overhead;
    if (status != EK_STATUS_OK && result.status == 0) {
        result.status = (uint32_t)status;
    }
    result.ticks_total += ticks;
    if (result.runs == 0 || ticks < result.ticks_least) {
        result.ticks_least = ticks;
    }
    if (ticks > result.ticks_most) {
        result.ticks_most = ticks;
    }
    result.runs += 1;
}

int main(void) {
    ek_guards_start();
    const int32_t input = ek_file_open("input.bin", EK_FILE_READ);
    const int32_t output = ek_file_open("output.bin", EK_FILE_WRITE);
    if (input < 0 || output < 0 || ek_file_read(input, header, sizeof header) != 0) {
        fail("input.bin or output.bin cannot be opened\n");
    }
    result.magic = REPORT_MAGIC;
    ek_ticks_start(header[1]);
    const uint64_t before = ek_ticks();
    result.ticks_overhead = ek_ticks() - before;
    result.status = (uint32_t)EK_MODEL_INIT();
    ek_stack_repaint();
    for (uint32_t run = 0; run < header[0] && result.status == 0; ++run) {
        read_inputs(input);
        run_once();
        write_outputs(output);
    }
    result.stack_used_bytes = ek_stack_used_bytes();
    const int32_t report = ek_file_open("report.bin", EK_FILE_WRITE);
    if (report < 0 || ek_file_write(report, &result, sizeof result) != 0) {
        fail("report.bin cannot be written\n");
    }
    ek_file_close(report);
    ek_file_close(output);
    ek_exit(result.status == 0 ? 0 : 97);
}
