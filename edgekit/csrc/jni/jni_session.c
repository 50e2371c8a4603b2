/* Sessions: evaluate, choose, cancel. */
#include <stdlib.h>

#include "jni_handles.h"

enum { COUNTERS = 4 }; /* values of the array; their order is Native.java's */

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_openSession(JNIEnv *env, jclass type, jlong model,
                                                           jlongArray handle) {
    (void)type;
    const ek_jni_model *of = ek_jni_model_of(model);
    size_t vocabulary = (size_t)of->facts.vocabulary_size;
    ek_jni_session *own = calloc(1, sizeof *own + vocabulary * sizeof *own->logits);
    if (own == NULL) {
        return EK_STATUS_OUT_OF_MEMORY;
    }
    own->vocabulary_size = of->facts.vocabulary_size;
    ek_status status = ek_llm_session_open(of->engine, &own->session);
    if (status == EK_STATUS_OK) {
        ek_jni_put_long(env, handle, ek_jni_handle(own));
    } else {
        free(own);
    }
    return (jint)status;
}

JNIEXPORT void JNICALL Java_edgekit_llm_Native_closeSession(JNIEnv *env, jclass type,
                                                            jlong session) {
    (void)env, (void)type;
    ek_jni_session *own = ek_jni_session_of(session);
    ek_llm_sampler_close(own->sampler);
    ek_llm_session_close(own->session);
    free(own);
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_startSampling(JNIEnv *env, jclass type,
                                                             jlong session, jlong seed,
                                                             jfloat temperature, jint top_k,
                                                             jfloat top_p, jfloat min_p,
                                                             jfloat repetition_penalty) {
    (void)env, (void)type;
    ek_jni_session *own = ek_jni_session_of(session);
    ek_llm_sampling sampling = {
        .seed = (uint64_t)seed,
        .temperature = temperature,
        .top_p = top_p,
        .min_p = min_p,
        .repetition_penalty = repetition_penalty,
        .top_k = top_k,
    };
    ek_llm_sampler_close(own->sampler);
    return (jint)ek_llm_sampler_open(own->vocabulary_size, &sampling, &own->sampler);
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_eval(JNIEnv *env, jclass type, jlong session,
                                                    jintArray tokens, jint from, jint count,
                                                    jbyteArray message) {
    (void)type;
    char said[EK_LLM_MESSAGE_BYTES] = "";
    ek_jni_session *own = ek_jni_session_of(session);
    jint *values = (*env)->GetIntArrayElements(env, tokens, NULL);
    if (values == NULL) {
        return EK_STATUS_OUT_OF_MEMORY;
    }
    ek_status status = ek_llm_eval(own->session, (const int32_t *)values + from, count, 0,
                                   own->logits, said, sizeof said);
    (*env)->ReleaseIntArrayElements(env, tokens, values, JNI_ABORT);
    if (status != EK_STATUS_OK) {
        ek_jni_put_message(env, message, said);
    }
    return (jint)status;
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_sample(JNIEnv *env, jclass type, jlong session,
                                                      jintArray recent, jint count,
                                                      jintArray token) {
    (void)type;
    ek_jni_session *own = ek_jni_session_of(session);
    int32_t chosen = 0;
    jint *values = (*env)->GetIntArrayElements(env, recent, NULL);
    if (values == NULL) {
        return EK_STATUS_OUT_OF_MEMORY;
    }
    ek_status status =
        ek_llm_sample(own->sampler, own->logits, (const int32_t *)values, count, &chosen);
    (*env)->ReleaseIntArrayElements(env, recent, values, JNI_ABORT);
    (*env)->SetIntArrayRegion(env, token, 0, 1, (const jint *)&chosen);
    return (jint)status;
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_position(JNIEnv *env, jclass type, jlong session) {
    (void)env, (void)type;
    return ek_llm_position(ek_jni_session_of(session)->session);
}

JNIEXPORT jint JNICALL Java_edgekit_llm_Native_truncate(JNIEnv *env, jclass type, jlong session,
                                                        jint position) {
    (void)env, (void)type;
    return (jint)ek_llm_truncate(ek_jni_session_of(session)->session, position);
}

JNIEXPORT void JNICALL Java_edgekit_llm_Native_cancel(JNIEnv *env, jclass type, jlong session) {
    (void)env, (void)type;
    ek_llm_cancel(ek_jni_session_of(session)->session);
}

JNIEXPORT void JNICALL Java_edgekit_llm_Native_counters(JNIEnv *env, jclass type, jlong session,
                                                        jlongArray values) {
    (void)type;
    ek_llm_counters found = {0};
    ek_llm_read_counters(ek_jni_session_of(session)->session, &found);
    const jlong counters[COUNTERS] = {found.tokens, found.read_bytes, found.wait_ns,
                                      found.compute_ns};
    (*env)->SetLongArrayRegion(env, values, 0, COUNTERS, counters);
}
