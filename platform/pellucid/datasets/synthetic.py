"""Synthetic credit applications: a known process with a planted bias and two kinds of drift.

The process, with s(x) = 1 / (1 + exp(-x)), N(m, d) normal, all draws independent given what they
are conditioned on, v = `covariate_drift`, c = `concept_drift`, b = `bias`:

    sex              female or male, 1/2 each
    age              18 + Gamma(2.2, 9.5 - 3 v), at most 80, in whole years
    age_group        under_30, 30_to_59, 60_and_over
    education        school, vocational, degree: 0.30, 0.45, 0.25
    part_time        true with probability 0.35 (female) or 0.10 (male): a proxy of sex
    employment_years Exponential(0.25 (age - 17)), at most age - 17
    income           monthly, exp(N(7.7 + [0, 0.15, 0.45][education] - 0.4 part_time - 0.3 v, 0.35))
    amount           exp(N(8.9, 0.6))
    months           12, 24, 36, 48, 60, equally often
    utilisation      share of credit lines in use, Beta(2 + 2 v, 4)
    late_payments    Poisson(0.4 + 1.2 utilisation)
    has_savings      true with probability s(-1.2 + 0.0004 income)
    housing          own, rent, parents: 0.40, 0.45, 0.15
    purpose          car, home, education, business, holiday: 0.35, 0.25, 0.10, 0.15, 0.15
    burden           amount / months / income, the share of income that the rate takes

    P(default) = s(z),  z = -2.3 + 3.0 min(burden, 1.5) + (1 - c) 0.6 late_payments
        + 2.2 (utilisation - 0.35) (1 + c) - 0.08 (1 - c) min(employment_years, 15)
        - 0.8 has_savings + [0, 0.3, 0.1][housing] + [0, -0.3, 0.2, 0.6, 0.4 + 1.5 c][purpose]
        + b [sex = female] + b / 2 [age_group = under_30]

Then 8 % of `employment_years` and, of renters' `utilisation`, 10 % go missing. Nothing that decides
a default explains the two terms in b: they stand for a biased history. Covariate drift moves the
applicants and leaves P(default | application) alone; concept drift does the reverse. Ranking by
the true P(default) has an AUC of about 0.8 at the defaults; about a quarter of loans default.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.schema import Role

Columns = dict[str, NDArray[np.generic]]
_HOUSING = ("own", "rent", "parents")
_PURPOSE = ("car", "home", "education", "business", "holiday")
_EDUCATION = ("school", "vocational", "degree")


def credit(
    rows: int = 5000,
    *,
    seed: int = 0,
    bias: float = 0.6,
    covariate_drift: float = 0.0,
    concept_drift: float = 0.0,
) -> tuple[pa.Table, dict[str, Role]]:
    """Applications with their outcome `default` (0 or 1), by the module's process.

    Args:
        rows: how many.
        seed: the same seed and knobs give the same table; concept drift changes only `default`.
        bias: log-odds that being a woman adds to a recorded default; half of it for under 30.
        covariate_drift: 0 none, 1 strong: younger, poorer, more indebted applicants.
        concept_drift: 0 none, 1 strong: other things make a default likely.
    """
    random = np.random.default_rng(seed)
    columns = applications(rows, random, covariate_drift)
    probability = default_probability(columns, bias=bias, concept_drift=concept_drift)
    default = random.random(rows) < probability
    masks = _missing(columns, random)
    table = pa.table(
        {"application": [f"A{number:07d}" for number in range(1, rows + 1)]}
        | {name: pa.array(values, mask=masks.get(name)) for name, values in columns.items()}
        | {"default": default.astype(np.int64)}
    )
    roles = {
        "application": Role.ID,
        "sex": Role.SENSITIVE,
        "age_group": Role.SENSITIVE,
        "default": Role.TARGET,
    }
    return table, roles


def applications(rows: int, random: np.random.Generator, covariate_drift: float = 0.0) -> Columns:
    """What applicants state, nothing missing yet; each array of shape (rows,)."""
    female = random.random(rows) < 0.5
    age = np.minimum(18 + random.gamma(2.2, 9.5 - 3 * covariate_drift, rows), 80).astype(np.int64)
    education = random.choice(3, rows, p=(0.30, 0.45, 0.25))
    part_time = random.random(rows) < np.where(female, 0.35, 0.10)
    years = np.minimum(random.exponential(0.25 * (age - 17)), age - 17)
    level = 7.7 + np.array([0, 0.15, 0.45])[education] - 0.4 * part_time - 0.3 * covariate_drift
    income = np.exp(random.normal(level, 0.35))
    utilisation = random.beta(2 + 2 * covariate_drift, 4, rows)
    return {
        "sex": np.where(female, "female", "male"),
        "age": age,
        "age_group": np.select([age < 30, age < 60], ["under_30", "30_to_59"], "60_and_over"),
        "education": np.array(_EDUCATION)[education],
        "part_time": part_time,
        "employment_years": years.round(1),
        "income": income.round(2),
        "amount": np.exp(random.normal(8.9, 0.6, rows)).round(2),
        "months": random.choice([12, 24, 36, 48, 60], rows),
        "utilisation": utilisation.round(3),
        "late_payments": random.poisson(0.4 + 1.2 * utilisation),
        "has_savings": random.random(rows) < _sigmoid(-1.2 + 0.0004 * income),
        "housing": random.choice(_HOUSING, rows, p=(0.40, 0.45, 0.15)),
        "purpose": random.choice(_PURPOSE, rows, p=(0.35, 0.25, 0.10, 0.15, 0.15)),
    }


def default_probability(
    columns: Columns, *, bias: float, concept_drift: float
) -> NDArray[np.float64]:
    """The true probability of a default, of shape (rows,)."""
    c = concept_drift
    numbers = {name: columns[name].astype(np.float64) for name in _NUMBERS}
    burden = numbers["amount"] / numbers["months"] / numbers["income"]
    z = -2.3 + 3.0 * np.minimum(burden, 1.5) + (1 - c) * 0.6 * numbers["late_payments"]
    z += 2.2 * (numbers["utilisation"] - 0.35) * (1 + c)
    z -= 0.08 * (1 - c) * np.minimum(numbers["employment_years"], 15)
    z -= 0.8 * numbers["has_savings"]
    z += _effect(columns["housing"], _HOUSING, (0, 0.3, 0.1))
    z += _effect(columns["purpose"], _PURPOSE, (0, -0.3, 0.2, 0.6, 0.4 + 1.5 * c))
    z += bias * (columns["sex"] == "female") + bias / 2 * (columns["age_group"] == "under_30")
    return _sigmoid(z)


_NUMBERS = (
    "amount", "months", "income", "late_payments", "utilisation", "employment_years", "has_savings"
)  # fmt: skip


def _missing(columns: Columns, random: np.random.Generator) -> dict[str, NDArray[np.bool_]]:
    rows = len(columns["housing"])
    renters = columns["housing"] == "rent"
    return {
        "employment_years": random.random(rows) < 0.08,
        "utilisation": renters & (random.random(rows) < 0.10),
    }


def _effect(
    values: NDArray[np.generic], names: tuple[str, ...], effects: tuple[float, ...]
) -> NDArray[np.float64]:
    return np.select([values == name for name in names], effects).astype(np.float64)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 / (1 + np.exp(-x))
    return result
