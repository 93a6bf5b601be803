/* Runs a chain on the bytes of a body. Only the objects on the way of an operation are opened, into a list of
 * members each; a member is five slices of the text, so that what no operation names is written back as it
 * was. The text is written once at the end of the chain, or before a C function.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/upcast_internal.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct member {
    sb_slice_t before; /* white space */
    sb_slice_t name;   /* with its quotes */
    sb_slice_t colon;  /* and the white space around it */
    sb_scan_value_t value;
    sb_slice_t after; /* white space */
    int object;       /* the value, opened; else -1 */
    int next;         /* in its object; -1: the last */
    bool escaped;     /* the name */
} member_t;

typedef struct object {
    int first;
    sb_slice_t inside; /* of an empty one: white space */
} object_t;

typedef struct hook {
    char *type;
    int version;
    sb_upcast_fn fn;
    void *context;
} hook_t;

struct sb_upcast_out {
    sb_buf_t buf;
};

struct sb_upcaster {
    member_t *member;
    int member_count, member_cap;
    object_t *object;
    int object_count, object_cap;
    sb_scan_value_t root; /* of the body in hand */
    sb_slice_t text;      /* the body in hand */
    bool open;            /* its root is object 0 */
    bool changed;
    bool no_memory;
    sb_buf_t scratch;
    sb_upcast_out_t written[2]; /* the body in hand may be in one, the next goes to the other */
    int side;
    hook_t *hook;
    int hook_count;
    const sb_upcaster_t *leans_on; /* for functions that it has none of */
};

/* ---- life ---- */

sb_code_t sb_upcaster_new(sb_upcaster_t **out, sb_error_t *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? SB_OK : sb_fail(err, SB_NO_MEMORY, "upcaster: out of memory");
}

void sb_upcaster_free(sb_upcaster_t **upcaster)
{
    sb_upcaster_t *u = *upcaster;
    if (!u)
        return;
    for (int i = 0; i < u->hook_count; i++)
        free(u->hook[i].type);
    free(u->hook);
    free(u->member);
    free(u->object);
    sb_buf_fini(&u->scratch);
    sb_buf_fini(&u->written[0].buf);
    sb_buf_fini(&u->written[1].buf);
    free(u);
    *upcaster = NULL;
}

static const hook_t *find_hook(const sb_upcaster_t *u, const char *type, int version)
{
    for (; u; u = u->leans_on)
        for (int i = 0; i < u->hook_count; i++)
            if (u->hook[i].version == version && strcmp(u->hook[i].type, type) == 0)
                return &u->hook[i];
    return NULL;
}

void sb_upcaster_lean(sb_upcaster_t *upcaster, const sb_upcaster_t *on)
{
    upcaster->leans_on = on;
}

sb_code_t sb_upcaster_hook(sb_upcaster_t *upcaster, const char *type, int version, sb_upcast_fn fn,
                           void *context, sb_error_t *err)
{
    if (!sb_event_type_ok(sb_slice(type)) || version < 1)
        return sb_fail(err, SB_INVALID, "upcast of %s version %d: there is no such type or version", type,
                       version);
    if (find_hook(upcaster, type, version))
        return sb_fail(err, SB_CONFLICT, "upcast of %s version %d: there is a function for it already", type,
                       version);
    if (upcaster->hook_count == SB_UPCAST_HOOKS_MAX)
        return sb_fail(err, SB_TOO_LARGE, "upcast of %s version %d: more than %d functions", type, version,
                       SB_UPCAST_HOOKS_MAX);
    hook_t *hooks = realloc(upcaster->hook, (size_t)(upcaster->hook_count + 1) * sizeof *hooks);
    if (hooks)
        upcaster->hook = hooks;
    char *name = hooks ? strdup(type) : NULL;
    if (!name)
        return sb_fail(err, SB_NO_MEMORY, "upcast of %s: out of memory", type);
    hooks[upcaster->hook_count++] = (hook_t){name, version, fn, context};
    return SB_OK;
}

void sb_upcast_write(sb_upcast_out_t *out, const void *bytes, size_t length)
{
    sb_buf_add(&out->buf, bytes, length);
}

