/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "events/view/view_definition.h"
#include "tests/support/assert.h"

#include <stdlib.h>

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&value, sb_slice(text), "text", &err), &err);
    return value;
}

static void assert_refused(const char *text, const char *pointer, const char *part)
{
    sb_view_definition_t *view = (sb_view_definition_t *)1;
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = parse(text);
    assert_code(SB_INVALID, sb_view_definition_new(&view, body, &err), &err);
    assert_null(view);
    assert_contains(err.message, part);
    assert_string_equal(err.pointer, pointer);
    assert_int_equal(sb_view_definition_new(&view, body, NULL), SB_INVALID);
    json_decref(body);
}

/* A view that is right, but for what is given of it. */
#define BY_C(on) BY_C_NAMED("\"c:points_2\"", on)
#define BY_C_NAMED(name, on)                                                                                 \
    "{\"view\":\"v\",\"version\":1,\"fold\":" name ",\"tables\":[" TABLE(COLUMNS, on) "]}"
#define VIEW(tables)       "{\"view\":\"v\",\"version\":1,\"tables\":" tables "}"
#define KEY                "{\"column\":\"id\",\"type\":\"text\",\"from\":\"$subject\"}"
#define TABLE(columns, on) "{\"name\":\"t\",\"key\":" KEY ",\"columns\":" columns ",\"on\":" on "}"
#define COLUMNS                                                                                              \
    "[{\"name\":\"n\",\"type\":\"int8\"},{\"name\":\"s\",\"type\":\"text\"},{\"name\":\"at\",\"type\":"      \
    "\"timestamptz\"},{\"name\":\"j\",\"type\":\"jsonb\"},{\"name\":\"b\",\"type\":\"bool\"}]"
#define RULE(rule) VIEW("[" TABLE(COLUMNS, "{\"a.b\":" rule "}") "]")

#define CARRY(carry, rule)                                                                                   \
    "{\"view\":\"v\",\"version\":1,\"carry\":" carry ",\"tables\":[" TABLE(COLUMNS, "{\"a.b\":" rule "}") "]}"
#define AMOUNT                                                                                               \
    "{\"columns\":[{\"name\":\"amount\",\"type\":\"int8\"}],\"on\":{\"a.b\":{\"set\":{\"amount\":\"/n\"}}}}"

static void the_seed_views_compile(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        bool reads_subject;
        int tables, events;
    } views[] = {{SB_TEST_VIEWS "/order_summary.json", true, 1, 5},
                 {SB_TEST_VIEWS "/customer_orders.json", false, 2, 4},
                 {SB_TEST_VIEWS "/inventory_levels.json", false, 1, 1},
                 {SB_TEST_VIEWS "/payments_daily.json", false, 1, 3}};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        json_t *body = NULL;
        sb_view_definition_t *view = NULL;
        sb_error_t err = SB_ERROR_INIT;
        assert_ok(sb_json_read_file(&body, views[i].file, NULL, &err), &err);
        assert_ok(sb_view_definition_new(&view, body, &err), &err);
        assert_int_equal(view->reads_subject, views[i].reads_subject);
        assert_int_equal(view->table_count, views[i].tables);
        assert_int_equal(view->event_count, views[i].events);
        json_decref(body);
        sb_view_definition_free(&view);
    }
}

static void a_definition_knows_what_it_reads(void **state)
{
    (void)state;
    sb_view_definition_t *view = NULL;
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = parse(RULE("[{\"when\":{\"pointer\":\"/kind\",\"operator\":\"==\",\"value\":\"x\"},"
                              "\"add\":{\"n\":\"/deep/n\"},\"set\":{\"s\":\"/kind\",\"b\":{\"const\":true}}},"
                              "{\"key\":\"/other\",\"count\":[\"n\"]}]"));
    assert_ok(sb_view_definition_new(&view, body, &err), &err);
    json_decref(body);
    const sb_view_event_type_t *type = &view->event[0];
    assert_string_equal(type->name, "a.b");
    assert_int_equal(type->field_count, 3); /* /kind is read once */
    assert_slice(type->field[0].name, "kind");
    assert_slice(type->field[1].pointer, "/deep/n");
    assert_null(type->field[1].name.ptr);
    const sb_view_on_t *on = &view->table[0].on[0];
    assert_int_equal(on->rule_count, 2);
    assert_int_equal(on->rule[0].when_count, 1);
    assert_int_equal(on->rule[0].key.origin, SB_VIEW_SUBJECT);
    assert_int_equal(on->rule[1].key.origin, SB_VIEW_FIELD);
    assert_int_equal(sb_view_table_column(&view->table[0], SB_SLICE("at")), 3);
    assert_int_equal(sb_view_table_column(&view->table[0], SB_SLICE("nope")), -1);
    sb_view_definition_free(&view);
}

