#!/bin/bash
# Give the node's pods a bridge on the node's own podCIDR. The kubelet starts no pod before this file exists, and it
# is written only once kube-proxy has programmed the kubernetes Service: a pod that starts earlier (CoreDNS) sends its
# first packets to an address that is not translated yet, and hangs half a minute.
set -u
target=/etc/cni/net.d/10-bridge.conflist
[ -e "$target" ] && exit 0
node() { kubectl --kubeconfig /etc/kubernetes/kubelet.conf get node "$(hostname)" -o 'jsonpath={.spec.podCIDR}' 2> /dev/null; }
until subnet=$(node) && [ -n "$subnet" ]; do sleep 0.5; done
until iptables-save -t nat 2> /dev/null | grep -q default/kubernetes; do sleep 0.3; done
cat > "$target.new" <<C
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "$subnet"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
C
mv "$target.new" "$target"
