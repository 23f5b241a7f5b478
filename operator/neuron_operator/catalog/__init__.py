"""What each Neuron instance type has: cores, memory, labels, price. Pure; placement asks it which types fit."""

from neuron_operator.catalog.instances import CATALOG, PRICES_AS_OF
from neuron_operator.catalog.labels import labels_of, present_name
from neuron_operator.catalog.model import InstanceType
from neuron_operator.catalog.search import OFFERED, find, suggestions

__all__ = ["CATALOG", "OFFERED", "PRICES_AS_OF", "InstanceType", "find", "labels_of", "present_name", "suggestions"]
