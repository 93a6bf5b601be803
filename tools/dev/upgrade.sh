# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# The release before beside this one, over open sagas (tests/e2e/test_upgrade.c).

upgrade_help() {
    cat <<'END'
usage: ./dev upgrade [--from REF]

Builds the release before (tests/e2e/release, or REF: any commit of this repository) in build/upgrade, once for each
commit, and lets it and this build drive the same sagas and shards, on a real Kafka and PostgreSQL. ./dev test does so, too.
  --from REF   a tag or commit instead of the recorded release
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
    if [ -n "$_from" ]; then
        _commit=$(git -C "$root" rev-parse --verify --quiet "$_from^{commit}") || die "no commit $_from in this history"
    else
        _commit=$(upgrade_released) || die "cannot find the release before: ./dev upgrade --from COMMIT"
    fi
    setup_quietly test kafka
    upgrade_build "$_commit" || exit 1
    test_command -R '^e2e.upgrade$'
}

# The commit of the recorded release; its tag wins. Fails where it is not in this clone: a shallow one, or none.
upgrade_released() {
    _version=$(sed -n 's/^\([0-9.]*\) [0-9a-f]*$/\1/p' "$root/tests/e2e/release")
    _recorded=$(sed -n 's/^[0-9.]* \([0-9a-f]*\)$/\1/p' "$root/tests/e2e/release")
    git -C "$root" rev-parse --verify --quiet "refs/tags/v$_version^{commit}" 2>/dev/null ||
        git -C "$root" rev-parse --verify --quiet "$_recorded^{commit}" 2>/dev/null || {
        say "this clone has no commit of release $_version ($_recorded): fetch its whole history"
        return 1
    }
}

# The sources of a commit go to a folder of their own: no worktree, which would show in git's lists. What is built is
# not optimized, which halves the time: of the old release this test wants what it does, not how fast.
upgrade_build() { # upgrade_build COMMIT; sets SB_TEST_OLD
    _folder=$root/build/upgrade/$1
    export SB_TEST_OLD="$_folder/build/plain"
    [ -f "$_folder/built" ] && return 0
    say "building the release before, $1 (once)"
    rm -rf "$_folder"
    mkdir -p "$_folder"
    # shellcheck disable=SC2015
    git -C "$root" archive "$1" | tar -x -C "$_folder" &&
        (cd "$_folder" && cmake -S . -B build/plain -G Ninja -DCMAKE_BUILD_TYPE= -DBUILD_TESTING=OFF &&
            cmake --build build/plain -j "$(nproc 2>/dev/null || echo 2)" --target sagabus_cli sb_order) \
            >"$_folder/build.log" 2>&1 9>&- && : >"$_folder/built" || {
        tail -n 20 "$_folder/build.log" >&2
        say "the build of $1 failed, see $_folder/build.log"
        return 1
    }
}
