#!/bin/sh
# What the tests need beside Python packages: a server that speaks the MongoDB wire protocol, real clients and peers.
# `tests/prepare.sh PYTHON`. Where it cannot be had, the tests that need it are skipped with a loud line; in CI that is
# an error.
dir=$(dirname "$0")
python=$1
status=0

if ! "$python" -m tests.mongo_server; then # no Go: Java is in every distribution
    if "$dir/packages.sh" default-jdk-headless maven && "$python" -m tests.mongo_server; then :; else
        echo "WARNING: MONGODB IS NOT TESTED, and the tests that need it will be skipped" >&2
        status=1
    fi
fi

need="prosody ejabberd lua-dbi-sqlite3 profanity python3-nbxmpp tmux strace coturn nginx-light haproxy caddy chromium slapd biboumi ngircd"
# shellcheck disable=SC2086
if ! "$dir/packages.sh" $need; then
    echo "WARNING: tests that need these packages will be skipped: $need" >&2
    status=1
fi
[ -z "$CI" ] || exit "$status"
exit 0
