"""Each block of each page is run, parsed, or listed with a reason; none is passed over."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from brainmvp_lightning.cli import main
from tests.docs.pages import PAGES, Block, all_blocks, blocks, page_name
from tests.docs.shrinking import shrink_words
from tests.docs.stand_ins import PROGRAMS, REASONS, STAND_INS, is_known, programs_of
from tests.docs.world import PROGRAMS as LINKED
from tests.docs.world import here
from tests.docs.yaml_blocks import OTHERS, call_for
from tests.test_docs_commands import fault

RUN = ("bash", "python")  # by tests/docs/test_pages.py
PARSED = ("yaml", "toml")  # here
SHOWN = ("", "text")  # what programs print, and sketches
DIRECTIVES = ("{toctree}", "{include}")  # by tests/docs/test_site.py
BLOCKS = all_blocks()


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language.split(" ")[0] in languages]


def test_each_block_is_of_a_language_that_something_is_done_with() -> None:
    treated = of(*RUN, *PARSED, *SHOWN, *DIRECTIVES)
    assert [str(block) for block in BLOCKS if block not in treated] == []
    assert len(of("bash")) >= 15
    assert {block.page for block in BLOCKS} <= {page_name(page) for page in PAGES}


def test_no_fence_of_a_page_is_outside_of_the_blocks() -> None:
    for page in PAGES:
        text = page.read_text()
        fences = re.findall(r"^ *```", text, re.MULTILINE)
        assert len(fences) == 2 * len(blocks(text, page.name)), page


@pytest.mark.parametrize("block", of(*SHOWN), ids=str)
def test_what_programs_print_holds_no_command(block: Block) -> None:
    command = re.compile(rf"^\$ |^({'|'.join(PROGRAMS)}) (?!\w+:)")
    assert [line for line in block.text.splitlines() if command.match(line)] == []


@pytest.mark.parametrize("block", of("bash"), ids=str)
def test_a_shell_takes_each_block_and_knows_its_programs(block: Block) -> None:
    done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    unknown = [program for program in programs_of(block.text) if not is_known(program)]
    assert unknown == [], f"{block}: say in tests/docs/stand_ins.py what stands for them, and why"


def test_each_program_that_is_not_run_has_a_reason_and_a_stand_in() -> None:
    assert set(STAND_INS) | {"benchmark"} == set(REASONS)
    assert set(PROGRAMS) == set(LINKED)
    called = {program for block in of("bash") for program in programs_of(block.text)}
    assert {"brainmvp", "torchrun", "sbatch", "make"} <= called


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_a_parser_of_ours_takes_each_yaml(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = block.text.partition("\n")[0]
    if (block.page, first) in OTHERS:
        return
    (tmp_path / "block.yaml").write_text(block.text)
    call = call_for(block, "block.yaml")
    assert call is not None, f"{block}: nothing of ours reads it; see tests/docs/yaml_blocks.py"
    if call.startswith("brainmvp sweep lint"):
        (tmp_path / "configs").symlink_to(Path(__file__).parents[2] / "configs")
        monkeypatch.chdir(tmp_path)
        assert main(call.split()[1:]) == 0, capsys.readouterr()
    else:
        reason = fault(call, tmp_path, monkeypatch)
        assert not reason, f"{call}\n{reason}: {capsys.readouterr().err}"


def test_each_listed_yaml_is_there() -> None:
    there = {(block.page, block.text.partition("\n")[0]) for block in of("yaml")}
    assert set(OTHERS) <= there


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_each_toml_is_valid(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


def test_a_wrong_yaml_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "block.yaml").write_text("data: {init_args: {crop_sise: [1, 1, 1]}}")
    block = Block("page", 1, "yaml", (tmp_path / "block.yaml").read_text())
    call = call_for(block, "block.yaml")
    assert call is not None
    assert fault(call, tmp_path, monkeypatch) == "exit code 2"
    assert call_for(Block("page", 1, "yaml", "colour: red"), "block.yaml") is None


def test_programs_are_found_in_blocks() -> None:
    script = "A=1 torchrun -m x --y \\\n  --z | head -1\n"
    script += "ls; python benchmarks/step.py # why\nkill x && ls"
    assert programs_of(script) == ["torchrun", "head", "ls", "benchmark", "kill", "ls"]
    assert not is_known("kill")


def test_places_are_those_of_the_world() -> None:
    assert here("brainmvp prepare --source.root /data/IXI --cache cache/data/x") == (
        "brainmvp prepare --source.root data/IXI --cache cache/data/x"
    )


def test_words_that_ask_for_too_much_are_replaced() -> None:
    assert shrink_words(["sweep", "--count", "20"]) == ["sweep", "--count", "2"]
    small = shrink_words(["fit", "-c", "a.yaml", "--trainer.max_epochs", "1500"])
    assert small[:5] == ["fit", "-c", "a.yaml", "--trainer.max_epochs", "1"]
    assert small[5:7] == ["--trainer.accelerator", "cpu"]
    assert shrink_words(["fit", "--help"]) == ["fit", "--help"]
