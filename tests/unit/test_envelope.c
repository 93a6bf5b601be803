/* Events as they come in from outside, over Kafka and HTTP: the fuzzers' oracles over their kept corpora and
 * over changed copies of them, and both readers without memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/message.h"
#include "server/event_body.h"
#include "tests/fuzz/message_oracle.h"
#include "tests/fuzz/post_oracle.h"
#include "tests/support/assert.h"
#include "tests/support/oom.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define FILES_MAX 200
#define FILE_SIZE 8192

typedef const char *(*oracle_t)(sb_slice_t input, sb_code_t *code);

typedef struct corpus {
    char *file[FILES_MAX];
    char name[FILES_MAX][64];
    size_t length[FILES_MAX];
    int count;
    int outcomes[SB_CODE_COUNT];
} corpus_t;

static void load(corpus_t *corpus, const char *path)
{
    DIR *directory = opendir(path);
    assert_non_null(directory);
    struct dirent *entry;
    *corpus = (corpus_t){.count = 0};
    while ((entry = readdir(directory)) != NULL && corpus->count < FILES_MAX) {
        char full[512];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(full, sizeof full, "%s/%s", path, entry->d_name);
        (void)snprintf(corpus->name[corpus->count], sizeof corpus->name[0], "%s", entry->d_name);
        FILE *file = fopen(full, "re");
        char *bytes = malloc(FILE_SIZE);
        assert_true(file && bytes);
        corpus->file[corpus->count] = bytes;
        corpus->length[corpus->count++] = fread(bytes, 1, FILE_SIZE, file);
        (void)fclose(file);
    }
    (void)closedir(directory);
    assert_true(corpus->count >= 20);
}

static void drop(corpus_t *corpus)
{
    for (int i = 0; i < corpus->count; i++)
        free(corpus->file[i]);
}

static void must_hold(corpus_t *corpus, oracle_t oracle, const char *name, sb_slice_t input)
{
    sb_code_t code = SB_OK;
    const char *fault = oracle(input, &code);
    if (fault) {
        print_message("%.*s\n", SB_SLICE_ARG(input));
        fail_msg("%s: differs in %s", name, fault);
    }
    corpus->outcomes[code]++;
}

static size_t change(unsigned *random, const corpus_t *corpus, char out[2 * FILE_SIZE])
{
    if (corpus->count <= 0)
        return 0;
    int file = rand_r(random) % corpus->count;
    size_t length = corpus->length[file];
    memcpy(out, corpus->file[file], length);
    for (int i = 1 + rand_r(random) % 4; i > 0 && length > 0; i--) {
        static const char bytes[] = "\"\\{}[]:,\n @0.9ev\0\xc3\xff";
        size_t at = (size_t)rand_r(random) % length;
        switch (rand_r(random) % 4) {
        case 0: /* another byte */
            out[at] = bytes[(size_t)rand_r(random) % (sizeof bytes - 1)];
            break;
        case 1: /* cut off */
            length = at;
            break;
        case 2: /* a byte less */
            memmove(out + at, out + at + 1, --length - at);
            break;
        default: { /* a part of another one put in */
            int other = rand_r(random) % corpus->count;
            size_t from = corpus->length[other] ? (size_t)rand_r(random) % corpus->length[other] : 0;
            size_t part = (corpus->length[other] - from) % 64;
            if (length + part > 2 * FILE_SIZE)
                break;
            memmove(out + at + part, out + at, length - at);
            memcpy(out + at, corpus->file[other] + from, part);
            length += part;
        }
        }
    }
    return length;
}

static void replay(oracle_t oracle, const char *path)
{
    static char changed[2 * FILE_SIZE];
    corpus_t corpus;
    unsigned random = 20;
    load(&corpus, path);
    for (int i = 0; i < corpus.count; i++)
        must_hold(&corpus, oracle, corpus.name[i], (sb_slice_t){corpus.file[i], corpus.length[i]});
    assert_true(corpus.outcomes[SB_OK] > 4 && corpus.outcomes[SB_INVALID] > 4 &&
                corpus.outcomes[SB_UNSUPPORTED] > 0);
    for (int i = 0; i < 20000; i++)
        must_hold(&corpus, oracle, "a changed one", (sb_slice_t){changed, change(&random, &corpus, changed)});
    print_message("%d read, %d invalid, %d unsupported\n", corpus.outcomes[SB_OK],
                  corpus.outcomes[SB_INVALID], corpus.outcomes[SB_UNSUPPORTED]);
    assert_true(corpus.outcomes[SB_OK] > 100 && corpus.outcomes[SB_INVALID] > 500);
    drop(&corpus);
}

static void records(void **state)
{
    (void)state;
    replay(sb_message_fault, SB_TEST_CORPUS "/message");
}

static void posted_bodies(void **state)
{
    (void)state;
    replay(sb_post_fault, SB_TEST_CORPUS "/post");
}

/* ---- without memory: never another event, and never one that is called invalid ---- */

static const char escaped[] = "{\"specversion\":\"\\u0031.0\",\"id\":\"\\u0061-1\",\"type\":"
                              "\"order\\u002ecreated\",\"source\":\"\\/shop\","
                              "\"subject\":\"o\\u002d1\",\"correlationid\":\"\\u0063\",\"data\":{}}";

static sb_code_t record_body(void *context, sb_error_t *err)
{
    (void)context;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_event_t event;
    sb_message_info_t info;
    sb_message_t message = {.topic = "t", .value = sb_slice(escaped), .header_count = 1};
    message.headers[0] = (sb_header_t){"content-type", SB_SLICE("application/cloudevents+json")};
    sb_code_t code = sb_message_decode(&message, &scratch, &event, &info, err);
    if (code == SB_OK) {
        assert_slice(event.type, "order.created");
        assert_slice(event.source, "/shop");
        assert_slice(event.subject, "o-1");
        assert_slice(event.correlation_id, "c");
    }
    sb_buf_fini(&scratch);
    return code;
}

static sb_code_t posted_body(void *context, sb_error_t *err)
{
    static sb_request_t request;
    sb_event_body_t body;
    request.body = (sb_buf_t){.ptr = context, .len = strlen(context)};
    sb_code_t code = sb_event_body_read(&request, &body, err);
    if (code == SB_OK) {
        assert_slice(body.event.type, "order.created");
        assert_slice(body.event.source, "/shop");
        assert_slice(body.event.correlation_id, "c");
        assert_false(sb_uuid_is_nil(&body.append.command_id));
    }
    sb_event_body_fini(&body);
    return code;
}

static void no_memory_makes_no_other_event(void **state)
{
    (void)state;
    static char copy[sizeof escaped];
    memcpy(copy, escaped, sizeof escaped);
    assert_true(sb_test_oom_sweep(record_body, NULL) >= 2);
    assert_true(sb_test_oom_sweep(posted_body, copy) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records),
        cmocka_unit_test(posted_bodies),
        cmocka_unit_test(no_memory_makes_no_other_event),
    };
    return cmocka_run_group_tests_name("envelope", tests, NULL, NULL);
}
