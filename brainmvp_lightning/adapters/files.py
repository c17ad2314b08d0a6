"""Finding the images of a data set, wherever below its root they lie."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class ImageFile:
    """An image, and the name that says what it is.

    Some copies of public data sets wrap each image in a folder that bears its name, such as
    ``case_t1.nii/0057_brain.nii``; there the folder's name counts.

    Args:
        path: The file.
        root: Absolute folder where the search began.
        name: Name without ``.nii`` or ``.nii.gz``.
        folder: Absolute folder of the case: that of the file, or of its wrapping folder.
    """

    path: Path
    root: Path
    name: str
    folder: Path

    def folder_names(self) -> list[str]:
        """Return the names of the folders around the image, from `folder` up to the root."""
        around = self.folder.relative_to(self.root).parts
        return [*reversed(around), self.root.name]


def stem_of(name: str) -> str | None:
    """Return a file name without its ending, or None if it is no image; case does not matter."""
    for ending in ENDINGS:
        if name.casefold().endswith(ending):
            return name[: -len(ending)]
    return None


def find_images(root: str | Sequence[str], adapter: str) -> list[ImageFile]:
    """Return the NIfTI files below one folder or several, in the order of their paths.

    Hidden files and folders do not count, nor does what macOS leaves in archives. Links to
    folders are followed, each folder once.

    Args:
        root: One or more folders.
        adapter: Name of the adapter, for messages.

    Raises:
        FileNotFoundError: If a folder does not exist or holds no image.
    """
    roots = [root] if isinstance(root, str) else list(root)
    if not roots:
        raise FileNotFoundError(f"'root' of the {adapter} adapter is empty; name a folder")
    images: list[ImageFile] = []
    for folder in roots:
        images += _images_below(Path(folder), adapter)
    return images


def suggestion(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``; did you mean 'a' or 'b'?`` with the nearest names, or nothing."""
    by_key = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), by_key, 3, cutoff)
    return f"; did you mean {' or '.join(repr(by_key[key]) for key in close)}?" if close else ""


def _images_below(root: Path, adapter: str) -> list[ImageFile]:
    remedy = f"correct 'root' of the {adapter} adapter"
    if not root.is_dir():
        fault = "is a file, not a folder" if root.exists() else "does not exist"
        raise FileNotFoundError(f"{root} {fault}{_siblings(root)} ({remedy})")
    absolute = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
    images: list[ImageFile] = []
    others: Counter[str] = Counter()
    for folder, name in _walk(root):
        stem = stem_of(name)
        if stem is None:
            others[Path(name).suffix or name] += 1
        else:
            images.append(_image(root, absolute, folder / name, stem))
    if not images:
        kinds = ", ".join(f"{count} {ending}" for ending, count in others.most_common(4))
        found = f"it holds {kinds}" if kinds else "it is empty"
        raise FileNotFoundError(
            f"{root} holds no .nii or .nii.gz file ({found}); {remedy}, unpack the archives or "
            "convert the images"
        )
    return images


def _siblings(root: Path) -> str:
    if not root.parent.is_dir() or root.exists():
        return ""
    return suggestion(root.name, (path.name for path in root.parent.iterdir() if path.is_dir()))


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        if os.path.realpath(folder) in seen:
            subfolders.clear()
            continue
        seen.add(os.path.realpath(folder))
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name != "__MACOSX"
        )
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder), name


def _image(root: Path, absolute: Path, path: Path, stem: str) -> ImageFile:
    folder = absolute / path.parent.relative_to(root)
    wrapped = stem_of(folder.name) if folder != absolute else None
    if wrapped is None:
        return ImageFile(path, absolute, stem, folder)
    return ImageFile(path, absolute, wrapped, folder.parent)
