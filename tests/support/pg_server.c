/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/pg_server.h"

#include "migrations/list.h"
#include "tests/support/assert.h"
#include "tests/support/process.h"
#include "tests/support/skip.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_SIZE   256
#define START_MS    60000
#define DIR_PREFIX  "sagabus-pg-"
#define ROOM_BYTES  ((int64_t)6 << 30)
#define SUPERUSER   "postgres"
#define MAINTENANCE "postgres"

/* Names of sockets in the server's own directory: nobody else can have taken them when it starts again. */
#define PORT          5432
#define RESTORED_PORT 5433

#define IN_MEMORY "/dev/shm"
#define ON_DISK   "/tmp"

static struct {
    bool ready;
    bool external;
    bool hasty; /* without fsync */
    bool has_template;
    int count;   /* of databases made */
    pid_t owner; /* a fork of the test must not stop its parent's server */
    sb_test_process_t process;
    bool archives;              /* its WAL */
    sb_test_process_t restored; /* the second server */
    char bin[PATH_SIZE];
    char dir[PATH_SIZE / 2];
    char template_name[64];
} server;

/* ---- where and as whom ---- */

static bool has_binaries(const char *directory)
{
    char path[PATH_SIZE + 16];
    (void)snprintf(path, sizeof path, "%s/initdb", directory);
    return access(path, X_OK) == 0;
}

static bool find_by_pg_config(char bin[PATH_SIZE])
{
    FILE *out = popen("pg_config --bindir 2>/dev/null", "r");
    bool got = out && fgets(bin, PATH_SIZE, out);
    if (out)
        (void)pclose(out);
    if (got)
        bin[strcspn(bin, "\n")] = '\0';
    return got && has_binaries(bin);
}

static bool find_installed(char bin[PATH_SIZE])
{
    glob_t found;
    bool got = false;
    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0) {
        for (size_t i = found.gl_pathc; i > 0 && !got; i--) { /* the newest sorts last */
            (void)snprintf(bin, PATH_SIZE, "%s", found.gl_pathv[i - 1]);
            got = has_binaries(bin);
        }
        globfree(&found);
    }
    return got;
}

static void find_binaries(void)
{
    const char *given = getenv("SB_TEST_PG_BIN");
    if (given && given[0]) {
        (void)snprintf(server.bin, sizeof server.bin, "%s", given);
        if (!has_binaries(given))
            sb_test_skip("pg", "no initdb in SB_TEST_PG_BIN=%s", given);
        return;
    }
    if (!find_by_pg_config(server.bin) && !find_installed(server.bin))
        sb_test_skip("pg", "no PostgreSQL server binaries (Debian: postgresql) and no SB_TEST_PG_URI");
}

/* PostgreSQL refuses to run as root. */
static const struct passwd *server_user(void)
{
    if (geteuid() != 0)
        return NULL;
    const struct passwd *user = getpwnam("postgres");
    return user ? user : getpwnam("nobody");
}

static void give_to_user(const char *path)
{
    const struct passwd *user = server_user();
    if (user && chown(path, user->pw_uid, user->pw_gid) != 0)
        fail_msg("chown %s: %s", path, strerror(errno));
}

