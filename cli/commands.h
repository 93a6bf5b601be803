/* commands - the functions behind the table, one file a noun.
 *
 * Each runs one command to its end. Not SB_OK: the message is printed and the code becomes the exit code.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_COMMANDS_H
#define SB_CLI_COMMANDS_H

#include "base/pg.h"
#include "cli/command.h"

/* cmd_serve.c */
sb_code_t sb_cmd_serve(sb_cli_t *cli, sb_error_t *err);
/* cmd_migrate.c */
sb_code_t sb_cmd_migrate(sb_cli_t *cli, sb_error_t *err);
/* cmd_publish.c */
sb_code_t sb_cmd_publish_direct(sb_cli_t *cli, sb_error_t *err);
/* cmd_event.c */
sb_code_t sb_cmd_publish(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_event_append(sb_cli_t *cli, sb_error_t *err);
/* cmd_event_file.c */
sb_code_t sb_cmd_event_append_file(sb_cli_t *cli, const char *name, sb_error_t *err);
/* cmd_event_read.c */
sb_code_t sb_cmd_event_read(sb_cli_t *cli, sb_error_t *err);
/* cmd_verify.c */
sb_code_t sb_cmd_event_verify(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_event_erase(sb_cli_t *cli, sb_error_t *err);
/* cmd_store.c */
sb_code_t sb_cmd_store_detach(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_store_gaps(sb_cli_t *cli, sb_error_t *err);
/* cmd_subscribe.c */
sb_code_t sb_cmd_subscribe(sb_cli_t *cli, sb_error_t *err);
/* cmd_dlq.c */
sb_code_t sb_cmd_dlq_list(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_dlq_show(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_dlq_redrive(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_dlq_discard(sb_cli_t *cli, sb_error_t *err);
/* cmd_push.c */
sb_code_t sb_cmd_push_list(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_push_pause(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_push_resume(sb_cli_t *cli, sb_error_t *err);
/* cmd_saga.c */
sb_code_t sb_cmd_definition_graph(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_saga_start(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_saga_show(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_saga_trace(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_saga_list(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_saga_act(sb_cli_t *cli, sb_error_t *err); /* all verbs, on one saga or many */
sb_code_t sb_cmd_audit_list(sb_cli_t *cli, sb_error_t *err);
/* cmd_saga_explain.c */
sb_code_t sb_cmd_saga_explain(sb_cli_t *cli, sb_error_t *err);
/* cmd_participant.c */
sb_code_t sb_cmd_participant_list(sb_cli_t *cli, sb_error_t *err);
/* cmd_view.c */
sb_code_t sb_cmd_view_list(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_view_parked(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_view_show(sb_cli_t *cli, sb_error_t *err);
/* cmd_replay.c */
sb_code_t sb_cmd_replay(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_view_verify(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_view_rollback(sb_cli_t *cli, sb_error_t *err);
/* cmd_replay_to.c */
sb_code_t sb_cmd_replay_to(sb_cli_t *cli, sb_error_t *err); /* replay --to */
/* cmd_schema.c */
sb_code_t sb_cmd_schema_apply(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_schema_check(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_schema_list(sb_cli_t *cli, sb_error_t *err);
/* cmd_asyncapi.c */
sb_code_t sb_cmd_schema_asyncapi(sb_cli_t *cli, sb_error_t *err);
/* cmd_topics.c */
sb_code_t sb_cmd_topics_plan(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_topics_apply(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_topics_acls(sb_cli_t *cli, sb_error_t *err);
/* cmd_relay.c */
sb_code_t sb_cmd_topics_withheld(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_store_fork(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_replay_topic(sb_cli_t *cli, sb_error_t *err); /* replay --to-topic */
/* cmd_key.c */
sb_code_t sb_cmd_key_create(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_key_list(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_key_revoke(sb_cli_t *cli, sb_error_t *err);
/* cmd_doctor.c */
sb_code_t sb_cmd_doctor(sb_cli_t *cli, sb_error_t *err);
/* cmd_self.c: about this binary */
sb_code_t sb_cmd_openapi(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_completion(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_reference(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_help(sb_cli_t *cli, sb_error_t *err);
sb_code_t sb_cmd_version(sb_cli_t *cli, sb_error_t *err);

/* ---- what several of them need ---- */

/* A connection of a person at the keyboard. timeout: no limit on a statement. An error says so when nobody
 * gave the address. */
SB_MUST_CHECK sb_code_t sb_cli_pg(const sb_cli_t *cli, bool unlimited, sb_pg_t **out, sb_error_t *err);
/* A page of the API, {"items", "next_cursor"}, in the format; columns NULL: one for each member. Notes how to
 * get the next one. */
void sb_cli_print_page(sb_cli_t *cli, const json_t *page, const sb_column_t *columns);
/* What is printed for a person beside the data, unless --quiet. */
void sb_cli_note(const sb_cli_t *cli, const char *format, ...) SB_PRINTF(2, 3);
/* Whether Ctrl-C was pressed (only after sb_cli_catch_interrupt). */
void sb_cli_catch_interrupt(void);
bool sb_cli_interrupted(void);

#endif
