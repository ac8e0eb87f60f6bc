"""What training makes small: the mean of the rows' losses, or what a mitigation makes of them."""

from torch import Tensor, nn

from pellucid_pipelines import losses
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.distributed import World
from pellucid_pipelines.rows import Rows


class Objective(nn.Module, Callback):
    """The mean loss under the rows' weights. It hears of the fit before all other callbacks.

    What its buffers hold is part of a checkpoint.
    """

    def of_batch(self, raw: Tensor, each: Tensor, rows: Rows, world: World) -> Tensor:
        """What a training batch's gradient is of.

        Args:
            raw: (N, outputs), or (N, members, outputs) of an ensemble.
            each: (N,) the rows' losses.
            rows: this process's share of the batch.
            world: the processes that have the others.
        """
        return losses.mean(each, rows.weights)

    def of_all(self, raw: Tensor, each: Tensor, rows: Rows) -> Tensor:
        """What the best epoch is chosen by, on the validation rows; arguments as above."""
        return losses.mean(each, rows.weights)
