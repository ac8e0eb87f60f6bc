"""Settings: documented, read from variables and files, and passed on whole."""

from pathlib import Path

import pytest

from pellucid.errors import InvalidSettings
from pellucid.settings import Settings, named, reference

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


@pytest.mark.parametrize("keys", ["real,changeme", "ada:changeme"])
def test_a_placeholder_key_is_refused(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_API_KEYS", keys)
    with pytest.raises(InvalidSettings, match="placeholder"):
        Settings.load()


@pytest.mark.parametrize("secret", ["changeme", "whsec_"])
def test_a_secret_that_would_sign_nothing_is_refused(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELLUCID_ALERT_WEBHOOK_SECRET", secret)
    with pytest.raises(InvalidSettings, match="alert_webhook_secret is a placeholder"):
        Settings.load()


def test_the_first_key_is_sent_without_its_name() -> None:
    assert Settings().api_key is None
    assert Settings(api_keys=("abc=", "ada:x")).api_key == "abc="
    assert Settings(api_keys=("ada: x:y", "b")).api_key == "x:y"
    assert named("odd:") == ("", "odd:")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_keys(host: str) -> None:
    Settings(host=host).require_keys_beyond_loopback()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERT_WEBHOOK_URL", "ftp://token@example.com"),
        ("ALERT_WEBHOOK_URL", "https://"),
        ("ALERT_SLACK_URL", "file:///token"),
        ("ALERT_SMTP_URL", "http://user:token@example.com"),
        ("ALERT_SMTP_URL", "smtp://user:token@example.com:port"),
        ("ALERT_SMTP_URL", "smtp://user:token@example.com"),  # to nobody
    ],
)
def test_a_wrong_address_for_alerts_is_refused_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PELLUCID_{name}", value)
    with pytest.raises(InvalidSettings) as raised:
        Settings.load()
    assert name.lower() in str(raised.value).lower()
    assert "token" not in str(raised.value)


def test_secrets_of_alerts_come_from_files_and_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from pellucid.cli import app

    file = tmp_path / "url"
    file.write_text("https://example.com/hook?token\n")
    monkeypatch.setenv("PELLUCID_ALERT_WEBHOOK_URL_FILE", str(file))
    monkeypatch.setenv("PELLUCID_ALERT_SLACK_URL", "https://example.com/token")
    monkeypatch.setenv("PELLUCID_ALERT_SMTP_URL", "smtp://user:token@example.com")
    monkeypatch.setenv("PELLUCID_ALERT_EMAIL_TO", "ada@example.com")
    monkeypatch.setenv("PELLUCID_ALERT_WEBHOOK_SECRET", "token")
    assert Settings.load().alert_webhook_url == "https://example.com/hook?token"
    told = CliRunner().invoke(app, ["settings"]).stdout
    assert "ALERT_EMAIL_TO" in told
    assert "token" not in told
