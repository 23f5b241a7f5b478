"""The emulated Neuron node: a device plugin on the kubelet's real API, and the stand-ins that pods get from it.

What the pods get lies in stand-ins/, outside the host's normal path; it is put behind everything else here, so that
the host's side reads the same instance facts and node directory, and a real torch_neuronx is never shadowed.
"""

import sys
from pathlib import Path

STAND_INS = Path(__file__).parent / "stand-ins"
BIN = Path(__file__).parent / "bin"

if str(STAND_INS) not in sys.path:
    sys.path.append(str(STAND_INS))