/* Starts a server program as that user, in the private directory, output appended to its log. */
static pid_t start_program(const char *const *argv, int death_signal)
{
    const struct passwd *user = server_user();
    pid_t parent = getpid();
    char log[PATH_SIZE];
    (void)snprintf(log, sizeof log, "%s/log", server.dir);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (user && (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    (void)prctl(PR_SET_PDEATHSIG, death_signal); /* after setuid, which would forget it */
    if (getppid() != parent || chdir(server.dir) != 0)
        _exit(126);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0)
        _exit(126);
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    (void)setsid(); /* a Ctrl-C at the terminal ends the test, which ends the server */
    (void)execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void print_log(void)
{
    sb_test_process_t log = {.pid = 0};
    (void)snprintf(log.output, sizeof log.output, "%s/log", server.dir);
    char *text = sb_test_output(&log);
    if (text)
        print_error("%s\n", text);
    free(text);
}

/* ---- the directory ---- */

static void remove_if_orphan(const char *parent, const char *name)
{
    char path[PATH_SIZE * 2];
    int pid = 0;
    (void)snprintf(path, sizeof path, "%s/%s/owner", parent, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    bool got = fscanf(file, "%d", &pid) == 1;
    (void)fclose(file);
    if (!got || pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH)
        return;
    path[strlen(path) - strlen("/owner")] = '\0';
    sb_test_remove_tree(path);
}

static void remove_orphans(const char *parent)
{
    DIR *place = opendir(parent);
    struct dirent *entry;
    while (place && (entry = readdir(place)) != NULL)
        if (strncmp(entry->d_name, DIR_PREFIX, strlen(DIR_PREFIX)) == 0)
            remove_if_orphan(parent, entry->d_name);
    if (place)
        (void)closedir(place);
}

/* The number behind a word in a file of the kernel's, INT64_MAX when there is none ("max", no such file). */
static int64_t kernel_number(const char *path, const char *word)
{
    char line[PATH_SIZE];
    int64_t number = INT64_MAX;
    FILE *file = fopen(path, "re");
    while (file && number == INT64_MAX && fgets(line, sizeof line, file)) {
        char *end;
        const char *digits = line + strlen(word);
        if (strncmp(line, word, strlen(word)) != 0)
            continue;
        long long got = strtoll(digits, &end, 10);
        if (end != digits)
            number = got;
    }
    if (file)
        (void)fclose(file);
    return number;
}

static bool below_ceiling(const char *ceiling_path, const char *used_path)
{
    int64_t ceiling = kernel_number(ceiling_path, "");
    int64_t used = kernel_number(used_path, "");
    return ceiling == INT64_MAX || (used != INT64_MAX && ceiling - used >= ROOM_BYTES);
}

/* Memory is a disk that no other test, build or machine makes slow: what a commit or a recovery waits for is
 * then the test's own. To a process that is killed the two are the same. Only where there is plenty of it,
 * also for a container, and not in the long forms, which fill gigabytes. */
static const char *place_of_data(void)
{
    struct statvfs shm;
    int64_t free_kib = kernel_number("/proc/meminfo", "MemAvailable:");
    if (getenv("SB_TEST_LONG") || access(IN_MEMORY, W_OK) != 0 || statvfs(IN_MEMORY, &shm) != 0 ||
        (int64_t)(shm.f_bavail * shm.f_frsize) < ROOM_BYTES || free_kib == INT64_MAX ||
        free_kib < ROOM_BYTES / 1024)
        return ON_DISK;
    return below_ceiling("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current") &&
                   below_ceiling("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                 "/sys/fs/cgroup/memory/memory.usage_in_bytes")
               ? IN_MEMORY
               : ON_DISK;
}

static void make_directory(void)
{
    (void)snprintf(server.dir, sizeof server.dir, "%s/" DIR_PREFIX "XXXXXX", place_of_data());
    if (!mkdtemp(server.dir))
        fail_msg("mkdtemp %s: %s", server.dir, strerror(errno));
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/owner", server.dir);
    FILE *file = fopen(path, "we");
    if (file) {
        (void)fprintf(file, "%d\n", (int)getpid());
        (void)fclose(file);
    }
    give_to_user(server.dir);
}

static void copy_tree(const char *from, const char *to)
{
    const char *const argv[] = {"cp", "-a", "--reflink=auto", from, to, NULL};
    if (sb_test_run(argv, START_MS) != 0)
        fail_msg("cp -a %s %s failed", from, to);
}

static void run_initdb(void)
{
    char program[PATH_SIZE + 16];
    char data[PATH_SIZE];
    (void)snprintf(program, sizeof program, "%s/initdb", server.bin);
    (void)snprintf(data, sizeof data, "%s/data", server.dir);
    const char *const argv[] = {program,     "-D", data,   "-A",         "trust",           "-U", SUPERUSER,
                                "--no-sync", "-E", "UTF8", "--locale=C", "--wal-segsize=1", NULL};
    sb_test_process_t process = {.pid = start_program(argv, SIGKILL)};
    if (!sb_test_wait(&process, START_MS) || process.exit_code != 0) {
        print_log();
        fail_msg("initdb failed");
    }
}

/* The cluster is made once a build directory and version of the binaries, then copied. */
static void make_data(void)
{
    char cache[PATH_SIZE * 2];
    char fresh[PATH_SIZE * 2 + 32];
    char lock_path[PATH_SIZE * 2 + 8];
    char data[PATH_SIZE];
    size_t n = (size_t)snprintf(cache, sizeof cache, "%s/pg-template-u%d", SB_TEST_BUILD_DIR, (int)geteuid());
    for (const char *c = server.bin; *c && n + 1 < sizeof cache; c++)
        cache[n++] = *c == '/' ? '_' : *c;
    cache[n] = '\0';
    (void)snprintf(data, sizeof data, "%s/data", server.dir);
    (void)snprintf(lock_path, sizeof lock_path, "%s.lock", cache);
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock >= 0)
        (void)flock(lock, LOCK_EX);
    if (access(cache, F_OK) != 0) {
        run_initdb();
        (void)snprintf(fresh, sizeof fresh, "%s.%d", cache, (int)getpid());
        copy_tree(data, fresh);
        if (rename(fresh, cache) != 0)
            fail_msg("rename %s: %s", fresh, strerror(errno));
    } else {
        copy_tree(cache, data);
    }
    if (lock >= 0)
        (void)close(lock);
}

/* ---- running ---- */

static char *uri_of(const char *database, char uri[SB_TEST_URI])
{
    const char *external = getenv("SB_TEST_PG_URI");
    if (!server.external || !external)
        (void)snprintf(uri, SB_TEST_URI, "host=%s port=%d user=%s dbname=%s", server.dir, PORT, SUPERUSER,
                       database);
    else if (strstr(external, "://"))
        (void)snprintf(uri, SB_TEST_URI, "%s%cdbname=%s", external, strchr(external, '?') ? '&' : '?',
                       database);
    else
        (void)snprintf(uri, SB_TEST_URI, "%s dbname=%s", external, database);
    return uri;
}

static bool answers(void)
{
    char uri[SB_TEST_URI];
    (void)uri_of(MAINTENANCE, uri);
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = uri};
    bool up = sb_pg_open(&pg, &config, NULL) == SB_OK;
    sb_pg_close(&pg);
    return up;
}

/* Starts postgres over a directory of data; more: settings of this start, ended by NULL. */
static sb_test_process_t start_postgres(const char *data_name, int number, const char *const *more)
{
    char program[PATH_SIZE + 16];
    char data[PATH_SIZE];
    char port[48];
    char socket_dir[PATH_SIZE + 32];
    (void)snprintf(program, sizeof program, "%s/postgres", server.bin);
    (void)snprintf(data, sizeof data, "%s/%s", server.dir, data_name);
    (void)snprintf(port, sizeof port, "port=%d", number);
    (void)snprintf(socket_dir, sizeof socket_dir, "unix_socket_directories=%s", server.dir);
    const char *const settings[] = {port, socket_dir, "listen_addresses=", "max_connections=200",
                                    "shared_buffers=32MB", server.hasty ? "fsync=off" : "fsync=on",
                                    /* file by file a recovery takes up to a minute beside other tests */
                                    "recovery_init_sync_method=syncfs", "max_wal_size=256MB",
                                    "log_line_prefix=%m [%p] %a "};
    const char *argv[48] = {program, "-D", data};
    size_t n = 3;
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        argv[n++] = "-c";
        argv[n++] = settings[i];
    }
    for (size_t i = 0; more[i]; i++) {
        argv[n++] = "-c";
        argv[n++] = more[i];
    }
    argv[n] = NULL;
    return (sb_test_process_t){.pid = start_program(argv, SIGQUIT)};
}

/* Starts the server and waits until it answers. False: it ended (an old backend still holds the data). */
static bool run_postgres(void)
{
    const char *const more[] = {server.archives ? "archive_mode=on" : NULL, NULL};
    server.process = start_postgres("data", PORT, more);
    int64_t until = sb_test_mono_ms() + START_MS;
    while (sb_test_mono_ms() < until) {
        if (sb_test_wait(&server.process, 0))
            return false;
        if (answers())
            return true;
        sb_test_sleep_ms(10);
    }
    print_log();
    fail_msg("PostgreSQL does not answer after %d s", START_MS / 1000);
    return false;
}

static void stop_at_exit(void)
{
    if (server.owner == getpid())
        (void)sb_test_pg_stop(NULL);
}

static void start_private(void)
{
    find_binaries();
    remove_orphans(ON_DISK);
    remove_orphans(IN_MEMORY);
    make_directory();
    (void)atexit(stop_at_exit);
    make_data();
    if (run_postgres())
        return;
    print_log();
    fail_msg("PostgreSQL does not start");
}

int sb_test_pg_start(void **state)
{
    (void)state;
    if (server.ready)
        return 0;
    const char *external = getenv("SB_TEST_PG_URI");
    server.owner = getpid();
    server.external = external && external[0];
    if (!server.external)
        start_private();
    else if (!answers())
        sb_test_skip("pg", "SB_TEST_PG_URI does not answer");
    else
        (void)atexit(stop_at_exit);
    server.ready = true;
    return 0;
}

int sb_test_pg_start_hasty(void **state)
{
    server.hasty = true;
    return sb_test_pg_start(state);
}

static void signal_and_wait(int signal)
{
    sb_test_signal(&server.process, signal);
    if (!sb_test_wait(&server.process, 30000)) {
        sb_test_signal(&server.process, SIGKILL);
        (void)sb_test_wait(&server.process, 60000);
    }
}

static void drop_databases(void)
{
    char uri[SB_TEST_URI];
    char sql[160];
    (void)uri_of(MAINTENANCE, uri);
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = uri};
    if (sb_pg_open(&pg, &config, NULL) != SB_OK)
        return;
    for (int i = 0; i <= server.count; i++) {
        (void)snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS sbt_%d_%d WITH (FORCE)", (int)getpid(), i);
        sb_code_t ignored = sb_pg_script(pg, sql, NULL);
        (void)ignored;
    }
    sb_pg_close(&pg);
}

