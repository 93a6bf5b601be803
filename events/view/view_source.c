/* Where a value comes from: a field, an attribute, a constant, the carry, or made of these.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_compiler.h"

#include <stdlib.h>

/* Notes what a field is read as, so that it can be held against the event's schema. */
static sb_code_t note_use(sb_view_compiler_t *c, int event, int field, sb_view_type_t type)
{
    sb_view_definition_t *view = c->view;
    sb_view_use_t *moved = realloc(view->use, (view->use_count + 1) * sizeof *moved);
    if (!moved)
        return sb_view_no_memory(c);
    view->use = moved;
    const char *place = sb_view_keep_text(c, sb_buf_slice(&c->pointer));
    view->use[view->use_count++] = (sb_view_use_t){event, field, type, place};
    return place ? SB_OK : sb_view_no_memory(c);
}

/* The field of an event type at a pointer; the same pointer is read once. */
sb_code_t sb_view_field_at(sb_view_compiler_t *c, int event, const char *pointer, sb_view_type_t type,
                           int *out)
{
    sb_view_event_type_t *event_type = &c->view->event[event];
    sb_slice_t text = sb_slice(pointer);
    if (!sb_json_pointer_ok(text) || text.len == 0)
        return sb_view_refuse(c, "\"%s\" is not a JSON Pointer to a field of the event's data", pointer);
    for (*out = 0; *out < event_type->field_count; ++*out)
        if (sb_slice_equal(event_type->field[*out].pointer, text))
            return note_use(c, event, *out, type);
    if (event_type->field_count == SB_VIEW_FIELDS_MAX)
        return sb_view_refuse(c, "is one field of %s too many, the most is %d", event_type->name,
                              SB_VIEW_FIELDS_MAX);
    sb_view_field_t *field = &event_type->field[event_type->field_count++];
    *field = (sb_view_field_t){.pointer = text, .name = SB_SLICE_NONE};
    if (!strchr(pointer + 1, '/') && !strchr(pointer, '~') && text.len > 1)
        field->name = (sb_slice_t){pointer + 1, text.len - 1};
    return note_use(c, event, *out, type);
}

static sb_code_t must_be(sb_view_compiler_t *c, const sb_view_aim_t *aim, const char *what,
                         sb_view_type_t type)
{
    if (!aim->column || aim->column->type == type)
        return SB_OK;
    return sb_view_refuse(c, "%s is %s, the column is %s", what, sb_view_types[type].name,
                          sb_view_types[aim->column->type].name);
}

typedef struct attribute {
    const char *name;
    sb_view_origin_t origin;
    sb_view_type_t type;
} attribute_t;

static const attribute_t attributes[] = {
    {"$subject", SB_VIEW_SUBJECT, SB_VIEW_TEXT}, {"$time", SB_VIEW_TIME, SB_VIEW_TIMESTAMPTZ},
    {"$type", SB_VIEW_EVENT, SB_VIEW_TEXT},      {"$seq", SB_VIEW_SEQ, SB_VIEW_INT8},
    {NULL, SB_VIEW_CONST, SB_VIEW_TYPES},
};

static sb_code_t compile_attribute(sb_view_compiler_t *c, const sb_view_aim_t *aim, const char *name,
                                   sb_view_source_t *out)
{
    const attribute_t *attribute = attributes;
    while (attribute->name && strcmp(attribute->name, name) != 0)
        attribute++;
    if (!attribute->name)
        return sb_view_refuse(c, "\"%s\" is none of $subject, $time, $type, $seq", name);
    out->origin = attribute->origin;
    out->type = attribute->type;
    c->view->reads_subject |= attribute->origin == SB_VIEW_SUBJECT;
    return must_be(c, aim, name, attribute->type);
}

/* A column of the carry by name. */
sb_code_t sb_view_carry_column(sb_view_compiler_t *c, int event, const json_t *name, int *out)
{
    sb_view_definition_t *view = c->view;
    if (!json_is_string(name))
        return sb_view_refuse(c, "must be the name of a column of the carry");
    if (view->carry < 0)
        return sb_view_refuse(c, "reads the carry, and the view has none");
    *out = sb_view_table_column(&view->table[view->carry], sb_slice(json_string_value(name)));
    view->event[event].carries = true;
    return *out > 0 ? SB_OK : sb_view_refuse(c, "the carry has no column \"%s\"", json_string_value(name));
}

