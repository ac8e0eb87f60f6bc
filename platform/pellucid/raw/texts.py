"""Texts to tokens: byte-pair encoding (Sennrich et al., 2016) over bytes.

Bytes that no training text holds are unknown; so is nothing else. What a user's text spells like
a special token stays plain text.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import InvalidData

if TYPE_CHECKING:
    from pellucid.plan import Texts

PADDING, UNKNOWN = 0, 1
_SPECIAL = ("[PAD]", "[UNK]")  # in the order of their numbers
_LONGEST = 24  # bytes of one token, so that a text is read no further than its tokens can reach
_BATCH = 4096  # texts


class Tokenizer:
    """A trained tokenizer: 0 fills up, 1 is unknown, the others are pieces of words.

    Attributes:
        vocabulary: how many tokens there are, the special ones included.
    """

    def __init__(self, trained: Any) -> None:
        trained.encode_special_tokens = True  # a user who writes "[PAD]" means just that
        self._trained = trained
        self.vocabulary: int = trained.get_vocab_size()

    @classmethod
    def train(cls, texts: Iterable[str | None], spec: "Texts") -> Self:
        """Learn from texts; the same texts give the same tokenizer."""
        library = _library()
        trained = library.Tokenizer(library.models.BPE(unk_token=_SPECIAL[UNKNOWN], fuse_unk=True))
        normal = [library.normalizers.NFC()]
        normal += [library.normalizers.Lowercase()] if spec.lowercase else []
        trained.normalizer = library.normalizers.Sequence(normal)
        trained.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = library.trainers.BpeTrainer(
            vocab_size=spec.vocabulary,
            limit_alphabet=spec.vocabulary - len(_SPECIAL),
            max_token_length=_LONGEST,
            min_frequency=2,
            special_tokens=list(_SPECIAL),
            show_progress=False,
        )
        read = (_readable(text, spec.length) for text in texts)
        trained.train_from_iterator(read, trainer)
        return cls(trained)

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote.

        Raises:
            InvalidData: the file is missing or holds no tokenizer.
        """
        library = _library()
        try:
            return cls(library.Tokenizer.from_file(str(path)))
        except Exception as error:  # the library raises nothing more exact
            raise InvalidData(
                f"The tokenizer cannot be read: {error}.", where={"file": str(path)}
            ) from error

    def save(self, path: Path) -> None:
        """Write tokenizer.json, in the `tokenizers` library's own format."""
        path.write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """What `save` writes; the same tokenizer gives the same text."""
        return str(self._trained.to_str(pretty=True))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The tokenizer that `to_json` wrote."""
        return cls(_library().Tokenizer.from_str(text))

    def encode(self, texts: Sequence[str | None], length: int) -> NDArray[np.int64]:
        """(N, length): the first `length` tokens of each text, then 0; None is an empty text."""
        tokens = np.zeros((len(texts), length), np.int64)
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            for row, found in enumerate(self._encoded(batch, length), start):
                ids = found.ids[:length]
                tokens[row, : len(ids)] = ids
        return tokens

    def lengths(self, texts: Sequence[str | None], longest: int) -> NDArray[np.int64]:
        """(N,): how many tokens each text has, at most `longest`."""
        return np.fromiter(
            (
                min(len(found), longest)
                for start in range(0, len(texts), _BATCH)
                for found in self._encoded(texts[start : start + _BATCH], longest)
            ),
            np.int64,
            len(texts),
        )

    def spans(self, text: str, length: int) -> list[tuple[int, int]]:
        """Where each of a text's tokens stands in it: first character, and one after the last."""
        found = self._trained.encode(_readable(text, length), add_special_tokens=False)
        return [(int(start), int(end)) for start, end in found.offsets[:length]]

    def _encoded(self, texts: Sequence[str | None], length: int) -> list[Any]:
        read = [_readable(text, length) for text in texts]
        return list(self._trained.encode_batch_fast(read, add_special_tokens=False))

    def __deepcopy__(self, _memo: object) -> Self:
        return self  # it never changes


def _readable(text: str | None, length: int) -> str:
    """As much of a text as its first `length` tokens can reach; half of a surrogate pair is "?"."""
    return (text or "")[: length * _LONGEST].encode("utf-8", "replace").decode("utf-8")


def _library() -> Any:
    """The `tokenizers` library, told not to start threads: a fork of them would hang."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import tokenizers
    import tokenizers.models
    import tokenizers.normalizers
    import tokenizers.pre_tokenizers
    import tokenizers.trainers

    return tokenizers