static void end_restored(void)
{
    if (server.restored.pid <= 0)
        return;
    sb_test_signal(&server.restored, SIGQUIT);
    (void)sb_test_wait(&server.restored, 30000);
    sb_test_process_end(&server.restored);
}

int sb_test_pg_stop(void **state)
{
    (void)state;
    if (server.external && server.ready)
        drop_databases();
    if (server.process.pid > 0)
        signal_and_wait(SIGQUIT); /* nothing in it is worth a checkpoint */
    end_restored();
    if (server.dir[0])
        sb_test_remove_tree(server.dir);
    memset(&server, 0, sizeof server);
    return 0;
}

/* ---- databases ---- */

sb_pg_t *sb_test_pg_open(const char *uri)
{
    sb_pg_t *pg = NULL;
    sb_error_t err = SB_ERROR_INIT;
    /* What a test holds open, it holds for as long as it looks at others, however slow the machine is. */
    sb_pg_config_t config = {.uri = uri, .application_name = "test", .idle_in_transaction_ms = 600000};
    assert_ok(sb_pg_open(&pg, &config, &err), &err);
    return pg;
}

void sb_test_pg_script(sb_pg_t *pg, const char *sql)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_pg_script(pg, sql, &err), &err);
}

int64_t sb_test_pg_int(sb_pg_t *pg, const char *sql)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *result = NULL;
    assert_ok(sb_pg_query(pg, sql, NULL, &result, &err), &err);
    assert_true(sb_pg_rows(result) > 0);
    int64_t value = sb_pg_get_int(result, 0, 0);
    sb_pg_result_free(result);
    assert_true(
        sb_pg_forget(pg, sql)); /* statements go by the address of their text, which may be written anew */
    return value;
}

