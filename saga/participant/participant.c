/* The participant's loop: take what waits -> look up the barrier's rows of all -> the handler for each ->
 * their rows with the answers, and the commit -> replies; and beside it, ten times a second: are all replies
 * up to here out? -> offsets up to here. A crash between any two of them makes commands come again, and the
 * barrier answers those it knows. That is why neither the brokers' word for a reply nor their word for an
 * offset is waited for: it would be most of a batch's time. Only where partitions go, or one command is taken
 * at a time, is it waited for.
 *
 * A handler runs in a savepoint only where handlers lately failed after they had used the connection: a
 * savepoint is a round trip, and most batches need none. The first that does so in a batch without makes the
 * whole batch go back and run again with them, which handlers must be able to bear anyway.
 *
 * A batch goes back, too, when somebody else has had one of its commands meanwhile, or when a handler that
 * used the connection could not say: perhaps it ran into what somebody else was about to commit. It runs
 * again with each command's row entered before its handler, which waits for that one; so do the next ones for
 * a while, for such commands come in numbers (docs/adr/0003).
 *
 * When a batch cannot be committed it is rewound and its commands are taken one at a time, so that one that
 * breaks the transaction (a deadlock, a handler that ran into a statement error) does not hold up the others.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sagabus/participant.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/retry.h"
#include "bus/consumer.h"
#include "bus/topic.h"
#include "events/store/store.h"
#include "saga/participant/barrier.h"
#include "saga/participant/command.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* A batch is answered as a whole. Long ones gather all open sagas into one convoy, which goes from
 * participant to participant while the others have nothing to do; short ones pay a commit for few commands.
 * So it is the time of the handlers that is held: as many commands as the last batch would have carried out
 * in it. What a batch takes however long it is does not count, its commit above all: it would keep batches
 * short just where a slow disk or a busy machine wants them long. */
#define BATCH_MIN       8
#define BATCH_MAX       128
#define BATCH_US        6000
#define BATCH_FIXED_US  1000 /* before the commit: a round trip, and now and then no processor */
#define CAREFUL         1000 /* commands that run in savepoints, or one by one, after one that needed it */
#define EXPIRED_US      60000000 /* clocks may differ by so much before a command counts as expired too early */
#define POLL_MS         250
#define HOLDING_MS      1 /* while replies wait for the brokers to answer others */
#define SETTLE_MS       100 /* at most so long after a batch its replies are known to be out, then its offsets */
#define TELL_US         10000000 /* a failure that lasts is said so often */
#define SETTLING_MS     10       /* reports of replies are looked for this often while nothing comes */
#define FLUSH_MS        10000
#define CLOSE_MS        3000
#define REPLY_BYTES_MAX (512u * 1024u)

/* How far a settlement has come that nobody waits for. */
typedef enum settling { SETTLING_NOT, SETTLING_REPLIES, SETTLING_OFFSETS } settling_t;

struct sb_participant {
    char *name;
    char *pg_uri;
    char *schema;
    sb_config_t *config;
    sb_topic_t topic[1 + SB_PARTICIPANT_ALSO_MAX];
    size_t topics;
    char client[SB_TOPIC_MAX]; /* what the servers call us */
    char source[SB_TOPIC_MAX];
    sb_command_fn on_command;
    void *context;
    atomic_bool stopping;

    sb_pg_t *pg;
    sb_catalog_t *catalog; /* made at the first append */
    sb_store_t *store;
    sb_consumer_t *consumer;
    sb_producer_t *producer;