static sb_code_t compile_carried(sb_view_compiler_t *c, const sb_view_aim_t *aim, const json_t *name,
                                 sb_view_source_t *out)
{
    sb_code_t code = sb_view_carry_column(c, aim->event, name, &out->column);
    if (code != SB_OK)
        return code;
    const sb_view_column_t *from = &c->view->table[c->view->carry].column[out->column];
    out->origin = SB_VIEW_CARRY;
    out->type = from->type;
    code = must_be(c, aim, json_string_value(name), from->type);
    bool narrower = aim->column && from->type == SB_VIEW_NUMERIC &&
                    (aim->column->bounds.scale != from->bounds.scale ||
                     aim->column->bounds.precision < from->bounds.precision);
    if (code == SB_OK && narrower)
        code = sb_view_refuse(c, "%s is numeric(%d,%d), which the column does not hold", from->name,
                              from->bounds.precision, from->bounds.scale);
    return code;
}

sb_view_type_t sb_view_type_of_value(const json_t *value)
{
    return json_is_string(value)    ? SB_VIEW_TEXT
           : json_is_integer(value) ? SB_VIEW_INT8
           : json_is_boolean(value) ? SB_VIEW_BOOL
                                    : SB_VIEW_JSONB;
}

static sb_code_t compile_const(sb_view_compiler_t *c, const sb_view_aim_t *aim, const json_t *constant,
                               sb_view_source_t *out)
{
    out->origin = SB_VIEW_CONST;
    out->type = aim->column ? aim->column->type : sb_view_type_of_value(constant);
    sb_view_bounds_t none = {0};
    return sb_view_constant_of(c, out->type, aim->column ? aim->column->bounds : none, constant,
                               &out->constant);
}

static sb_code_t take_parts(sb_view_compiler_t *c, int count, sb_view_source_t *out)
{
    if (c->view->part_count + count > SB_VIEW_PARTS_MAX)
        return sb_view_refuse(c, "is one part of a value too many, the most is %d a view", SB_VIEW_PARTS_MAX);
    out->part = c->view->part_count;
    out->part_count = count;
    c->view->part_count += count;
    return SB_OK;
}

static sb_code_t zone_named(sb_view_compiler_t *c, const json_t *name, int *out)
{
    sb_view_definition_t *view = c->view;
    const char *text = json_string_value(name);
    sb_error_t cause = SB_ERROR_INIT;
    if (!text)
        return name ? sb_view_refuse(c, "must be the name of a time zone (\"Europe/Berlin\")")
                    : sb_view_refuse(c, "\"zone\" is missing");
    for (*out = 0; *out < view->zone_count; ++*out)
        if (strcmp(view->zone[*out].name, text) == 0)
            return SB_OK;
    if (view->zone_count == SB_VIEW_ZONES_MAX)
        return sb_view_refuse(c, "is one time zone too many, the most is %d", SB_VIEW_ZONES_MAX);
    if (sb_view_zone_load(&view->zone[view->zone_count], text, &cause) != SB_OK)
        return sb_view_refuse(c, "%s", cause.message);
    view->zone_count++;
    return SB_OK;
}

static sb_code_t compile_day(sb_view_compiler_t *c, const sb_view_aim_t *aim, const json_t *body,
                             sb_view_source_t *out)
{
    static const char *const members[] = {"date", "zone", NULL};
    static const sb_view_column_t time = {.name = "the time", .type = SB_VIEW_TIMESTAMPTZ};
    out->origin = SB_VIEW_DAY;
    out->type = SB_VIEW_DATE;
    sb_code_t code = sb_view_only_members(c, body, members);
    if (code == SB_OK)
        code = must_be(c, aim, "date", SB_VIEW_DATE);
    if (code == SB_OK)
        code = take_parts(c, 1, out);
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("date"));
    if (code == SB_OK)
        code = sb_view_compile_source(c, &(sb_view_aim_t){aim->event, &time}, json_object_get(body, "date"),
                                      &c->view->part[out->part]);
    sb_json_pointer_leave(&c->pointer, mark);
    mark = sb_json_pointer_enter(&c->pointer, sb_slice("zone"));
    if (code == SB_OK)
        code = zone_named(c, json_object_get(body, "zone"), &out->zone);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

