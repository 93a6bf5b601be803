/* SPDX-License-Identifier: Apache-2.0 */
#include "sagabus/id.h"
#include "tests/support/assert.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void version_7_rises_within_a_thread(void **state)
{
    (void)state;
    sb_uuid_t last = sb_uuid_v7();
    for (int i = 0; i < 100000; i++) {
        sb_uuid_t id = sb_uuid_v7();
        assert_true(memcmp(&last, &id, sizeof id) < 0);
        assert_int_equal(id.byte[6] >> 4, 7);
        assert_int_equal(id.byte[8] >> 6, 2);
        last = id;
    }
}

/* The random half of an id comes from a stock that a forked child must not share. */
static void version_7_is_unique_between_a_process_and_its_child(void **state)
{
    (void)state;
    enum { DRAWN = 8 };
    sb_uuid_t mine[DRAWN], theirs[DRAWN];
    int ends[2];
    (void)sb_uuid_v7();
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    for (int i = 0; i < DRAWN; i++)
        mine[i] = sb_uuid_v7();
    if (child == 0)
        _exit(write(ends[1], mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
    assert_int_equal(read(ends[0], theirs, sizeof theirs), sizeof theirs);
    assert_int_equal(waitpid(child, NULL, 0), child);
    for (int i = 0; i < DRAWN; i++)
        for (int j = 0; j < DRAWN; j++)
            assert_true(memcmp(&mine[i].byte[8], &theirs[j].byte[8], 8) != 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

#define COUNT 20000

static void *draw(void *context)
{
    sb_uuid_t *ids = context;
    for (int i = 0; i < COUNT; i++)
        ids[i] = sb_uuid_v7();
    return NULL;
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(sb_uuid_t));
}

static void version_7_is_unique_between_threads(void **state)
{
    (void)state;
    static sb_uuid_t ids[4 * COUNT];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, draw, ids + (size_t)i * COUNT), 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    qsort(ids, 4 * COUNT, sizeof ids[0], by_bytes);
    for (size_t i = 1; i < 4 * COUNT; i++)
        assert_true(memcmp(&ids[i - 1], &ids[i], sizeof ids[i]) != 0);
}

/* RFC 9562, appendix A.4: www.example.com in the DNS namespace. */
static void version_5_is_the_standard_one(void **state)
{
    (void)state;
    char text[SB_UUID_TEXT];
    sb_uuid_t dns;
    assert_true(sb_uuid_parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", 36, &dns));
    sb_uuid_t id = sb_uuid_v5(&dns, "www.example.com", 15);
    assert_string_equal(sb_uuid_format(&id, text), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

static void parses_exactly_its_form(void **state)
{
    (void)state;
    char text[SB_UUID_TEXT];
    sb_uuid_t id;
    assert_true(sb_uuid_parse("2ED6657D-e927-568b-95e1-2665a8aea6a2", 36, &id));
    assert_string_equal(sb_uuid_format(&id, text), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    sb_uuid_t same = id;
    assert_true(sb_uuid_equal(&id, &same));
    static const char *const bad[] = {
        "", "2ed6657d-e927-568b-95e1-2665a8aea6a", "2ed6657de927-568b-95e1-2665a8aea6a2a",
        "2ed6657d-e927-568b-95e1-2665a8aea6ag", "{ed6657d-e927-568b-95e1-2665a8aea6a}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sb_uuid_parse(bad[i], strlen(bad[i]), &id));
    for (size_t at = 0; at < 36; at++) {
        for (int byte = 0; byte < 256; byte++) {
            char near[] = "2ed6657d-e927-568b-95e1-2665a8aea6a2";
            sb_uuid_t parsed;
            bool digit =
                (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
            bool right = near[at] == '-' ? byte == '-' : digit;
            near[at] = (char)byte;
            assert_true(sb_uuid_parse(near, 36, &parsed) == right);
        }
    }
    assert_true(sb_uuid_equal(&id, &same));
    sb_uuid_t nil = SB_UUID_NIL;
    assert_true(sb_uuid_is_nil(&nil));
    assert_false(sb_uuid_is_nil(&id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_7_rises_within_a_thread),
        cmocka_unit_test(version_7_is_unique_between_a_process_and_its_child),
        cmocka_unit_test(version_7_is_unique_between_threads),
        cmocka_unit_test(version_5_is_the_standard_one),
        cmocka_unit_test(parses_exactly_its_form),
    };
    return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
