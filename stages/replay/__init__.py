"""Data-free distillation: a student learns from a teacher without data, with and without rehearsal of what it has seen.

PRE-DFKD (Binici et al., AAAI 2022) and the methods that it is compared with, under one loop.
"""
