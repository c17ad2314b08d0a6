"""The cohort as a whole: who has which modality, split, class and session."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from brainmvp_lightning.doctor.facts import StudyFacts
from brainmvp_lightning.doctor.findings import Finding, Severity
from brainmvp_lightning.doctor.labels import fitting_schemes
from brainmvp_lightning.studies.labels import LabelScheme, find_scheme
from brainmvp_lightning.studies.splits import SPLITS

EXAMPLES = 3
MANY_EMPTY = 0.1  # of the labels of a data set: patients without lesions belong to it


@dataclass(frozen=True)
class Availability:
    """Which modalities the usable scans of a data set cover.

    Args:
        num_studies: Studies with at least one usable scan.
        modalities: Studies by modality, in the order of the vocabulary.
        combinations: Studies by set of modalities, the most frequent first.
    """

    num_studies: int
    modalities: dict[str, int]
    combinations: dict[tuple[str, ...], int]


def availability(
    studies: Iterable[StudyFacts], vocabulary: Sequence[str]
) -> dict[str, Availability]:
    """Return who has what, by data set."""
    by_dataset: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for study in studies:
        if study.scans:
            by_dataset[study.dataset].append(study.modalities)
    found = {}
    for dataset, rows in by_dataset.items():
        counts = Counter(name for row in rows for name in row)
        found[dataset] = Availability(
            len(rows),
            {name: counts[name] for name in vocabulary if counts[name]},
            dict(Counter(rows).most_common()),
        )
    return found


def split_table(studies: Iterable[StudyFacts]) -> dict[str, dict[str, int]]:
    """Return the number of studies by data set and split."""
    table: dict[str, dict[str, int]] = {}
    for study in studies:
        row = table.setdefault(study.dataset, dict.fromkeys(SPLITS, 0))
        row[study.split] += 1
    return table


def class_table(studies: Iterable[StudyFacts]) -> dict[str, dict[str, dict[str, int]]]:
    """Return the number of studies by data set, class and split; data sets with classes only."""
    table: dict[str, dict[str, dict[str, int]]] = {}
    for study in studies:
        if study.target_class is not None:
            rows = table.setdefault(study.dataset, {})
            row = rows.setdefault(study.target_class, dict.fromkeys(SPLITS, 0))
            row[study.split] += 1
    return table


def check_cohort(studies: Sequence[StudyFacts]) -> list[Finding]:
    """Find what only shows when all studies are looked at together."""
    usable = [study for study in studies if study.scans]
    return [
        *_check_partners(usable),
        *_check_grids(usable),
        *_check_empty_labels(usable),
        *_check_sessions(usable),
        *_check_names(usable),
        *_check_splits(usable),
        *_check_classes(usable),
    ]


def check_schemes(
    studies: Sequence[StudyFacts], schemes: Mapping[str, LabelScheme]
) -> list[Finding]:
    """Find label schemes that nobody knows, and labels without a scheme."""
    findings = []
    names = Counter(study.label_scheme for study in studies if study.label_scheme)
    for name, count in names.items():
        try:
            find_scheme(name, schemes)
        except ValueError as error:
            fix = "correct label_scheme, or define it"
            text = f"{error}; {count} {_studies(count)} name it"
            findings.append(Finding("scheme", "error", "", "", text, fix))
    values: dict[str, set[int]] = defaultdict(set)
    for study in studies:
        if study.label is not None and study.label_scheme is None:
            values[study.dataset].update(study.label.values)
    for dataset, found in values.items():
        fitting = fitting_schemes(sorted(found), schemes)
        listed = ", ".join(map(str, sorted(found)[:12]))
        text = f"the labels of {dataset} name no scheme; they hold {listed or 'only 0'}"
        fix = f"set label_scheme, such as {fitting[0]}" if fitting else "define a label scheme"
        findings.append(Finding("no_scheme", "note", "", "", text, fix))
    return findings


def _check_partners(studies: Sequence[StudyFacts]) -> list[Finding]:
    lone = [study for study in studies if len(study.scans) == 1]
    if not lone:
        return []
    severity: Severity = "warning" if len(lone) == len(studies) else "note"
    text = f"{len(lone)} of {len(studies)} studies have one usable modality only ({_some(lone)})"
    fix = "nothing: they train reconstruction, but not the pairing of modalities"
    if severity == "warning":
        fix = "check how scans are grouped: cross-modal training needs two modalities in a study"
    return [Finding("single", severity, _only(lone), "", text, fix)]


def _check_grids(studies: Sequence[StudyFacts]) -> list[Finding]:
    found = [study for study in studies if study.resampled]
    if not found:
        return []
    scans = sum(len(study.resampled) for study in found)
    text = f"{scans} scans of {len(found)} studies are not on the grid of their study"
    text += f" ({_some(found)})"
    fix = "nothing: prepare resamples them"
    return [Finding("resampled", "note", _only(found), "", text, fix)]


def _check_empty_labels(studies: Sequence[StudyFacts]) -> list[Finding]:
    labelled: dict[str, list[StudyFacts]] = defaultdict(list)
    for study in studies:
        if study.label is not None:
            labelled[study.dataset].append(study)
    findings = []
    for dataset, group in labelled.items():
        empty = [study for study in group if study.label is not None and not study.label.values]
        if len(empty) > max(1, MANY_EMPTY * len(group)):
            text = f"{len(empty)} of {len(group)} labels of {dataset} are empty ({_some(empty)})"
            fix = "nothing if these patients have no lesion"
            findings.append(Finding("empty_label", "note", "", "", text, fix))
            continue
        for study in empty:
            file = str(study.label.path) if study.label is not None else ""
            text = "the label is empty: all its voxels are 0"
            fix = "check that there is nothing to mark, or take the label out of the row"
            findings.append(Finding("empty_label", "warning", study.id, file, text, fix))
    return findings


def _check_sessions(studies: Sequence[StudyFacts]) -> list[Finding]:
    visits: dict[tuple[str, str], list[StudyFacts]] = defaultdict(list)
    for study in studies:
        visits[study.dataset, study.patient].append(study)
    several = [group for group in visits.values() if len(group) > 1]
    if not several:
        return []
    most = max(len(group) for group in several)
    text = f"{len(several)} patients have several sessions, up to {most}"
    fix = "nothing: all sessions of a patient share a split"
    return [Finding("sessions", "note", "", "", text, fix)]


def _check_names(studies: Sequence[StudyFacts]) -> list[Finding]:
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    for study in studies:
        splits[study.dataset][study.patient] = study.split
    findings = []
    for first, second in combinations(splits, 2):
        shared = sorted(set(splits[first]) & set(splits[second]))
        apart = [name for name in shared if splits[first][name] != splits[second][name]]
        if not shared:
            continue
        text = (
            f"{len(shared)} patients of {first} and {second} have the same name "
            f"({', '.join(shared[:EXAMPLES])}), {len(apart)} of them in different splits"
        )
        fix = "if they are the same people, give both data sets one name or each pair one split"
        findings.append(Finding("names", "note", "", "", text, fix))
    return findings


def _check_splits(studies: Sequence[StudyFacts]) -> list[Finding]:
    counts = Counter(study.split for study in studies)
    empty = [split for split in SPLITS if not counts[split]]
    if not empty or not studies:
        return []
    text = f"no study is in {' and none in '.join(empty)}"
    fix = "fill the column 'split', or set split_ratios"
    severity: Severity = "warning" if "train" in empty else "note"
    return [Finding("splits", severity, "", "", text, fix)]


def _check_classes(studies: Sequence[StudyFacts]) -> list[Finding]:
    findings = []
    for dataset, rows in class_table(studies).items():
        for name, row in rows.items():
            if not row["train"]:
                text = f"no study of class {name} of {dataset} is in train"
                fix = "move a patient of this class to train, or leave the class out"
                findings.append(Finding("classes", "warning", "", "", text, fix))
        missing = [
            study for study in studies if study.dataset == dataset and not study.target_class
        ]
        if missing:
            text = f"{len(missing)} studies of {dataset} have no class ({_some(missing)})"
            fix = "nothing for pre-training; classification passes over them"
            findings.append(Finding("classes", "note", "", "", text, fix))
    return findings


def _some(studies: Sequence[StudyFacts]) -> str:
    shown = ", ".join(study.id for study in studies[:EXAMPLES])
    return f"{shown}, ..." if len(studies) > EXAMPLES else shown


def _only(studies: Sequence[StudyFacts]) -> str:
    return studies[0].id if len(studies) == 1 else ""


def _studies(count: int) -> str:
    return "study" if count == 1 else "studies"
