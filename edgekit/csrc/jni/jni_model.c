/* Models: header, vocabulary, plan, memory. */
#include <stdlib.h>

#include "jni_handles.h"

enum {
    FACTS = 13,
    OPTIONS = 7,
    BUDGET = 9
}; /* values of the arrays; their order is Native.java's */

static void free_model(ek_jni_model *own) {
    ek_llm_unload(own->engine);
    ek_llm_tokenizer_close(own->tokenizer);
    ek_llm_close(own->model);
    free(own);
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_open(JNIEnv *env, jclass type, jbyteArray path,
                                                    jlongArray handle, jbyteArray message) {
    (void)type;
    char said[EK_LLM_MESSAGE_BYTES] = "";
    ek_jni_model *own = calloc(1, sizeof *own);
    jbyte *name = own == NULL ? NULL : (*env)->GetByteArrayElements(env, path, NULL);
    if (name == NULL) {
        free(own);
        return EK_STATUS_OUT_OF_MEMORY;
    }
    ek_status status = ek_llm_open((const char *)name, &own->model, said, sizeof said);
    if (status == EK_STATUS_OK) {
        status = ek_llm_tokenizer_open((const char *)name, &own->tokenizer, said, sizeof said);
    }
    if (status == EK_STATUS_OK) {
        status = ek_llm_describe(own->model, &own->facts);
    }
    (*env)->ReleaseByteArrayElements(env, path, name, JNI_ABORT);
    if (status == EK_STATUS_OK) {
        ek_jni_put_long(env, handle, ek_jni_handle(own));
    } else {
        free_model(own);
        ek_jni_put_message(env, message, said);
    }
    return (jint)status;
}

JNIEXPORT void JNICALL Java_edgekit_llm_Native_close(JNIEnv *env, jclass type, jlong model) {
    (void)env, (void)type;
    free_model(ek_jni_model_of(model));
}

JNIEXPORT void JNICALL Java_edgekit_llm_Native_describe(JNIEnv *env, jclass type, jlong model,
                                                        jlongArray values, jbyteArray name) {
    (void)type;
    const ek_llm_facts *f = &ek_jni_model_of(model)->facts;
    const jlong facts[FACTS] = {
        f->weights_bytes,   f->parameters, f->vocabulary_size,
        f->layers,          f->width,      f->heads,
        f->kv_heads,        f->head_width, f->feed_forward_width,
        f->context,         f->experts,    f->experts_used,
        f->tied_embeddings,
    };
    ek_jni_put_message(env, name, f->architecture);
    (*env)->SetLongArrayRegion(env, values, 0, FACTS, facts);
}

/* 0 where Java has an exception to throw. */
static int read_options(JNIEnv *env, jlongArray values, ek_llm_options *options) {
    jlong given[OPTIONS];
    (*env)->GetLongArrayRegion(env, values, 0, OPTIONS, given);
    *options = (ek_llm_options){
        .memory_bytes = given[0],
        .context = (int32_t)given[1],
        .batch = (int32_t)given[2],
        .sessions = (int32_t)given[3],
        .threads = (int32_t)given[4],
        .kv_type = (int32_t)given[5],
        .storage_timeout_ms = (int32_t)given[6],
    };
    return !(*env)->ExceptionCheck(env);
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_plan(JNIEnv *env, jclass type, jlong model,
                                                    jlongArray values, jlongArray budget,
                                                    jbyteArray message) {
    (void)type;
    char said[EK_LLM_MESSAGE_BYTES] = "";
    ek_llm_options options;
    ek_llm_budget b = {0};
    if (!read_options(env, values, &options)) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    ek_status status = ek_llm_plan(ek_jni_model_of(model)->model, &options, &b, said, sizeof said);
    const jlong found[BUDGET] = {
        b.pinned_bytes,
        b.stream_bytes,
        b.kv_bytes,
        b.activation_bytes,
        b.table_bytes,
        b.total_bytes,
        b.touched_bytes_per_token,
        b.read_bytes_per_token,
        b.minimum_bytes,
    };
    ek_jni_put_message(env, message, said);
    (*env)->SetLongArrayRegion(env, budget, 0, BUDGET, found);
    return (jint)status;
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_load(JNIEnv *env, jclass type, jlong model,
                                                    jlongArray values, jbyteArray message) {
    (void)type;
    char said[EK_LLM_MESSAGE_BYTES] = "";
    ek_jni_model *own = ek_jni_model_of(model);
    ek_llm_options options;
    if (!read_options(env, values, &options)) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    ek_status status = ek_llm_load(own->model, &options, &own->engine, said, sizeof said);
    ek_jni_put_message(env, message, said);
    return (jint)status;
}

JNIEXPORT void JNICALL Java_edgekit_llm_Native_kernels(JNIEnv *env, jclass type, jlong model,
                                                       jbyteArray name) {
    (void)type;
    ek_jni_put_message(env, name, ek_llm_kernels_name(ek_jni_model_of(model)->engine));
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_tokenize(JNIEnv *env, jclass type, jlong model,
                                                        jbyteArray text, jint flags,
                                                        jintArray tokens, jlongArray count) {
    (void)type;
    size_t bytes = (size_t)(*env)->GetArrayLength(env, text);
    size_t capacity = (size_t)(*env)->GetArrayLength(env, tokens);
    size_t found = 0;
    ek_status status = EK_STATUS_OUT_OF_MEMORY;
    jbyte *from = (*env)->GetByteArrayElements(env, text, NULL);
    jint *to = from == NULL ? NULL : (*env)->GetIntArrayElements(env, tokens, NULL);
    if (to != NULL) {
        status = ek_llm_tokenize(ek_jni_model_of(model)->tokenizer, (const char *)from, bytes,
                                 flags, (int32_t *)to, capacity, &found);
        (*env)->ReleaseIntArrayElements(env, tokens, to, 0);
    }
    if (from != NULL) {
        (*env)->ReleaseByteArrayElements(env, text, from, JNI_ABORT);
    }
    if (to != NULL) {
        ek_jni_put_long(env, count, (jlong)found);
    }
    return (jint)status;
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_tokenText(JNIEnv *env, jclass type, jlong model,
                                                         jint token, jbyteArray text,
                                                         jlongArray size) {
    (void)type;
    size_t capacity = (size_t)(*env)->GetArrayLength(env, text);
    size_t bytes = 0;
    jbyte *to = (*env)->GetByteArrayElements(env, text, NULL);
    if (to == NULL) {
        return EK_STATUS_OUT_OF_MEMORY;
    }
    ek_status status =
        ek_llm_token_text(ek_jni_model_of(model)->model, token, (char *)to, capacity, &bytes);
    (*env)->ReleaseByteArrayElements(env, text, to, 0);
    ek_jni_put_long(env, size, (jlong)bytes);
    return (jint)status;
}

JNIEXPORT jboolean JNICALL Java_edgekit_llm_Native_isEnd(JNIEnv *env, jclass type, jlong model,
                                                         jint token) {
    (void)env, (void)type;
    return ek_llm_is_end(ek_jni_model_of(model)->tokenizer, token) != 0;
}
