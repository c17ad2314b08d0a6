"""Classes of cases from the table that comes with a data set."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.adapters.files import suggestion
from brainmvp_lightning.adapters.phenotype_table import PhenotypeTable

MISSING = frozenset({"", "-", "n/a", "na", "nan", "none", "null", "unknown", "not available"})


@dataclass(frozen=True)
class ClassTable:
    """Classes by name of a patient or case.

    Args:
        path: The table.
        column: Column of the classes, as it is written.
        classes: Class by name as the table writes it.
        aliases: Name in the table by the name in lower case and without leading zeros, where this
            is unambiguous.
    """

    path: Path
    column: str
    classes: dict[str, str]
    aliases: dict[str, str]

    def find(self, *names: str) -> str | None:
        """Return the class of the first of `names` that has one.

        ``A-004`` and ``a-0004`` are the same name unless the data set has both.
        """
        for name in names:
            alias = self.aliases.get(_simple(name), "")
            found = self.classes.get(name) or self.classes.get(alias)
            if found:
                return found
        return None


def read_class_table(path: str | Path, column: str, patients: Mapping[str, str]) -> ClassTable:
    """Read the classes from a CSV or TSV table.

    The column of the names is the one with the most entries that name a patient. Entries such as
    ``n/a``, ``unknown`` or ``not available`` are no class.

    Args:
        path: The table.
        column: Column of the classes; case and punctuation do not matter.
        patients: Patient by name of a patient or case of the data set.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If it is no table, lacks the column, names no patient of the data set, or gives
            a name two classes.
    """
    file = Path(path)
    if not file.is_file():
        near = suggestion(file.name, (other.name for other in file.parent.glob("*.[ct]sv")))
        raise FileNotFoundError(f"class table {file} does not exist{near} (correct 'class_table')")
    table = PhenotypeTable.read(file)
    place, owner = table.column(column), _owner_column(table, patients)
    found: dict[str, set[str]] = defaultdict(set)
    for row in table.rows:
        if row[place].casefold() not in MISSING:
            found[row[owner]].add(row[place])
    faults = [f"{name} ({', '.join(sorted(v))})" for name, v in found.items() if len(v) > 1]
    if faults:
        raise ValueError(
            f"class table {file} gives {len(faults)} names two classes: {'; '.join(faults[:5])}; "
            "correct these rows"
        )
    classes = {name: values.pop() for name, values in found.items()}
    return ClassTable(file, place, classes, _aliases(classes, patients))


def _owner_column(table: PhenotypeTable, names: Collection[str]) -> str:
    known = {_simple(name) for name in names}
    hits = {
        column: sum(_simple(row[column]) in known for row in table.rows) for column in table.columns
    }
    best = max(hits, key=lambda column: hits[column])
    if not hits[best]:
        shown = ", ".join(list(table.rows[0].values())[:4]) if table.rows else "missing"
        raise ValueError(
            f"class table {table.path} names no patient of the data set (such as "
            f"{min(names, default='none')}; its first row is {shown}); give the table of this data "
            "set, or set 'class_table' to null"
        )
    return best


def _simple(name: str) -> str:
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), name.casefold())


def _aliases(listed: Collection[str], patients: Mapping[str, str]) -> dict[str, str]:
    # Patients of the data set or names of the table that differ in nothing else stay apart; one
    # patient may be spelt in several ways.
    written = Counter(map(_simple, listed))
    present: dict[str, set[str]] = defaultdict(set)
    for name, patient in patients.items():
        present[_simple(name)].add(patient)
    return {
        _simple(name): name
        for name in listed
        if written[_simple(name)] == 1 and len(present[_simple(name)]) <= 1
    }
