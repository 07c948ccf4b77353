"""What may be asked of VMs, which are taken over, and where their things are."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.guest_image import find_image
from stoker_hostagent.state_dir import managed
from stoker_hostagent.vm import Shape, VmState
from stoker_hostagent.vm_rules import check_shape, check_vm_id, is_adoptable
from stoker_service.errors import StokerError

RECORD = VmRecord("host-1", "vm-0123456789ab", Shape(1, 512), VmState.WARMING, "", "image-a", 0)


@pytest.mark.parametrize(
    "vm_id", ["", "vm-", "vm-0123456789AB", "vm-0123456789ab\n", "../vm-0123456789ab", "c-0123456789ab"]
)
def test_an_id_that_is_none_never_becomes_a_path(vm_id: str) -> None:
    with pytest.raises(StokerError) as refused:
        check_vm_id(vm_id)
    assert (refused.value.reason, refused.value.field) == ("VM_ID_INVALID", "vm")


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        (Shape(0, 512), "shape.vcpus"),
        (Shape(65, 512), "shape.vcpus"),
        (Shape(1, 127), "shape.memory_mib"),
        (Shape(1, 262_145), "shape.memory_mib"),
    ],
)
def test_a_shape_out_of_bounds_is_refused_by_field(shape: Shape, field: str) -> None:
    with pytest.raises(StokerError) as refused:
        check_shape(shape)
    assert (refused.value.reason, refused.value.field) == ("SHAPE_INVALID", field)


@given(st.sampled_from(VmState), st.sampled_from(["", "acme"]), st.sampled_from(["image-a", "image-b"]))
def test_only_vms_between_two_steps_are_taken_over(state: VmState, tenant: str, image: str) -> None:
    adoptable = is_adoptable(replace(RECORD, state=state, tenant=tenant, image_id=image), "image-a")
    assert adoptable == (
        (state is VmState.WARMING and not tenant and image == "image-a") or (state is VmState.ACTIVE and tenant != "")
    )


def test_a_state_directory_has_one_manager() -> None:
    # Sockets have short paths; pytest's own directories have long ones.
    with TemporaryDirectory() as parent:
        state_dir = Path(parent) / "state"
        with managed(state_dir):
            with pytest.raises(StokerError) as refused, managed(state_dir):
                raise AssertionError("there are two")
            assert refused.value.reason == "HOST_AGENT_RUNNING"
        with managed(state_dir) as places:
            assert places.channels.is_dir()


@pytest.mark.parametrize("state_dir", [Path("relative"), Path("/") / ("x" * 90)])
def test_a_state_directory_whose_sockets_would_not_work_is_refused(state_dir: Path) -> None:
    with pytest.raises(StokerError) as refused, managed(state_dir):
        raise AssertionError("it was taken")
    assert refused.value.reason == "STATE_DIR_INVALID"
    assert "at most 77 bytes" in refused.value.message


def image(images_dir: Path, image_id: str) -> Path:
    directory = images_dir / image_id
    directory.mkdir(parents=True)
    for name in ("vmlinuz", "initrd.img", "root.erofs"):
        (directory / name).touch()
    (directory / "image.json").write_text(
        f'{{"id": "{image_id}", "kernel_cmdline": "quiet", "runtimes": ["python3"], "suite": "bookworm"}}'
    )
    return directory


def test_the_newest_complete_image_is_used_unless_one_is_named(tmp_path: Path) -> None:
    image(tmp_path, "a" * 16)
    image(tmp_path, "b" * 16)
    unfinished = image(tmp_path, "c" * 16)
    (unfinished / "root.erofs").unlink()
    broken = image(tmp_path, "d" * 16)
    (broken / "image.json").write_text("{")
    assert find_image(tmp_path).id == "b" * 16
    assert find_image(tmp_path, "a" * 16).id == "a" * 16


@pytest.mark.parametrize("wanted", ["", "e" * 16])
def test_a_missing_image_is_told_with_the_command_that_builds_it(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(StokerError, match="stoker_guest_image build") as refused:
        find_image(tmp_path, wanted)
    assert refused.value.reason == "IMAGE_MISSING"
    assert wanted in refused.value.message
