/* remote - calls the server of `server.url` and turns its problems back into errors.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_REMOTE_H
#define SB_CLI_REMOTE_H

#include "base/http_client.h"
#include "cli/command.h"

typedef struct sb_remote sb_remote_t;

SB_MUST_CHECK sb_code_t sb_remote_open(sb_remote_t **out, const sb_config_t *config, sb_error_t *err);
void sb_remote_close(sb_remote_t **remote);

typedef struct sb_remote_call {
    const char *method;
    const char *path; /* "/v1/sagas?limit=5", escaped */
    sb_slice_t body;  /* absent: none */
    const char *const *headers;
    uint32_t timeout_ms; /* 0: 30000 */
} sb_remote_call_t;

/* *status is the 2xx or 3xx status; *body (may be NULL) a new reference. Any other status is an error made
 * from the problem the server sent: its code, its detail and its pointer. */
SB_MUST_CHECK sb_code_t sb_remote_send(sb_remote_t *remote, const sb_remote_call_t *call, int *status,
                                       json_t **body, sb_error_t *err);
/* GET. */
SB_MUST_CHECK sb_code_t sb_remote_get(sb_remote_t *remote, const char *path, json_t **body, sb_error_t *err);

/* A saga as the server tells it, given as its id or TYPE/KEY; view: "" for the whole, "/explain", … The
 * caller owns *out. SB_NOT_FOUND. (cmd_saga.c) */
SB_MUST_CHECK sb_code_t sb_remote_saga(sb_remote_t *remote, const char *reference, const char *view,
                                       json_t **out, sb_error_t *err);

/* Its id. */
SB_MUST_CHECK sb_code_t sb_remote_saga_id(sb_remote_t *remote, const char *reference, sb_buf_t *id,
                                          sb_error_t *err);

/* Options that say which sagas, and what the server calls them; ended by a NULL option. (cmd_saga_act.c) */
typedef struct sb_saga_filter_option {
    const char *option;
    const char *member;
    bool is_flag;
} sb_saga_filter_option_t;
extern const sb_saga_filter_option_t sb_saga_filter_options[];

#endif
