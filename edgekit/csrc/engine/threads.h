/* A pool of threads for loops whose items do not depend on each other. */
#ifndef EDGEKIT_ENGINE_THREADS_H
#define EDGEKIT_ENGINE_THREADS_H

#include <stdint.h>

/* `thread` is 0 .. threads - 1; two items with the same one never run at the same time. */
typedef void (*ek_work)(void *context, int32_t item, int32_t thread);

typedef struct ek_pool ek_pool;

/* NULL where threads cannot be started, and for one thread, which needs no pool. */
ek_pool *ek_pool_create(int32_t threads);
void ek_pool_destroy(ek_pool *pool);

/* Returns when all items are done. The caller computes too, so that a thread that the machine does
 * not run delays nothing but the item it holds. `pool` may be NULL. */
void ek_pool_run(ek_pool *pool, ek_work work, void *context, int32_t items);

#endif
