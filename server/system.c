/* livez, readyz, metrics, openapi, version.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "sagabus/version.h"
#include "server/handlers.h"
#include "server/openapi.h"

void sb_get_livez(sb_engine_t *engine, sb_request_t *request)
{
    (void)engine;
    request->answer_type = "text/plain; charset=utf-8";
    sb_buf_add_text(&request->out, "ok\n");
    sb_http_done(request);
}

void sb_get_readyz(sb_engine_t *engine, sb_request_t *request)
{
    sb_check_t check[SB_CHECKS_MAX];
    int count = 0;
    bool ready = sb_engine_is_ready(engine, check, &count);
    bool verbose = sb_request_query(request, "verbose") != NULL;
    request->answer_type = "text/plain; charset=utf-8";
    request->status = ready ? 200 : 503;
    if (!ready)
        request->retry_after_s = 1;
    for (int i = 0; i < count; i++)
        if (verbose || !check[i].ok)
            sb_buf_printf(&request->out, "[%s] %s%s%s\n", check[i].ok ? "+" : "-", check[i].name,
                          check[i].ok ? " ok" : ": ", check[i].why);
    if (atomic_load(&engine->draining))
        sb_buf_add_text(&request->out, "[-] stopping\n");
    else if (!atomic_load(&engine->running))
        sb_buf_add_text(&request->out, "[-] starting\n");
    sb_buf_printf(&request->out, "%s\n", ready ? "ready" : "not ready");
    sb_http_done(request);
}

void sb_get_metrics(sb_engine_t *engine, sb_request_t *request)
{
    request->answer_type = "text/plain; version=0.0.4; charset=utf-8";
    sb_metrics_write(engine, &request->out);
    sb_http_done(request);
}

void sb_get_openapi(sb_engine_t *engine, sb_request_t *request)
{
    (void)engine;
    sb_openapi_write(&request->out);
    sb_http_done(request);
}

void sb_get_version(sb_engine_t *engine, sb_request_t *request)
{
    char started[SB_TIME_TEXT];
    sb_buf_printf(&request->out, "{\"version\":\"%s\",\"instance\":", SB_VERSION);
    sb_buf_add_json(&request->out, sb_slice(engine->owner));
    sb_buf_printf(&request->out, ",\"started_at\":\"%s\"}\n", sb_time_format(engine->started_us, started));
    sb_http_done(request);
}
