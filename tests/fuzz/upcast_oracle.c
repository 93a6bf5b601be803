/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/upcast_oracle.h"

#include "base/scan.h"
#include "events/schema/upcast.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the operations on a tree ---- */

typedef struct place {
    json_t *object;   /* borrowed */
    char name[65536]; /* as long as an input of the fuzzer */
} place_t;

/* Splits the last token off and walks to the object that holds it; make: adds objects that are not there. */
static bool walk(json_t *root, const char *pointer, bool make, place_t *out)
{
    json_t *at = root;
    for (const char *from = pointer + 1;;) {
        const char *slash = strchr(from, '/');
        size_t length = slash ? (size_t)(slash - from) : strlen(from);
        size_t used = 0;
        for (size_t i = 0; i < length && used + 1 < sizeof out->name; i++) {
            char c = from[i];
            if (c == '~' && i + 1 < length)
                c = from[++i] == '1' ? '/' : '~';
            out->name[used++] = c;
        }
        out->name[used] = '\0';
        if (!json_is_object(at))
            return false;
        out->object = at;
        if (!slash)
            return true;
        json_t *next = json_object_get(at, out->name);
        if (!next && make) {
            next = json_object();
            if (json_object_set_new(at, out->name, next) != 0)
                return false;
        }
        at = next;
        from = slash + 1;
    }
}

static int tree_depth(const json_t *value)
{
    int deepest = 0;
    const char *name;
    size_t index;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)value, name, child)
    {
        int depth = tree_depth(child);
        deepest = depth > deepest ? depth : deepest;
    }
    json_array_foreach(value, index, child)
    {
        int depth = tree_depth(child);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + (json_is_object(value) || json_is_array(value));
}

static int tokens(const char *pointer)
{
    int count = 0;
    for (; *pointer; pointer++)
        count += *pointer == '/';
    return count;
}

static void move(json_t *root, const json_t *body, bool rename)
{
    const char *from = json_string_value(json_object_get(body, "from"));
    const char *to = json_string_value(json_object_get(body, "to"));
    place_t source, target;
    json_t *value = walk(root, from, false, &source) ? json_object_get(source.object, source.name) : NULL;
    if (!value || tokens(to) + tree_depth(value) > SB_SCAN_DEPTH_MAX)
        return;
    if (!walk(root, to, !rename, &target))
        return;
    json_incref(value);
    json_incref(target.object);
    (void)json_object_del(source.object, source.name);
    (void)json_object_set_new(target.object, target.name, value);
    json_decref(target.object);
}

static void set(json_t *root, const json_t *body, bool always)
{
    place_t place;
    if (walk(root, json_string_value(json_object_get(body, "at")), false, &place) &&
        (always || !json_object_get(place.object, place.name)))
        (void)json_object_set_new(place.object, place.name, json_deep_copy(json_object_get(body, "value")));
}

static void run_on_tree(json_t *root, const json_t *operations)
{
    size_t index;
    json_t *operation;
    json_array_foreach(operations, index, operation)
    {
        const char *name = json_object_iter_key(json_object_iter(operation));
        const json_t *body = json_object_get(operation, name);
        place_t place;
        if (strcmp(name, "rename") == 0 || strcmp(name, "move") == 0)
            move(root, body, name[0] == 'r');
        else if (strcmp(name, "drop") == 0 &&
                 walk(root, json_string_value(json_object_get(body, "at")), false, &place))
            (void)json_object_del(place.object, place.name);
        else if (strcmp(name, "drop") != 0)
            set(root, body, name[0] == 'c');
    }
}

/* ---- the comparison ---- */

/* Every number in the result stands in the body or in the declaration with the same digits. */
static bool digits_kept(sb_slice_t made, sb_slice_t body, sb_slice_t declaration)
{
    bool in_string = false;
    for (size_t i = 0; i < made.len; i++) {
        char c = made.ptr[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string && c == '\\')
            i++;
        else if (!in_string && (c == '-' || (c >= '0' && c <= '9'))) {
            size_t length = 1;
            while (i + length < made.len && strchr("0123456789.eE+-", made.ptr[i + length]))
                length++;
            if (!memmem(body.ptr, body.len, made.ptr + i, length) &&
                !memmem(declaration.ptr, declaration.len, made.ptr + i, length))
                return false;
            i += length - 1;
        }
    }
    return true;
}

