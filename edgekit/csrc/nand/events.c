#include <assert.h>
#include <string.h>

#include "plane.h"

static_assert(sizeof(ek_nand_geometry) == 56, "mirrored by emulators/nand_events.py");
static_assert(sizeof(ek_nand_product) == 56, "mirrored by emulators/nand_events.py");
static_assert(sizeof(ek_nand_options) == 72, "mirrored by emulators/nand_events.py");
static_assert(sizeof(ek_nand_event) == 40, "mirrored by emulators/nand_events.py");
static_assert(sizeof(ek_nand_result) == 128, "mirrored by emulators/nand_events.py");

#define ONE ((int64_t)1 << 16)
#define WHOLE EK_NAND_WHOLE_SHARE
#define MAX_DELAY_NS ((int64_t)1000000000000)
#define MAX_TOKEN_NS ((int64_t)1 << 60)

/* What should have streamed by now and has not, in parts of a full tile: WHOLE is one. */
typedef struct leftover {
    int64_t tiles, bytes;
} leftover;

typedef struct channel {
    int64_t free_ns;      /* nothing crosses it any more */
    int64_t next_page;    /* of the streamed pages, the one that crosses next */
    int64_t left_bytes;   /* of that page, where it has begun to cross; else 0 */
    int64_t pages;        /* streamed in this token */
    int64_t due;          /* streamed until the end of the product under way */
    int64_t last_page_ns; /* the last streamed page arrived */
    int64_t last_result_ns;
    int64_t round;            /* whose results wait */
    int64_t *result_bytes;    /* of each core; 0 where no result waits */
    ek_nand_plane *cores;     /* their planes; the cache register is free when the core is done */
    ek_nand_plane *streaming; /* the other planes */
} channel;

typedef struct simulation {
    const ek_nand_geometry *geometry;
    const ek_nand_options *options;
    const ek_nand_product *products;
    ek_nand_event *log;
    size_t log_capacity;
    ek_nand_result *result;
    channel *channels;
    int64_t *page_sums;       /* count + 1: streamed pages of all channels before each product */
    leftover *leftovers;      /* before each product */
    int64_t cores, streaming; /* of a channel */
    int32_t product;
    int32_t channel;
} simulation;

static void note(simulation *s, ek_nand_kind kind, int64_t unit, int64_t sequence, int64_t start_ns,
                 int64_t end_ns) {
    s->result->events++;
    if (start_ns < s->options->log_from_ns || start_ns >= s->options->log_until_ns) {
        return;
    }
    if ((size_t)s->result->logged < s->log_capacity) {
        s->log[s->result->logged] = (ek_nand_event){
            start_ns, end_ns, sequence, (int32_t)kind, s->channel, (int32_t)unit, s->product};
    }
    s->result->logged++;
}

/* --- Streamed pages --- */

static void read_streamed(simulation *s, channel *ch, int64_t page, int64_t issue_ns) {
    const int64_t unit = page % s->streaming;
    const int64_t begin = ek_plane_read(&ch->streaming[unit], issue_ns, s->geometry->page_read_ns);
    note(s, EK_NAND_PAGE_READ, unit, page, begin, begin + s->geometry->page_read_ns);
}

static void finish_page(simulation *s, channel *ch) {
    ek_nand_plane *plane = &ch->streaming[ch->next_page % s->streaming];
    plane->cache_free_ns = ch->last_page_ns = ch->free_ns;
    if (ch->next_page + s->streaming < ch->pages) {
        read_streamed(s, ch, ch->next_page + s->streaming, plane->array_free_ns);
    }
    ch->next_page++;
    s->result->moved_pages++;
}

/* Bytes of a page whose slices begin within a time that is shorter than they need. */
static int64_t bytes_within(const simulation *s, int64_t window_ns) {
    const int64_t slice = s->options->slice_bytes;
    const int64_t step = slice * 1000000000;
    return (window_ns * s->geometry->channel_bytes_per_s + step - 1) / step * slice;
}

