#!/bin/sh
# Installs what tests run and this machine lacks, on Debian or Ubuntu, as root.  No daemon is started.
#   tests/apt.sh suite   for `make test`.  Where it cannot install, it says what will be skipped; that is no failure
#                        unless AESTHETICS_TEST_ALL is set, which lets no test be skipped.
#   tests/apt.sh compose for `make test-compose`; where it cannot install, that is skipped.
#   tests/apt.sh stack   for `make test-stack`, which skips nothing: where it cannot install, it fails.
set -eu
PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin
missing= skipped=
has() { command -v "$1" >/dev/null; }
case ${1-} in
suite)
    if ! has chromium && ! has chromium-browser && ! has google-chrome; then
        missing="$missing chromium" skipped="$skipped, tests/browser in Chromium"
    fi
    case $(ldconfig -p 2>/dev/null) in
    *libturbojpeg.so.0*) ;;
    *) missing="$missing libturbojpeg0" skipped="$skipped, tests of progressive = baseline" ;;
    esac
    has nginx || { missing="$missing nginx-light"; skipped="$skipped, tests/bench with nginx"; }
    ;;
stack)
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
    has redis-server || missing="$missing redis-server"
    has ceph-mon || missing="$missing ceph-mon"
    has ceph-osd || missing="$missing ceph-osd"
    has radosgw && has radosgw-admin && has ceph || missing="$missing radosgw ceph-common"
    ;;
compose)
    has debootstrap || { missing="$missing debootstrap"; skipped="$skipped, tests/compose"; }
    ;;
*)
    echo "usage: $0 suite|stack|compose" >&2
    exit 2
    ;;
esac
[ -n "$missing" ] || exit 0

give_up() {
    if [ -n "$skipped" ] && [ -z "${AESTHETICS_TEST_ALL:-}" ]; then
        echo "$1; will be skipped: ${skipped#, } (to run them: apt-get install$missing)"
        exit 0
    fi
    echo "$1; tests need:$missing" >&2
    exit 2
}
[ "$(id -u)" = 0 ] || give_up "not root, so nothing is installed"
has apt-get || give_up "there is no apt-get, so nothing is installed"
echo "installing$missing with apt-get, for tests"
# what a package's script wants started is refused, as in an image build
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || true  # the lists that are there may do
# shellcheck disable=SC2086 -- one word per package
apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 $missing >/dev/null ||
    give_up "apt-get could not install$missing"
