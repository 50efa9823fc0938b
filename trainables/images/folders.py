"""Find images in folders, one per class, on disk or in an archive, with or without folders of splits above."""

from __future__ import annotations

import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath

from trainables.config.own_images import ARCHIVES
from trainables.errors import DataUnavailableError
from trainables.images.labelled import SPLITS, LabelledImage, LabelledImages

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}
_EXPECTED = "expected is one folder per class, with or without train, test and validation above"

_LARGEST = 256 * 1024 * 1024
"""Maximum size of an image in an archive, in bytes, so that a malicious archive cannot fill the memory."""

_NAMED_FOLDERS = 5
"""Maximum number of folders without images that a note names."""

Reader = Callable[[], bytes]


def read_folders(path: Path, *, origin: str) -> LabelledImages:
    """Find the images of a folder or an archive, ordered by split, class and path.

    Classes are numbered in the order of their sorted names, as by torchvision's ``ImageFolder``. Hidden files and files
    without the ending of an image file are left out. So are folders without images, which a note names.

    Args:
        path: Folder or archive on this machine.
        origin: Address that the data set comes from, for messages.

    Raises:
        DataUnavailableError: there are no images, or not in such folders, or the archive is damaged or has a link to a file
            outside the archive.
    """
    files = list(_files(path, origin))
    found = {name: read for name, read in files if _is_image(name)}
    if not found:
        raise DataUnavailableError(f"dataset {origin} has no images; {_EXPECTED}, and files such as .png or .jpg in it")
    others = len(files) - len(found)
    notes = [f"left out, no images by their names: {others} of {len(files)} files"] if others else []
    empty = _folders_without_images(path, found) if path.is_dir() else []
    if empty:
        further = ", ..." if len(empty) > _NAMED_FOLDERS else ""
        notes.append(f"left out, folders without images: {', '.join(empty[:_NAMED_FOLDERS])}{further}")
    above_all = _count_folders_above([PurePosixPath(name).parts for name in found])
    parts = {name: PurePosixPath(name).parts[above_all:] for name in found}
    first = {above[0] for above in parts.values() if len(above) > 1}
    splits = {name for name in first if name.lower() in SPLITS}
    if splits and splits != first:
        other = min(first - splits)
        raise DataUnavailableError(
            f"dataset {origin} has {min(splits)}, a split, and {other}, a class, in one folder; {_EXPECTED}"
        )
    depth = 2 if splits else 1
    images = []
    for name, above in parts.items():
        if len(above) <= depth:
            raise DataUnavailableError(f"dataset {origin}: {name} is not in the folder of a class; {_EXPECTED}")
        below = [folder for folder in above[depth:-1] if folder.lower() in SPLITS]
        if below:
            raise DataUnavailableError(
                f"dataset {origin}: {name} has {below[0]} below the class {above[depth - 1]}, which would mix the splits; "
                f"expected are folders of splits above those of classes: {below[0]}/{above[depth - 1]}/FILE"
            )
        split = SPLITS[above[0].lower()] if splits else None
        images.append(LabelledImage(where=name, split=split, label=above[depth - 1], read=found[name]))
    images.sort(key=lambda image: (image.split or "", image.label, image.where))
    classes = tuple(sorted({str(image.label) for image in images}))
    return LabelledImages(images=images, classes=classes, notes=tuple(notes))


def _folders_without_images(path: Path, images: Collection[str]) -> list[str]:
    """Return the folders below a folder that contain no image at any depth, such as those of classes without images."""
    holding = {parent for name in images for parent in PurePosixPath(name).parents}
    folders = (PurePosixPath(file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_dir())
    return sorted(str(folder) for folder in folders if folder not in holding and not _is_hidden(str(folder)))


def is_folders(path: Path) -> bool:
    """Return whether a path is that of a folder or of an archive."""
    return path.is_dir() or path.name.endswith(ARCHIVES) or zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def _count_folders_above(parts: Sequence[tuple[str, ...]]) -> int:
    """Return the number of leading folders that all images have in common and that name neither a split nor a class."""
    depth, shortest = 0, min(map(len, parts))
    while shortest - depth > 2 and len({each[depth] for each in parts}) == 1 and parts[0][depth].lower() not in SPLITS:
        depth += 1
    return depth


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _ENDINGS


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _files(path: Path, origin: str) -> Iterator[tuple[str, Reader]]:
    """Yield all files that are not hidden: the path within the folder or archive, and a function that reads the file."""
    try:
        if path.is_dir():
            yield from [(file.relative_to(path).as_posix(), file.read_bytes) for file in _in_folder(path)]
        else:
            yield from [*(_in_zip(path, origin) if zipfile.is_zipfile(path) else _in_tar(path, origin))]
    except (OSError, EOFError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        kind = "folder" if path.is_dir() else "zip or tar archive"
        raise DataUnavailableError(f"dataset {origin} cannot be read as a {kind}: {error}") from error


def _in_folder(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files of a folder and of all folders below it.

    Links are followed, as by torchvision, since people use links to sort images into classes.

    Args:
        folder: Folder to search.
        above: Real paths of the folders on the way to ``folder``; links back to these folders are not followed.
    """
    above = (*above, folder.resolve())
    for file in sorted(folder.iterdir()):
        if _is_hidden(file.name):
            continue
        if not file.is_dir():
            yield file
        elif not file.is_symlink() or file.resolve() not in above:
            yield from _in_folder(file, above)


def _in_zip(path: Path, origin: str) -> Iterator[tuple[str, Reader]]:
    archive = zipfile.ZipFile(path)
    for info in archive.infolist():
        if info.is_dir() or _is_hidden(info.filename):
            continue
        file, seen = info, {info.filename}
        while stat.S_ISLNK(file.external_attr >> 16):
            _check_length(file.filename, file.file_size, origin)
            target = posixpath.join(posixpath.dirname(file.filename), archive.read(file).decode(errors="replace"))
            target = posixpath.normpath(target)
            if target in seen or target not in archive.NameToInfo:
                raise _lost_link(info.filename, origin)
            seen.add(target)
            file = archive.getinfo(target)
        if _is_image(info.filename):
            _check_length(info.filename, file.file_size, origin)
        yield info.filename, partial(archive.read, file)


def _in_tar(path: Path, origin: str) -> Iterator[tuple[str, Reader]]:
    # Read in one pass, since a step back in a compressed archive unpacks it again from its beginning.
    contents: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name, is_link = member.name.removeprefix("./"), member.issym() or member.islnk()
            if _is_hidden(name) or not (member.isfile() or is_link):
                continue
            if member.isfile() and not _is_image(name):
                yield name, bytes  # content that is never read
                continue
            _check_length(name, member.size, origin)
            content = contents.get(member.linkname) if member.islnk() else None
            if content is None:
                try:
                    file = archive.extractfile(member)
                except (KeyError, RecursionError) as error:
                    raise _lost_link(name, origin) from error
                if file is None:
                    raise _lost_link(name, origin)
                with closing(file):
                    content = file.read(_LARGEST + 1)
                _check_length(name, len(content), origin)
            contents[member.name] = content
            yield name, partial(bytes, content)


def _check_length(name: str, length: int, origin: str) -> None:
    if length > _LARGEST:
        raise DataUnavailableError(
            f"dataset {origin}: {name} has more than {_LARGEST // 1024**2} MB in the archive, too much for an image"
        )


def _lost_link(name: str, origin: str) -> DataUnavailableError:
    return DataUnavailableError(
        f"dataset {origin}: {name} is a link to a file outside the archive; pack the files themselves (tar --dereference)"
    )
