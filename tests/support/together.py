"""One of several processes that train together: `torchrun ... together.py DIRECTORY [PARTS]`."""

import json
import os
import sys
from pathlib import Path

import torch

from pellucid_pipelines import distributed
from pellucid_pipelines.loop import Fit
from support.training import a_fit, a_plan


def main() -> None:
    directory, parts = Path(sys.argv[1]), json.loads(sys.argv[2])
    spec = a_plan(**parts)
    world = distributed.join(torch.device("cpu"), spec)
    alone = a_fit(spec)
    fit = Fit(
        alone.network,
        alone.loss,
        alone.train,
        alone.validation,
        spec,
        device=alone.device,
        callbacks=alone.callbacks,
        world=world,
    )
    state = fit.run()
    content = {"weights": fit.network.state_dict(), "losses": state.losses}
    torch.save(content, directory / f"{world.rank}.pt")


if __name__ == "__main__":
    main()
    os._exit(0)  # as a training does: gloo's threads may abort a process that takes Python down
