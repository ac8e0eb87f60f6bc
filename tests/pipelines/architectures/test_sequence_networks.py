import io
import logging
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import plan
from pellucid.errors import InvalidPlan
from pellucid_pipelines import architectures
from pellucid_pipelines.features import Features

STEPS, CHANNELS, TOKENS, VOCABULARY = 9, 3, 12, 40
SEQUENCES = Features("sequence", (STEPS, CHANNELS + 1))
TEXTS = Features("text", (TOKENS,), vocabulary=VOCABULARY)

OVER_STEPS = {
    "rnn one way": plan.Rnn(width=6, bidirectional=False),
    "lstm": plan.Lstm(width=6),
    "gru": plan.Gru(width=6),
    "gru stacked": plan.Gru(width=6, layers=2),
    "tcn": plan.Tcn(width=6, layers=2),
    "transformer": plan.Transformer(width=8, heads=2, layers=2),
}
OVER_TOKENS = {
    "bag of words": plan.BagOfWords(width=6, buckets=50),
    "bag of single words": plan.BagOfWords(width=6, buckets=0),
    "transformer": plan.Transformer(width=8, heads=2, layers=1),
}
CASES = [pytest.param(spec, SEQUENCES, id=f"steps: {name}") for name, spec in OVER_STEPS.items()]
CASES += [pytest.param(spec, TEXTS, id=f"tokens: {name}") for name, spec in OVER_TOKENS.items()]


def network_of(spec, features, outputs=2):
    torch.manual_seed(0)
    return architectures.build(spec, features, outputs).eval()


def inputs_of(features, lengths, seed=0):
    """Rows of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.arange(features.shape[0]) < torch.tensor(lengths).unsqueeze(1)
    if features.modality == "text":
        return torch.randint(1, VOCABULARY, (len(lengths), TOKENS), generator=generator) * real
    values = torch.randn(len(lengths), STEPS, CHANNELS, generator=generator)
    return torch.cat([values * real.unsqueeze(2), real.float().unsqueeze(2)], 2)


@pytest.mark.parametrize(("spec", "features"), CASES)
def test_every_parameter_learns(spec, features):
    network = network_of(spec, features, 3)
    inputs = inputs_of(features, [features.shape[0], 4, 1, 0])
    raw = network(inputs)
    assert raw.shape == (4, 3)
    assert raw.dtype == torch.float32
    assert torch.isfinite(raw).all()
    raw.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(("spec", "features"), CASES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_row_is_answered_the_same_beside_others_and_before_padding(spec, features, data):
    lengths = data.draw(st.lists(st.integers(0, features.shape[0]), min_size=1, max_size=4))
    network, inputs = network_of(spec, features), inputs_of(features, lengths, seed=1)
    with torch.no_grad():
        together = network(inputs)
        for i, length in enumerate(lengths):
            alone = network(inputs[i : i + 1, : max(1, length)])
            torch.testing.assert_close(alone[0], together[i], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("spec", "features"), CASES[: len(OVER_STEPS)])
def test_what_lies_after_the_last_step_is_not_read(spec, features):
    network, inputs = network_of(spec, features), inputs_of(features, [5, 9])
    noisy = inputs.clone()
    noisy[0, 5:, :-1] = 1e3
    with torch.no_grad():
        torch.testing.assert_close(network(noisy), network(inputs))


@pytest.mark.parametrize(("spec", "features"), CASES)
def test_the_order_of_steps_matters(spec, features):
    if isinstance(spec, plan.BagOfWords) and not spec.buckets:
        pytest.skip("it reads single words")
    network, inputs = network_of(spec, features), inputs_of(features, [6])
    swapped = inputs[:, [0, 2, 1, 3, 4, 5]]
    with torch.no_grad():
        assert (network(swapped) - network(inputs[:, :6])).abs().max() > 1e-6


@pytest.mark.parametrize(("spec", "features"), CASES)
def test_onnx_runtime_agrees_for_any_number_of_rows(spec, features):
    network = network_of(spec, features).requires_grad_(False)
    session = exported(network, inputs_of(features, [3, 2]))
    for lengths in ([features.shape[0], 0, 1, 5, 2], [4], [0]):
        inputs = inputs_of(features, lengths, seed=2)
        (given,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        np.testing.assert_allclose(given, network(inputs).numpy(), atol=1e-5)


def exported(network, inputs):
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (inputs,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            opset_version=20,
            external_data=False,
            verbose=False,
        )
    file = io.BytesIO()
    program.save(file)
    return onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("spec", "features"), CASES[len(OVER_STEPS) :])
def test_networks_of_tokens_can_be_entered_at_their_embedding(spec, features):
    network, inputs = network_of(spec, features), inputs_of(features, [5, TOKENS])
    with torch.no_grad():
        embedded = network.embed(inputs)
        assert embedded.shape[:2] == inputs.shape
        torch.testing.assert_close(network.from_embedding(embedded, inputs), network(inputs))


def test_a_bag_of_words_is_the_mean_of_words_and_pairs():
    spec = plan.BagOfWords(width=4, buckets=1000)
    network = network_of(spec, TEXTS, 1)
    inputs = torch.tensor([[7, 9, 7] + [0] * (TOKENS - 3)])
    words = network.tokens.weight[[7, 9, 7]].sum(0)
    places = [(7 * 1_000_003 + 9 * 8_191) % 1000, (9 * 1_000_003 + 7 * 8_191) % 1000]
    expected = network.head((words + network.pairs.weight[places].sum(0)) / 5)
    torch.testing.assert_close(network(inputs)[0], expected)


def test_both_directions_equal_the_library_s_own_on_packed_sequences():
    network = network_of(plan.Gru(width=5), SEQUENCES).recurrent
    library = torch.nn.GRU(CHANNELS, 5, batch_first=True, bidirectional=True)
    for ours, suffix in ((network.forth[0], ""), (network.back[0], "_reverse")):
        for name, value in ours.named_parameters():
            getattr(library, name + suffix).data.copy_(value)
    inputs, lengths = inputs_of(SEQUENCES, [9, 4, 1]), torch.tensor([9, 4, 1])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        inputs[..., :-1], lengths, batch_first=True, enforce_sorted=False
    )
    states, ends = library(packed)
    states, _ = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    expected = torch.cat([ends[0], ends[1], states.sum(1) / lengths.unsqueeze(1)], 1)
    torch.testing.assert_close(network(inputs[..., :-1], inputs[..., -1] > 0), expected)


def test_attention_weights_are_shares_of_real_steps():
    network = network_of(plan.Transformer(width=8, heads=2, layers=1), SEQUENCES)
    attention = network.reader.encoder.blocks[0].attention
    real = torch.tensor([[True] * 4 + [False] * 5])
    hidden = torch.randn(1, 9, 8)
    weights = attention.weights(hidden, real)
    torch.testing.assert_close(weights.sum(3), torch.ones(1, 2, 9))
    assert not weights[..., 4:].any()
    _, _, value = attention._parts(hidden)
    mixed = attention.given((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(hidden, real), mixed)


def test_heads_must_share_the_width():
    with pytest.raises(InvalidPlan, match="3 heads"):
        network_of(plan.Transformer(width=8, heads=3), SEQUENCES)
