"""Every call that rolls versions out and back, as a value."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from stoker_protos.v1 import aliases_pb2, rollouts_pb2

from stoker import wire
from stoker.calls import Listing, Page, Unary, UnaryOf
from stoker.models import Alias
from stoker.names import alias_path, check_name, function_path, rollout_path
from stoker.retries import Retry
from stoker.rollouts import AliasChange, Rollout, alias_change_of, rollout_of

DEFAULT_STEPS = (1, 10, 50, 100)
DEFAULT_EVERY_S = 60.0


def start_rollout(
    function: str, to_version: int, alias: str, *, steps: Sequence[int], every_s: float, min_calls: int
) -> UnaryOf[Rollout]:
    """Begins a rollout."""
    every = Duration()
    every.FromNanoseconds(round(every_s * 1e9))
    rollout = rollouts_pb2.Rollout(
        alias=check_name(alias, "alias"), to_version=to_version, steps=steps, every=every, min_calls=min_calls
    )
    return Unary(
        lambda stubs: stubs.rollouts.StartRollout,
        rollouts_pb2.StartRolloutRequest(parent=function_path(function), rollout=rollout),
        _rollout,
    )


def pause_rollout(function: str, rollout: str) -> UnaryOf[Rollout]:
    """Holds a rollout."""
    return Unary(
        lambda stubs: stubs.rollouts.PauseRollout,
        rollouts_pb2.PauseRolloutRequest(name=rollout_path(function, rollout)),
        _rollout,
        Retry.WHEN_UNAVAILABLE,
    )


def resume_rollout(function: str, rollout: str) -> UnaryOf[Rollout]:
    """Lets a rollout go on."""
    return Unary(
        lambda stubs: stubs.rollouts.ResumeRollout,
        rollouts_pb2.ResumeRolloutRequest(name=rollout_path(function, rollout)),
        _rollout,
        Retry.WHEN_UNAVAILABLE,
    )


def abort_rollout(function: str, rollout: str, reason: str) -> UnaryOf[Rollout]:
    """Ends a rollout."""
    return Unary(
        lambda stubs: stubs.rollouts.AbortRollout,
        rollouts_pb2.AbortRolloutRequest(name=rollout_path(function, rollout), reason=reason),
        _rollout,
    )


def get_rollout(function: str, rollout: str) -> UnaryOf[Rollout]:
    """Returns a rollout."""
    return Unary(
        lambda stubs: stubs.rollouts.GetRollout,
        rollouts_pb2.GetRolloutRequest(name=rollout_path(function, rollout)),
        _rollout,
        Retry.WHEN_UNAVAILABLE,
    )


def list_rollouts(function: str, alias: str) -> Listing[Rollout]:
    """Lists a function's rollouts, newest first."""
    parent = function_path(function)
    return Listing(
        lambda token: Unary(
            lambda stubs: stubs.rollouts.ListRollouts,
            rollouts_pb2.ListRolloutsRequest(parent=parent, alias=alias, page_token=token),
            lambda response: Page([rollout_of(each) for each in response.rollouts], response.next_page_token),
            Retry.WHEN_UNAVAILABLE,
        )
    )


def roll_back(function: str, alias: str, version: int, reason: str) -> UnaryOf[Alias]:
    """Points an alias back."""
    return Unary(
        lambda stubs: stubs.rollouts.RollBack,
        rollouts_pb2.RollBackRequest(name=alias_path(function, alias), version=version, reason=reason),
        lambda response: wire.alias_of(response.alias),
        # Without a number, the second time would lead further back.
        Retry.WHEN_UNAVAILABLE if version else Retry.NEVER,
    )


def list_alias_changes(function: str, alias: str) -> Listing[AliasChange]:
    """Lists what an alias pointed to, the newest change first."""
    parent = alias_path(function, alias)
    return Listing(
        lambda token: Unary(
            lambda stubs: stubs.aliases.ListAliasChanges,
            aliases_pb2.ListAliasChangesRequest(parent=parent, page_token=token),
            lambda response: Page([alias_change_of(each) for each in response.changes], response.next_page_token),
            Retry.WHEN_UNAVAILABLE,
        )
    )


def _rollout(response: Any) -> Rollout:
    return rollout_of(response.rollout)
