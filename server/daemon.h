/* daemon - `sagabus serve`: the HTTP API and the engine (sequencer, relay, projector, orchestrator) in one
 * process.
 *
 * The API listens first; /livez answers at once, /readyz says what is still missing. PostgreSQL or Kafka
 * away, at the start or later, is waited for. What no waiting mends (a schema that is not this binary's, a
 * bad file, an address that needs TLS) ends the process with a message.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_DAEMON_H
#define SB_SERVER_DAEMON_H

#include "base/config.h"

/* Blocks until SIGTERM or SIGINT, then stops in order: intake, orchestrator (its shards go to others at
 * once), projector, relay, sequencer. A second signal ends at once. */
SB_MUST_CHECK sb_code_t sb_daemon_run(const sb_config_t *config, sb_error_t *err);

#endif
