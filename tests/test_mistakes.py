"""The page on mistakes quotes what the program says: each one is made, and the message compared."""

import csv
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from brainmvp_lightning.cli import main
from tests.conftest import write_studies
from tests.datamodules.labelled_cohort import write_cohort

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / ".github" / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PAPER = ROOT / "configs" / "pretrain" / "brainmvp_uniformer.yaml"
PRETRAIN = ROOT / "configs" / "demo" / "pretrain.yaml"
SEGMENT = ROOT / "configs" / "demo" / "segment.yaml"

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*studies are left out.*"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*"),
]


def rows(title: str) -> dict[str, str]:
    """Return the quoted message of each row below a title of the page."""
    section = PAGE[PAGE.index(f"\n## {title}\n") + 4 :]
    section = section[: section.find("\n## ")] if "\n## " in section else section
    return dict(re.findall(r"^\| (.+?) \| `([^`]+)` \|", section, re.MULTILINE))


def pattern(quoted: str) -> str:
    """Return what a quoted message looks like; dots stand for anything."""
    return ".+".join(re.escape(part) for part in quoted.split("..."))


@dataclass(frozen=True)
class Kit:
    """What mistakes are made with.

    Attributes:
        folder: Empty at first; for files of a mistake.
        raw: Studies as NIfTI files, with their table.
        cache: The same, prepared.
        labelled: A cache with annotations.
        run: A finished run of one step.
    """

    folder: Path
    raw: Path
    cache: Path
    labelled: Path
    run: Path

    def write(self, text: str, name: str = "mine.yaml") -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def pretrain(self, *words: str, command: str = "fit") -> list[str]:
        """Return the call of a tiny pre-training."""
        return [*pretraining(command, self.cache, self.folder / "run"), *words]

    def segment(self, *words: str, command: str = "fit") -> list[str]:
        """Return the call of a tiny fine-tuning."""
        options = {
            "data.cache": self.labelled,
            "data.datasets": "[tumour]",
            "data.crop_size": "[16,16,16]",
            "data.num_workers": 0,
            "data.placement": "centre",
            "model.weights": "null",
            "model.substitution": "null",
            "trainer.default_root_dir": self.folder / "run",
            "trainer.callbacks": "null",
        }
        return [command, "-c", str(SEGMENT), *pairs(options), *words]


