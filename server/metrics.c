/* The metrics page: Prometheus text format 0.0.4. The names are a contract and are listed in docs/metrics.md.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "sagabus/version.h"
#include "server/handlers.h"

#include <stdio.h>

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
    sb_projector_stats_t s;
    sb_projector_stats(engine->projector, &s);
    gauge(out, "sagabus_views_owned", "Views that this instance keeps up to date.", s.owned);
    gauge(out, "sagabus_views_stuck", "Owned views that do not move.", s.stuck);
    gauge(out, "sagabus_view_lag_events", "Of the owned view that is furthest behind.", (double)s.lag_events);
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
}

void sb_metrics_write(sb_engine_t *engine, sb_buf_t *out)
{
    write_process(engine, out);
    write_checks(engine, out);
    write_http(engine, out);
    if (!atomic_load(&engine->running))
        return;
    write_sequencer(engine, out);
    write_relay(engine, out);
    write_views(engine, out);
    write_push(engine, out);
    write_sagas(engine, out);
}
