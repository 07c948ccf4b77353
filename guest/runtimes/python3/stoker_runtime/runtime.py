"""The life of a container's first process: blank, loaded, then one invocation after another, or several at once."""

import asyncio
import base64
import collections
import concurrent.futures
import contextlib
import dataclasses
import datetime
import decimal
import enum
import faulthandler
import functools
import gc
import hashlib
import io
import itertools
import json
import logging
import os
import random
import re
import socket
import ssl
import string
import subprocess
import sys
import tempfile
import threading
import time
import typing
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

from .channel import Channel
from .context import Context
from .failures import describe, print_to_log
from .function import BYTES, JSON, Function, find_handler
from .port import Port
from .printing import attribute_output
from .rehearsal import rehearse
from .sharing import Sharing, check_asynchronous

PRELOADED = (
    base64, collections, concurrent.futures, contextlib, dataclasses, datetime, decimal, enum, functools, hashlib, io,
    itertools, logging, re, socket, string, subprocess, tempfile, threading, typing, urllib.parse, uuid,
)  # fmt: skip
"""Modules that functions often import. They are here before the code is, and so cost the function no time."""

RESULT_HEADERS = {kind: json.dumps({"type": "result", "content_type": kind}).encode() for kind in (JSON, BYTES)}

OWN_MODULES = str(Path(__file__).parents[1])


def run() -> None:
    """Serves the guest agent until it is gone, or the function ends the process."""
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - a TextIOWrapper here
    channel = Channel()
    rehearse()
    gc.collect()
    gc.freeze()
    channel.send({"type": "ready"})
    try:
        load, _ = channel.receive()
        is_shared = load.get("concurrency", 1) > 1
        if is_shared:
            attribute_output()
        function = _load(channel, load)
        if function is not None and is_shared:
            answer = functools.partial(_answer_among_others, function, load)
            asyncio.run(Sharing(channel, answer).serve())
        if function is not None and load.get("has_port"):
            _serve_port(channel, function, load)
        while function is not None:
            invoke, payload = channel.receive()
            _invoke(channel, function, load, invoke, payload)
    except EOFError:
        return


def _load(channel: Channel, load: dict[str, Any]) -> Function | None:
    """Imports the handler; None where that fails, which it has told then."""
    os.environ.update(load["environment"])
    time.tzset()
    random.seed()
    ssl.RAND_add(os.urandom(48), 48.0)
    code: str = load["code"]
    os.chdir(code)
    own = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    layers = _layer_paths(load.get("layers", ""))
    sys.path[:] = [code, *own, *layers, *(path for path in sys.path if _is_standard(path))]
    try:
        handler = find_handler(load["handler"])
        if (concurrency := load.get("concurrency", 1)) > 1:
            check_asynchronous(handler, load["handler"], concurrency)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - importing the function's code may raise anything
        _fail(channel, error, code)
        return None
    _flush()
    channel.send({"type": "loaded"})
    return Function(handler)


def _serve_port(channel: Channel, function: Function, load: dict[str, Any]) -> None:
    """Runs what comes by the port of its own, until the agent is gone."""
    port = Port(channel)
    while True:
        invoke, payload = port.receive()
        invocation_id: str = invoke["invocation_id"]
        port.begin(invocation_id)
        context = _context(load, invoke)
        started_ns, begun_ns = time.time_ns(), time.monotonic_ns()
        try:
            kind, response = function.call(payload, invoke["content_type"], context, invoke["max_response_bytes"])
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - as below
            print_to_log(error, load["code"])
            _flush()
            port.hand_over()
            channel.send({**describe(error, load["code"]), "invocation_id": invocation_id})
        else:
            run_ns = time.monotonic_ns() - begun_ns
            _flush()
            if port.may_answer():
                port.answer(
                    f'{{"type":"result","invocation_id":"{invocation_id}","content_type":"{kind}",'
                    f'"started_unix_ns":{started_ns},"run_ns":{run_ns}}}'.encode(),
                    response,
                )
            else:
                port.hand_over()
                channel.send({"type": "result", "invocation_id": invocation_id, "content_type": kind}, response)


def _context(load: dict[str, Any], invoke: dict[str, Any]) -> Context:
    return Context(
        function_name=load["function_name"],
        function_version=load["function_version"],
        invocation_id=invoke["invocation_id"],
        tenant=load["tenant"],
        memory_limit_mib=load["memory_limit_mib"],
        log_stream=load["log_stream"],
        traceparent=invoke["traceparent"],
        timeout_ms=invoke["timeout_ms"],
    )


def _invoke(channel: Channel, function: Function, load: dict[str, Any], invoke: dict[str, Any], payload: bytes) -> None:
    context = _context(load, invoke)
    try:
        kind, response = function.call(payload, invoke["content_type"], context, invoke["max_response_bytes"])
    except SystemExit:
        # Whoever ends the process means it.
        raise
    except BaseException as error:  # noqa: BLE001 - the function's code may raise anything
        _fail(channel, error, load["code"])
    else:
        _flush()
        channel.send_encoded(RESULT_HEADERS[kind], response)


async def _answer_among_others(
    function: Function, load: dict[str, Any], invoke: dict[str, Any], payload: bytes
) -> tuple[dict[str, Any], bytes]:
    """Runs an invocation while others run; returns its answer's header and body."""
    context = _context(load, invoke)
    try:
        kind, response = await function.call_among_others(
            payload, invoke["content_type"], context, invoke["max_response_bytes"]
        )
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - as above; a cancelled handler is told like any that failed
        print_to_log(error, load["code"])
        return describe(error, load["code"]), b""
    return {"type": "result", "content_type": kind}, response


def _fail(channel: Channel, error: BaseException, code: str) -> None:
    print_to_log(error, code)
    _flush()
    channel.send(describe(error, code))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - `suppress` takes longer
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - the function may have closed it, or put anything in its place
            pass


def _layer_paths(layers: str) -> list[str]:
    """Where modules are in layers, whose commands come into the PATH; nowhere without layers."""
    if not layers:
        return []
    os.environ["PATH"] = f"{os.environ['PATH']}:{layers}/bin" if os.environ.get("PATH") else f"{layers}/bin"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [f"{layers}/python/lib/{version}/site-packages", f"{layers}/python"]


def _is_standard(path: str) -> bool:
    """Whether a directory of modules is Python's own, and not of the image's packages or of this runtime."""
    return path != OWN_MODULES and Path(path).name not in ("dist-packages", "site-packages")
