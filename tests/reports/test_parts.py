"""Configurations, privacy, charts, pictures and volumes of a page."""

import base64
import gzip
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainmvp_lightning.reports import case_tables, page
from brainmvp_lightning.reports.budget import Budget
from brainmvp_lightning.reports.case_counts import counts_of_regions
from brainmvp_lightning.reports.case_tables import class_table, segmentation_table
from brainmvp_lightning.reports.charts import Line, embed, line_chart, quantile, ticks
from brainmvp_lightning.reports.configuration import differences, flatten
from brainmvp_lightning.reports.curve_section import group_curves
from brainmvp_lightning.reports.images import draw_planes, focus
from brainmvp_lightning.reports.metrics import Curve
from brainmvp_lightning.reports.names import name_runs
from brainmvp_lightning.reports.picture_section import choose_epochs
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import read_run
from brainmvp_lightning.reports.small_volumes import LONGEST_EDGE, read_grey
from brainmvp_lightning.volumes.nifti import write_nifti
from tests.reports.folders import (
    AFFINE,
    CASES,
    case_row,
    case_rows,
    write_classification,
    write_finetuning,
    write_pretraining,
    write_worst,
)


def test_only_keys_that_differ_are_compared() -> None:
    first = flatten({"model": {"class_path": "a.b.Net", "init_args": {"width": 8, "bias": True}}})
    second = flatten({"model": {"class_path": "a.b.Net", "init_args": {"width": 9, "bias": True}}})
    assert first == {"model": "Net", "model.width": "8", "model.bias": "true"}
    third = {**second, "trainer.default_root_dir": "elsewhere", "extra": "1"}
    assert differences([first, second, third]) == {
        "extra": [None, None, "1"],
        "model.width": ["8", "9", "9"],
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/study one/cache", "…/cache"),
        ("/home/alice", "…"),
        ("/data/mystudy", "…/mystudy"),
        ("C:\\Users\\alice\\cache", "…/cache"),
        ("s3://bucket/alice/cache", "…/cache"),
        ("https://bob:pw@srv:8080/x/cache", "…/cache"),
        ("s3://AKIA:secret@bucket/c", "…/c"),
        ("got https://srv/x/cache?token=abc/def, and more", "got …/cache, and more"),
        ("https://bob:p/w@srv", "…"),
        ("http://[bob:pw@srv/x", "…"),
        ("https://srv/home/alice", "…"),
        ("mount alice@host:/mnt/x/y", "mount …/y"),
        ("host:/mnt/alice/x", "host:…/x"),
        ("-I/home/alice/study/include", "-I…/include"),
        ("~/cache/mine", "…/mine"),
        ("found /scratch/x/y.csv, and 3 more", "found …/y.csv, and 3 more"),
        ("cache/gliomas", "cache/gliomas"),
        ("train/total 0.5", "train/total 0.5"),
        ("../runs/a", "../runs/a"),
        ("2 x cuda", "2 x cuda"),
    ],
)
def test_paths_are_cut_to_what_names_nobody(text: str, shown: str) -> None:
    assert Privacy().text(text) == shown
    assert Privacy(with_paths=True).text(text) == text


def test_own_user_and_machine_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-node-17.hospital.org")
    monkeypatch.setattr("getpass.getuser", lambda: "alice.smith")
    shown = Privacy().text("alice.smith on gpu-node-17 of gpu-node-17.hospital.org")
    assert shown == "… on … of …"


def test_a_case_has_the_same_number_in_all_runs() -> None:
    privacy = Privacy()
    privacy.number_cases(["b", "a", "b"])
    assert [privacy.case(study) for study in ("a", "b", "a")] == ["case 1", "case 2", "case 1"]
    assert Privacy(with_ids=True).case("b") == "b"


