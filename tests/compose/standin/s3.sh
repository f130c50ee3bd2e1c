#!/bin/sh
if [ "$(id -u)" = 0 ]; then
    chown seaweed /data
    exec gosu seaweed "$0" "$@"
fi
shift
exec weed -logtostderr=true server -dir=/data -volume.max=0 -master.volumeSizeLimitMB=1024 "$@"