/* Lets pages cross the channel in slices that begin before a time, up to a page (exclusive). */
static void stream(simulation *s, channel *ch, int64_t until_ns, int64_t end_page) {
    while (ch->next_page < end_page) {
        const int64_t unit = ch->next_page % s->streaming;
        const int64_t begin = ek_later(ch->free_ns, ch->streaming[unit].ready_ns);
        if (begin >= until_ns) {
            return;
        }
        int64_t bytes = ch->left_bytes > 0 ? ch->left_bytes : s->geometry->page_bytes;
        ch->left_bytes = 0;
        const int64_t window_ns = until_ns - begin;
        if (window_ns < ek_transfer_ns(s->geometry, bytes)) {
            const int64_t fitting = bytes_within(s, window_ns);
            if (fitting < bytes) {
                ch->left_bytes = bytes - fitting;
                bytes = fitting;
            }
        }
        ch->free_ns = begin + ek_transfer_ns(s->geometry, bytes);
        s->result->page_ns += ch->free_ns - begin;
        note(s, EK_NAND_PAGE_MOVE, unit, ch->next_page, begin, ch->free_ns);
        if (ch->left_bytes == 0) {
            finish_page(s, ch);
        }
    }
}

/* The last page (exclusive) that there is room for at the processor. */
static int64_t page_limit(const simulation *s, const channel *ch) {
    const int64_t room = ch->pages - ch->due;
    return ch->due + (room < s->options->buffer_pages ? room : s->options->buffer_pages);
}

static void fill_gap(simulation *s, channel *ch, int64_t until_ns) {
    stream(s, ch, until_ns, page_limit(s, ch));
}

/* --- Read-compute requests --- */

/* Moves what cores have finished before a time. */
static void return_results(simulation *s, channel *ch, int64_t before_ns) {
    for (int64_t core = 0; core < s->cores; core++) {
        if (ch->result_bytes[core] == 0 || ch->cores[core].cache_free_ns >= before_ns) {
            continue;
        }
        fill_gap(s, ch, ch->cores[core].cache_free_ns);
        const int64_t begin = ek_later(ch->free_ns, ch->cores[core].cache_free_ns);
        ch->free_ns = begin + ek_transfer_ns(s->geometry, ch->result_bytes[core]);
        ch->result_bytes[core] = 0;
        s->result->result_ns += ch->free_ns - begin;
        s->result->result_pages++;
        ch->last_result_ns = ch->free_ns;
        note(s, EK_NAND_RESULT, core, ch->round, begin, ch->free_ns);
    }
}

/* One page for each core that has rows in this tile. */
static void start_cores(simulation *s, channel *ch, int64_t rows, int64_t issue_ns) {
    const int64_t page_rows = s->products[s->product].tile_rows / s->cores;
    for (int64_t core = 0; core * page_rows < rows; core++) {
        ek_nand_plane *plane = &ch->cores[core];
        const int64_t left = rows - core * page_rows;
        const int64_t begin = ek_plane_read(plane, issue_ns, s->geometry->page_read_ns);
        note(s, EK_NAND_COMPUTE_READ, core, ch->round, begin, begin + s->geometry->page_read_ns);
        plane->cache_free_ns = plane->ready_ns + s->options->compute_ns;
        if (s->options->compute_ns > 0) {
            note(s, EK_NAND_MULTIPLY, core, ch->round, plane->ready_ns, plane->cache_free_ns);
        }
        ch->result_bytes[core] = (left < page_rows ? left : page_rows) * s->options->result_bytes;
        s->result->read_pages++;
    }
}

static int64_t arrays_free_ns(const simulation *s, const channel *ch) {
    int64_t free_ns = 0;
    for (int64_t core = 0; core < s->cores; core++) {
        free_ns = ek_later(free_ns, ch->cores[core].array_free_ns);
    }
    return free_ns;
}

/* The channel waits for the cores, and carries nothing until their results are back. */
static void hold_channel(simulation *s, channel *ch) {
    for (int64_t core = 0; core < s->cores; core++) {
        ch->free_ns = ek_later(ch->free_ns, ch->cores[core].cache_free_ns);
    }
    return_results(s, ch, INT64_MAX);
}

/* Results of the round before that are ready leave first; the others leave after the input, while
 * the arrays read again. They are ready before the arrays are free once more. */
static void run_round(simulation *s, channel *ch, int64_t round, int64_t rows, int64_t columns,
                      int64_t start_ns) {
    const int64_t ready_ns = ek_later(start_ns, arrays_free_ns(s, ch));
    return_results(s, ch, ready_ns);
    fill_gap(s, ch, ready_ns);
    const int64_t begin = ek_later(ch->free_ns, ready_ns);
    const int64_t issue_ns = begin + ek_transfer_ns(s->geometry, columns * s->options->input_bytes);
    ch->free_ns = issue_ns;
    s->result->input_ns += issue_ns - begin;
    note(s, EK_NAND_INPUT, -1, round, begin, issue_ns);
    return_results(s, ch, INT64_MAX);
    ch->round = round;
    start_cores(s, ch, rows, issue_ns);
    if (s->options->hold_channel) {
        hold_channel(s, ch);
    }
}

