"""Verdicts: measurements against what the papers claim. Only this stage computes intervals.

judge          a claim and its measurements -> verdict with interval and reason
mean_interval  samples, one a seed -> confidence interval of their mean
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["judge", "mean_interval"]
__getattr__ = lazy_exports(__name__, {"judge": "verdicts", "mean_interval": "intervals"})
