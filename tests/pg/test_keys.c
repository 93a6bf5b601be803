/* API keys: made once, kept as hashes, checked by scope, revoked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include "server/keys.h"

#include <stdio.h>
#include <string.h>

static sb_pg_t *pg;
static sb_keys_t *keys;

static int set_up(void **state)
{
    (void)state;
    char uri[SB_TEST_URI];
    sb_error_t err = SB_ERROR_INIT;
    pg = sb_test_pg_open(sb_test_pg_fresh(uri));
    assert_ok(sb_keys_new(&keys, &err), &err);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sb_keys_free(&keys);
    sb_pg_close(&pg);
    return 0;
}

static void create(const char *name, int scopes, char text[SB_KEY_TEXT])
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_key_create(pg, name, scopes, text, &err), &err);
    assert_ok(sb_keys_load(keys, pg, &err), &err);
}

static sb_code_t check(const char *text, sb_key_scope_t scope, char name[64])
{
    char header[128];
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(header, sizeof header, "Bearer %s", text);
    return sb_keys_check(keys, sb_slice(header), scope, name, &err);
}

static void a_key_opens_its_scopes_and_no_more(void **state)
{
    (void)state;
    char text[SB_KEY_TEXT], name[64];
    create("reader", SB_SCOPE_READ, text);
    assert_int_equal(check(text, SB_SCOPE_READ, name), SB_OK);
    assert_string_equal(name, "reader");
    assert_int_equal(check(text, SB_SCOPE_WRITE, name), SB_DENIED);
    assert_string_equal(name, "reader"); /* known, but not allowed: 403, not 401 */
}

static void an_admin_may_do_everything(void **state)
{
    (void)state;
    char text[SB_KEY_TEXT], name[64];
    create("boss", SB_SCOPE_ADMIN, text);
    assert_int_equal(check(text, SB_SCOPE_READ, name), SB_OK);
    assert_int_equal(check(text, SB_SCOPE_WRITE, name), SB_OK);
}

static void what_is_not_exactly_the_key_is_nobody(void **state)
{
    (void)state;
    char text[SB_KEY_TEXT], name[64];
    create("reader", SB_SCOPE_READ, text);
    text[strlen(text) - 1] ^= 1;
    assert_int_equal(check(text, SB_SCOPE_READ, name), SB_DENIED);
    assert_string_equal(name, "");
    assert_int_equal(check("", SB_SCOPE_READ, name), SB_DENIED);
    sb_error_t err = SB_ERROR_INIT;
    assert_int_equal(sb_keys_check(keys, SB_SLICE_NONE, SB_SCOPE_READ, name, &err), SB_DENIED);
}

static void a_revoked_key_is_nobody_after_the_next_load(void **state)
{
    (void)state;
    char text[SB_KEY_TEXT], name[64];
    sb_error_t err = SB_ERROR_INIT;
    create("old", SB_SCOPE_READ, text);
    assert_ok(sb_key_revoke(pg, "old", &err), &err);
    assert_ok(sb_keys_load(keys, pg, &err), &err);
    assert_int_equal(check(text, SB_SCOPE_READ, name), SB_DENIED);
    assert_code(SB_NOT_FOUND, sb_key_revoke(pg, "old", &err), &err);
    assert_int_equal(sb_keys_count(keys), 1); /* and the API does not stand open again */
}

static void the_table_does_not_hold_the_key(void **state)
{
    (void)state;
    char text[SB_KEY_TEXT];
    sb_buf_t list = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    create("quiet", SB_SCOPE_READ, text);
    assert_ok(sb_key_list(pg, &list, &err), &err);
    assert_contains(sb_buf_text(&list), "\"quiet\"");
    assert_null(strstr(sb_buf_text(&list), text + 12)); /* the secret part */
    assert_int_equal(
        sb_test_pg_int(pg, "SELECT count(*) FROM sagabus.api_key k WHERE k::text LIKE '%sb\\_%'"), 0);
    sb_buf_fini(&list);
}

static void bad_names_and_scopes_say_what_is_wrong(void **state)
{
    (void)state;
    char text[SB_KEY_TEXT];
    int mask;
    sb_error_t err = SB_ERROR_INIT;
    assert_code(SB_INVALID, sb_scope_parse("read,wriet", &mask, &err), &err);
    assert_contains(err.message, "wriet");
    assert_ok(sb_scope_parse("read,write", &mask, &err), &err);
    assert_int_equal(mask, SB_SCOPE_READ | SB_SCOPE_WRITE);
    create("twice", SB_SCOPE_READ, text);
    assert_code(SB_CONFLICT, sb_key_create(pg, "twice", SB_SCOPE_READ, text, &err), &err);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_key_opens_its_scopes_and_no_more),    CASE(an_admin_may_do_everything),
        CASE(what_is_not_exactly_the_key_is_nobody), CASE(a_revoked_key_is_nobody_after_the_next_load),
        CASE(the_table_does_not_hold_the_key),       CASE(bad_names_and_scopes_say_what_is_wrong),
    };
    return cmocka_run_group_tests_name("keys", tests, sb_test_pg_start, sb_test_pg_stop);
}