    sb_message_t message[BATCH_MAX]; /* the batch in hand */
    sb_command_in_t in[BATCH_MAX];
    bool readable[BATCH_MAX];
    int count;
    sb_reply_out_t reply[BATCH_MAX]; /* of the open transaction */
    int reply_count;
    sb_barrier_answer_t answer;
    sb_barrier_t barrier;
    bool in_transaction;
    bool spoilt;    /* the batch in hand must go back and run again */
    int careful;    /* commands left that run in savepoints */
    int one_by_one; /* commands left whose rows are entered before their handlers; in savepoints, too */
    int unsettled;  /* commands handed over since the offsets were committed last */
    settling_t settling;
    int settled;          /* of unsettled, those that are on the way to be settled */
    int64_t settling_us;  /* since when they are */
    int64_t settle_us;    /* monotonic: when the next settlement is due; 0: nothing to settle */
    int64_t unsettled_us; /* since when offsets cannot be committed; 0: they can */
    int64_t told_us;      /* when that was said last */
    int passed_over;      /* commands of the batch that nobody waits for */
    int expired;          /* such commands since that was said last */
    int64_t expired_us;   /* when it was; 0: never */
    bool reply_lost;      /* since then: its command must come again */
    int batch_max;        /* commands of the next batch */
    int64_t began_us;     /* the batch in hand, before its first command */
    int64_t carried_us;   /* how long it took from there to its commit */
    int alone;            /* commands left to take one at a time after a batch failed */
};

/* ---- one command ---- */

static sb_code_t add_reply(sb_participant_t *p, const sb_message_t *message, const sb_command_in_t *in,
                           sb_reply_outcome_t outcome, sb_slice_t result, sb_slice_t error, sb_error_t *err)
{
    sb_code_t code =
        sb_reply_make(&p->reply[p->reply_count], message, in, p->source, outcome, result, error, err);
    if (code == SB_OK)
        p->reply_count++;
    return code;
}

/* Takes what the handler said into the answer. An undo has no failure outcome: a handler that refuses one is
 * asked again. */
static void take_reply(sb_participant_t *p, const sb_command_t *command, sb_reply_t *reply)
{
    sb_barrier_answer_t *answer = &p->answer;
    sb_slice_t result = sb_slice(reply->result ? reply->result : "{}");
    const char *fault = NULL;
    if (sb_pg_is_aborted(p->pg) && reply->outcome == SB_REPLY_SUCCESS)
        fault = "a statement of the handler failed";
    else if (result.len > REPLY_BYTES_MAX)
        fault = "the handler's result is larger than 512 KiB";
    else if (reply->outcome < SB_REPLY_SUCCESS || reply->outcome > SB_REPLY_ERROR)
        fault = "the handler gave no outcome";
    bool refused_undo = command->compensate && reply->outcome == SB_REPLY_FAILURE;
    answer->outcome = fault || refused_undo ? SB_REPLY_ERROR : reply->outcome;
    sb_buf_reset(&answer->result);
    sb_buf_reset(&answer->error);
    if (answer->outcome != SB_REPLY_ERROR)
        sb_buf_add_slice(&answer->result, result);
    sb_buf_add_text(&answer->error, fault ? fault : reply->error);
    free(reply->result);
}

/* A handler that did not succeed has used the connection. */
static void take_back_written(sb_participant_t *p)
{
    bool could_not_say = p->answer.outcome == SB_REPLY_ERROR;
    p->careful = CAREFUL;
    if (could_not_say)
        p->one_by_one = CAREFUL;
    p->spoilt = p->barrier.at_once && (could_not_say || !p->barrier.savepoints);
}

static sb_code_t run_handler(sb_participant_t *p, const sb_command_t *command, sb_error_t *err)
{
    sb_reply_t reply = {.outcome = SB_REPLY_ERROR, .result = NULL, .error = ""};
    uint64_t uses = sb_pg_uses(p->pg);
    p->on_command(p->context, sb_pg_raw(p->pg), command, &reply);
    take_reply(p, command, &reply);
    if (!sb_pg_is_open(p->pg))
        return sb_fail(err, SB_UNAVAILABLE, "participant %s: the connection broke in a handler", p->name);
    if (!sb_pg_is_in_transaction(p->pg))
        return sb_fail(err, SB_INVALID, "participant %s: the handler of %.*s ended the transaction", p->name,
                       SB_SLICE_ARG(command->type));
    if (p->answer.outcome != SB_REPLY_SUCCESS && sb_pg_uses(p->pg) != uses)
        take_back_written(p);
    if (p->spoilt)
        return SB_OK;
    return p->answer.outcome == SB_REPLY_ERROR ? sb_barrier_forget(&p->barrier, command, err)
                                               : sb_barrier_keep(&p->barrier, command, &p->answer, err);
}

