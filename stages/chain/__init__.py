"""One gesture recogniser through every paper: data-free or condensed student, pruning for a user, quantisation, cost.

network_costs  a network, pruned or not, in a number format -> bits, multiplications, modelled cycles and energy
choose         a table of routes and a budget -> the cheapest route that keeps it
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["choose", "network_costs"]
__getattr__ = lazy_exports(__name__, {"choose": "selection", "network_costs": "costs"})
