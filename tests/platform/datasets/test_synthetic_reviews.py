import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from pellucid.datasets.synthetic_reviews import reviews


def test_the_same_seed_gives_the_same_reviews():
    first, roles = reviews(50, seed=3)
    assert first.equals(reviews(50, seed=3)[0])
    assert not first.equals(reviews(50, seed=4)[0])
    assert set(roles) < set(first.column_names)


def test_pairs_of_words_tell_more_than_words():
    table, _ = reviews(6000, seed=1)
    texts, truth = table["text"].to_pylist(), table["recommended"].to_numpy()
    assert 0.4 < np.mean(truth) < 0.6

    def accuracy(words: int) -> float:
        counts = CountVectorizer(ngram_range=(1, words)).fit_transform(texts)
        model = LogisticRegression(max_iter=300).fit(counts[:4000], truth[:4000])
        return model.score(counts[4000:], truth[4000:])

    words, pairs = accuracy(1), accuracy(2)
    assert words > 0.65
    assert pairs > words + 0.03  # three standard errors


@pytest.mark.parametrize("rows", [1, 7])
def test_any_number_of_rows(rows):
    assert len(reviews(rows)[0]) == rows