/* A fraction in a declaration is written anew when it is compiled. */
static bool has_fraction(const json_t *value)
{
    const char *name;
    size_t index;
    json_t *child;
    bool found = json_is_real(value);
    json_object_foreach((json_t *)(uintptr_t)value, name, child)
    {
        found = found || has_fraction(child);
    }
    json_array_foreach(value, index, child)
    {
        found = found || has_fraction(child);
    }
    return found;
}

static json_t *parse(sb_slice_t text)
{
    return json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static const char *compare(sb_slice_t made, const json_t *operations, sb_slice_t body, sb_slice_t declaration)
{
    if (!sb_scan_valid(made, NULL))
        return "the result is not JSON";
    json_t *want = parse(body);
    json_t *have = parse(made);
    const char *fault = NULL;
    if (json_is_object(want))
        run_on_tree(want, operations);
    if (want && !have)
        fault = "jansson cannot read the result";
    else if (want && !json_equal(want, have))
        fault = "the result is another value";
    else if (want && !has_fraction(operations) && !digits_kept(made, body, declaration))
        fault = "a number was written anew";
    json_decref(want);
    json_decref(have);
    return fault;
}

/* One chain of count steps, which divide the operations between them. */
static const char *run(const json_t *operations, int steps, sb_slice_t body, sb_buf_t *out)
{
    sb_upcast_t *upcast[8] = {NULL};
    sb_upcast_chain_t *chain = calloc(1, sizeof *chain + (size_t)steps * sizeof chain->step[0]);
    sb_upcaster_t *upcaster = NULL;
    size_t count = json_array_size(operations);
    const char *fault = chain && sb_upcaster_new(&upcaster, NULL) == SB_OK ? NULL : "out of memory";
    if (chain)
        *chain = (sb_upcast_chain_t){.type = "a.b", .from = 1, .to = 1 + steps, .count = steps};
    for (int i = 0; !fault && i < steps; i++) {
        json_t *part = json_array();
        for (size_t k = count * (size_t)i / (size_t)steps; k < count * ((size_t)i + 1) / (size_t)steps; k++)
            (void)json_array_append(part, json_array_get(operations, k));
        if (sb_upcast_compile(&upcast[i], part, NULL) != SB_OK)
            fault = "a part of the declaration does not compile";
        chain->step[i] = (sb_upcast_step_t){2 + i, upcast[i], NULL};
        json_decref(part);
    }
    sb_event_t event = {.type = SB_SLICE("a.b"), .schema_version = 1, .seq = 1, .data = body};
    bool valid = sb_scan_valid(body, NULL);
    if (!fault && (sb_upcaster_run(upcaster, chain, &event, NULL) == SB_OK) != (valid || count == 0))
        fault = "the verdict";
    sb_buf_reset(out);
    sb_buf_add_slice(out, event.data);
    if (!fault && valid && event.schema_version != 1 + steps)
        fault = "the version";
    for (int i = 0; i < steps; i++)
        sb_upcast_free(&upcast[i]);
    sb_upcaster_free(&upcaster);
    free(chain);
    return fault;
}

const char *sb_upcast_differs(sb_slice_t declaration, sb_slice_t body, sb_buf_t *out)
{
    sb_buf_t made = SB_BUF_INIT;
    sb_buf_t made_by_steps = SB_BUF_INIT;
    json_t *operations = parse(declaration);
    sb_upcast_t *upcast = NULL;
    const char *fault = NULL;
    if (operations && sb_upcast_compile(&upcast, operations, NULL) == SB_OK && !sb_upcast_is_hook(upcast)) {
        fault = run(operations, 1, body, &made);
        if (!fault && sb_scan_valid(body, NULL))
            fault = compare(sb_buf_slice(&made), operations, body, declaration);
        if (!fault)
            fault = run(operations, 3, body, &made_by_steps);
        if (!fault && !sb_slice_equal(sb_buf_slice(&made), sb_buf_slice(&made_by_steps)))
            fault = "three steps give other bytes than one";
    }
    if (out)
        sb_buf_add_slice(out, sb_buf_slice(&made));
    sb_upcast_free(&upcast);
    json_decref(operations);
    sb_buf_fini(&made);
    sb_buf_fini(&made_by_steps);
    return fault;
}