/* Nobody waits for this try any more: whoever sent it has sent another one, or its undo. It is also what
 * comes again to a group that has lost its offsets, long after its row in the barrier went. */
static bool is_expired(const sb_command_in_t *in)
{
    return !in->command.compensate && in->expiry_us && sb_wall_us() - in->expiry_us > EXPIRED_US;
}

static sb_code_t handle(sb_participant_t *p, const sb_message_t *message, const sb_command_in_t *in,
                        sb_error_t *err)
{
    sb_barrier_verdict_t verdict;
    sb_code_t code =
        sb_barrier_enter(&p->barrier, &in->command, in->forward_completed, &verdict, &p->answer, err);
    if (code == SB_OK && verdict == SB_BARRIER_RUN && is_expired(in)) {
        p->passed_over++;
        return sb_barrier_forget(&p->barrier, &in->command, err);
    }
    if (code == SB_OK && verdict == SB_BARRIER_RUN)
        code = run_handler(p, &in->command, err);
    if (code != SB_OK || p->spoilt)
        return code;
    return add_reply(p, message, in, p->answer.outcome, sb_buf_slice(&p->answer.result),
                     sb_buf_slice(&p->answer.error), err);
}

/* What is no command is answered, too, if it says where to. */
static sb_code_t answer_unreadable(sb_participant_t *p, const sb_message_t *message, sb_command_in_t *in,
                                   sb_error_t *err)
{
    bool answerable;
    sb_error_t fault = SB_ERROR_INIT;
    if (sb_command_read(message, in, &answerable, &fault) == SB_OK)
        return sb_fail(err, SB_INTERNAL, "a command became readable");
    sb_log(SB_LOG_WARN, "PARTICIPANT-UNREADABLE", "%s|topic=%s partition=%d offset=%lld", fault.message,
           message->topic, message->partition, (long long)message->offset);
    return answerable ? add_reply(p, message, in, SB_REPLY_ERROR, SB_SLICE(""), sb_slice(fault.message), err)
                      : SB_OK;
}

/* ---- one batch ---- */

static sb_code_t send_replies(sb_participant_t *p, sb_error_t *err)
{
    sb_header_t headers[SB_HEADERS_MAX];
    for (int i = 0; i < p->reply_count; i++) {
        sb_record_t record;
        sb_reply_record(&p->reply[i], headers, &record);
        sb_code_t code;
        while ((code = sb_producer_send(p->producer, &record, err)) == SB_BUSY && !atomic_load(&p->stopping))
            sb_producer_poll(p->producer, 10);
        if (code != SB_OK)
            return code;
    }
    return SB_OK;
}

static sb_code_t begin(sb_participant_t *p, bool one_by_one, sb_error_t *err)
{
    const sb_command_t *command[BATCH_MAX];
    int count = 0;
    for (int i = 0; i < p->count; i++)
        if (p->readable[i])
            command[count++] = &p->in[i].command;
    p->began_us = sb_mono_us();
    p->reply_count = 0;
    p->passed_over = 0;
    p->spoilt = false;
    if (count == 0)
        return SB_OK;
    p->in_transaction = true;
    return sb_barrier_begin(&p->barrier, p->pg, one_by_one || p->careful > 0, command, one_by_one ? 0 : count,
                            err);
}

/* Up to the commit, or to a handler that spoilt the transaction. */
static sb_code_t carry_out(sb_participant_t *p, bool one_by_one, sb_error_t *err)
{
    sb_code_t code = begin(p, one_by_one, err);
    for (int i = 0; i < p->count && code == SB_OK && !p->spoilt; i++)
        code = p->readable[i] ? handle(p, &p->message[i], &p->in[i], err)
                              : answer_unreadable(p, &p->message[i], &p->in[i], err);
    p->carried_us = sb_mono_us() - p->began_us;
    if (code != SB_OK || p->spoilt || !p->in_transaction)
        return code;
    code = sb_barrier_commit(&p->barrier, err);
    p->in_transaction = code != SB_OK;
    return code;
}

