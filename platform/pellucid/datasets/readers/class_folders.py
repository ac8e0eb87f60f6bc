"""A zip of images in folders, one folder for each class.

    photos/cats/1.png            label cats
    photos/dogs/big/2.jpg        label dogs: the first folder below those that all images share
    photos/train/cats/1.png      label cats, part train, where all of the first folders are parts

The table has the columns `image` (the files' bytes), `label` (the target), `path` and perhaps
`part` (both ignored), in the order of paths, however the archive was packed.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.datasets.objects import MAX_IMAGE_BYTES
from pellucid.datasets.readers import archives
from pellucid.errors import InvalidData
from pellucid.schema import Role

ROLES = {"label": Role.TARGET, "path": Role.IGNORE, "part": Role.IGNORE}
NAMED_BY = "path"
_IMAGES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif"}
_IMAGES |= {".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
_BESIDES = {"", ".txt", ".md", ".csv", ".json", ".xml", ".html", ".pdf", ".db", ".ini", ".yaml"}
_PARTS = re.compile(r"(?i)(train|valid|test|val|dev|eval)(ing|ation|uation)?")
_GROUP_BYTES = 2**24
_MAX_RATIO = 200  # of unpacked to packed: images are compressed already
_ALWAYS_BYTES = 2**26


def write_images(archive: zipfile.ZipFile, path: Path, file: str, target: Path) -> None:
    """Write the images as a Parquet file, a few megabytes at a time.

    Raises:
        InvalidData: the archive has no images, one in no folder, or something else among them.
    """
    members = sorted(archives.members(archive, file).items())
    infos = {name: info for name, info in members if _is_image(name, file)}
    if not infos:
        raise InvalidData(
            "The archive has no images in it.",
            where={"file": file},
            remedy="Zip a folder that has a folder of images for each class; send tables unzipped.",
        )
    labels, parts = _labels([PurePosixPath(name) for name in infos], file)
    rows = ({"path": name, "label": label} for name, label in zip(infos, labels, strict=True))
    if parts:
        rows = (row | {"part": part} for row, part in zip(rows, parts, strict=True))
    names = ["image", "label", "path", "part"][: 4 if parts else 3]
    schema = pa.schema(
        [(name, pa.large_binary() if name == "image" else pa.string()) for name in names]
    )
    contents = _contents(archive, infos.values(), file, path.stat().st_size)
    with pq.ParquetWriter(
        target, schema, compression="none", use_dictionary=False, write_statistics=False
    ) as writer:
        for group in _groups(
            row | {"image": image} for row, image in zip(rows, contents, strict=True)
        ):
            writer.write_batch(pa.RecordBatch.from_pylist(group, schema=schema))


def _is_image(name: str, file: str) -> bool:
    """Whether to take a file; not what systems leave behind, nor notes.

    Raises:
        InvalidData: it is neither an image nor one of these.
    """
    path = PurePosixPath(name)
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return False
    suffix = path.suffix.lower()
    if suffix in _IMAGES:
        return True
    if suffix in _BESIDES:
        return False
    raise InvalidData(
        f"The archive holds a {suffix} file, which is no image.",
        where={"file": file, "member": name},
        remedy="A zip has images only, in a folder for each class; send other files unzipped.",
    )


def _labels(paths: list[PurePosixPath], file: str) -> tuple[list[str], list[str]]:
    """The class of each image, and its part where the folders say so.

    Raises:
        InvalidData: an image lies in no folder.
    """
    folders = [path.parts[:-1] for path in paths]
    shared = 0
    while all(len(f) > shared + 1 and f[shared] == folders[0][shared] for f in folders):
        shared += 1
    below = [folder[shared:] for folder in folders]
    if [] in map(list, below):
        raise _without_folder(paths[below.index(())], file)
    first = {folder[0] for folder in below}
    if len(first) < 2 or not all(map(_PARTS.fullmatch, first)):
        return [folder[0] for folder in below], []
    for path, folder in zip(paths, below, strict=True):
        if len(folder) < 2:
            raise _without_folder(path, file)
    return [folder[1] for folder in below], [folder[0] for folder in below]


def _without_folder(path: PurePosixPath, file: str) -> InvalidData:
    return InvalidData(
        "The image lies in no folder that would tell its class.",
        where={"file": file, "member": str(path)},
        remedy="Put each image into a folder with the name of its class.",
    )


def _contents(
    archive: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo], file: str, packed: int
) -> Iterator[bytes]:
    """The images' bytes; a small archive must not unpack to a huge one."""
    left = _ALWAYS_BYTES + _MAX_RATIO * packed
    for info in infos:
        content = b"".join(archives.blocks(archive, info, file, MAX_IMAGE_BYTES))
        left -= len(content)
        if left < 0:
            raise InvalidData(
                f"The archive unpacks to more than {_MAX_RATIO} times its size.",
                where={"file": file, "member": info.filename},
                remedy="Pack the images as PNG or JPEG.",
            )
        yield content


def _groups(rows: Iterable[dict[str, str | bytes]]) -> Iterator[list[dict[str, str | bytes]]]:
    held: list[dict[str, str | bytes]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += sum(map(len, row.values()))
        if size >= _GROUP_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held