/* --- Products --- */

static int64_t tiles_along(int64_t length, int64_t tile) { return (length + tile - 1) / tile; }

static int64_t within(int64_t length, int64_t begin, int64_t most) {
    const int64_t left = length - begin;
    return left < 0 ? 0 : left < most ? left : most;
}

static int64_t bytes_of(const ek_nand_product *product, int64_t rows, int64_t columns) {
    return (rows * columns * product->weight_bits + 7) / 8;
}

/* Adds what of a tile should stream to what is left over, of tiles and of bytes. The tile streams
 * if that brings both together closer to nothing, and nothing streams before its time: so that
 * neither the flash nor the channels get more than their share, whatever of the tiles are full. */
static bool takes_stream(const ek_nand_product *product, int64_t rows, int64_t columns,
                         leftover *left) {
    const int64_t filled =
        (rows * ONE / product->tile_rows) * (columns * ONE / product->tile_columns) / ONE;
    left->tiles += product->streamed_share;
    left->bytes += product->streamed_share * filled / ONE;
    if (left->tiles + left->bytes / ONE * filled < WHOLE + WHOLE / ONE * filled / ONE * filled) {
        return false;
    }
    left->tiles -= WHOLE;
    left->bytes -= WHOLE / ONE * filled;
    return true;
}

/* Which tiles stream, and how many pages they fill: those of a product lie close together. */
static void divide_products(simulation *s, size_t count) {
    leftover left = {0, 0};
    s->page_sums[0] = 0;
    for (size_t p = 0; p < count; p++) {
        const ek_nand_product *product = &s->products[p];
        int64_t streamed_bytes = 0;
        s->leftovers[p] = left;
        for (int64_t row = 0; row < product->rows; row += product->tile_rows) {
            const int64_t rows = within(product->rows, row, product->tile_rows);
            for (int64_t column = 0; column < product->columns; column += product->tile_columns) {
                const int64_t columns = within(product->columns, column, product->tile_columns);
                const int64_t bytes = bytes_of(product, rows, columns);
                s->result->tiles++;
                if (takes_stream(product, rows, columns, &left)) {
                    streamed_bytes += bytes;
                } else {
                    s->result->rounds++;
                    s->result->flash_bytes += bytes;
                }
            }
        }
        s->result->stream_bytes += streamed_bytes;
        s->page_sums[p + 1] =
            s->page_sums[p] + tiles_along(streamed_bytes, s->geometry->page_bytes);
    }
    s->result->streamed_pages = s->page_sums[count];
}

/* Of the first pages of all channels, those of one: they are dealt out in turn. */
static int64_t share_of(const simulation *s, int64_t pages, int64_t channel_index) {
    return (pages - channel_index + s->geometry->channels - 1) / s->geometry->channels;
}

/* The part of a product that lies on one channel; returns when its last result is back. */
static int64_t compute_product(simulation *s, channel *ch, int64_t start_ns) {
    const ek_nand_product *product = &s->products[s->product];
    const int64_t page_columns = product->tile_columns / s->geometry->channels;
    leftover left = s->leftovers[s->product];
    int64_t round = 0;
    for (int64_t row = 0; row < product->rows; row += product->tile_rows) {
        const int64_t rows = within(product->rows, row, product->tile_rows);
        for (int64_t column = 0; column < product->columns; column += product->tile_columns) {
            const int64_t columns = within(product->columns, column, product->tile_columns);
            const int64_t own = within(columns, s->channel * page_columns, page_columns);
            if (!takes_stream(product, rows, columns, &left) && own > 0) {
                run_round(s, ch, round, rows, own, start_ns);
            }
            round++;
        }
    }
    return_results(s, ch, INT64_MAX);
    return ek_later(ch->last_result_ns, start_ns);
}

