/* What the binding for Java and Kotlin keeps behind its handles. Nothing else is kept: no globals,
 * no references to Java objects.
 *
 * Native.java declares the functions and says what they do. Texts and messages are UTF-8 in byte
 * arrays: strings of JNI are "modified UTF-8", in which characters beyond 16 bits are not UTF-8.
 */
#ifndef EDGEKIT_JNI_HANDLES_H
#define EDGEKIT_JNI_HANDLES_H

#include <jni.h>
#include <stdint.h>
#include <string.h>

#include "edgekit/llm.h"

typedef struct ek_jni_model {
    ek_llm_model *model;
    ek_llm_tokenizer *tokenizer;
    ek_llm_engine *engine; /* NULL until it is loaded */
    ek_llm_facts facts;
} ek_jni_model;

typedef struct ek_jni_session {
    ek_llm_session *session;
    ek_llm_sampler *sampler; /* NULL until the first generation */
    int32_t vocabulary_size;
    float logits[]; /* after the last evaluation */
} ek_jni_session;

static inline jlong ek_jni_handle(void *pointer) { return (jlong)(intptr_t)pointer; }

static inline ek_jni_model *ek_jni_model_of(jlong handle) {
    return (ek_jni_model *)(intptr_t)handle;
}

static inline ek_jni_session *ek_jni_session_of(jlong handle) {
    return (ek_jni_session *)(intptr_t)handle;
}

/* Puts as much of a message into the array as it takes; the rest of the array stays zero. */
static inline void ek_jni_put_message(JNIEnv *env, jbyteArray message, const char *said) {
    jsize capacity = (*env)->GetArrayLength(env, message);
    size_t bytes = strlen(said);
    jsize count = bytes < (size_t)capacity ? (jsize)bytes : capacity;
    (*env)->SetByteArrayRegion(env, message, 0, count, (const jbyte *)said);
}

static inline void ek_jni_put_long(JNIEnv *env, jlongArray array, jlong value) {
    (*env)->SetLongArrayRegion(env, array, 0, 1, &value);
}

#endif
