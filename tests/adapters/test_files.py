from pathlib import Path

import pytest

from brainmvp_lightning.adapters.cases import LABEL, Case, CaseFiles
from brainmvp_lightning.adapters.class_table import read_class_table
from brainmvp_lightning.adapters.files import find_images, stem_of
from brainmvp_lightning.studies.modality import ModalityVocabulary
from tests.adapters.trees import touch


def names(root: Path) -> list[str]:
    return [image.name for image in find_images(str(root), "brats")]


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.nii", "a"), ("a.nii.gz", "a"), ("A.NII.GZ", "A"), ("a.b.nii", "a.b"), ("a.gz", None)],
)
def test_endings_do_not_count_as_name(name: str, stem: str | None) -> None:
    assert stem_of(name) == stem


def test_images_are_found_in_any_nesting_and_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/x.nii", "a/deep/y.nii.gz", "z.nii.gz", "a/y.json", "readme.txt")
    touch(tmp_path, ".cache/no.nii", "a/._y.nii.gz", "__MACOSX/a/no.nii")
    assert names(tmp_path) == ["z", "y", "x"]


def test_an_image_wrapped_in_a_folder_bears_the_name_of_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "case/case_t1.nii/0057_brain.nii")
    (image,) = find_images(str(tmp_path), "brats")
    assert (image.name, image.folder) == ("case_t1", tmp_path / "case")
    assert image.path == tmp_path / "case/case_t1.nii/0057_brain.nii"
    assert image.folder_names() == ["case", tmp_path.name]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "store/a.nii")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "store")
    (tmp_path / "store/back").symlink_to(tmp_path / "root")
    assert names(tmp_path / "root") == ["a"]


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("data/brats2012", "does not exist; did you mean 'brats2021'"),
        ("data/brats2021", "it holds 2 .mhd, 1 .raw"),
        ("data/empty", "it is empty"),
        ("data/brats2021/a.mhd", "is a file"),
    ],
)
def test_roots_without_images_say_what_is_there(tmp_path: Path, root: str, message: str) -> None:
    touch(tmp_path, *(f"data/brats2021/{name}" for name in ("a.mhd", "b.mhd", "a.raw")))
    (tmp_path / "data/empty").mkdir()
    with pytest.raises(FileNotFoundError, match=message):
        find_images(str(tmp_path / root), "brats")


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def patients(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def test_classes_are_found_by_the_column_that_names_the_patients(tmp_path: Path) -> None:
    path = table(tmp_path, "Old ID;ID;Grade\nX1;P-004;4\nX2;P-005;unknown\nX3;P-777;2\n")
    found = read_class_table(path, "grade", patients("P-0004", "P-0005"))
    assert [found.find("P-0004"), found.find("P-0005"), found.find("P-0006")] == ["4", None, None]
    assert found.column == "Grade"


def test_names_that_differ_in_zeros_alone_stay_apart_where_both_exist(tmp_path: Path) -> None:
    path = table(tmp_path, "ID,Class\nP-1,a\nP-01,b\nP-2,c\n")
    found = read_class_table(path, "Class", patients("P-1", "P-01", "P-001", "P-02"))
    assert [found.find(name) for name in ("P-1", "P-01", "P-001", "P-02")] == ["a", "b", None, "c"]


def test_spellings_of_one_case_do_not_make_its_name_ambiguous(tmp_path: Path) -> None:
    path = table(tmp_path, "ID,Class\nP-01,a\nP-2,b\n")
    names = {"p-0001": "P-0001", "P-0001": "P-0001", "P-02": "P-02", "P-002": "P-002"}
    found = read_class_table(path, "Class", names)
    assert [found.find(name) for name in names] == ["a", "a", None, None]
    files = case_files()
    files.add(Case("P-0001", name="p-0001"), "t1", Path("x"))
    (scan,) = files.scans(files.classes(str(path), "Class"))
    assert scan.target_class == "a"


def test_tables_of_spreadsheet_programs_are_read(tmp_path: Path) -> None:
    path = table(tmp_path, "ID\tKlasse\nP-1\tGliom Grad II Östrogen\n", "cp1252")
    assert read_class_table(path, "Klasse", patients("P-1")).find("P-1") == "Gliom Grad II Östrogen"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("ID,Grade\nP-1,4\n", "Gradee", "did you mean 'Grade'"),
        ("ID,Grade\nQ-1,4\n", "Grade", "names no patient of the data set .such as P-1"),
        ("ID,Grade\n", "Grade", "names no patient"),
        ("", "Grade", "empty"),
        ("ID,Grade\nP-1,4\nP-1,3\n", "Grade", r"two classes: P-1 \(3, 4\)"),
    ],
)
def test_tables_that_cannot_be_used_say_why(
    tmp_path: Path, text: str, column: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_class_table(table(tmp_path, text), column, patients("P-1"))


def test_a_missing_table_names_the_nearest(tmp_path: Path) -> None:
    touch(tmp_path, "name_mapping.csv")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'name_mapping\.csv'"):
        read_class_table(tmp_path / "name_maping.csv", "Grade", patients("P-1"))


def case_files() -> CaseFiles:
    return CaseFiles("set", "lesion", "isles22")


def test_of_files_in_one_role_the_lowest_rank_counts_and_equals_are_set_aside() -> None:
    files, case = case_files(), Case("p")
    for name, rank in (("b", 0), ("a", 0), ("0", 1)):
        files.add(case, "t1", Path(name), rank)
    (scan,) = files.scans()
    assert scan.path == Path("a")
    (problem,) = files.problems
    assert (problem.file, problem.study) == ("b", "set_p")


def test_a_label_without_a_scan_is_set_aside() -> None:
    files = case_files()
    files.add(Case("p"), LABEL, Path("seg"))
    assert files.scans() == []
    assert "label of a study without a scan" in files.problems[0].reason


def test_a_scheme_goes_with_a_label_only() -> None:
    files = case_files()
    for patient in "pq":
        files.add_scan(Case(patient), "T2w", Path(patient), ModalityVocabulary())
    files.add(Case("q"), LABEL, Path("seg"))
    assert [(scan.modality, scan.label_scheme) for scan in files.scans()] == [
        ("t2", None),
        ("t2", "lesion"),
    ]
