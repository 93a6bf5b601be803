/* SPDX-License-Identifier: Apache-2.0 */
#include "events/saga_types.h"

static const struct {
    const char *type;
    bool is_public;
} types[] = {
#define SB_ROW(kind, type, is_public) {type, is_public},
    SB_SAGA_EVENT_MAP(SB_ROW)
#undef SB_ROW
};

#define TYPES (sizeof types / sizeof types[0])

const char *sb_saga_public_type(size_t number)
{
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].is_public && number-- == 0)
            return types[i].type;
    return NULL;
}

bool sb_saga_type_is_public(sb_slice_t type)
{
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].is_public && sb_slice_is(type, types[i].type))
            return true;
    return false;
}
