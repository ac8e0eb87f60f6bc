"""Memory of models: what a process may use, and that what is unloaded is given back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid_api.engine.shelf import Shelf, size_in_memory, usable_memory

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("times", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_loading_and_unloading_leaves_resident_memory_flat(tmp_path, times):
    command = [sys.executable, "-m", "support.reloading", str(tmp_path), str(times)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    sizes = json.loads(done.stdout)
    assert len(sizes) == 20
    settled = sizes[1]  # after a tenth of the loads
    assert max(sizes[2:]) <= 1.05 * settled, sizes


def test_a_size_is_no_less_than_the_files_and_no_more_than_they_explain():
    mebibyte = 2**20
    assert size_in_memory(10 * mebibyte, 3 * mebibyte) == 10 * mebibyte
    assert size_in_memory(10 * mebibyte, 25 * mebibyte) == 25 * mebibyte
    assert size_in_memory(10 * mebibyte, 900 * mebibyte) == 104 * mebibyte


def test_the_default_budget_is_half_of_what_the_process_may_use():
    assert Shelf(0).budget == usable_memory() // 2 > 0
    assert Shelf(123).budget == 123
