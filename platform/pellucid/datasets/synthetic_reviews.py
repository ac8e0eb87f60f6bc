"""Synthetic product reviews: a known process in which the order of words matters.

A review is of a product (phone, book, kettle or shoes, equally often) and holds 2 to 5 clauses and
1 to 3 sentences that say nothing, in random order. Each clause is on another aspect of the product,
and has an opinion o, +1 or -1 with equal chance, of strength s, 1 or 2:

    plainly   (0.70)  "the battery is very good"
    negated   (0.15)  the opposite word after "not", "never", "hardly", "far from", ..., of half of
                      them with other words between: "the screen is not what i would call awful"
    contrast  (0.15)  both words: "the strap used to be poor but now it is great"; the later one
                      counts

    P(recommended) = 1 / (1 + exp(-2 (sum of o s) - 0.3 [product = book]))

Half of the reviews start with a name that occurs a few times only. Counting words finds some of
it, counting pairs of words more, and what reads whole clauses nearly all. Ranking by the true
probability has an accuracy of about 0.90.
"""

from collections.abc import Sequence
from random import Random

import numpy as np
import pyarrow as pa

from pellucid.schema import Role

ASPECTS = {
    "phone": ("screen", "battery", "camera", "speaker", "signal", "charger"),
    "book": ("plot", "cover", "paper", "ending", "translation", "print"),
    "kettle": ("lid", "handle", "switch", "spout", "cord", "filter"),
    "shoes": ("sole", "strap", "lining", "heel", "leather", "fit"),
}
WORDS = {
    (1, 1): ("good", "nice", "decent", "solid", "pleasant"),
    (1, 2): ("great", "superb", "excellent", "brilliant", "perfect"),
    (-1, 1): ("bad", "poor", "weak", "dull", "flimsy"),
    (-1, 2): ("awful", "terrible", "useless", "dreadful", "horrible"),
}
_ADVERBS = ("", "", "really ", "very ", "quite ", "truly ")
_NEAR = ("is not", "is never", "is hardly", "is far from", "is anything but")
_FAR = ("is not what i would call", "is not in any way", "is never once", "was not, to me,")
_FILLERS = (
    "i bought it {when}",
    "it came in a {colour} box",
    "my {relative} asked for the {product}",
    "this was my {order} {product}",
    "delivery took {count} days",
    "i paid {count} for it",
)
_SLOTS = {
    "when": ("last week", "in spring", "on sale", "for a trip", "as a gift"),
    "colour": ("red", "blue", "plain", "large", "brown"),
    "relative": ("sister", "father", "friend", "neighbour", "boss"),
    "order": ("first", "second", "third", "only"),
    "count": ("two", "three", "five", "nine", "twenty"),
}
_SYLLABLES = ("ka", "lo", "mi", "ter", "zan", "vi", "ro", "bel", "nu", "dor")


def reviews(rows: int = 6000, *, seed: int = 0) -> tuple[pa.Table, dict[str, Role]]:
    """Reviews with whether the product is recommended, by the module's process.

    Args:
        rows: how many.
        seed: the same seed gives the same table.
    """
    random = Random(seed)
    products = [_pick(tuple(ASPECTS), random) for _ in range(rows)]
    written = [_review(product, random) for product in products]
    score = np.array([total for _, total in written])
    chance = 1 / (1 + np.exp(-2 * score - 0.3 * (np.array(products) == "book")))
    table = pa.table(
        {
            "review": [f"R{number:06d}" for number in range(1, rows + 1)],
            "product": products,
            "text": [text for text, _ in written],
            "recommended": [random.random() < each for each in chance.tolist()],
        }
    )
    roles = {"review": Role.ID, "product": Role.SENSITIVE, "recommended": Role.TARGET}
    return table, roles


def _review(product: str, random: Random) -> tuple[str, int]:
    """A text, and the sum of its opinions."""
    aspects = random.sample(ASPECTS[product], random.randint(2, 5))
    said = [_clause(aspect, random) for aspect in aspects]
    sentences = [text for text, _ in said]
    sentences += [_filler(product, random) for _ in range(random.randint(1, 3))]
    random.shuffle(sentences)
    name = ""
    if random.random() < 0.5:
        name = "".join(_pick(_SYLLABLES, random) for _ in range(4)) + ": "
    return f"{name}{'. '.join(sentences)}.".capitalize(), sum(total for _, total in said)


def _clause(aspect: str, random: Random) -> tuple[str, int]:
    opinion, strength = (1 if random.random() < 0.5 else -1), random.randint(1, 2)
    true = _pick(_ADVERBS, random) + _pick(WORDS[opinion, strength], random)
    false = _pick(_ADVERBS, random) + _pick(WORDS[-opinion, strength], random)
    kind = random.random()
    if kind < 0.70:
        return f"the {aspect} is {true}", opinion * strength
    if kind < 0.85:
        negation = _pick(_NEAR if random.random() < 0.5 else _FAR, random)
        return f"the {aspect} {negation} {false}", opinion * strength
    return f"the {aspect} used to be {false} but now it is {true}", opinion * strength


def _filler(product: str, random: Random) -> str:
    slots = {name: _pick(values, random) for name, values in _SLOTS.items()}
    return _pick(_FILLERS, random).format(product=product, **slots)


def _pick(values: Sequence[str], random: Random) -> str:
    return values[int(random.random() * len(values))]
