"""What is shipped: the wheel by itself, and layouts that would shadow the standard library."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_standard_library_keeps_its_platform() -> None:
    code = "import platform; print(platform.system())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in {"Linux", "Darwin", "Windows"}


@pytest.mark.parametrize("folder", ["platform", "pipelines", "api", "tests", "tests/platform"])
def test_folders_that_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
    if folder == "tests":
        assert not list((ROOT / folder).rglob("__init__.py"))


def test_constraints_pin_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    wanted = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {_name(requirement) for requirement in wanted} - {"pellucid", "onnxruntime"}
    assert names <= pinned


def _name(requirement: str) -> str:
    name = requirement
    for separator in (";", "[", ">", "=", "<", " "):
        name = name.partition(separator)[0]
    return name.strip().lower().replace("_", "-")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(out),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def pellucid(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in an environment that holds our wheel and sees our dependencies.

    Third-party libraries come from this environment by a path file, so that no download is
    needed; our own code can come from the wheel alone, because path files in a directory that is
    itself named by a path file are not read (and ours is installed here by such a file).
    """
    home = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.with_name("pellucid")


def _run(program: Path, *arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "PELLUCID_HOME": str(home)}
    return subprocess.run(
        [program, *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_carries_everything(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "pellucid/py.typed",
        "pellucid/supervisor/guard.py",
        "pellucid/_migrations/env.py",
        "pellucid_pipelines/train.py",
        "pellucid_api/app.py",
    ):
        assert wanted in names
    assert [name for name in names if name.startswith("pellucid/_migrations/versions/")]
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]


def test_an_installed_wheel_works(pellucid: Path, tmp_path: Path) -> None:
    where = _run(
        pellucid.with_name("python"), "-c", "import pellucid as p; print(p.__file__)", home=tmp_path
    )
    assert Path(where.stdout.strip()).is_relative_to(pellucid.parent.parent)
    assert "Usage: pellucid" in _run(pellucid, "--help", home=tmp_path).stdout
    upgraded = _run(pellucid, "db", "upgrade", home=tmp_path)
    assert upgraded.returncode == 0, upgraded.stderr
    assert (tmp_path / "pellucid.db").is_file()
    assert _run(pellucid, "db", "current", home=tmp_path).returncode == 0
    served = _run(pellucid, "api", "--help", home=tmp_path)
    assert "Usage: pellucid api" in served.stdout
