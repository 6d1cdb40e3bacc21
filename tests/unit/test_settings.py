"""Settings: nothing misspelt is ignored, nothing secret is shown."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.errors import FileError, SettingsError
from stream.index.price_rules import PriceRules
from stream.session.calendar import Calendar
from stream.settings import Settings, mask_password, read_settings, variable


def test_defaults_are_usable() -> None:
    """With nothing set there is a whole configuration."""
    settings = read_settings({"PATH": "/bin", "capstream_group": "ignored"})

    assert settings == Settings()
    assert settings.trading_calendar is Calendar.bundled()
    assert settings.calendar_text == ""
    assert settings.price_rules == PriceRules()
    paths = (settings.constituents_path, settings.indexes_path, settings.futures_path)
    assert paths == (None, None, None)


def test_every_setting_is_read_from_its_variable() -> None:
    """The variable is the field's name in capitals behind the prefix; numbers are read from text."""
    environment = {
        "CAPSTREAM_KAFKA_URL": "broker:9092",
        "CAPSTREAM_PARTITIONS": "12",
        "CAPSTREAM_CADENCE_MS": "0",
        "CAPSTREAM_PARTIALS": "topic",
        "CAPSTREAM_METRICS_PORT": "65535",
        "CAPSTREAM_CONSTITUENTS": "my.csv",
        "CAPSTREAM_INDEXES": "my.toml",
        "CAPSTREAM_FUTURES": "contracts.toml",
        "CAPSTREAM_PRICE_LIMIT_BP": "0",
        "CAPSTREAM_GUARD_BP": "350",
        "CAPSTREAM_ODD_LOTS": "true",
        "CAPSTREAM_FEED_SILENT_S": "2.5",
        "CAPSTREAM_CLOSES_TOPIC": "official",
        "CAPSTREAM_INDEX_CLOSES_TOPIC": "official-levels",
        "CAPSTREAM_REDIS_PREFIX": "x:",
    }

    settings = read_settings(environment)

    assert (settings.kafka_url, settings.partitions, settings.cadence_ms) == ("broker:9092", 12, 0)
    assert (settings.partials, settings.metrics_port) == ("topic", 65535)
    assert (settings.constituents_path, settings.indexes_path) == (Path("my.csv"), Path("my.toml"))
    assert settings.futures_path == Path("contracts.toml")
    assert settings.price_rules == PriceRules(limit_bp=0, guard_bp=350, odd_lots=True)
    assert settings.feed_silent_s == 2.5
    assert (settings.closes_topic, settings.index_closes_topic) == ("official", "official-levels")
    assert settings.redis_names.snap("US1000") == "x:snap:US1000"
    assert variable("kafka_url") == "CAPSTREAM_KAFKA_URL"


def test_a_calendar_of_ones_own_stands_over_the_bundled_one(tmp_path: Path) -> None:
    """Its text is what decides, so that it can be kept with the levels that it made."""
    text = "[cash]\nclosed = [2026-07-17]  # a day of mourning\n"
    file = tmp_path / "mine.toml"
    file.write_text(text)

    settings = read_settings({"CAPSTREAM_CALENDAR": str(file)})

    assert settings.calendar_text == text
    mourning, usual = date(2026, 7, 17), date(2026, 7, 16)
    calendar = settings.trading_calendar
    assert [calendar.trades_on(day) for day in (usual, mourning)] == [True, False]
    assert Calendar.bundled().trades_on(mourning)


@pytest.mark.parametrize(
    ("text", "named"), [(None, "mine.toml"), ("[cash]\nclosed = 7\n", "mine.toml.*closed")]
)
def test_a_calendar_that_cannot_be_used_names_its_file(
    tmp_path: Path, text: str | None, named: str
) -> None:
    """Missing, or wrong in a key."""
    file = tmp_path / "mine.toml"
    if text is not None:
        file.write_text(text)

    with pytest.raises(FileError, match=named):
        _ = Settings(calendar=str(file)).trading_calendar


def test_names_under_a_prefix_are_those_of_the_contract() -> None:
    """Keys, channels and streams, as programs of others expect them."""
    names = Settings().redis_names

    assert names.snap("US1000") == "idx:v1:snap:US1000"
    assert names.level("US1000") == "idx:v1:level:US1000"
    assert names.stream("US1000") == "idx:v1:stream:US1000"
    assert names.every_level == "idx:v1:level:*"
    assert (names.levels, names.heartbeat) == ("idx:v1:levels", "idx:v1:heartbeat")
    assert (names.prices, names.snaps, names.epoch) == (
        "idx:v1:prices",
        "idx:v1:snaps",
        "idx:v1:epoch",
    )
    assert names.closes("US1000") == "idx:v1:closes:US1000"
    topics = Settings()
    assert (topics.closes_topic, topics.index_closes_topic) == ("closes", "index-closes")


