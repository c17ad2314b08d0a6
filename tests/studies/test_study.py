from brainmvp_lightning.studies.study import study_id


def test_the_id_joins_what_is_there() -> None:
    assert study_id("brats", "BraTS2021_00000", "") == "brats_BraTS2021_00000"
    assert study_id("ixi", "002", "1") == "ixi_002_1"


def test_the_id_is_fit_for_a_file_name_and_still_unique() -> None:
    first, second = study_id("a", "x/y", ""), study_id("a", "x y", "")
    assert first.startswith("a_x-y-")
    assert first != second
    assert "/" not in first


def test_a_path_cannot_leave_the_folder() -> None:
    assert not study_id("..", "../..", "").startswith(".")


def test_a_long_name_is_shortened() -> None:
    assert len(study_id("a", "p" * 500, "")) < 140
    assert study_id("a", "p" * 500, "") != study_id("a", "p" * 501, "")
