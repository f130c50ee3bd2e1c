#!/bin/sh
chown redis /data
exec gosu redis "$@"
