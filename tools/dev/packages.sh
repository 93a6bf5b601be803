# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# What must be installed to build, test and run, and how: by apt-get on Debian and its children.
# Every need is looked for by what it provides, not by asking the package manager: that takes
# milliseconds, and a tool that was installed by hand counts too.

# Where libtest-json-schema-acceptance-perl puts its files.
schema_suite=/usr/share/perl5/auto/share/dist/Test-JSON-Schema-Acceptance/tests/draft2020-12

setup_help() {
    cat <<'END'
usage: ./dev setup [--kafka] [--test] [--lint] [--list]

Installs the missing packages on Debian or Ubuntu, with sudo when not root; elsewhere lists them.
  --kafka   also what Apache Kafka needs: Java 17, Maven; and fetches its jars
  --test    also what the tests need: two Python modules, the cases of JSON Schema
  --lint    also what ./dev fmt and ./dev lint need
  --list    only prints the missing packages
END
}

need_program() { # need_program PROGRAM PACKAGE
    have "$1" || missing="$missing $2"
}

need_library() { # need_library PKG_CONFIG_NAME PACKAGE
    _found=
    for _dir in /usr/lib/*/pkgconfig /usr/lib/pkgconfig /usr/share/pkgconfig /usr/local/lib/pkgconfig; do
        if [ -f "$_dir/$1.pc" ]; then _found=yes; fi
    done
    [ -n "$_found" ] || { have pkg-config && pkg-config --exists "$1" 2>/dev/null; } || missing="$missing $2"
}

clang_tool() { # clang_tool NAME: prints the program; version 14 is the one the format is defined by
    for _tool in "$1-14" "$1"; do
        if have "$_tool"; then
            echo "$_tool"
            return 0
        fi
    done
    return 1
}

find_missing() { # find_missing [kafka] [test] [lint]: sets `missing`
    missing=
    if ! have cc || ! have make; then missing=build-essential; fi
    need_program cmake cmake
    need_program ninja ninja-build
    need_program pkg-config pkg-config
    need_program flock util-linux
    need_library rdkafka librdkafka-dev
    need_library jansson libjansson-dev
    need_library libpq libpq-dev
    need_library uuid uuid-dev
    need_library cmocka libcmocka-dev
    need_library libevent_openssl libevent-dev
    need_library libcurl libcurl4-openssl-dev
    need_library libssl libssl-dev
    [ -e "${TZDIR:-/usr/share/zoneinfo}/Europe/Berlin" ] || missing="$missing tzdata"
    pg_bin >/dev/null || missing="$missing postgresql"
    for _for in "$@"; do
        case $_for in
        kafka)
            kafka_java >/dev/null || missing="$missing openjdk-17-jre-headless"
            [ -d "$kafka_jars" ] || need_program mvn maven
            need_program openssl openssl
            ;;
        test) # the cases of JSON Schema; and any Python that has both modules
            [ -d "$schema_suite" ] || missing="$missing libtest-json-schema-acceptance-perl"
            need_program python3 python3
            python3 -c 'import yaml, jsonschema' 2>/dev/null ||
                /usr/bin/python3 -c 'import yaml, jsonschema' 2>/dev/null ||
                missing="$missing python3-yaml python3-jsonschema"
            ;;
        lint)
            clang_tool clang-format >/dev/null || missing="$missing clang-format-14"
            clang_tool clang-tidy >/dev/null || missing="$missing clang-tidy-14"
            need_program cppcheck cppcheck
            need_program shellcheck shellcheck
            ;;
        esac
    done
}

apt_get() {
    if is_root; then
        DEBIAN_FRONTEND=noninteractive apt-get "$@"
    else
        sudo DEBIAN_FRONTEND=noninteractive apt-get "$@"
    fi
}

install_missing() {
    if ! have apt-get; then
        say "this is not Debian or Ubuntu; please install what provides (Debian's names):"
        printf ' %s\n' "$missing" >&2
        exit 1
    fi
    is_root || have sudo || die "missing:$missing; run as root: apt-get install$missing"
    say "installing by apt-get$(is_root || echo ' (with sudo)'):$missing"
    # Ours is a private cluster. The package makes a system one and starts it; if it is the package we
    # asked for that made it, it is taken away again.
    _before=0
    if have pg_lsclusters; then _before=$(pg_lsclusters -h | wc -l); fi
    apt_get update -q || die "apt-get update failed"
    # shellcheck disable=SC2086 # a list of packages
    apt_get install -y -q --no-install-recommends $missing || die "apt-get install failed"
    case " $missing " in
    *' postgresql '*)
        if [ "$_before" -eq 0 ]; then
            pg_lsclusters -h | while read -r _version _cluster _; do
                say "removing the empty system cluster $_version/$_cluster that the package made"
                if is_root; then pg_dropcluster --stop "$_version" "$_cluster"; else
                    sudo pg_dropcluster --stop "$_version" "$_cluster"
                fi
            done
        fi
        ;;
    esac
    hash -r
    find_missing "$@"
    [ -z "$missing" ] || die "still missing after apt-get:$missing"
}

setup_quietly() { # setup_quietly [dev|kafka] [test] [lint]: before every command that needs it
    find_missing "$@"
    # To a log on standard error: what ./dev prints may be read by a program.
    [ -z "$missing" ] || install_missing "$@" >&2
}

setup_command() {
    _for=
    _list=
    while [ $# -gt 0 ]; do
        case $1 in
        --kafka) _for="$_for kafka" ;;
        --test) _for="$_for test" ;;
        --lint) _for="$_for lint" ;;
        --list) _list=yes ;;
        --help | -h) setup_help && exit 0 ;;
        *) usage_error "setup: unknown word '$1', see ./dev setup --help" ;;
        esac
        shift
    done
    # shellcheck disable=SC2086 # a list of words
    if [ -n "$_list" ]; then
        find_missing $_for
        # shellcheck disable=SC2086
        [ -z "$missing" ] || printf '%s\n' $missing
        return 0
    fi
    # shellcheck disable=SC2086
    setup_quietly $_for
    case $_for in
    *kafka*) kafka_fetch || exit 1 ;;
    esac
    say "everything needed is installed"
}
