"""Archives that cannot be taken: what is wrong, where, and nothing is kept."""

import io
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.datasets.readers import arrays, class_folders
from pellucid.datasets.store import DatasetStore
from pellucid.errors import InvalidData, StorageFull
from pellucid.resources.datasets import Dataset

Add = Callable[..., Dataset]


def png(width: int = 3, height: int = 2, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(stream, kind)
    return stream.getvalue()


def zipped(*files: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream.getvalue()


def npz(**values: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **values)
    return stream.getvalue()


GOOD = ("a/1.png", png())


@pytest.fixture(autouse=True)
def nothing_is_kept(home: Path, store: DatasetStore) -> Iterator[None]:
    yield
    assert store.list().items == []
    assert [p for p in (home / "datasets").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("files", "where", "says"),
    [
        ((), {}, "no images"),
        ((("a/notes.txt", b"x"), ("a/.hidden.png", png())), {}, "no images"),
        (((".png", png()),), {}, "no images"),
        ((("1.png", png()), GOOD), {"member": "1.png"}, "lies in no folder"),
        ((("1.png", png()),), {"member": "1.png"}, "lies in no folder"),
        ((("test/1.png", png()), ("train/a/1.png", png())), {"member": "test/1.png"}, "no folder"),
        ((GOOD, ("a/x.exe", b"MZ")), {"member": "a/x.exe"}, ".exe file"),
        ((GOOD, ("a/more.zip", zipped(GOOD))), {"member": "a/more.zip"}, ".zip file"),
        ((GOOD, ("/etc/1.png", png())), {"member": "/etc/1.png"}, "out of the archive"),
        ((GOOD, ("a/../../1.png", png())), {"member": "a/../../1.png"}, "out of the archive"),
        ((GOOD, ("C:\\a\\1.png", png())), {"member": "C:/a/1.png"}, "out of the archive"),
        ((GOOD, ("a\\1.png", png())), {"member": "a/1.png"}, "twice"),
        (
            (GOOD, ("b/2.png", b"")),
            {"row": 2, "member": "b/2.png", "column": "image"},
            "no image",
        ),
        (
            (GOOD, ("b/2.png", png(40, 40)[:-30])),
            {"row": 2, "member": "b/2.png", "column": "image"},
            "damaged",
        ),
        (
            (GOOD, ("b/2.jpg", png(300, 200, "JPEG")[:-500])),
            {"row": 2, "member": "b/2.jpg", "column": "image"},
            "damaged",
        ),
    ],
)
def test_zips(
    add: Add, files: tuple[tuple[str, bytes], ...], where: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidData) as caught:
        add(zipped(*files), "photos.zip")
    assert caught.value.where == {"file": "photos.zip"} | where
    assert says in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("keep", [10, 60, -30])
def test_a_zip_cut_off(add: Add, keep: int) -> None:
    with pytest.raises(InvalidData, match="not a whole zip"):
        add(zipped(GOOD)[:keep], "photos.zip")


def test_a_damaged_member(add: Add) -> None:
    content = zipped(GOOD, ("a/2.png", png()))
    at = content.index(b"a/2.png") + len(b"a/2.png") + 20
    with pytest.raises(InvalidData, match="cannot be unpacked") as caught:
        add(content[:at] + b"\xff\xff\xff" + content[at + 3 :], "photos.zip")
    assert caught.value.where["member"] == "a/2.png"


def test_an_encrypted_member(add: Add) -> None:
    content = bytearray(zipped(GOOD))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InvalidData, match="encrypted"):
        add(bytes(content), "photos.zip")


def test_a_bomb_of_one_image(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_folders, "MAX_IMAGE_BYTES", 2**20)
    with pytest.raises(InvalidData, match="more than 1,048,576 bytes") as caught:
        add(zipped(("a/1.bmp", bytes(2**21))), "photos.zip")
    assert caught.value.where["member"] == "a/1.bmp"


def test_a_bomb_that_understates_its_size(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_folders, "MAX_IMAGE_BYTES", 2**20)
    content = bytearray(zipped(("a/1.bmp", bytes(2**23))))
    central = content.index(b"PK\x01\x02")
    for at in (22, central + 24):  # the unpacked size
        content[at : at + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(InvalidData):
        add(bytes(content), "photos.zip")


def test_a_bomb_of_many_images(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_folders, "_ALWAYS_BYTES", 2**20)
    files = [(f"a/{i}.bmp", png(300, 300, "BMP")) for i in range(20)]
    with pytest.raises(InvalidData, match="200 times its size"):
        add(zipped(*files), "photos.zip")


def test_an_image_of_too_many_pixels(add: Add) -> None:
    stream = io.BytesIO()
    Image.new("1", (2**14, 2**13)).save(stream, "PNG")
    with pytest.raises(InvalidData, match="pixels") as caught:
        add(zipped(GOOD, ("a/2.png", stream.getvalue())), "photos.zip")
    assert caught.value.where["row"] == 2


@pytest.mark.parametrize(
    ("content", "where", "says"),
    [
        (npz(x=np.zeros(3), y=np.zeros(2)), {}, r"differ in length: x (3,), y (2,)"),
        (npz(x=np.float64(1)), {}, "differ in length"),
        (npz(x=np.array([{}, 1], object)), {"member": "x.npy"}, "bject"),
        (npz(x=np.zeros((2, 3, 4, 5))), {"member": "x.npy"}, "shape (2, 3, 4, 5) is no column"),
        (npz(x=np.zeros((2, 3, 4, 5), np.uint8)), {"member": "x.npy"}, "is no column"),
        (npz(x=np.zeros(2, np.complex128)), {"member": "x.npy"}, "type complex128"),
        (npz(x=np.zeros(2, [("a", "i4")])), {"member": "x.npy"}, "is no column"),
        (npz(x=np.zeros(2, "m8[s]")), {"member": "x.npy"}, "is no column"),
        (npz(x=np.array([b"\xff", b"a"])), {"column": "x"}, "cannot be read"),
        (npz(x=np.array([1.0, np.inf])), {"row": 2, "column": "x"}, "infinite"),
        (npz(x=np.array([[1.0], [2.0]] * 2), y=np.ones((4, 2)) * [1, np.inf]),
            {"row": 1, "column": "y"}, "infinite"),
        (npz(x=np.array([1, 2**63], np.uint64)), {"row": 2, "column": "x"}, "64 bits"),
        (npz(**{" ": np.zeros(2)}), {"row": "header", "column": 1}, "no name"),
        (npz(x_0=np.zeros(2), x=np.zeros((2, 3, 2))), {"row": "header", "column": 2}, "twice"),
        (npz(x=np.zeros(0)), {}, ""),
        (zipped(("x.npy", b"\x80\x04N.")), {"member": "x.npy"}, "cannot be read"),
        (zipped(("x.npy", npz(x=np.zeros(9))[:40])), {"member": "x.npy"}, "cannot be read"),
    ],
)  # fmt: skip
def test_arrays(add: Add, content: bytes, where: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidData) as caught:
        add(content, "a.npz")
    found = caught.value.where
    assert found == {"file": "a.npz"} | (where if says else found)
    assert says in caught.value.message
    assert caught.value.remedy


def test_a_header_that_promises_more_than_there_is(add: Add) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
    )
    with pytest.raises(InvalidData, match="cannot be read"):
        add(zipped(("x.npy", stream.getvalue() + bytes(80))), "a.npz")


def test_no_space_to_unpack(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(arrays.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(StorageFull, match="no space"):
        add(npz(x=np.zeros(10_000)), "a.npz")


def test_other_archives_are_refused(add: Add) -> None:
    sheet = zipped(("[Content_Types].xml", b"<x/>"), ("xl/workbook.xml", b"<x/>"))
    with pytest.raises(InvalidData, match="no images"):
        add(sheet, "book.xlsx")
