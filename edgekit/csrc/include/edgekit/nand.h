/* NAND flash that computes, event by event: which command holds which plane and channel, and when.
 *
 * One token is a list of products of a weight matrix with a vector. A matrix is cut into tiles; a
 * tile is either computed in flash, in one round of read-compute requests (each core multiplies a
 * page), or its pages are streamed to the processor beside the flash, which multiplies them. Every
 * page of every channel is simulated; channels meet only at the ends of products.
 *
 * A read-compute request: its slice of the input vector goes over the channel, once for all cores;
 * each core's plane reads a page into its data register (tR) and moves it to the cache register
 * when the core is done with the page before; the core multiplies; its results go back. The next
 * request of a plane begins when its data register is free. Where the channel is wanted by more
 * than one: input before results before streamed pages; the channel finishes the slice it is at.
 *
 * Streamed pages are read by the planes that no core uses, ahead of time, since weights are known;
 * they cross the channel in order, in slices that fill the gaps.
 *
 * All times are whole nanoseconds from the begin of the token. No allocation, no recursion, no
 * global state: all memory comes from the caller.
 *
 * Source: Cambricon-LLM (arXiv 2409.15654), sections IV and V.
 */
#ifndef EDGEKIT_NAND_H
#define EDGEKIT_NAND_H

#include <stddef.h>
#include <stdint.h>

#include "edgekit/status.h"
#include "edgekit/version.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EK_NAND_MAX_UNITS 65536                /* channels, and planes of a channel */
#define EK_NAND_MAX_PRODUCTS 1048576           /* of a token */
#define EK_NAND_MAX_PAGES ((int64_t)1 << 30)   /* of a token */
#define EK_NAND_MAX_PAGE_BYTES 1048576         /* also of a slice, an input or a result */
#define EK_NAND_MAX_NS ((int64_t)1000000000)   /* of one operation */
#define EK_NAND_MAX_SIDE ((int64_t)1 << 24)    /* rows or columns */
#define EK_NAND_WHOLE_SHARE ((int64_t)1 << 32) /* a streamed share of 1 */

typedef struct ek_nand_geometry {
    int64_t channels;
    int64_t dies;                /* of a channel */
    int64_t planes_per_die;      /* >= cores_per_die */
    int64_t cores_per_die;       /* each has a plane; the other planes stream */
    int64_t page_bytes;          /* 1 .. EK_NAND_MAX_PAGE_BYTES */
    int64_t page_read_ns;        /* tR, 0 .. EK_NAND_MAX_NS */
    int64_t channel_bytes_per_s; /* 10^6 .. 10^12 */
} ek_nand_geometry;

typedef struct ek_nand_product {
    int64_t rows, columns;           /* outputs and inputs, 1 .. EK_NAND_MAX_SIDE */
    int64_t tile_rows, tile_columns; /* multiples of the cores of a channel, and of the channels */
    int64_t weight_bits;             /* 1 .. 16 */
    int64_t delay_ns;                /* before it, with no product under way; 0 .. 10^12 */
    int64_t streamed_share; /* of its tiles, 0 .. EK_NAND_WHOLE_SHARE; more than 0 needs a plane
                               that no core uses */
} ek_nand_product;

typedef struct ek_nand_options {
    int64_t slice_bytes;  /* a streamed page holds the channel for so many, 1 .. page_bytes */
    int64_t input_bytes;  /* of an element of the vector on the channel, 1 .. 8 */
    int64_t result_bytes; /* of a result on the channel, 1 .. 8 */
    int64_t compute_ns;   /* of a core for a page, 0 .. EK_NAND_MAX_NS */
    int64_t buffer_pages; /* of a channel that may lie at the processor before their product */
    int64_t hold_channel; /* 1: a read-compute request holds the channel from input to results */
    int64_t stream_idle;  /* 1: pages stream in delay_ns too */
    int64_t log_from_ns;  /* events that begin in [log_from_ns, log_until_ns) are logged */
    int64_t log_until_ns;
} ek_nand_options;

