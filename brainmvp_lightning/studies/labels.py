"""What the values of an annotation mean; the schemes of public data sets are data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_SHIPPED = Path(__file__).with_name("label_schemes.yaml")


@dataclass(frozen=True)
class LabelScheme:
    """Names for the values of an annotation, and the regions they form.

    Args:
        name: Name of the scheme.
        values: Value in the file by structure, all above 0.
        regions: Structures by region; regions are segmented and scored, in this order.

    Raises:
        ValueError: If values repeat or are not above 0, or a region has an unknown structure.
    """

    name: str
    values: dict[str, int]
    regions: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        where = f"label scheme {self.name!r}"
        if not self.values or not self.regions:
            raise ValueError(f"{where} needs 'values' and 'regions'")
        if min(self.values.values()) < 1 or len(set(self.values.values())) < len(self.values):
            raise ValueError(f"{where}: values must be above 0 and differ, got {self.values}")
        for region, parts in self.regions.items():
            unknown = [part for part in parts if part not in self.values]
            if unknown or not parts:
                raise ValueError(
                    f"{where}: region {region!r} names {', '.join(unknown) or 'nothing'}; "
                    f"structures are {', '.join(self.values)}"
                )

    def region_values(self) -> dict[str, tuple[int, ...]]:
        """Return the values in the file that form each region."""
        return {
            region: tuple(self.values[part] for part in parts)
            for region, parts in self.regions.items()
        }

    def unknown_values(self, found: tuple[int, ...]) -> tuple[int, ...]:
        """Return those of `found` that the scheme has no structure for; 0 is the background."""
        known = {0, *self.values.values()}
        return tuple(value for value in found if value not in known)

    def to_json(self) -> dict[str, Any]:
        """Return the scheme as plain JSON values."""
        plain = asdict(self)
        plain["regions"] = {region: list(parts) for region, parts in self.regions.items()}
        return plain


def label_schemes(extra: Mapping[str, Any] | None = None) -> dict[str, LabelScheme]:
    """Return the known schemes by name.

    Args:
        extra: More schemes, each a mapping with ``values`` and ``regions``.

    Raises:
        ValueError: If one of them makes no sense.
    """
    schemes = dict(_shipped())
    for name, plain in (extra or {}).items():
        schemes[name] = scheme_from_json(name, plain)
    return schemes


def scheme_from_json(name: str, plain: Any) -> LabelScheme:  # noqa: ANN401 - any YAML value
    """Return the scheme behind plain values.

    Raises:
        ValueError: If they are no scheme.
    """
    example = "{values: {tumour: 1}, regions: {tumour: [tumour]}}"
    try:
        values = {str(part): int(value) for part, value in plain["values"].items()}
        regions = {str(region): tuple(parts) for region, parts in plain["regions"].items()}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(
            f"label scheme {name!r} must look like {example}, got {plain!r}"
        ) from error
    return LabelScheme(name, values, regions)


def find_scheme(name: str, schemes: Mapping[str, LabelScheme]) -> LabelScheme:
    """Return a scheme by name.

    Raises:
        ValueError: If there is none; the message lists the nearest names.
    """
    if name in schemes:
        return schemes[name]
    close = difflib.get_close_matches(name, schemes, 3)
    question = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise ValueError(f"unknown label scheme {name!r}{question} (known: {', '.join(schemes)})")


@cache
def _shipped() -> dict[str, LabelScheme]:
    plain = yaml.safe_load(_SHIPPED.read_text(encoding="utf-8"))
    return {name: scheme_from_json(name, scheme) for name, scheme in plain.items()}
