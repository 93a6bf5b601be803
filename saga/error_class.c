/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/error_class.h"

static const char *const names[SB_CLASS_COUNT] = {[SB_CLASS_VALIDATION] = "validation",
                                                  [SB_CLASS_BUSINESS] = "business",
                                                  [SB_CLASS_EXTERNAL] = "external",
                                                  [SB_CLASS_INFRASTRUCTURE] = "infrastructure"};

const char *sb_error_class_name(sb_error_class_t error_class)
{
    return names[error_class];
}

sb_error_class_t sb_error_class_of(sb_slice_t name)
{
    for (int i = SB_CLASS_NONE + 1; i < SB_CLASS_COUNT; i++)
        if (sb_slice_is(name, names[i]))
            return (sb_error_class_t)i;
    return SB_CLASS_NONE;
}

bool sb_error_class_passes(sb_error_class_t error_class)
{
    return error_class != SB_CLASS_VALIDATION && error_class != SB_CLASS_BUSINESS;
}
