"""The contracts of exchangeable parts, for our own tests and for those of plugin authors.

Each function builds a part, uses it on tiny tensors or files, and raises `ContractError` at the
first broken promise: one sentence that says what the class did and what is expected.
"""

from brainmvp_lightning.testing.adapters import check_adapter
from brainmvp_lightning.testing.backbones import check_backbone
from brainmvp_lightning.testing.contracts import ContractError
from brainmvp_lightning.testing.heads import check_head
from brainmvp_lightning.testing.masking import check_masking
from brainmvp_lightning.testing.methods import check_method

__all__ = [
    "ContractError",
    "check_adapter",
    "check_backbone",
    "check_head",
    "check_masking",
    "check_method",
]
