"""The launchers of the page on clusters, as far as one machine goes."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from brainmvp_lightning.callbacks.interruption import TRY_AGAIN, SaveOnSignal
from brainmvp_lightning.cli import main
from tests.end_to_end.test_crash import CONFIG

ROOT = Path(__file__).parents[2]
DOCS = ROOT / ".github" / "docs"

WATCH = '''
"""Notes the steps of each process, and waits or pulls the plug at one of them."""
import os, signal, time
from pathlib import Path
from lightning.pytorch.callbacks import Callback

class Watch(Callback):
    def __init__(self, file: str, kill_at: int = 0) -> None:
        self.file, self.kill_at = file, kill_at

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        step, rank = trainer.global_step, trainer.global_rank
        life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        environment = type(trainer.strategy.cluster_environment).__name__
        with open(f"{self.file}.{rank}", "a") as file:
            file.write(f"{life} {step} {environment}\\n")
        if step == self.kill_at and rank == 1 and life == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        if Path(f"{self.file}.slow").exists():
            time.sleep(1.0)
'''


def prepare(
    folder: Path, cache: Path, *, every_steps: int | None = 1, **options: object
) -> dict[str, str]:
    """Write a small configuration and what watches it; return the environment to run it in."""
    (folder / "run").mkdir(parents=True)
    (folder / "watching.py").write_text(WATCH)
    settings = {"devices": 2, "strategy": "ddp", "kill_at": 0, "batch": 1, **options}
    text = CONFIG.format(run=folder / "run", cache=cache, **settings)
    content = yaml.safe_load(text)
    quiet = ("TemplatePictures", "ReconstructionPictures", "EncoderExport")
    callbacks = content["trainer"]["callbacks"]
    content["trainer"]["callbacks"] = [c for c in callbacks if c["class_path"] not in quiet]
    content["trainer"]["callbacks"][0]["init_args"]["every_steps"] = every_steps
    content["data"]["init_args"]["num_workers"] = 0
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    path = f"{folder}:{ROOT}"
    bin_folder = Path(sys.executable).parent
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{folder / 'stubs'}:{bin_folder}:{os.environ['PATH']}",
    }


def steps(folder: Path, rank: int) -> list[tuple[int, int, str]]:
    """Life, step and environment of each training step of a process."""
    file = folder / "run" / f"losses.jsonl.{rank}"
    rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(int(life), int(step), name) for life, step, name in rows]


def commands(launcher: str) -> list[str]:
    """Return the lines of the page that run a launcher, continued lines joined."""
    text = (DOCS / "cluster.md").read_text().replace("\\\n", " ")
    return re.findall(rf"^(?:[A-Z_]+=\d )?{launcher} .*$", text, re.MULTILINE)


@pytest.mark.slow
def test_torchrun_starts_again_from_the_last_checkpoint_when_a_process_is_killed(
    cache_folder: Path, tmp_path: Path
) -> None:
    environment = prepare(tmp_path, cache_folder, kill_at=5)
    (line,) = [line for line in commands("torchrun") if "--standalone" in line]
    line = line.replace("--nproc-per-node 8", "--nproc-per-node 2")
    line = line.replace("--trainer.devices 8", "--trainer.devices 2")
    line = line.replace("configs/pretrain/brainmvp_uniformer.yaml", str(tmp_path / "run.yaml"))
    overlay = ROOT / "configs" / "cluster" / "ddp.yaml"
    line += f" --config {overlay} --trainer.devices 2"
    assert line.startswith("TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 ")
    with subprocess.Popen(
        ["bash", "-c", f"exec env {line}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends its processes, which a kill would leave behind
            process.communicate(timeout=60)
            raise
    assert process.returncode == 0, output[-3000:]
    for rank in range(2):
        rows = steps(tmp_path, rank)
        assert {name for _, _, name in rows} == {"TorchElasticEnvironment"}
        before = [step for life, step, _ in rows if life == 0]
        after = [step for life, step, _ in rows if life == 1]
        # A checkpoint is written after each step, but that of the kill may not have been.
        assert before[:5] == [1, 2, 3, 4, 5]
        assert after[0] in (5, 6)
        assert after == list(range(after[0], 10))
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 9


SRUN = """#!/usr/bin/env bash
# Starts the tasks of one node, and hands the scheduler's signal on to them.
while [[ $1 == --* ]]; do shift; done
pids=()
for rank in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NODEID=0 "$@" &
  pids+=($!)