/* Runs a product on every channel; returns when all of it is at the processor. */
static int64_t run_product(simulation *s, int64_t start_ns) {
    int64_t computed_ns = start_ns, end_ns = start_ns, buffered = 0;
    for (s->channel = 0; s->channel < s->geometry->channels; s->channel++) {
        channel *ch = &s->channels[s->channel];
        if (!s->options->stream_idle) {
            ch->free_ns = ek_later(ch->free_ns, start_ns);
        }
        ch->due = share_of(s, s->page_sums[s->product + 1], s->channel);
        const int64_t done_ns = compute_product(s, ch, start_ns);
        computed_ns = ek_later(computed_ns, done_ns);
        stream(s, ch, INT64_MAX, ch->due);
        end_ns = ek_later(end_ns, ch->next_page == ch->due ? ch->last_page_ns : 0);
    }
    end_ns = ek_later(end_ns, computed_ns);
    for (s->channel = 0; s->channel < s->geometry->channels; s->channel++) {
        channel *ch = &s->channels[s->channel];
        fill_gap(s, ch, end_ns);
        buffered += ch->next_page - ch->due;
    }
    s->result->starved_ns += end_ns - computed_ns;
    s->result->buffer_peak_pages = ek_later(s->result->buffer_peak_pages, buffered);
    return end_ns;
}

/* --- Arguments and workspace --- */

static bool are_options_legal(const ek_nand_geometry *g, const ek_nand_options *o) {
    return ek_in_range(o->slice_bytes, 1, g->page_bytes) && ek_in_range(o->input_bytes, 1, 8) &&
           ek_in_range(o->result_bytes, 1, 8) && ek_in_range(o->compute_ns, 0, EK_NAND_MAX_NS) &&
           o->buffer_pages >= 0 && ek_in_range(o->hold_channel, 0, 1) &&
           ek_in_range(o->stream_idle, 0, 1);
}

static bool is_product_legal(const ek_nand_geometry *g, const ek_nand_product *p) {
    const int64_t cores = g->dies * g->cores_per_die;
    if (!ek_in_range(p->rows, 1, EK_NAND_MAX_SIDE) ||
        !ek_in_range(p->columns, 1, EK_NAND_MAX_SIDE) || !ek_in_range(p->weight_bits, 1, 16) ||
        !ek_in_range(p->delay_ns, 0, MAX_DELAY_NS) ||
        !ek_in_range(p->streamed_share, 0, EK_NAND_WHOLE_SHARE) || p->tile_rows < 1 ||
        p->tile_columns < 1 || p->tile_rows % cores != 0 || p->tile_columns % g->channels != 0) {
        return false;
    }
    if (p->streamed_share > 0 && g->planes_per_die == g->cores_per_die) {
        return false;
    }
    const int64_t page_weights = g->page_bytes * 8 / p->weight_bits;
    return p->tile_columns / g->channels <= page_weights &&
           p->tile_rows / cores <= page_weights / (p->tile_columns / g->channels);
}

/* The longest that the rounds of a product may take, all one after another; -1 where it is beyond
 * what is simulated. */
static int64_t longest_ns(const ek_nand_geometry *g, const ek_nand_product *p,
                          const ek_nand_options *o) {
    const int64_t cores = g->dies * g->cores_per_die;
    const int64_t input_bytes = p->tile_columns / g->channels * o->input_bytes;
    const int64_t result_bytes = p->tile_rows / cores * o->result_bytes;
    const int64_t round_ns = g->page_read_ns + o->compute_ns + ek_transfer_ns(g, input_bytes) +
                             cores * ek_transfer_ns(g, result_bytes);
    const int64_t tiles =
        tiles_along(p->rows, p->tile_rows) * tiles_along(p->columns, p->tile_columns);
    return tiles > EK_NAND_MAX_PAGES || round_ns > MAX_TOKEN_NS / tiles ? -1 : tiles * round_ns;
}

static ek_status check_products(const ek_nand_geometry *g, const ek_nand_product *products,
                                size_t count, const ek_nand_options *options) {
    const int64_t tile_pages = g->channels * g->dies * g->cores_per_die;
    int64_t pages = 0, token_ns = 0;
    for (size_t i = 0; i < count; i++) {
        const ek_nand_product *p = &products[i];
        if (!is_product_legal(g, p)) {
            return EK_STATUS_INVALID_ARGUMENT;
        }
        const int64_t product_ns = longest_ns(g, p, options);
        if (product_ns < 0) {
            return EK_STATUS_TOO_LARGE;
        }
        const int64_t tiles =
            tiles_along(p->rows, p->tile_rows) * tiles_along(p->columns, p->tile_columns);
        if (tiles > (EK_NAND_MAX_PAGES - pages) / tile_pages) {
            return EK_STATUS_TOO_LARGE;
        }
        pages += tiles * tile_pages;
        token_ns += product_ns;
        if (token_ns > MAX_TOKEN_NS) {
            return EK_STATUS_TOO_LARGE;
        }
    }
    return EK_STATUS_OK;
}

