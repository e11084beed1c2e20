"""Train the networks that later stages distil, prune and quantise.

train_classifier  images and labels of a prepared set, a recipe and a seed -> network, curve
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["train_classifier"]
__getattr__ = lazy_exports(__name__, {"train_classifier": "teacher"})
