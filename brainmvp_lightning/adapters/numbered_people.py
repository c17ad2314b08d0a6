"""ADHD-200 and ABIDE: people who are numbers, from many sites, with a diagnosis in a table."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from brainmvp_lightning.adapters.files import ImageFile
from brainmvp_lightning.adapters.phenotype_table import PhenotypeTable
from brainmvp_lightning.adapters.phenotypes import FoundImage, PhenotypeAdapter, Row
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.problem import Problem

T1_NAMES = ("mprage*", "anat.nii*", "wssd*_anat.nii*", "*_T1w.nii*", "*_T1.nii*")
ADHD200_GROUPS = {"0": "NC", "1": "ADHD", "2": "ADHD", "3": "ADHD"}
ABIDE_GROUPS = {"1": "ASD", "2": "NC"}


class NumberedPeople(PhenotypeAdapter):
    """People are numbers of up to seven digits, with or without leading zeros.

    Args:
        images: Patterns of the names of T1 images; of several images in a session the one that
            matches the earliest pattern counts, then the first name. The rest is set aside.
    """

    id_columns: tuple[str, ...]
    group_columns: tuple[str, ...]

    def __init__(
        self,
        root: str,
        phenotypes: str,
        dataset: str,
        groups: Mapping[str, str],
        failed_qc: Mapping[str, Sequence[str]],
        keep_unlabelled: bool,
        images: Sequence[str],
    ) -> None:
        super().__init__(root, phenotypes, dataset, groups, failed_qc, keep_unlabelled)
        self.images = list(images)

    def _rows(self, table: PhenotypeTable) -> Iterable[Row]:
        key, group = table.column(*self.id_columns), table.find_column(*self.group_columns)
        for row in table.rows:
            digits = re.fullmatch(r"(?:sub-)?0*(\d+)(?:\.0+)?", row[key])
            if digits:
                number = int(digits.group(1))
                value = row[group] if group else ""
                yield Row((number,), _name(number), value, self._failed(table, row), table.path)

    def _images(self, files: Iterable[ImageFile], known: set[Hashable]) -> Iterable[FoundImage]:
        for rank, path in sorted((self._rank(file.path), file.path) for file in files):
            if rank == len(self.images):
                continue
            place = path.relative_to(self.root).as_posix()
            numbers = [int(number) for number in re.findall(r"(?<!\d)\d{5,7}(?!\d)", place)]
            if not numbers:
                reason = "neither its name nor a folder holds a person's number"
                self.problems.append(Problem("", str(path), reason, "move or rename it"))
                continue
            number = next((number for number in numbers if number in known), numbers[-1])
            session = re.search(r"(?<![A-Za-z])(?:session_|ses-)([A-Za-z0-9]+)", place)
            name = session.group(1) if session else ""
            yield FoundImage(path, _name(number), name, (number,))

    def _rank(self, path: Path) -> int:
        name = path.name.casefold()
        matches = (fnmatch(name, pattern.casefold()) for pattern in self.images)
        return next((rank for rank, match in enumerate(matches) if match), len(self.images))


@ADAPTERS.register("adhd200")
class Adhd200Adapter(NumberedPeople):
    """ADHD-200: ``<site>/<ScanDir ID>/session_1/anat_1/mprage.nii.gz``, Athena's ``wssd*``, BIDS.

    Tables have the columns ``ScanDir ID`` and ``DX``: 0 for controls, 1 to 3 for the kinds of ADHD;
    ``pending`` and ``withheld`` give way to another table's answer, or the image is set aside.

    Args:
        root: Folder that holds the folders of the sites.
        phenotypes: Table, or pattern of several, relative to `root` unless absolute.
        dataset: Name of the data set.
        groups: Class by value of ``DX``; images with other values are set aside. Null: 0 is
            NC, 1 to 3 are ADHD.
        failed_qc: Values by column that rule a scan out, such as ``{QC_Anatomical_1: ["0"]}``.
        keep_unlabelled: Whether images without a class are used all the same, as for pre-training.
        images: Patterns of the names of T1 images; of several images in a session the one that
            matches the earliest pattern counts, then the first name. The rest is set aside.

    Source:
        BrainMVP, section 4: 767 cases, ADHD against NC.
    """

    id_columns = ("ScanDir ID", "participant_id", "ID")  # ID: tables of the test release
    group_columns = ("DX", "DX_GROUP")

    def __init__(
        self,
        root: str,
        phenotypes: str = "**/*phenotypic*.[ct]sv",
        dataset: str = "adhd200",
        groups: dict[str, str] | None = None,
        failed_qc: dict[str, list[str]] | None = None,
        keep_unlabelled: bool = False,
        images: tuple[str, ...] = T1_NAMES,
    ) -> None:
        groups = ADHD200_GROUPS if groups is None else groups
        super().__init__(
            root, phenotypes, dataset, groups, failed_qc or {}, keep_unlabelled, images
        )


@ADAPTERS.register("abide")
class AbideAdapter(NumberedPeople):
    """ABIDE-I: ``<site>/<SUB_ID>/session_1/anat_1/mprage.nii.gz``, ``<site>_<SUB_ID>``, or BIDS.

    The table has the columns ``SUB_ID`` and ``DX_GROUP``: 1 for autism, 2 for controls.

    Args:
        root: Folder that holds the folders of the sites.
        phenotypes: Table, or pattern of several, relative to `root` unless absolute.
        dataset: Name of the data set.
        groups: Class by value of ``DX_GROUP``; images with other values are set aside. Null: 1
            is ASD, 2 is NC.
        failed_qc: Values by column that rule a scan out, such as ``{qc_anat_rater_2: [fail]}``.
        keep_unlabelled: Whether images without a class are used all the same, as for pre-training.
        images: Patterns of the names of T1 images; of several images in a session the one that
            matches the earliest pattern counts, then the first name. The rest is set aside.

    Source:
        BrainMVP, section 4: 819 cases, ASD against NC.
    """

    id_columns = ("SUB_ID", "participant_id")
    group_columns = ("DX_GROUP",)

    def __init__(
        self,
        root: str,
        phenotypes: str = "**/Phenotypic_V1_0b*.csv",
        dataset: str = "abide",
        groups: dict[str, str] | None = None,
        failed_qc: dict[str, list[str]] | None = None,
        keep_unlabelled: bool = False,
        images: tuple[str, ...] = (*T1_NAMES, "*_00?????.nii*", "*_00?????_anat*.nii*"),
    ) -> None:
        groups = ABIDE_GROUPS if groups is None else groups
        super().__init__(
            root, phenotypes, dataset, groups, failed_qc or {}, keep_unlabelled, images
        )


def _name(number: int) -> str:
    return f"{number:07}"
