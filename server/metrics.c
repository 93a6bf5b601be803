/* The metrics page: Prometheus text format 0.0.4. The names are a contract and are listed in docs/metrics.md.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "sagabus/version.h"
#include "server/handlers.h"

#include <stdio.h>
#include <stdlib.h>

static void head(sb_buf_t *out, const char *name, const char *type, const char *help)
{
    sb_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(sb_buf_t *out, const char *name, const char *help, double value)
{
    head(out, name, "gauge", help);
    sb_buf_printf(out, "%s %.17g\n", name, value);
}

static void counter(sb_buf_t *out, const char *name, const char *help, double value)
{
    head(out, name, "counter", help);
    sb_buf_printf(out, "%s %.17g\n", name, value);
}

static void write_process(const sb_engine_t *engine, sb_buf_t *out)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm) {
        if (fscanf(statm, "%*d %ld", &pages) != 1)
            pages = 0;
        (void)fclose(statm);
    }
    head(out, "sagabus_info", "gauge", "Always 1; the version is a label.");
    sb_buf_printf(out, "sagabus_info{version=\"%s\"} 1\n", SB_VERSION);
    gauge(out, "sagabus_process_start_time_seconds", "When the process started, Unix time.",
          (double)engine->started_us / 1e6);
    gauge(out, "sagabus_process_resident_memory_bytes", "Resident memory.", (double)pages * 4096);
}

static void write_checks(sb_engine_t *engine, sb_buf_t *out)
{
    sb_check_t check[SB_CHECKS_MAX];
    int count = 0;
    bool ready = sb_engine_is_ready(engine, check, &count);
    gauge(out, "sagabus_ready", "1 when /readyz says 200.", ready);
    head(out, "sagabus_check_ok", "gauge", "1 when that check of /readyz is ok.");
    for (int i = 0; i < count; i++)
        sb_buf_printf(out, "sagabus_check_ok{check=\"%s\"} %d\n", check[i].name, check[i].ok);
}

static void write_http(sb_engine_t *engine, sb_buf_t *out)
{
    sb_http_stats_t s;
    sb_http_stats(engine->http, &s);
    head(out, "sagabus_http_responses_total", "counter", "Answers by class of status.");
    for (int c = 2; c <= 5; c++)
        sb_buf_printf(out, "sagabus_http_responses_total{class=\"%dxx\"} %llu\n", c,
                      (unsigned long long)s.by_class[c]);
    gauge(out, "sagabus_http_in_hand", "Requests being worked on.", (double)s.in_hand);
    gauge(out, "sagabus_http_streams", "Of them, clients that follow events.", (double)s.streams);
    gauge(out, "sagabus_http_connections", "Clients that are connected.", s.connections);
    gauge(out, "sagabus_http_connections_max", "As many there may be.", s.connections_max);
    counter(out, "sagabus_http_connections_refused_total", "Connections beyond that, which were closed.",
            (double)s.refused);
    head(out, "sagabus_http_request_seconds", "histogram", "Time from a request's arrival to its answer.");
    uint64_t sum = 0;
    for (int b = 0; b < 11; b++) {
        sum += s.bucket[b];
        sb_buf_printf(out, "sagabus_http_request_seconds_bucket{le=\"%g\"} %llu\n",
                      sb_http_bucket_ms[b] / 1000.0, (unsigned long long)sum);
    }
    sum += s.bucket[11];
    sb_buf_printf(out, "sagabus_http_request_seconds_bucket{le=\"+Inf\"} %llu\n", (unsigned long long)sum);
    sb_buf_printf(out, "sagabus_http_request_seconds_sum %.6f\nsagabus_http_request_seconds_count %llu\n",
                  s.seconds, (unsigned long long)sum);
}

static void write_appender(const sb_engine_t *engine, sb_buf_t *out)
{
    sb_appender_stats_t s;
    sb_appender_stats(engine->appender, &s);
    counter(out, "sagabus_append_answers_total", "Appends over HTTP that were answered.", (double)s.appends);
    counter(out, "sagabus_append_batches_total", "Transactions they were committed in.", (double)s.batches);
    counter(out, "sagabus_append_splits_total", "Batches sent again in halves, for one of them was refused.",
            (double)s.splits);
    counter(out, "sagabus_append_commits_asked_total", "Commits whose outcome had to be asked for.",
            (double)s.asked);
    counter(out, "sagabus_append_unknown_total", "Appends whose outcome could not be found out.",
            (double)s.unknown);
    gauge(out, "sagabus_append_waiting", "Appends that wait for their turn.", (double)s.waiting);
}

static void write_sequencer(const sb_engine_t *engine, sb_buf_t *out)
{
    sb_sequencer_stats_t s;
    sb_sequencer_stats(engine->sequencer, &s);
    gauge(out, "sagabus_sequencer_leader", "1 when this instance sequences.", s.leader);
    gauge(out, "sagabus_safe_seq", "Below it nothing will appear any more.", (double)s.safe_seq);
    gauge(out, "sagabus_safe_seq_lag_events", "Sequence numbers drawn but not safe yet.",
          (double)s.lag_events);
    gauge(out, "sagabus_safe_seq_lag_seconds", "How long safe_seq has been behind.", (double)s.lag_ms / 1000);
    gauge(out, "sagabus_oldest_blocker_pid", "PostgreSQL backend that holds safe_seq back; 0: none.",
          s.blocker_pid);
    head(out, "sagabus_oldest_blocker_info", "gauge", "Who that is; 1 while there is one.");
    if (s.blocker_name[0]) {
        sb_buf_printf(out, "sagabus_oldest_blocker_info{pid=\"%d\",application=\"", s.blocker_pid);
        for (const char *c = s.blocker_name; *c; c++)
            sb_buf_printf(out, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
        sb_buf_add_text(out, "\"} 1\n");
    }
    gauge(out, "sagabus_sealed_seq", "Up to here history is sealed; 0: another instance seals.",
          (double)s.sealed_seq);
    gauge(out, "sagabus_gap_ranges",
          "Ranges of seq that the relay or a view took in otherwise than the store.", (double)s.gap_ranges);
    gauge(out, "sagabus_complete_seq", "Compared up to here; 0: another instance compares.",
          (double)s.complete_seq);
}

static void write_relay(const sb_engine_t *engine, sb_buf_t *out)
{
    sb_relay_stats_t s;
    sb_relay_stats(engine->relay, &s);
    gauge(out, "sagabus_relay_leader", "1 when this instance relays.", s.leader);
    gauge(out, "sagabus_relay_seq", "Everything up to here is in Kafka.", (double)s.cursor);
    gauge(out, "sagabus_relay_lag_events", "Safe events not yet acknowledged by Kafka.",
          (double)s.lag_events);
    gauge(out, "sagabus_relay_oldest_age_seconds", "Age of the oldest event not yet in Kafka.",
          (double)s.oldest_age_ms / 1000);
    counter(out, "sagabus_relay_sent_total", "Events acknowledged by Kafka.", (double)s.sent);
    counter(out, "sagabus_relay_resends_total", "Times that sending began again after a failed report.",
            (double)s.resends);
    counter(out, "sagabus_relay_withheld_total", "Events that Kafka would not take.", (double)s.withheld);
    gauge(out, "sagabus_relay_stopped", "1 when it stands still for a reason that waiting does not mend.",
          s.error[0] != '\0');
}

static void write_views(const sb_engine_t *engine, sb_buf_t *out)
{
    sb_views_stats_t s;
    sb_projector_stats(engine->projector, &s);
    gauge(out, "sagabus_views_owned", "Views that this instance keeps up to date.", s.owned);
    gauge(out, "sagabus_views_stuck", "Owned views that do not move.", s.stuck);
    gauge(out, "sagabus_view_lag_events", "Of the owned view that is furthest behind.", (double)s.lag_events);
    gauge(out, "sagabus_view_lag_seconds", "Since when an owned view has not had all safe events.",
          (double)s.lag_ms / 1000);
    counter(out, "sagabus_view_events_total", "Events folded.", (double)s.events);
    counter(out, "sagabus_view_parked_total", "Keys parked for an event that could not be folded.",
            (double)s.parked);
}

static void write_push(const sb_engine_t *engine, sb_buf_t *out)
{
    sb_push_stats_t s;
    sb_push_stats(engine->push, &s);
    gauge(out, "sagabus_push_owned", "Push subscriptions that this instance delivers.", s.owned);
    gauge(out, "sagabus_push_paused", "Of them, paused by an operator or by an answer 410.", s.paused);
    gauge(out, "sagabus_push_stuck", "Of them, those that do not move, and are not paused.", s.stuck);
    gauge(out, "sagabus_push_breakers_open", "Of them, those whose endpoint fails.", s.breakers_open);
    gauge(out, "sagabus_push_in_flight", "Requests under way.", s.in_flight);
    gauge(out, "sagabus_push_lag_events", "Of the owned subscription that is furthest behind.",
          (double)s.lag_events);
    counter(out, "sagabus_push_delivered_total", "Events that an endpoint took.", (double)s.delivered);
    counter(out, "sagabus_push_failures_total", "Tries that failed.", (double)s.failures);
    counter(out, "sagabus_push_dead_letters_total", "Events that became dead letters, blocked ones counted.",
            (double)s.dead_letters);
    counter(out, "sagabus_push_redriven_total", "Dead letters that were delivered after all.",
            (double)s.redriven);
}

static void write_sagas(const sb_engine_t *engine, sb_buf_t *out)
{
    sb_orchestrator_stats_t s;
    sb_orchestrator_stats(engine->orchestrator, &s);
    gauge(out, "sagabus_saga_shards", "Shards that this instance drives.", s.shards);
    gauge(out, "sagabus_sagas_open", "Open sagas of these shards.", (double)s.open);
    gauge(out, "sagabus_sagas_attention", "Open sagas that wait for an operator.", (double)s.attention);
    head(out, "sagabus_sagas_total", "counter", "Sagas by what they came to.");
    sb_buf_printf(out, "sagabus_sagas_total{outcome=\"started\"} %lld\n", (long long)s.started);
    sb_buf_printf(out, "sagabus_sagas_total{outcome=\"completed\"} %lld\n", (long long)s.completed);
    sb_buf_printf(out, "sagabus_sagas_total{outcome=\"compensated\"} %lld\n", (long long)s.compensated);
    counter(out, "sagabus_saga_batches_total", "Transactions of the orchestrator.", (double)s.batches);
    counter(out, "sagabus_saga_batch_items_total", "Starts, replies and timers in them.",
            (double)s.batch_items);
    counter(out, "sagabus_saga_commands_resent_total",
            "Commands sent again after a takeover or a reset broker.", (double)s.resent);
    counter(out, "sagabus_saga_retries_total", "Attempts beyond the first.", (double)s.retries);
    counter(out, "sagabus_saga_anomalies_total", "Late or contradictory replies.", (double)s.anomalies);
    counter(out, "sagabus_saga_replies_ignored_total",
            "Replies that answer no command of a saga that is there.", (double)s.ignored);
}

static void participant_series(sb_buf_t *out, const char *name, const char *label, const char *participant,
                               uint64_t value)
{
    sb_buf_printf(out, "%s{participant=\"%s\"%s} %llu\n", name, participant, label,
                  (unsigned long long)value);
}

typedef struct participant_metric {
    const char *name, *type, *help;
} participant_metric_t;

static const participant_metric_t participant_metrics[] = {
    {"sagabus_participant_waiting", "gauge", "Commands that wait for their turn, or to ask again."},
    {"sagabus_participant_out", "gauge", "Commands that are out, where they are counted."},
    {"sagabus_participant_breaker_open", "gauge", "1 while its circuit breaker is not closed."},
    {"sagabus_participant_breaker_opened_total", "counter", "Times that its circuit breaker opened."},
    {"sagabus_participant_commands_total", "counter", "Commands sent, repeats included."},
    {"sagabus_participant_repeats_total", "counter", "Of them, repeats."},
    {"sagabus_participant_gave_up_total", "counter", "Commands that waited for longer than wait_ms."},
};

static uint64_t participant_value(const sb_participant_state_t *s, size_t metric)
{
    const uint64_t values[] = {s->waiting,        s->out,  s->breaker && strcmp(s->breaker, "closed") != 0,
                               s->breaker_opened, s->sent, s->repeats,
                               s->gave_up};
    return values[metric];
}

/* Names are of a-z 0-9 _ -, so they need no escaping. */
static void write_participants(const sb_engine_t *engine, sb_buf_t *out)
{
    sb_participant_state_t *all = calloc(SB_PARTICIPANTS_MAX, sizeof *all);
    size_t count = all ? sb_orchestrator_participants(engine->orchestrator, all, SB_PARTICIPANTS_MAX) : 0;
    for (size_t m = 0; m < sizeof participant_metrics / sizeof participant_metrics[0]; m++) {
        const participant_metric_t *metric = &participant_metrics[m];
        head(out, metric->name, metric->type, metric->help);
        for (size_t i = 0; i < count; i++)
            participant_series(out, metric->name, "", all[i].name, participant_value(&all[i], m));
    }
    head(out, "sagabus_participant_replies_total", "counter", "Answers by outcome.");
    for (size_t i = 0; i < count; i++) {
        static const char name[] = "sagabus_participant_replies_total";
        participant_series(out, name, ",outcome=\"success\"", all[i].name, all[i].succeeded);
        participant_series(out, name, ",outcome=\"failure\"", all[i].name, all[i].refused);
        participant_series(out, name, ",outcome=\"error\"", all[i].name, all[i].errors);
        participant_series(out, name, ",outcome=\"pending\"", all[i].name, all[i].pending);
    }
    head(out, "sagabus_participant_answer_seconds", "gauge", "Smoothed time of an answer over HTTP.");
    for (size_t i = 0; i < count; i++)
        if (all[i].http)
            sb_buf_printf(out, "sagabus_participant_answer_seconds{participant=\"%s\"} %.6f\n", all[i].name,
                          (double)all[i].answer_us / 1e6);
    free(all);
}

void sb_metrics_write(sb_engine_t *engine, sb_buf_t *out)
{
    write_process(engine, out);
    write_checks(engine, out);
    write_http(engine, out);
    write_appender(engine, out);
    if (!atomic_load(&engine->running))
        return;
    write_sequencer(engine, out);
    write_relay(engine, out);
    write_views(engine, out);
    write_push(engine, out);
    write_sagas(engine, out);
    write_participants(engine, out);
}
