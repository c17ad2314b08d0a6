"""T1 scans whose class stands in a table: what ADNI, ADHD-200 and ABIDE have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.files import ImageFile, find_images
from brainmvp_lightning.adapters.phenotype_table import (
    PhenotypeTable,
    find_value,
    read_tables,
    same_value,
)
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, study_id

UNDECIDED = ("", "pending", "withheld", "n/a", "na", "-999", "-9999")


@dataclass(frozen=True)
class FoundImage:
    """A T1 image on disk.

    Args:
        path: The file.
        patient: Name of the person.
        session: Visit; may be empty.
        keys: What rows of the table may call it, the most exact first.
    """

    path: Path
    patient: str
    session: str
    keys: tuple[Hashable, ...]


@dataclass(frozen=True)
class Row:
    """What a table says about an image, a visit or a person.

    Args:
        keys: What the row describes; if no image has the first key, the image is missing.
        name: How to call it in a sentence.
        group: Cell with the diagnosis, as it is written.
        failed_qc: Columns by which the scan is no good.
        table: File that holds the row.
    """

    keys: tuple[Hashable, ...]
    name: str
    group: str
    failed_qc: tuple[str, ...]
    table: Path


class PhenotypeAdapter(Adapter):
    """Joins images and rows; subclasses know how both are named.

    Args:
        root: Folder of the images.
        phenotypes: Table, or pattern of several, relative to `root` unless absolute.
        dataset: Name of the data set.
        groups: Class by value of the diagnosis; images with other values are set aside.
        failed_qc: Values by column that rule a scan out, such as ``{QC_Anatomical_1: ["0"]}``.
        keep_unlabelled: Whether images without a class are used all the same, as for pre-training.
    """

    def __init__(
        self,
        root: str,
        phenotypes: str,
        dataset: str,
        groups: Mapping[str, str],
        failed_qc: Mapping[str, Sequence[str]],
        keep_unlabelled: bool,
    ) -> None:
        super().__init__()
        self.root = root
        self.phenotypes = phenotypes
        self.dataset = dataset
        self.groups = dict(groups)
        self.failed_qc = {column: list(values) for column, values in failed_qc.items()}
        self.keep_unlabelled = keep_unlabelled

    @abstractmethod
    def _rows(self, table: PhenotypeTable) -> Iterable[Row]:
        """Yield what a table says."""

    @abstractmethod
    def _images(self, files: Iterable[ImageFile], known: set[Hashable]) -> Iterable[FoundImage]:
        """Yield the T1 images, of several in one session the best one first."""

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        """Return the scans that have a class; see `Adapter.scans`."""
        del vocabulary  # all are T1
        root = Path(self.root)
        self.problems = []
        files = find_images(self.root, type(self).__name__)
        rows: dict[Hashable, list[Row]] = defaultdict(list)
        tables = read_tables(root, self.phenotypes)
        self._check_qc(tables)
        ordered = [row for table in tables for row in self._rows(table)]
        for row in ordered:
            for key in row.keys:
                rows[key].append(row)
        images = list(self._images(files, set(rows)))
        if not images:
            raise FileNotFoundError(
                f"of the {len(files)} images below {root} none counts as a T1 image of a known "
                f"person (the first: {files[0].path}); correct 'root' or 'images'"
            )
        self._tell_missing_images(ordered, images)
        return self._join(images, rows)

    def _join(self, images: list[FoundImage], rows: Mapping[Hashable, list[Row]]) -> list[Scan]:
        strangers = [image for image in images if not any(key in rows for key in image.keys)]
        chosen: dict[tuple[str, str], FoundImage] = {}
        scans = []
        for image in images:
            target, reason, remedy = self._class(image, rows, len(strangers), len(images))
            first = chosen.get((image.patient, image.session))
            if first is not None and not reason:
                reason = f"the study has another T1, which is used: {first.path.name}"
                remedy = "nothing, or remove one of the two"
            if reason:
                study = study_id(self.dataset, image.patient, image.session)
                self.problems.append(Problem(study, str(image.path), reason, remedy))
                continue
            chosen[image.patient, image.session] = image
            scans.append(self._scan(image, target))
        return scans

    def _scan(self, image: FoundImage, target: str | None) -> Scan:
        return Scan(
            patient=image.patient,
            session=image.session,
            dataset=self.dataset,
            modality="t1",
            path=image.path,
            target_class=target,
        )

    def _class(
        self,
        image: FoundImage,
        rows: Mapping[Hashable, list[Row]],
        num_strangers: int,
        num_images: int,
    ) -> tuple[str | None, str, str]:
        """Return the class, or why the image is set aside and what to do."""
        found = next((rows[key] for key in image.keys if key in rows), [])
        failed = sorted({column for row in found for column in row.failed_qc})
        if failed:
            return None, f"it failed {', '.join(failed)}", "nothing, or change 'failed_qc'"
        if not found:
            reason = f"no row describes it ({num_strangers} of {num_images} images have none)"
            unused = (None, reason, "add a row to the table, or set 'keep_unlabelled'")
            return (None, "", "") if self.keep_unlabelled else unused
        values = {row.group for row in found}
        decided = {value for value in values if not find_value(value, UNDECIDED)} or values
        classes = {self._group(value) for value in decided}
        if len(classes) == 1 and None not in classes:
            return classes.pop(), "", ""
        if self.keep_unlabelled:
            return None, "", ""
        listed = ", ".join(repr(value) for value in sorted(decided))
        if len(classes) > 1:
            return None, f"its rows disagree on the diagnosis ({listed})", "correct the table"
        return None, f"its diagnosis {listed} is not among 'groups'", "nothing, or add it there"

    def _group(self, value: str) -> str | None:
        key = find_value(value, list(self.groups))
        return None if key is None else self.groups[key]

    def _failed(self, table: PhenotypeTable, row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(
            column
            for column, values in self.failed_qc.items()
            if (written := table.find_column(column)) is not None
            and any(same_value(row[written], value) for value in values)
        )

    def _check_qc(self, tables: Sequence[PhenotypeTable]) -> None:
        for column in self.failed_qc:
            if all(table.find_column(column) is None for table in tables):
                tables[0].column(column)  # raises

    def _tell_missing_images(self, rows: list[Row], images: list[FoundImage]) -> None:
        present = {key for image in images for key in image.keys}
        wanted = {row.name: row for row in rows if self._group(row.group) is not None}
        missing = [row for row in wanted.values() if row.keys[0] not in present]
        for row in missing:
            reason = (
                f"it lists {row.name} ({self._group(row.group)}), of which there is no image "
                f"({len(missing)} of {len(wanted)} have none)"
            )
            remedy = "download the image, or nothing"
            problem = Problem(self.dataset, str(row.table), reason, remedy, is_handled=True)
            self.problems.append(problem)
