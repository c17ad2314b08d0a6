"""Masking strategies by name; also the module where their alias classes live."""

from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.registry import Registry

MASKING = Registry("masking strategy", Masking, "brainmvp_lightning.masking")
__getattr__ = MASKING.get
