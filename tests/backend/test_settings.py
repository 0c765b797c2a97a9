"""The table of settings, and that the options, the environment and the README follow it."""

from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path

import pytest

from lossboard_server.settings import (
    SETTINGS,
    SettingError,
    Settings,
    add_options,
    host_name,
    is_loopback,
    settings_table_markdown,
)

ROOT = Path(__file__).parents[2]
GOOD_TOKEN = "0123456789abcdef"
GIVEN = {
    "host": "127.0.0.2",
    "port": "9000",
    "database": "sqlite:////tmp/other.db",
    "dir": "/srv/lossboard",
    "token": GOOD_TOKEN,
    "no_token": "true",
    "allowed_hosts": "gpu1,Board.example.org:80",
    "no_browser": "1",
    "readers": "7",
    "keep_days": "30",
    "keep_gb": "2.5",
}
READ = {
    **GIVEN,
    "port": 9000,
    "dir": Path("/srv/lossboard"),
    "no_token": True,
    "allowed_hosts": ("gpu1", "board.example.org"),
    "no_browser": True,
    "readers": 7,
    "keep_days": 30.0,
    "keep_gb": 2.5,
}


def test_every_row_of_the_table_is_a_setting_and_every_setting_a_row():
    assert [row.name for row in SETTINGS] == [field.name for field in fields(Settings)]
    assert all(row.environment or row.option for row in SETTINGS)
    assert all(row.default and row.unit and row.help for row in SETTINGS)


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.option], ids=lambda row: row.name)
def test_every_option_sets_its_setting(row):
    parser = ArgumentParser()
    add_options(parser)
    value = [] if row.unit == "switch" else [GIVEN[row.name]]
    settings = Settings.resolve(vars(parser.parse_args([row.option, *value])), {})
    assert getattr(settings, row.name) == READ[row.name]


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.environment], ids=lambda row: row.name)
def test_every_variable_sets_its_setting(row):
    settings = Settings.resolve({}, {row.environment: GIVEN[row.name]})
    assert getattr(settings, row.name) == READ[row.name]


def test_an_option_goes_before_the_environment():
    assert Settings.resolve({"port": "1234"}, {"LOSSBOARD_PORT": "9000"}).port == 1234


def test_an_empty_variable_is_none():
    assert Settings.resolve({}, {row.environment: "" for row in SETTINGS}).port == 8765


def test_the_defaults_are_loopback_sqlite_and_a_token_from_the_file():
    settings = Settings.resolve({}, {"XDG_STATE_HOME": "/home/a/state"})
    assert (settings.host, settings.port, settings.token) == ("127.0.0.1", 8765, None)
    assert settings.dir == Path("/home/a/state/lossboard")
    assert settings.database == "sqlite:////home/a/state/lossboard/lossboard.db"
    assert not settings.no_token


@pytest.mark.parametrize("token", ["short", "0123456789abcde", "a token with spaces in it", "ü" * 20])
def test_a_set_token_that_is_short_or_fits_no_header_is_refused(token):
    with pytest.raises(SettingError, match="token"):
        Settings.resolve({}, {"LOSSBOARD_TOKEN": token})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gpu1"])
def test_no_token_is_refused_beyond_loopback(host):
    with pytest.raises(SettingError, match="loopback only"):
        Settings.resolve({"host": host, "no_token": "true"}, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_no_token_is_taken_on_loopback(host):
    assert Settings.resolve({"host": host, "no_token": "true"}, {}).no_token
    assert is_loopback(host)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "-1"),
        ("port", "65536"),
        ("port", "http"),
        ("port", "²"),
        ("no_browser", "maybe"),
        ("allowed_hosts", "*"),
        ("allowed_hosts", "https://a.example"),
        ("allowed_hosts", "a b"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(name, value):
    with pytest.raises(SettingError, match=name):
        Settings.resolve({name: value}, {})


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:8765", "localhost"),
        ("127.0.0.1:8765", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:8765", "::1"),
        ("::1", None),
        ("a:b", None),
        ("a b", None),
        ("user@a", None),
        ("", None),
    ],
)
def test_a_host_header_is_taken_apart(header, name):
    assert host_name(header) == name


def test_the_readme_shows_the_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    assert shown.strip() == settings_table_markdown().strip()


@pytest.mark.parametrize("number", ["-1", "33", "two", "1.5", "９"])
def test_a_number_of_readers_that_can_not_be_is_refused(number):
    with pytest.raises(SettingError, match="from 0 to 32"):
        Settings.resolve({"readers": number}, {})
