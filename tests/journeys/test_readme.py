"""The commands in the README do what it says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.stack import running_stack

FEWER = {"pellucid data demo credit": "pellucid data demo credit --rows 300"}
README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_tour_runs_as_written(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    with running_stack(tmp_path / "home") as stack:
        url = stack.settings.resolved_url
        script = "\n".join(blocks).replace(". .venv/bin/activate", "")
        for written, run in FEWER.items():  # the same steps, sooner
            assert script.count(written) == 1
            script = script.replace(written, run)
        environment = os.environ | {
            "PELLUCID_URL": url,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        output = subprocess.run(
            ["bash", "-euo", "pipefail"],
            input=script.replace("http://127.0.0.1:8000", url),
            cwd=tmp_path,
            env=environment,
            text=True,
            capture_output=True,
            timeout=1400,
        )
        assert output.returncode == 0, output.stdout + output.stderr
        jobs = stack.client.jobs.list().items
        assert [str(job.status) for job in jobs] == ["succeeded", "succeeded"]
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert (answer["model"], answer["version"]) == ("credit", 1)
    assert set(answer["predictions"][0]["probabilities"]) == {"0", "1"}
    assert "# " in output.stdout.split('"probabilities"')[-1], "no model card"
