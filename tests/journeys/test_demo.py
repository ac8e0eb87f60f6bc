"""`pellucid demo` twice in one home: the second run finds what the first one left."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_runs_twice(tmp_path: Path) -> None:
    chosen = {"PELLUCID_HOME": str(tmp_path), "PELLUCID_PORT": "0", "PELLUCID_MLFLOW_PORT": "0"}
    for version, alias in ((1, "champion"), (2, "challenger")):
        done = subprocess.run(
            [sys.executable, "-m", "pellucid.cli", "demo"],
            env=os.environ | chosen,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"registered as credit version {version}, alias {alias}" in done.stdout
        assert "roc_auc" in done.stdout
        assert "P(default = 1) =" in done.stdout
        assert "in general" in done.stdout
        assert "It would be " in done.stdout
        assert f"/models/credit/versions/{version}" in done.stdout
        assert "The monitor: " in done.stdout
        assert "drift" in done.stdout
        (report,) = re.findall(r"monitoring report +(\S+)", done.stdout)
        assert "income" in Path(report).read_text(encoding="utf-8")
