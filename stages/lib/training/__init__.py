"""Fit, distil and evaluate networks; checkpoints from which a killed job goes on."""
