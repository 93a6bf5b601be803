/* openapi - the OpenAPI 3.1 document, written from the route table.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_OPENAPI_H
#define SB_SERVER_OPENAPI_H

#include "base/buf.h"

void sb_openapi_write(sb_buf_t *out);

#endif
