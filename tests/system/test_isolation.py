"""A virtual machine serves one tenant in its whole life."""

from pathlib import Path

import pytest
import stoker

from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker


@pytest.fixture(scope="module")
def other_key(system: RunningStoker) -> str:
    with system.client() as client:
        return client.create_tenant("other").api_key


def test_tenants_see_only_their_own_and_share_no_vm(system: RunningStoker, other_key: str, tmp_path: Path) -> None:
    with system.client() as ours, system.client(other_key) as theirs:
        for owner, client in (("ours", ours), ("theirs", theirs)):
            code = write_function(tmp_path / owner, f"def handler(event, context):\n    return {owner!r}\n")
            client.deploy("same-name", code, runtime="python3", handler="main.handler")
        results = {"ours": ours.invoke("same-name", timeout_s=180), "theirs": theirs.invoke("same-name", timeout_s=180)}
        assert {owner: result.json() for owner, result in results.items()} == {"ours": "ours", "theirs": "theirs"}
        assert [function.name for function in theirs.list_functions()] == ["same-name"]
        fleet = ours.get_fleet()
    tenants = {vm.id: vm.tenant for vm in fleet.vms}
    assert tenants[results["ours"].vm] == "dev"
    assert tenants[results["theirs"].vm] == "other"


def test_another_tenants_function_is_not_there(system: RunningStoker, other_key: str, hello: str) -> None:
    with system.client(other_key) as theirs, pytest.raises(stoker.errors.NotFound) as caught:
        theirs.invoke(hello, timeout_s=30)
    assert caught.value.reason == "FUNCTION_NOT_FOUND"
