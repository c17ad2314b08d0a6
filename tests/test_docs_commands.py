"""Every command that the documentation shows is one that the programs take."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.cli import COMMANDS, main
from brainmvp_lightning.commands.parsing import TeachingParser
from tests.docs.pages import PAGES, all_blocks
from tests.docs.pages import blocks as find_blocks

ROOT = Path(__file__).parents[1]
CALL = re.compile(r"(?:^|next: |')(brainmvp (?!\w+:)[^'\n]+)", re.MULTILINE)  # no error messages


class Parsed(BaseException):
    """The parser has taken a call; what the call asks for is not done."""


def blocks(text: str) -> Iterator[str]:
    """Yield the code blocks of a page, lines that go on in one piece."""
    for block in find_blocks(text, ""):
        yield re.sub(r"\\\n\s*", "", block.text)


def spans(text: str) -> list[str]:
    """Return what stands between single backticks outside of code blocks."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def calls(text: str) -> list[str]:
    """Return the calls of ``brainmvp`` in the code blocks of a page, and the whole ones in prose.

    A call in prose is whole if it has options and no dots that stand for others.
    """
    found = [call for block in blocks(text) for call in CALL.findall(block)]
    in_prose = [span for span in spans(text) if span.startswith("brainmvp ")]
    return found + [call for call in in_prose if " -" in call and "..." not in call]


def write_files(call: str, folder: Path) -> None:
    """Put into a folder what a call reads: configurations, those of runs, blocks that are files."""
    (folder / "configs").symlink_to(ROOT / "configs")
    for kind, name in re.findall(r"runs/(\w+)/(\w+)/config\.yaml", call):
        for shipped in (ROOT / "configs" / kind).glob(f"**/{name}.yaml"):
            run = folder / "runs" / kind / name
            run.mkdir(parents=True)
            (run / "config.yaml").write_text(shipped.read_text())
    for block in all_blocks():
        if block.file and block.file.removesuffix(".py") in call:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)
    if "-c plan.yaml" in call:  # what `brainmvp plan -o` writes has these parts
        plan = "trainer: {precision: bf16-mixed}\ndata: {init_args: {batch_size: 3}}\n"
        (folder / "plan.yaml").write_text(plan)


