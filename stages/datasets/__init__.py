"""Data sets and pretrained weights: fetched from the first source that answers, checked, prepared once.

read_images   a prepared split -> images, labels and what is known of them
"""

from stages.lib.core.prepared import read_images

__all__ = ["read_images"]
