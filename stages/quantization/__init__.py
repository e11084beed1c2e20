"""Shedding the Bits: post-training quantisation with minifloats and integers of 3 to 8 bits.

quantise_model  a trained network and calibration images in, the network with fake-quantised weights and
                activations out (sections 2.1 and 2.2 of the paper's notes)
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["quantise_model"]

__getattr__ = lazy_exports(__name__, {"quantise_model": "ptq"})
