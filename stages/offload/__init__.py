"""DAOP: mixture-of-experts inference with experts in CPU memory (Zhang 2024), its baselines and their limits.

serve   recorded routing, a policy, a machine -> times of each text, modelled
decode  a model whose experts lie in a store, a policy -> logits, by the policy's own live decisions
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["decode", "serve"]
__getattr__ = lazy_exports(__name__, {"decode": "engine", "serve": "simulation"})
