"""Hybrid-sparse weights (blocks with n:m inside): storage, kernels that skip the rest, models that use them."""
