"""Rules over losses and updates: learning rate, overfitting, and whether anything is learnt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pellucid_pipelines.diagnostics.findings import Finding, found
from pellucid_pipelines.diagnostics.layers import Gist

WILD = 0.2  # update over weight: nobody wants to rewrite half a layer in a step
LARGE = 0.1  # ... with a loss that climbs
TINY = 3e-4  # ... with a loss that still falls when training ends
USELESS = 0.99  # of a constant's loss
FEW_UPDATES = 50
SMALL_BATCH = 4
ROWS_PER_VERDICT = 50
WEIGHTS_PER_ROW = 1000

OPTIMISATION = {
    "dead_units", "saturated_units", "vanishing_gradients", "poor_initialization",
    "learning_rate_too_high", "learning_rate_too_low", "few_updates", "exploding_gradients",
    "unscaled_inputs",
}  # fmt: skip


@dataclass(frozen=True)
class Curves:
    """How a fit went.

    Attributes:
        start: loss on training rows before the first step.
        train, validation: losses of the epochs.
        constant_train, constant_validation: losses of the best constant prediction.
        gists: of the sampled steps.
        epochs, steps, batch_size: as planned; steps are those of an epoch.
        rows, validation_rows: how many there are.
        weights: how many the network has.
    """

    start: float
    train: Sequence[float]
    validation: Sequence[float]
    constant_train: float
    constant_validation: float
    gists: Sequence[Gist]
    epochs: int
    steps: int
    batch_size: int
    rows: int
    validation_rows: int
    weights: int

    @property
    def best(self) -> int:
        """The epoch of the lowest validation loss, from 0."""
        return min(range(len(self.validation)), key=self.validation.__getitem__)

    @property
    def still_falling(self) -> bool:
        """The second half of the epochs lowered both losses by more than 2% of a constant's."""
        half = (len(self.train) - 1) // 2
        return (
            self.train[half] - self.train[-1] > 0.02 * self.constant_train
            and self.validation[half] - self.validation[-1] > 0.02 * self.constant_validation
        )

    @property
    def updates(self) -> list[float]:
        """Median |update| / |weight| of the sampled steps."""
        return [g.update for g in self.gists if g.update == g.update]


def too_high(curves: Curves) -> Iterator[Finding]:
    """Steps that rewrite the weights; told as soon as it shows."""
    largest = max(curves.updates, default=0.0)
    reference = max(curves.start, curves.constant_train)
    worst = max(curves.train[:5], default=0.0)
    climbs = worst > 1.2 * reference or _volatile(curves)
    if largest > WILD or (largest > LARGE and climbs):
        yield found(
            "learning_rate_too_high",
            f"A step changed the weights by {largest:.0%} of their size (median layer; about 1% "
            f"is usual); the training loss was {curves.start:.3g} before the first step and up to "
            f"{worst:.3g} in the first epochs.",
            epoch=len(curves.train),
            evidence={"update_ratio": largest},
        )


def too_low(curves: Curves) -> Iterator[Finding]:
    """Steps too small to arrive anywhere in the epochs that were planned."""
    largest = max(curves.updates, default=1.0)
    unfinished = curves.train[-1] > 0.3 * min(curves.start, curves.constant_train)
    lowest = curves.validation[-1] <= 1.001 * min(curves.validation)
    if largest < TINY and unfinished and lowest:
        yield found(
            "learning_rate_too_low",
            f"No sampled step changed the weights by more than {largest:.1e} of their size, and "
            f"after {len(curves.train)} epochs the validation loss ({curves.validation[-1]:.4g}) "
            "was still at its lowest.",
            epoch=len(curves.train),
            evidence={"update_ratio": largest},
        )


def batches(curves: Curves) -> Iterator[Finding]:
    """Batches that are too large or too small for the rows there are."""
    updates = curves.epochs * curves.steps
    unfinished = curves.validation[-1] > 0.2 * curves.constant_validation
    if updates < FEW_UPDATES and curves.still_falling and unfinished:
        yield found(
            "few_updates",
            f"{curves.rows:,} rows in batches of {curves.batch_size:,} make {updates} updates in "
            f"{curves.epochs} epochs, and both losses were still falling.",
            evidence={"updates": updates},
        )
    if curves.batch_size <= SMALL_BATCH and curves.rows > 50 * curves.batch_size:
        yield found(
            "small_batches",
            f"Batches of {curves.batch_size} out of {curves.rows:,} rows.",
            evidence={"batch_size": curves.batch_size},
        )


def learnt(curves: Curves, known: set[str]) -> Iterator[Finding]:
    """Whether the network beats a constant at all.

    Args:
        curves: of the whole fit.
        known: codes found before: where the optimisation is at fault, the data are not blamed.
    """
    if curves.validation_rows < ROWS_PER_VERDICT or len(curves.train) < 3:
        return
    best, constant = min(curves.validation), curves.constant_validation
    if best < USELESS * constant:
        return
    numbers = {"validation_loss": best, "constant_loss": constant, "train_loss": curves.train[-1]}
    held_out = f"the best validation loss is {best:.4g}, that of a constant {constant:.4g}"
    stuck = min(curves.train) > 0.98 * curves.constant_train
    if stuck or known & OPTIMISATION:
        yield found(
            "loss_not_falling",
            f"After {len(curves.train)} epochs the training loss is {curves.train[-1]:.4g} (a "
            f"constant: {curves.constant_train:.4g}) and {held_out}.",
            epoch=len(curves.train),
            evidence=numbers,
        )
    else:
        yield found(
            "no_signal",
            f"The training loss fell to {min(curves.train):.4g}, but {held_out}.",
            epoch=len(curves.train),
            evidence=numbers,
        )


def overfitting(curves: Curves, known: set[str]) -> Iterator[Finding]:
    """Training rows are learnt by heart while held-out ones get worse."""
    best, last = curves.best, len(curves.train) - 1
    rise = curves.validation[last] - curves.validation[best]
    gap = curves.validation[best] - curves.train[best]
    scale = curves.constant_validation
    if known & {"no_signal", "learning_rate_too_high"} or curves.train[last] > curves.train[0]:
        return
    apart = curves.train[last] < 0.6 * curves.validation[last]
    if not apart or (rise < 0.1 * scale and gap < 0.6 * scale):
        return
    strong = rise > 0.5 * scale or gap > 0.6 * scale
    yield found(
        "overfitting",
        f"From epoch {best + 1} to {last + 1} the validation loss rose from "
        f"{curves.validation[best]:.4g} to {curves.validation[last]:.4g} while the training loss "
        f"fell to {curves.train[last]:.4g}; the weights of epoch {best + 1} are kept.",
        "warning" if strong else "info",
        epoch=best + 1,
        evidence={"rise": rise, "gap": gap},
    )
    if curves.weights > WEIGHTS_PER_ROW * curves.rows:
        yield found(
            "oversized_model",
            f"{curves.weights:,} weights learn from {curves.rows:,} rows, "
            f"{curves.weights // curves.rows:,} a row.",
            "warning" if strong else "info",
            evidence={"weights": curves.weights, "rows": curves.rows},
        )


def _volatile(curves: Curves) -> bool:
    """The training loss leaps up by a tenth of a constant's loss in a quarter of the epochs."""
    pairs = list(zip(curves.train, curves.train[1:], strict=False))
    leaps = sum(after > before + 0.1 * curves.constant_train for before, after in pairs)
    return len(pairs) >= 4 and leaps >= len(pairs) / 4