/* Nothing of the batch has come to be: again, and each command waits for whoever has it in hand. */
static sb_code_t carry_out_again(sb_participant_t *p, bool contended, sb_error_t *err)
{
    if (contended) {
        p->one_by_one = CAREFUL;
        sb_log(SB_LOG_INFO, "PARTICIPANT-AGAIN",
               "somebody else had a command of the batch; it runs again|participant=%s commands=%d", p->name,
               p->count);
    }
    sb_barrier_rollback(&p->barrier);
    return carry_out(p, true, err);
}

static void count_down(int *left, int count)
{
    *left = *left > count ? *left - count : 0;
}

static void fit_batch(sb_participant_t *p)
{
    int64_t each_us = (p->carried_us - BATCH_FIXED_US) / p->count;
    int64_t fits = BATCH_US / (each_us > 0 ? each_us : 1);
    p->batch_max = fits < BATCH_MIN ? BATCH_MIN : fits > BATCH_MAX ? BATCH_MAX : (int)fits;
}

static sb_code_t run_batch(sb_participant_t *p, sb_error_t *err)
{
    for (int i = 0; i < p->count; i++) {
        bool ignored;
        p->readable[i] = sb_command_read(&p->message[i], &p->in[i], &ignored, NULL) == SB_OK;
    }
    sb_error_t first = SB_ERROR_INIT;
    bool one_by_one = p->alone > 0 || p->one_by_one > 0;
    sb_code_t code = carry_out(p, one_by_one, &first);
    bool contended = code == SB_CONFLICT && !one_by_one;
    if (contended || p->spoilt)
        code = carry_out_again(p, contended, err);
    else if (code != SB_OK)
        *err = first;
    if (code != SB_OK)
        return code;
    p->expired += p->passed_over;
    count_down(&p->careful, p->count);
    count_down(&p->one_by_one, p->count);
    fit_batch(p);
    if (p->settle_us == 0)
        p->settle_us = sb_mono_us() + SETTLE_MS * 1000;
    return send_replies(p, err);
}

/* In a rebalance that is a moment's; it is tried ten times a second, and said less often. */
static void tell_unsettled(sb_participant_t *p, const sb_error_t *why)
{
    int64_t now_us = sb_mono_us();
    if (!p->unsettled_us)
        p->unsettled_us = p->told_us = now_us;
    if (now_us - p->told_us < TELL_US)
        return;
    p->told_us = now_us;
    sb_log_error(SB_LOG_WARN, "PARTICIPANT-OFFSETS", why, "tried again soon|participant=%s seconds=%lld",
                 p->name, (long long)((now_us - p->unsettled_us) / 1000000));
}

static sb_code_t tell_lost(sb_error_t *err)
{
    return sb_fail(err, SB_UNAVAILABLE, "a reply did not reach the brokers");
}

static void end_settling(sb_participant_t *p, bool settled, const sb_error_t *why)
{
    p->settling = SETTLING_NOT;
    p->settle_us = sb_mono_us() + SETTLE_MS * 1000;
    if (!settled) {
        tell_unsettled(p, why);
        return;
    }
    p->unsettled_us = 0;
    p->unsettled -= p->settled;
    if (p->unsettled == 0)
        p->settle_us = 0;
}

/* The offsets move past commands whose replies the brokers have. They may not be had to move, as in a
 * rebalance: then they do it later, or the commands come again. */
static sb_code_t settle(sb_participant_t *p, sb_error_t *err)
{
    sb_code_t code = sb_producer_flush(p->producer, FLUSH_MS, err);
    if (code == SB_OK && p->reply_lost)
        code = tell_lost(err);
    if (code != SB_OK)
        return code;
    sb_error_t why = SB_ERROR_INIT;
    p->settled = p->unsettled;
    end_settling(p, sb_consumer_commit(p->consumer, &why) == SB_OK, &why);
    return SB_OK;
}

