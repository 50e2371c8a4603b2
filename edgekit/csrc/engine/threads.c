#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Short enough to give the processor up soon on a busy machine. */
enum { SPINS = 3000 };

/* `state`: bit 0 says that a loop is open, bits 1 .. 15 how many workers are in it, the bits above
 * which loop it is. */
#define OPEN ((uint64_t)1)
#define INSIDE ((uint64_t)2)
#define INSIDE_MASK ((uint64_t)0xFFFE)
#define LOOP ((uint64_t)1 << 16)

typedef struct worker {
    ek_pool *pool;
    pthread_t thread;
    int32_t index;
} worker;

struct ek_pool {
    _Atomic uint64_t state;
    _Atomic int32_t next_item;
    _Atomic int32_t sleepers;
    _Atomic int32_t ending;
    ek_work work;
    void *context;
    int32_t items;
    int32_t worker_count;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    worker workers[];
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_items(ek_pool *pool, int32_t thread) {
    for (;;) {
        int32_t item = atomic_fetch_add(&pool->next_item, 1);
        if (item >= pool->items) {
            return;
        }
        pool->work(pool->context, item, thread);
    }
}

/* Whether there is a loop that this worker has not been in. */
static int is_new(uint64_t state, uint64_t seen) {
    return (state & OPEN) != 0 && state / LOOP != seen / LOOP;
}

static uint64_t wait_for_loop(ek_pool *pool, uint64_t seen) {
    for (int i = 0; i < SPINS; i++) {
        uint64_t state = atomic_load(&pool->state);
        if (is_new(state, seen) || atomic_load(&pool->ending)) {
            return state;
        }
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    uint64_t state = atomic_load(&pool->state);
    while (!is_new(state, seen) && !atomic_load(&pool->ending)) {
        pthread_cond_wait(&pool->wake, &pool->lock);
        state = atomic_load(&pool->state);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
    return state;
}

static void *run_worker(void *argument) {
    const worker *self = argument;
    ek_pool *pool = self->pool;
    uint64_t seen = 0;
    while (!atomic_load(&pool->ending)) {
        uint64_t state = wait_for_loop(pool, seen);
        if (!is_new(state, seen) ||
            !atomic_compare_exchange_strong(&pool->state, &state, state + INSIDE)) {
            continue;
        }
        seen = state;
        take_items(pool, self->index);
        atomic_fetch_sub(&pool->state, INSIDE);
    }
    return NULL;
}

ek_pool *ek_pool_create(int32_t threads) {
    if (threads < 2) {
        return NULL;
    }
    int32_t wanted = threads - 1;
    ek_pool *pool = calloc(1, sizeof *pool + (size_t)wanted * sizeof(worker));
    if (pool == NULL) {
        return NULL;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    while (pool->worker_count < wanted) {
        worker *next = &pool->workers[pool->worker_count];
        next->pool = pool;
        next->index = pool->worker_count + 1;
        if (pthread_create(&next->thread, NULL, run_worker, next) != 0) {
            ek_pool_destroy(pool);
            return NULL;
        }
        pool->worker_count++;
    }
    return pool;
}

void ek_pool_destroy(ek_pool *pool) {
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->ending, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int32_t i = 0; i < pool->worker_count; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void ek_pool_run(ek_pool *pool, ek_work work, void *context, int32_t items) {
    if (pool == NULL || items < 2) {
        for (int32_t item = 0; item < items; item++) {
            work(context, item, 0);
        }
        return;
    }
    pool->work = work;
    pool->context = context;
    pool->items = items;
    atomic_store(&pool->next_item, 0);
    uint64_t loop = atomic_load(&pool->state) / LOOP + 1;
    atomic_store(&pool->state, loop * LOOP | OPEN);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    take_items(pool, 0);
    atomic_fetch_and(&pool->state, ~OPEN);
    for (int i = 0; (atomic_load(&pool->state) & INSIDE_MASK) != 0; i++) {
        if (i < SPINS) {
            relax();
        } else {
            sched_yield();
        }
    }
}
