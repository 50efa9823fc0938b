"""Images with one folder a class, on disk or in an archive, with or without folders of splits above."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath

from trainables.config.own_images import ARCHIVES
from trainables.errors import DataUnavailableError
from trainables.images.labelled import SPLITS, LabelledImage, LabelledImages

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}
_EXPECTED = "expected is one folder a class, with or without train, test and validation above"

Reader = Callable[[], bytes]


def read_folders(path: Path, *, origin: str) -> LabelledImages:
    """Find the images of a folder or an archive, in the order of splits, classes and paths.

    A class is numbered by its name's place among the sorted names, as torchvision's ``ImageFolder`` does. Hidden files, and
    files whose names are not those of images, are left out.

    Args:
        path: The folder or archive on this machine.
        origin: Where it comes from, for messages.

    Raises:
        DataUnavailableError: it holds no images, or not in such folders; or the archive is damaged.
    """
    files = list(_files(path, origin))
    found = {name: read for name, read in files if PurePosixPath(name).suffix.lower() in _ENDINGS}
    if not found:
        raise DataUnavailableError(f"dataset {origin} has no images; {_EXPECTED}, and files such as .png or .jpg in it")
    others = len(files) - len(found)
    notes = (f"left out, as no images by their names: {others} of {len(files)} files",) if others else ()
    above_all = _count_folders_above([PurePosixPath(name).parts for name in found])
    parts = {name: PurePosixPath(name).parts[above_all:] for name in found}
    first = {above[0] for above in parts.values() if len(above) > 1}
    splits = {name for name in first if name.lower() in SPLITS}
    if splits and splits != first:
        other = min(first - splits)
        raise DataUnavailableError(
            f"dataset {origin} has {min(splits)} and {other} side by side, one a split and the other a class; {_EXPECTED}"
        )
    depth = 2 if splits else 1
    images = []
    for name, above in parts.items():
        if len(above) <= depth:
            raise DataUnavailableError(f"dataset {origin}: {name} lies in no folder of a class; {_EXPECTED}")
        split = SPLITS[above[0].lower()] if splits else None
        images.append(LabelledImage(where=name, split=split, label=above[depth - 1], read=found[name]))
    images.sort(key=lambda image: (image.split or "", image.label, image.where))
    return LabelledImages(images=images, classes=tuple(sorted({str(image.label) for image in images})), notes=notes)


def is_folders(path: Path) -> bool:
    """Whether a path is that of a folder, or of an archive of folders."""
    return path.is_dir() or path.name.endswith(ARCHIVES) or zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def _count_folders_above(parts: Sequence[tuple[str, ...]]) -> int:
    """How many folders all images lie in that are neither a split nor the class."""
    depth, shortest = 0, min(map(len, parts))
    while shortest - depth > 2 and len({each[depth] for each in parts}) == 1 and parts[0][depth].lower() not in SPLITS:
        depth += 1
    return depth


def _files(path: Path, origin: str) -> Iterator[tuple[str, Reader]]:
    """All files that are not hidden, by path within the folder or archive."""
    named: Iterator[tuple[str, Reader]]
    if path.is_dir():
        # Links to folders are followed, as torchvision does: people sort images into classes by them.
        found = (Path(folder) / name for folder, _, names in os.walk(path, followlinks=True) for name in names)
        named = ((file.relative_to(path).as_posix(), file.read_bytes) for file in found)
    else:
        try:
            named = iter([*(_in_zip(path) if zipfile.is_zipfile(path) else _in_tar(path))])
        except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise DataUnavailableError(f"dataset {origin} cannot be read as a zip or tar archive: {error}") from error
    for name, read in named:
        if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):
            yield name, read


def _in_zip(path: Path) -> Iterator[tuple[str, Reader]]:
    archive = zipfile.ZipFile(path)
    for info in archive.infolist():
        if not info.is_dir():
            yield info.filename, partial(archive.read, info)


def _in_tar(path: Path) -> Iterator[tuple[str, Reader]]:
    # Whole, since going back and forth in a compressed archive unpacks it from its beginning each time.
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                with closing(file):
                    content = file.read()
                yield member.name.removeprefix("./"), partial(bytes, content)
