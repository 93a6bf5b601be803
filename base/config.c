/* SPDX-License-Identifier: Apache-2.0 */
#include "base/config.h"

#include "base/near.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

const sb_config_row_t sb_config_table[] = {
    {"pg.uri", "host=/var/run/postgresql dbname=sagabus",
     "PostgreSQL: libpq URI or keyword string. Of several hosts the primary is taken, unless it says "
     "`target_session_attrs`",
     true},
    {"kafka.bootstrap", "127.0.0.1:9092", "Kafka brokers, host:port, comma-separated", false},
    {"kafka.prefix", "", "put in front of every topic and group of this installation", false},
    {"http.listen", "127.0.0.1:8088", "address and port of the API; not loopback needs TLS and keys", false},
    {"http.insecure_listen", "false", "allow an address that is not loopback without TLS and keys", false},
    {"http.tls_cert", "", "file of the certificate chain (PEM)", false},
    {"http.tls_key", "", "file of the private key (PEM)", false},
    {"http.body_max_bytes", "1m", "largest request body", false},
    {"http.header_max_bytes", "16k", "largest request head: request line and headers", false},
    {"http.idle_timeout_ms", "60s", "a connection that is silent for so long is closed", false},
    {"http.connections_max", "1024", "clients connected at once, idle ones too; the next one is closed",
     false},
    {"http.wait_max_ms", "60s", "longest wait that a request may ask for", false},
    {"http.workers", "4", "threads that read and append for requests, each with a PostgreSQL connection",
     false},
    {"http.queue_max", "1024", "requests that wait for a worker; the next one is answered 429", false},
    {"http.appenders", "2", "connections by which POST /v1/events appends, many events a transaction", false},
    {"log.level", "info", "debug, info, warn, error or off", false},
    {"schemas.dir", "schemas", "directory of events/, sagas/, views/ and subscriptions/", false},
    {"schemas.apply", "true", "register the files of schemas.dir when serve starts (development)", false},
    {"saga.open_max", "4000", "open sagas of an instance; past it a start is answered 429", false},
    {"saga.resend_per_second", "2000", "sagas a second whose open commands are sent again after a takeover",
     false},
    {"participants.ca_file", "",
     "certificates (PEM) trusted for participants over HTTP, instead of the system's", false},
    {"saga.home_shard", "auto", "the shard that this instance takes first, or auto", false},
    {"topics.manage", "true",
     "create missing topics; false where the cluster is someone else's and has them before anything is sent",
     false},
    {"topics.partitions", "1", "partitions of a topic that we create", false},
    {"topics.accept_partitions", "false", "let the relay go on when a topic's partition count has changed",
     false},
    {"publish.direct", "",
     "categories, comma-separated, that get a topic for direct events: <category>.direct", false},
    {"topics.replication", "1", "replicas of a topic that we create", false},
    {"topics.min_insync_replicas", "", "of a topic that we create; empty: as the cluster has it", false},
    {"topics.retention_ms", "", "how long an events topic that we create keeps records; empty: the cluster's",
     false},
    {"topics.cleanup_policy", "",
     "of an events topic that we create: delete, compact or both; compaction leaves gaps that consumers fill "
     "from the store; empty: the cluster's",
     false},
    {"lease.overdue_ms", "10s", "an owner that has not beaten for so long is replaced", false},
    {"sequencer.tick_ms", "1", "longest pause between two rounds while events arrive", false},
    {"sequencer.idle_ms", "50", "pause between two rounds while none arrive", false},
    {"store.retention_command_ms", "168h", "how long an append is idempotent by its command id", false},
    {"store.allow_unsafe", "false",
     "run on a PostgreSQL with fsync or full_page_writes off: events can be lost", false},
    {"store.seal_ms", "10s", "how long an event may wait for its seal; 0: none are made", false},
    {"views.batch", "1000", "events a view folds in one transaction", false},
    {"endpoints.ca_file", "",
     "certificates (PEM) trusted for endpoints of push subscriptions, instead of the system's", false},
    {"server.url", "http://127.0.0.1:8088", "the server that the command line talks to", false},
    {"server.token", "", "the key that the command line shows the server", true},
    {"server.token_file", "", "a file that holds that key", false},
    {"server.ca_file", "", "certificates (PEM) that the command line trusts, instead of the system's", false},
    {NULL, NULL, NULL, false},
};

