"""What a trained network rests on, as a whole: figures, tables and metrics of a run.

Tables, under `tables/`, whose columns are the same in every run:

- importance.parquet: each column's mean |SHAP|, permutation importance with its limits, LIME;
- pdp.parquet: partial dependence on the strongest columns;
- shap_groups.parquet: SHAP values by sensitive group;
- tokens.parquet, steps.parquet: what words and steps mean over all explained rows.
"""

from pellucid_pipelines.global_explanation.report import write

__all__ = ["write"]
