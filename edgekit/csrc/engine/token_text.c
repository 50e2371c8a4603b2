/* What tokens stand for: SentencePiece pieces and the byte alphabet of GPT-2. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* Token types of tokenizer.ggml.token_type (llama.h of llama.cpp, LLAMA_TOKEN_TYPE_...). */
enum { TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_UNUSED = 5, TYPE_BYTE = 6 };
enum { MAX_PIECE_BYTES = 1 << 16 };

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

/* Walks through the strings of the file; the caller frees *piece. */
static int read_piece(const ek_gguf *gguf, const ek_gguf_value *tokens, int32_t token,
                      uint8_t **piece, size_t *bytes) {
    int64_t at = tokens->offset;
    uint64_t length = 0;
    for (int32_t i = 0; i <= token; i++) {
        if (!ek_read_at(gguf->file, &length, sizeof length, at) || length > MAX_PIECE_BYTES) {
            return 0;
        }
        at += (int64_t)(sizeof length + (i < token ? length : 0));
    }
    *bytes = (size_t)length;
    *piece = malloc(*bytes + 1);
    return *piece != NULL && ek_read_at(gguf->file, *piece, *bytes, at);
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
    uint8_t *piece = NULL;
    size_t bytes = 0;
    sink s = {text, capacity, 0};
    if (!read_piece(gguf, tokens, token, &piece, &bytes)) {
        free(piece);
        return EK_STATUS_IO;
    }
    if (strcmp(name, "gpt2") == 0) {
        put_gpt2(&s, piece, bytes);
    } else {
        put_sentencepiece(&s, piece, bytes, type);
    }
    free(piece);
    *size_bytes = s.size;
    return EK_STATUS_OK;
}
