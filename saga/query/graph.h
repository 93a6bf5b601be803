/* graph - draws a saga's definition.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_GRAPH_H
#define SB_SAGA_GRAPH_H

#include "saga/definition.h"

/* Appends a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html): steps with their participants,
 * those of a group side by side, conditions, the pivot, and the undos in their order. */
void sb_definition_graph(const sb_definition_t *definition, sb_buf_t *out);

#endif
