"""Desired children of a NeuronModel as plain dicts: a function of the spec, the placement and the settings. Pure.

The reconcile renders the pod template once per change of intent, freezes it in a ControllerRevision, and puts the
frozen one into the Deployment ever after; that is why the template is an argument of `desired_children`.
"""

from neuron_operator.render.children import desired_children, owner_reference
from neuron_operator.render.pod import pod_template

__all__ = ["desired_children", "owner_reference", "pod_template"]
