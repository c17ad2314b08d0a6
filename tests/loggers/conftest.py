"""One short fine-tuning by the program itself, with all loggers at once."""

from pathlib import Path

import pytest

from brainmvp_lightning.cli import main
from tests.datamodules.labelled_cohort import NEW, Patient, write_cohort

COHORT = tuple(
    Patient(f"subject-{name}-1968", "flair t1", split, scheme="brats2023", values=NEW)
    for name, split in (("smith", "train"), ("jones", "train"), ("brown", "val"), ("clark", "val"))
)
"""Studies whose names would be found again."""

CONFIG = """
seed_everything: 5
trainer:
  default_root_dir: {run}
  accelerator: cpu
  devices: 1
  max_epochs: 2
  log_every_n_steps: 1
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  logger: [tensorboard, {{class_path: wandb, init_args: {{mode: offline}}}}]
  callbacks: [LastCheckpoint, {{class_path: OverlayPictures, init_args: {{every_seconds: 0}}}}]
model:
  class_path: SegmentationTask
  init_args:
    backbone: {{class_path: unet3d, init_args: {{widths: [8, 16], depths: [1, 1]}}}}
    substitution: null
    loss: {{auxiliary: []}}
data:
  class_path: SegmentationDataModule
  init_args: {{cache: {cache}, crop_size: [16, 16, 16], batch_size: 1, num_workers: 0}}
"""

QUIET = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:(?s).*(JsonargparseDeprecation|deprecated in v4).*"),
]


def write_config(folder: Path) -> None:
    """Write the cohort and the configuration of the run."""
    write_cohort(folder / "cache", COHORT)
    text = CONFIG.format(run=folder / "run", cache=folder / "cache")
    (folder / "run.yaml").write_text(text)


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name must not leave the machine."""
    return tmp_path_factory.mktemp("ward_seven")


@pytest.fixture(scope="module")
def run(private: Path) -> Path:
    """The folder of a run with three loggers."""
    write_config(private)
    fit(private)
    return private / "run"


def fit(folder: Path, *words: str) -> None:
    """Train, and wait until wandb has written all it has."""
    import wandb

    assert main(["fit", "--config", str(folder / "run.yaml"), *words]) == 0
    wandb.teardown()  # the end of a program does this
