/* Choosing a token: repetition penalty (Keskar et al., "CTRL", arXiv 1909.05858, section 4.1),
 * top-k, top-p (Holtzman et al., arXiv 1904.09751), min-p (Nguyen et al., arXiv 2407.01082),
 * temperature, one draw of PCG32 (O'Neill, "PCG", HMC-CS-2014-0905, variant XSH-RR).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "edgekit/llm.h"
#include "scalar_math.h"

_Static_assert(sizeof(ek_llm_sampling) == 32, "ek_llm_sampling");

typedef struct candidate {
    float logit;
    int32_t token;
} candidate;

struct ek_llm_sampler {
    ek_llm_sampling sampling;
    int32_t vocabulary_size;
    uint64_t state; /* of PCG32 */
    double *weights;
    candidate candidates[];
};

static uint32_t draw_bits(ek_llm_sampler *sampler) {
    uint64_t old = sampler->state;
    sampler->state = old * 6364136223846793005u + 1442695040888963407u;
    uint32_t mixed = (uint32_t)(((old >> 18) ^ old) >> 27);
    uint32_t turn = (uint32_t)(old >> 59);
    return (mixed >> turn) | (mixed << ((32 - turn) & 31));
}

static int is_in(float value, float low, float high) { return value >= low && value <= high; }

ek_status ek_llm_sampler_open(int32_t vocabulary_size, const ek_llm_sampling *sampling,
                              ek_llm_sampler **sampler) {
    if (sampling == NULL || sampler == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    *sampler = NULL;
    if (vocabulary_size < 1 || !is_in(sampling->temperature, 0.0f, 1e6f) ||
        !is_in(sampling->top_p, 0.0f, 1.0f) || !is_in(sampling->min_p, 0.0f, 1.0f) ||
        !is_in(sampling->repetition_penalty, 0.0f, 1e6f) || sampling->top_k < 0) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    size_t count = (size_t)vocabulary_size;
    ek_llm_sampler *opened = calloc(1, sizeof *opened + count * sizeof(candidate));
    if (opened == NULL) {
        return EK_STATUS_OUT_OF_MEMORY;
    }
    opened->weights = calloc(count, sizeof *opened->weights);
    if (opened->weights == NULL) {
        free(opened);
        return EK_STATUS_OUT_OF_MEMORY;
    }
    opened->sampling = *sampling;
    opened->vocabulary_size = vocabulary_size;
    draw_bits(opened);
    opened->state += sampling->seed;
    draw_bits(opened);
    *sampler = opened;
    return EK_STATUS_OK;
}

void ek_llm_sampler_close(ek_llm_sampler *sampler) {
    if (sampler != NULL) {
        free(sampler->weights);
        free(sampler);
    }
}

/* Whether `left` comes first: the larger logit, of equals the lower token. */
static int comes_first(const candidate *left, const candidate *right) {
    return left->logit > right->logit ||
           (left->logit == right->logit && left->token < right->token);
}

static void sift_down(candidate *heap, int32_t count, int32_t at) {
    for (;;) {
        int32_t best = at;
        for (int32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            best = comes_first(&heap[child], &heap[best]) ? child : best;
        }
        if (best == at) {
            return;
        }
        candidate moved = heap[at];
        heap[at] = heap[best];
        heap[best] = moved;
        at = best;
    }
}

static void penalise(ek_llm_sampler *sampler, const int32_t *recent, int32_t recent_count) {
    float penalty = sampler->sampling.repetition_penalty;
    if (penalty == 0.0f || penalty == 1.0f) {
        return;
    }
    for (int32_t i = 0; i < recent_count; i++) {
        int32_t token = recent[i];
        int seen = token < 0 || token >= sampler->vocabulary_size;
        for (int32_t j = 0; j < i && !seen; j++) {
            seen = recent[j] == token; /* once for each token */
        }
        if (!seen) {
            float *logit = &sampler->candidates[token].logit;
            *logit = *logit > 0.0f ? *logit / penalty : *logit * penalty;
        }
    }
}

static int32_t most_likely(const ek_llm_sampler *sampler) {
    int32_t best = 0;
    for (int32_t i = 1; i < sampler->vocabulary_size; i++) {
        best = comes_first(&sampler->candidates[i], &sampler->candidates[best]) ? i : best;
    }
    return sampler->candidates[best].token;
}

static double weight_of(float logit, float maximum) { return (double)ek_exp(logit - maximum); }

/* Takes the most likely ones from the heap to the end of the array, in order, as long as top-k,
 * top-p and min-p let them. Returns how many. */
static int32_t keep_likely(ek_llm_sampler *sampler) {
    const ek_llm_sampling *s = &sampler->sampling;
    candidate *heap = sampler->candidates;
    int32_t count = sampler->vocabulary_size;
    int32_t limit = s->top_k > 0 && s->top_k < count ? s->top_k : count;
    for (int32_t i = count / 2 - 1; i >= 0; i--) {
        sift_down(heap, count, i);
    }
    float maximum = heap[0].logit;
    for (int32_t kept = 0; kept < limit; kept++) {
        int32_t last = count - 1 - kept;
        candidate first = heap[0];
        heap[0] = heap[last];
        heap[last] = first;
        sift_down(heap, last, 0);
    }
    double total = 0.0;
    for (int32_t i = 0; i < limit; i++) {
        total += weight_of(heap[count - 1 - i].logit, maximum);
    }
    double share = s->top_p == 0.0f ? 1.0 : (double)s->top_p;
    double sum = 0.0;
    int32_t kept = 0;
    while (kept < limit) {
        double weight = weight_of(heap[count - 1 - kept].logit, maximum);
        if (kept > 0 && (weight < (double)s->min_p || (share < 1.0 && sum >= share * total))) {
            break;
        }
        sum += weight;
        kept++;
    }
    return kept;
}

static int32_t draw(ek_llm_sampler *sampler, int32_t kept) {
    const candidate *first = sampler->candidates + sampler->vocabulary_size - 1;
    float inverse = 1.0f / sampler->sampling.temperature;
    double total = 0.0;
    for (int32_t i = 0; i < kept; i++) {
        sampler->weights[i] = weight_of((first - i)->logit * inverse, first->logit * inverse);
        total += sampler->weights[i];
    }
    double point = (double)draw_bits(sampler) * 0x1p-32 * total;
    for (int32_t i = 0; i < kept - 1; i++) {
        point -= sampler->weights[i];
        if (point < 0.0) {
            return (first - i)->token;
        }
    }
    return (first - (kept - 1))->token;
}

ek_status ek_llm_sample(ek_llm_sampler *sampler, const float *logits, const int32_t *recent,
                        int32_t recent_count, int32_t *token) {
    if (sampler == NULL || logits == NULL || token == NULL ||
        (recent == NULL && recent_count > 0)) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    for (int32_t i = 0; i < sampler->vocabulary_size; i++) {
        if (isnan(logits[i])) {
            return EK_STATUS_INVALID_ARGUMENT;
        }
        sampler->candidates[i] = (candidate){logits[i], i};
    }
    penalise(sampler, recent, recent_count);
    *token = sampler->sampling.temperature == 0.0f ? most_likely(sampler)
                                                   : draw(sampler, keep_likely(sampler));
    return EK_STATUS_OK;
}
