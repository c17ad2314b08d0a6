"""Loss heads by name; also the module where their alias classes live."""

from brainmvp_lightning.heads.base import LossHead
from brainmvp_lightning.registry import Registry

HEADS = Registry("loss head", LossHead, "brainmvp_lightning.heads")
__getattr__ = HEADS.get
