"""Backbones by name; also the module where their alias classes live."""

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.registry import Registry

BACKBONES = Registry("backbone", Backbone, "brainmvp_lightning.backbones")
__getattr__ = BACKBONES.get