def test_names_of_runs_are_short_different_and_name_nobody() -> None:
    paths = [Path(f"/home/alice/runs/{arm}/seed_0") for arm in ("a", "b")]
    assert name_runs(paths) == ["a/seed_0", "b/seed_0"]
    assert name_runs(paths[:1]) == ["seed_0"]
    assert name_runs([Path("/home/alice/run"), Path("/home/bob/run")]) == ["run (1)", "run (2)"]
    assert name_runs([Path("/home/alice")]) == ["run"]


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.03, 0.97) == [0.5] or ticks(0.03, 0.97) == [0.2, 0.4, 0.6, 0.8]
    assert ticks(0, 4000) == [0, 1000, 2000, 3000, 4000]
    assert quantile([0, 1, 2, 3], 0.5) == 1.5


def test_embedded_data_cannot_end_their_element() -> None:
    text = embed({"name": "</script><b>"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><b>"}


def test_a_chart_draws_each_curve_and_escapes_its_title() -> None:
    lines = [
        Line("a", 0, 0, False, Curve((0, 10), (1.0, 2.0))),
        Line("b", 1, 1, True, Curve((5,), (1.5,))),
        Line("c", 2, 2, False, Curve((), ())),
    ]
    page = line_chart("<loss>", lines)
    assert page.count("<polyline") == 1
    assert page.count("<circle") == 1
    assert "&lt;loss&gt;" in page
    assert not line_chart("empty", lines[2:])


def test_losses_share_charts_and_scores_have_their_own(tmp_path: Path) -> None:
    runs = [
        read_run(write_pretraining(tmp_path / "p"), "p"),
        read_run(write_finetuning(tmp_path / "f"), "f"),
    ]
    groups = group_curves(runs)
    assert {heading: list(charts) for heading, charts in groups.items()} == {
        "Losses and training · pre-training": ["total"],
        "Losses and training · segmentation": ["total"],
        "Validation · segmentation": ["dice"],
        "Templates · pre-training": ["mean"],
    }
    shared = groups["Losses and training · pre-training"]["total"]
    assert [(line.label, line.is_dashed) for line in shared] == [
        ("p · train/total", True),
        ("p · val/total", False),
    ]


def test_cases_stand_side_by_side_the_worst_first() -> None:
    table = segmentation_table([("a", case_rows()), ("b", case_rows(0.05)[1:])], Privacy())
    assert table.heads[5:8] == ("a: Dice", "a: HD95 mm", "a: predicted ml")
    missed = table.rows[0]
    assert missed[:6] == ("case 1", "toy", "t1+flair", "TC", "3.00", "0.000")
    assert missed[10] == "missed"
    assert set(missed[11:]) == {""}  # the other run lacks that row
    dice = [min(float(row[i]) for i in (5, 11) if row[i]) for row in table.rows]
    assert dice == sorted(dice)
    page = table.to_html()
    assert page.count('<tr class="part">') == 1  # the case without FLAIR
    assert 'value="*" selected' in page


def test_a_long_table_loses_subsets_before_complete_cases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(case_tables, "MOST_ROWS", 3)
    complete = [case_row(f"s{number}", "WT", 0.6 + number / 10) for number in range(3)]
    parts = [case_row(f"s{number}", "WT", 0.1, modalities="t1") for number in range(3)]
    page = segmentation_table([("run", [*parts, *complete])], Privacy(with_ids=True)).to_html()
    assert '<tr class="part">' not in page
    assert page.index("0.600") < page.index("0.700") < page.index("0.800")
    assert "3 more rows are left out" in page


def test_each_grid_has_its_own_counts_and_rows() -> None:
    rows = [
        case_row("a", "WT", 0.0, space="prepared"),
        case_row("a", "WT", 0.9, space="native"),
    ]
    counts = counts_of_regions([("run", rows)])
    shown = counts.partition("<details>")[0]
    assert "native" in shown
    assert "prepared" in shown
    assert '<b class="bad">1</b>' in shown
    table = segmentation_table([("run", rows)], Privacy(with_ids=True))
    assert table.heads[4] == "grid"
    assert [(row[4], row[6]) for row in table.rows] == [("prepared", "0.000"), ("native", "0.900")]


def test_the_least_sure_answer_comes_first(tmp_path: Path) -> None:
    run = read_run(write_classification(tmp_path / "c"), "c")
    rows = class_table([("c", run.classes)], Privacy(with_ids=True)).rows
    assert rows[0] == (CASES[0], "toy", "t1", "HGG", "LGG", "0.200", "no")
    assert [row[-1] for row in rows] == ["no", "yes", "yes"]


def test_an_undefined_dice_is_not_the_worst() -> None:
    rows = [case_row("a", "ET", float("nan"), outcome="both_empty"), case_row("b", "ET", 0.9)]
    table = segmentation_table([("run", rows)], Privacy(with_ids=True))
    assert [row[0] for row in table.rows] == ["b", "a"]


def test_epochs_are_spread_with_both_ends() -> None:
    epochs = [str(number) for number in range(100)]
    chosen = choose_epochs(epochs, 5)
    assert chosen == ["0", "25", "50", "74", "99"]
    assert choose_epochs(epochs[:3], 5) == epochs[:3]


def test_pictures_are_ordered_by_number(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for end in ("10000", "test", "0001", "9999", "last"):
        (tmp_path / "pictures" / f"dots_{end}.png").write_bytes(end.encode())
    ends = list(read_run(tmp_path, "run").pictures["dots"])
    assert ends == ["0001", "9999", "10000", "last", "test"]


def test_an_undefined_dice_does_not_make_a_case_the_worst(tmp_path: Path) -> None:
    folder = write_finetuning(tmp_path / "run")
    for study, dice in (("undefined", {"TC": None}), ("better", {"TC": None, "WT": 0.9})):
        write_worst(folder / "test" / "volumes" / study)
        facts = {"modality": "flair", "names": ["background"], "dice": dice}
        (folder / "test" / "volumes" / study / "case.json").write_text(json.dumps(facts))
    run = read_run(folder, "run")
    found = page._read_worst([run], Privacy(with_ids=True), page.Report())
    assert [study for _, study, _ in found] == [CASES[0], "better", "undefined"]


def test_large_volumes_shrink_in_place(tmp_path: Path) -> None:
    size = LONGEST_EDGE * 2 - 1  # the last block is not full
    volume = np.zeros((size, 6, 6), np.float32)
    volume[size // 2 :] = 2.0
    write_nifti(tmp_path / "t1.nii.gz", volume, AFFINE)
    small = read_grey(tmp_path / "t1.nii.gz")
    assert small is not None
    assert small.array.shape == (LONGEST_EDGE, 3, 3)
    assert small.array.dtype == np.uint8
    assert set(np.unique(small.array)) >= {0, 255}
    assert small.voxel_mm == (4, 4, 4)
    # The centre of the first block of 2 x 2 x 2 voxels of 2 mm lies 1 mm from their first one's.
    assert (small.affine @ (0, 0, 0, 1))[:3] == pytest.approx((1, 1, 1))
    image = nib.Nifti1Image.from_bytes(gzip.decompress(small.to_nifti()))
    assert np.array_equal(np.asarray(image.dataobj), small.array)
    assert image.affine == pytest.approx(small.affine)


def test_planes_go_through_the_annotation_with_front_and_top_up() -> None:
    image = np.zeros((20, 20, 20), np.uint8)
    label = np.zeros_like(image)
    label[14:18, 15:19, 12:16] = 1  # right, front, top
    assert focus(image, {"annotation": label}) == (14, 15, 12)
    picture = Image.open(io.BytesIO(draw_planes(image, {"annotation": label}, (1, 1, 1), 100)))
    assert picture.size == (308, 200)
    row = np.asarray(picture)[100:]
    axial, coronal, sagittal = row[:, :100], row[:, 104:204], row[:, 208:]
    for plane in (axial, coronal, sagittal):
        blue = plane[..., 2].astype(int)
        assert blue[5:40, 60:].max() > 100  # upper right
        assert blue[50:, :60].max() < 30


def test_a_budget_takes_what_fits_and_names_the_rest() -> None:
    budget = Budget(most=30_000)
    assert budget.take(b"x" * 1000, "small") == base64.b64encode(b"x" * 1000).decode()
    assert budget.take(b"x" * 10_000, "large") is None
    assert budget.left_out == ["large"]
    assert budget.spent < 30_000
