"""SSL methods by name; also the module where their alias classes live."""

from brainmvp_lightning.methods.base import SSLMethod
from brainmvp_lightning.registry import Registry

METHODS = Registry("SSL method", SSLMethod, "brainmvp_lightning.methods")
__getattr__ = METHODS.get