static void create_database(const char *name, const char *template_name)
{
    char uri[SB_TEST_URI];
    char sql[256];
    (void)uri_of(MAINTENANCE, uri);
    sb_pg_t *pg = sb_test_pg_open(uri);
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE %s TEMPLATE %s", name, template_name);
    sb_test_pg_script(pg, sql);
    sb_pg_close(&pg);
}

static void make_template(void)
{
    char uri[SB_TEST_URI];
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(server.template_name, sizeof server.template_name, "sbt_%d_0", (int)getpid());
    create_database(server.template_name, "template0");
    sb_pg_t *pg = sb_test_pg_open(uri_of(server.template_name, uri));
    assert_ok(sb_migrate(pg, SB_SCHEMA, sb_migrations, NULL, &err), &err);
    assert_ok(sb_migrate(pg, SB_TEST_CLIENT_SCHEMA, sb_client_migrations, NULL, &err), &err);
    sb_pg_close(&pg);
    server.has_template = true;
}

static char *create_from(const char *template_name, char uri[SB_TEST_URI])
{
    char name[64];
    (void)snprintf(name, sizeof name, "sbt_%d_%d", (int)getpid(), ++server.count);
    create_database(name, template_name);
    return uri_of(name, uri);
}

char *sb_test_pg_fresh(char uri[SB_TEST_URI])
{
    (void)sb_test_pg_start(NULL);
    if (!server.has_template)
        make_template();
    return create_from(server.template_name, uri);
}