def fault(call: str, folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Return why the program refuses a call, which is parsed in `folder` and goes no further.

    Shipped configurations are those of this checkout. The ``config.yaml`` of a run is the file
    that the run was started with. Blocks of pages that are named as files are there.
    """
    write_files(call, folder)
    patch.chdir(folder)
    parse, depth = TeachingParser.parse_args, 0

    def parse_only(self: TeachingParser, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        depth += 1
        result = parse(self, *args, **kwargs)
        depth -= 1
        if depth == 0:  # parsers call each other
            raise Parsed
        return result

    patch.setattr(TeachingParser, "parse_args", parse_only)
    words = shlex.split(call, comments=True)[1:]
    try:
        code: Any = main(words)
    except Parsed:
        return ""
    except SystemExit as stop:
        code = stop.code
    # A command without options, such as list, has been run.
    return f"exit code {code}" if code else ""


def all_calls() -> list[Any]:
    """Each call once, with the first page that has it."""
    pages = {call: page for page in reversed(PAGES) for call in calls(page.read_text())}
    return [pytest.param(call, id=f"{pages[call].name}: {call[:60]}") for call in pages]


@pytest.mark.parametrize("call", all_calls())
def test_the_program_takes_each_call(
    call: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reason = fault(call, tmp_path, monkeypatch)
    assert not reason, f"{call}\n{reason}: {capsys.readouterr().err}"


def test_the_pages_show_every_command_of_the_program() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    code = "\n".join([*blocks(text), *spans(text)])
    named = set(re.findall(r"^brainmvp (?:--import \w+ )?(\w+)", code, re.MULTILINE))
    assert named - set(COMMANDS) == set()
    assert set(COMMANDS) - {"validate", "demo"} <= named
    assert {"fit", "test", "predict", "segment", "prepare", "doctor", "experiment", "weights"} <= {
        call.split()[1] for call in calls(text)
    }


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("brainmvp fitt -c configs/demo/segment.yaml", "did you mean 'fit'?"),
        ("brainmvp fit -c configs/demo/segmemt.yaml", "did you mean 'configs/demo/segment.yaml'"),
        ("brainmvp fit -c configs/demo/segment.yaml --model.weigths x", "did you mean 'weights'"),
        ("brainmvp fit -c configs/demo/segment.yaml --model.ema yes", "ema"),
        ("brainmvp fit -c configs/demo/pretrain.yaml --model.backbone unet3e", "'unet3d'"),
        ("brainmvp test -c runs/finetune/brats/config.yaml --ckpt_path best", "runs/finetune"),
        ("brainmvp prepare --config configs/prepare/ixi.yaml --sauce.root x", "sauce"),
        ("brainmvp doctor --config configs/prepare/ixi.yaml --qick", "qick"),
        ("brainmvp segment MODEL t1.nii.gz", "out"),
        ("brainmvp segment MODEL t1.nii.gz -o out --mising zeros", "mising"),
        ("brainmvp segment MODEL t1.nii.gz -o out --missing ones", "missing"),
        ("brainmvp experiment ablations --config x.yaml", "did you mean 'ablation'?"),
        ("brainmvp experiment ablation --config configs/experiments/none.yaml", "none.yaml"),
        ("brainmvp weights exprot MODEL --output x", "did you mean 'export'?"),
        ("brainmvp weights export MODEL --output x --format onnx", "onnx"),
        ("brainmvp list backbone", "did you mean 'backbones'?"),
    ],
)
def test_a_wrong_call_is_found(
    call: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fault(call, tmp_path, monkeypatch) == "exit code 2"
    assert words in capsys.readouterr().err


def test_calls_are_found_where_pages_have_them() -> None:
    page = """
Say `brainmvp list`, `brainmvp prepare ... --verify` or `brainmvp weights export A
--output B`.
```bash
brainmvp fit -c a.yaml \\
  --model.weights b    # why
brainmvp segment MODEL patients/* -o out
sbatch --wrap 'brainmvp prepare --config a.yaml \\
  --shard 1/8'
```
brainmvp is a program.
```
4 errors; next: brainmvp prepare --config a.yaml
brainmvp fit: error: no
```
"""
    assert calls(page) == [
        "brainmvp fit -c a.yaml --model.weights b    # why",
        "brainmvp segment MODEL patients/* -o out",
        "brainmvp prepare --config a.yaml --shard 1/8",
        "brainmvp prepare --config a.yaml",
        "brainmvp weights export A --output B",
    ]


def missing_targets(text: str, makefile: str) -> set[str]:
    """Return the targets of ``make`` that a page names and the makefile lacks."""
    code = "\n".join([*blocks(text), *spans(text)])
    return set(re.findall(r"^make ([\w-]+)", code, re.MULTILINE)) - set(
        re.findall(r"^([\w-]+):", makefile, re.MULTILINE)
    )


def missing_files(text: str) -> set[str]:
    """Return the files and folders of this checkout that a page names and that are not there.

    Names with braces stand for several files, those with stars for any.
    """
    code = "\n".join([*blocks(text), *spans(text)])
    named = re.findall(r"\b(?:benchmarks|configs|tests|brainmvp_lightning)/[\w./{},*-]*", code)
    return {
        name
        for name in (name.rstrip(".,") for name in named)
        if not (any(ROOT.glob(name.rstrip("/"))) if "{" not in name else True)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_page_names_targets_and_files_that_are_there(page: Path) -> None:
    text = page.read_text()
    assert missing_targets(text, (ROOT / "Makefile").read_text()) == set()
    assert missing_files(text) == set()


def test_targets_and_files_that_are_not_there_are_found() -> None:
    page = "`make bench`\n```\nmake bentch\npython benchmarks/scale.py\n```\n`benchmarks/scales.py`"
    assert missing_targets(page, (ROOT / "Makefile").read_text()) == {"bentch"}
    assert missing_files(page) == {"benchmarks/scales.py"}
