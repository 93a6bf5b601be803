/* child_key - the business key of a saga that is a step of another: who started it, for which step and round.
 *
 * The key is what makes the start idempotent (a key is one saga for ever), and it is the link back: it names
 * the parent. Nobody else may start a saga under such a key.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_CHILD_KEY_H
#define SB_SAGA_CHILD_KEY_H

#include "sagabus/id.h"
#include "sagabus/slice.h"

#define SB_CHILD_KEY_PREFIX "saga:" /* reserved */
#define SB_CHILD_KEY_MAX    128

/* "saga:<parent id>/<step>/<round>" */
const char *sb_child_key_write(const sb_uuid_t *parent, const char *step, uint16_t round,
                               char out[SB_CHILD_KEY_MAX]);

/* False: it is the key of a saga that is nobody's step. step is borrowed from key. */
bool sb_child_key_read(sb_slice_t key, sb_uuid_t *parent, sb_slice_t *step, uint16_t *round);

#endif
