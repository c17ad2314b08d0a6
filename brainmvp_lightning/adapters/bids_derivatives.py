"""Labels and brain masks below the ``derivatives`` of a BIDS tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

from brainmvp_lightning.adapters.bids_names import BidsName, is_image, parse_name
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError

Visit = tuple[str, str]
SetAside = Callable[[BidsName, str, str], None]

_BRAIN = frozenset({"brain", "brainmask"})
_NO_ANNOTATIONS = _BRAIN | {"head", "skull"}
_OWN_SPACES = frozenset({"orig", "individual", "native", "scanner"})
_DIFFUSION = frozenset({"dwi", "adc"})


def derivative_images(root: Path) -> list[BidsName]:
    """Return the images of subjects below ``derivatives``, in alphabetical order."""
    folders = [*root.glob("derivatives/sub-*"), *root.glob("derivatives/*/sub-*")]
    paths = sorted(path for folder in folders for path in folder.glob("**/*"))
    return [parse_name(path, root) for path in paths if is_image(path)]


def fill_sessions(names: Iterable[BidsName], visits: Iterable[Visit]) -> list[BidsName]:
    """Return the images, those that name no session with the only one of their subject.

    Those that name it themselves come first. Where a subject has several sessions, or has scans
    without one, nothing is filled in.
    """
    sessions: dict[str, set[str]] = defaultdict(set)
    for subject, session in visits:
        sessions[subject].add(session)
    only = {subject: found.pop() for subject, found in sessions.items() if len(found) == 1}
    named, filled = [], []
    for name in names:
        if name.session or not only.get(name.subject):
            named.append(name)
        else:
            filled.append(replace(name, entities={**name.entities, "ses": only[name.subject]}))
    return named + filled


def set_strays_aside(
    labels: dict[Visit, BidsName], visits: Collection[Visit], set_aside: SetAside
) -> None:
    """Tell which labels belong to no visit that has scans.

    Args:
        labels: Annotation by visit.
        visits: Those with scans.
        set_aside: Called with an annotation that is not used, why, and what to do.
    """
    for (subject, session), name in labels.items():
        others = sorted(other for owner, other in visits if owner == subject)
        if (subject, session) in visits:
            continue
        if others and not session:
            reason = f"its name has no session, but its subject has several ({', '.join(others)})"
            set_aside(name, reason, "add ses- and the session to its name")
        else:
            set_aside(name, "it is the label of a study without a scan", "correct its name")


def find_labels(
    names: Iterable[BidsName], pattern: str, vocabulary: ModalityVocabulary, set_aside: SetAside
) -> dict[Visit, BidsName]:
    """Return one annotation for each visit; a ``dseg`` comes before a ``mask``.

    Args:
        names: Images below ``derivatives``.
        pattern: Annotations must match this. With ``*``, those in the space of a template do not
            count.
        vocabulary: Modalities whose space counts (``space-T1w``).
        set_aside: Called with an annotation that is not used, why, and what to do.
    """
    candidates: dict[Visit, list[BidsName]] = defaultdict(list)
    for name in names:
        if not (name.path.match(pattern) and _is_annotation(name)):
            continue
        if pattern == "*" and _own_space(name, vocabulary) is None:
            reason = f"it lies in the space of {name.entities['space']}, not in that of the scans"
            remedy = "nothing; if the scans lie there, name it in 'label_pattern'"
            set_aside(name, reason, remedy)
            continue
        candidates[name.subject, name.session].append(name)
    for group in candidates.values():
        group.sort(key=lambda name: name.suffix)  # dseg < mask
        for name in group[1:]:
            reason = f"the study has another label, which is used: {group[0].path.name}"
            set_aside(name, reason, "choose with 'label_pattern' of the bids adapter")
    return {visit: group[0] for visit, group in candidates.items()}


def find_brain_masks(
    names: Iterable[BidsName], vocabulary: ModalityVocabulary, set_aside: SetAside
) -> dict[tuple[str, str, bool], Path]:
    """Return brain masks by subject, session, and whether they are for diffusion images.

    Masks in the space of a template or of functional images do not count.

    Args:
        names: Images below ``derivatives``.
        vocabulary: Modalities whose space counts (``space-T1w``).
        set_aside: Called with a mask that is not used, why, and what to do.
    """
    candidates: dict[tuple[str, str, bool], list[BidsName]] = defaultdict(list)
    for name in names:
        space = _own_space(name, vocabulary)
        is_usable = space is not None and name.path.parent.name != "func"
        if is_usable and _is_brain_mask(name):
            is_diffusion = space in _DIFFUSION or name.path.parent.name == "dwi"
            candidates[name.subject, name.session, is_diffusion].append(name)
    for group in candidates.values():
        group.sort(key=lambda name: ("space" in name.entities, name.path.name))
        for name in group[1:]:
            reason = f"the study has another brain mask, which is used: {group[0].path.name}"
            set_aside(name, reason, "nothing, or remove one of the two")
    return {key: group[0].path for key, group in candidates.items()}


def brain_mask_of(
    masks: dict[tuple[str, str, bool], Path], visit: Visit, modality: str
) -> Path | None:
    """Return the mask that fits a modality: that of diffusion images for DWI and ADC."""
    order = (True, False) if modality in _DIFFUSION else (False,)
    return next((masks[(*visit, kind)] for kind in order if (*visit, kind) in masks), None)


def _is_annotation(name: BidsName) -> bool:
    if name.suffix not in ("dseg", "mask"):
        return False
    return not _NO_ANNOTATIONS & {value.casefold() for value in name.entities.values()}


def _is_brain_mask(name: BidsName) -> bool:
    values = {value.casefold() for key, value in name.entities.items() if key in ("desc", "label")}
    suffix = name.suffix.casefold()
    return suffix in _BRAIN or (suffix == "mask" and bool(_BRAIN & values))


def _own_space(name: BidsName, vocabulary: ModalityVocabulary) -> str | None:
    """Return the modality in whose space an image lies, "" for its own, None for another."""
    space = name.entities.get("space", "")
    if not space or space.casefold() in _OWN_SPACES:
        return ""
    try:
        return vocabulary.parse(space)
    except UnknownModalityError:
        return None
