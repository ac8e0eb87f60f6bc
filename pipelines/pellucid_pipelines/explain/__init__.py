"""Why the network says what it says: SHAP values, offline and in a graph that is served."""

from pellucid_pipelines.explain.background import compared
from pellucid_pipelines.explain.bundled import bundle_explanation, for_serving
from pellucid_pipelines.explain.offline import explain
from pellucid_pipelines.explain.tables import write_table
from pellucid_pipelines.explain.values import Explained, Places

__all__ = [
    "Explained",
    "Places",
    "bundle_explanation",
    "compared",
    "explain",
    "for_serving",
    "write_table",
]