static sb_code_t compile_join(sb_view_compiler_t *c, const sb_view_aim_t *aim, const json_t *parts,
                              sb_view_source_t *out)
{
    size_t count = json_array_size(parts);
    out->origin = SB_VIEW_JOIN;
    out->type = SB_VIEW_TEXT;
    if (!json_is_array(parts) || count < 2 || count > SB_VIEW_JOIN_MAX)
        return sb_view_refuse(c, "must be an array of 2 to %d values", SB_VIEW_JOIN_MAX);
    sb_code_t code = must_be(c, aim, "join", SB_VIEW_TEXT);
    if (code == SB_OK)
        code = take_parts(c, (int)count, out);
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        sb_view_source_t *part = &c->view->part[out->part + (int)i];
        code = sb_view_compile_source(c, &(sb_view_aim_t){aim->event, NULL}, json_array_get(parts, i), part);
        if (code == SB_OK &&
            (part->origin == SB_VIEW_JOIN || (part->origin != SB_VIEW_FIELD && part->type == SB_VIEW_JSONB)))
            code = sb_view_refuse(c, "is no text, number, bool, time or date");
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

static sb_code_t compile_field(sb_view_compiler_t *c, const sb_view_aim_t *aim, const char *pointer,
                               sb_view_source_t *out)
{
    out->type = aim->column ? aim->column->type : SB_VIEW_JSONB;
    return sb_view_field_at(c, aim->event, pointer, out->type, &out->field);
}

/* {"carry": …}, {"const": …}, {"join": …}, {"date": …, "zone": …}. */
static sb_code_t compile_made(sb_view_compiler_t *c, const sb_view_aim_t *aim, const json_t *body,
                              sb_view_source_t *out)
{
    static const struct {
        const char *name;
        sb_code_t (*compile)(sb_view_compiler_t *c, const sb_view_aim_t *aim, const json_t *value,
                             sb_view_source_t *out);
    } kinds[] = {{"const", compile_const}, {"carry", compile_carried}, {"join", compile_join}};
    if (json_object_get(body, "date"))
        return compile_day(c, aim, body, out);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const json_t *value = json_object_get(body, kinds[i].name);
        const char *const members[] = {kinds[i].name, NULL};
        if (!value)
            continue;
        sb_code_t code = sb_view_only_members(c, body, members);
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice(kinds[i].name));
        if (code == SB_OK)
            code = kinds[i].compile(c, aim, value, out);
        sb_json_pointer_leave(&c->pointer, mark);
        return code;
    }
    return sb_view_refuse(c, "has none of \"const\", \"carry\", \"date\", \"join\"");
}

sb_code_t sb_view_compile_source(sb_view_compiler_t *c, const sb_view_aim_t *aim, const json_t *body,
                                 sb_view_source_t *out)
{
    *out = (sb_view_source_t){.origin = SB_VIEW_FIELD};
    const char *text = json_string_value(body);
    if (text && text[0] == '$')
        return compile_attribute(c, aim, text, out);
    if (text)
        return compile_field(c, aim, text, out);
    if (json_is_object(body))
        return compile_made(c, aim, body, out);
    return sb_view_refuse(
        c, "must be a pointer (\"/amount\"), an attribute (\"$time\"), or an object with const, "
           "carry, date or join");
}

/* Whether a source reads the carry, itself or by a part. */
bool sb_view_reads_carry(const sb_view_definition_t *view, const sb_view_source_t *source)
{
    bool reads = source->origin == SB_VIEW_CARRY;
    for (int i = 0; i < source->part_count; i++)
        reads |= sb_view_reads_carry(view, &view->part[source->part + i]);
    return reads;
}
