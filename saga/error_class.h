/* error_class - what kind of trouble a participant met, as it says in ce_sagaerrorclass.
 *
 * It chooses the retry policy of a try that ended without an outcome, and says to people where to look.
 * validation: the command itself is wrong; business: a rule of the business forbids it; external: another
 * party that the participant needs did not do its part; infrastructure: network, disk, database, overload.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_ERROR_CLASS_H
#define SB_SAGA_ERROR_CLASS_H

#include "sagabus/slice.h"

typedef enum sb_error_class {
    SB_CLASS_NONE, /* not said, or a name that we do not know */
    SB_CLASS_VALIDATION,
    SB_CLASS_BUSINESS,
    SB_CLASS_EXTERNAL,
    SB_CLASS_INFRASTRUCTURE,
    SB_CLASS_COUNT
} sb_error_class_t;

const char *sb_error_class_name(sb_error_class_t error_class); /* SB_CLASS_NONE: NULL */
sb_error_class_t sb_error_class_of(sb_slice_t name);

/* Whether the same command may fare better later: not when it is wrong or forbidden. */
bool sb_error_class_passes(sb_error_class_t error_class);

#endif
