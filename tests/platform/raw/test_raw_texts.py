import subprocess
import sys

import numpy as np
import pytest

from pellucid.errors import InvalidData
from pellucid.plan import Texts
from pellucid.raw.texts import PADDING, UNKNOWN, Tokenizer

TEXTS = ["The screen is not good", "the battery is good, not great", "Ein schöner Tag", ""] * 5
SPEC = Texts(vocabulary=120, length=16)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, SPEC)


def test_texts_become_rows_of_one_length(tokenizer):
    tokens = tokenizer.encode(["the battery", "", None], 6)
    assert tokens.shape == (3, 6)
    assert tokens.dtype == np.int64
    assert tokens[0, 0] > UNKNOWN
    assert not tokens[1:].any()
    assert tokens.max() < tokenizer.vocabulary <= SPEC.vocabulary


def test_a_long_text_keeps_its_first_tokens(tokenizer):
    text = "the battery is good " * 1000
    np.testing.assert_array_equal(
        tokenizer.encode([text], 5)[0], tokenizer.encode([text[:200]], 40)[0, :5]
    )


def test_what_training_never_saw_is_unknown(tokenizer):
    tokens = tokenizer.encode(["good 🤖🤖 good"], 8)[0]
    assert (tokens == UNKNOWN).sum() == 1
    assert PADDING not in tokens[:3]


def test_special_tokens_in_a_text_are_text(tokenizer):
    assert PADDING not in tokenizer.encode(["good [PAD] good"], 4)
    loaded = Tokenizer.from_json(tokenizer.to_json())
    text = ["good [PAD] is [UNK]"]
    np.testing.assert_array_equal(loaded.encode(text, 20), tokenizer.encode(text, 20))


def test_case_is_folded_where_the_plan_says_so(tokenizer):
    np.testing.assert_array_equal(tokenizer.encode(["GOOD"], 4), tokenizer.encode(["good"], 4))
    cased = Tokenizer.train(TEXTS, Texts(vocabulary=120, lowercase=False))
    assert (cased.encode(["The"], 4) != cased.encode(["the"], 4)).any()


def test_half_of_a_surrogate_pair_is_no_crash(tokenizer):
    assert tokenizer.encode(["good \ud800"], 4).shape == (1, 4)


def test_spans_say_where_tokens_stand(tokenizer):
    text = "the screen is good"
    spans = tokenizer.spans(text, 10)
    assert "".join(text[start:end] for start, end in spans).replace(" ", "") == "thescreenisgood"


def test_lengths_are_those_of_the_tokens(tokenizer):
    tokens = tokenizer.encode(TEXTS, 4)
    np.testing.assert_array_equal(tokenizer.lengths(TEXTS, 4), (tokens != 0).sum(1))


def test_it_is_the_same_after_saving(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.to_json() == tokenizer.to_json()
    np.testing.assert_array_equal(loaded.encode(TEXTS, 9), tokenizer.encode(TEXTS, 9))


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidData, match="cannot be read"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_training_is_the_same_in_every_process(tokenizer):
    program = (
        "from pellucid.plan import Texts; from pellucid.raw.texts import Tokenizer; import sys;"
        f"sys.stdout.write(Tokenizer.train({TEXTS!r}, Texts(vocabulary=120)).to_json())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    spec = Texts(vocabulary=120)
    assert found.stdout.decode() == Tokenizer.train(TEXTS, spec).to_json()
