/* participant list: how it stands with the participants of sagas, over HTTP.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "cli/remote.h"

sb_code_t sb_cmd_participant_list(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {{"NAME", "/name"},
                                          {"VIA", "/transport"},
                                          {"BREAKER", "/breaker"},
                                          {"HELD BY", "/held_by"},
                                          {"UNTIL", "/held_until"},
                                          {"WAITING", "/waiting"},
                                          {"OUT", "/out"},
                                          {"SENT", "/sent"},
                                          {"REPEATS", "/repeats"},
                                          {"ERRORS", "/errors"},
                                          {"REFUSED", "/refused"},
                                          {"LAST ERROR", "/error"},
                                          {NULL, NULL}};
    sb_remote_t *remote = NULL;
    json_t *page = NULL;
    sb_code_t code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = sb_remote_get(remote, "/v1/participants", &page, err);
    if (code == SB_OK)
        sb_output_items(&cli->out, json_object_get(page, "items"), columns);
    json_decref(page);
    sb_remote_close(&remote);
    return code;
}
