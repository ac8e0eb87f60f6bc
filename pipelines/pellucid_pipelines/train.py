"""One attempt of a training job: `python -m pellucid_pipelines.train JOB_DIR`.

Reads and writes the job's directory only; see `pellucid.jobs.workspace`. Exit status 0: the result
is committed. 2: `error.json` says why no attempt can succeed. Anything else is a crash, after
which another attempt goes on from the last checkpoint.
"""

import logging
import os

from pellucid.errors import DeviceUnavailable, InvalidInput, StorageFull, TrainingFailed
from pellucid.jobs import process
from pellucid.jobs.workspace import Workspace
from pellucid_pipelines import data, stages, trials


def run(workspace: Workspace) -> None:
    """All stages of a run, in order."""
    with stages.begun(workspace) as attempt:
        stage = attempt.journal.stage

        stage("read")
        table, schema, attempt = stages.read(attempt)

        stage("split")
        parts = data.split(table, attempt.spec)

        stage("preprocess")
        examples = stages.preprocess(attempt, table, parts, schema)

        stage("train")
        learnt = stages.learn(attempt, examples)
        if not attempt.world.leads:
            return
        attempt.recorder.ended(learnt.state, learnt.network.state_dict())
        if attempt.request.trial:  # only the best one goes on, as its search
            workspace.write_result(trials.result(learnt.summary, learnt.state, attempt.seconds))
            return

        stage("evaluate")
        judged = stages.evaluate(attempt, learnt)

        stage("explain")
        explained, background = stages.attribute(attempt, learnt)

        stage("draw")
        stages.draw(attempt, learnt, judged, explained)

        stage("export")
        exported = stages.export(attempt, learnt, judged, explained, background)

        stage("pack")
        stages.pack(attempt, learnt, judged, explained, exported)
        result = stages.result(attempt, learnt, judged, explained)
    workspace.write_result(result)


def main() -> int:
    """Run the attempt that the command line names; returns the exit status."""
    return process.attempt(run, (InvalidInput, TrainingFailed, DeviceUnavailable, StorageFull))


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # all is written; taking the libraries down in order would cost seconds
