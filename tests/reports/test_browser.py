"""The page in a real browser, from a file and with the network off."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainmvp_lightning.reports.page import make_report
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import read_run
from tests.reports.browser import Page, browse, find_browser
from tests.reports.folders import write_finetuning, write_pretraining

BROWSER = find_browser()
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine")

Look = Callable[[Page], Awaitable[None]]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    runs = [
        read_run(write_pretraining(folder / "pretrain"), "pretrain"),
        read_run(write_finetuning(folder / "finetune"), "finetune"),
    ]
    path = folder / "report.html"
    path.write_text(make_report(runs, Privacy(), max_mb=25, title="t").html)
    return path


def look_at(path: Path, look: Look, *flags: str) -> None:
    async def open_and_look() -> None:
        assert BROWSER is not None
        async with browse(BROWSER, *flags) as page:
            await page.open(path)
            await look(page)
            assert not page.errors
            fetched = [url for url in page.requests if not url.startswith("data:")]
            assert fetched == [path.resolve().as_uri()]

    asyncio.run(open_and_look())


async def pixels(page: Page) -> np.ndarray:
    """Return the canvas as it is seen."""
    await page.run("document.getElementById('stage').scrollIntoView({block: 'center'})")
    await page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = await page.run(
        "(() => { const b = document.getElementById('stage').getBoundingClientRect();"
        " return [b.left, b.top, b.right, b.bottom]; })()"
    )
    return np.asarray(Image.open(io.BytesIO(await page.shoot())).crop(box))


async def use(page: Page, element: str, change: str, event: str) -> None:
    await page.run(
        f"(() => {{ const it = document.getElementById('{element}'); {change};"
        f" it.dispatchEvent(new Event('{event}', {{bubbles: true}})); }})()"
    )


async def cells(page: Page, column: int) -> list[str]:
    shown: list[str] = await page.run(
        "[...document.querySelectorAll('table.sortable tbody tr')].filter(row => !row.hidden)"
        f".map(row => row.cells[{column}].textContent)"
    )
    return shown


async def look_at_everything(page: Page) -> None:
    await look_at_tables(page)
    await look_at_charts(page)
    await look_through_time(page)
    await look_at_slices(page)
    picture = np.asarray(Image.open(io.BytesIO(await page.shoot())))
    assert picture.std() > 5


async def look_at_tables(page: Page) -> None:
    dice = [float(cell) for cell in await cells(page, 5)]
    assert len(dice) == 6  # the case without FLAIR is hidden at first
    assert dice == sorted(dice)
    sort = "document.querySelectorAll('table.sortable button')[5].click()"
    for order in (False, True):
        await page.run(sort)
        assert [float(c) for c in await cells(page, 5)] == sorted(dice, reverse=order)
    heads = "document.querySelectorAll('table.sortable th')[5].getAttribute('aria-sort')"
    assert await page.run(heads) == "descending"
    await page.run(
        "(() => { const it = document.querySelector('select[data-column=\"2\"]'); it.value = '';"
        " it.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    assert len(await cells(page, 5)) == 7


async def look_at_charts(page: Page) -> None:
    await page.run("document.querySelector('.chart svg').focus()")
    for _ in range(3):
        await page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    read = await page.run("document.querySelector('.chart output').textContent")
    assert read.startswith("step 2; pretrain · train/total 0.3333")
    line = "document.querySelector('.chart polyline[data-run=\"0\"]')"
    before = await page.run(f"{line}.getAttribute('points')")
    await page.run("document.getElementById('log-scale').click()")
    assert await page.run(f"{line}.getAttribute('points')") != before
    await page.run("document.getElementById('log-scale').click()")
    assert numbers(await page.run(f"{line}.getAttribute('points')")) == pytest.approx(
        numbers(before), abs=0.11
    )
    await page.run("document.querySelector('.show-run').click()")
    assert await page.run(f"getComputedStyle({line}).display") == "none"


def numbers(points: str) -> list[float]:
    return [float(number) for pair in points.split() for number in pair.split(",")]


async def look_through_time(page: Page) -> None:
    shown = "[...document.querySelectorAll('.scrubber img')].map(image => !image.hidden)"
    assert await page.run(shown) == [False, True]
    await page.run(
        "(() => { const it = document.querySelector('.scrubber input'); it.value = 0;"
        " it.dispatchEvent(new Event('input')); })()"
    )
    assert await page.run(shown) == [True, False]
    assert await page.run("document.querySelector('.scrubber output').textContent") == "epoch 2"


async def look_at_slices(page: Page) -> None:
    await page.run("document.getElementById('viewer-state').scrollIntoView()")
    await page.wait_for("document.getElementById('viewer').dataset.ready === 'yes'")
    titles = await page.run("[...document.getElementById('scene').options].map(o => o.text)")
    assert titles == ["pretrain: template t1", "finetune: case 1"]
    template = await pixels(page)
    await page.run("document.querySelector('figure[data-scene] button').click()")
    await page.wait_for("document.getElementById('viewer').dataset.scene === '1'")
    case = await pixels(page)
    assert np.abs(case.astype(int) - template).mean() > 1
    await use(page, "slice-z", "it.value = 0.9", "input")
    scrolled = await pixels(page)
    assert np.abs(scrolled.astype(int) - case).mean() > 0.5
    await page.run("document.getElementById('canvas').focus()")
    before = await page.run("document.getElementById('slice-z').value")
    await page.call("Input.dispatchKeyEvent", type="keyDown", key="PageDown")
    assert float(await page.run("document.getElementById('slice-z').value")) < float(before)
    await use(page, "slice-z", "it.value = 0.3", "input")
    overlaid = await pixels(page)
    for kind in ("annotation", "prediction"):
        await use(page, f"opacity-{kind}", "it.value = 0", "input")
    assert colourful(overlaid) - colourful(await pixels(page)) > 5000  # the crosshair is coloured


def colourful(picture: np.ndarray) -> int:
    """Count pixels that are not grey."""
    colours = picture[..., :3].astype(int)
    return int((colours.max(axis=2) - colours.min(axis=2) > 30).sum())


def test_the_page_works_from_a_file_without_network(page_file: Path) -> None:
    look_at(page_file, look_at_everything)


@pytest.mark.slow
def test_without_webgl_the_page_says_so_and_shows_pictures(page_file: Path) -> None:
    async def look(page: Page) -> None:
        await page.run("document.getElementById('viewer-state').scrollIntoView()")
        state = "document.getElementById('viewer-state').textContent"
        await page.wait_for(f"{state}.includes('no WebGL2')")
        assert await page.run("document.getElementById('viewer').hidden")
        assert await page.run("document.querySelectorAll('#cases img').length") == 1

    look_at(page_file, look, "--disable-webgl", "--disable-webgl2", "--disable-3d-apis")


@pytest.mark.slow
def test_nothing_spills_over_a_narrow_screen(page_file: Path) -> None:
    async def look(page: Page) -> None:
        await page.resize(380, 800)
        assert await page.run("document.documentElement.scrollWidth") == 380

    look_at(page_file, look)
