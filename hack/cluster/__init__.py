"""A real Kubernetes on one Linux machine: `python -m cluster up`, with two emulated inf2.xlarge nodes.

Everything above the Neuron driver is the real thing: etcd, API server, kubelets, containerd, kube-proxy, DNS.
Start reading at `bringup.up`; what it starts is in `control_plane` and `nodes`, what it undoes is in `teardown`.
"""