char *sb_test_pg_empty(char uri[SB_TEST_URI])
{
    (void)sb_test_pg_start(NULL);
    return create_from("template0", uri);
}

/* ---- accidents ---- */

static void need_private(void)
{
    (void)sb_test_pg_start(NULL);
    if (server.external)
        sb_test_skip("pg", "the server of SB_TEST_PG_URI is not ours to stop");
}

/* The processes of the server but the postmaster. A backend leads a session of its own, so a process group
 * reaches none: they are found by their parent. */
typedef struct children {
    pid_t pid[512];
    int count;
} children_t;

/* And its parent; not when it is gone, or a mere entry that nobody has asked for yet. */
static bool is_alive(pid_t pid, int *parent)
{
    char path[64];
    char process_state = 'X';
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool got = fscanf(file, "%*d (%*[^)]) %c %d", &process_state, parent) == 2;
    (void)fclose(file);
    return got && process_state != 'Z' && process_state != 'X';
}

static void find_children(children_t *children)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int parent;
    children->count = 0;
    while (proc && (entry = readdir(proc)) != NULL && children->count < 512) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && is_alive(pid, &parent) && parent == server.process.pid)
            children->pid[children->count++] = pid;
    }
    if (proc)
        (void)closedir(proc);
}

/* Until then one of them may still tell its client of a commit. */
static void await_end_of(const children_t *children)
{
    int64_t until = sb_test_mono_ms() + START_MS;
    int parent;
    for (int i = 0; i < children->count; i++)
        while (is_alive(children->pid[i], &parent)) {
            if (sb_test_mono_ms() > until)
                fail_msg("process %d of PostgreSQL does not end", (int)children->pid[i]);
            sb_test_sleep_ms(2);
        }
}

/* So that it makes no more processes. The signal alone would reach it only at its next turn. */
static void stop_postmaster(void)
{
    int status;
    sb_test_signal(&server.process, SIGSTOP);
    while (waitpid(server.process.pid, &status, WUNTRACED) < 0 && errno == EINTR)
        ;
}

