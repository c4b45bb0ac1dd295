#!/bin/sh
# What the tests need beside Python packages: Java and Maven (the MongoDB wire server), real clients and peers.
# Where it cannot be installed, the tests that need it are skipped with a loud line; in CI that is an error.
dir=$(dirname "$0")
need=""
if [ -z "$XMPPD_TEST_MONGODB_URI" ] && ! command -v mongod >/dev/null 2>&1; then
    command -v javac >/dev/null 2>&1 || need="$need default-jdk-headless"
    command -v mvn >/dev/null 2>&1 || need="$need maven"
fi
need="$need prosody profanity python3-nbxmpp tmux strace coturn"
# shellcheck disable=SC2086
if ! "$dir/packages.sh" $need; then
    echo "WARNING: tests that need these packages will be skipped:$need" >&2
    [ -z "$CI" ] || exit 1
fi
exit 0