/* ---- opening objects ---- */

/* A place for one more, or false; the arrays grow by doubling and stay for the next run. */
static bool grow(void **array, int *cap, int count, size_t size)
{
    if (count < *cap)
        return true;
    int wider = *cap ? *cap * 2 : 64;
    void *moved = realloc(*array, (size_t)wider * size);
    if (!moved)
        return false;
    *array = moved;
    *cap = wider;
    return true;
}

static int new_member(sb_upcaster_t *u, const member_t *member)
{
    void *array = u->member;
    if (!grow(&array, &u->member_cap, u->member_count, sizeof *u->member)) {
        u->no_memory = true;
        return -1;
    }
    u->member = array;
    u->member[u->member_count] = *member;
    return u->member_count++;
}

static int new_object(sb_upcaster_t *u)
{
    void *array = u->object;
    if (!grow(&array, &u->object_cap, u->object_count, sizeof *u->object)) {
        u->no_memory = true;
        return -1;
    }
    u->object = array;
    u->object[u->object_count] = (object_t){-1, SB_SLICE("")};
    return u->object_count++;
}

static sb_slice_t between(const char *from, const char *to)
{
    return (sb_slice_t){from, (size_t)(to - from)};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Inside of a body that is JSON: something follows. */
static const char *skip_space(const char *at)
{
    while (is_space(*at))
        at++;
    return at;
}

/* The text of an object as a list of members; -1: out of memory. It is JSON, so that a closing brace comes.
 */
static int open_text(sb_upcaster_t *u, sb_slice_t text)
{
    const char *end = text.ptr + text.len - 1;
    const char *from = text.ptr + 1;
    sb_scan_value_t name = {SB_SCAN_INVALID, {NULL, 0}, false};
    sb_scan_value_t value;
    int object = new_object(u);
    int last = -1;
    for (size_t at = 0; object >= 0 && sb_scan_next(text, &at, &name, &value);) {
        const char *past = value.text.ptr + value.text.len;
        const char *delimiter = skip_space(past);
        member_t member = {
            .before = between(from, name.text.ptr),
            .name = name.text,
            .colon = between(name.text.ptr + name.text.len, value.text.ptr),
            .value = value,
            .after = between(past, delimiter),
            .object = -1,
            .next = -1,
            .escaped = name.escaped,
        };
        int index = new_member(u, &member);
        if (index < 0)
            return -1;
        if (last < 0)
            u->object[object].first = index;
        else
            u->member[last].next = index;
        last = index;
        from = delimiter + 1;
    }
    if (object >= 0 && last < 0)
        u->object[object].inside = between(from, end);
    return object;
}

/* The member's value as an opened object; -1: it is none, or memory ran out. */
static int open_value(sb_upcaster_t *u, int index)
{
    if (u->member[index].object < 0 && u->member[index].value.kind == SB_SCAN_OBJECT) {
        int object = open_text(u, u->member[index].value.text);
        u->member[index].object = object;
    }
    return u->member[index].object;
}

/* ---- members ---- */

static bool is_named(sb_upcaster_t *u, const member_t *member, const upcast_token_t *token)
{
    if (!member->escaped)
        return member->name.len == token->name.len + 2 &&
               memcmp(member->name.ptr + 1, token->name.ptr, token->name.len) == 0;
    sb_scan_value_t name = {SB_SCAN_STRING, member->name, true};
    sb_slice_t text = sb_scan_string(&name, &u->scratch);
    u->no_memory |= sb_buf_failed(&u->scratch);
    return sb_slice_equal(text, token->name);
}

static int find_member(sb_upcaster_t *u, int object, const upcast_token_t *token)
{
    int index = u->object[object].first;
    while (index >= 0 && !is_named(u, &u->member[index], token))
        index = u->member[index].next;
    return index;
}

/* Takes every member of the name out of the object, but for one (-1: none). */
static void remove_members(sb_upcaster_t *u, int object, const upcast_token_t *token, int but)
{
    int *link = &u->object[object].first;
    while (*link >= 0) {
        member_t *member = &u->member[*link];
        if (*link != but && is_named(u, member, token))
            *link = member->next;
        else
            link = &member->next;
    }
}

static void append_member(sb_upcaster_t *u, int object, int index)
{
    int *link = &u->object[object].first;
    while (*link >= 0)
        link = &u->member[*link].next;
    *link = index;
}

/* Adds a member whose value is the text, or an object with nothing in it. */
static int add_member(sb_upcaster_t *u, int object, const upcast_token_t *token, sb_scan_value_t value)
{
    member_t member = {.before = SB_SLICE(""),
                       .name = token->quoted,
                       .colon = SB_SLICE(":"),
                       .value = value,
                       .after = SB_SLICE(""),
                       .object = -1,
                       .next = -1,
                       .escaped = memchr(token->quoted.ptr, '\\', token->quoted.len) != NULL};
    int index = new_member(u, &member);
    if (index >= 0)
        append_member(u, object, index);
    return index;
}

/* The object that holds the pointer's last token; -1: there is none. With make, objects that are not there
 * are made; nothing is made when something on the way is not an object. */
static int find_parent(sb_upcaster_t *u, const upcast_path_t *path, bool make)
{
    int object = u->open ? 0 : -1;
    for (int i = 0; object >= 0 && i < path->count - 1; i++) {
        int index = find_member(u, object, &path->token[i]);
        if (index < 0 && make)
            index = add_member(u, object, &path->token[i],
                               (sb_scan_value_t){SB_SCAN_OBJECT, SB_SLICE("{}"), false});
        object = index < 0 ? -1 : open_value(u, index);
    }
    return object;
}

/* ---- operations ---- */

static void run_rename(sb_upcaster_t *u, const upcast_op_t *op)
{
    const upcast_token_t *from = &op->at.token[op->at.count - 1];
    const upcast_token_t *to = &op->to.token[op->to.count - 1];
    int object = find_parent(u, &op->at, false);
    int index = object < 0 ? -1 : find_member(u, object, from);
    if (index < 0)
        return;
    remove_members(u, object, to, -1);
    remove_members(u, object, from, index);
    u->member[index].name = to->quoted;
    u->member[index].escaped = memchr(to->quoted.ptr, '\\', to->quoted.len) != NULL;
    u->changed = true;
}

static int text_depth(sb_slice_t text)
{
    int depth = 0;
    int deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            deepest = ++depth > deepest ? depth : deepest;
        else if (!in_string && (c == '}' || c == ']'))
            depth--;
    }
    return deepest;
}

