"""Heads by name; also the module where their alias classes live."""

from brainmvp_lightning.heads.base import Head
from brainmvp_lightning.registry import Registry

HEADS = Registry("head", Head, "brainmvp_lightning.heads")
__getattr__ = HEADS.get