done
trap 'kill -USR1 "${pids[@]}"' USR1
echo $$ > "$STUBS/srun.pid"
status=0
for pid in "${pids[@]}"; do
  while true; do
    wait "$pid"; code=$?
    kill -0 "$pid" 2> /dev/null || break
  done
  (( code > status )) && status=$code
done
exit $status
"""
SCONTROL = '#!/usr/bin/env bash\necho "$@" >> "$STUBS/scontrol.log"\n'


def write_stub(folder: Path, name: str, text: str) -> None:
    file = folder / "stubs" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


@pytest.mark.slow
def test_the_batch_script_saves_and_queues_again_at_the_schedulers_signal(
    cache_folder: Path, tmp_path: Path
) -> None:
    environment = prepare(tmp_path, cache_folder, every_steps=None)
    write_stub(tmp_path, "srun", SRUN)
    write_stub(tmp_path, "scontrol", SCONTROL)
    environment |= {
        "STUBS": str(tmp_path / "stubs"),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NAME": "brainmvp",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NODELIST": "127.0.0.1",
    }
    script = DOCS / "slurm" / "pretrain.sbatch"
    words = ["bash", str(script), str(tmp_path / "run.yaml"), "--trainer.strategy", "ddp"]
    slow = tmp_path / "run" / "losses.jsonl.slow"
    slow.touch()
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_for(lambda: len(steps(tmp_path, 0)) >= 1, process)
        srun = int((tmp_path / "stubs" / "srun.pid").read_text())
        os.kill(srun, signal.SIGUSR1)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == TRY_AGAIN, output[-3000:]
    assert (tmp_path / "stubs" / "scontrol.log").read_text() == f"requeue {os.getpid()}\n"
    first = [step for _, step, _ in steps(tmp_path, 0)]
    assert first == [step for _, step, _ in steps(tmp_path, 1)]
    assert first[-1] % 3  # not at the end of an epoch, where a checkpoint is written anyway
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == first[-1]
    slow.unlink()
    again = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr[-3000:]
    rows = steps(tmp_path, 1)
    assert [step for _, step, _ in rows] == list(range(1, 10))
    assert {name for _, _, name in rows} == {"SLURMEnvironment"}


def test_directives_of_the_batch_script_ask_for_what_it_relies_on() -> None:
    text = (DOCS / "slurm" / "pretrain.sbatch").read_text()
    directives = re.findall(r"^#SBATCH (\S+)", text, re.MULTILINE)
    assert "--requeue" in directives
    assert any(re.fullmatch(r"--signal=USR1@\d+", directive) for directive in directives)
    assert SaveOnSignal().signal is signal.SIGUSR1
    done = subprocess.run(["bash", "-n", DOCS / "slurm" / "pretrain.sbatch"], check=False)
    assert done.returncode == 0


def test_a_signal_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no signal 'SIGUSR9'"):
        SaveOnSignal("SIGUSR9")


@pytest.mark.parametrize("name", ["ddp", "fsdp", "accumulate"])
def test_overlays_suit_a_run_and_change_nothing_else(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    base = ROOT / "configs" / "pretrain" / "brainmvp_uniformer.yaml"
    overlay = ROOT / "configs" / "cluster" / f"{name}.yaml"
    printed = []
    for more in ([], ["-c", str(overlay)]):
        with pytest.raises(SystemExit) as stop:
            main(["fit", "-c", str(base), *more, "--print_config"])
        assert stop.value.code == 0
        printed.append(yaml.safe_load(capsys.readouterr().out))
    plain, laid = printed
    written = yaml.safe_load(overlay.read_text())
    assert set(written) == {"trainer"}
    same = plain["trainer"].keys() - written["trainer"].keys()
    assert {key: laid["trainer"][key] for key in same} == {
        key: plain["trainer"][key] for key in same
    }
    assert all(laid[key] == plain[key] for key in ("model", "data"))
    strategy = written["trainer"].get("strategy")
    if strategy:
        assert laid["trainer"]["strategy"]["class_path"].endswith(strategy["class_path"])
        for key, value in strategy.get("init_args", {}).items():
            assert laid["trainer"]["strategy"]["init_args"][key] == value
