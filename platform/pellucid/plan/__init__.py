"""The plan: everything that decides a training run, as pure data.

A plan is YAML or JSON. Parts that come in kinds (split, model, optimizer, ...) are unions tagged
by `kind`; each kind has a builder in `pellucid_pipelines`, and a contract test holds the two
together. `resolve` fills in what depends on the data, so that the logged plan reproduces the run.
"""

from pellucid.plan.document import Plan
from pellucid.plan.parts import (
    NAME_PATTERN,
    AdamW,
    Constant,
    Cosine,
    Data,
    Evaluation,
    Explanation,
    Gates,
    GroupSplit,
    MinMax,
    Mlp,
    Model,
    Name,
    OneCycle,
    Optimizer,
    Part,
    Plateau,
    Preprocessing,
    Quantile,
    RandomSplit,
    Scaling,
    Schedule,
    Sgd,
    Split,
    Standardize,
    StratifiedSplit,
    TimeSplit,
    Training,
)
from pellucid.plan.resolution import resolve

__all__ = [
    "NAME_PATTERN",
    "AdamW",
    "Constant",
    "Cosine",
    "Data",
    "Evaluation",
    "Explanation",
    "Gates",
    "GroupSplit",
    "MinMax",
    "Mlp",
    "Model",
    "Name",
    "OneCycle",
    "Optimizer",
    "Part",
    "Plan",
    "Plateau",
    "Preprocessing",
    "Quantile",
    "RandomSplit",
    "Scaling",
    "Schedule",
    "Sgd",
    "Split",
    "Standardize",
    "StratifiedSplit",
    "TimeSplit",
    "Training",
    "resolve",
]
