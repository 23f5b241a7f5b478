"""The emulated Neuron node: who owns which core, what ran, which faults are injected. Standard library only.

Shared by the torch_neuronx stand-in and by the neuron-monitor and neuron-ls stand-ins. Everything lives in one
directory of the node, so that processes in different pods see each other as they would through the driver.
"""
