/* config - settings by name: flag > environment > properties file > default.
 *
 * `http.listen` is --http-listen on the command line, SAGABUS_HTTP_LISTEN in the environment and
 * `http.listen=` in sagabus.properties. Every setting has one row in the table of config.c (name, default,
 * meaning), from which help and docs/configuration.md grow; an unknown name in the file is refused with a
 * near match. Keys that begin with `kafka.` pass to librdkafka without the prefix, but for `kafka.prefix` and
 * `kafka.bootstrap`. `participant.<name>.<row>` is a setting of one participant of sagas; the rows have a
 * table of their own, and are SAGABUS_PARTICIPANT_<NAME>_<ROW> in the environment (for names without a dash);
 * likewise `push.<endpoint>.<row>`.
 * SAGABUS_PG is short for SAGABUS_PG_URI. The order of loading does not matter.
 *
 * Thread: read-only after loading.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_CONFIG_H
#define SB_BASE_CONFIG_H

#include "base/buf.h"

#include <stdint.h>

typedef struct sb_config sb_config_t;

typedef struct sb_config_row {
    const char *name;
    const char *default_value; /* "" for none */
    const char *meaning;
    bool secret; /* shown as *** */
} sb_config_row_t;

/* All known settings, ended by a row with name NULL. */
extern const sb_config_row_t sb_config_table[];
/* The settings of each participant, by the name behind `participant.<name>.`; ended likewise. */
extern const sb_config_row_t sb_config_participant_table[];
/* Those of each endpoint of push subscriptions, by the name behind `push.<endpoint>.`. */
extern const sb_config_row_t sb_config_push_table[];

SB_MUST_CHECK sb_code_t sb_config_new(sb_config_t **out, sb_error_t *err);
void sb_config_free(sb_config_t **config);

/* Reads a properties file (name=value, # comments). A missing file is SB_NOT_FOUND. A file that holds secrets
 * and is readable by others is refused. */
SB_MUST_CHECK sb_code_t sb_config_load_file(sb_config_t *config, const char *path, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_config_load_environment(sb_config_t *config, sb_error_t *err);
/* By flag: the strongest. SB_INVALID for a name that is not in the table, with a near match. */
SB_MUST_CHECK sb_code_t sb_config_set(sb_config_t *config, const char *name, const char *value,
                                      sb_error_t *err);

/* The value in force; never NULL. The name must be in the table (assert) or have a free prefix. Borrowed. */
const char *sb_config_get(const sb_config_t *config, const char *name);
/* Where it comes from: "default", "sagabus.properties:12", "environment SAGABUS_PG", "command line". */
const char *sb_config_source(const sb_config_t *config, const char *name);
/* Whether the value must be shown as ***; also knows kafka.sasl.password and its like. */
bool sb_config_is_secret(const char *name);
/* As a number with bounds; SB_INVALID names the setting, its value and where it came from. Accepts the units
 * ms, s, m, h for times when the name ends in _ms, and k, m for bytes when it ends in _bytes. */
SB_MUST_CHECK sb_code_t sb_config_get_int(const sb_config_t *config, const char *name, int64_t low,
                                          int64_t high, int64_t *out, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_config_get_bool(const sb_config_t *config, const char *name, bool *out,
                                           sb_error_t *err);

/* Calls visit for every setting that was given under a free prefix ("participant."), without the prefix. */
typedef sb_code_t (*sb_config_visit_fn)(void *context, const char *name, const char *value, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_config_each(const sb_config_t *config, const char *prefix,
                                       sb_config_visit_fn visit, void *context, sb_error_t *err);
/* The `kafka.*` settings that are librdkafka's. */
SB_MUST_CHECK sb_code_t sb_config_each_kafka(const sb_config_t *config, sb_config_visit_fn visit,
                                             void *context, sb_error_t *err);

#endif
