"""What each Neuron instance type has: devices, cores, memory, price. Pure; placement asks it which types fit.

The figures are in `instances.py`, generated from hack/data/instances.csv, where each row names its sources.
"""

from neuron_operator.catalog.instances import CATALOG
from neuron_operator.catalog.model import InstanceType

__all__ = ["CATALOG", "InstanceType"]
