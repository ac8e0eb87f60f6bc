"""Settings: documented, read from variables and files, and passed on whole."""

from pathlib import Path

import pytest

from pellucid.errors import InvalidSettings
from pellucid.settings import Settings, reference

ROOT = Path(__file__).parents[2]


def test_every_setting_says_what_it_is_for() -> None:
    undocumented = [n for n, field in Settings.model_fields.items() if not field.description]
    assert not undocumented


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert page == reference() + "\n", "run `make reference`"


def test_a_child_process_gets_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, api_keys=("one", "two"), port=8123, lease_seconds=2.5)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == settings


def test_secrets_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("first\nsecond\n")
    monkeypatch.setenv("PELLUCID_API_KEYS_FILE", str(file))
    assert Settings.load().api_keys == ("first", "second")
    file.unlink()
    with pytest.raises(InvalidSettings, match="PELLUCID_API_KEYS_FILE cannot be read"):
        Settings.load()


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_PORT", "eighty")
    with pytest.raises(InvalidSettings, match="PELLUCID_PORT"):
        Settings.load()


def test_a_placeholder_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_API_KEYS", "real,changeme")
    with pytest.raises(InvalidSettings, match="placeholder"):
        Settings.load()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_keys(host: str) -> None:
    Settings(host=host).require_keys_beyond_loopback()