static void begin_settling(sb_participant_t *p)
{
    int64_t now_us = sb_mono_us();
    if (p->settle_us == 0 || now_us < p->settle_us || sb_consumer_is_committing(p->consumer) ||
        !sb_producer_cut(p->producer))
        return;
    sb_consumer_mark(p->consumer);
    p->settled = p->unsettled;
    p->settling_us = now_us;
    p->settling = SETTLING_REPLIES;
}

/* A step of the same without waiting: each takes up where the one before found the brokers' word missing. */
static sb_code_t settle_on(sb_participant_t *p, sb_error_t *err)
{
    sb_error_t why = SB_ERROR_INIT;
    if (p->reply_lost)
        return tell_lost(err);
    if (p->settling == SETTLING_NOT)
        begin_settling(p);
    if (p->settling == SETTLING_REPLIES) {
        if (sb_producer_before_cut(p->producer) > 0)
            return sb_mono_us() - p->settling_us < FLUSH_MS * 1000
                       ? SB_OK
                       : sb_fail(err, SB_TIMEOUT, "the brokers do not take replies");
        p->settling = SETTLING_OFFSETS;
        if (sb_consumer_commit_mark(p->consumer, &why) != SB_OK) {
            end_settling(p, false, &why);
            return SB_OK;
        }
    }
    if (p->settling == SETTLING_OFFSETS && !sb_consumer_is_committing(p->consumer))
        end_settling(p, sb_consumer_committed(p->consumer, &why) == SB_OK, &why);
    return SB_OK;
}

static int poll_ms(const sb_participant_t *p)
{
    if (sb_producer_is_holding(p->producer))
        return HOLDING_MS;
    if (p->settling == SETTLING_REPLIES)
        return SETTLING_MS;
    if (p->settling == SETTLING_OFFSETS || p->settle_us == 0)
        return POLL_MS; /* their word for the offsets comes as a message does */
    int64_t left_us = p->settle_us - sb_mono_us();
    return left_us > 0 ? (int)(left_us / 1000) + 1 : SETTLING_MS;
}

/* Partitions that go with the next poll take with them what is not settled: it would come again elsewhere. */
static bool must_settle(const sb_participant_t *p)
{
    if (p->settle_us == 0)
        return false;
    return p->alone > 0 || sb_consumer_has_rebalance(p->consumer) ||
           (sb_consumer_must_look(p->consumer) && sb_mono_us() >= p->settle_us);
}

/* What was not settled comes again. The command that did harm is among these, so they are taken one by one.
 */
static void start_over(sb_participant_t *p)
{
    if (p->in_transaction)
        sb_barrier_rollback(&p->barrier);
    p->in_transaction = false;
    p->alone = p->unsettled;
    p->unsettled = 0;
    p->settle_us = 0;
    p->settling = SETTLING_NOT;
    p->reply_lost = false;
    sb_error_t ignored;
    if (sb_consumer_rewind(p->consumer, &ignored) != SB_OK)
        sb_consumer_close(&p->consumer, CLOSE_MS); /* opened anew at its last commit */
}

/* They come in numbers: the first are told at once, the others now and then. */
static void tell_expired(sb_participant_t *p, bool last)
{
    int64_t now_us = sb_mono_us();
    if (p->expired == 0 || (!last && p->expired_us && now_us - p->expired_us < TELL_US))
        return;
    sb_log(SB_LOG_WARN, "PARTICIPANT-EXPIRED",
           "commands that nobody waits for any more were not carried out|participant=%s commands=%d", p->name,
           p->expired);
    p->expired_us = now_us;
    p->expired = 0;
}

/* Takes one batch through. On failure nothing of it is committed here, or it is and its commands come again.
 */
