"""Label noise, by confident learning on rows that the network has not learnt from."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pellucid_pipelines.diagnostics.findings import Finding, found

NOISY = 0.12  # of the rows that the network is surest of
_FEWEST = 100  # rows
_NAMED = 5  # rows that a finding names


def check(
    truth: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
) -> Iterator[Finding]:
    """Whether labels look wrong, and which.

    cleanlab finds the rows. That alone is no alarm, since classes that overlap give many, too. They
    differ in this: where classes overlap, the network is hardly ever wrong when it is surest; wrong
    labels are as frequent there as elsewhere.

    Args:
        truth: (N,) class indices.
        probabilities: (N, K) predictions out of sample.
        rows: (N,) which rows of the data set these are, from 0.
    """
    if len(truth) < _FEWEST or len(np.unique(truth)) < probabilities.shape[1]:
        return
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    wrong = probabilities.argmax(axis=1) != truth
    surest = np.argsort(-probabilities.max(axis=1))[: max(50, int(0.3 * len(truth)))]
    floor, overall = wrong[surest].mean(), wrong.mean()
    majority = 1 - np.bincount(truth).max() / len(truth)
    certain = floor - 2 * np.sqrt(floor * (1 - floor) / len(surest))
    if certain < NOISY or overall > min(1.6 * floor, 0.75 * majority):
        return
    from cleanlab.filter import find_label_issues  # seconds

    issues = find_label_issues(
        truth, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    named = ", ".join(str(rows[i] + 1) for i in issues[:_NAMED])
    yield found(
        "label_noise",
        f"{floor:.0%} of the labels contradict the network where it is surest (the surest "
        f"{len(surest)} of {len(truth)} held-out rows; {overall:.0%} over all). Confident learning "
        f"doubts {len(issues)} labels, first those of rows {named} (counted from 1).",
        evidence={"contradicted": floor, "doubted": len(issues)},
    )
