/* Embeds a converted model in an application in C.
 *
 *     classify INPUT        INPUT: the bytes of one input of the model
 *
 * Prints the scores of the first output and the class with the largest. The model is a few C
 * files that are compiled with the application: no library to install, no file to load, no
 * allocation.
 */
#include <stdio.h>
#include <stdlib.h>

#include "firmware_model.h"

static void fail(const char *message) {
    fprintf(stderr, "classify: %s\n", message);
    exit(1);
}

static void read_input(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail("the input cannot be opened");
    }
    for (uint32_t i = 0; i < EK_MODEL_INPUTS; ++i) {
        const size_t size_bytes = ek_model_tensor_bytes[i];
        if (fread(EK_MODEL_TENSOR(i), 1, size_bytes, file) != size_bytes) {
            fail("the input is shorter than the model's");
        }
    }
    if (fgetc(file) != EOF) {
        fail("the input is longer than the model's");
    }
    fclose(file);
}

static void print_output(void) {
    const EK_MODEL_OUTPUT_TYPE *scores = EK_MODEL_TENSOR(EK_MODEL_INPUTS);
    const uint32_t count = ek_model_tensor_bytes[EK_MODEL_INPUTS] / sizeof *scores;
    uint32_t best = 0;
    for (uint32_t i = 0; i < count; ++i) {
        printf("%g%c", (double)scores[i], i + 1 < count ? ' ' : '\n');
        if (scores[i] > scores[best]) {
            best = i;
        }
    }
    printf("class %u\n", (unsigned)best);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fail("give the file of one input");
    }
    if (EK_MODEL_INIT() != EK_STATUS_OK) {
        fail("the model cannot be initialized");
    }
    read_input(argv[1]);
    if (EK_MODEL_RUN() != EK_STATUS_OK) {
        fail("a kernel refused its arguments");
    }
    print_output();
    return 0;
}