typedef enum ek_nand_kind {
    EK_NAND_INPUT = 0,        /* channel: the slice of the input vector */
    EK_NAND_COMPUTE_READ = 1, /* plane of a core: array to data register */
    EK_NAND_MULTIPLY = 2,     /* core */
    EK_NAND_RESULT = 3,       /* channel: results of a core */
    EK_NAND_PAGE_READ = 4,    /* streaming plane: array to data register */
    EK_NAND_PAGE_MOVE = 5,    /* channel: slices of a page, one after another */
} ek_nand_kind;

typedef struct ek_nand_event {
    int64_t start_ns, end_ns;
    int64_t sequence; /* round of its product; page of its channel where pages stream */
    int32_t kind;     /* ek_nand_kind */
    int32_t channel;
    int32_t unit;    /* core, or streaming plane, of the channel; -1 for an input */
    int32_t product; /* under way then */
} ek_nand_event;

typedef struct ek_nand_result {
    int64_t end_ns;       /* of the token */
    int64_t input_ns;     /* the channels, added up, carry input, */
    int64_t result_ns;    /* results, */
    int64_t page_ns;      /* and streamed pages */
    int64_t starved_ns;   /* products that wait for streamed pages only */
    int64_t rounds;       /* tiles computed in flash */
    int64_t tiles;        /* all tiles */
    int64_t read_pages;   /* reads that began for a core */
    int64_t result_pages; /* pages whose results came back */
    int64_t streamed_pages;
    int64_t moved_pages;       /* streamed pages that arrived */
    int64_t flash_bytes;       /* weights computed in flash */
    int64_t stream_bytes;      /* weights streamed */
    int64_t buffer_peak_pages; /* of all channels, before their product began */
    int64_t events;            /* simulated */
    int64_t logged;            /* events within the window, also those beyond log_capacity */
} ek_nand_result;

/* Bytes of workspace that ek_nand_simulate needs, 0 where it refuses the arguments. */
EK_API size_t ek_nand_workspace_bytes(const ek_nand_geometry *geometry, size_t products);

/* Simulates one token.
 *
 * products   `count` of them, 1 .. EK_NAND_MAX_PRODUCTS, one after another
 * log        `log_capacity` entries, written up to result->logged; may be NULL for 0
 * workspace  aligned to 16 bytes; contents need not be set and mean nothing afterwards
 *
 * Which tiles stream is decided in order, columns first: the shares are added up over the token, of
 * tiles and of bytes (tiles at the edges have fewer), and a tile streams when both sums together
 * have grown by what it would take from them.
 *
 * Returns EK_STATUS_NULL_ARGUMENT, EK_STATUS_INVALID_ARGUMENT (a value breaks the rules above),
 * EK_STATUS_TOO_LARGE (more than EK_NAND_MAX_PAGES, or products, or units),
 * EK_STATUS_SCRATCH_TOO_SMALL or EK_STATUS_SCRATCH_UNALIGNED; nothing is written then.
 */
EK_API ek_status ek_nand_simulate(const ek_nand_geometry *geometry, const ek_nand_product *products,
                                  size_t count, const ek_nand_options *options, ek_nand_event *log,
                                  size_t log_capacity, void *workspace, size_t workspace_bytes,
                                  ek_nand_result *result);

/* Reads pages in order from the planes of one channel in turn, as a host does: at most `depth` of
 * them are asked for at a time.
 *
 * registers  of a plane: 1 (a page leaves before the next is read) or 2 (data and cache register)
 * end_ns     `pages` values: when each has crossed the channel
 *
 * Returns EK_STATUS_NULL_ARGUMENT, EK_STATUS_INVALID_ARGUMENT, EK_STATUS_TOO_LARGE (more than
 * EK_NAND_MAX_PAGES or units), EK_STATUS_SCRATCH_TOO_SMALL or EK_STATUS_SCRATCH_UNALIGNED. The
 * workspace is that of ek_nand_simulate with one product.
 */
EK_API ek_status ek_nand_read_pages(const ek_nand_geometry *geometry, int64_t pages, int64_t depth,
                                    int64_t registers, void *workspace, size_t workspace_bytes,
                                    int64_t *end_ns);

#ifdef __cplusplus
}
#endif

#endif
