"""A real Kubernetes control plane on the loopback interface, without kubelets: for the integration tests and the
operator's benchmark.

etcd and kube-apiserver always; the controller manager, the scheduler and kwok's nodes for whoever asks for them.
"""

from local_control_plane.control_plane import ControlPlane
from local_control_plane.nodes import create_nodes, fail_pod
from local_control_plane.operator_process import OperatorProcess
from local_control_plane.programs import ROOT, binaries, free_port

__all__ = ["ROOT", "ControlPlane", "OperatorProcess", "binaries", "create_nodes", "fail_pod", "free_port"]
