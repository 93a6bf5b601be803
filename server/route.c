/* SPDX-License-Identifier: Apache-2.0 */
#include "server/route.h"

#include <stdio.h>
#include <stdlib.h>

/* Matches path against a pattern, segment by segment; {…} takes one non-empty segment, the last one the rest
 * of the path when its name ends in "+". */
static bool match(const char *pattern, const char *path, sb_slice_t *params)
{
    int count = 0;
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        const char *end = strchr(pattern, '}');
        bool rest = end[-1] == '+';
        size_t length = rest ? strlen(path) : strcspn(path, "/");
        if (length == 0 || count == SB_PARAM_MAX)
            return false;
        params[count++] = (sb_slice_t){path, length};
        path += length;
        pattern = end + 1;
    }
    return *path == '\0';
}

static void allow(sb_request_t *request, const char *method)
{
    size_t at = strlen(request->allow);
    (void)snprintf(request->allow + at, sizeof request->allow - at, "%s%s", at ? ", " : "", method);
}

bool sb_route_find(sb_request_t *request)
{
    const char *method = request->head_only ? "GET" : request->method;
    for (const sb_route_t *route = sb_routes; route->method; route++) {
        sb_slice_t params[SB_PARAM_MAX] = {{NULL, 0}};
        if (!match(route->pattern, request->path, params))
            continue;
        if (strcmp(route->method, method) != 0) {
            allow(request, route->method);
            continue;
        }
        request->route = route;
        memcpy(request->param, params, sizeof params);
        return true;
    }
    return false;
}