def pairs(options: dict[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def pretraining(command: str, cache: Path, run: Path) -> list[str]:
    options = {
        "data.cache": cache,
        "data.crop_size": "[16,16,16]",
        "data.num_workers": 0,
        "model.method.templates.shape": "[24,24,24]",
        "model.method.masking.block_size": 4,
        "model.method.contrast": "null",
        "trainer.default_root_dir": run,
        "trainer.max_epochs": 1,
        "trainer.limit_train_batches": 1,
        "trainer.limit_val_batches": 0,
        "trainer.enable_progress_bar": "false",
        "trainer.callbacks": "LastCheckpoint",
    }
    return [command, "-c", str(PRETRAIN), *pairs(options)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert main(pretraining("fit", cache_folder, folder)) == 0
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def kit(
    tmp_path: Path,
    cache_folder: Path,
    cohort: Path,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Kit:
    monkeypatch.chdir(tmp_path)
    return Kit(tmp_path, cache_folder.parent, cache_folder, cohort, finished)


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the program says to a wrong call, on one line."""
    capsys.readouterr()
    try:
        code: object = main(words)
    except SystemExit as stop:
        code = stop.code
    text = capsys.readouterr().err
    assert code == 2, text
    lines = [line for line in text.splitlines() if line and not line.startswith("Seed set to")]
    assert len(lines) <= 2, text  # the sentence, and where help is
    return " ".join(lines)


LINE = {kind: quoted for kind, quoted in rows("The command line").items() if "` " not in kind}


@pytest.mark.parametrize("options", LINE)
def test_a_wrong_command_line_is_answered_as_the_page_says(
    options: str, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "-c", str(PAPER), *shlex.split(options.strip("`"))]
    text = said(words, capsys)
    assert text.startswith("brainmvp fit: error: ")
    assert re.search(pattern(LINE[options]), text), text


CALLS = {
    "`fitt` in the place of `fit`": ["fitt", "-c", str(PAPER)],
    "`fit` without a configuration": ["fit"],
    "`list` of what there is none": ["list", "backbone"],
}


def partial_masking(kit: Kit) -> list[str]:
    whole = PAPER.read_text()
    without = whole.replace("          class_path: random_cubes   # Algorithm 1\n", "").replace(
        "init_args: {block_size: 8, ratio: 0.875}", "block_size: 8"
    )
    assert whole.count("\n") == without.count("\n") + 1
    return ["-c", kit.write(without)]


FILES: dict[str, Callable[[Kit], list[str]]] = {
    "a file that is not there": lambda _: ["-c", str(PAPER).replace("former", "forme")],
    "a folder": lambda _: ["-c", str(PAPER.parent)],
    "a file that is no text": lambda _: ["-c", str(ROOT / ".github" / "docs" / "doctor.png")],
    "a tab at the beginning of a line": lambda kit: [
        kit.write("trainer:\n\tmax_epochs: 3\n")  # a file that stands alone is one after -c
    ],
    "a wrong indentation": lambda kit: [
        "-c",
        kit.write("trainer:\n  max_epochs: 3\n   devices: 1\n"),
    ],
    "a key twice": lambda kit: ["-c", kit.write("trainer:\n  max_epochs: 3\n  max_epochs: 4\n")],
    "a class, and a dotted option of it": lambda kit: [
        *("-c", str(PAPER)),
        *("-c", kit.write("model:\n  backbone: unet3d\n  backbone.widths: [8, 16]\n")),
    ],
    "a key one level too high": lambda kit: [
        *("-c", str(PAPER)),
        *("-c", kit.write("max_epochs: 3\n")),
    ],
    "a key beside class_path": lambda kit: [
        *("-c", str(PAPER)),
        *("-c", kit.write("data:\n  class_path: PretrainDataModule\n  batch_size: 3\n")),
    ],
    "a misspelt key of a group of options": lambda kit: [
        *("-c", str(PAPER)),
        *("-c", kit.write("model:\n  init_args:\n    optimizer:\n      learning_rat: 1\n")),
    ],
    "a misspelt key of the trainer": lambda kit: [
        *("-c", str(PAPER)),
        *("-c", kit.write("trainer:\n  max_stpes: 3\n")),
    ],
    "a misspelt key": lambda kit: [
        *("-c", kit.write(PAPER.read_text().replace("block_size", "blok_size"))),
    ],
    "options of a task without its class": lambda kit: [
        *("-c", kit.write("model: {init_args: {compile: true}}\n")),
    ],
    "options of a part without its class": partial_masking,
    "a layer of pre-training on a fine-tuning": lambda _: [
        *("-c", str(SEGMENT)),
        *("-c", str(ROOT / "configs" / "layers" / "masking" / "grid_blocks.yaml")),
    ],
    "a list for a number": lambda kit: [
        *("-c", str(PAPER)),
        *("-c", kit.write("data: {init_args: {batch_size: [3]}}\n")),
    ],
    "nothing": lambda kit: ["-c", str(PAPER), "-c", kit.write("# nothing yet\n")],
    "a list of options": lambda kit: ["-c", kit.write("- trainer\n- model\n")],
}


@pytest.mark.parametrize("kind", [*CALLS, *FILES])
def test_a_wrong_call_or_file_is_answered_as_the_page_says(
    kind: str, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    words = CALLS[kind] if kind in CALLS else ["fit", *FILES[kind](kit)]
    quoted = {**rows("The command line"), **rows("YAML files")}[kind]
    text = said(words, capsys)
    assert re.search(pattern(quoted), text), text


def others(kit: Kit, weights: str, *words: str) -> list[str]:
    return kit.segment("--model.weights", weights, *words)


DATA: dict[str, Callable[[Kit], list[str]]] = {
    "words for a number of CPUs": lambda kit: kit.pretrain("--trainer.devices", "two"),
    "a run folder that is a file": lambda kit: kit.pretrain(
        "--trainer.default_root_dir", kit.write("", "file")
    ),
    "a cache that is not there": lambda kit: kit.pretrain("--data.cache", "nowhere"),
    "a folder of raw files as cache": lambda kit: kit.pretrain("--data.cache", str(kit.raw)),
    "a modality that the cache lacks": lambda kit: kit.pretrain("--data.modalities", "[t1, t3]"),
    "modalities that no study has": lambda kit: kit.segment("--data.modalities", "[adc]"),
    "annotations of another scheme": lambda kit: kit.segment("--data.modalities", "[adc]"),
    "an unknown label scheme": lambda kit: kit.segment("--data.label_scheme", "brats2032"),
    "a data set that is not in the cache": lambda kit: kit.segment("--data.datasets", "[tumor]"),
    "crops that the network cannot take": lambda kit: kit.pretrain(
        "--data.crop_size", "[20,20,20]"
    ),
    "blocks that do not fill the crop": lambda kit: kit.pretrain(
        "--model.method.masking.block_size", "5"
    ),
    "data of another task": lambda kit: kit.segment("--data", "PretrainDataModule"),
    "a table that is not there": lambda _: prepare("table", "--source.path", "none.csv"),
    "a data set that is not there": lambda _: prepare("bids", "--source.root", "/data/nothing"),
    "a path without checkpoint": lambda kit: kit.pretrain("--ckpt_path", "none.ckpt"),
    "a test without checkpoint": lambda kit: kit.segment(command="test"),
    "a damaged checkpoint": lambda kit: kit.pretrain("--ckpt_path", kit.write("abc", "bad.ckpt")),
    "the checkpoint of another backbone": lambda kit: kit.pretrain(
        *("--ckpt_path", last(kit), "--model.backbone", "unet3d"),
        *("--model.backbone.widths", "[8,16]", "--model.backbone.depths", "[1,1]"),
    ),
    "the checkpoint of other sizes": lambda kit: kit.pretrain(
        "--ckpt_path", last(kit), "--model.method.templates.shape", "[16,16,16]"
    ),
    "weights that are not there": lambda kit: others(kit, "nowhere.safetensors"),
    "weights that are damaged": lambda kit: others(kit, kit.write("abc", "bad.ckpt")),
    "a pre-training in the place of a fine-tuning": lambda kit: kit.segment(
        "--ckpt_path", last(kit), command="test"
    ),
}


def prepare(source: str, *words: str) -> list[str]:
    return ["prepare", "--source", source, *words, "--cache", "cache"]


def last(kit: Kit) -> str:
    return str(kit.run / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("kind", DATA)
def test_wrong_data_and_checkpoints_are_answered_as_the_page_says(
    kind: str, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    quoted = {**rows("Machine"), **rows("Data"), **rows("Checkpoints")}[kind]
    text = said(DATA[kind](kit), capsys)
    assert re.search(pattern(quoted), text), text


def test_a_gpu_where_there_is_none_is_refused(
    kit: Kit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    text = said(kit.pretrain("--trainer.accelerator", "gpu"), capsys)
    assert rows("Machine")["a GPU where there is none"] in text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("more GPUs than there are", ("--trainer.devices", "4")),
        (
            "bfloat16 on an old GPU",
            ("--trainer.devices", "2", "--trainer.precision", "bf16-mixed"),
        ),
    ],
)
def test_gpus_that_cannot_do_it_are_named(
    kind: str,
    words: tuple[str, ...],
    kit: Kit,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    text = said(kit.pretrain("--trainer.accelerator", "gpu", *words), capsys)
    assert rows("Machine")[kind] in text


def test_wandb_without_account_says_what_to_do(
    kit: Kit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(kit.folder))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_MODE", "online")
    text = said(kit.pretrain("--trainer.logger", "wandb"), capsys)
    assert re.search(pattern(rows("Machine")["wandb without account"]), text), text


def test_a_split_without_studies_is_named(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    with (kit.raw / "scans.csv").open(newline="") as file:
        header, *scans = list(csv.reader(file))
    table = kit.raw / "all_train.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([header, *[[*row[:4], "train"] for row in scans]])
    words = prepare("table", "--source.path", str(table), "--workers", "1")
    assert main(words) == 0
    validates = ("--trainer.limit_val_batches", "1.0")
    text = said(kit.pretrain("--data.cache", "cache", *validates), capsys)
    assert re.search(pattern(rows("Data")["a split without studies"]), text), text


def test_a_truncated_file_is_set_aside_and_named(kit: Kit) -> None:
    table = write_studies(kit.folder / "studies")
    broken = table.parent / "a" / "a_t1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:1000])
    shutil.rmtree(table.parent / "g")
    assert main(prepare("table", "--source.path", str(table), "--workers", "1")) == 0
    told = Path("cache/rejected.csv").read_text()
    assert rows("Data")["a truncated NIfTI file"] in told


def test_each_row_of_the_page_is_made() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    titles = ("YAML files", "Machine", "Data", "Checkpoints")
    kinds = [kind for title in titles for kind in rows(title)]
    assert [kind for kind in kinds if f'"{kind}"' not in text] == []
    assert set(rows("The command line")) == {*LINE, *CALLS}
    assert len(LINE) + len(CALLS) + len(kinds) > 70
