/* What a process wrote last is there for its readers, exactly as it was, until it gives way.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/progress.h"
#include "tests/support/assert.h"

#include "base/pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS 60000

static uint64_t random_state;

static uint32_t random_number(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* Made of its number and what came of a history: the same again, whoever asks. */
static size_t body_of(int64_t seq, int history, char body[2048])
{
    size_t length = (size_t)(seq * 7919 % 1500);
    int head = snprintf(body, 2048, "%d/%lld:", history, (long long)seq);
    memset(body + head, 'a' + (int)(seq % 26), length);
    return (size_t)head + length;
}

static void pack(sb_buf_t *rows, int64_t seq, int history)
{
    char body[2048];
    size_t length = body_of(seq, history, body);
    sb_packed_row_t row = {.stream_no = -seq,
                           .at_us = 1700000000000000 + seq,
                           .version = (int)(seq % 1000),
                           .type_no = (int)(seq % 7),
                           .event_class = seq % 2 ? SB_CLASS_SAGA : SB_CLASS_DOMAIN,
                           .meta = seq % 3 == 0   ? SB_SLICE_NONE
                                   : seq % 3 == 1 ? (sb_slice_t){"", 0}
                                                  : sb_slice("{\"source\":\"/a\"}"),
                           .data = {body, length}};
    memset(row.id.byte, (int)(seq % 251), sizeof row.id.byte);
    sb_packed_row_write(rows, &row);
}

static void assert_row(const sb_slice_t fields[SB_PACKED_FIELDS], int64_t seq, int history)
{
    char body[2048];
    size_t length = body_of(seq, history, body);
    assert_int_equal(sb_pg_read_int(fields[SB_PACKED_SEQ]), seq);
    assert_int_equal(sb_pg_read_int(fields[SB_PACKED_STREAM_NO]), -seq);
    assert_int_equal(sb_pg_read_time(fields[SB_PACKED_AT]), 1700000000000000 + seq);
    assert_int_equal(sb_pg_read_int(fields[SB_PACKED_VERSION]), seq % 1000);
    assert_int_equal(sb_pg_read_int(fields[SB_PACKED_TYPE_NO]), seq % 7);
    assert_int_equal(sb_pg_read_int(fields[SB_PACKED_CLASS]), seq % 2 ? SB_CLASS_SAGA : SB_CLASS_DOMAIN);
    assert_int_equal(fields[SB_PACKED_ID].len, 16);
    assert_int_equal((uint8_t)fields[SB_PACKED_ID].ptr[15], seq % 251);
    assert_int_equal(fields[SB_PACKED_META].ptr == NULL, seq % 3 == 0);
    assert_int_equal(fields[SB_PACKED_META].len, seq % 3 == 2 ? 15 : 0);
    assert_int_equal(fields[SB_PACKED_DATA].len, length);
    assert_memory_equal(fields[SB_PACKED_DATA].ptr, body, length);
}

/* Returns how many there were. */
static int64_t assert_rows(const sb_buf_t *rows, int64_t first, int history)
{
    sb_slice_t left = sb_buf_slice(rows), fields[SB_PACKED_FIELDS];
    int64_t seq = first;
    for (; sb_packed_row_next(&left, fields); seq++)
        assert_row(fields, seq, history);
    return seq - first;
}

static void keep(sb_progress_t *progress, uint64_t era, int64_t first, int64_t last, int history)
{
    sb_buf_t rows = SB_BUF_INIT;
    sb_append_result_t result = {.outcome = SB_APPENDED, .first_seq = first, .last_seq = last};
    for (int64_t seq = first; seq <= last; seq++)
        pack(&rows, seq, history);
    sb_progress_keep(progress, era, &result, (size_t)(last - first) + 1, sb_buf_slice(&rows));
    sb_buf_fini(&rows);
}

/* Asks, and checks what comes; returns up to where it came. */
static int64_t ask(sb_progress_t *progress, int64_t after, int64_t to, size_t bytes_max, int history)
{
    sb_buf_t rows = SB_BUF_INIT;
    int64_t end = sb_progress_recent(progress, after, to, bytes_max, &rows);
    assert_int_equal(assert_rows(&rows, after + 1, history), end - after);
    sb_buf_fini(&rows);
    return end;
}

