"""Hardware cost: operators on FPGAs, delay and energy of weight values, accelerator arrays.

build_mac        formats, microarchitecture and accumulator in, an Amaranth module out (Shedding the Bits, section 2.4);
                 in the environment `hardware`
profile_netlist  a gate-level netlist in, delay and energy of each weight value out (HALO, sections 2.1 and 2.5)
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["build_mac", "profile_netlist"]

__getattr__ = lazy_exports(__name__, {"build_mac": "mac", "profile_netlist": "weight_profile"})
