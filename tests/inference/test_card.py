import yaml

from brainmvp_lightning.evaluation.class_tables import ClassScore
from brainmvp_lightning.evaluation.classification import summarise_classes
from brainmvp_lightning.inference.card import encoder_card, model_card
from tests.inference.fine_tuned import fine_tuned


def header(card: str) -> dict[str, object]:
    _, front, _ = card.split("---\n", 2)
    content: dict[str, object] = yaml.safe_load(front)
    return content


def test_hubs_read_library_task_and_licence_from_the_header() -> None:
    card = model_card(fine_tuned().spec(), {"licence": "cc-by-nc-4.0"}, "tumours")
    assert header(card) == {
        "library_name": "brainmvp_lightning",
        "pipeline_tag": "image-segmentation",
        "tags": ["medical", "mri", "brain", "3d", "pytorch", "segmentation"],
        "license": "cc-by-nc-4.0",
    }


def test_no_licence_is_invented() -> None:
    card = model_card(fine_tuned().spec(), {}, "tumours")
    assert "license" not in header(card)
    assert card.endswith("## Licence\n\nNo licence note was given.\n")


def test_channels_outputs_and_preparation_are_told() -> None:
    card = model_card(fine_tuned(templates=True).spec(), {}, "tumours")
    for line in (
        "# tumours",
        "| network | unet3d(widths=[4, 8], depths=[1, 1]) |",
        "| channels, in order | t1, flair |",
        "| structures, 0 first | background, oedema, core |",
        "| windows, voxels | 8 x 8 x 8 |",
        "| preparation | spacing_mm: 1.0; foreground: auto |",
        "| intensities | percentiles 5.0 and 95.0 of foreground become 0 and 1 |",
        "| missing modalities | learned templates of t1, flair |",
    ):
        assert line in card.splitlines(), line
    assert "brainmvp segment path/to/this/folder" in card
    assert "This is no medical device" in card


def test_what_stands_for_a_missing_modality_is_what_the_model_was_trained_with() -> None:
    spec = fine_tuned(templates=True).spec()
    card = model_card({**spec, "missing": "zeros"}, {}, "tumours")
    assert "| missing modalities | zeros |" in card.splitlines()


def test_results_are_shown_only_if_there_are_any() -> None:
    spec = fine_tuned("classification").spec()
    assert "Not reported here." in model_card(spec, {}, "x")
    card = model_card(spec, {"metrics": {"auc": 0.87654321, "cases": 40}}, "x")
    assert "| auc | 0.8765 |\n| cases | 40 |" in card
    assert "| classes | healthy, ill |" in card


def test_the_metrics_of_a_classification_have_their_intervals() -> None:
    rows = [
        ClassScore.of(
            (1 - p, p),
            ("healthy", "ill"),
            truth="ill" if p > 0.5 else "healthy",
            study=str(p),
            dataset="toy",
            modalities=["t1"],
        )
        for p in (0.1, 0.2, 0.7, 0.9)
    ]
    metrics = summarise_classes(rows, num=20)
    card = model_card(fine_tuned("classification").spec(), {"metrics": metrics}, "x")
    assert "toy, t1: 4 cases:\n\n| metric | cases | value | 95 % |\n|---|---|---|---|\n" in card
    assert "| auc | 4 | 1.0000 | 1.0000 .. 1.0000 |" in card
    assert "| balanced accuracy | 4 | 1.0000 |" in card


def test_the_geometry_of_studies_that_are_resized_is_told() -> None:
    card = model_card(fine_tuned("classification").spec(), {}, "x")
    assert "| resized to, voxels | 10 x 10 x 10 |" in card
    assert "| centre crop, voxels | 8 x 8 x 8 |" in card
    assert "spacing, mm" not in card


def test_what_is_not_recorded_is_said() -> None:
    manifest = {"recipe": {"spacing_mm": 1.0}}
    card = encoder_card(manifest, ["encoder"])
    assert "Images must be prepared as above. It is not recorded here how the images" in card
    assert "the training were scaled; new ones must be so too" in card
    complete = encoder_card({**manifest, "clip": {"lower": 1}}, ["encoder"])
    assert "Images must be prepared and scaled as above. The network" in complete
