# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# A private PostgreSQL cluster of a stack: on a free port of 127.0.0.1 (with a password) and on a Unix
# socket in a folder only its user may enter. The server refuses to run as root, so a root caller runs
# it as `postgres` or `nobody`; if that user cannot reach the checkout, the data goes under /var/tmp.
#
# In the stack's folder: pg.place (where data and socket are), pg.port, pg.secret, pg.pid, pg.log.

pg_bin() { # prints the folder of initdb and postgres, the newest version of several
    for _dir in "${SB_TEST_PG_BIN:-}" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5,5nr) \
        "$(pg_config --bindir 2>/dev/null)" /usr/pgsql-*/bin; do
        if [ -x "$_dir/initdb" ] && [ -x "$_dir/postgres" ]; then
            echo "$_dir"
            return 0
        fi
    done
    return 1
}

pg_user() { # who runs the server
    if ! is_root; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Runs a program as that user from / (its own folder may be closed to it), without the caller's PG*.
as_pg_user() (
    cd /
    unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGDATA PGOPTIONS PGSSLMODE
    if is_root; then
        _user=$(pg_user)
        exec setpriv --reuid="$_user" --regid="$(id -g "$_user")" --clear-groups -- "$@"
    fi
    exec "$@"
)

# A folder for data and socket: beside the stack if the server's user can write there and the socket's
# name fits into the 107 bytes of an address, else a new one. A path once chosen is kept.
pg_choose_place() {
    if [ -f "$stack_dir/pg.place" ]; then
        pg_place=$(cat "$stack_dir/pg.place")
        # Someone may have made a folder of that name since it was cleaned away: it must be ours.
        [ -d "$pg_place" ] && [ -f "$pg_place/.sagabus" ] && return 0
    fi
    pg_place=$stack_dir/pg
    mkdir -p "$pg_place"
    if is_root; then chown "$(pg_user)" "$pg_place"; fi
    chmod 700 "$pg_place"
    if [ ${#pg_place} -gt 80 ] || ! as_pg_user test -w "$pg_place"; then
        rmdir "$pg_place"
        pg_place=$(mktemp -d /var/tmp/sagabus-pg.XXXXXX)
        if is_root; then chown "$(pg_user)" "$pg_place"; fi
        say "PostgreSQL's data is in $pg_place ($(pg_user) cannot use $stack_dir)"
    fi
    echo "$pg_place" >"$stack_dir/pg.place"
    as_pg_user touch "$pg_place/.sagabus"
}

pg_init() { # the cluster's files; a half-made one is made anew
    [ -f "$stack_dir/pg.ready" ] && as_pg_user test -f "$pg_place/data/PG_VERSION" && return 0
    as_pg_user rm -rf "$pg_place/data"
    as_pg_user "$pg_programs/initdb" -D "$pg_place/data" -U sagabus --encoding=UTF8 --no-locale --no-sync \
        --auth-local=trust --auth-host=scram-sha-256 >"$stack_dir/pg-init.log" 2>&1 ||
        die "initdb failed: $(tail -n 3 "$stack_dir/pg-init.log")"
    rm -f "$stack_dir/pg.secret"
}

pg_launch() { # pg_launch PORT: starts the server and waits for it; 1 = the port was taken
    launching=pg
    # shellcheck disable=SC2046 # the settings are words without blanks
    as_pg_user_exec "$pg_programs/postgres" -D "$pg_place/data" \
        -c listen_addresses=127.0.0.1 -c port="$1" -c unix_socket_directories="$pg_place" \
        -c unix_socket_permissions=0700 -c max_connections=200 -c timezone=UTC -c log_timezone=UTC \
        -c log_line_prefix='%m [%p] %a ' -c fsync=on -c synchronous_commit=on &
    process_record "$stack_dir/pg.pid" $!
    launching=
    _left=600
    until as_pg_user "$pg_programs/pg_isready" -q -h "$pg_place" -p "$1" -d postgres -U sagabus; do
        if ! process_alive "$stack_dir/pg.pid"; then
            rm -f "$stack_dir/pg.pid"
            grep -qs 'could not bind' "$stack_dir/pg.log" && return 1
            die "PostgreSQL ended at start: $(tail -n 5 "$stack_dir/pg.log")"
        fi
        _left=$((_left - 1))
        [ "$_left" -gt 0 ] || die "PostgreSQL is not ready after 60 s, see $stack_dir/pg.log"
        sleep 0.1
    done
}

# The same as as_pg_user, but replaces the process it is called in, in a session of its own: then $! is
# the server, and the terminal's Ctrl-C passes it by.
as_pg_user_exec() {
    cd /
    unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGDATA PGOPTIONS PGSSLMODE
    exec </dev/null >"$stack_dir/pg.log" 2>&1 9>&-
    if is_root; then
        _user=$(pg_user)
        exec setsid setpriv --reuid="$_user" --regid="$(id -g "$_user")" --clear-groups -- "$@"
    fi
    exec setsid "$@"
}

pg_psql() { # as superuser over the socket
    as_pg_user "$pg_programs/psql" -X -q -v ON_ERROR_STOP=1 -h "$pg_place" -p "$(cat "$stack_dir/pg.port")" \
        -U sagabus "$@"
}

pg_up() {
    pg_programs=$(pg_bin) || die "no PostgreSQL server programs found: run ./dev setup"
    pg_choose_place
    process_alive "$stack_dir/pg.pid" && return 0
    pg_init
    _port=$(cat "$stack_dir/pg.port" 2>/dev/null) || _port=
    if [ -z "$_port" ] || port_in_use "$_port"; then _port=$(free_port); fi
    _tries=5
    until pg_launch "$_port"; do
        _tries=$((_tries - 1))
        [ "$_tries" -gt 0 ] || die "found no free port for PostgreSQL"
        _port=$(free_port)
    done
    echo "$_port" >"$stack_dir/pg.port"
    if [ ! -f "$stack_dir/pg.ready" ]; then
        (umask 077 && random_hex 16 >"$stack_dir/pg.secret")
        # On standard input, because arguments are readable by everyone.
        echo "ALTER ROLE sagabus PASSWORD '$(cat "$stack_dir/pg.secret")'" | pg_psql -d postgres ||
            die 'cannot set the password'
        pg_psql -d postgres -c 'CREATE DATABASE sagabus' || die 'cannot create the database'
        touch "$stack_dir/pg.ready"
    fi
}

pg_uri() {
    echo "postgresql://sagabus:$(cat "$stack_dir/pg.secret")@127.0.0.1:$(cat "$stack_dir/pg.port")/sagabus"
}

pg_down() { # INT is PostgreSQL's fast shutdown: clients are cut off, the rest is written out
    process_stop "$stack_dir/pg.pid" INT 20
}

pg_wipe() {
    pg_down
    if [ -f "$stack_dir/pg.place" ]; then
        _place=$(cat "$stack_dir/pg.place")
        [ ! -f "$_place/.sagabus" ] || rm -rf "$_place"
    fi
    rm -rf "$stack_dir"/pg "$stack_dir"/pg.* "$stack_dir"/pg-init.log
}