const sb_config_row_t sb_config_participant_table[] = {
    {"url", "", "where its commands are sent by POST; empty: it is on Kafka", false},
    {"timeout_ms", "10s", "over HTTP: longest time of one call", false},
    {"token", "", "over HTTP: shown as Authorization: Bearer", true},
    {"secret", "", "over HTTP: commands are signed with it (HMAC-SHA256; docs/contract.md)", true},
    {"concurrency", "", "commands that are out at once; empty: 64 over HTTP, without limit over Kafka",
     false},
    {"critical_percent", "20", "of them, for undos only", false},
    {"rate", "0", "commands a second; 0: no limit", false},
    {"burst", "0", "of them at once after a pause; 0: a second's worth", false},
    {"retry_percent", "",
     "repeats for 100 first tries, ten a second besides; 0: no limit; empty: 20 over HTTP, no limit over "
     "Kafka",
     false},
    {"breaker.failures", "5", "over HTTP: failures in a row that open the circuit breaker", false},
    {"breaker.successes", "3", "successes in a row that close it again", false},
    {"breaker.recovery_ms", "60s", "how long it stays open before it is tried again", false},
    {"breaker.probes", "1", "calls at once while it is tried", false},
    {"wait_ms", "2m", "longest wait of a command for its turn; then it counts as a try that failed", false},
    {"working_ms", "10m", "over HTTP: longest time in which it may say that it is still working", false},
    {NULL, NULL, NULL, false},
};

const sb_config_row_t sb_config_push_table[] = {
    {"url", "", "where its events are sent by POST; a subscription's path follows", false},
    {"secret", "", "requests are signed with it (docs/push.md)", true},
    {"secret_file", "", "a file that holds that secret", false},
    {NULL, NULL, NULL, false},
};

/* Where a name may go on freely after the prefix: librdkafka judges the rest. */
#define FREE_PREFIX "kafka."

/* Settings that each thing of a kind has: PREFIX.NAME.ROW. */
typedef struct group {
    const char *prefix;   /* "push." */
    const char *variable; /* "PUSH_" */
    const sb_config_row_t *table;
    const char *kind; /* "endpoint" */
} group_t;

static const group_t groups[] = {
    {"participant.", "PARTICIPANT_", sb_config_participant_table, "participant"},
    {"push.", "PUSH_", sb_config_push_table, "endpoint"},
};
#define GROUPS (sizeof groups / sizeof groups[0])

/* A second, shorter name in the environment. */
static const struct {
    const char *variable;
    const char *name;
} aliases[] = {{"SAGABUS_PG", "pg.uri"}, {NULL, NULL}};

#define TABLE_ROWS (sizeof sb_config_table / sizeof sb_config_table[0] - 1)

/* Stronger ones are greater. */
typedef enum rank { RANK_DEFAULT, RANK_FILE, RANK_ENVIRONMENT, RANK_FLAG } rank_t;

typedef struct setting {
    char *name; /* NULL for a row of the table */
    char *value;
    char *source;
    rank_t rank;
} setting_t;

struct sb_config {
    setting_t known[TABLE_ROWS];
    setting_t *free;
    size_t free_count;
};

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "configuration: out of memory");
}

sb_code_t sb_config_new(sb_config_t **out, sb_error_t *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? SB_OK : no_memory(err);
}

static void fini_setting(setting_t *setting)
{
    free(setting->name);
    free(setting->value);
    free(setting->source);
}

void sb_config_free(sb_config_t **config)
{
    if (!*config)
        return;
    for (size_t i = 0; i < TABLE_ROWS; i++)
        fini_setting(&(*config)->known[i]);
    for (size_t i = 0; i < (*config)->free_count; i++)
        fini_setting(&(*config)->free[i]);
    free((*config)->free);
    free(*config);
    *config = NULL;
}

/* ---- names ---- */