/* Takes `count` items of `size` bytes; only counts where there is no memory. */
static void *take(uint8_t *memory, size_t *used, int64_t count, size_t size) {
    void *place = memory == NULL ? NULL : memory + *used;
    *used += ((size_t)count * size + 15) & ~(size_t)15;
    return place;
}

/* Points into the workspace, and clears it; returns the bytes used. */
static size_t lay_out(simulation *s, size_t count, uint8_t *memory) {
    const ek_nand_geometry *g = s->geometry;
    size_t used = 0;
    s->cores = g->dies * g->cores_per_die;
    s->streaming = g->dies * (g->planes_per_die - g->cores_per_die);
    s->channels = take(memory, &used, g->channels, sizeof(channel));
    ek_nand_plane *cores = take(memory, &used, g->channels * s->cores, sizeof(ek_nand_plane));
    ek_nand_plane *others = take(memory, &used, g->channels * s->streaming, sizeof(ek_nand_plane));
    int64_t *results = take(memory, &used, g->channels * s->cores, sizeof(int64_t));
    s->page_sums = take(memory, &used, (int64_t)count + 1, sizeof(int64_t));
    s->leftovers = take(memory, &used, (int64_t)count, sizeof(leftover));
    if (memory == NULL) {
        return used;
    }
    memset(memory, 0, used);
    for (int64_t c = 0; c < g->channels; c++) {
        s->channels[c].cores = cores + c * s->cores;
        s->channels[c].streaming = others + c * s->streaming;
        s->channels[c].result_bytes = results + c * s->cores;
    }
    return used;
}

size_t ek_nand_workspace_bytes(const ek_nand_geometry *geometry, size_t products) {
    simulation s = {.geometry = geometry};
    if (ek_nand_check_geometry(geometry) != EK_STATUS_OK || products < 1 ||
        products > EK_NAND_MAX_PRODUCTS) {
        return 0;
    }
    return lay_out(&s, products, NULL);
}

/* --- The token --- */

static void begin_streaming(simulation *s) {
    for (s->channel = 0; s->channel < s->geometry->channels; s->channel++) {
        channel *ch = &s->channels[s->channel];
        ch->pages = share_of(s, s->result->streamed_pages, s->channel);
        for (int64_t page = 0; page < s->streaming && page < ch->pages; page++) {
            read_streamed(s, ch, page, 0);
        }
    }
}

ek_status ek_nand_simulate(const ek_nand_geometry *geometry, const ek_nand_product *products,
                           size_t count, const ek_nand_options *options, ek_nand_event *log,
                           size_t log_capacity, void *workspace, size_t workspace_bytes,
                           ek_nand_result *result) {
    ek_status status = ek_nand_check_geometry(geometry);
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (products == NULL || options == NULL || workspace == NULL || result == NULL ||
        (log == NULL && log_capacity > 0)) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    if (count > EK_NAND_MAX_PRODUCTS) {
        return EK_STATUS_TOO_LARGE;
    }
    if (count < 1 || !are_options_legal(geometry, options)) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    status = check_products(geometry, products, count, options);
    if (status != EK_STATUS_OK) {
        return status;
    }
    if ((uintptr_t)workspace % 16 != 0) {
        return EK_STATUS_SCRATCH_UNALIGNED;
    }
    if (workspace_bytes < ek_nand_workspace_bytes(geometry, count)) {
        return EK_STATUS_SCRATCH_TOO_SMALL;
    }
    simulation s = {.geometry = geometry, .options = options, .products = products};
    s.log = log;
    s.log_capacity = log_capacity;
    s.result = result;
    memset(result, 0, sizeof *result);
    (void)lay_out(&s, count, workspace);
    divide_products(&s, count);
    begin_streaming(&s);
    for (; s.product < (int32_t)count; s.product++) {
        result->end_ns = run_product(&s, result->end_ns + products[s.product].delay_ns);
    }
    return EK_STATUS_OK;
}
