"""Loggers by name; also the module where their alias classes live."""

from lightning.pytorch.loggers import Logger

from brainmvp_lightning.registry import Registry

LOGGERS = Registry("logger", Logger, "brainmvp_lightning.loggers")
__getattr__ = LOGGERS.get
