/* saga_number - a saga's number and the id that carries it.
 *
 * The number is `shard << 48 | counter`: it says who owns the saga, it is the saga's stream number, and it
 * rises within a shard. The id is a version 8 UUID (RFC 9562 section 5.8): 48 bits of Unix milliseconds, then
 * the number's 60 bits spread around version and variant. So an id leads to its row and its stream without an
 * index on ids.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_SAGA_NUMBER_H
#define SB_EVENTS_SAGA_NUMBER_H

#include "sagabus/id.h"

#define SB_SHARDS_MAX 4096

int64_t sb_saga_number(int shard, int64_t counter); /* counter < 2^48 */
int sb_saga_shard(int64_t number);
int64_t sb_saga_counter(int64_t number);

sb_uuid_t sb_saga_id(int64_t number, int64_t wall_ms);

/* When the saga was started. */
int64_t sb_saga_started_ms(const sb_uuid_t *id);

/* False when id is not one of ours. */
bool sb_saga_number_of(const sb_uuid_t *id, int64_t *number);

#endif
