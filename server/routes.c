/* The table. A row is all it takes: dispatch, the scope and the OpenAPI document follow from it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/handlers.h"

#define READ  SB_SCOPE_READ
#define WRITE SB_SCOPE_WRITE
#define ADMIN SB_SCOPE_ADMIN

#define WAIT_NEWS                                                                                            \
    "wait:answer when there is an event, or an empty page after this long (30s, at most http.wait_max_ms)"
#define AFTER_SEQ                                                                                            \
    "after_seq:the seq of an event that must be in the rows, 504 when it is not in time;wait:how long for "  \
    "that "                                                                                                  \
    "(default 5s);"
#define PAGE "limit:rows a page, 1 to 500 (default 50);cursor:next_cursor of the page before"

const sb_route_t sb_routes[] = {
    {"GET", "/livez", SB_SCOPE_NONE, sb_get_livez, NULL, "The process runs. Never looks at anything else.",
     "system", "", NULL, NULL, 200},
    {"GET", "/readyz", SB_SCOPE_NONE, sb_get_readyz, NULL,
     "Whether it can serve: PostgreSQL, Kafka, topics, shards. 503 names what is missing.", "system",
     "verbose:a line for each check", NULL, NULL, 200},
    {"GET", "/metrics", READ, sb_get_metrics, NULL, "Prometheus text, names in docs/metrics.md.", "system",
     "", NULL, NULL, 200},
    {"GET", "/openapi.json", SB_SCOPE_NONE, sb_get_openapi, NULL, "This document.", "system", "", NULL, "Any",
     200},
    {"GET", "/version", SB_SCOPE_NONE, sb_get_version, NULL, "Version of the server.", "system", "", NULL,
     "Any", 200},

    {"POST", "/v1/sagas", WRITE, sb_post_saga, NULL,
     "Start a saga; answered after the commit. 200 with the first saga when its key is there already with "
     "the same input, "
     "422 with another one.",
     "sagas", "wait:answer when it is over, or 202 after this long (30s, at most http.wait_max_ms)",
     "SagaStart", "SagaBrief", 201},
    {"GET", "/v1/sagas", READ, NULL, sb_get_sagas, "A page of sagas, newest first.", "sagas",
     "status:started, completed, compensating, compensated or failed;type:saga type;key:business key, with "
     "type alone: that one saga, with its steps;step:the step that wants an operator, or turned the saga "
     "back: not one that only waits for an answer or its next try;participant:of that step;error:part of its "
     "error text;fingerprint:of its error, as a page shows "
     "it: the same for errors that differ in numbers only;started_after:RFC 3339 time;started_before:RFC "
     "3339 "
     "time;attention:true: only those that wait for an operator;paused:true: only those;sort:newest or "
     "oldest;" PAGE,
     NULL, "SagaPage", 200},
    {"GET", "/v1/sagas/{id}", READ, NULL, sb_get_saga, "A saga with its steps and history.", "sagas",
     "history:false leaves the history out", NULL, "Saga", 200},
    {"GET", "/v1/sagas/{id}/explain", READ, NULL, sb_get_saga_explanation,
     "What a saga waits for, since when, its last error, what is to come, and what would be undone if it "
     "failed now.",
     "sagas", "", NULL, "SagaExplanation", 200},
    {"POST", "/v1/sagas/{id}/cancel", ADMIN, NULL, sb_post_saga_verb,
     "Compensate what was done; before the pivot only.", "sagas", "", "Verb", "Accepted", 202},
    {"POST", "/v1/sagas/{id}/pause", ADMIN, NULL, sb_post_saga_verb,
     "Send no more commands until it is resumed.", "sagas", "", "Verb", "Accepted", 202},
    {"POST", "/v1/sagas/{id}/resume", ADMIN, NULL, sb_post_saga_verb, "Go on after a pause.", "sagas", "",
     "Verb", "Accepted", 202},
    {"POST", "/v1/sagas/{id}/retry", ADMIN, NULL, sb_post_saga_verb,
     "Try the waiting step again now, also with another input.", "sagas", "", "VerbRetry", "Accepted", 202},
    {"POST", "/v1/sagas/{id}/rewind", ADMIN, NULL, sb_post_saga_verb,
     "Undo what was done from a step on, and go on from there or wait; before the pivot only.", "sagas", "",
     "VerbRewind", "Accepted", 202},
    {"POST", "/v1/sagas/{id}/migrate", ADMIN, NULL, sb_post_saga_verb,
     "Go on by another version of the definition; what was executed must be the same in both.", "sagas", "",
     "VerbMigrate", "Accepted", 202},
    {"POST", "/v1/sagas/{id}/skip", ADMIN, NULL, sb_post_saga_verb,
     "Take a step as done, with a given result.", "sagas", "", "VerbSkip", "Accepted", 202},
    {"POST", "/v1/sagas/{id}/resolve", ADMIN, NULL, sb_post_saga_verb, "Close it as failed: settled by hand.",
     "sagas", "", "Verb", "Accepted", 202},
    {"POST", "/v1/sagas/bulk", ADMIN, NULL, sb_post_saga_bulk,
     "One verb on all open sagas that a filter finds, oldest first. 200 with dry_run: what would come of "
     "each.",
     "sagas", "", "VerbBulk", "BulkAnswer", 202},
    {"GET", "/v1/audit", ADMIN, NULL, sb_get_audit,
     "What operators did, newest first: who, what, why, and what came of it.", "sagas",
     "saga:id of one;act:number of an act on many, with its parts;command:number of an act on one saga;"
     "limit:1 to 500 (default 50);cursor:next_cursor of the page before",
     NULL, "AuditPage", 200},

    {"GET", "/v1/participants", READ, sb_get_participants, NULL,
     "How it stands with the participants of sagas, as this instance sees it: breaker, what waits and is "
     "out, "
     "counts.",
     "sagas", "", NULL, "ParticipantList", 200},

    {"POST", "/v1/events", WRITE, sb_post_event, sb_post_event_of_unknown_type,
     "Append one event (a CloudEvent, structured, or binary with ce- headers), or a batch of them, all or "
     "none; "
     "answered after the commit.",
     "events", "", "EventAppend;application/cloudevents-batch+json:EventBatch", "AppendedOneOrMany", 201},
    {"GET", "/v1/events", READ, NULL, sb_get_events,
     "Events of the store in order, up to the safe sequence number.", "events",
     "after:seq to start behind;since:RFC 3339 time to start at, instead of after;types:comma-separated, * "
     "for any run of characters;category:of the type;limit:1 to 1000 (default 100);backward:true: newest "
     "first;before:with backward: seq to start below;" WAIT_NEWS,
     NULL, "EventPage", 200},
    {"GET", "/v1/events/stream", READ, NULL, sb_get_event_stream,
     "Events as they come, as server-sent events; Last-Event-ID goes on behind that seq.", "events",
     "types:comma-separated, * for any run of characters;category:of the type;after:seq to start behind "
     "(what "
     "is new);since:RFC 3339 time to start at, instead of after",
     NULL, NULL, 200},
    {"POST", "/v1/events/erase", ADMIN, NULL, sb_post_event_erase,
     "Take the body of one event, or of all of a stream, away for good; recorded in the audit. 403 unless "
     "the "
     "server works as the owner of the database.",
     "events", "", "Erase", "Erased", 200},
    {"GET", "/v1/streams/{category}/{key+}", READ, NULL, sb_get_stream,
     "Events of one stream; a saga's is saga/{id}. 410 with first_version when older ones are no longer "
     "kept.",
     "events",
     "from:version to start at;backward:true: newest first;limit:1 to 1000 (default 100);" WAIT_NEWS, NULL,
     "EventPage", 200},

    {"GET", "/v1/views", READ, NULL, sb_get_views, "The read models, with their lag.", "views", "", NULL,
     "Any", 200},
    {"GET", "/v1/views/{view}", READ, NULL, sb_get_view,
     "A page of rows. Any other parameter filters by that column, which has an index: status=paid, or "
     "amount.gte=1000 (.lt, .lte, .gt, .gte, .eq). Answers carry an ETag.",
     "views",
     "table:of the view, its first by default;sort:a column with an index, - before it for backwards "
     "(default: "
     "the key);fields:names of columns, separated by commas;" AFTER_SEQ PAGE,
     NULL, "Page", 200},
    {"GET", "/v1/views/{view}/{key+}", READ, NULL, sb_get_view_row, "The row of one key.", "views",
     "table:of the view, its first by default;fields:names of columns, separated by commas;" AFTER_SEQ, NULL,
     "Any", 200},
    {"GET", "/v1/parked", READ, NULL, sb_get_view_parked,
     "The keys of a view that could not be folded further, and the events that parked them.", "views",
     "view:the view;" PAGE, NULL, "Page", 200},
    {NULL, NULL, SB_SCOPE_NONE, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0},
};
