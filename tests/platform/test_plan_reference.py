from pathlib import Path

from pellucid.plan import Plan, reference

PAGE = Path(__file__).parents[2] / "docs/reference/plan.md"


def test_the_page_is_the_plans():
    stale = "`make reference` writes it anew"
    assert PAGE.read_text(encoding="utf-8") == reference.markdown() + "\n", stale


def test_every_key_stands_in_it():
    page = reference.markdown()

    def keys(part):
        for name, value in part.items():
            if name == "properties":
                yield from value
            if isinstance(value, dict):
                yield from keys(value)

    missing = {key for key in keys(Plan.json_schema()) if f"`{key}`" not in page} - {"kind"}
    assert not missing
