"""Pages do what they say: their blocks are run in order, by a shell, in a small world.

Programs of others are stood in for as `tests.docs.stand_ins` says; what is made smaller is in
`tests.docs.shrinking`, what lies where in `tests.docs.world`.
"""

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, Block, blocks, page_blocks, page_name
from tests.docs.world import World
from tests.test_docs_commands import spans

REFUSED: dict[tuple[str, str], int] = {}
"""Exit codes of blocks that show an error, by page and first line."""


def prose(page: Path) -> list[Block]:
    """Return the whole calls of our program in the text of a page, as blocks."""
    return [
        Block(page_name(page), 0, "bash", span)
        for span in spans(page.read_text())
        if span.startswith("brainmvp ") and " -" in span and "..." not in span
    ]


def fault_of(block: Block, world: World) -> str:
    """Run or save a block, and return what went wrong."""
    if block.file:
        (world.folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (world.folder / block.file).write_text(block.text)
    if block.language == "bash":
        done = world.run(block.text)
    elif block.language == "python" and not block.file:
        (world.folder / "block.py").write_text(block.text)
        done = world.run("python block.py")
    else:
        return ""
    expected = REFUSED.get((block.page, block.text.partition("\n")[0]), 0)
    if done.returncode == expected:
        return ""
    return f"{block} ended with {done.returncode}\n{block.text}\n{done.stdout[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_does_what_it_says(page: Path, world: World, tmp_path: Path) -> None:
    own = world.copy(tmp_path / "world")
    faults = [fault_of(block, own) for block in [*page_blocks(page), *prose(page)]]
    assert not any(faults), "\n\n".join(filter(None, faults))


@pytest.mark.slow
def test_a_block_that_fails_is_found(world: World, tmp_path: Path) -> None:
    own = world.copy(tmp_path / "world")
    prepare = "brainmvp prepare --config configs/prepare/ixi.yaml --source.root /data/NONE"
    script = f"brainmvp list backbones\n{prepare}\nls"
    (block,) = blocks(f"```bash\n{script}\n```\n", "page.md")
    assert "data/NONE" in fault_of(block, own)
    saved, run = blocks("```yaml\n# a.yaml\nx: 1\n```\n```python\nopen('b.yaml')\n```\n", "page.md")
    assert fault_of(saved, own) == ""
    assert (own.folder / "a.yaml").read_text() == "# a.yaml\nx: 1\n"
    assert "FileNotFoundError" in fault_of(run, own)
