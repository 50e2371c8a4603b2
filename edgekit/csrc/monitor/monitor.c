#include "monitor.h"

#include <string.h>

#define WRITE_HEADER 5u

typedef ek_status (*handler)(ek_monitor *monitor);

static uint8_t *answer_end(ek_monitor *monitor) {
    return monitor->answer.body + monitor->answer.body_bytes;
}

static void append(ek_monitor *monitor, const void *data, size_t bytes) {
    const size_t room = EK_FRAME_MAX_BODY - monitor->answer.body_bytes;
    const size_t taken = bytes < room ? bytes : room;
    memcpy(answer_end(monitor), data, taken);
    monitor->answer.body_bytes = (uint8_t)(monitor->answer.body_bytes + taken);
}

static void append_u8(ek_monitor *monitor, uint32_t value) {
    const uint8_t byte = (uint8_t)value;
    append(monitor, &byte, 1);
}

static void append_u32(ek_monitor *monitor, uint32_t value) {
    uint8_t bytes[4];
    ek_put_u32(bytes, value);
    append(monitor, bytes, sizeof bytes);
}

static void append_text(ek_monitor *monitor, const char *text) {
    for (; *text != 0; ++text) {
        append(monitor, text, 1);
    }
}

static uint32_t tensors(const ek_monitor_model *model) {
    return (uint32_t)model->inputs + model->outputs;
}

static ek_status hello(ek_monitor *monitor) {
    const ek_monitor_model *model = monitor->model;
    monitor->update_slot = 0;
    append_u8(monitor, EK_MONITOR_PROTOCOL);
    append_u8(monitor, model ? model->inputs : 0u);
    append_u8(monitor, model ? model->outputs : 0u);
    append_u8(monitor, monitor->update != NULL);
    append_u32(monitor, model && model->ticks ? model->clock_hz : 0u);
    if (model) {
        append_text(monitor, model->name);
        return model->init();
    }
    return EK_STATUS_OK;
}

static ek_status describe(ek_monitor *monitor) {
    const ek_monitor_model *model = monitor->model;
    if (!model || monitor->request.body_bytes != 1) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    if (monitor->request.body[0] >= tensors(model)) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    const ek_monitor_tensor *tensor = &model->tensors[monitor->request.body[0]];
    uint32_t scale_bits;
    memcpy(&scale_bits, &tensor->scale, sizeof scale_bits);
    append_u32(monitor, tensor->bytes);
    append_u8(monitor, tensor->dtype);
    append_u8(monitor, tensor->rank);
    for (uint32_t axis = 0; axis < tensor->rank; ++axis) {
        append_u32(monitor, tensor->shape[axis]);
    }
    append_u32(monitor, scale_bits);
    append_u32(monitor, (uint32_t)tensor->zero_point);
    append_text(monitor, tensor->name);
    return EK_STATUS_OK;
}

/* Where the bytes of a request `tensor | offset` lie, NULL where there are none such. */
static uint8_t *place(const ek_monitor *monitor, uint32_t first, uint32_t end, uint32_t bytes) {
    const uint32_t index = monitor->request.body[0];
    const uint32_t offset = ek_get_u32(monitor->request.body + 1);
    if (index < first || index >= end) {
        return NULL;
    }
    const uint32_t size = monitor->model->tensors[index].bytes;
    if (offset > size || bytes > size - offset) {
        return NULL;
    }
    return (uint8_t *)monitor->model->tensor(index) + offset;
}

static ek_status write_input(ek_monitor *monitor) {
    if (!monitor->model || monitor->request.body_bytes < WRITE_HEADER) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    const uint32_t bytes = monitor->request.body_bytes - WRITE_HEADER;
    uint8_t *to = place(monitor, 0, monitor->model->inputs, bytes);
    if (!to) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    memcpy(to, monitor->request.body + WRITE_HEADER, bytes);
    return EK_STATUS_OK;
}

static ek_status read_output(ek_monitor *monitor) {
    const ek_monitor_model *model = monitor->model;
    if (!model || monitor->request.body_bytes != WRITE_HEADER + 1u) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    const uint32_t bytes = monitor->request.body[WRITE_HEADER];
    const uint8_t *from = place(monitor, model->inputs, tensors(model), bytes);
    if (!from || bytes > EK_FRAME_MAX_BODY) {
        return EK_STATUS_OUT_OF_RANGE;
    }
    append(monitor, from, bytes);
    return EK_STATUS_OK;
}

static uint32_t checksum(const ek_monitor_model *model, uint32_t first, uint32_t end) {
    uint32_t crc = 0;
    for (uint32_t index = first; index < end; ++index) {
        crc = ek_crc32(crc, model->tensor(index), model->tensors[index].bytes);
    }
    return crc;
}

