#include <string.h>
#include <time.h>

#include "engine.h"

ek_status ek_llm_session_open(ek_llm_engine *engine, ek_llm_session **session) {
    if (engine == NULL || session == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    *session = NULL;
    pthread_mutex_lock(&engine->lock);
    for (int32_t i = 0; i < engine->options.sessions && *session == NULL; i++) {
        ek_llm_session *free_one = &engine->sessions[i];
        if (!free_one->is_open) {
            free_one->is_open = 1;
            free_one->position = 0;
            atomic_store(&free_one->cancelled, 0);
            memset(&free_one->counters, 0, sizeof free_one->counters);
            atomic_fetch_add(&engine->users, 1);
            *session = free_one;
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return *session == NULL ? EK_STATUS_FULL : EK_STATUS_OK;
}

void ek_llm_session_close(ek_llm_session *session) {
    if (session != NULL) {
        pthread_mutex_lock(&session->engine->lock);
        session->is_open = 0;
        pthread_mutex_unlock(&session->engine->lock);
        ek_llm_unload(session->engine);
    }
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* In batches; the session's position moves with each. */
static ek_status evaluate(ek_llm_session *session, const int32_t *tokens, int32_t count,
                          int32_t all_logits, float *logits) {
    int32_t batch = session->engine->options.batch;
    int64_t vocabulary = session->engine->model->facts.vocabulary_size;
    for (int32_t done = 0; done < count;) {
        int32_t now = count - done < batch ? count - done : batch;
        int32_t wanted = all_logits ? now : done + now == count;
        float *out = all_logits ? logits + done * vocabulary : logits;
        ek_status status =
            ek_forward(session, tokens + done, now, logits == NULL ? 0 : wanted, out);
        if (status != EK_STATUS_OK) {
            return status;
        }
        done += now;
    }
    return EK_STATUS_OK;
}

/* What was read ahead after the evaluation before is counted here, with its first use. */
static ek_status evaluate_and_count(ek_llm_session *session, const int32_t *tokens, int32_t count,
                                    int32_t all_logits, float *logits) {
    ek_llm_engine *engine = session->engine;
    ek_llm_counters *counters = &session->counters;
    int64_t start = now_ns();
    int32_t before = session->position;
    ek_status status = evaluate(session, tokens, count, all_logits, logits);
    ek_stream_counters sums = ek_stream_count(&engine->weights.stream);
    int64_t wait_ns = sums.wait_ns - engine->counted.wait_ns;
    counters->tokens += session->position - before;
    counters->read_bytes += sums.read_bytes - engine->counted.read_bytes;
    counters->wait_ns += wait_ns;
    counters->compute_ns += now_ns() - start - wait_ns;
    engine->counted = sums;
    return status;
}

static ek_status check_tokens(const ek_llm_session *session, const int32_t *tokens, int32_t count,
                              const ek_message *message) {
    int32_t vocabulary = session->engine->model->facts.vocabulary_size;
    int32_t context = session->engine->options.context;
    if (count < 1) {
        return ek_report(message, EK_STATUS_INVALID_ARGUMENT, "%d tokens, at least 1 is needed",
                         (int)count);
    }
    for (int32_t i = 0; i < count; i++) {
        if (tokens[i] < 0 || tokens[i] >= vocabulary) {
            return ek_report(message, EK_STATUS_OUT_OF_RANGE,
                             "token %d is outside the vocabulary of %d", (int)tokens[i],
                             (int)vocabulary);
        }
    }
    if (count > context - session->position) {
        return ek_report(message, EK_STATUS_FULL,
                         "%d tokens after position %d do not fit the context of %d", (int)count,
                         (int)session->position, (int)context);
    }
    return EK_STATUS_OK;
}

static void report_storage(const ek_llm_session *session, const ek_message *message) {
    const ek_chunk *chunk = session->engine->weights.failed;
    ek_report(message, EK_STATUS_IO,
              "storage did not give %lld bytes of tensor %s at byte %lld of the model's file; the "
              "session is at position %d",
              chunk == NULL ? 0LL : (long long)chunk->bytes,
              chunk == NULL ? "(any)" : chunk->matrix->name,
              chunk == NULL ? 0LL : (long long)chunk->offset, (int)session->position);
}

ek_status ek_llm_eval(ek_llm_session *session, const int32_t *tokens, int32_t count,
                      int32_t all_logits, float *logits, char *message, size_t message_bytes) {
    ek_message said = {message, message_bytes};
    ek_report(&said, EK_STATUS_OK, "%s", "");
    if (session == NULL || tokens == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    ek_status status = check_tokens(session, tokens, count, &said);
    if (status != EK_STATUS_OK) {
        return status;
    }
    pthread_mutex_lock(&session->engine->lock);
    status = evaluate_and_count(session, tokens, count, all_logits, logits);
    if (status == EK_STATUS_IO) {
        report_storage(session, &said);
    }
    pthread_mutex_unlock(&session->engine->lock);
    if (status == EK_STATUS_CANCELLED) {
        atomic_store(&session->cancelled, 0);
        ek_report(&said, status, "the evaluation was cancelled at position %d",
                  (int)session->position);
    }
    return status;
}

int32_t ek_llm_position(const ek_llm_session *session) {
    return session == NULL ? 0 : session->position;
}

ek_status ek_llm_truncate(ek_llm_session *session, int32_t position) {
    if (session == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    if (position < 0 || position > session->position) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    session->position = position;
    return EK_STATUS_OK;
}

void ek_llm_cancel(ek_llm_session *session) {
    if (session != NULL) {
        atomic_store(&session->cancelled, 1);
    }
}

ek_status ek_llm_read_counters(const ek_llm_session *session, ek_llm_counters *counters) {
    if (session == NULL || counters == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    *counters = session->counters;
    return EK_STATUS_OK;
}
