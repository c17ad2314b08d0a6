"""ADNI: T1 scans of ageing people, with their diagnosis in a table."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path

from brainmvp_lightning.adapters.files import ImageFile
from brainmvp_lightning.adapters.image_names import stem
from brainmvp_lightning.adapters.phenotype_table import PhenotypeTable
from brainmvp_lightning.adapters.phenotypes import FoundImage, PhenotypeAdapter, Row
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.studies.problem import Problem

GROUPS = {"MCI": "MCI", "EMCI": "MCI", "LMCI": "MCI", "CN": "NC", "NC": "NC", "NL": "NC"}

_SUBJECT = re.compile(r"(?<!\d)(\d{3})_?S_?(\d{4,5})(?!\d)")
_IMAGE = re.compile(r"(?:^|[/_])I(\d+)(?=[/._]|$)")
_DATE = re.compile(r"(?<!\d)(\d{4}-\d{2}-\d{2})(?!\d)")
_SESSION = re.compile(r"(?<![A-Za-z])ses-([A-Za-z0-9]+)")
_MONTH = re.compile(r"m(?:onth\s*)?0*(\d+)(?!\d)")
_CONTINUING = re.compile(r"-\s*cont")
_FIRST_VISIT = ("bl", "sc", "scmri")


@ADAPTERS.register("adni")
class AdniAdapter(PhenotypeAdapter):
    """ADNI: ``<PTID>/<series>/<date>/I<image>/*.nii``, BIDS, or anything that names the PTID.

    The table is the one that comes with a download (``Image Data ID, Subject, Group, Visit``) or
    ADNIMERGE (``PTID, VISCODE, EXAMDATE, DX, IMAGEUID``). A row is found by image, else by visit,
    else by date, else by person if all rows of the person agree. Each visit is a study. Names of
    BIDS must end in ``T1w``; in other trees every image counts.

    Args:
        root: Folder of the images.
        phenotypes: Table, or pattern of several, relative to `root` unless absolute.
        dataset: Name of the data set.
        groups: Class by diagnosis; images with others are set aside. Null: CN, NC and NL are NC;
            MCI, EMCI and LMCI are MCI; AD and SMC are left out.
        group_column: Column of the diagnosis; null: the first of Group, DX and DX_bl.
        images: Pattern for paths below `root`, such as ``*/MPR*``; of several images of a visit the
            one that a row names counts, then the first path. The rest is set aside.
        keep_unlabelled: Whether images without a class are used all the same, as for pre-training.

    Source:
        BrainMVP, section 4: 1348 cases, MCI against NC.
    """

    def __init__(
        self,
        root: str,
        phenotypes: str = "*.csv",
        dataset: str = "adni",
        groups: dict[str, str] | None = None,
        group_column: str | None = None,
        images: str = "*",
        keep_unlabelled: bool = False,
    ) -> None:
        groups = GROUPS if groups is None else groups
        super().__init__(root, phenotypes, dataset, groups, {}, keep_unlabelled)
        self.group_column = group_column
        self.images = images

    def _rows(self, table: PhenotypeTable) -> Iterable[Row]:
        subject = table.column("Subject", "PTID", "Subject ID")
        names = (self.group_column,) if self.group_column else ("Group", "DX", "DX_bl")
        group = table.column(*names)
        image = table.find_column("Image Data ID", "Image ID", "IMAGEUID")
        visit = table.find_column("Visit", "VISCODE", "VISCODE2")
        date = table.find_column("Acq Date", "EXAMDATE", "Study Date")
        is_download = image is not None and table.find_column("EXAMDATE") is None
        for row in table.rows:
            match = _SUBJECT.search(row[subject])
            if match is None or not row[group]:
                continue
            person = _person(match)
            number = re.search(r"\d+", row[image]) if image else None
            keys: list[Hashable] = [("image", int(number.group()))] if number else []
            keys += [("visit", person, _visit(row[visit]))] if visit and row[visit] else []
            keys += [("date", person, _iso_date(row[date]))] if date and row[date] else []
            keys += [("person", person)]
            if not is_download:  # ADNIMERGE has people that nobody downloads: a person counts
                keys.reverse()
            name = f"image I{number.group()} of {person}" if number and is_download else person
            yield Row(tuple(keys), name, row[group], (), table.path)

    def _images(self, files: Iterable[ImageFile], known: set[Hashable]) -> Iterable[FoundImage]:
        found = [image for file in files if (image := self._image(file.path)) is not None]
        return sorted(found, key=lambda image: (image.keys[0] not in known, str(image.path)))

    def _image(self, path: Path) -> FoundImage | None:
        place = path.relative_to(self.root).as_posix()
        is_other = path.name.startswith("sub-") and not stem(path).casefold().endswith("_t1w")
        if is_other or not fnmatch(place, self.images):
            return None
        match = _SUBJECT.search(place)
        if match is None:
            reason = "no part of its path is a PTID such as 002_S_0295"
            self.problems.append(Problem("", str(path), reason, "move or rename it"))
            return None
        person = _person(match)
        number, date = _last(_IMAGE, place), _last(_DATE, place)
        visit = _last(_SESSION, place)
        keys: list[Hashable] = [("image", int(number))] if number else []
        keys += [("visit", person, _visit(visit))] if visit else []
        keys += [("date", person, date)] if date else []
        session = visit or date or (f"I{number}" if number else "")
        return FoundImage(path, person, session, (*keys, ("person", person)))


def _person(match: re.Match[str]) -> str:
    return f"{match.group(1)}_S_{match.group(2)}"


def _last(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.findall(text)
    return found[-1] if found else ""


def _visit(text: str) -> str:
    """Return months since the first visit where the text says so, else the text itself."""
    plain = text.strip().casefold()
    if _CONTINUING.search(plain):
        return plain  # it counts from the start of a later phase, not from the first visit
    month = _MONTH.search(plain)
    if plain in _FIRST_VISIT or "screening" in plain or "baseline" in plain:
        return "0"
    return month.group(1) if month else plain


def _iso_date(text: str) -> str:
    for form in ("%m/%d/%Y", "%m/%d/%y"):  # as the archive writes them
        try:
            return datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    return text
