"""The control plane of hack/local_control_plane, under the name that the tests of this folder know it by."""

from local_control_plane import ROOT, ControlPlane, binaries, free_port

__all__ = ["ROOT", "ControlPlane", "binaries", "free_port"]
