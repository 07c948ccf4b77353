"""The layer of virtual machines, put together from its parts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoker_service.background import Background, background

from stoker_hostagent import accelerator as accelerators
from stoker_hostagent import template_recipe
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.footprints import Footprints
from stoker_hostagent.guest_image import GuestImage, find_image
from stoker_hostagent.libvirt_connection import connected
from stoker_hostagent.libvirt_domains import LibvirtDomains
from stoker_hostagent.state_dir import managed
from stoker_hostagent.template_making import NO_PREPARATION, Preparation, TemplateMaker
from stoker_hostagent.template_recipe import Platform
from stoker_hostagent.template_store import TemplateStore
from stoker_hostagent.templates import Templates
from stoker_hostagent.virtual_machines import VirtualMachines
from stoker_hostagent.vm import VmSettings
from stoker_hostagent.vm_rules import check_shape


@asynccontextmanager
async def running_virtual_machines(
    settings: VmSettings, preparation: Preparation = NO_PREPARATION
) -> AsyncGenerator[VirtualMachines]:
    """Manages this host's VMs while the context is entered; leaving it leaves them running.

    Args:
        settings: What was configured.
        preparation: What is done to a template's guest before it is saved.

    Raises:
        StokerError: HOST_AGENT_RUNNING (another process manages this state directory), IMAGE_MISSING,
            HYPERVISOR_UNAVAILABLE, STATE_DIR_INVALID, SHAPE_INVALID (of a template).
    """
    for shape in settings.template_shapes:
        check_shape(shape)
    with managed(settings.state_dir) as places:
        image = find_image(settings.images_dir, settings.image)
        accelerator = await accelerators.choose(settings.state_dir, settings.accelerator)
        # The tasks go first into the stack, so that they outlive whoever may start one more. A template that is being
        # made is given up while there is still a connection to remove what there is of it.
        async with background() as tasks, connected(settings.libvirt_uri) as connection, background() as template_tasks:
            footprints = Footprints(settings.host_id, places, LibvirtDomains(connection))
            templates = await _templates_of(settings, image, accelerator, footprints, preparation, template_tasks)
            machines = VirtualMachines(settings, image, accelerator, footprints, templates, tasks)
            connection.on_event = machines.domain_changed
            connection.on_reconnected = machines.hypervisor_returned
            yield machines


async def _templates_of(
    settings: VmSettings,
    image: GuestImage,
    accelerator: Accelerator,
    footprints: Footprints,
    preparation: Preparation,
    tasks: Background,
) -> Templates | None:
    if not settings.templates_mib:
        return None
    platform = Platform(
        await footprints.hypervisor_version(),
        await accelerators.qemu_version(),
        accelerators.processor() if accelerator.kind == "kvm" else "",
        preparation.recipe,
    )
    store = TemplateStore(footprints.templates, settings.templates_mib << 20)
    maker = TemplateMaker(settings.host_id, image, accelerator, footprints, store, preparation, tasks)
    return Templates(store, maker, lambda shape: template_recipe.key(shape, image, accelerator, platform), tasks)
