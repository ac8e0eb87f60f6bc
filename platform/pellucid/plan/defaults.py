"""Defaults that depend on the kind of network; `benchmarks/` says how they do."""

from typing import Any

from pellucid.plan.document import Plan
from pellucid.plan.models import BagOfWords, Cnn, Gru, Modality, Model, TabM

MODELS: dict[Modality, type[TabM | Cnn | Gru | BagOfWords]] = {
    "tabular": TabM,
    "image": Cnn,
    "sequence": Gru,
    "text": BagOfWords,
}


# Expected gradients of every pixel, step or token: each row takes a backward pass per class.
_FEW = {"background": 20, "rows": 64}

# Each background row costs a backward pass through all members, or through the attention.
_COSTLY = {"background": 16, "background_choice": "kmeans", "rows": 128}


def _recurrent(lr: float) -> dict[str, dict[str, Any]]:
    return {
        "optimizer": {"kind": "adamw", "lr": lr, "weight_decay": 0.01},
        "schedule": {"kind": "one_cycle"},
        "training": {"epochs": 24, "batch_size": 128, "patience": 10},
        "explanation": _FEW,
    }


# kind of model -> part of the plan -> what it is where the plan does not say.
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "cnn": {
        "optimizer": {"kind": "adamw", "lr": 4e-3},
        "augmentation": {"crop": 1},  # safe for any image; to flip one may change what it shows
        "training": {"epochs": 30, "batch_size": 64, "patience": 10},
        "explanation": _FEW,
    },
    "hybrid": {
        "optimizer": {"kind": "adamw", "lr": 3e-3},
        "augmentation": {"crop": 1},
        "training": {"epochs": 20, "batch_size": 64, "patience": 10},
        "explanation": _FEW,
    },
    "tabm": {
        # Standardising leaves heavy tails as they are; quantiles do not.
        "preprocessing": {"numeric": {"kind": "quantile"}},
        "optimizer": {"kind": "adamw", "lr": 2e-3, "weight_decay": 3e-4},
        # An average of the weights can be judged at any time, without a falling lr; the refit
        # then brings lr down, over the validation rows too.
        "schedule": {"kind": "constant"},
        "regularization": {"ema": 0.99},
        "training": {"epochs": 200, "batch_size": 128, "patience": 16, "refit": 0.4},
        "explanation": _COSTLY,
    },
    "ft_transformer": {
        "preprocessing": {"numeric": {"kind": "quantile"}},
        "optimizer": {"kind": "adamw", "lr": 5e-4, "weight_decay": 1e-5},
        "schedule": {"kind": "constant"},
        "regularization": {"ema": 0.99},
        "training": {"epochs": 200, "batch_size": 128, "patience": 16, "refit": 0.4},
        "explanation": _COSTLY,
    },
    "rnn": _recurrent(lr=1e-3),
    "lstm": _recurrent(lr=3e-3),
    "gru": _recurrent(lr=3e-3),
    "tcn": {
        "optimizer": {"kind": "adamw", "lr": 3e-3, "weight_decay": 0.05},
        "schedule": {"kind": "one_cycle"},
        "training": {"epochs": 24, "batch_size": 128, "patience": 12},
        "explanation": _FEW,
    },
    "transformer": {
        "optimizer": {"kind": "adamw", "lr": 3e-3, "weight_decay": 0.05},
        "schedule": {"kind": "one_cycle"},
        "training": {"epochs": 24, "batch_size": 128, "patience": 12},
        "explanation": _FEW,
    },
    "bag_of_words": {
        "optimizer": {"kind": "adamw", "lr": 1e-2, "weight_decay": 0.01},
        "schedule": {"kind": "cosine"},
        "training": {"epochs": 40, "batch_size": 64, "patience": 8},
        "explanation": _FEW,
    },
}


def with_defaults(plan: Plan, model: Model) -> Plan:
    """The plan with the defaults of a kind of network in every key that was not given."""
    update: dict[str, Any] = {"model": model}
    for name, values in DEFAULTS.get(model.kind, {}).items():
        given = getattr(plan, name).model_dump(exclude_unset=True)
        asked = name in plan.model_fields_set
        if asked and given.get("kind", values.get("kind")) != values.get("kind"):
            continue  # another kind was asked for: these are not its keys
        merged = values | given if asked else values
        whole = Plan.parse({"name": "any", "data": {"dataset": "any"}, name: merged})
        update[name] = getattr(whole, name)
    return plan.model_copy(update=update)