static int depth_of(const sb_upcaster_t *u, int index)
{
    if (u->member[index].object < 0)
        return text_depth(u->member[index].value.text);
    int deepest = 0;
    for (int i = u->object[u->member[index].object].first; i >= 0; i = u->member[i].next) {
        int depth = depth_of(u, i);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

static void run_move(sb_upcaster_t *u, const upcast_op_t *op)
{
    const upcast_token_t *from = &op->at.token[op->at.count - 1];
    const upcast_token_t *to = &op->to.token[op->to.count - 1];
    int source = find_parent(u, &op->at, false);
    int index = source < 0 ? -1 : find_member(u, source, from);
    if (index < 0 || (op->to.count > op->at.count && op->to.count + depth_of(u, index) > SB_SCAN_DEPTH_MAX))
        return;
    int target = find_parent(u, &op->to, true);
    if (target < 0)
        return;
    remove_members(u, source, from, -1);
    remove_members(u, target, to, -1);
    sb_scan_value_t value = u->member[index].value;
    int opened = u->member[index].object;
    int moved = add_member(u, target, to, value);
    if (moved >= 0)
        u->member[moved].object = opened;
    u->changed = true;
}

static void run_drop(sb_upcaster_t *u, const upcast_op_t *op)
{
    const upcast_token_t *token = &op->at.token[op->at.count - 1];
    int object = find_parent(u, &op->at, false);
    if (object < 0 || find_member(u, object, token) < 0)
        return;
    remove_members(u, object, token, -1);
    u->changed = true;
}

static sb_scan_value_t value_of(const upcast_op_t *op)
{
    sb_scan_kind_t kind =
        op->value[0] == '{' ? SB_SCAN_OBJECT : SB_SCAN_NULL; /* no one asks for the others */
    return (sb_scan_value_t){kind, sb_slice(op->value), false};
}

static void run_set(sb_upcaster_t *u, const upcast_op_t *op)
{
    const upcast_token_t *token = &op->at.token[op->at.count - 1];
    int object = find_parent(u, &op->at, false);
    int index = object < 0 ? -1 : find_member(u, object, token);
    if (object < 0 || (index >= 0 && op->kind == UPCAST_DEFAULT))
        return;
    if (index >= 0) {
        remove_members(u, object, token, index);
        u->member[index].value = value_of(op);
        u->member[index].object = -1;
    } else {
        (void)add_member(u, object, token, value_of(op));
    }
    u->changed = true;
}

static void run_op(sb_upcaster_t *u, const upcast_op_t *op)
{
    switch (op->kind) {
    case UPCAST_RENAME:
        run_rename(u, op);
        break;
    case UPCAST_MOVE:
        run_move(u, op);
        break;
    case UPCAST_DROP:
        run_drop(u, op);
        break;
    case UPCAST_DEFAULT:
    case UPCAST_CONST:
        run_set(u, op);
        break;
    }
}

/* ---- from text to text ---- */

static void write_object(const sb_upcaster_t *u, int object, sb_buf_t *out)
{
    sb_buf_add_char(out, '{');
    if (u->object[object].first < 0)
        sb_buf_add_slice(out, u->object[object].inside);
    for (int i = u->object[object].first; i >= 0; i = u->member[i].next) {
        const member_t *member = &u->member[i];
        sb_buf_add_slice(out, member->before);
        sb_buf_add_slice(out, member->name);
        sb_buf_add_slice(out, member->colon);
        if (member->object >= 0)
            write_object(u, member->object, out);
        else
            sb_buf_add_slice(out, member->value.text);
        sb_buf_add_slice(out, member->after);
        if (member->next >= 0)
            sb_buf_add_char(out, ',');
    }
    sb_buf_add_char(out, '}');
}

static sb_slice_t trim(sb_slice_t text)
{
    const char *from = skip_space(text.ptr);
    size_t length = text.len - (size_t)(from - text.ptr);
    while (length > 0 && is_space(from[length - 1]))
        length--;
    return (sb_slice_t){from, length};
}

/* Takes the text in hand; nothing is opened unless it is an object. */
static void take(sb_upcaster_t *u, sb_slice_t text)
{
    u->text = text;
    u->member_count = u->object_count = 0;
    u->changed = false;
    sb_slice_t root = trim(text);
    u->open = root.len > 0 && root.ptr[0] == '{' && open_text(u, root) >= 0;
}

/* Writes what was changed, so that the text in hand is the body as it now stands. */
static void flush(sb_upcaster_t *u)
{
    if (!u->changed)
        return;
    u->side ^= 1;
    sb_buf_t *out = &u->written[u->side].buf;
    sb_slice_t root = trim(u->text);
    sb_buf_reset(out);
    sb_buf_add_slice(out, between(u->text.ptr, root.ptr));
    write_object(u, 0, out);
    sb_buf_add_slice(out, between(root.ptr + root.len, u->text.ptr + u->text.len));
    u->no_memory |= sb_buf_failed(out);
    u->text = sb_buf_slice(out);
    u->changed = false;
    u->open = false;
}

/* ---- C functions ---- */

static sb_code_t run_hook(sb_upcaster_t *u, const sb_upcast_chain_t *chain, const sb_upcast_step_t *step,
                          const sb_event_t *event, sb_error_t *err)
{
    const hook_t *hook = find_hook(u, chain->type, step->version - 1);
    flush(u);
    sb_event_t before = *event;
    before.schema_version = step->version - 1;
    before.data = u->text;
    sb_upcast_out_t *out = &u->written[u->side ^ 1];
    sb_buf_reset(&out->buf);
    sb_code_t code = hook->fn(hook->context, &before, out, err);
    if (code == SB_NOT_FOUND || code == SB_UNSUPPORTED)
        code = SB_INVALID; /* those say that a type or a step is not known */
    u->side ^= 1;
    u->text = sb_buf_slice(&out->buf);
    u->no_memory |= sb_buf_failed(&out->buf);
    u->open = false;
    if (code == SB_OK && !u->no_memory && step->schema)
        code = sb_schema_validate(step->schema, u->text, err);
    return code == SB_OK ? SB_OK : sb_context(err, code, "its function to version %d", step->version);
}

/* ---- the chain ---- */

sb_code_t sb_upcaster_ready(const sb_upcaster_t *upcaster, const sb_upcast_chain_t *chain, sb_error_t *err)
{
    if (chain && chain->missing)
        return sb_fail(err, SB_UNSUPPORTED,
                       "%s: version %d cannot become version %d, version %d is not known here", chain->type,
                       chain->from, chain->to, chain->missing);
    for (int i = 0; chain && i < chain->count; i++) {
        const sb_upcast_step_t *step = &chain->step[i];
        if (step->upcast && step->upcast->hook && !find_hook(upcaster, chain->type, step->version - 1))
            return sb_fail(
                err, SB_UNSUPPORTED,
                "%s: version %d becomes version %d by a C function (sagabus/upcast.h), which is not "
                "registered here",
                chain->type, step->version - 1, step->version);
    }
    return SB_OK;
}

static sb_code_t run_steps(sb_upcaster_t *u, const sb_upcast_chain_t *chain, const sb_event_t *event,
                           sb_error_t *err)
{
    for (int i = 0; i < chain->count; i++) {
        const sb_upcast_step_t *step = &chain->step[i];
        if (!step->upcast || (!step->upcast->hook && step->upcast->count == 0))
            continue;
        if (step->upcast->hook && sb_slice_is(event->data, "null"))
            continue; /* an erased body stays what it is: no function can make anything of it */
        if (step->upcast->hook) {
            sb_code_t code = run_hook(u, chain, step, event, err);
            if (code != SB_OK)
                return code;
            continue;
        }
        if (!u->open)
            take(u, u->text);
        for (int k = 0; k < step->upcast->count; k++)
            run_op(u, &step->upcast->op[k]);
    }
    flush(u);
    return SB_OK;
}

static bool changes_nothing(const sb_upcast_chain_t *chain)
{
    for (int i = 0; i < chain->count; i++)
        if (chain->step[i].upcast && (chain->step[i].upcast->hook || chain->step[i].upcast->count > 0))
            return false;
    return true;
}

static sb_code_t run_chain(sb_upcaster_t *u, const sb_upcast_chain_t *chain, const sb_event_t *event,
                           sb_slice_t *out, sb_error_t *err)
{
    sb_code_t code = sb_upcaster_ready(u, chain, err);
    if (code != SB_OK || changes_nothing(chain))
        return code;
    if (!sb_scan_valid(event->data, NULL))
        return sb_fail(err, SB_INVALID, "its body is not JSON");
    u->no_memory = false;
    u->open = false;
    u->changed = false;
    u->text = event->data;
    code = run_steps(u, chain, event, err);
    if (u->no_memory)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    *out = u->text;
    return code;
}

sb_code_t sb_upcaster_run(sb_upcaster_t *upcaster, const sb_upcast_chain_t *chain, sb_event_t *event,
                          sb_error_t *err)
{
    if (!chain) {
        event->written_version = event->schema_version;
        return SB_OK;
    }
    sb_slice_t data = event->data;
    sb_code_t code = run_chain(upcaster, chain, event, &data, err);
    if (code != SB_OK && event->seq > 0)
        return sb_context(err, code, "event %lld (%s version %d)", (long long)event->seq, chain->type,
                          chain->from);
    if (code != SB_OK) {
        char id[SB_UUID_TEXT];
        return sb_context(err, code, "event %s (%s version %d)", sb_uuid_format(&event->id, id), chain->type,
                          chain->from);
    }
    event->data = data;
    event->written_version = chain->from;
    event->schema_version = chain->to;
    return SB_OK;
}
