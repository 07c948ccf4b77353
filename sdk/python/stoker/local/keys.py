"""The operator's key, and the tenant for development."""

import os
import secrets
from pathlib import Path

from stoker import settings
from stoker.aio import Client
from stoker.errors import AlreadyExists, PermissionDenied, Unauthenticated
from stoker.local.layout import Layout
from stoker.settings import Settings

TENANT = "dev"


def ensure_admin_key(file: Path) -> str:
    """The admin key, which is made if there is none. Only its owner can read the file."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text(encoding="utf-8").strip()
    key = f"stk.{secrets.token_hex(8)}.{secrets.token_urlsafe(32)}"
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(f"{key}\n")
    return key


async def ensure_developer(layout: Layout, admin_key: str) -> Settings:
    """The settings of a client of the tenant `dev`, which is made, with its key, where it is missing."""
    endpoint = layout.address("frontend")
    kept = settings.read_config(layout.client_file)
    found = Settings(endpoint, kept.get("api_key", ""), admin_key)
    if not (found.api_key and await _is_good(found)):
        found = Settings(endpoint, await _new_key(endpoint, admin_key), admin_key)
    settings.write_config(layout.client_file, found)
    return found


async def configure_user(made: Settings, file: Path) -> str:
    """Writes the user's configuration where there is none, or its key is no good here; returns what to say of it.

    A configuration for another Stoker is left alone, and nothing is said of it.
    """
    kept = settings.read_config(file)
    if not kept:
        settings.write_config(file, made)
        return f"written to {file}"
    if kept.get("endpoint", settings.DEFAULT_ENDPOINT) != made.endpoint:
        return ""
    theirs = Settings(made.endpoint, kept.get("api_key", ""), made.admin_key)
    if theirs.api_key and await _is_good(theirs):
        return f"in {file}"
    settings.write_config(file, made)
    return f"written to {file}, whose keys were of an earlier Stoker"


async def _is_good(found: Settings) -> bool:
    async with Client(found.endpoint, api_key=found.api_key, admin_key=found.admin_key) as client:
        try:
            async for _ in client.list_functions():
                break
        except (Unauthenticated, PermissionDenied):
            return False
    return True


async def _new_key(endpoint: str, admin_key: str) -> str:
    async with Client(endpoint, admin_key=admin_key) as client:
        try:
            return (await client.create_tenant(TENANT)).api_key
        except AlreadyExists:
            return await client.create_api_key(TENANT)
