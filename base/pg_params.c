/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pg_internal.h"

#include <assert.h>

static int add_param(sb_pg_params_t *params, uint32_t type, const void *value, size_t length)
{
    assert(params->count < SB_PG_PARAMS_MAX);
    int i = params->count++;
    params->type[i] = type;
    params->value[i] = value;
    params->length[i] = (int)length;
    params->is_small[i] = false;
    return i;
}

static void add_small(sb_pg_params_t *params, uint32_t type, const void *value, size_t length)
{
    int i = add_param(params, type, "", length);
    memcpy(params->small[i], value, length);
    params->is_small[i] = true;
}

static void put_be(uint8_t *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static void add_integer(sb_pg_params_t *params, uint32_t type, int64_t value, int bytes)
{
    uint8_t image[8];
    put_be(image, (uint64_t)value, bytes);
    add_small(params, type, image, (size_t)bytes);
}

void sb_pg_add_bool(sb_pg_params_t *params, bool value)
{
    add_integer(params, SB_PG_BOOL, value, 1);
}

void sb_pg_add_int2(sb_pg_params_t *params, int16_t value)
{
    add_integer(params, SB_PG_INT2, value, 2);
}

void sb_pg_add_int4(sb_pg_params_t *params, int32_t value)
{
    add_integer(params, SB_PG_INT4, value, 4);
}

void sb_pg_add_date(sb_pg_params_t *params, int32_t days)
{
    add_integer(params, SB_PG_DATE, days, 4);
}

void sb_pg_add_int8(sb_pg_params_t *params, int64_t value)
{
    add_integer(params, SB_PG_INT8, value, 8);
}

void sb_pg_add_time(sb_pg_params_t *params, int64_t wall_us)
{
    add_integer(params, SB_PG_TIMESTAMPTZ, wall_us - SB_PG_EPOCH_US, 8);
}

void sb_pg_add_slice(sb_pg_params_t *params, sb_slice_t text)
{
    (void)add_param(params, SB_PG_TEXT, text.ptr, text.len);
}

void sb_pg_add_text(sb_pg_params_t *params, const char *text)
{
    sb_pg_add_slice(params, sb_slice(text));
}

void sb_pg_add_bytea(sb_pg_params_t *params, sb_slice_t bytes)
{
    (void)add_param(params, SB_PG_BYTEA, bytes.ptr, bytes.len);
}

void sb_pg_add_uuid(sb_pg_params_t *params, const sb_uuid_t *id)
{
    if (id)
        add_small(params, SB_PG_UUID, id->byte, sizeof id->byte);
    else
        sb_pg_add_null(params, SB_PG_UUID);
}

void sb_pg_add_null(sb_pg_params_t *params, uint32_t type)
{
    (void)add_param(params, type, NULL, 0);
}

static uint32_t array_type(uint32_t element)
{
    switch (element) {
    case SB_PG_BOOL:
        return 1000;
    case SB_PG_BYTEA:
        return 1001;
    case SB_PG_INT2:
        return 1005;
    case SB_PG_INT4:
        return 1007;
    case SB_PG_TEXT:
        return 1009;
    case SB_PG_DATE:
        return 1182;
    case SB_PG_INT8:
        return 1016;
    case SB_PG_TIMESTAMPTZ:
        return 1185;
    case SB_PG_UUID:
        return 2951;
    default:
        assert(!"no array of that type");
        return 0;
    }
}

/* The image's head (dimensions, null flag, element type, length, lower bound) is written here, because the
 * count is known only now; the array's buffer keeps room for it. */
#define ARRAY_HEAD 20

static void add_array(sb_pg_params_t *params, const sb_pg_array_t *array, int32_t count)
{
    uint8_t *head = (uint8_t *)array->buf.ptr;
    if (sb_pg_array_failed(array)) { /* as a NULL, unnest() would take it for no rows and succeed */
        params->failed = true;
        sb_pg_add_null(params, array_type(array->element));
        return;
    }
    put_be(head, count ? 1 : 0, 4);
    put_be(head + 4, array->null_count > 0, 4);
    put_be(head + 8, array->element, 4);
    put_be(head + 12, (uint64_t)count, 4);
    put_be(head + 16, 1, 4);
    (void)add_param(params, array_type(array->element), head, count ? array->buf.len : 12);
}

void sb_pg_add_array(sb_pg_params_t *params, const sb_pg_array_t *array)
{
    add_array(params, array, array->count);
}

void sb_pg_add_sparse_array(sb_pg_params_t *params, const sb_pg_array_t *array)
{
    add_array(params, array, array->null_count < array->count ? array->count : 0);
}

/* ---- arrays ---- */

static const char array_head[ARRAY_HEAD];

void sb_pg_array_init(sb_pg_array_t *array, uint32_t element_type)
{
    *array = (sb_pg_array_t){.element = element_type, .buf = SB_BUF_INIT};
    sb_pg_array_reset(array);
}

void sb_pg_array_reset(sb_pg_array_t *array)
{
    array->count = 0;
    array->null_count = 0;
    sb_buf_reset(&array->buf);
    sb_buf_add(&array->buf, array_head, ARRAY_HEAD);
}

void sb_pg_array_fini(sb_pg_array_t *array)
{
    sb_buf_fini(&array->buf);
}

bool sb_pg_array_failed(const sb_pg_array_t *array)
{
    return sb_buf_failed(&array->buf);
}

static void add_element(sb_pg_array_t *array, const void *image, size_t length)
{
    sb_buf_add_be32(&array->buf, (uint32_t)length);
    sb_buf_add(&array->buf, image, length);
    array->count++;
}

static void add_integer_element(sb_pg_array_t *array, int64_t value, int bytes)
{
    uint8_t image[8];
    put_be(image, (uint64_t)value, bytes);
    add_element(array, image, (size_t)bytes);
}

void sb_pg_array_add_bool(sb_pg_array_t *array, bool value)
{
    add_integer_element(array, value, 1);
}

void sb_pg_array_add_int2(sb_pg_array_t *array, int16_t value)
{
    add_integer_element(array, value, 2);
}

void sb_pg_array_add_int4(sb_pg_array_t *array, int32_t value)
{
    add_integer_element(array, value, 4);
}

void sb_pg_array_add_int8(sb_pg_array_t *array, int64_t value)
{
    add_integer_element(array, value, 8);
}

void sb_pg_array_add_time(sb_pg_array_t *array, int64_t wall_us)
{
    add_integer_element(array, wall_us - SB_PG_EPOCH_US, 8);
}

void sb_pg_array_add_slice(sb_pg_array_t *array, sb_slice_t bytes)
{
    if (bytes.ptr)
        add_element(array, bytes.ptr, bytes.len);
    else
        sb_pg_array_add_null(array);
}

void sb_pg_array_add_uuid(sb_pg_array_t *array, const sb_uuid_t *id)
{
    if (id)
        add_element(array, id->byte, sizeof id->byte);
    else
        sb_pg_array_add_null(array);
}

void sb_pg_array_add_null(sb_pg_array_t *array)
{
    sb_buf_add_be32(&array->buf, UINT32_MAX);
    array->null_count++;
    array->count++;
}
