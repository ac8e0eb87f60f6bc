"""scikit-learn's bundled data sets as tables with roles."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from pellucid.errors import NotFound
from pellucid.schema import Role

_TARGETS = {
    "breast_cancer": "diagnosis",
    "wine": "cultivar",
    "digits": "digit",
    "diabetes": "progression",
}
_SENSITIVE = {"diabetes": ("sex",)}
NAMES = tuple(_TARGETS)


def load(name: str) -> tuple[pa.Table, dict[str, Role]]:
    """One of `NAMES`: breast_cancer (2 classes), wine (3), digits (10), diabetes (regression).

    Raises:
        NotFound: there is no such set.
    """
    if name not in _TARGETS:
        raise NotFound(
            f"There is no bundled data set {name!r}.", remedy=f"There are: {', '.join(NAMES)}."
        )
    bunch = _loader(name)()
    columns = {
        str(feature).replace(" ", "_"): bunch.data[:, index]
        for index, feature in enumerate(bunch.feature_names)
    }
    target = _TARGETS[name]
    table = pa.table(columns | {target: _target(name, bunch)})
    roles = {target: Role.TARGET} | dict.fromkeys(_SENSITIVE.get(name, ()), Role.SENSITIVE)
    return table, roles


def _loader(name: str) -> Callable[[], Any]:
    from sklearn import datasets  # heavy

    if name == "diabetes":
        return lambda: datasets.load_diabetes(scaled=False)
    loader: Callable[[], Any] = getattr(datasets, f"load_{name}")
    return loader


def _target(name: str, bunch: Any) -> pa.Array:
    if name in ("digits", "diabetes"):
        return pa.array(bunch.target)
    return pa.array([str(bunch.target_names[index]) for index in bunch.target])
