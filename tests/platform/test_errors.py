"""The error tree that `errors.py` draws is the one that it defines."""

import pellucid.errors as errors
from pellucid.errors import PellucidError


def _tree(cls: type[PellucidError]) -> list[type[PellucidError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _tree(child))]


def test_the_drawing_names_every_error_in_order() -> None:
    drawn = [
        word
        for line in (errors.__doc__ or "").splitlines()
        if "─ " in line or line.strip() == "PellucidError"
        for word in [line.replace("│", " ").split("─ ")[-1].split()[0]]
    ]
    assert drawn == [cls.__name__ for cls in _tree(PellucidError)]


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in _tree(PellucidError)]
    assert len(set(codes)) == len(codes)


def test_the_text_gives_place_and_remedy() -> None:
    error = errors.InvalidData("Bad cell.", where={"row": 3, "column": "age"}, remedy="Mend it.")
    assert str(error) == "Bad cell. (row 3, column age) Mend it."
