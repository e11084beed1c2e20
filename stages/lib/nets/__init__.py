"""Networks in plain torch, one module a family, and the model folder in which they travel.

A network is named "module.Class" ("resnet.CifarResNet"): `build` imports just that module, so that a change
in one family makes no result of another family stale.
"""
