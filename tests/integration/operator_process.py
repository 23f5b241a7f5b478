"""The operator's process of hack/local_control_plane, under the name that the tests of this folder know it by."""

from local_control_plane import OperatorProcess

__all__ = ["OperatorProcess"]
