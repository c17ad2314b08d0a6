"""Who is in the cohort: site, finding and modalities of every study, from seed and index alone."""

from __future__ import annotations

from dataclasses import dataclass

from brainmvp_lightning.phantom.contrasts import MODALITIES
from brainmvp_lightning.phantom.fields import generator
from brainmvp_lightning.phantom.sites import SITES, Site

# Modalities per study, in random order within each group of eight studies.
_SUBSET_SIZES = (1, 2, 3, 4, 4, 5, 6, 8)
# How usual each modality is in practice, relative to the others.
_FREQUENCY = {
    "t1": 1.4, "t1ce": 1.0, "t2": 1.2, "flair": 1.2, "pd": 0.9, "dwi": 1.0, "adc": 0.9, "mra": 0.8
}  # fmt: skip
# The label map lies on the grid of the first of these that the study holds.
_REFERENCE_ORDER = ("t1ce", "flair", "t1", "t2", "dwi", "adc", "pd", "mra")


@dataclass(frozen=True)
class StudyPlan:
    """What a study will hold.

    Args:
        index: Position in the cohort.
        site: Where it is scanned.
        diagnosis: Key of `lesions.DIAGNOSES`, the class of the study.
        is_old: Whether the person is old.
        modalities: In the order of `MODALITIES`.
    """

    index: int
    site: Site
    diagnosis: str
    is_old: bool
    modalities: tuple[str, ...]

    @property
    def participant(self) -> str:
        """BIDS name of the person, such as ``sub-007``."""
        return f"sub-{self.index + 1:03d}"

    @property
    def reference(self) -> str:
        """Modality on whose grid the label map lies."""
        return next(name for name in _REFERENCE_ORDER if name in self.modalities)


def plan_study(
    seed: int,
    index: int,
    diagnoses: tuple[str, ...] = (),
    modalities: tuple[str, ...] = (),
) -> StudyPlan:
    """Return the plan of one study; those of other studies do not change it.

    Args:
        seed: Of the cohort.
        index: Of the study.
        diagnoses: Findings, in turn; by default those that the site sees.
        modalities: What every study holds; by default subsets of all sizes.
    """
    site = SITES[index % len(SITES)]
    visit = index // len(SITES)
    is_old = bool(generator(seed, index, "age").random() < site.old_share)
    diagnosis = site.diagnoses[visit % len(site.diagnoses)]
    if diagnoses:
        diagnosis = diagnoses[index % len(diagnoses)]
    group, member = divmod(index, len(_SUBSET_SIZES))
    chosen = tuple(name for name in MODALITIES if name in modalities)
    chosen = chosen or _draw_subsets(seed, group)[member]
    return StudyPlan(index, site, diagnosis, is_old, chosen)


def _draw_subsets(seed: int, group: int) -> list[tuple[str, ...]]:
    """Draw the modalities of eight consecutive studies.

    Whenever one is drawn, those that the group has had least for their frequency come first, so
    that eight studies hold each modality at least twice.
    """
    rng = generator(seed, group, "subsets")
    counts = dict.fromkeys(MODALITIES, 0)
    subsets = []
    for size in rng.permutation(_SUBSET_SIZES):
        urgency = {
            name: (counts[name] + rng.uniform(0, 1.5)) / _FREQUENCY[name] for name in MODALITIES
        }
        chosen = sorted(MODALITIES, key=lambda name: urgency[name])[:size]
        for name in chosen:
            counts[name] += 1
        subsets.append(tuple(name for name in MODALITIES if name in chosen))
    return subsets
