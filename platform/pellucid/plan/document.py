"""The plan as a whole: read, checked, and described."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError

from pellucid.errors import InvalidPlan
from pellucid.plan.base import Name, Part
from pellucid.plan.data import Data, Preprocessing, Split
from pellucid.plan.fairness import Fairness
from pellucid.plan.models import Modality, Model
from pellucid.plan.optimization import (
    AdamW,
    Augmentation,
    Cosine,
    Initialization,
    Loss,
    Optimizer,
    Regularization,
    Schedule,
    Training,
    Transfer,
)
from pellucid.plan.reporting import Evaluation, Explanation, Gates
from pellucid.plan.search import CrossValidation, Search
from pellucid.plan.serving import Serving


class Plan(Part):
    """A training run, whole."""

    name: Annotated[Name, Field(description="The registered model's name.")]
    data: Data
    target: Annotated[str | None, Field(description="Default: the column with role target.")] = None
    task: Literal["auto", "classification", "regression"] = "auto"
    positive_class: Annotated[
        str | None, Field(description="Binary: which class is scored. Default: the last, sorted.")
    ] = None
    split: Split | None = Field(
        default=None,
        description="Default: time with a time column, else stratified (classification), random.",
    )
    modality: Annotated[
        Literal["auto"] | Modality,
        Field(description="What the inputs are. auto: the columns' types and the model tell."),
    ] = "auto"
    preprocessing: Preprocessing = Preprocessing()
    model: Model | None = Field(
        default=None,
        description="Default: tabm (tabular), cnn (image), gru (sequence), bag_of_words (text).",
    )
    initialization: Annotated[
        Initialization, Field(description="default: what suits each of the model's layers.")
    ] = "default"
    loss: Loss | None = Field(
        default=None, description="Default: cross_entropy (classification), mse (regression)."
    )
    optimizer: Optimizer = AdamW()
    schedule: Schedule = Cosine()
    regularization: Regularization = Regularization()
    augmentation: Augmentation = Augmentation()
    transfer: Transfer | None = None
    training: Training = Training()
    cross_validation: CrossValidation | None = None
    search: Search | None = None
    fairness: Fairness | None = Field(
        default=None, description="Groups that the model should treat alike. Default: none named."
    )
    evaluation: Evaluation = Evaluation()
    explanation: Explanation = Explanation()
    gates: Gates = Gates()
    serving: Serving = Serving()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The plan that a mapping describes.

        Raises:
            InvalidPlan: a key is unknown or a value not allowed; all of them are listed.
        """
        if not isinstance(value, dict):
            raise InvalidPlan(f"A plan is a mapping, not {type(value).__name__}.")
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise _invalid(error, value) from error

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The plan in a YAML or JSON text.

        Raises:
            InvalidPlan: the text is neither, or the plan is wrong.
        """
        return cls.parse(read_yaml(text))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The plan's JSON Schema (draft 2020-12), with every default."""
        return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | cls.model_json_schema()


def read_yaml(text: str, what: str = "plan") -> Any:
    """The value of a YAML document, of which JSON is a kind.

    Args:
        text: of the document.
        what: it is, in an error.

    Raises:
        InvalidPlan: it is none.
    """
    try:
        return yaml.safe_load(text)
    # PyYAML passes on what its constructors raise: a 13th month, `!!bool x`, [[[[...]]]].
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise InvalidPlan(f"The {what} is neither YAML nor JSON: {error}.") from error


def _invalid(error: ValidationError, given: dict[str, Any]) -> InvalidPlan:
    paths, problems = [], []
    for item in error.errors():
        path = ".".join(_path(item["loc"], given))
        paths.append(path)
        match item["type"]:
            case "extra_forbidden":
                problems.append(f"{path}: unknown key")
            case "union_tag_not_found":
                problems.append(f"{path}: its `kind` is missing")
            case _:
                problems.append(f"{path}: {item['msg']} (got {item['input']!r:.80})")
    return InvalidPlan(
        "; ".join(problems) + ".",
        where={"path": paths[0] if len(paths) == 1 else paths},
        remedy="`pellucid train --schema` or GET /v1/schemas/plan lists every key and its values.",
    )


def _path(location: tuple[int | str, ...], value: Any) -> Iterator[str]:
    """The keys that lead to a value, without the kinds that pydantic puts between them."""
    for part in location:
        if isinstance(value, dict) and part not in value and part == value.get("kind"):
            continue
        yield str(part)
        value = value.get(part) if isinstance(value, dict) else None
