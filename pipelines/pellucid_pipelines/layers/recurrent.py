"""Stacked recurrent layers, in one direction or both."""

from typing import Literal

import torch
from torch import Tensor, nn

from pellucid_pipelines.layers.steps import backwards, last, mean

CELLS: dict[str, type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


class Recurrent(nn.Module):
    """(N, steps, channels), real (N, steps) -> (N, 2 `wide`): last states and mean of the states.

    The way back reads the real steps in reverse, so that it starts at the last of them; what lies
    after that one never reaches an output. `wide` is `width`, or twice that in both directions.
    """

    def __init__(
        self,
        cell: Literal["rnn", "lstm", "gru"],
        channels: int,
        width: int,
        layers: int = 1,
        *,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.wide = width * (2 if bidirectional else 1)
        sizes = [channels] + [self.wide] * (layers - 1)
        self.forth = nn.ModuleList(_cell(cell, size, width) for size in sizes)
        self.back = nn.ModuleList(_cell(cell, size, width) for size in sizes if bidirectional)
        self.dropouts = nn.ModuleList(nn.Dropout(dropout) for _ in sizes[1:])

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Shapes: (N, steps, channels), (N, steps) -> (N, 2 `wide`)."""
        ends: list[Tensor] = []
        for i, forth in enumerate(self.forth):
            if i:
                hidden = self.dropouts[i - 1](hidden)
            states = [forth(hidden)[0]]
            ends = [last(states[0], real)]
            if self.back:
                reverse = self.back[i](backwards(hidden, real))[0]
                states.append(backwards(reverse, real))
                ends.append(last(reverse, real))
            hidden = torch.cat(states, dim=2)
        return torch.cat([*ends, mean(hidden, real)], dim=1)


def _cell(kind: str, size: int, width: int) -> nn.Module:
    """A layer with orthogonal recurrence (Saxe et al., 2014) and, of an LSTM, open forget gates.

    Gates that are open at first keep the gradient alive (Jozefowicz et al., 2015).
    """
    layer = CELLS[kind](size, width, batch_first=True)
    for name, parameter in layer.named_parameters():
        for gate, part in enumerate(parameter.detach().chunk(len(parameter) // width)):
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(part)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(part)
            else:  # an LSTM's gates are: input, forget, cell, output
                opened = kind == "lstm" and name.startswith("bias_ih") and gate == 1
                nn.init.constant_(part, float(opened))
    return layer
