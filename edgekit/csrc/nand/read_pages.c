#include <string.h>

#include "plane.h"

ek_status ek_nand_check_geometry(const ek_nand_geometry *g) {
    if (g == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    if (g->channels < 1 || g->dies < 1 || g->cores_per_die < 1 ||
        g->planes_per_die < g->cores_per_die ||
        !ek_in_range(g->page_bytes, 1, EK_NAND_MAX_PAGE_BYTES) ||
        !ek_in_range(g->page_read_ns, 0, EK_NAND_MAX_NS) ||
        !ek_in_range(g->channel_bytes_per_s, 1000000, 1000000000000)) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    if (g->channels > EK_NAND_MAX_UNITS || g->dies > EK_NAND_MAX_UNITS ||
        g->planes_per_die > EK_NAND_MAX_UNITS || g->dies * g->planes_per_die > EK_NAND_MAX_UNITS) {
        return EK_STATUS_TOO_LARGE;
    }
    return EK_STATUS_OK;
}

ek_status ek_nand_read_pages(const ek_nand_geometry *geometry, int64_t pages, int64_t depth,
                             int64_t registers, void *workspace, size_t workspace_bytes,
                             int64_t *end_ns) {
    const ek_status status = ek_nand_check_geometry(geometry);
    if (status != EK_STATUS_OK) {
        return status;
    }
    if (workspace == NULL || end_ns == NULL) {
        return EK_STATUS_NULL_ARGUMENT;
    }
    if (pages < 1 || depth < 1 || registers < 1 || registers > 2) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    if (pages > EK_NAND_MAX_PAGES) {
        return EK_STATUS_TOO_LARGE;
    }
    if ((uintptr_t)workspace % 16 != 0) {
        return EK_STATUS_SCRATCH_UNALIGNED;
    }
    const int64_t count = geometry->dies * geometry->planes_per_die;
    if (workspace_bytes < (size_t)count * sizeof(ek_nand_plane)) {
        return EK_STATUS_SCRATCH_TOO_SMALL;
    }
    ek_nand_plane *planes = workspace;
    memset(planes, 0, (size_t)count * sizeof *planes);
    const int64_t move_ns = ek_transfer_ns(geometry, geometry->page_bytes);
    int64_t channel_free_ns = 0;
    for (int64_t page = 0; page < pages; page++) {
        ek_nand_plane *plane = &planes[page % count];
        const int64_t issue_ns = page < depth ? 0 : end_ns[page - depth];
        (void)ek_plane_read(plane, issue_ns, geometry->page_read_ns);
        channel_free_ns = ek_later(channel_free_ns, plane->ready_ns) + move_ns;
        end_ns[page] = channel_free_ns;
        plane->cache_free_ns = channel_free_ns;
        if (registers == 1) {
            plane->array_free_ns = channel_free_ns;
        }
    }
    return EK_STATUS_OK;
}