static void kill_server(bool backends_too)
{
    children_t children;
    need_private();
    stop_postmaster();
    find_children(&children);
    for (int i = 0; backends_too && i < children.count; i++)
        (void)kill(children.pid[i], SIGKILL);
    signal_and_wait(SIGKILL);
    await_end_of(&children);
}

void sb_test_pg_kill_postmaster(void)
{
    kill_server(false);
}

void sb_test_pg_kill_all(void)
{
    kill_server(true);
}

bool sb_test_pg_kill_backend(int64_t pid)
{
    children_t children;
    children_t victim = {{(pid_t)pid}, 1};
    need_private();
    if (pid <= 0)
        return false;
    stop_postmaster(); /* or it makes one that is not among these, which answers after them all */
    find_children(&children);
    bool killed = kill((pid_t)pid, SIGKILL) == 0;
    if (killed)
        await_end_of(&victim); /* the first thing that it hears of */
    sb_test_signal(&server.process, SIGCONT);
    if (killed)
        await_end_of(&children);
    return killed;
}

void sb_test_pg_stop_immediate(void)
{
    need_private();
    signal_and_wait(SIGQUIT);
}

/* What is left of the old server may hold the data for a moment, so the start is tried again. */
void sb_test_pg_restart(void)
{
    need_private();
    if (server.process.pid > 0)
        signal_and_wait(SIGINT);
    int64_t until = sb_test_mono_ms() + START_MS;
    while (!run_postgres()) {
        if (sb_test_mono_ms() > until) {
            print_log();
            fail_msg("PostgreSQL does not start again");
        }
        sb_test_sleep_ms(100);
    }
}

static void data_paths(char data[PATH_SIZE], char kept[PATH_SIZE])
{
    (void)snprintf(data, PATH_SIZE, "%s/data", server.dir);
    (void)snprintf(kept, PATH_SIZE, "%s/kept", server.dir);
}

void sb_test_pg_copy_data(void)
{
    char data[PATH_SIZE], kept[PATH_SIZE];
    need_private();
    data_paths(data, kept);
    signal_and_wait(SIGINT);
    sb_test_remove_tree(kept);
    copy_tree(data, kept);
    sb_test_pg_restart();
}

void sb_test_pg_put_back_data(void)
{
    char data[PATH_SIZE], kept[PATH_SIZE];
    need_private();
    data_paths(data, kept);
    signal_and_wait(SIGINT);
    sb_test_remove_tree(data);
    copy_tree(kept, data);
    sb_test_pg_restart();
}

void sb_test_pg_socket(struct sockaddr_un *out)
{
    need_private();
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t length = (size_t)snprintf(out->sun_path, sizeof out->sun_path, "%s/.s.PGSQL.%d", server.dir, PORT);
    assert_true(length < sizeof out->sun_path);
}

/* ---- a restore to a point in time ---- */

static void make_server_directory(const char *name)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s", server.dir, name);
    sb_test_remove_tree(path);
    if (mkdir(path, 0700) != 0)
        fail_msg("mkdir %s: %s", path, strerror(errno));
    give_to_user(path);
}

/* Not on the command line, where it could not be taken back while the server runs. */
static void set_archive_command(const char *command)
{
    char uri[SB_TEST_URI], sql[PATH_SIZE + 96];
    sb_pg_t *pg = sb_test_pg_open(uri_of(MAINTENANCE, uri));
    (void)snprintf(sql, sizeof sql, "ALTER SYSTEM SET archive_command = '%s'", command);
    sb_test_pg_script(pg, sql);
    sb_test_pg_script(pg, "SELECT pg_reload_conf()");
    sb_pg_close(&pg);
}

