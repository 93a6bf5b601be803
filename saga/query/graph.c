/* A definition as a Mermaid flowchart: the way forward in solid lines, the way back in dotted ones.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/graph.h"

/* Text inside a quoted label. Mermaid reads #…; as a character reference. */
static void add_label(sb_buf_t *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"')
            sb_buf_add_text(out, "#quot;");
        else if (*text == '#')
            sb_buf_add_text(out, "#35;");
        else if (*text == '<')
            sb_buf_add_text(out, "#lt;");
        else if (*text == '>')
            sb_buf_add_text(out, "#gt;");
        else
            sb_buf_add_char(out, *text);
    }
}

static void add_step(sb_buf_t *out, const sb_step_definition_t *step, int index, const char *indent)
{
    const char *open = step->pivot ? "{{" : step->child ? "[[" : "[";
    const char *close = step->pivot ? "}}" : step->child ? "]]" : "]";
    sb_buf_printf(out, "%ss%d%s\"", indent, index, open);
    add_label(out, step->title ? step->title : step->name);
    sb_buf_add_text(out, "<br>");
    add_label(out, step->participant);
    sb_buf_add_char(out, step->child ? ' ' : '.');
    add_label(out, step->action);
    if (step->pivot)
        sb_buf_add_text(out, "<br>point of no return");
    if (step->fallback)
        sb_buf_add_text(out, "<br>or its fallback");
    sb_buf_printf(out, "\"%s\n", close);
}

/* The end of the run of steps that go side by side with the first. */
static int group_end(const sb_definition_t *definition, int first)
{
    int group = definition->step[first].group;
    int end = first + 1;
    while (group >= 0 && end < definition->step_count && definition->step[end].group == group)
        end++;
    return end;
}

static void add_nodes(sb_buf_t *out, const sb_definition_t *definition)
{
    for (int first = 0, end; first < definition->step_count; first = end) {
        end = group_end(definition, first);
        bool together = end - first > 1;
        if (together)
            sb_buf_printf(out, "    subgraph g%d[\"side by side\"]\n", first);
        for (int i = first; i < end; i++)
            add_step(out, &definition->step[i], i, together ? "        " : "    ");
        if (together)
            sb_buf_add_text(out, "    end\n");
    }
}

static void add_arrow(sb_buf_t *out, const char *from, const char *to, const sb_step_definition_t *step)
{
    sb_buf_printf(out, "    %s -->%s %s\n", from, step && step->when ? "|when|" : "", to);
}

static void name_node(char name[16], int index)
{
    (void)snprintf(name, 16, "s%d", index);
}

static void add_way_forward(sb_buf_t *out, const sb_definition_t *definition)
{
    int before = -1; /* the group that ends where this one begins */
    int before_end = 0;
    for (int first = 0, end; first < definition->step_count; first = end) {
        end = group_end(definition, first);
        for (int i = first; i < end; i++) {
            char from[16], to[16];
            name_node(to, i);
            if (before < 0)
                add_arrow(out, "start", to, &definition->step[i]);
            for (int b = before; b >= 0 && b < before_end; b++) {
                name_node(from, b);
                add_arrow(out, from, to, &definition->step[i]);
            }
        }
        before = first;
        before_end = end;
    }
    for (int b = before; b < before_end; b++) {
        char from[16];
        name_node(from, b);
        add_arrow(out, from, "done", NULL);
    }
}

/* From each step that can be undone to the one that is undone after it. */
static void add_way_back(sb_buf_t *out, const sb_definition_t *definition)
{
    int later = -1;
    for (int i = definition->step_count - 1; i >= 0; i--) {
        const sb_step_definition_t *step = &definition->step[i];
        if (!step->compensation)
            continue;
        sb_buf_printf(out, "    u%d([\"", i);
        add_label(out, step->child ? step->compensation : step->participant);
        sb_buf_add_char(out, step->child ? ' ' : '.');
        add_label(out, step->child ? step->child : step->compensation);
        sb_buf_printf(out, "\"]):::undo\n    s%d -. undo .-> u%d\n", i, i);
        if (later >= 0)
            sb_buf_printf(out, "    u%d -.-> u%d\n", later, i);
        later = i;
    }
    if (later >= 0)
        sb_buf_printf(out,
                      "    u%d -.-> undone\n    undone([compensated]):::undo\n"
                      "    classDef undo stroke-dasharray: 4 3\n",
                      later);
}

void sb_definition_graph(const sb_definition_t *definition, sb_buf_t *out)
{
    sb_buf_add_text(out, "flowchart TD\n    start([started])\n");
    add_nodes(out, definition);
    sb_buf_add_text(out, "    done([completed])\n");
    add_way_forward(out, definition);
    add_way_back(out, definition);
}
