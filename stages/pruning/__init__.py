"""CRISP (Aggarwal et al., DATE 2024): networks pruned for the classes that one user wants, n:m inside surviving blocks.

from stages.pruning import prune_for_classes
pruned = prune_for_classes(model, images, labels, sparsity=0.9)     # any torch.fx-traceable network
fast = pruned.packed()                                              # runs on its packed weights
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["PrunedForClasses", "prune_for_classes"]
__getattr__ = lazy_exports(__name__, {"PrunedForClasses": "call", "prune_for_classes": "call"})
