/* What tokens stand for: SentencePiece pieces and the byte alphabet of GPT-2. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* Token types of tokenizer.ggml.token_type (llama.h of llama.cpp, LLAMA_TOKEN_TYPE_...). */
enum { TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_UNUSED = 5, TYPE_BYTE = 6 };

typedef struct sink {
    char *text;
    size_t capacity;
    size_t size;
} sink;

static void put(sink *s, uint8_t byte) {
    if (s->size < s->capacity) {
        s->text[s->size] = (char)byte;
    }
    s->size++;
}

/* One code point of UTF-8; a byte that begins none stands for itself. */
static uint32_t next_code_point(const uint8_t *text, size_t bytes, size_t *at) {
    uint8_t first = text[*at];
    size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
    if (length > bytes - *at) {
        length = 1;
    }
    uint32_t code = length == 1 ? first : first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        code = code << 6 | (text[*at + i] & 0x3F);
    }
    *at += length;
    return code;
}

/* GPT-2 writes bytes that are not printable as code points from 256 on, in the order of the bytes
 * (openai/gpt-2, src/encoder.py, bytes_to_unicode). -1: the code point is no byte. */
static int byte_of_code_point(uint32_t code) {
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; byte++) {
        int printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        if ((printable ? byte : next++) == code) {
            return (int)byte;
        }
    }
    return -1;
}

static void put_gpt2(sink *s, const uint8_t *piece, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        size_t start = at;
        int byte = byte_of_code_point(next_code_point(piece, bytes, &at));
        if (byte >= 0) {
            put(s, (uint8_t)byte);
            continue;
        }
        for (; start < at; start++) {
            put(s, piece[start]);
        }
    }
}

static int hex_digit(uint8_t c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* U+2581 is a space; a byte is written <0xHH>. */
static void put_sentencepiece(sink *s, const uint8_t *piece, size_t bytes, int type) {
    if (type == TYPE_BYTE && bytes == 6 && hex_digit(piece[3]) >= 0 && hex_digit(piece[4]) >= 0) {
        put(s, (uint8_t)(hex_digit(piece[3]) * 16 + hex_digit(piece[4])));
        return;
    }
    for (size_t at = 0; at < bytes;) {
        if (bytes - at >= 3 && memcmp(piece + at, "\xE2\x96\x81", 3) == 0) {
            put(s, ' ');
            at += 3;
        } else {
            put(s, piece[at++]);
        }
    }
}

/* Reads the vocabulary once; the header was checked, so that its strings fill the bytes exactly. */
static ek_status read_pieces(ek_llm_model *model, const ek_gguf_value *tokens) {
    if (model->pieces != NULL) {
        return EK_STATUS_OK;
    }
    uint8_t *pieces = malloc((size_t)tokens->bytes + 1);
    int64_t *starts = malloc((size_t)(tokens->count + 1) * sizeof *starts);
    if (pieces == NULL || starts == NULL ||
        !ek_read_at(model->gguf.file, pieces, (size_t)tokens->bytes, tokens->offset)) {
        ek_status status =
            pieces == NULL || starts == NULL ? EK_STATUS_OUT_OF_MEMORY : EK_STATUS_IO;
        free(pieces);
        free(starts);
        return status;
    }
    int64_t at = 0;
    for (uint64_t i = 0; i < tokens->count; i++) {
        uint64_t length = 0;
        starts[i] = at;
        if (tokens->bytes - at >= (int64_t)sizeof length) {
            memcpy(&length, pieces + at, sizeof length);
            at += (int64_t)sizeof length;
        }
        at += length > (uint64_t)(tokens->bytes - at) ? tokens->bytes - at : (int64_t)length;
    }
    starts[tokens->count] = tokens->bytes;
    model->pieces = pieces;
    model->piece_starts = starts;
    return EK_STATUS_OK;
}

static int read_type(const ek_gguf *gguf, int32_t token) {
    const ek_gguf_value *types = ek_gguf_find_value(gguf, "tokenizer.ggml.token_type");
    int32_t type = 1;
    if (types != NULL && types->element_type == EK_GGUF_INT32 && (uint64_t)token < types->count) {
        ek_read_at(gguf->file, &type, sizeof type, types->offset + (int64_t)token * 4);
    }
    return type;
}

ek_status ek_llm_token_text(ek_llm_model *model, int32_t token, char *text, size_t capacity,
                            size_t *size_bytes) {
    if (model == NULL || size_bytes == NULL || (text == NULL && capacity > 0)) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    const ek_gguf *gguf = &model->gguf;
    const ek_gguf_value *tokens = ek_gguf_find_value(gguf, "tokenizer.ggml.tokens");
    const ek_gguf_value *kind = ek_gguf_find_value(gguf, "tokenizer.ggml.model");
    char name[16];
    *size_bytes = 0;
    if (tokens == NULL || tokens->element_type != EK_GGUF_STRING || kind == NULL ||
        !ek_gguf_read_string(gguf, kind, name, sizeof name) ||
        (strcmp(name, "llama") != 0 && strcmp(name, "gpt2") != 0)) {
        return EK_STATUS_UNSUPPORTED;
    }
    if (token < 0 || (uint64_t)token >= tokens->count) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    int type = read_type(gguf, token);
    if (type == TYPE_CONTROL || type == TYPE_UNKNOWN || type == TYPE_UNUSED) {
        return EK_STATUS_OK;
    }
    ek_status status = read_pieces(model, tokens);
    if (status != EK_STATUS_OK) {
        return status;
    }
    sink s = {text, capacity, 0};
    int64_t start = model->piece_starts[token] + (int64_t)sizeof(uint64_t);
    int64_t end = model->piece_starts[token + 1];
    size_t bytes = end > start ? (size_t)(end - start) : 0;
    const uint8_t *piece = model->pieces + start;
    if (strcmp(name, "gpt2") == 0) {
        put_gpt2(&s, piece, bytes);
    } else {
        put_sentencepiece(&s, piece, bytes, type);
    }
    *size_bytes = s.size;
    return EK_STATUS_OK;
}
