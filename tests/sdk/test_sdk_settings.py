"""Where a client finds its endpoint and keys."""

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from stoker.errors import ConfigurationError
from stoker.settings import Settings, config_file, load, write_config

KEPT = Settings("10.0.0.1:7400", "key", "admin")


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    variables = {"XDG_CONFIG_HOME": str(tmp_path)}
    write_config(config_file(variables), KEPT)
    return variables


def test_what_was_written_is_read_and_nobody_else_can(environment: Mapping[str, str]) -> None:
    assert load(environment=environment) == KEPT
    assert stat.S_IMODE(config_file(environment).stat().st_mode) == 0o600


def test_a_variable_comes_before_the_file_and_an_argument_before_both(environment: Mapping[str, str]) -> None:
    variables = {**environment, "STOKER_API_KEY": "variable"}
    assert load(environment=variables).api_key == "variable"
    assert load(api_key="argument", environment=variables).api_key == "argument"


def test_keys_of_the_file_go_to_no_other_endpoint(environment: Mapping[str, str]) -> None:
    found = load(endpoint="10.0.0.2:7400", environment=environment)
    assert (found.api_key, found.admin_key) == ("", "")
    with pytest.raises(ConfigurationError, match=r"the keys in .*config\.toml are for 10\.0\.0\.1:7400"):
        found.key(is_admin=False)


def test_without_anything_the_usual_endpoint_is_called(tmp_path: Path) -> None:
    assert load(environment={"STOKER_CONFIG": str(tmp_path / "none")}).endpoint == "127.0.0.1:7400"


@pytest.mark.parametrize("text", ["endpoint = 5", "colour = 'red'", "= broken", "[keys]\na = 'b'"])
def test_a_file_that_is_no_good_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"config\.toml"):
        load(environment={"STOKER_CONFIG": str(file)})


def test_keys_are_in_no_repr() -> None:
    assert "admin" not in repr(Settings("e", "key", "admin")).replace("admin_key", "")
