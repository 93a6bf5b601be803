/* Base without memory: an error, no leak, and never half a result taken for a whole one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/oom.h"

#include "base/config.h"
#include "base/json.h"
#include "base/pg.h"
#include "base/queue.h"
#include "base/scan.h"
#include "events/catalog.h"
#include "saga/participant/ledger.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sb_code_t json_body(void *context, sb_error_t *err)
{
    (void)context;
    static const char text[] = "{\"b\":[1,2.5,{\"c/d\":\"x\\ny\"}],\"a\":true,\"e\":null}";
    json_t *value = NULL;
    sb_hash_t hash;
    sb_buf_t out = SB_BUF_INIT;
    sb_code_t code = sb_json_parse(&value, SB_SLICE(text), "text", err);
    if (code == SB_OK)
        code = sb_json_hash(value, &hash, err);
    if (code == SB_OK) {
        json_t *found = sb_json_at(value, SB_SLICE("/b/2/c~1d"));
        sb_json_dump(value, &out);
        if (!found || sb_buf_failed(&out))
            code = sb_fail(err, SB_NO_MEMORY, "dump");
        else
            assert_string_equal(sb_buf_text(&out),
                                "{\"a\":true,\"b\":[1,2.5,{\"c/d\":\"x\\ny\"}],\"e\":null}");
    }
    sb_buf_fini(&out);
    json_decref(value);
    return code;
}

static sb_code_t file_body(void *context, sb_error_t *err)
{
    json_t *value = NULL;
    sb_code_t code = sb_json_read_file(&value, context, NULL, err);
    if (code == SB_OK)
        assert_int_equal(json_array_size(value), 2);
    json_decref(value);
    return code;
}

static sb_code_t config_body(void *context, sb_error_t *err)
{
    sb_config_t *config = NULL;
    sb_code_t code = sb_config_new(&config, err);
    if (code == SB_OK)
        code = sb_config_load_file(config, context, err);
    if (code == SB_OK)
        code = sb_config_load_environment(config, err);
    if (code == SB_OK)
        code = sb_config_set(config, "kafka.acks", "all", err);
    if (code == SB_OK) {
        assert_string_equal(sb_config_get(config, "log.level"), "warn");
        assert_string_equal(sb_config_get(config, "kafka.linger.ms"), "5");
        assert_string_equal(sb_config_get(config, "kafka.acks"), "all");
    }
    sb_config_free(&config);
    return code;
}

static sb_code_t array_body(void *context, sb_error_t *err)
{
    (void)context;
    sb_pg_array_t array;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_array_init(&array, SB_PG_TEXT);
    for (int i = 0; i < 100; i++)
        sb_pg_array_add_slice(&array, SB_SLICE("some text"));
    sb_pg_add_array(&params, &array);
    assert_int_equal(params.failed, sb_pg_array_failed(&array));
    sb_code_t code = params.failed ? sb_fail(err, SB_NO_MEMORY, "array") : SB_OK;
    if (code == SB_OK)
        assert_int_equal(params.length[0], 20 + 100 * 13);
    sb_pg_array_fini(&array);
    return code;
}

static sb_code_t scan_body(void *context, sb_error_t *err)
{
    (void)context;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_scan_value_t value;
    assert_true(sb_scan_field(SB_SLICE("{\"a\":\"x\\ny\"}"), "a", &value));
    sb_slice_t text = sb_scan_string(&value, &scratch);
    sb_code_t code = text.ptr ? SB_OK : sb_fail(err, SB_NO_MEMORY, "scan");
    if (code == SB_OK)
        assert_slice(text, "x\ny");
    sb_buf_fini(&scratch);
    return code;
}

static sb_code_t queue_body(void *context, sb_error_t *err)
{
    (void)context;
    sb_queue_t *queue = NULL;
    sb_code_t code = sb_queue_new(&queue, 10, NULL, err);
    sb_queue_free(&queue);
    return code;
}

static void write_file(char *path, const char *text)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static void json(void **state)
{
    (void)state;
    char path[] = "/tmp/sagabus-oom-XXXXXX";
    write_file(path, "[1,{}]");
    assert_true(sb_test_oom_sweep(json_body, NULL) > 10);
    assert_true(sb_test_oom_sweep(file_body, path) > 3);
    (void)unlink(path);
}

static void config(void **state)
{
    (void)state;
    char path[] = "/tmp/sagabus-oom-XXXXXX";
    write_file(path, "log.level=info\nlog.level=warn\nkafka.linger.ms=5\nparticipant.pay.url=x\n");
    assert_true(sb_test_oom_sweep(config_body, path) > 10);
    (void)unlink(path);
}

static void arrays(void **state)
{
    (void)state;
    assert_true(sb_test_oom_sweep(array_body, NULL) > 3);
}

static void scan_and_queue(void **state)
{
    (void)state;
    assert_true(sb_test_oom_sweep(scan_body, NULL) > 0);
    assert_true(sb_test_oom_sweep(queue_body, NULL) > 0);
}

/* Two versions of a type in a catalog, an event of the first read as the second. */
static sb_code_t add_version(sb_catalog_t *catalog, int version, const char *text, sb_error_t *err)
{
    sb_artifact_t artifact = {.kind = SB_ARTIFACT_EVENT, .name = "a.b", .version = version};
    return sb_catalog_add(catalog, &artifact, sb_slice(text), version, err);
}