static void what_was_written_is_there_as_it_was(void **state)
{
    (void)state;
    sb_progress_t progress;
    sb_progress_init(&progress);
    sb_progress_era_begin(&progress);
    assert_int_equal(ask(&progress, 0, 100, SIZE_MAX, 1), 0);
    keep(&progress, 1, 11, 20, 1);
    keep(&progress, 1, 21, 21, 1);
    keep(&progress, 1, 30, 40, 1); /* 22 to 29 are others' */
    assert_int_equal(ask(&progress, 9, 100, SIZE_MAX, 1), 9);
    assert_int_equal(ask(&progress, 10, 100, SIZE_MAX, 1), 21);
    assert_int_equal(ask(&progress, 15, 18, SIZE_MAX, 1), 18);
    assert_int_equal(ask(&progress, 20, 21, SIZE_MAX, 1), 21);
    assert_int_equal(ask(&progress, 21, 100, SIZE_MAX, 1), 21);
    assert_int_equal(ask(&progress, 29, 100, SIZE_MAX, 1), 40);
    assert_int_equal(ask(&progress, 40, 100, SIZE_MAX, 1), 40);
    assert_int_equal(ask(&progress, 10, 100, 1, 1), 11); /* one at least */
    sb_buf_t rows = SB_BUF_INIT;
    assert_int_equal(sb_progress_recent(NULL, 5, 100, SIZE_MAX, &rows), 5);
    sb_buf_fini(&rows);
    sb_progress_fini(&progress);
}

/* Of another server may be what was written before the sequencer took its lease, and what it says while it
 * has none. A number that comes again is of another history. */
static void nothing_is_there_of_another_history(void **state)
{
    (void)state;
    sb_progress_t progress;
    sb_progress_init(&progress);
    keep(&progress, sb_progress_era(&progress), 1, 5, 1);
    assert_int_equal(ask(&progress, 0, 5, SIZE_MAX, 1), 0);
    uint64_t before = sb_progress_era(&progress);
    sb_progress_era_begin(&progress);
    keep(&progress, before, 1, 5, 1);
    assert_int_equal(ask(&progress, 0, 5, SIZE_MAX, 1), 0);
    uint64_t era = sb_progress_era(&progress);
    keep(&progress, era, 1, 5, 1);
    keep(&progress, era, 6, 9, 1);
    assert_int_equal(ask(&progress, 0, 9, SIZE_MAX, 1), 9);
    keep(&progress, era, 4, 5, 2);
    assert_int_equal(ask(&progress, 0, 9, SIZE_MAX, 1), 0);
    assert_int_equal(ask(&progress, 5, 9, SIZE_MAX, 1), 5);
    assert_int_equal(ask(&progress, 3, 9, SIZE_MAX, 2), 5);
    sb_progress_era_end(&progress);
    assert_int_equal(ask(&progress, 3, 9, SIZE_MAX, 2), 3);
    keep(&progress, era, 10, 11, 2);
    assert_int_equal(ask(&progress, 9, 11, SIZE_MAX, 2), 9);
    sb_progress_fini(&progress);
}

static void numbers_and_rows_that_do_not_agree_are_not_taken(void **state)
{
    (void)state;
    sb_progress_t progress;
    sb_buf_t rows = SB_BUF_INIT;
    sb_append_result_t result = {.outcome = SB_APPENDED, .first_seq = 1, .last_seq = 3};
    sb_progress_init(&progress);
    sb_progress_era_begin(&progress);
    pack(&rows, 1, 1);
    pack(&rows, 2, 1);
    sb_progress_keep(&progress, 1, &result, 3, sb_buf_slice(&rows)); /* a row too few */
    sb_progress_keep(&progress, 1, &result, 2, sb_buf_slice(&rows)); /* a number of somebody else */
    result.last_seq = 1;
    sb_progress_keep(&progress, 1, &result, 1, sb_buf_slice(&rows));
    result = (sb_append_result_t){.outcome = SB_APPEND_REPEATED, .first_seq = 1, .last_seq = 2};
    sb_progress_keep(&progress, 1, &result, 2, sb_buf_slice(&rows));
    sb_progress_keep(NULL, 1, &result, 2, sb_buf_slice(&rows));
    assert_int_equal(ask(&progress, 0, 5, SIZE_MAX, 1), 0);
    result.outcome = SB_APPENDED;
    sb_progress_keep(&progress, 1, &result, 2, sb_buf_slice(&rows));
    assert_int_equal(ask(&progress, 0, 5, SIZE_MAX, 1), 2);
    sb_buf_fini(&rows);
    sb_progress_fini(&progress);
}

