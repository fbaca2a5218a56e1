"""What tests stand on: a genuine control plane, a kubelet of our own, a proxy that breaks connections on purpose."""