static sb_code_t upcast_body(void *context, sb_error_t *err)
{
    (void)context;
    static const char first[] = "{\"type\":\"a.b\",\"version\":1,\"schema\":{}}";
    static const char second[] =
        "{\"type\":\"a.b\",\"version\":2,\"schema\":{},\"x-upcast\":[{\"rename\":{\"from\":\"/a\",\"to\":\"/"
        "b\"}},"
        "{\"move\":{\"from\":\"/c\",\"to\":\"/d/e/f\"}},{\"default\":{\"at\":\"/g\",\"value\":[1]}}]}";
    sb_catalog_t *catalog = NULL;
    sb_upcaster_t *upcaster = NULL;
    const sb_upcast_chain_t *chain = NULL;
    sb_event_t event = {.schema_version = 1, .seq = 1, .data = SB_SLICE("{\"\\u0061\":1,\"c\":{}}")};
    sb_code_t code = sb_catalog_new(&catalog, err);
    if (code == SB_OK)
        code = add_version(catalog, 1, first, err);
    if (code == SB_OK)
        code = add_version(catalog, 2, second, err);
    if (code == SB_OK)
        code = sb_upcaster_new(&upcaster, err);
    if (code == SB_OK) {
        assert_non_null(sb_catalog_chain_no(catalog, 1, &chain));
        assert_non_null(chain);
        code = sb_upcaster_run(upcaster, chain, &event, err);
    }
    if (code == SB_OK) {
        assert_slice(event.data, "{\"b\":1,\"d\":{\"e\":{\"f\":{}}},\"g\":[1]}");
        assert_int_equal(event.schema_version, 2);
    }
    sb_upcaster_free(&upcaster);
    sb_catalog_free(&catalog);
    return code;
}

typedef struct of_schema {
    json_t *source;
    sb_buf_t items; /* more than a track holds without an allocation */
} of_schema_t;

static sb_code_t schema_body(void *context, sb_error_t *err)
{
    const of_schema_t *given = context;
    sb_schema_t *schema = NULL;
    sb_code_t code = sb_schema_compile(&schema, given->source, err);
    if (code == SB_OK)
        code = sb_schema_validate(schema, sb_buf_slice(&given->items), err);
    sb_schema_free(&schema);
    return code;
}

static void an_event_is_upcast_or_not(void **state)
{
    (void)state;
    assert_true(sb_test_oom_sweep(upcast_body, NULL) > 20);
    of_schema_t given = {.items = SB_BUF_INIT};
    given.source = json_pack("{s:[{s:{s:i}},{s:b}],s:{s:[i]}}", "allOf", "contains", "const", 1,
                             "uniqueItems", 0, "unevaluatedItems", "enum", 0);
    assert_non_null(given.source);
    for (int i = 0; i < 400; i++)
        sb_buf_printf(&given.items, "%c%d", i ? ',' : '[', i % 2);
    sb_buf_add_char(&given.items, ']');
    assert_true(sb_test_oom_sweep(schema_body, &given) > 10);
    sb_buf_fini(&given.items);
    json_decref(given.source);
}

/* A reply that found no room is not read, though its command comes a second time before the batch ends. */
static sb_code_t ledger_body(void *context, sb_error_t *err)
{
    static char long_reply[3000];
    const sb_slice_t reply[] = {SB_SLICE("{}"), {long_reply, sizeof long_reply}};
    sb_command_t command[] = {{.id = sb_uuid_v7()}, {.id = sb_uuid_v7()}};
    const sb_command_t *const commands[] = {&command[0], &command[1]};
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_ledger_t ledger;
    int rows = 0;
    (void)context;
    memset(long_reply, 'x', sizeof long_reply);
    sb_ledger_init(&ledger);
    sb_code_t code = sb_ledger_list(&ledger, commands, 2, err);
    for (int i = 0; code == SB_OK && i < 2; i++) {
        sb_ledger_row_t *row = sb_ledger_find(&ledger, &command[i].id);
        assert_non_null(row);
        sb_ledger_learn(&ledger, row, SB_KNOWN_FAILURE, reply[i], SB_SLICE("no"));
        sb_slice_t kept = sb_ledger_reply(&ledger, row);
        assert_true(kept.len == 0 || sb_slice_equal(kept, reply[i]));
        assert_true(sb_ledger_error(&ledger, row).len == 0 ||
                    sb_slice_is(sb_ledger_error(&ledger, row), "no"));
    }
    if (code == SB_OK)
        code = sb_ledger_fill(&ledger, &params, &rows, err);
    if (code == SB_OK)
        assert_int_equal(rows, 2);
    sb_ledger_fini(&ledger);
    return code;
}

static void a_batch_of_commands(void **state)
{
    (void)state;
    assert_true(sb_test_oom_sweep(ledger_body, NULL) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_upcast_or_not),
        cmocka_unit_test(json),
        cmocka_unit_test(config),
        cmocka_unit_test(arrays),
        cmocka_unit_test(scan_and_queue),
        cmocka_unit_test(a_batch_of_commands),
    };
    return cmocka_run_group_tests_name("oom", tests, NULL, NULL);
}
