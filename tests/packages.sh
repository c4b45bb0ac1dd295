#!/bin/sh
# Install Debian packages if they are missing; needs root or sudo without a password. Exit status 1: could not.
missing=""
for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || { echo "no apt-get: install$missing yourself" >&2; exit 1; }
if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else
    echo "no right to install$missing (neither root nor sudo)" >&2
    exit 1
fi
echo "installing$missing …"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
{ $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; rm -f "$log"; exit 1; }
rm -f "$log"
