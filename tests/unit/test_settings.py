"""connect and its settings: what is given, what the environment says, what is refused (R31)."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from agentmem import ConfigurationError, InvalidArgument, InvalidKey, Memory, NamespaceError, connect, settings
from agentmem.connect import SCHEMES
from agentmem.settings import Settings
from agentmem.testing.support import run_threads
from tests.unit.dict_repository import DictRepository

MODULE: Any = sys.modules["agentmem.connect"]


class Opened(list[tuple[Any, dict[str, Any]]]):
    """What the stand-in for a backend was asked to open."""


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "PARTITION", "NAMESPACE", "SWEEP_EVERY"):
        monkeypatch.delenv(f"AGENTMEM_{name}", raising=False)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()

    def open_any(place: Any, options: dict[str, Any]) -> DictRepository:
        opened.append((place, options))
        return DictRepository()

    monkeypatch.setattr(MODULE, "_opener", lambda target: open_any)
    return opened


def test_without_variables_the_environment_says_nothing() -> None:
    assert settings.load() == Settings()


def test_the_environment_fills_what_was_left_out(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTMEM_URL", "sqlite:///from/env.db")
    monkeypatch.setenv("AGENTMEM_PARTITION", "fleet")
    monkeypatch.setenv("agentmem_namespace", "aqe/")
    monkeypatch.setenv("AGENTMEM_SWEEP_EVERY", "2.5")
    assert settings.load() == Settings("sqlite:///from/env.db", "fleet", "aqe/", 2.5)
    with connect() as memory:
        assert "partition='fleet'" in repr(memory)
        with pytest.raises(NamespaceError):
            memory.put("other", 1)
    assert opened == [("sqlite:///from/env.db", {})]


def test_what_is_given_goes_before_the_environment(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", "mongodb://no"), ("PARTITION", "env"), ("NAMESPACE", "env/"), ("SWEEP_EVERY", "1")):
        monkeypatch.setenv(f"AGENTMEM_{name}", value)
    with connect("sqlite://", partition="default", namespace=None, sweep_every=None, pool_size=3) as memory:
        memory.put("anything", 1)
        assert "partition='default'" in repr(memory)
    assert opened == [("sqlite://", {"pool_size": 3})]


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTMEM_URL", "")
    assert settings.load() == Settings()


@pytest.mark.parametrize("value", ["often", "-1", "0", "nan", "inf"])
def test_r31_a_bad_variable_is_named(opened: Opened, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AGENTMEM_SWEEP_EVERY", value)
    with pytest.raises(ConfigurationError, match=r"(?i)sweep_every"):
        connect("sqlite://")
    assert not opened


def test_without_a_url_it_is_a_file_in_the_users_data_folder(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "agentmem"
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: folder)
    connect().close()
    assert opened == [(f"sqlite:///{folder}/memory.db", {})]
    assert folder.is_dir()


def test_a_data_folder_of_an_odd_name_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "50%41 é" / "agentmem"
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: folder)
    for _ in range(2):
        with connect() as memory:
            memory.increment("runs")
    assert (folder / "memory.db").is_file()
    with pickle.loads(pickle.dumps(memory)) as twin:
        assert twin.get("runs") == 2


@pytest.mark.parametrize(
    "url",
    ["SQLite:///m.db", "sqlite+pysqlite:///m.db", "sqlite:///./m.db", "sqlite:///file::memory:?cache=shared&uri=true"],
)
def test_a_url_of_sqlite_can_be_written_in_several_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with connect(url) as memory:
        memory.put("k", 1)
        assert run_threads(2, lambda _: memory.get("k")) == [1, 1]
    assert (tmp_path / "m.db").is_file() == ("memory" not in url)


def test_a_data_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "data" / "agentmem")
    with pytest.raises(ConfigurationError, match="AGENTMEM_URL"):
        connect()


@pytest.mark.parametrize("url", ["mysql://me:s3cr3t@h/db", "mongodb://:s3cr3t@h", "/a/file.db", "", "sqlite3:///x"])
def test_r31_an_unknown_scheme_is_named_with_the_known_ones(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(url)
    text = str(caught.value)
    assert url.partition(":")[0] in text
    assert all(scheme in text for scheme in SCHEMES)
    assert "s3cr3t" not in text


@pytest.mark.parametrize("place", [5, b"sqlite://", object(), Path("x.db")])
def test_r31_what_is_no_place_is_refused(place: Any) -> None:
    with pytest.raises(ConfigurationError, match=type(place).__name__):
        connect(place)


BAD: list[tuple[type[Exception], dict[str, Any]]] = [
    (InvalidKey, {"partition": ""}),
    (InvalidKey, {"partition": None}),
    (InvalidKey, {"namespace": "\0"}),
    (InvalidArgument, {"codec": "json"}),
    (ConfigurationError, {"sweep_every": 0}),
    (ConfigurationError, {"sweep_every": True}),
    (ConfigurationError, {"sweep_every": "60"}),
]


@pytest.mark.parametrize(("error", "options"), BAD)
def test_r31_bad_options_are_refused_before_anything_is_opened(
    opened: Opened, error: type[Exception], options: dict[str, Any]
) -> None:
    with pytest.raises(error):
        connect("sqlite://", **options)
    assert not opened


def test_r31_a_repository_takes_no_options() -> None:
    with pytest.raises(ConfigurationError, match="pool_size"):
        connect(DictRepository(), pool_size=3)


def test_a_hosts_engine_goes_to_the_backend(opened: Opened) -> None:
    engine = create_engine("sqlite://")
    with connect(engine, max_value_bytes=5) as memory:
        assert isinstance(memory, Memory)
    assert opened == [(engine, {"max_value_bytes": 5})]


def test_the_limit_is_the_repositorys() -> None:
    with connect(DictRepository(max_value_bytes=10)) as memory, pytest.raises(ValueError, match="10 bytes"):
        memory.put("a", "x" * 20)


def test_every_scheme_has_an_opener() -> None:
    for target in SCHEMES.values():
        assert callable(MODULE._opener(target))


def test_r31_a_sqlite_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigurationError, match=r"needs 3\.35"):
        connect("sqlite://")
