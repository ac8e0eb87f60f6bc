"""A bundle is what its manifest says, or it is refused."""

from pathlib import Path

import pytest

from pellucid.bundle import Bundle, Datatype, Input, Manifest, Output, Parity
from pellucid.errors import InvalidData
from pellucid.schema import Kind


def seal(root: Path) -> Bundle:
    (root / "model.onnx").write_bytes(b"model")
    (root / "card.md").write_text("# Card", encoding="utf-8")
    manifest = Manifest(
        name="m",
        task="regression",
        target="y",
        inputs=(Input.of("x", Kind.NUMERIC), Input.of("c", Kind.CATEGORICAL, ("a",))),
        outputs=(Output(name="value", datatype=Datatype.FP32, shape=(-1,)),),
        opset=20,
        files={},
        parity=Parity(rows=1, tolerance=1e-5, max_error=0.0),
        metrics={"rmse": 1.0},
        data_version="0" * 64,
        job_id="j",
        created="2026-01-01T00:00:00Z",
        plan={},
        environment={},
    )
    return Bundle.seal(root, manifest)


def test_a_sealed_bundle_opens(tmp_path: Path) -> None:
    sealed = seal(tmp_path)
    opened = Bundle.open(tmp_path)
    assert opened.manifest == sealed.manifest
    assert set(opened.manifest.files) == {"model.onnx", "card.md"}
    assert [i.datatype for i in opened.manifest.inputs] == [Datatype.FP64, Datatype.BYTES]
    assert opened.card == "# Card"


def test_files_added_later_do_not_matter(tmp_path: Path) -> None:
    seal(tmp_path)
    (tmp_path / "MLmodel").write_text("flavors: {}", encoding="utf-8")
    Bundle.open(tmp_path)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    seal(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"Model")
    with pytest.raises(InvalidData, match=r"model\.onnx is missing or differs"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("manifest", [None, "", "{}", '{"format": 2}'])
def test_a_bundle_without_a_valid_manifest_is_refused(tmp_path: Path, manifest: str | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(InvalidData, match="no valid manifest"):
        Bundle.open(tmp_path)
