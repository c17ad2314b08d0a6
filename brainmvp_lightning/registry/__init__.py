"""Names for exchangeable parts, ours and those of others."""

from brainmvp_lightning.registry.modules import PluginError, import_plugins, naming_plugins
from brainmvp_lightning.registry.parts import (
    Plugin,
    Registry,
    UnknownNameError,
    foreign_distributions,
)

__all__ = [
    "Plugin",
    "PluginError",
    "Registry",
    "UnknownNameError",
    "foreign_distributions",
    "import_plugins",
    "naming_plugins",
]
