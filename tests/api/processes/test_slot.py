"""What processes share: an order of commands, and what one leaves to its heir."""

import pytest

from pellucid.errors import Unavailable
from pellucid_api.processes.slot import ALONE, Slot


def test_commands_have_one_order(tmp_path):
    one, other = Slot(0, 2, tmp_path), Slot(1, 2, tmp_path)
    with one.first(1), pytest.raises(Unavailable), other.first(0.05):
        pass
    with other.first(0.05), ALONE.first(0), ALONE.first(0):
        pass


def test_what_is_kept_outlives_the_process(tmp_path):
    slot, other = Slot(0, 2, tmp_path), Slot(1, 2, tmp_path)
    assert other.kept(0) is None
    slot.keep(b"1")
    slot.keep(b"2")
    slot.leave()
    assert other.kept(0) == Slot(0, 2, tmp_path).kept(0) == b"2"
    assert other.others == [0]
