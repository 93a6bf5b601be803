# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# The release before beside this one, over open sagas (tests/e2e/test_upgrade.c).

upgrade_help() {
    cat <<'END'
usage: ./dev upgrade [--from REF]

Builds the release before (the newest tag, or REF: any commit of this repository) in build/upgrade, once for each
commit, and lets it and this build drive the same sagas in turn, on a real Kafka and PostgreSQL.
  --from REF   a tag or commit instead of the newest tag
END
}

upgrade_command() {
    preset=debug
    _from=
    while [ $# -gt 0 ]; do
        case $1 in
        --from) need_value "$1" $# && _from=$2 && shift ;;
        --help | -h) upgrade_help && exit 0 ;;
        *) usage_error "upgrade: unknown word '$1', see ./dev upgrade --help" ;;
        esac
        shift
    done
    if [ -z "$_from" ]; then
        _from=$(git -C "$root" describe --tags --abbrev=0 2>/dev/null) ||
            die "there is no tag yet (or no history here): ./dev upgrade --from COMMIT"
    fi
    _commit=$(git -C "$root" rev-parse --verify --quiet "$_from^{commit}") || die "no commit $_from in this history"
    setup_quietly test kafka
    upgrade_build "$_commit"
    export SB_TEST_OLD="$root/build/upgrade/$_commit/build/release/cli/sagabus"
    say "the release before is $_from ($_commit)"
    test_command -R '^e2e.upgrade$'
}

# The sources of a commit go to a folder of their own: no worktree, which would show in git's lists.
upgrade_build() { # upgrade_build COMMIT
    _folder=$root/build/upgrade/$1
    [ -x "$_folder/build/release/cli/sagabus" ] && return 0
    say "building $1 (once)"
    rm -rf "$_folder"
    mkdir -p "$_folder"
    git -C "$root" archive "$1" | tar -x -C "$_folder" || die "cannot take $1 out of the repository"
    (cd "$_folder" && cmake --preset release >configure.log 2>&1 &&
        cmake --build --preset release -j "$(nproc 2>/dev/null || echo 2)" --target sagabus_cli >&2) ||
        die "the build of $1 failed, see $_folder"
}
