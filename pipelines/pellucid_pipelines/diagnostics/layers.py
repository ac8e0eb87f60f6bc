"""Rules over what layers did: dead, saturated, vanishing, exploding, badly begun."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pellucid_pipelines.diagnostics.findings import Finding, found
from pellucid_pipelines.diagnostics.probes import Numbers

DEAD = 0.5  # share of a layer's units
SATURATED = 0.6  # share of a layer's values
VANISHED = 1e-3  # the first layers' gradient over the largest, as root mean squares
EXPLODED = 100.0  # norm of the gradient before clipping; about 1 is usual
_TIMES = 3.0  # a start this much worse than a constant is a poor one
_EQUAL = 1e-6


class Size(NamedTuple):
    """Of a weight: how many numbers, and how many of them enter one unit."""

    numbers: int
    fan_in: int


class Gist(NamedTuple):
    """What is kept of a sampled step. Ratios are without unit."""

    step: int
    update: float  # median over layers of |update| / |weight|
    gradient: float  # root mean square of the first layers' gradient over the largest
    layer: str  # the one of that smallest gradient


def gist(step: int, numbers: Numbers, sizes: Mapping[str, Size]) -> Gist | None:
    """The two ratios that tell how a step went; None where no weight was measured.

    A weight near zero, as some layers begin, counts as large as one of the usual start would be.
    """
    layers = [name for name in sizes if "gradient_norm" in numbers.get(name, {})]
    if not layers:
        return None
    updates = sorted(update_ratio(numbers[name], sizes[name]) for name in layers)
    gradients = {
        name: numbers[name]["gradient_norm"] / sizes[name].numbers ** 0.5 for name in layers
    }
    early = layers[: max(1, len(layers) // 3)]
    smallest = min(early, key=lambda name: gradients[name])
    largest = max(gradients.values())
    ratio = gradients[smallest] / largest if largest > 0 else 1.0
    return Gist(step, updates[len(updates) // 2], ratio, smallest)


def update_ratio(numbers: Mapping[str, float], size: Size) -> float:
    """|update| / |weight|, the weight no smaller than half that of a usual start."""
    usual = 0.5 * float(size.numbers / size.fan_in) ** 0.5
    size_now: float = max(numbers["weight_norm"], usual)
    return numbers["update_norm"] / size_now


def vanishing(gists: Sequence[Gist], epoch: int) -> Iterator[Finding]:
    """Early layers get far less gradient than later ones, in most sampled steps after the first."""
    usable = [g for g in gists if g.step > 0 and g.gradient == g.gradient]
    if len(usable) < 3:
        return
    middle = sorted(usable, key=lambda g: g.gradient)[len(usable) // 2]
    if middle.gradient < VANISHED:
        yield found(
            "vanishing_gradients",
            f"The gradient in layer {middle.layer} is {middle.gradient:.1e} of the largest "
            f"layer's (median of {len(usable)} sampled steps; below {VANISHED:.0e} is too small "
            "to learn by).",
            layer=middle.layer,
            epoch=epoch,
            evidence={"ratio": middle.gradient},
        )


def exploding(norm: float, clip: float | None, numbers: Numbers, epoch: int) -> Iterator[Finding]:
    """The mean norm of an epoch's gradients, before clipping, is far too large."""
    if norm <= EXPLODED:
        return
    norms = {name: v["gradient_norm"] for name, v in numbers.items() if "gradient_norm" in v}
    layer = max(norms, key=lambda name: norms[name]) if norms else None
    clipped = f"clipped to {clip:g}" if clip else "not clipped"
    yield found(
        "exploding_gradients",
        f"The gradient's norm was {norm:.3g} on average in epoch {epoch} ({clipped}); about 1 is "
        "usual." + (f" Most of it is in layer {layer}." if layer else ""),
        layer=layer,
        epoch=epoch,
        evidence={"gradient_norm": norm},
    )


def dead(numbers: Numbers, epoch: int, rows: int) -> Iterator[Finding]:
    """Layers of which most units are zero for every row."""
    shares = {n: v["dead_share"] for n, v in numbers.items() if v.get("dead_share", 0) > DEAD}
    if shares:
        layer = max(shares, key=lambda name: shares[name])
        yield found(
            "dead_units",
            f"{shares[layer]:.0%} of the units of layer {layer} are zero for all of {rows} rows"
            + (f"; {len(shares)} layers are like this." if len(shares) > 1 else "."),
            layer=layer,
            epoch=epoch,
            evidence={"dead_share": shares[layer]},
        )


def saturated(numbers: Numbers, epoch: int) -> Iterator[Finding]:
    """Layers of which most values lie at the limits of sigmoid or tanh."""
    shares = {
        n: v["saturated_share"]
        for n, v in numbers.items()
        if v.get("saturated_share", 0) > SATURATED
    }
    if shares:
        layer = max(shares, key=lambda name: shares[name])
        yield found(
            "saturated_units",
            f"{shares[layer]:.0%} of the values of layer {layer} lie within 3% of their limits, "
            "where the gradient is nearly zero.",
            layer=layer,
            epoch=epoch,
            evidence={"saturated_share": shares[layer]},
        )


def start(loss: float, constant: float, spread: Mapping[str, float]) -> Iterator[Finding]:
    """The network before its first step.

    Args:
        loss: on training rows.
        constant: that of the best constant prediction on them.
        spread: activation -> how much its units differ, over the size of its values.
    """
    if loss > _TIMES * constant:
        yield found(
            "poor_initialization",
            f"Before the first step the loss is {loss:.3g}, {loss / constant:.1f} times that of a "
            f"constant prediction ({constant:.3g}): the outputs start far too large.",
            epoch=0,
            evidence={"loss": loss, "constant_loss": constant},
        )
    equal = [name for name, value in spread.items() if value < _EQUAL]
    if equal:
        yield found(
            "poor_initialization",
            f"All units of layer {equal[0]} give the same before the first step, so they would "
            "all learn the same.",
            layer=equal[0],
            epoch=0,
        )
