"""Every codec under coverage-guided fuzzing; `support.fuzzing` says what must hold."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 60
CODECS = ("rows", "csv", "arrow", "invocations", "tensors", "rpc")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform"
)
@pytest.mark.parametrize("codec", CODECS)
def test_no_bytes_break_a_codec(codec: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "support.fuzzing", codec, str(SECONDS), str(tmp_path)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 120,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "Done " in done.stderr  # libFuzzer's last line: so many runs
