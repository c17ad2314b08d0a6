"""A stand-in for the program: takes its words, leaves its files, and fails or waits when told to.

It imports little, for tests start it often. Its scores are those of the file that its task names.
"""

import os
import sys
import time
from pathlib import Path

import yaml


def main(words: list[str]) -> int:
    sys.stdout.write(f"threads {os.environ['OMP_NUM_THREADS']}\n")
    sys.stdout.flush()
    return {"fit": fit, "test": test}[words[0]](words)


def fit(words: list[str]) -> int:
    base, overrides = Path(words[2]), Path(words[4])
    folder = Path(words[words.index("--trainer.default_root_dir") + 1])
    config = yaml.safe_load(base.read_text())
    changes = yaml.safe_load(overrides.read_text())
    options = {**config["model"]["init_args"], **changes.get("model", {}).get("init_args", {})}
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    is_resumed = words[-2:] == ["--ckpt_path", "last"]
    with (folder / "starts.txt").open("a") as file:
        file.write("resumed\n" if is_resumed else "fresh\n")
    if is_resumed and (folder / "checkpoints" / "last.ckpt").read_text() == "finished":
        return 0  # as a trainer that has nothing left to do
    (folder / "checkpoints" / "last.ckpt").write_text("")
    if options.get("wait") and Path(options["wait"]).is_dir():
        time.sleep(60)
    if options.get("fail"):
        sys.stderr.write("a step\rthe loss is NaN\n")
        return 3
    if weights := options.get("weights"):
        assert Path(weights).is_file(), weights
    if not options.get("last_only"):
        (folder / "checkpoints" / "best.ckpt").write_text("")
    (folder / "encoder.safetensors").write_text("")
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    return 0


def test(words: list[str]) -> int:
    config = Path(words[2])
    assert Path(words[4]).is_file(), words[4]
    scores = yaml.safe_load(config.read_text()).get("scores")
    (config.parent / "test").mkdir(exist_ok=True)
    text = Path(scores).read_text() if scores else ""
    (config.parent / "test" / "cases.csv").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
