"""What each Neuron instance type has: devices, cores, memory, price. Pure; placement asks it which types fit."""

from neuron_operator.catalog.instances import CATALOG, PRICES_AS_OF
from neuron_operator.catalog.model import InstanceType
from neuron_operator.catalog.search import OFFERED, find, suggestions

__all__ = ["CATALOG", "OFFERED", "PRICES_AS_OF", "InstanceType", "find", "suggestions"]
