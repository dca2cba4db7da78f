"""Settings of who may use the API: what is read from the environment, and what is refused by name."""

from pathlib import Path

import pytest

from settings import Settings, SettingsError, load_settings, parse_rate

TOKENS = {
    "LAKEHOUSE_API_TOKENS__ISSUER": "https://issuer.example.org",
    "LAKEHOUSE_API_TOKENS__AUDIENCE": "lakehouse",
    "LAKEHOUSE_API_TOKENS__JWKS_URL": "https://issuer.example.org/jwks.json",
}


def loaded(monkeypatch: pytest.MonkeyPatch, home: Path, **environment: str) -> Settings:
    secrets = dict.fromkeys(
        ("S3_ACCESS_KEY", "S3_SECRET_KEY", "REDIS_PASSWORD", "API_KEY"), "not-used-by-these-tests"
    )
    for name, value in {f"LAKEHOUSE_{name}": value for name, value in secrets.items()}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(home))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_by_default_there_are_no_tokens_no_other_pages_and_no_traces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = loaded(monkeypatch, tmp_path)
    assert (settings.api_tokens.issuer, settings.api_cors_origins, settings.otlp_endpoint) == ("", (), "")
    assert parse_rate(settings.api_rate_limit) is not None


def test_what_the_environment_says_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = loaded(
        monkeypatch,
        tmp_path,
        **TOKENS,
        LAKEHOUSE_API_TOKENS__ALGORITHMS='["EdDSA", "PS512"]',
        LAKEHOUSE_API_CORS_ORIGINS='["https://map.example.org", "http://127.0.0.1:8080"]',
        LAKEHOUSE_API_RATE_LIMIT="unlimited",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318",
    )
    assert settings.api_tokens.audience == "lakehouse"
    assert settings.api_tokens.algorithms == ("EdDSA", "PS512")
    assert settings.api_cors_origins == ("https://map.example.org", "http://127.0.0.1:8080")
    assert parse_rate(settings.api_rate_limit) is None
    assert settings.otlp_endpoint == "http://collector:4318"
    own = loaded(monkeypatch, tmp_path, LAKEHOUSE_OTLP_ENDPOINT="https://other:4318")
    assert own.otlp_endpoint == "https://other:4318"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        # with the secret of a signature whoever verifies can also sign
        ("LAKEHOUSE_API_TOKENS__ALGORITHMS", '["HS256"]', "RS256"),
        ("LAKEHOUSE_API_TOKENS__ALGORITHMS", '["none"]', "RS256"),
        ("LAKEHOUSE_API_TOKENS__ALGORITHMS", "[]", "at least 1"),
        ("LAKEHOUSE_API_TOKENS__AUDIENCE", "", "LAKEHOUSE_API_TOKENS__AUDIENCE"),
        ("LAKEHOUSE_API_TOKENS__JWKS_URL", "", "LAKEHOUSE_API_TOKENS__JWKS_URL"),
        ("LAKEHOUSE_API_TOKENS__JWKS_URL", "http://issuer.example.org/jwks.json", "https://"),
        ("LAKEHOUSE_API_TOKENS__JWKS_URL", "file:///etc/passwd", "https://"),
        ("LAKEHOUSE_API_RATE_LIMIT", "many", "600/minute"),
        ("LAKEHOUSE_API_CORS_ORIGINS", '["https://map.example.org/"]', "without a path"),
        ("LAKEHOUSE_API_CORS_ORIGINS", '["map.example.org"]', "https://map.example.org"),
        ("LAKEHOUSE_API_QUERY_TIMEOUT_S", "0", "greater than 0"),
        ("LAKEHOUSE_OTLP_ENDPOINT", "collector:4317", "http://"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded(monkeypatch, tmp_path, **{**TOKENS, name: value})
    assert expected in str(refused.value)
    family = name.removesuffix("__AUDIENCE").removesuffix("__JWKS_URL")
    assert family in str(refused.value)
    assert "LAKEHOUSE_LAKEHOUSE" not in str(refused.value)
