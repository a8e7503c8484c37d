#!/bin/sh
# Import the archive $1 into /var/lib/containerd with a containerd of its own. Layers stay packed until first use.
set -eu
cat > /import.toml <<C
version = 2
state = "/tmp/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/tmp/containerd.sock"
C
containerd --config /import.toml > /import.log 2>&1 &
daemon=$!
tries=100
until ctr --address /tmp/containerd.sock version > /dev/null 2>&1; do
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || { cat /import.log; exit 1; }
  sleep 0.1
done
ctr --address /tmp/containerd.sock --namespace k8s.io images import --no-unpack "$1"
kill "$daemon"
wait "$daemon" || true
rm -rf /var/lib/containerd/io.containerd.runtime* /var/lib/containerd/tmpmounts
