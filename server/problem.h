/* problem - an sb_error_t as RFC 9457 application/problem+json: the API's only form of error.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_PROBLEM_H
#define SB_SERVER_PROBLEM_H

#include "server/request.h"

/* Fills the request's answer from err (its code says the status). */
void sb_problem(sb_request_t *request, const sb_error_t *err);

/* The same with a status that no code has (401, 405, 415). code: the stable name. */
void sb_problem_status(sb_request_t *request, int status, const char *code, const char *title,
                       const sb_error_t *err);

#endif
