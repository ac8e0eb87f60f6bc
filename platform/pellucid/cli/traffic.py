"""`pellucid traffic`: canaries and shadows."""

from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.terminal import Json, connect, say, show_facts, show_json, show_table
from pellucid.errors import InvalidInput

if TYPE_CHECKING:
    from pellucid.resources.traffic import Comparison, Contender, Side, Traffic

app = typer.Typer(
    help="Let versions compete with a champion, and compare them.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The model's name.")]
Share = Annotated[float | None, typer.Option(min=0, max=1)]
Number = Annotated[int | None, typer.Option(min=1)]


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show who answers the requests, and who sees copies of them."""
    with connect() as client:
        _show(client.models.traffic(name), as_json)


@app.command("set")
def set_(
    name: Name,
    challenger: Number = None,
    share: Share = None,
    shadow: Number = None,
    shadow_share: Share = None,
    as_json: Json = False,
) -> None:
    """Let a challenger answer a share of the requests, and a shadow see copies of a share.

    A role that is not given is taken from the version that has it.
    """
    if (challenger is None) != (share is None) or (shadow is None and shadow_share is not None):
        raise InvalidInput(
            "A version and its share go together.",
            remedy="For example: --challenger 3 --share 0.1 --shadow 4.",
        )
    if challenger is None and shadow is None:
        raise InvalidInput(
            "No version is named.",
            remedy=f"Name --challenger or --shadow; `pellucid traffic abort {name}` ends both.",
        )
    with connect() as client:
        found = client.models.set_traffic(
            name,
            challenger=None if challenger is None or share is None else (challenger, share),
            shadow=None
            if shadow is None
            else (shadow, 1 if shadow_share is None else shadow_share),
        )
    _show(found, as_json)


@app.command()
def abort(name: Name, as_json: Json = False) -> None:
    """End all competition: the champion answers everything."""
    with connect() as client:
        _show(client.models.abort(name), as_json)


@app.command()
def compare(name: Name, as_json: Json = False) -> None:
    """Compare the champion with its challenger and its shadow, as one process has seen them."""
    with connect() as client:
        found = client.models.comparison(name)
    if as_json:
        show_json(found)
        return
    for each in found.comparisons:
        _show_comparison(each)
    if found.achieved:
        show_table(
            ("version", "score", "value", "from", "to", "of the window"),
            [
                (each.version, each.metric, each.value, each.low, each.high, f"{each.start:%F %R}")
                for each in found.achieved
            ],
            "",
        )
    say(found.labels if found.comparisons else f"Nothing competes with version {found.champion}.")


def _show(traffic: "Traffic", as_json: bool) -> None:
    if as_json:
        show_json(traffic)
        return
    show_facts(
        [
            ("model", traffic.model),
            ("champion", traffic.champion),
            ("challenger", _contender(traffic.challenger, "of the requests")),
            ("shadow", _contender(traffic.shadow, "of the champion's requests, copied")),
            *((f"{role} failed", reason) for role, reason in traffic.failures.items()),
        ]
    )


def _contender(found: "Contender | None", of: str) -> str:
    return f"version {found.version}, {found.share:.4g} {of}" if found else "none"


def _show_comparison(found: "Comparison") -> None:
    show_table(
        ("role", "version", "requests", "errors", "p50 ms", "p90 ms", "p99 ms"),
        (_cells("champion", found.champion), _cells(found.role, found.contender)),
        "",
    )
    agreement = found.agreement
    show_facts(
        [
            ("since", found.since),
            ("run by both", f"{found.copied} requests, {agreement.rows} rows"),
            ("copies given up", found.dropped),
            ("equal labels", agreement.equal_labels),
            ("mean difference", agreement.mean_difference),
            *(
                (each.of, f"{each.difference:+.3g} ({each.low:+.3g} to {each.high:+.3g}), "
                 f"p = {each.p_value:.3g}, {each.test}")
                for each in found.tests
            ),
        ]
    )  # fmt: skip


def _cells(role: str, side: "Side") -> tuple[object, ...]:
    times = side.latency
    latency = [f"{1000 * t:.3g}" for t in (times.p50, times.p90, times.p99)] if times else [""] * 3
    return role, side.version, side.requests, side.errors, *latency
