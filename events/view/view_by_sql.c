/* A view that is declared by SQL: its file, and what becomes of a statement's text.
 *
 * A statement is read only as far as it takes to find the tables in it: literals, quoted names and comments
 * are passed over. Whether it is right SQL is PostgreSQL's to say (sb_view_prove).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_compiler.h"
#include "events/view/view_sql.h"
#include "events/view/view_statement.h"

#include <ctype.h>
#include <inttypes.h>
#include <strings.h>

/* ---- a statement, piece by piece ---- */

typedef enum piece_kind {
    PIECE_END,
    PIECE_TEXT,
    PIECE_TABLE, /* {name}: text is the name */
    PIECE_SEMICOLON,
    PIECE_DOLLAR /* a parameter, or a text between dollars */
} piece_kind_t;

typedef struct piece {
    piece_kind_t kind;
    sb_slice_t text;
} piece_t;

/* Behind the next occurrence of end, or the end of all. */
static const char *behind(const char *from, const char *end)
{
    const char *at = strstr(from, end);
    return at ? at + strlen(end) : from + strlen(from);
}

static size_t text_length(const char *at)
{
    const char *end = at + 1;
    if (*at == '\'' || *at == '"')
        end = behind(at + 1, *at == '"' ? "\"" : "'");
    else if (strncmp(at, "--", 2) == 0)
        end = behind(at + 2, "\n");
    else if (strncmp(at, "/*", 2) == 0)
        end = behind(at + 2, "*/");
    return (size_t)(end - at);
}

static piece_t next_piece(const char **at)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    const char *from = *at;
    size_t name = *from == '{' ? strspn(from + 1, letters) : 0;
    piece_t piece = {PIECE_TEXT, {from, text_length(from)}};
    if (*from == '\0')
        return (piece_t){PIECE_END, {from, 0}};
    if (*from == ';')
        piece.kind = PIECE_SEMICOLON;
    if (*from == '$')
        piece.kind = PIECE_DOLLAR;
    if (name > 0 && from[name + 1] == '}')
        piece = (piece_t){PIECE_TABLE, {from + 1, name}};
    *at += piece.kind == PIECE_TABLE ? name + 2 : piece.text.len;
    return piece;
}

static bool begins_with(const char *text, const char *word)
{
    size_t length = strlen(word);
    return strncasecmp(text, word, length) == 0 && !isalnum((unsigned char)text[length]) &&
           text[length] != '_';
}

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t\r\n");
}

/* ---- its text for a generation ---- */

/* MATERIALIZED: every body is read, whatever a plan makes of the conditions on it, so that one that is not
 * JSON is parked in whatever batch it lies. */
static const char prelude[] =
    " events (seq, stream, version, type, \"time\", id, data) AS MATERIALIZED (SELECT u.seq, "
    "u.stream COLLATE \"C\", u.version, u.type COLLATE \"C\", u.at, u.id, u.data::jsonb FROM "
    "unnest($1::int8[], $2::text[], $3::int4[], $4::text[], $5::timestamptz[], $6::uuid[], $7::text[]) AS u "
    "(seq, stream, version, type, at, id, data) ORDER BY u.seq)";

void sb_view_statement_text(const sb_view_definition_t *definition, int statement, int64_t generation,
                            sb_buf_t *out)
{
    const char *at = skip_space(definition->statement[statement]);
    bool with = begins_with(at, "with");
    if (with)
        at = skip_space(at + strlen("with"));
    bool recursive = with && begins_with(at, "recursive"); /* which a MERGE does not take */
    if (recursive)
        at += strlen("recursive");
    sb_buf_add_text(out, recursive ? "WITH RECURSIVE" : "WITH");
    sb_buf_add_text(out, prelude);
    sb_buf_add_text(out, with ? ", " : " ");
    for (piece_t piece = next_piece(&at); piece.kind != PIECE_END; piece = next_piece(&at))
        if (piece.kind == PIECE_TABLE)
            sb_buf_printf(out, SB_VIEW_SCHEMA ".\"%.*s_g%" PRId64 "\"", SB_SLICE_ARG(piece.text), generation);
        else
            sb_buf_add_slice(out, piece.text);
}