def test_the_command_line_overrides_the_environment_where_it_says_something() -> None:
    """None means that an option was not given."""
    environment = {"CAPSTREAM_GROUP": "a", "CAPSTREAM_PARTITIONS": "2"}

    settings = read_settings(environment, group="b", partitions=None, metrics_port=0)

    assert (settings.group, settings.partitions, settings.metrics_port) == ("b", 2, 0)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CAPSTREAM_KAFKA_ULR", "CAPSTREAM_KAFKA_URL"),
        ("CAPSTREAM_PARTITION", "CAPSTREAM_PARTITIONS"),
        ("CAPSTREAM_CALENDER", "CAPSTREAM_CALENDAR"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    """It could otherwise be mistaken for a default."""
    with pytest.raises(SettingsError, match=f"{name}: unknown setting; did you mean {meant}\\?"):
        read_settings({name: "1"})


def test_a_variable_like_no_other_is_refused_without_a_guess() -> None:
    """Nothing near is suggested."""
    with pytest.raises(SettingsError, match=r"^CAPSTREAM_ZZZZZZZZZZZZZZZZZZZZZZ: unknown setting$"):
        read_settings({"CAPSTREAM_ZZZZZZZZZZZZZZZZZZZZZZ": ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CAPSTREAM_PARTITIONS", "many"),
        ("CAPSTREAM_PARTITIONS", "0"),
        ("CAPSTREAM_PARTITIONS", ""),
        ("CAPSTREAM_PARTITIONS", "1.5"),
        ("CAPSTREAM_CADENCE_MS", "-1"),
        ("CAPSTREAM_METRICS_PORT", "65536"),
        ("CAPSTREAM_PARTIALS", "disk"),
        ("CAPSTREAM_LOG_LEVEL", "LOUD"),
        ("CAPSTREAM_PRICE_LIMIT_BP", "-1"),
        ("CAPSTREAM_GUARD_BP", "2%"),
        ("CAPSTREAM_ODD_LOTS", "perhaps"),
        ("CAPSTREAM_FEED_SILENT_S", "0"),
        ("CAPSTREAM_FEED_SILENT_S", "86401"),
    ],
)
def test_an_unusable_value_names_its_variable(name: str, value: str) -> None:
    """Whoever has to mend it knows where."""
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})


def test_an_option_that_is_no_setting_is_refused() -> None:
    """A mistake of a command, not of its user, but never silent."""
    with pytest.raises(SettingsError, match="kafka_ulr"):
        read_settings({}, kafka_ulr="x")


def test_settings_cannot_be_changed() -> None:
    """They are read once and passed down."""
    with pytest.raises(AttributeError):
        Settings().group = "other"  # type: ignore[misc]


def test_every_setting_is_documented() -> None:
    """The class says what each of its fields means."""
    documented = re.findall(r"^ {4}(\w[\w, ]*)$", Settings.__doc__ or "", re.MULTILINE)
    names = {name.strip() for line in documented for name in line.split(",")}

    assert names - {"Attributes"} == set(Settings.__struct_fields__)


#: No password is part of what surrounds it.
PASSWORDS = st.text(min_size=1, max_size=20).map(lambda text: f"<{text}>")


@given(PASSWORDS, st.sampled_from(("", "user")), st.sampled_from(("redis", "rediss", "kafka")))
@example("<p%40ss%2Fword>", "user", "redis")
@example("<p@ss:w@rd>", "user", "redis")
@example("<pa/ss>", "user", "redis")
@example("<pa?ss>", "user", "redis")
@example("<pa#ss>", "user", "redis")
@example("<pa[ss>", "user", "redis")
@example("<pa\tss\n>", "", "redis")
@example("<\u2100>", "user", "redis")
def test_a_password_in_an_address_is_never_shown(password: str, user: str, scheme: str) -> None:
    """Whatever characters it has, encoded as they should be or not."""
    url = f"{scheme}://{user}:{password}@10.0.0.1:6379/0"

    masked = mask_password(url)
    shown = repr(Settings(redis_url=url, kafka_url=url))

    assert masked == f"{scheme}://{user}:********@10.0.0.1:6379/0"
    assert password not in shown
    assert repr(password)[1:-1] not in shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9092",
        "a:9092,b:9092",
        "redis://127.0.0.1:6379/0",
        "redis://user@host",
        "unix:///run/redis.sock",
        "redis://[::1]:6379/0",
        "redis://host:6379/0?client_name=me",
    ],
)
def test_an_address_without_a_password_is_shown_as_it_is(url: str) -> None:
    """Masking must not hide what has to be mended."""
    assert mask_password(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "redis://host/0?password=hush",
        "redis://host/0?db=1&password=hush&x=1",
        "redis://:hush@host:6379",
        "user:hush@host:9092",
        "redis://a:hush@h1:1,b:hush@h2:2",
    ],
)
def test_a_password_is_hidden_wherever_clients_accept_one(url: str) -> None:
    """In the query, without a scheme, and in every address of a list."""
    assert "hush" not in mask_password(url)


@pytest.mark.parametrize("url", ["redis://[::1", "redis://host:port", "://", "redis://u:p@["])
def test_an_address_that_is_none_can_still_be_shown(url: str) -> None:
    """What is wrong with it is said by whoever uses it, not by its display."""
    assert repr(Settings(redis_url=url)).startswith("Settings(")