/* Against a table of what was ever kept: what comes is right, none is skipped, and only the oldest are gone.
 */
static void the_oldest_give_way_and_nothing_else(void **state)
{
    (void)state;
    static bool kept[NUMBERS + 1];
    static size_t bytes[NUMBERS + 2]; /* of all that were kept below a number */
    sb_progress_t progress;
    char body[2048];
    random_state = 5;
    sb_progress_init(&progress);
    sb_progress_era_begin(&progress);
    int64_t last = 0;
    while (last < NUMBERS - 200) {
        int64_t first = last + 1 + (random_number() % 6 == 0 ? random_number() % 9 : 0);
        int64_t count = 1 + random_number() % (random_number() % 8 == 0 ? 150 : 8);
        keep(&progress, 1, first, first + count - 1, 1);
        for (int64_t seq = last + 1; seq < first + count; seq++) {
            kept[seq] = seq >= first;
            bytes[seq + 1] = bytes[seq] + (kept[seq] ? body_of(seq, 1, body) + 100 : 0);
        }
        last = first + count - 1;
        int64_t after = last - (int64_t)(random_number() % (random_number() % 4 == 0 ? 30000 : 300));
        after = after < 0 ? 0 : after;
        int64_t to = after + 1 + random_number() % 600, want = after;
        while (want < to && want < last && kept[want + 1])
            want++;
        int64_t end = ask(&progress, after, to, SIZE_MAX, 1);
        if (end != want) { /* then the whole beginning is gone, and for want of room */
            assert_int_equal(end, after);
            assert_true(bytes[last + 1] - bytes[after + 1] > SB_RECENT_BYTES * 3 / 4 ||
                        progress.recent.count == SB_RECENT_SPANS);
        }
    }
    assert_true(progress.recent.span[progress.recent.first].first > 1);
    sb_progress_fini(&progress);
}

static void what_is_too_large_takes_nobodys_room(void **state)
{
    (void)state;
    sb_progress_t progress;
    sb_buf_t rows = SB_BUF_INIT;
    char *huge = calloc(1, SB_RECENT_BYTES);
    assert_non_null(huge);
    sb_append_result_t result = {.outcome = SB_APPENDED, .first_seq = 4, .last_seq = 4};
    sb_packed_row_t row = {.data = {huge, SB_RECENT_BYTES}};
    sb_progress_init(&progress);
    sb_progress_era_begin(&progress);
    keep(&progress, 1, 1, 3, 1);
    sb_packed_row_write(&rows, &row);
    sb_progress_keep(&progress, 1, &result, 1, sb_buf_slice(&rows));
    assert_int_equal(ask(&progress, 0, 9, SIZE_MAX, 1), 3);
    sb_buf_reset(&rows);
    row.data.len = SB_RECENT_BYTES - 100; /* fits, alone */
    sb_packed_row_write(&rows, &row);
    sb_progress_keep(&progress, 1, &result, 1, sb_buf_slice(&rows));
    assert_int_equal(ask(&progress, 0, 3, SIZE_MAX, 1), 0);
    sb_buf_reset(&rows);
    assert_int_equal(sb_progress_recent(&progress, 3, 9, 10, &rows), 4);
    keep(&progress, 1, 5, 6, 1);
    assert_int_equal(ask(&progress, 4, 9, SIZE_MAX, 1), 6);
    sb_buf_fini(&rows);
    free(huge);
    sb_progress_fini(&progress);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_there_as_it_was),
        cmocka_unit_test(nothing_is_there_of_another_history),
        cmocka_unit_test(numbers_and_rows_that_do_not_agree_are_not_taken),
        cmocka_unit_test(the_oldest_give_way_and_nothing_else),
        cmocka_unit_test(what_is_too_large_takes_nobodys_room),
    };
    return cmocka_run_group_tests_name("recent", tests, NULL, NULL);
}