/* Index in the table, TABLE_ROWS when it is not there. */
static size_t find_row(const char *name)
{
    size_t i = 0;
    while (i < TABLE_ROWS && strcmp(sb_config_table[i].name, name) != 0)
        i++;
    return i;
}

static const group_t *group_of(const char *name)
{
    for (size_t i = 0; i < GROUPS; i++)
        if (strncmp(name, groups[i].prefix, strlen(groups[i].prefix)) == 0)
            return &groups[i];
    return NULL;
}

/* The row of a setting of a group; NULL: there is none of that name. */
static const sb_config_row_t *group_row(const char *name)
{
    const group_t *group = group_of(name);
    const char *who = group ? name + strlen(group->prefix) : NULL;
    const char *dot = who ? strchr(who, '.') : NULL;
    if (!dot || dot == who)
        return NULL;
    for (const char *c = who; c < dot; c++)
        if (!islower((unsigned char)*c) &&
            (c == who || (!isdigit((unsigned char)*c) && *c != '_' && *c != '-')))
            return NULL;
    const sb_config_row_t *row = group->table;
    while (row->name && strcmp(row->name, dot + 1) != 0)
        row++;
    return row->name ? row : NULL;
}

static bool is_free_name(const char *name)
{
    size_t n = sizeof FREE_PREFIX - 1;
    return (strncmp(name, FREE_PREFIX, n) == 0 && name[n] != '\0') || group_row(name);
}

static const setting_t *find_free(const sb_config_t *config, const char *name)
{
    for (size_t i = 0; i < config->free_count; i++)
        if (strcmp(config->free[i].name, name) == 0)
            return &config->free[i];
    return NULL;
}

static sb_code_t unknown_group_name(const group_t *group, const char *name, sb_error_t *err)
{
    sb_near_t near_name = {NULL, 4};
    const char *dot = strchr(name + strlen(group->prefix), '.');
    for (const sb_config_row_t *row = group->table; dot && row->name; row++)
        sb_near_offer(&near_name, dot + 1, row->name);
    if (near_name.word)
        return sb_fail(err, SB_INVALID, "there is no setting %s; did you mean %.*s%s?", name,
                       (int)(dot + 1 - name), name, near_name.word);
    return sb_fail(
        err, SB_INVALID,
        "there is no setting %s; it is %sNAME.SETTING, with the %s's name of a-z 0-9 _ -, see `sagabus help "
        "settings`",
        name, group->prefix, group->kind);
}

static sb_code_t unknown_name(const char *name, sb_error_t *err)
{
    sb_near_t near_name = {NULL, 4};
    if (group_of(name))
        return unknown_group_name(group_of(name), name, err);
    for (size_t i = 0; i < TABLE_ROWS; i++)
        sb_near_offer(&near_name, name, sb_config_table[i].name);
    if (near_name.word)
        return sb_fail(err, SB_INVALID, "there is no setting %s; did you mean %s?", name, near_name.word);
    return sb_fail(err, SB_INVALID, "there is no setting %s", name);
}

/* ---- values ---- */

static bool set_value(setting_t *setting, const char *value, rank_t rank, const char *source)
{
    char *value_copy = strdup(value);
    char *source_copy = strdup(source);
    if (!value_copy || !source_copy) {
        free(value_copy);
        free(source_copy);
        return false;
    }
    free(setting->value);
    free(setting->source);
    setting->value = value_copy;
    setting->source = source_copy;
    setting->rank = rank;
    return true;
}