void sb_test_pg_back_up(void)
{
    char program[PATH_SIZE + 16], backup[PATH_SIZE], port[16], command[PATH_SIZE + 32];
    need_private();
    make_server_directory("archive");
    make_server_directory("backup");
    server.archives = true;
    sb_test_pg_restart();
    (void)snprintf(command, sizeof command, "cp %%p %s/archive/%%f", server.dir);
    set_archive_command(command);
    (void)snprintf(program, sizeof program, "%s/pg_basebackup", server.bin);
    (void)snprintf(backup, sizeof backup, "%s/backup", server.dir);
    (void)snprintf(port, sizeof port, "%d", PORT);
    const char *const argv[] = {program, "-h", server.dir, "-p", port,   "-U",        SUPERUSER, "-D",
                                backup,  "-c", "fast",     "-X", "none", "--no-sync", NULL};
    sb_test_process_t process = {.pid = start_program(argv, SIGKILL)};
    if (!sb_test_wait(&process, START_MS) || process.exit_code != 0) {
        print_log();
        fail_msg("pg_basebackup failed");
    }
}

static bool is_archived(sb_pg_t *pg, const char *segment)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, segment);
    assert_ok(sb_pg_query(
                  pg,
                  "SELECT last_archived_wal >= $1 FROM pg_stat_archiver WHERE last_archived_wal IS NOT NULL",
                  &params, &rows, &err),
              &err);
    bool archived = sb_pg_rows(rows) == 1 && sb_pg_get_bool(rows, 0, 0);
    sb_pg_result_free(rows);
    return archived;
}

/* Until the archive has what was written up to now. */
static void wait_for_archive(const char *uri)
{
    char segment[64];
    sb_pg_t *pg = sb_test_pg_open(uri);
    sb_pg_result_t *rows = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_pg_query(pg, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())", NULL, &rows, &err),
              &err);
    (void)snprintf(segment, sizeof segment, "%s", sb_pg_get_text(rows, 0, 0));
    sb_pg_result_free(rows);
    sb_test_pg_script(pg, "SELECT pg_switch_wal()");
    assert_soon(is_archived(pg, segment), START_MS);
    sb_pg_close(&pg);
}

static bool is_restored(const char *uri)
{
    sb_pg_t *pg = NULL;
    sb_pg_result_t *rows = NULL;
    sb_pg_config_t config = {.uri = uri};
    if (sb_test_wait(&server.restored, 0)) {
        print_log();
        fail_msg("the restored server ended");
    }
    bool up = sb_pg_open(&pg, &config, NULL) == SB_OK &&
              sb_pg_query(pg, "SELECT NOT pg_is_in_recovery()", NULL, &rows, NULL) == SB_OK &&
              sb_pg_get_bool(rows, 0, 0);
    sb_pg_result_free(rows);
    sb_pg_close(&pg);
    return up;
}

char *sb_test_pg_restore(const char *uri, const char *until, char out[SB_TEST_URI])
{
    char path[PATH_SIZE + 32], command[PATH_SIZE + 64], target[128];
    const char *name = strstr(uri, "dbname=");
    assert_non_null(name);
    wait_for_archive(uri);
    (void)snprintf(path, sizeof path, "%s/backup/recovery.signal", server.dir);
    FILE *file = fopen(path, "we");
    assert_true(file && fclose(file) == 0);
    give_to_user(path);
    (void)snprintf(command, sizeof command, "restore_command=cp %s/archive/%%f %%p", server.dir);
    (void)snprintf(target, sizeof target, "recovery_target_time=%s", until);
    const char *const settings[] = {command, target, "recovery_target_action=promote", NULL};
    server.restored = start_postgres("backup", RESTORED_PORT, settings);
    (void)snprintf(out, SB_TEST_URI, "host=%s port=%d user=%s %s", server.dir, RESTORED_PORT, SUPERUSER,
                   name);
    assert_soon(is_restored(out), START_MS);
    return out;
}

void sb_test_pg_forget_backup(void)
{
    char path[PATH_SIZE];
    end_restored();
    set_archive_command("true");
    (void)snprintf(path, sizeof path, "%s/backup", server.dir);
    sb_test_remove_tree(path);
    (void)snprintf(path, sizeof path, "%s/archive", server.dir);
    sb_test_remove_tree(path);
}
