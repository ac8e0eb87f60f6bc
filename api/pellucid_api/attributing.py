"""SHAP values of many rows, by a bundle's graph and, where its gap is too large, permutations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pellucid.bundle import EXPLAINER, Explanation
from pellucid.plan.batch import ExplanationPlan
from pellucid_api.engine.attribution import CHOSEN, Attributor
from pellucid_api.engine.devices import Place
from pellucid_api.engine.model import Model
from pellucid_api.engine.values import Values
from pellucid_api.permutations import Background, Scores, Worth, shapley_values
from pellucid_api.rowwise import Feed, each_row, rows_in, run_rows

PERMUTATION = "permutation"
_FINER = (4, 16)  # times the default steps, for rows that miss their predictions
_ROWS = 1024  # of the model at once
_VERIFIED = 2  # rows
_SAME = 1e-4  # largest difference of the two graphs' predictions


@dataclass
class Explained:
    """SHAP values of N rows, for K outputs of each.

    Attributes:
        explained: (N, K).
        shap: (N, columns, K).
        base: (N, K).
        outputs: (N, K), which they are, of the manifest's.
        methods: (N,).
        places: (N, *places, K), NaN where the method gives none; None of tables.
    """

    explained: Values
    shap: Values
    base: Values
    outputs: Values
    methods: npt.NDArray[np.object_]
    places: Values | None = None

    def gaps(self, told: Explanation) -> Values:
        """(N, K): |base + sum of shap - explained|, relative to the mean |explained - base|."""
        missed = abs(self.base + self.shap.sum(axis=1, dtype=np.float64) - self.explained)
        scale = np.maximum(np.asarray(told.scale), np.finfo(np.float32).tiny)
        relative: Values = (missed / scale[self.outputs]).astype(np.float32)
        return relative

    def replace(self, rows: Values, other: "Explained") -> None:
        """Put other values in the places of these rows."""
        self.shap[rows], self.base[rows] = other.shap, other.base
        self.methods[rows] = other.methods
        if self.places is not None:
            self.places[rows] = np.nan if other.places is None else other.places

    def places_by_column(self) -> list[Values]:
        """(N * K, places) for each raw column: of images row by row."""
        if self.places is None:
            return []
        columns = self.shap.shape[1]
        last = np.moveaxis(self.places, -1, 1)  # (N, K, *places)
        flat = last.reshape(last.shape[0] * last.shape[1], -1, columns)
        return [np.ascontiguousarray(flat[..., i]) for i in range(columns)]


class Attributions:
    """Explains rows by the method of a plan.

    All outputs of a table are explained. Of what has one output chosen, a class is the predicted
    one, and of a forecast each step has its turn.

    Args:
        model: verified.
        told: what its manifest says of explanations.
        plan: method and permutations.
        place: where permutations run the model; the graph runs on the CPU, as in the service.

    Raises:
        InvalidData: the graph is not the model's.
    """

    def __init__(
        self, model: Model, told: Explanation, plan: ExplanationPlan, place: Place
    ) -> None:
        self._model, self._told, self._plan, self._place = model, told, plan, place
        self._graph = Attributor(self._path, model.manifest, threads=0)
        self._verify()
        self._predicted = bool(model.manifest.classes) and self._graph.chooses
        self.width = 1 if self._predicted else len(told.outputs)

    def explain(self, feed: Feed, places: Sequence[int]) -> Explained:
        """Values for rows of arrays (N, ...), which lie at these places of their data set.

        Raises:
            InvalidRows: the model cannot run a row.
            InvalidData: the bundle's background cannot be read.
        """
        outputs = self._outputs(feed, places)
        if self._plan.method == PERMUTATION:
            return self._by_permutations(feed, outputs, places)
        found = self._by_graph(feed, outputs, places)
        if self._plan.method == "auto":
            self._mend(found, feed, places)
        return found

    def _mend(self, found: Explained, feed: Feed, places: Sequence[int]) -> None:
        """Explain rows again that miss their predictions: with more steps, then by permutations."""
        finer = [self._told.steps * times for times in _FINER] if self._graph.refines else []
        for steps in [*finer, 0]:
            late = np.flatnonzero(~(found.gaps(self._told) <= self._told.tolerance).all(axis=1))
            if not len(late):
                return
            some = {name: values[late] for name, values in feed.items()}
            outputs, at = found.outputs[late], [places[row] for row in late.tolist()]
            if steps:
                better = self._by_graph(some, outputs, at, steps)
            else:
                better = self._by_permutations(some, outputs, at)
            found.replace(late, better)

    def _outputs(self, feed: Feed, places: Sequence[int]) -> Values:
        """(N, K): which outputs are explained."""
        if not self._predicted:
            return np.tile(np.arange(self.width), (len(places), 1))
        if len(self._told.outputs) == 1:
            return np.zeros((len(places), 1), np.int64)
        found = run_rows(self._model.run, feed, places, _ROWS)
        best: Values = found["probabilities"].argmax(axis=1)[:, np.newaxis]
        return best

    def _by_graph(
        self, feed: Feed, outputs: Values, places: Sequence[int], steps: int = 0
    ) -> Explained:
        def run(some: Feed) -> Feed:
            read = self._graph.read(self._graph.run(some, steps))
            found = {"explained": read.explained, "shap": read.shap, "base": read.base}
            return found if read.places is None else found | {"places": read.places}

        times = steps // self._told.steps if steps else 1
        most = max(1, self._told.batch_rows // times)
        each = [run_rows(run, chosen, places, most) for chosen in self._chosen(feed, outputs)]
        found = {name: np.concatenate([of[name] for of in each], axis=-1) for name in each[0]}
        methods = np.full(len(places), self._told.method, dtype=object)
        return Explained(**found, outputs=outputs, methods=methods)

    def _by_permutations(self, feed: Feed, outputs: Values, places: Sequence[int]) -> Explained:
        feed = {each.name: feed[each.name] for each in self._model.manifest.features}

        def worth(row: Feed, at: Values) -> Worth:
            """Of a row's columns, with the outputs (1, K) that are explained."""
            return self._background.worth(lambda mixed: self._scored(mixed, at), row)

        shap = [
            shapley_values(worth(row, at[np.newaxis]), len(feed), self._plan.permutations, place)
            for row, at, place in zip(each_row(feed), outputs, places, strict=True)
        ]
        return Explained(
            explained=self._scored(feed, outputs),
            shap=np.stack(shap).astype(np.float32),
            base=np.asarray(self._told.base, np.float32)[outputs],
            outputs=outputs,
            methods=np.full(len(places), PERMUTATION, dtype=object),
        )

    def _scored(self, feed: Feed, outputs: Values) -> Values:
        """(N, K): the numbers that are explained. One row of outputs may stand for all."""
        if not self._graph.chooses:
            return self._scores.run(feed)
        outputs = np.broadcast_to(outputs, (rows_in(feed), outputs.shape[1]))
        each = [self._scores.run(chosen) for chosen in self._chosen(feed, outputs)]
        return np.concatenate(each, axis=1)

    def _chosen(self, feed: Feed, outputs: Values) -> Iterator[Feed]:
        """The feed as the graph takes it, once or for each of the outputs."""
        if not self._graph.chooses:
            yield feed
            return
        for output in outputs.T:
            yield feed | {CHOSEN: np.ascontiguousarray(output, dtype=np.int64)}

    def _verify(self) -> None:
        feed, expected = self._model.parity()
        rows = {name: values[:_VERIFIED] for name, values in feed.items()}
        own = [expected[each.name][:_VERIFIED] for each in self._model.manifest.outputs]
        self._graph.verify(rows, own, max(_SAME, self._model.manifest.parity.tolerance))

    @property
    def _path(self) -> Path:
        return self._model.bundle.root / EXPLAINER

    @cached_property
    def _scores(self) -> Scores:
        return Scores(self._path, len(self._model.manifest.outputs), self._place)

    @cached_property
    def _background(self) -> Background:
        return Background.of(self._model.bundle, self._model.tokenizer)
