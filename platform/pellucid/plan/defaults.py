"""Defaults that depend on the kind of network: chosen on held-out data, not by taste."""

from typing import Any

from pellucid.plan.base import Part
from pellucid.plan.document import Plan
from pellucid.plan.models import BagOfWords, Cnn, Gru, Mlp, Modality, Model

MODELS: dict[Modality, type[Mlp | Cnn | Gru | BagOfWords]] = {
    "tabular": Mlp,
    "image": Cnn,
    "sequence": Gru,
    "text": BagOfWords,
}

# kind of model -> part of the plan -> what it is where the plan does not say.
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {}


def with_defaults(plan: Plan, model: Model) -> Plan:
    """The plan with the defaults of a kind of network in every key that was not given."""
    update: dict[str, Any] = {"model": model}
    for name, values in DEFAULTS.get(model.kind, {}).items():
        part: Part = getattr(plan, name)
        kind = values.get("kind", getattr(part, "kind", None))
        if name in plan.model_fields_set and kind != getattr(part, "kind", None):
            continue  # another kind was asked for: these are not its keys
        given = (
            part.model_dump(include=part.model_fields_set) if name in plan.model_fields_set else {}
        )
        field = Plan.model_validate(
            {"name": "defaults", "data": {"dataset": "none"}, name: values | given}
        )
        update[name] = getattr(field, name)
    return plan.model_copy(update=update)
