/* Migrations that a release brought are as they were: databases have them, and `sagabus migrate` refuses
 * another text under a name that was applied. migrations/released lists them. A change to one is a new
 * migration.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "migrations/list.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number_of(const char *name)
{
    return (int)strtol(name, NULL, 10);
}

static char *hash_of(const sb_migration_t *migration, char text[SB_HASH_TEXT])
{
    sb_hash_t hash;
    sb_hash_bytes(sb_slice(migration->text), &hash);
    return sb_hash_format(&hash, text);
}

static void check_line(const char *list, const char *name, const char *hash, const sb_migration_t *ours)
{
    char text[SB_HASH_TEXT];
    if (!ours->name || strcmp(ours->name, name) != 0)
        fail_msg(
            "%s migration %s was released and is %s here: released ones stay, in their order, and new ones "
            "come after them",
            list, name, ours->name ? ours->name : "missing");
    if (strcmp(hash_of(ours, text), hash) != 0)
        fail_msg("%s migration %s was released and has another text now (%s): take the change back and put "
                 "it into "
                 "a new migration, after the last one",
                 list, name, text);
}

static void what_was_released_is_as_it_was(void **state)
{
    (void)state;
    char line[256], list[16], name[64], hash[80];
    const sb_migration_t *engine = sb_migrations, *client = sb_client_migrations;
    FILE *file = fopen(SB_RELEASED, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '#' || sscanf(line, "%15s %63s %79s", list, name, hash) != 3)
            continue;
        const sb_migration_t **at = strcmp(list, "client") == 0 ? &client : &engine;
        check_line(list, name, hash, *at);
        (*at)++;
    }
    (void)fclose(file);
    assert_true(engine > sb_migrations && client > sb_client_migrations);
}

static void check_order(const sb_migration_t *list)
{
    for (int i = 0; list[i].name; i++) {
        assert_true(i == 0 || number_of(list[i].name) > number_of(list[i - 1].name));
        if (sb_migration_needs(list[i].name) > number_of(list[i].name))
            fail_msg("migration %s asks for binaries that know a later one", list[i].name);
    }
}

static void numbers_rise_and_needs_name_known_ones(void **state)
{
    (void)state;
    check_order(sb_migrations);
    check_order(sb_client_migrations);
    assert_int_equal(sb_migration_needs("0020_drop_hint_needs_0015"), 15);
    assert_int_equal(sb_migration_needs("0001_core"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_released_is_as_it_was),
        cmocka_unit_test(numbers_rise_and_needs_name_known_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
