"""The world that pages are run in, made once."""

from collections.abc import Iterator

import pytest

from tests.docs.world import World, make_world, running_server


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("docs")
    with running_server(folder / "bin") as server:
        yield make_world(folder / "world", folder / "bin", server)
