#!/usr/bin/env bash
# What the README says, on this machine: `make run`, two accounts, two people who chat, and a stop.
set -euo pipefail
cd "$(dirname "$0")/../.."
make run >run.log 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in $(seq 600); do
    grep -q "Add an account" run.log && break
    kill -0 "$server" 2>/dev/null || { cat run.log; echo "make run has ended" >&2; exit 1; }
    sleep 1
done
.venv/bin/xmppd user add romeo@localhost --password pencil
.venv/bin/xmppd user add juliet@localhost --password pencil
.venv/bin/python -m tests.fresh.chat var/certs/localhost.crt
kill -TERM $(cat "/proc/$server/task/$server/children")  # the server itself: make would only say that it was told to end
wait "$server" || { cat run.log; echo "make run did not end well" >&2; exit 1; }
trap - EXIT
echo "make run: two people have chatted"
