"""Canaries and shadows: who competes with a champion, and how they do."""

from collections.abc import Iterable

from pellucid.analysis.contests import Verdict, two_proportions
from pellucid.errors import DatabaseUnavailable
from pellucid.monitoring.watch.results import Results
from pellucid.resources import traffic as resources
from pellucid.tracking import traffic
from pellucid.tracking.contract import CHALLENGER, CHAMPION, SHADOW, RegisteredModel
from pellucid_api.deps import Held, ModelName
from pellucid_api.engine.statistics import Histogram
from pellucid_api.engine.trial import Comparison, Findings
from pellucid_api.services import Services

_NO_LABELS = (
    "No true outcome has been judged, so nothing here says which version is right more often: "
    "agreement and errors do not measure that. Send labels (POST /v1/feedback)."
)
_LABELS = (
    "Scores are of each version's newest window that has labels; compare those of the same window."
)
_UNKNOWN = "The database does not answer, so what labels tell is not known now."


def show(services: Held, name: ModelName) -> resources.Traffic:
    """Show who answers the requests that name no version, and who sees copies of them."""
    return _traffic(services, services.registry.model(name))


def set_rules(services: Held, name: ModelName, body: traffic.Rules) -> resources.Traffic:
    """Let versions compete with the champion; what is left out competes no longer.

    The challenger answers its share of the requests that name no version. Requests with the same
    `X-Routing-Key` go to the same version. What it fails to answer, the champion answers. The
    shadow sees copies of a share of the champion's requests, after the answer. All serving
    processes follow within seconds.
    """
    traffic.set_rules(services.registry, name, body)
    return show(services, name)


def abort(services: Held, name: ModelName) -> resources.Traffic:
    """End all competition: the champion answers everything."""
    traffic.clear_rules(services.registry, name)
    return show(services, name)


def comparison(services: Held, name: ModelName) -> resources.Comparisons:
    """Compare the champion with its challenger and its shadow: latency, errors, agreement.

    The figures are since the versions first met. The statistics of the champion and of a
    challenger include requests that named their version.
    """
    champion = services.pool.champion(name)
    trial = champion.trial
    found = [each for each in (trial.challenger, trial.shadow) if each] if trial else []
    census = services.siblings.census()
    versions = [champion.version, *(each.contender.version for each in found)]
    try:
        achieved = _achieved(Results(services.database), name, versions)
        labels = _LABELS if achieved else _NO_LABELS
    except DatabaseUnavailable:
        achieved, labels = [], _UNKNOWN
    return resources.Comparisons(
        model=name,
        champion=champion.version,
        comparisons=[_comparison(each, census.findings(each)) for each in found],
        missing=list(census.missing),
        achieved=achieved,
        labels=labels,
    )


def _achieved(results: Results, name: str, versions: Iterable[int]) -> list[resources.Achieved]:
    windows = [found for each in versions if (found := results.measured(name, each))]
    return [
        resources.Achieved(
            version=window.version,
            metric=score.subject,
            value=score.current,
            low=score.low,
            high=score.high,
            start=window.start,
            end=window.end,
        )
        for window in windows
        for score in window.scores
        if score.current is not None
    ]


def _traffic(services: Services, model: RegisteredModel) -> resources.Traffic:
    rules = traffic.rules_of(model)
    failures = {
        role: found.reason
        for role in (CHAMPION, CHALLENGER, SHADOW)
        if (found := services.pool.failure(model.name, role))
    }
    return resources.Traffic(
        model=model.name,
        champion=model.aliases.get(CHAMPION),
        challenger=_contender(rules.challenger),
        shadow=_contender(rules.shadow),
        failures=failures,
    )


def _contender(given: traffic.Contender | None) -> resources.Contender | None:
    return resources.Contender(version=given.version, share=given.share) if given else None


def _comparison(given: Comparison, found: Findings) -> resources.Comparison:
    champion, contender = found.champion, found.contender
    canary = given.role == CHALLENGER
    ours = _side(
        given.champion.version,
        champion.succeeded,
        champion.failed + champion.refused,
        champion.latency,
    )
    theirs = (
        _side(given.contender.version, contender.succeeded, found.fallbacks, contender.latency)
        if canary
        else _side(given.contender.version, found.copied, found.failed, found.latency)
    )
    agreement = found.agreement
    return resources.Comparison(
        role=given.role,
        share=given.share,
        since=found.since,
        champion=ours,
        contender=theirs,
        copied=found.copied,
        dropped=found.dropped,
        agreement=resources.Agreement(
            rows=agreement.rows,
            equal_labels=agreement.label_share,
            mean_difference=agreement.mean_difference,
            largest_difference=agreement.largest if agreement.numbers else None,
            incomparable=agreement.incomparable,
        ),
        tests=_tests(ours, theirs) if canary else [],
    )


def _side(version: int, answered: int, errors: int, latency: Histogram) -> resources.Side:
    return resources.Side(
        version=version,
        requests=answered + errors,
        errors=errors,
        latency=latency.quantiles(),
    )


def _tests(champion: resources.Side, challenger: resources.Side) -> list[resources.Significance]:
    """Of the shares of failed requests, which went to one version or the other by chance."""
    verdict = two_proportions(
        champion.errors, champion.requests, challenger.errors, challenger.requests
    )
    return [_significance("share of failed requests", verdict)] if verdict.p_value >= 0 else []


def _significance(of: str, verdict: Verdict) -> resources.Significance:
    return resources.Significance(
        of=of,
        test=verdict.test,
        difference=verdict.difference,
        low=verdict.low,
        high=verdict.high,
        p_value=verdict.p_value,
        significant=verdict.significant(),
    )
