"""HALO: language-model weights on the few values whose path through a multiplier is short (Juneja 2025).

quantise_language_model  model, windows of tokens, a row, a multiplier's delays -> quantised model and what it stores
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["quantise_language_model"]
__getattr__ = lazy_exports(__name__, {"quantise_language_model": "quantise"})
