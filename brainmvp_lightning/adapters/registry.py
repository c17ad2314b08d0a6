"""Adapters by name; also the module where their alias classes live."""

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.registry import Registry

ADAPTERS = Registry("adapter", Adapter, "brainmvp_lightning.adapters")
__getattr__ = ADAPTERS.get
