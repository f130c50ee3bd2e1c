#!/bin/sh
# Installs what tests/stack runs and this machine lacks, on Debian or Ubuntu; needs root.  No daemon is started.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
has() { command -v "$1" >/dev/null; }
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
has redis-server || missing="$missing redis-server"
has ceph-mon || missing="$missing ceph-mon"
has ceph-osd || missing="$missing ceph-osd"
has radosgw && has radosgw-admin && has ceph || missing="$missing radosgw ceph-common"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "make test-stack needs:$missing; install them, or run this as root" >&2
    exit 2
fi
echo "installing$missing"
# what a package's script wants started is refused, as in an image build
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 -- one word per package
apt-get install -qq --yes --no-install-recommends $missing >/dev/null
