"""Condensed data expansion by model inversion (Binici et al., AAAI 2026).

expand_condensed  teacher, student, a few images with labels -> the student, trained in place, and its pool
condense_images   (classes * n, channels, size, size) images that stand for a set, by matching distributions or gradients

from stages.expansion import expand_condensed
pool = expand_condensed(teacher, student, images, labels, arm="guided").pool
"""

from stages.lib.core.exports import lazy_exports

__all__ = ["condense_images", "expand_condensed"]
__getattr__ = lazy_exports(__name__, {"condense_images": "call", "expand_condensed": "call"})
