"""CRISP (Aggarwal et al., DATE 2024): networks pruned for the classes that one user wants, n:m inside surviving blocks.

from stages.pruning import prune_for_classes
pruned = prune_for_classes(model, images, labels, sparsity=0.9)     # any torch.fx-traceable network
fast = pruned.packed()                                              # runs on its packed weights
"""

from stages.pruning.call import PrunedForClasses, prune_for_classes

__all__ = ["PrunedForClasses", "prune_for_classes"]
