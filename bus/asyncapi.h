/* asyncapi - the AsyncAPI 3.0 document of an installation: what its topics carry, for people and generators.
 *
 * Channels are topics, messages are event types by version (with their schemas and headers), commands and
 * replies of sagas. Operations are sagabus's own: it sends events and commands, and receives replies; a
 * service reads the document from the other side. The same input gives the same bytes, in whatever order it
 * is added.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_ASYNCAPI_H
#define SB_BUS_ASYNCAPI_H

#include "base/config.h"
#include "base/json.h"

typedef struct sb_asyncapi sb_asyncapi_t;

/* Names, addresses and partition counts come from config, borrowed for the call. */
SB_MUST_CHECK sb_code_t sb_asyncapi_new(sb_asyncapi_t **out, const sb_config_t *config, sb_error_t *err);

/* Adds one file of schemas/events or schemas/sagas, as parsed. Inner saga events, which no topic carries, are
 * left out. */
SB_MUST_CHECK sb_code_t sb_asyncapi_add_event(sb_asyncapi_t *asyncapi, const json_t *file, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_asyncapi_add_saga(sb_asyncapi_t *asyncapi, const json_t *file, sb_error_t *err);

/* Writes the document, indented, keys sorted, ended by a line break. info.version is a hash of the rest. */
SB_MUST_CHECK sb_code_t sb_asyncapi_write(sb_asyncapi_t *asyncapi, sb_buf_t *out, sb_error_t *err);

void sb_asyncapi_free(sb_asyncapi_t **asyncapi); /* NULL is fine; sets NULL */

#endif