/* ---- the file ---- */

static sb_code_t compile_statement(sb_view_compiler_t *c, const json_t *body, bool *named)
{
    const char *at = json_string_value(body);
    bool any = false;
    if (!at || strlen(at) != json_string_length(body))
        return sb_view_refuse(c, "must be a statement");
    c->view->statement[c->view->statement_count++] = at;
    at = skip_space(at);
    if (!begins_with(at, "insert") && !begins_with(at, "update") && !begins_with(at, "delete") &&
        !begins_with(at, "merge") && !begins_with(at, "with"))
        return sb_view_refuse(c, "must begin with INSERT, UPDATE, DELETE, MERGE or WITH");
    for (piece_t piece = next_piece(&at); piece.kind != PIECE_END; piece = next_piece(&at)) {
        int table = piece.kind == PIECE_TABLE ? sb_view_definition_table(c->view, piece.text) : -1;
        if (piece.kind == PIECE_SEMICOLON)
            return sb_view_refuse(c, "has a semicolon; several statements are an array of them");
        if (piece.kind == PIECE_DOLLAR)
            return sb_view_refuse(c, "has a $ outside of a text; a statement reads the rowset events and has "
                                     "no parameters");
        if (piece.kind == PIECE_TABLE && table < 0)
            return sb_view_refuse(c, "{%.*s} is none of the view's tables", SB_SLICE_ARG(piece.text));
        if (piece.kind == PIECE_TABLE)
            any = named[table] = true;
    }
    return any ? SB_OK
               : sb_view_refuse(c,
                                "names none of the view's tables; write {%s}, which becomes that of the "
                                "generation that is folded",
                                c->view->table[0].name);
}

sb_code_t sb_view_compile_statements(sb_view_compiler_t *c, const json_t *body)
{
    bool named[SB_VIEW_TABLES_MAX] = {false};
    size_t count = json_is_array(body) ? json_array_size(body) : 1;
    sb_code_t code = SB_OK;
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("sql"));
    c->view->statement_count = 0;
    if (count < 1 || count > SB_VIEW_STATEMENTS_MAX)
        code = sb_view_refuse(c, "must be a statement or an array of 1 to %d", SB_VIEW_STATEMENTS_MAX);
    else if (!json_is_array(body))
        code = compile_statement(c, body, named);
    for (size_t i = 0; code == SB_OK && i < json_array_size(body); i++) {
        size_t inner = sb_json_pointer_enter_index(&c->pointer, i);
        code = compile_statement(c, json_array_get(body, i), named);
        sb_json_pointer_leave(&c->pointer, inner);
    }
    for (int t = 0; code == SB_OK && t < c->view->table_count; t++)
        if (!named[t])
            code = sb_view_refuse(c, "fills table %s by no statement: {%s} is in none",
                                  c->view->table[t].name, c->view->table[t].name);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

sb_code_t sb_view_compile_events(sb_view_compiler_t *c, const json_t *body)
{
    size_t count = json_array_size(body);
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("events"));
    sb_code_t code = SB_OK;
    if (!json_is_array(body) || count < 1)
        code = sb_view_refuse(c, body ? "must be an array of event types" : "is missing");
    for (size_t i = 0; code == SB_OK && i < count; i++) {
        int event = 0;
        int before = c->view->event_count;
        const char *name = json_string_value(json_array_get(body, i));
        size_t inner = sb_json_pointer_enter_index(&c->pointer, i);
        code = sb_view_event_named(c, name ? name : "", &event);
        if (code == SB_OK && event < before)
            code = sb_view_refuse(c, "is in the list twice");
        sb_json_pointer_leave(&c->pointer, inner);
    }
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}
