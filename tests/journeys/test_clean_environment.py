"""A bundle's two graphs where there is nothing but ONNX Runtime and NumPy.

Both tests run the same script, with no part of Pellucid and no PyTorch in reach: it reads the
bundle's own rows and the outputs that PyTorch gave for them.
"""

import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from pellucid import plan
from pellucid_pipelines import packing
from pellucid_pipelines.explain import bundle_explanation, compared
from support.explained import finished

ALLOWED = ("onnxruntime", "numpy")
COMMON: tuple[plan.Modality, ...] = ("tabular", "image")
MODALITIES: tuple[plan.Modality, ...] = (*COMMON, "sequence", "text")  # whose export takes longer
SCRIPT = '''\
import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

bundles, *links = sys.argv[1:]


class OnlyThese(MetaPathFinder):
    """Whatever is neither in the standard library nor allowed is refused, not merely missing."""

    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        standard = root in sys.stdlib_module_names or root.startswith("_sysconfigdata")
        if not standard and root not in ("onnxruntime", "numpy"):
            raise ModuleNotFoundError(f"{name} is not needed", name=name)


sys.meta_path.insert(0, OnlyThese())
sys.path += links

import numpy as np
import onnxruntime


def run(path, feed):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [each.name.rstrip("_") for each in session.get_outputs()], session.run(None, feed)


for root in sorted(Path(bundles).iterdir()):
    arrays = np.load(root / "parity.npz", allow_pickle=False)
    feed, expected = {}, {}
    for name in arrays.files:
        kind, _, name = name.partition(":")
        values = arrays[f"{kind}:{name}"]
        values = values.astype(object) if values.dtype.kind == "U" else values
        (feed if kind == "input" else expected)[name] = values
    names, predicted = run(root / "model.onnx", feed)
    for name, given in zip(names, predicted, strict=True):
        if given.dtype.kind == "f":
            np.testing.assert_allclose(given, expected[name], atol=1e-4)
        else:
            assert given.tolist() == expected[name].tolist()
    _, outputs = run(root / "explain.onnx", feed)
    own = len(names)
    for given, wanted in zip(outputs[:own], predicted, strict=True):
        if given.dtype.kind == "f":
            np.testing.assert_allclose(given, wanted, atol=1e-4)
    explained, shap, base, gap = outputs[own : own + 4]
    assert np.abs(shap).max() > 0
    size = np.abs(explained - base).max()
    missed = np.abs(base + shap.sum(axis=1) - explained)
    np.testing.assert_allclose(missed, gap, atol=1e-5 * size)
    assert missed.max() < 0.5 * size, "one pass of gradients is near, more steps come nearer"
    print(root.name, len(explained))

found = {name.partition(".")[0] for name in sys.modules}
assert found & {"torch", "onnx", "pellucid", "scipy", "pandas"} == set(), found
'''


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there is the bundle of a network for each kind of input, or will be."""
    return tmp_path_factory.mktemp("bundles")


def filled(root: Path, *modalities: plan.Modality) -> Path:
    """With the graphs and the rows of these."""
    for modality in modalities:
        run, directory = finished(modality, "classification"), root / modality
        if directory.exists():
            continue
        packing.export(run.network, run.examples, directory)
        background, weights = compared(run.examples, run.spec.explanation, 0)
        bundle_explanation(
            run.explained,
            run.examples.preprocessing,
            run.examples.target,
            background,
            weights,
            directory,
        )
    return root


def check(command: list[str], bundles: Path, *links: str) -> None:
    wanted = sorted(each.name for each in bundles.iterdir())
    script = bundles.with_name("script.py")
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [*command, str(script), str(bundles), *links], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == wanted


def test_without_site_packages(bundles: Path, tmp_path: Path) -> None:
    """-I -S: neither this environment's packages nor the user's; two of them are linked to."""
    for name in ALLOWED:
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        package = Path(found.origin).parent
        for each in (package, package.with_name(f"{name}.libs")):
            if each.exists():
                (tmp_path / each.name).symlink_to(each, target_is_directory=True)
    python = sys.base_prefix + "/bin/" + f"python{sysconfig.get_python_version()}"
    check([python, "-I", "-S"], filled(bundles, *COMMON), str(tmp_path))


@pytest.mark.slow
def test_in_an_environment_of_its_own(bundles: Path, tmp_path: Path) -> None:
    """As a user would: `pip install onnxruntime numpy`; downloads them."""
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    wanted = [f"onnxruntime=={runtime()}", f"numpy=={metadata.version('numpy')}"]
    command = [str(python), "-m", "pip", "install", "--quiet", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ConnectionError" in done.stderr or "Name or service not known" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    check([str(python), "-I"], filled(bundles, *MODALITIES))


def runtime() -> str:
    """The version here; the build for GPUs is the same one, and many times as large."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    raise AssertionError("ONNX Runtime is missing")
