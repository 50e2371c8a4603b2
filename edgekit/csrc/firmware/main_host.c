/* Runs the model on the host, with the files that main_bench.c reads and writes on an emulator.
 *
 * input.bin   uint32 runs, uint32 (not used here); then the inputs of each run
 * output.bin  the outputs of each run
 */
#include <stdio.h>
#include <stdlib.h>

#include "file_parts.h"
#include "firmware_model.h"

static void fail(const char *message) {
    fprintf(stderr, "%s\n", message);
    exit(98);
}

#ifdef EK_MODEL_READ_PART
static FILE *parts;
static long parts_start;

static int read_at(uint32_t offset_bytes, void *to, uint32_t bytes) {
    return fseek(parts, parts_start + (long)offset_bytes, SEEK_SET) != 0 ||
           fread(to, 1, bytes, parts) != bytes;
}

ek_status EK_MODEL_READ_PART(const ek_input_part *part, void *to) {
    return ek_read_part(part, read_at, to);
}

/* Leaves the input in the file, where the model reads its parts. */
static void give_inputs(FILE *input) {
    parts = input;
    parts_start = ftell(input);
}

static void skip_inputs(FILE *input) {
    if (fseek(input, parts_start + (long)ek_model_tensor_bytes[0], SEEK_SET) != 0) {
        fail("input.bin ends too early");
    }
}
#else
static void give_inputs(FILE *input) {
    for (uint32_t i = 0; i < EK_MODEL_INPUTS; ++i) {
        if (fread(EK_MODEL_TENSOR(i), 1, ek_model_tensor_bytes[i], input) !=
            ek_model_tensor_bytes[i]) {
            fail("input.bin ends too early");
        }
    }
}

static void skip_inputs(FILE *input) { (void)input; }
#endif

static void run_once(FILE *input, FILE *output) {
    give_inputs(input);
    const ek_status status = EK_MODEL_RUN();
    skip_inputs(input);
    if (status != EK_STATUS_OK) {
        fprintf(stderr, "status %d\n", (int)status);
        exit(97);
    }
    for (uint32_t i = EK_MODEL_INPUTS; i < EK_MODEL_INPUTS + EK_MODEL_OUTPUTS; ++i) {
        if (fwrite(EK_MODEL_TENSOR(i), 1, ek_model_tensor_bytes[i], output) !=
            ek_model_tensor_bytes[i]) {
            fail("output.bin cannot be written");
        }
    }
}

int main(void) {
    FILE *input = fopen("input.bin", "rb");
    FILE *output = fopen("output.bin", "wb");
    uint32_t header[2];
    if (input == NULL || output == NULL || fread(header, sizeof header, 1, input) != 1) {
        fail("input.bin or output.bin cannot be opened");
    }
    if (EK_MODEL_INIT() != EK_STATUS_OK) {
        fail("the model cannot be initialized");
    }
    for (uint32_t run = 0; run < header[0]; ++run) {
        run_once(input, output);
    }
    fclose(input);
    return fclose(output) == 0 ? 0 : 98;
}
