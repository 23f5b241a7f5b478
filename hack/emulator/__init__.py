"""The emulated Neuron node: a device plugin on the kubelet's real API, and the stand-ins that pods get from it."""
