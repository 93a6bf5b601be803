/* Commands about this binary: version, help, completion, the reference pages.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/topics.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "sagabus/version.h"
#include "server/openapi.h"

#include <openssl/crypto.h>

/* Prints what was written and frees it. */
static sb_code_t print_text(sb_cli_t *cli, sb_buf_t *text, sb_error_t *err)
{
    bool failed = sb_buf_failed(text);
    if (!failed)
        sb_output_text(&cli->out, sb_buf_slice(text));
    sb_buf_fini(text);
    return failed ? sb_fail(err, SB_NO_MEMORY, "out of memory") : SB_OK;
}

sb_code_t sb_cmd_openapi(sb_cli_t *cli, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    json_t *document = NULL;
    sb_openapi_write(&text);
    sb_code_t code = sb_buf_failed(&text)
                         ? sb_fail(err, SB_NO_MEMORY, "out of memory")
                         : sb_json_parse(&document, sb_buf_slice(&text), "the OpenAPI document", err);
    if (code == SB_OK)
        sb_output_json(&cli->out, document);
    json_decref(document);
    sb_buf_fini(&text);
    return code;
}

sb_code_t sb_cmd_completion(sb_cli_t *cli, sb_error_t *err)
{
    if (strcmp(cli->argument[0], "bash") != 0)
        return sb_fail(err, SB_UNSUPPORTED, "completion %s: there is one for bash", cli->argument[0]);
    sb_buf_t text = SB_BUF_INIT;
    sb_cli_completion_bash(&text);
    return print_text(cli, &text, err);
}

sb_code_t sb_cmd_reference(sb_cli_t *cli, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    if (strcmp(cli->argument[0], "cli") == 0)
        sb_cli_reference(&text);
    else if (strcmp(cli->argument[0], "settings") == 0)
        sb_cli_reference_settings(&text);
    else
        return sb_fail(err, SB_NOT_FOUND, "reference %s: there are cli and settings", cli->argument[0]);
    return print_text(cli, &text, err);
}

sb_code_t sb_cmd_help(sb_cli_t *cli, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    const char *noun = cli->argument_count > 0 ? cli->argument[0] : NULL;
    const char *verb = cli->argument_count > 1 ? cli->argument[1] : NULL;
    if (!sb_cli_help(noun, verb, &text)) {
        sb_buf_fini(&text);
        return sb_fail(err, SB_NOT_FOUND, "there is no command %s%s%s", noun, verb ? " " : "",
                       verb ? verb : "");
    }
    return print_text(cli, &text, err);
}

sb_code_t sb_cmd_version(sb_cli_t *cli, sb_error_t *err)
{
    json_t *version =
        json_pack("{s:s, s:s, s:s, s:s}", "sagabus", SB_VERSION, "librdkafka", sb_kafka_library(), "jansson",
                  JANSSON_VERSION, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
    if (!version)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    sb_output_object(&cli->out, version);
    json_decref(version);
    return SB_OK;
}
