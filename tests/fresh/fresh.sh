#!/usr/bin/env bash
# Build Debian 12 and 13 with all their updates, put git, make and python3 on them and nothing else, clone the last
# commit, and do there what the README says: `make run` (two people chat) and `make test`.
#
#   make fresh                      both
#   make fresh SUITES=bookworm      one of them
#   make fresh STEPS=run            without the tests
#
# Needs root (chroot, mounts). Everything is in build/fresh and goes with it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
suites=${SUITES:-bookworm trixie}
steps=${STEPS:-run test}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${DEBIAN_SECURITY:-http://deb.debian.org/debian-security}
place=${FRESH:-$top/build/fresh}

[ "$(id -u)" = 0 ] || { echo "make fresh needs root: it builds systems and enters them" >&2; exit 1; }
if [ -z "${FRESH_INSIDE:-}" ]; then  # mounts that end with this process
    "$top/tests/packages.sh" debootstrap git
    exec env FRESH_INSIDE=1 unshare --mount --propagation private --pid --fork --kill-child "$0" "$@"
fi

base() {  # A system as it is installed today, kept for the next time; updates are applied each time.
    local suite=$1 root=$place/$1.base
    if [ ! -e "$root/.complete" ]; then
        rm -rf "$root"
        mkdir -p "$root"
        debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$place/$suite.debootstrap.log" 2>&1 ||
            { tail -n 20 "$place/$suite.debootstrap.log" >&2; return 1; }
        printf 'deb %s %s main\n' "$mirror" "$suite" "$mirror" "$suite-updates" "$security" "$suite-security" \
            >"$root/etc/apt/sources.list"
        touch "$root/.complete"
    fi
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
}

inside() {  # Run a command in the system; of our environment only what package clients need to reach the net.
    local root=$1
    shift
    local kept=()
    while IFS= read -r name; do
        kept+=("$name=${!name}")
    done < <(compgen -e | grep -iE '^(pip_(index|extra|cert|default|proxy|trusted)|https?_proxy$|no_proxy$)' || true)
    chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive CI=true \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${kept[@]}" "$@"
}

prepare() {
    local suite=$1 root=$place/$1
    base "$suite"
    rm -rf --one-file-system "$root"
    cp -a "$place/$suite.base" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    inside "$root" sh -ec 'apt-get update -qq; apt-get -y -qq dist-upgrade; apt-get -y -qq install --no-install-recommends git make python3 ca-certificates' \
        >"$place/$suite.packages.log" 2>&1 || { tail -n 20 "$place/$suite.packages.log" >&2; return 1; }
    # Certificate authorities that this machine trusts beside the usual ones (a company's proxy).
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
    inside "$root" update-ca-certificates >/dev/null 2>&1
    git -C "$top" bundle create -q "$root/root/xmppd.bundle" HEAD
    inside "$root" git -c advice.detachedHead=false -c init.defaultBranch=main clone -q /root/xmppd.bundle /root/xmppd 2>/dev/null
    inside "$root" sh -c '. /etc/os-release; echo "$PRETTY_NAME, $(python3 --version), $(python3 -c "import pyexpat; print(pyexpat.EXPAT_VERSION)") with $(dpkg-query -W -f "\${Version}" libexpat1)"'
}

for suite in $suites; do
    mkdir -p "$place"
    echo "== $suite"
    prepare "$suite"
    for step in $steps; do
        case $step in
            run) inside "$place/$suite" bash /root/xmppd/tests/fresh/run.sh ;;
            test) inside "$place/$suite" make -C /root/xmppd test ARGS="${ARGS:-}" ;;
            *) echo "no such step: $step" >&2; exit 1 ;;
        esac
    done
    umount -R "$place/$suite/tmp" "$place/$suite/dev" "$place/$suite/proc"
done
echo "== fresh: $suites: $steps: all of it works"