static ek_status run(ek_monitor *monitor) {
    const ek_monitor_model *model = monitor->model;
    if (!model || monitor->request.body_bytes != 4 ||
        ek_get_u32(monitor->request.body) != checksum(model, 0, model->inputs)) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    const uint64_t before = model->ticks ? model->ticks() : 0;
    const ek_status status = model->run();
    const uint64_t ticks = model->ticks ? model->ticks() - before : 0;
    append_u32(monitor, (uint32_t)ticks);
    append_u32(monitor, (uint32_t)(ticks >> 32));
    append_u32(monitor, checksum(model, model->inputs, tensors(model)));
    return status;
}

static ek_status update_status(ek_monitor *monitor) {
    const ek_monitor_update *update = monitor->update;
    append_u32(monitor, update->running);
    append_u32(monitor, update->layout.slot_bytes);
    for (uint32_t index = 0; index < EK_UPDATE_SLOTS; ++index) {
        ek_update_slot slot;
        ek_update_inspect(&update->flash, &update->layout, index, &slot);
        append_u32(monitor, update->layout.slot_address[index]);
        append_u32(monitor, slot.version);
        append_u32(monitor, slot.size_bytes);
        append_u32(monitor, slot.crc);
        append_u8(monitor, (uint32_t)slot.is_valid | (uint32_t)slot.is_tried << 1 |
                               (uint32_t)slot.is_confirmed << 2);
    }
    return EK_STATUS_OK;
}

static ek_status update_begin(ek_monitor *monitor) {
    const ek_monitor_update *update = monitor->update;
    if (monitor->request.body_bytes != 1) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    const uint32_t index = monitor->request.body[0];
    const ek_status status =
        ek_update_begin(&update->flash, &update->layout, index, update->running);
    monitor->update_slot = status == EK_STATUS_OK ? index + 1 : 0;
    return status;
}

static ek_status update_write(ek_monitor *monitor) {
    const ek_monitor_update *update = monitor->update;
    if (monitor->update_slot == 0 || monitor->request.body_bytes < 4) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    return ek_update_write(&update->flash, &update->layout, monitor->update_slot - 1,
                           ek_get_u32(monitor->request.body), monitor->request.body + 4,
                           monitor->request.body_bytes - 4u);
}

static ek_status update_finish(ek_monitor *monitor) {
    const ek_monitor_update *update = monitor->update;
    if (monitor->update_slot == 0 || monitor->request.body_bytes != EK_UPDATE_HEADER) {
        return EK_STATUS_INVALID_ARGUMENT;
    }
    const uint32_t index = monitor->update_slot - 1;
    monitor->update_slot = 0;
    return ek_update_finish(&update->flash, &update->layout, index, monitor->request.body);
}

static ek_status update_confirm(ek_monitor *monitor) {
    const ek_monitor_update *update = monitor->update;
    return ek_update_confirm(&update->flash, &update->layout, update->running);
}

static const handler model_handlers[] = {hello, describe, write_input, run, read_output};
static const handler update_handlers[] = {update_status, update_begin, update_write, update_finish,
                                          update_confirm};

static ek_status execute(ek_monitor *monitor) {
    const uint32_t kind = monitor->request.kind;
    if (kind >= EK_MONITOR_HELLO && kind <= EK_MONITOR_READ) {
        return model_handlers[kind - EK_MONITOR_HELLO](monitor);
    }
    if (kind >= EK_MONITOR_UPDATE_STATUS && kind <= EK_MONITOR_UPDATE_CONFIRM && monitor->update) {
        return update_handlers[kind - EK_MONITOR_UPDATE_STATUS](monitor);
    }
    return kind == EK_MONITOR_RESTART && monitor->restart ? EK_STATUS_OK : EK_STATUS_UNSUPPORTED;
}

static void answer(ek_monitor *monitor) {
    const ek_frame *request = &monitor->request;
    monitor->answer.kind = (uint8_t)(request->kind | EK_MONITOR_ANSWER);
    monitor->answer.sequence = request->sequence;
    monitor->answer.body_bytes = 0;
    const ek_status status = execute(monitor);
    if (status != EK_STATUS_OK) {
        monitor->answer.kind = EK_MONITOR_ERROR;
        monitor->answer.body_bytes = 0;
        append_u8(monitor, request->kind);
        append_u32(monitor, (uint32_t)status);
    }
    monitor->has_answered = 1;
}

void ek_monitor_feed(ek_monitor *monitor, uint8_t byte) {
    uint8_t wire[EK_FRAME_MAX_WIRE];
    if (!ek_frame_feed(&monitor->reader, byte, &monitor->request)) {
        return;
    }
    const uint8_t kind = monitor->request.kind;
    if ((kind & EK_MONITOR_ANSWER) != 0) {
        return; /* an echo of the line */
    }
    if (!monitor->has_answered || kind == EK_MONITOR_HELLO ||
        monitor->request.sequence != monitor->answer.sequence) {
        answer(monitor);
    }
    monitor->write(monitor->context, wire, ek_frame_encode(&monitor->answer, wire));
    if (kind == EK_MONITOR_RESTART && monitor->restart) {
        monitor->restart();
    }
}