static sb_code_t one_batch(sb_participant_t *p, sb_error_t *err)
{
    sb_code_t code = sb_consumer_take(p->consumer, p->alone > 0 ? 1 : p->batch_max, poll_ms(p), p->message,
                                      &p->count, err);
    int count = p->count;
    p->unsettled += count;
    if (code == SB_OK && count > 0)
        code = run_batch(p, err);
    sb_producer_poll(p->producer, 0);
    if (code == SB_OK)
        code = must_settle(p) ? settle(p, err) : settle_on(p, err);
    if (code != SB_OK)
        start_over(p);
    else if (p->alone > 0)
        p->alone -= count;
    tell_expired(p, false);
    return code;
}

/* ---- opening and the loop ---- */

static void on_reply_failed(void *context, uint64_t tag, const sb_error_t *err)
{
    (void)tag;
    ((sb_participant_t *)context)->reply_lost = true;
    sb_log_error(SB_LOG_WARN, "PARTICIPANT-REPLY-LOST", err, "a reply was not delivered");
}

static sb_code_t ensure_open(sb_participant_t *p, sb_error_t *err)
{
    if (!sb_pg_is_open(p->pg)) {
        sb_store_close(&p->store);
        sb_catalog_free(&p->catalog);
        sb_pg_close(&p->pg);
        sb_pg_config_t pg = {
            .uri = p->pg_uri, .application_name = p->client, .search_path = p->schema, .counts_uses = true};
        sb_code_t code = sb_pg_open(&p->pg, &pg, err);
        if (code != SB_OK)
            return code;
    }
    if (!p->producer) {
        sb_code_t code = sb_producer_open(&p->producer, p->config, p->client, on_reply_failed, p, err);
        if (code != SB_OK)
            return code;
    }
    if (!p->consumer) {
        const char *topic[1 + SB_PARTICIPANT_ALSO_MAX];
        for (size_t i = 0; i < p->topics; i++)
            topic[i] = p->topic[i];
        return sb_consumer_open(&p->consumer, p->config, p->name, topic, p->topics, err);
    }
    return SB_OK;
}

void sb_participant_run(sb_participant_t *p)
{
    static const sb_retry_policy_t policy = {
        .shape = SB_RETRY_EXPONENTIAL, .delay_ms = 50, .delay_max_ms = 2000, .jitter = true};
    uint32_t failures = 0;
    while (!atomic_load(&p->stopping)) {
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = ensure_open(p, &err);
        if (code == SB_OK)
            code = one_batch(p, &err);
        if (code == SB_OK) {
            failures = 0;
            continue;
        }
        failures++;
        sb_log_error(SB_LOG_WARN, "PARTICIPANT-RETRY", &err, "a batch did not go through|participant=%s",
                     p->name);
        sb_sleep_ms(sb_retry_delay_ms(&policy, failures, (uint64_t)sb_mono_us()));
    }
    if (p->settle_us != 0 && p->consumer && settle(p, NULL) != SB_OK)
        sb_log(SB_LOG_INFO, "PARTICIPANT-STOP",
               "some commands come again, and are answered as before|participant=%s", p->name);
    tell_expired(p, true);
    sb_consumer_close(&p->consumer, CLOSE_MS);
}

void sb_participant_stop(sb_participant_t *p)
{
    atomic_store(&p->stopping, true);
}

static sb_code_t add_topic(sb_participant_t *p, const char *name, sb_error_t *err)
{
    if (p->topics > SB_PARTICIPANT_ALSO_MAX)
        return sb_fail(err, SB_TOO_LARGE, "participant %s: it can be %d others, too, and not more", p->name,
                       SB_PARTICIPANT_ALSO_MAX);
    const char *prefix = sb_config_get(p->config, "kafka.prefix");
    sb_topic_t *topic = &p->topic[p->topics];
    sb_code_t code = sb_topic_commands(*topic, prefix, sb_slice(name), err);
    for (size_t i = 0; i < p->topics && code == SB_OK; i++)
        if (strcmp(p->topic[i], *topic) == 0)
            code = sb_fail(err, SB_INVALID, "participant %s: it is %s twice", p->name, name);
    p->topics += code == SB_OK;
    return code;
}