static void a_fault_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pointer, *part;
    } cases[] = {
        {"[]", "", "must be an object"},
        {"{\"view\":\"v\",\"version\":1,\"tables\":[],\"x\":1}", "/x", "not known"},
        {"{\"version\":1,\"tables\":[]}", "", "\"view\" is missing"},
        {"{\"view\":\"V\",\"version\":1,\"tables\":[]}", "/view", "a-z"},
        {"{\"view\":\"v_g2\",\"version\":1,\"tables\":[]}", "/view", "generation"},
        {"{\"view\":\"v\",\"version\":0,\"tables\":[]}", "/version", "from 1"},
        {VIEW("[]"), "/tables", "1 to 6"},
        {VIEW("[" TABLE("[]", "{\"a.b\":{}}") "," TABLE("[]", "{\"a.b\":{}}") "]"), "/tables/1/name",
         "another"},
        {VIEW("[{\"name\":\"t\",\"columns\":[],\"on\":{}}]"), "/tables/0/key", "missing"},
        {VIEW("[{\"name\":\"t\",\"key\":{\"column\":\"k\",\"type\":\"bool\",\"from\":\"/"
              "k\"},\"columns\":[],\"on\":{}}]"),
         "/tables/0/key/type", "text, int8 or date"},
        {VIEW("[" TABLE("{}", "{\"a.b\":{}}") "]"), "/tables/0/columns", "array"},
        {VIEW("[" TABLE("[{\"name\":\"id\",\"type\":\"text\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/name", "another column"},
        {VIEW("[" TABLE("[{\"name\":\"xmin\",\"type\":\"text\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/name", "PostgreSQL's own"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"float8\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/type", "floating point"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"money\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/type", "none of"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"numeric\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/type", "numeric(P,S)"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"numeric(39,2)\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/type", "from 1 to 38"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"numeric(4,5)\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/type", "from 0 to P"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"numeric(4,2)\",\"default\":1.5}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/default", "write it as a string"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"numeric(4,2)\",\"default\":\"1.555\"}]",
                        "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/default", "more decimals"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"date\",\"default\":\"2026-02-30\"}]",
                        "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/default", "date"},
        {VIEW("[" TABLE("[{\"name\":\"dirty\",\"type\":\"bool\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/name", "sagabus's"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"text\",\"items\":5}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/items", "is for jsonb"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"jsonb\",\"items\":1001}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/items", "from 1 to 1000"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"int4\",\"default\":2147483648}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/default", "int4"},
        {VIEW("[" TABLE("[]", "{}") "]"), "/tables/0/on", "event types"},
        {VIEW("[" TABLE("[]", "{\"nodot\":{}}") "]"), "/tables/0/on/nodot", "not an event type"},
        {VIEW("[" TABLE("[]", "{\"saga.started\":{}}") "]"), "/tables/0/on/saga.started", "domain events"},
        {RULE("[]"), "/tables/0/on/a.b", "1 to 16"},
        {RULE("{\"multiply\":{\"n\":\"/n\"}}"), "/tables/0/on/a.b/multiply", "none of key, when"},
        {RULE("{\"set\":{\"nope\":\"/n\"}}"), "/tables/0/on/a.b/set/nope", "no column"},
        {RULE("{\"set\":{\"id\":\"/n\"}}"), "/tables/0/on/a.b/set/id", "the key"},
        {RULE("{\"set\":{\"n\":\"n\"}}"), "/tables/0/on/a.b/set/n", "JSON Pointer"},
        {RULE("{\"set\":{\"n\":\"\"}}"), "/tables/0/on/a.b/set/n", "JSON Pointer"},
        {RULE("{\"set\":{\"n\":5}}"), "/tables/0/on/a.b/set/n", "must be a pointer"},
        {RULE("{\"set\":{\"n\":{\"const\":1.5}}}"), "/tables/0/on/a.b/set/n/const", "int8"},
        {RULE("{\"set\":{\"at\":{\"const\":\"noon\"}}}"), "/tables/0/on/a.b/set/at/const", "timestamptz"},
        {RULE("{\"set\":{\"n\":\"$time\"}}"), "/tables/0/on/a.b/set/n", "$time is timestamptz"},
        {RULE("{\"set\":{\"s\":\"$who\"}}"), "/tables/0/on/a.b/set/s", "none of $subject"},
        {RULE("{\"add\":{\"s\":\"/n\"}}"), "/tables/0/on/a.b/add/s", "add is not for"},
        {RULE("{\"max\":{\"j\":\"/n\"}}"), "/tables/0/on/a.b/max/j", "max is not for"},
        {RULE("{\"count\":{\"n\":\"/n\"}}"), "/tables/0/on/a.b/count", "array of columns"},
        {RULE("{\"count\":[\"n\",\"n\"]}"), "/tables/0/on/a.b/count/1", "twice"},
        {RULE("{\"set\":{\"n\":\"/n\"},\"add\":{\"n\":\"/n\"}}"), "/tables/0/on/a.b/add/n", "twice"},
        {RULE("{\"delete\":true,\"count\":[\"n\"]}"), "/tables/0/on/a.b", "deletes the row and changes"},
        {RULE("{\"delete\":false}"), "/tables/0/on/a.b/delete", "must be true"},
        {RULE("{\"when\":{\"pointer\":\"/x\",\"operator\":\"~\",\"value\":1}}"),
         "/tables/0/on/a.b/when/operator", "none of =="},
        {RULE("{\"when\":{\"pointer\":\"/x\",\"operator\":\"==\"}}"), "/tables/0/on/a.b/when",
         "\"value\" is missing"},
        {RULE("{\"when\":{\"pointer\":\"/x\",\"operator\":\">\",\"value\":true}}"),
         "/tables/0/on/a.b/when/operator", "does not order"},
        {RULE("{\"append\":{\"j\":\"/n\"}}"), "/tables/0/on/a.b/append/j", "how many \"items\""},
        {RULE("{\"append\":{\"s\":\"/n\"}}"), "/tables/0/on/a.b/append/s", "append is not for"},
        {RULE("{\"set\":{\"s\":{\"carry\":\"s\"}}}"), "/tables/0/on/a.b/set/s/carry", "the view has none"},
        {RULE("{\"set\":{\"s\":{\"konst\":1}}}"), "/tables/0/on/a.b/set/s", "has none of"},
        {RULE("{\"set\":{\"s\":{\"const\":\"x\",\"carry\":\"y\"}}}"), "/tables/0/on/a.b/set/s/carry",
         "not known"},
        {RULE("{\"set\":{\"n\":{\"join\":[\"/a\",\"/b\"]}}}"), "/tables/0/on/a.b/set/n/join",
         "join is text, the column is int8"},
        {RULE("{\"set\":{\"s\":{\"join\":[\"/a\"]}}}"), "/tables/0/on/a.b/set/s/join", "2 to 8"},
        {RULE("{\"set\":{\"s\":{\"join\":[\"/a\",{\"join\":[\"/b\",\"/c\"]}]}}}"),
         "/tables/0/on/a.b/set/s/join/1", "no text"},
        {RULE("{\"set\":{\"s\":{\"join\":[\"/a\",{\"date\":\"$time\",\"zone\":\"Mars/Olympus\"}]}}}"),
         "/tables/0/on/a.b/set/s/join/1/zone", "Mars/Olympus"},
        {RULE("{\"set\":{\"s\":{\"join\":[\"/a\",{\"date\":\"$time\",\"zone\":\"../passwd\"}]}}}"),
         "/tables/0/on/a.b/set/s/join/1/zone", "tz database"},
        {RULE("{\"set\":{\"at\":{\"date\":\"$time\",\"zone\":\"UTC\"}}}"), "/tables/0/on/a.b/set/at",
         "date is date, the column is timestamptz"},
        {RULE("{\"set\":{\"s\":{\"join\":[\"/a\",{\"date\":\"$seq\",\"zone\":\"UTC\"}]}}}"),
         "/tables/0/on/a.b/set/s/join/1/date", "$seq is int8"},
        {RULE("{\"when\":[],\"count\":[\"n\"]}"), "/tables/0/on/a.b/when", "array of 1 to 8"},
        {CARRY("{\"columns\":[],\"on\":{\"a.b\":{\"key\":\"/x\"}}}", "{}"), "/carry/on/a.b/key", "no use"},
        {CARRY("{\"columns\":[],\"on\":{}}", "{}"), "/carry/on", "event types"},
        {CARRY(AMOUNT, "{\"set\":{\"s\":{\"carry\":\"amount\"}}}"), "/tables/0/on/a.b/set/s/carry",
         "amount is int8, the column is text"},
        {CARRY(AMOUNT, "{\"set\":{\"s\":{\"carry\":\"amont\"}}}"), "/tables/0/on/a.b/set/s/carry",
         "no column \"amont\""},
        {CARRY(AMOUNT, "{\"when\":{\"carry\":\"amount\",\"operator\":\"==\",\"value\":\"x\"}}"),
         "/tables/0/on/a.b/when/value", "another type"},
        {RULE("[{\"count\":[\"n\"]},{\"key\":\"$time\"}]"), "/tables/0/on/a.b/1/key", "the column is text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].text, cases[i].pointer, cases[i].part);
}

/* ---- at random ---- */

static json_t *some_value(unsigned *random)
{
    static const char *const texts[] = {
        "",     "/",   "/a",   "$subject", "$who", "text",     "numeric(9,2)", "numeric(99,99)",
        "date", "UTC", "/a~2", "carry",    "==",   "\xc3\xa9", "a.b",          "saga.started"};
    switch (rand_r(random) / 3 % 8) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(rand_r(random) & 1);
    case 2:
        return json_integer((json_int_t)(rand_r(random) % 3000) - 1000);
    case 3:
        return json_real(1.5);
    case 4:
        return json_array();
    case 5:
        return json_object();
    case 6:
        return json_pack("{s:s, s:s}", "carry", "sum", "date", "$time");
    default:
        return json_string(texts[(size_t)rand_r(random) / 3 % (sizeof texts / sizeof *texts)]);
    }
}

/* Somewhere in value, something is put in another's place, taken away or added. */
static void disturb(json_t *value, unsigned *random)
{
    size_t count = json_is_array(value) ? json_array_size(value) : json_object_size(value);
    bool here = rand_r(random) / 5 % 4 == 0;
    size_t at = count ? (size_t)rand_r(random) / 3 % count : 0;
    void *iter = json_is_object(value) ? json_object_iter(value) : NULL;
    for (size_t i = 0; iter && i < at; i++)
        iter = json_object_iter_next(value, iter);
    json_t *inner = json_is_array(value) ? json_array_get(value, at)
                    : iter               ? json_object_iter_value(iter)
                                         : NULL;
    if (!here && (json_is_array(inner) || json_is_object(inner))) {
        disturb(inner, random);
        return;
    }
    int how = rand_r(random) / 3 % 3;
    if (json_is_array(value) && count > 0) {
        (void)(how == 0   ? json_array_remove(value, at)
               : how == 1 ? json_array_set_new(value, at, some_value(random))
                          : json_array_append(value, inner));
    } else if (iter) {
        char key[128];
        (void)snprintf(key, sizeof key, "%s", json_object_iter_key(iter));
        (void)(how == 0   ? json_object_del(value, key)
               : how == 1 ? json_object_set_new(value, key, some_value(random))
                          : json_object_set_new(value, "when", some_value(random)));
    }
}

/* A definition with faults at random places is compiled or refused with a reason; nothing else happens. */
static void no_file_is_too_odd(void **state)
{
    (void)state;
    static const char *const files[] = {SB_TEST_THINGS "/views/everything.json",
                                        SB_TEST_VIEWS "/customer_orders.json",
                                        SB_TEST_VIEWS "/payments_daily.json"};
    unsigned random = 7;
    int refused = 0;
    int compiled = 0;
    for (int i = 0; i < 1500; i++) {
        json_t *body = NULL;
        sb_view_definition_t *view = NULL;
        sb_error_t err = SB_ERROR_INIT;
        assert_ok(sb_json_read_file(&body, files[i % 3], NULL, &err), &err);
        json_t *copy = json_deep_copy(body);
        for (int k = 0; k <= i % 3; k++)
            disturb(copy, &random);
        sb_code_t code = sb_view_definition_new(&view, copy, &err);
        assert_true(code == SB_OK || (code == SB_INVALID && err.message[0]));
        assert_true((code == SB_OK) == (view != NULL));
        compiled += code == SB_OK;
        refused += code != SB_OK;
        sb_view_definition_free(&view);
        json_decref(copy);
        json_decref(body);
    }
    assert_true(compiled > 50 && refused > 500);
}

static void a_broken_zone_file_is_refused(void **state)
{
    (void)state;
    static char bytes[65536];
    char directory[] = "/tmp/sb-zone-XXXXXX";
    char path[64];
    unsigned random = 11;
    sb_error_t err = SB_ERROR_INIT;
    sb_buf_t whole = SB_BUF_INIT;
    FILE *file = fopen("/usr/share/zoneinfo/Europe/Berlin", "rbe");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof bytes, file);
    assert_int_equal(fclose(file), 0);
    assert_true(length > 100);
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/Zone", directory);
    assert_int_equal(setenv("TZDIR", directory, 1), 0);
    int refused = 0;
    for (int i = 0; i < 400; i++) {
        sb_view_zone_t zone;
        sb_buf_reset(&whole);
        sb_buf_add(&whole, bytes, i % 2 ? length : (size_t)rand_r(&random) % length);
        for (int k = 0; k < 1 + i % 4 && whole.len > 0;
             k++) /* in the head of a block or behind the list, mostly */
            whole.ptr[(size_t)rand_r(&random) % (i % 3            ? whole.len
                                                 : whole.len < 44 ? whole.len
                                                                  : 44)] = (char)rand_r(&random);
        file = fopen(path, "wbe");
        assert_non_null(file);
        assert_int_equal(fwrite(sb_buf_text(&whole), 1, whole.len, file), whole.len);
        assert_int_equal(fclose(file), 0);
        if (sb_view_zone_load(&zone, "Zone", &err) == SB_OK) {
            (void)sb_view_zone_day(&zone, INT64_C(4000000000) * 1000000);
            sb_view_zone_fini(&zone);
        } else {
            refused++;
        }
    }
    assert_true(refused > 100);
    assert_int_equal(unsetenv("TZDIR"), 0);
    assert_int_equal(remove(path), 0);
    assert_int_equal(remove(directory), 0);
    sb_buf_fini(&whole);
}

#define SQL_TABLE    "{\"name\":\"t\",\"key\":{\"column\":\"id\",\"type\":\"text\"},\"columns\":[]}"
#define BY_SQL(rest) "{\"view\":\"v\",\"version\":1,\"tables\":[" SQL_TABLE "]," rest "}"
#define SQL(text)    BY_SQL("\"events\":[\"a.b\"],\"sql\":" text)
#define WITH_TABLES(tables)                                                                                  \
    "{\"view\":\"v\",\"version\":1,\"events\":[\"a.b\"],\"sql\":\"DELETE FROM {t}\",\"tables\":[" tables "]" \
    "}"

static void a_view_by_sql_is_read_as_far_as_its_tables(void **state)
{
    (void)state;
    static const char *const right[] = {
        SQL("\"INSERT INTO {t} (id) SELECT stream FROM events\""),
        SQL("[\" with x AS (SELECT 1) delete FROM {t}\",\"MERGE INTO {t} USING events ON id = stream WHEN "
            "MATCHED THEN DELETE\"]"),
        SQL("\"DELETE FROM {t} WHERE id IN ('{x};$1', 'it''s {x}', \\\"{x}\\\", '{}') -- {x};\\n AND id = "
            "'{a,b}' /* {x} */\"")};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        sb_view_definition_t *view = NULL;
        sb_error_t err = SB_ERROR_INIT;
        json_t *body = parse(right[i]);
        assert_ok(sb_view_definition_new(&view, body, &err), &err);
        assert_int_equal(view->statement_count, i == 1 ? 2 : 1);
        assert_int_equal(view->event_count, 1);
        json_decref(body);
        sb_view_definition_free(&view);
    }
    assert_refused(SQL("\"INSERT INTO t (id) SELECT stream FROM events\""), "/sql", "write {t}");
    assert_refused(SQL("\"INSERT INTO '{t}' SELECT stream FROM events\""), "/sql", "write {t}");
    assert_refused(SQL("[\"DELETE FROM {t}\",\"DELETE FROM {u}\"]"), "/sql/1", "{u} is none");
    assert_refused(SQL("\"DELETE FROM {t}; DELETE FROM {t}\""), "/sql", "semicolon");
    assert_refused(SQL("\"DELETE FROM {t} WHERE id = $1\""), "/sql", "no parameters");
    assert_refused(SQL("\"TRUNCATE {t}\""), "/sql", "must begin with INSERT");
    assert_refused(SQL("\"WITHIN {t}\""), "/sql", "must begin with INSERT");
    assert_refused(SQL("7"), "/sql", "must be a statement");
    assert_refused(SQL("[]"), "/sql", "an array of 1 to 8");
    assert_refused(SQL("[null]"), "/sql/0", "must be a statement");
    assert_refused(BY_SQL("\"sql\":\"DELETE FROM {t}\""), "/events", "is missing");
    assert_refused(BY_SQL("\"events\":[\"a.b\",\"a.b\"],\"sql\":\"DELETE FROM {t}\""), "/events/1", "twice");
    assert_refused(BY_SQL("\"events\":[\"saga.x\"],\"sql\":\"DELETE FROM {t}\""), "/events/0", "a saga's");
    assert_refused(BY_SQL("\"events\":[\"a.b\"],\"carry\":{},\"sql\":\"DELETE FROM {t}\""), "/carry",
                   "for rules");
    assert_refused(BY_SQL("\"events\":[\"a.b\"]"), "/events", "\"on\"");
    assert_refused(WITH_TABLES("{\"name\":\"t\",\"key\":" KEY ",\"columns\":[]}"), "/tables/0/key/from",
                   "not known");
    assert_refused(WITH_TABLES("{\"name\":\"t\",\"key\":{},\"columns\":[],\"on\":{}}"), "/tables/0/on",
                   "not known");
    assert_refused(WITH_TABLES(SQL_TABLE ",{\"name\":\"u\",\"key\":{\"column\":\"id\",\"type\":\"text\"},"
                                         "\"columns\":[]}"),
                   "/sql", "fills table u by no statement");
    assert_refused(WITH_TABLES("{\"name\":\"t\",\"key\":{\"column\":\"id\",\"type\":\"text\"},\"columns\":[{"
                               "\"name\":\"n\",\"type\":\"int8\",\"default\":0}]}"),
                   "/tables/0/columns/0/default", "in the statement");
}

static void a_view_by_c_declares_what_concerns_a_row(void **state)
{
    (void)state;
    static const char *const right[] = {
        BY_C("[\"a.b\",\"a.c\"]"), BY_C("{\"a.b\":{},\"a.c\":[{\"key\":\"/from\"},{\"key\":\"/to\"}]}"),
        BY_C("{\"a.b\":{\"when\":{\"pointer\":\"/n\",\"operator\":\">\",\"value\":1}},\"a.c\":{}}")};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        sb_view_definition_t *view = NULL;
        sb_error_t err = SB_ERROR_INIT;
        json_t *body = parse(right[i]);
        assert_ok(sb_view_definition_new(&view, body, &err), &err);
        assert_string_equal(view->fold, "points_2");
        assert_int_equal(view->event_count, 2);
        assert_int_equal(view->table[0].on_count, 2);
        assert_true(view->table[0].on[1].rule[0].calls && view->reads_subject);
        assert_null(view->call);
        json_decref(body);
        sb_view_definition_free(&view);
    }
    assert_refused(BY_C("[]"), "/tables/0/on", "an array of event types");
    assert_refused(BY_C("[\"a.b\",\"a.b\"]"), "/tables/0/on/1", "twice");
    assert_refused(BY_C("[7]"), "/tables/0/on/0", "not an event type");
    assert_refused(BY_C("{\"a.b\":{\"set\":{\"n\":\"/n\"}}}"), "/tables/0/on/a.b/set",
                   "none of key and when");
    assert_refused(BY_C("{\"a.b\":{\"delete\":true}}"), "/tables/0/on/a.b/delete", "none of key and when");
    assert_refused(BY_C_NAMED("\"c:\"", "[\"a.b\"]"), "/fold", "\"c:NAME\"");
    assert_refused(BY_C_NAMED("\"points\"", "[\"a.b\"]"), "/fold", "\"c:NAME\"");
    assert_refused(BY_C_NAMED("\"c:Points\"", "[\"a.b\"]"), "/fold", "\"c:NAME\"");
    assert_refused(BY_C_NAMED("\"c:x\",\"sql\":\"DELETE FROM {t}\"", "[\"a.b\"]"), "/sql", "without");
    assert_refused(BY_C_NAMED("\"c:x\",\"events\":[\"a.b\"]", "[\"a.b\"]"), "/events", "\"on\"");
    assert_refused(VIEW("[" TABLE(COLUMNS, "[\"a.b\"]") "]"), "/tables/0/on", "an object of event types");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seed_views_compile),
        cmocka_unit_test(a_definition_knows_what_it_reads),
        cmocka_unit_test(a_fault_is_named_with_its_place),
        cmocka_unit_test(no_file_is_too_odd),
        cmocka_unit_test(a_broken_zone_file_is_refused),
        cmocka_unit_test(a_view_by_sql_is_read_as_far_as_its_tables),
        cmocka_unit_test(a_view_by_c_declares_what_concerns_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