static setting_t *add_free(sb_config_t *config, const char *name)
{
    setting_t *grown = realloc(config->free, (config->free_count + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    config->free = grown;
    setting_t *setting = &grown[config->free_count];
    *setting = (setting_t){.name = strdup(name)};
    if (!setting->name)
        return NULL;
    config->free_count++;
    return setting;
}

/* A weaker source never replaces a stronger one, whatever the order of loading. */
static sb_code_t put(sb_config_t *config, const char *name, const char *value, rank_t rank,
                     const char *source, sb_error_t *err)
{
    size_t row = find_row(name);
    setting_t *setting;
    if (row < TABLE_ROWS) {
        setting = &config->known[row];
    } else if (is_free_name(name)) {
        setting = (setting_t *)(uintptr_t)find_free(config, name);
        if (!setting)
            setting = add_free(config, name);
        if (!setting)
            return no_memory(err);
    } else {
        return unknown_name(name, err);
    }
    if (setting->value && setting->rank > rank)
        return SB_OK;
    return set_value(setting, value, rank, source) ? SB_OK : no_memory(err);
}

sb_code_t sb_config_set(sb_config_t *config, const char *name, const char *value, sb_error_t *err)
{
    return put(config, name, value, RANK_FLAG, "command line", err);
}

/* ---- file ---- */

static bool is_secret_name(const char *name)
{
    size_t row = find_row(name);
    return (row < TABLE_ROWS && sb_config_table[row].secret) || strstr(name, "password") ||
           strstr(name, "secret") || strstr(name, "token") || strstr(name, "jaas") ||
           (strstr(name, ".pem") && strstr(name, "key"));
}

/* A connection string is only as secret as the password in it. */
static bool holds_secret(const char *name, const char *value)
{
    if (!is_secret_name(name) || value[0] == '\0')
        return false;
    if (strcmp(name, "pg.uri") != 0)
        return true;
    const char *host = strstr(value, "://");
    const char *at = host ? strchr(host, '@') : NULL;
    const char *colon = host ? strchr(host + 3, ':') : NULL;
    return strstr(value, "password") || (at && colon && colon < at);
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    text[n] = '\0';
    return text;
}

static sb_code_t load_line(sb_config_t *config, char *line, const char *where, bool *secret, sb_error_t *err)
{
    char *name = trim(line);
    if (name[0] == '\0' || name[0] == '#')
        return SB_OK;
    char *equals = strchr(name, '=');
    if (!equals)
        return sb_fail(err, SB_INVALID, "%s: expected name=value", where);
    *equals = '\0';
    char *value = trim(equals + 1);
    name = trim(name);
    sb_code_t code = put(config, name, value, RANK_FILE, where, err);
    if (code != SB_OK)
        return sb_context(err, code, "%s", where);
    if (holds_secret(name, value))
        *secret = true;
    return SB_OK;
}

static sb_code_t load_lines(sb_config_t *config, FILE *file, const char *path, bool *secret, sb_error_t *err)
{
    char *line = NULL;
    size_t cap = 0;
    int number = 0;
    sb_code_t code = SB_OK;
    while (code == SB_OK && getline(&line, &cap, file) >= 0) {
        char where[512];
        (void)snprintf(where, sizeof where, "%s:%d", path, ++number);
        code = load_line(config, line, where, secret, err);
    }
    if (code == SB_OK && ferror(file))
        code =
            sb_fail(err, errno == EISDIR ? SB_INVALID : SB_UNAVAILABLE, "read %s: %s", path, strerror(errno));
    free(line);
    return code;
}

sb_code_t sb_config_load_file(sb_config_t *config, const char *path, sb_error_t *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return sb_fail(err, errno == ENOENT ? SB_NOT_FOUND : SB_UNAVAILABLE, "open %s: %s", path,
                       strerror(errno));
    bool secret = false;
    struct stat status;
    sb_code_t code = load_lines(config, file, path, &secret, err);
    if (code == SB_OK && secret && fstat(fileno(file), &status) == 0 && (status.st_mode & S_IROTH))
        code = sb_fail(err, SB_DENIED, "%s holds a password and every user can read it: chmod o-r %s", path,
                       path);
    (void)fclose(file);
    return code;
}

/* ---- environment ---- */

#define VARIABLE_PREFIX "SAGABUS_"

static void variable_of(const char *name, sb_buf_t *out)
{
    sb_buf_reset(out);
    sb_buf_add_text(out, VARIABLE_PREFIX);
    for (; *name; name++)
        sb_buf_add_char(out, *name == '.' ? '_' : (char)toupper((unsigned char)*name));
}

static sb_code_t load_variable(sb_config_t *config, const char *variable, const char *name, sb_error_t *err)
{
    const char *value = getenv(variable);
    if (!value)
        return SB_OK;
    char source[128];
    (void)snprintf(source, sizeof source, "environment %s", variable);
    return put(config, name, value, RANK_ENVIRONMENT, source, err);
}

/* SAGABUS_KAFKA_SASL_PASSWORD is kafka.sasl.password: librdkafka's names have dots only. */
static sb_code_t load_kafka_variable(sb_config_t *config, const char *entry, sb_error_t *err)
{
    static const char prefix[] = VARIABLE_PREFIX "KAFKA_";
    const char *equals = strchr(entry, '=');
    if (strncmp(entry, prefix, sizeof prefix - 1) != 0 || !equals)
        return SB_OK;
    char name[128] = "kafka.";
    char source[160];
    size_t at = strlen(name);
    for (const char *c = entry + sizeof prefix - 1; c < equals && at + 1 < sizeof name; c++)
        name[at++] = *c == '_' ? '.' : (char)tolower((unsigned char)*c);
    name[at] = '\0';
    if (find_row(name) < TABLE_ROWS)
        return SB_OK;
    (void)snprintf(source, sizeof source, "environment %.*s", (int)(equals - entry), entry);
    return put(config, name, equals + 1, RANK_ENVIRONMENT, source, err);
}

/* SAGABUS_PARTICIPANT_PAYMENT_BREAKER_PROBES: the longest row that it ends with counts, the rest names the
 * participant. What ends with no row is refused: a secret that is silently not used is worse than no start.
 */
static sb_code_t load_group_variable(sb_config_t *config, const group_t *group, const char *entry,
                                     sb_error_t *err)
{
    static const char common[] = VARIABLE_PREFIX;
    size_t ahead = sizeof common - 1 + strlen(group->variable);
    const char *equals = strchr(entry, '=');
    if (strncmp(entry, common, sizeof common - 1) != 0 || !equals ||
        strncmp(entry + sizeof common - 1, group->variable, strlen(group->variable)) != 0)
        return SB_OK;
    const char *who = entry + ahead;
    char lower[128] = "", name[192], source[160];
    for (size_t i = 0; who + i < equals && i + 1 < sizeof lower; i++)
        lower[i] = (char)tolower((unsigned char)who[i]);
    const sb_config_row_t *best = NULL;
    size_t length = strlen(lower), best_length = 0;
    for (const sb_config_row_t *row = group->table; row->name; row++) {
        size_t n = strlen(row->name);
        size_t at = length > n + 1 ? length - n : 0;
        bool fits = at > 0 && lower[at - 1] == '_' && n > best_length;
        for (size_t i = 0; fits && i < n; i++)
            fits = lower[at + i] == (row->name[i] == '.' ? '_' : row->name[i]);
        if (fits) {
            best = row;
            best_length = n;
        }
    }
    (void)snprintf(source, sizeof source, "environment %.*s", (int)(equals - entry), entry);
    if (!best)
        return sb_fail(err, SB_INVALID,
                       "%s: it is " VARIABLE_PREFIX "%sNAME_SETTING, see `sagabus help settings`", source,
                       group->variable);
    (void)snprintf(name, sizeof name, "%s%.*s.%s", group->prefix, (int)(length - best_length - 1), lower,
                   best->name);
    return put(config, name, equals + 1, RANK_ENVIRONMENT, source, err);
}

sb_code_t sb_config_load_environment(sb_config_t *config, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    sb_buf_t variable = SB_BUF_INIT;
    for (int i = 0; code == SB_OK && aliases[i].variable; i++)
        code = load_variable(config, aliases[i].variable, aliases[i].name, err);
    for (size_t i = 0; code == SB_OK && i < TABLE_ROWS; i++) { /* the full name comes last, so it wins */
        variable_of(sb_config_table[i].name, &variable);
        code = sb_buf_failed(&variable)
                   ? no_memory(err)
                   : load_variable(config, sb_buf_text(&variable), sb_config_table[i].name, err);
    }
    for (char **entry = environ; code == SB_OK && entry && *entry; entry++) {
        code = load_kafka_variable(config, *entry, err);
        for (size_t i = 0; code == SB_OK && i < GROUPS; i++)
            code = load_group_variable(config, &groups[i], *entry, err);
    }
    sb_buf_fini(&variable);
    return code;
}

/* ---- reading ---- */

const char *sb_config_get(const sb_config_t *config, const char *name)
{
    size_t row = find_row(name);
    if (row < TABLE_ROWS)
        return config->known[row].value ? config->known[row].value : sb_config_table[row].default_value;
    assert(is_free_name(name));
    const setting_t *setting = find_free(config, name);
    const sb_config_row_t *own = group_row(name);
    return setting && setting->value ? setting->value : own ? own->default_value : "";
}

const char *sb_config_source(const sb_config_t *config, const char *name)
{
    size_t row = find_row(name);
    const setting_t *setting = row < TABLE_ROWS ? &config->known[row] : find_free(config, name);
    return setting && setting->source ? setting->source : "default";
}

bool sb_config_is_secret(const char *name)
{
    return is_secret_name(name);
}

static sb_code_t bad_value(const sb_config_t *config, const char *name, const char *expected, sb_error_t *err)
{
    bool secret = is_secret_name(name);
    return sb_fail(err, SB_INVALID, "%s = \"%s\" (%s): expected %s", name,
                   secret ? "***" : sb_config_get(config, name), sb_config_source(config, name), expected);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* What one of the unit is worth; 0 when the name takes no such unit. */
static int64_t unit_factor(const char *name, const char *unit)
{
    if (unit[0] == '\0')
        return 1;
    if (ends_with(name, "_ms")) {
        if (strcmp(unit, "ms") == 0)
            return 1;
        if (strcmp(unit, "s") == 0)
            return 1000;
        if (strcmp(unit, "m") == 0)
            return 60000;
        return strcmp(unit, "h") == 0 ? 3600000 : 0;
    }
    if (ends_with(name, "_bytes")) {
        if (strcasecmp(unit, "k") == 0)
            return 1024;
        return strcasecmp(unit, "m") == 0 ? 1024 * 1024 : 0;
    }
    return 0;
}

sb_code_t sb_config_get_int(const sb_config_t *config, const char *name, int64_t low, int64_t high,
                            int64_t *out, sb_error_t *err)
{
    const char *text = sb_config_get(config, name);
    char expected[96];
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    int64_t factor = unit_factor(name, end);
    int64_t value;
    if (end == text || errno == ERANGE || factor == 0 || isspace((unsigned char)text[0]) ||
        __builtin_mul_overflow((int64_t)number, factor, &value))
        return bad_value(config, name,
                         ends_with(name, "_ms")      ? "a time: a number with ms, s, m or h"
                         : ends_with(name, "_bytes") ? "a size: a number, with k or m"
                                                     : "a whole number",
                         err);
    if (value < low || value > high) {
        (void)snprintf(expected, sizeof expected, "%lld to %lld", (long long)low, (long long)high);
        return bad_value(config, name, expected, err);
    }
    *out = value;
    return SB_OK;
}

sb_code_t sb_config_get_bool(const sb_config_t *config, const char *name, bool *out, sb_error_t *err)
{
    static const char *const words[2][4] = {{"false", "no", "off", "0"}, {"true", "yes", "on", "1"}};
    const char *text = sb_config_get(config, name);
    for (int truth = 0; truth < 2; truth++) {
        for (int i = 0; i < 4; i++) {
            if (strcasecmp(text, words[truth][i]) == 0) {
                *out = truth == 1;
                return SB_OK;
            }
        }
    }
    return bad_value(config, name, "true or false", err);
}

sb_code_t sb_config_each(const sb_config_t *config, const char *prefix, sb_config_visit_fn visit,
                         void *context, sb_error_t *err)
{
    size_t n = strlen(prefix);
    sb_code_t code = SB_OK;
    for (size_t i = 0; code == SB_OK && i < config->free_count; i++) {
        const setting_t *setting = &config->free[i];
        if (setting->value && strncmp(setting->name, prefix, n) == 0)
            code = visit(context, setting->name + n, setting->value, err);
    }
    return code;
}

sb_code_t sb_config_each_kafka(const sb_config_t *config, sb_config_visit_fn visit, void *context,
                               sb_error_t *err)
{
    return sb_config_each(config, "kafka.", visit, context, err);
}