static sb_code_t configure(sb_participant_t *p, const sb_participant_config_t *config, sb_error_t *err)
{
    sb_code_t code = sb_config_new(&p->config, err);
    if (code == SB_OK)
        code = sb_config_load_environment(p->config, err);
    if (code == SB_OK && config->kafka_bootstrap)
        code = sb_config_set(p->config, "kafka.bootstrap", config->kafka_bootstrap, err);
    if (code == SB_OK && config->kafka_prefix)
        code = sb_config_set(p->config, "kafka.prefix", config->kafka_prefix, err);
    if (code != SB_OK)
        return code;
    const char *prefix = sb_config_get(p->config, "kafka.prefix");
    (void)snprintf(p->client, sizeof p->client, "%s%s", prefix, p->name);
    (void)snprintf(p->source, sizeof p->source, "/participants/%s", p->name);
    code = add_topic(p, p->name, err);
    for (const char *const *also = config->also; also && *also && code == SB_OK; also++)
        code = add_topic(p, *also, err);
    return code;
}

sb_code_t sb_participant_open(sb_participant_t **out, const sb_participant_config_t *config, sb_error_t *err)
{
    *out = NULL;
    if (!config->name || !config->schema || !config->on_command)
        return sb_fail(err, SB_INVALID, "participant: name, schema and on_command must be set");
    sb_participant_t *p = calloc(1, sizeof *p);
    if (!p)
        return sb_fail(err, SB_NO_MEMORY, "participant %s: out of memory", config->name);
    p->name = strdup(config->name);
    p->pg_uri = strdup(config->pg_uri ? config->pg_uri : "");
    p->schema = strdup(config->schema);
    p->on_command = config->on_command;
    p->context = config->context;
    atomic_init(&p->stopping, false);
    sb_barrier_answer_init(&p->answer);
    sb_barrier_init(&p->barrier);
    p->batch_max = BATCH_MIN;
    sb_code_t code = p->name && p->pg_uri && p->schema
                         ? configure(p, config, err)
                         : sb_fail(err, SB_NO_MEMORY, "participant %s: out of memory", config->name);
    if (code != SB_OK) {
        sb_participant_close(&p);
        return code;
    }
    *out = p;
    return SB_OK;
}

void sb_participant_close(sb_participant_t **participant)
{
    sb_participant_t *p = *participant;
    if (!p)
        return;
    sb_consumer_close(&p->consumer, CLOSE_MS);
    sb_producer_close(&p->producer);
    sb_store_close(&p->store);
    sb_catalog_free(&p->catalog);
    sb_pg_close(&p->pg);
    for (int i = 0; i < BATCH_MAX; i++)
        sb_reply_out_fini(&p->reply[i]);
    sb_barrier_answer_fini(&p->answer);
    sb_barrier_fini(&p->barrier);
    sb_config_free(&p->config);
    free(p->schema);
    free(p->pg_uri);
    free(p->name);
    free(p);
    *participant = NULL;
}

/* ---- events in the command's transaction ---- */

static sb_code_t ensure_store(sb_participant_t *p, sb_error_t *err)
{
    if (p->store)
        return SB_OK;
    sb_code_t code = p->catalog ? SB_OK : sb_catalog_new(&p->catalog, err);
    if (code == SB_OK)
        code = sb_catalog_load(p->catalog, p->pg, err);
    if (code == SB_OK)
        code = sb_store_new(&p->store, p->pg, p->catalog, err);
    return code;
}

sb_code_t sb_participant_append(sb_participant_t *p, const sb_append_t *append, sb_append_result_t *result,
                                sb_error_t *err)
{
    if (!p->in_transaction)
        return sb_fail(err, SB_INVALID, "participant %s: append is for on_command only", p->name);
    sb_code_t code = ensure_store(p, err);
    if (code != SB_OK)
        return code;
    return sb_store_append(p->store, append, result, err);
}
