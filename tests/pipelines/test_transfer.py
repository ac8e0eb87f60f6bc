import numpy as np
import pyarrow as pa
import pytest
import torch

from pellucid import plan
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.plan import Plan, resolve
from pellucid_pipelines import architectures, data, depth
from pellucid_pipelines.features import Features
from pellucid_pipelines.transfer import freeze, start_from, with_its_tokens
from support.training import WIDTH, a_fit, a_plan, schema_of


def a_network(outputs=1, width=WIDTH, norm="none"):
    spec = plan.Mlp(widths=(8, 8), norm=norm)
    return architectures.build(spec, Features.tabular(width), outputs)


def saved(network, path):
    torch.save(network.state_dict(), path)
    return path


def test_what_fits_is_taken_and_another_head_is_new(tmp_path):
    first, second = a_network(outputs=3), a_network(outputs=1)
    taken = start_from(second, saved(first, tmp_path / "weights.pt"))
    assert len(taken.renewed) == 2  # the head's weight and bias
    for name in taken.loaded:
        assert torch.equal(second.state_dict()[name], first.state_dict()[name])


def test_nothing_that_fits_is_an_invalid_plan(tmp_path):
    other = architectures.build(plan.Mlp(widths=(3,)), Features.tabular(WIDTH + 1), 5)
    with pytest.raises(InvalidPlan) as caught:
        start_from(a_network(), saved(other, tmp_path / "weights.pt"))
    assert caught.value.where == {"path": "transfer.version"}


def test_a_file_without_weights_is_refused(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"no weights")
    with pytest.raises(InvalidData):
        start_from(a_network(), tmp_path / "weights.pt")


def test_frozen_layers_stay_as_they_are_norms_included():
    spec = a_plan(model={"norm": "batch"}, training={"epochs": 3})
    torch.manual_seed(0)
    fit = a_fit(spec)
    freeze(fit.network, renewed=[])
    *frozen, last = depth.layers(fit.network)
    # The optimizer was built before: a run freezes first.
    fit = type(fit)(
        fit.network, fit.loss, fit.train, fit.validation, spec, device=fit.device, callbacks=()
    )
    before = {name: value.clone() for name, value in fit.network.state_dict().items()}
    fit.run()
    changed = {
        name for name, value in fit.network.state_dict().items()
        if not torch.equal(value, before[name])
    }  # fmt: skip
    names = {id(p): name for name, p in fit.network.named_parameters()}
    assert frozen
    assert changed == {names[id(last.weight)], names[id(last.bias)]}


def test_a_layer_that_was_not_loaded_is_trained_all_the_same():
    network = a_network()
    first = next(iter(network.state_dict()))
    freeze(network, renewed=[first])
    trained = [p.requires_grad for p in network.parameters()]
    assert trained == [True, True, False, False, True, True]


@pytest.mark.parametrize(
    ("version", "name", "number", "alias"),
    [
        ("models:/credit@champion", "credit", None, "champion"),
        ("models:/credit/12", "credit", 12, None),
    ],
)
def test_a_version_is_read(version, name, number, alias):
    transfer = plan.Transfer(version=version)
    assert (transfer.name, transfer.number, transfer.alias) == (name, number, alias)


def test_texts_are_cut_by_the_tokenizer_of_the_version_that_is_gone_on_from(tmp_path):
    def prepared(texts):
        table = pa.table({"text": texts * 10, "y": ["a", "b"] * 5 * len(texts)})
        spec, schema = resolve(
            Plan.parse(
                {
                    "name": "t",
                    "data": {"dataset": "t"},
                    "target": "y",
                    "modality": "text",
                    "split": {"kind": "random"},
                }
            ),
            schema_of(table, {}),
        )
        return data.prepare(table, data.split(table, spec), schema, spec), table

    first, _ = prepared(["good morning", "bad evening"])
    second, table = prepared(["evening of a very good day", "bad day bad luck"])
    first.preprocessing.tokenizer.save(tmp_path / "tokenizer.json")
    same = with_its_tokens(second, tmp_path / "weights.pt")
    length = same.preprocessing.features.shape[0]
    assert length == second.preprocessing.features.shape[0]
    texts = table["text"].to_pylist()
    expected = first.preprocessing.tokenizer.encode(texts, length)
    assert np.array_equal(same.preprocessing.encode(table)["text"].numpy(), expected)
    assert not np.array_equal(second.preprocessing.encode(table)["text"].numpy(), expected)
    assert with_its_tokens(second, tmp_path / "elsewhere" / "weights.pt") is second
