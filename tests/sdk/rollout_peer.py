"""The part of the small Stoker that rolls versions out: a rollout takes a step each time it is looked at."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.v1 import aliases_pb2, rollouts_pb2
from stoker_service.errors import ErrorKind, StokerError

_NOW = Timestamp(seconds=1_700_000_000)


class RolloutPeer:
    """Rollouts, newest first."""

    def __init__(self) -> None:
        self.rollouts: list[rollouts_pb2.Rollout] = []
        self.is_new_version_bad = False
        self.alias_changes: list[aliases_pb2.AliasChange] = []

    def StartRollout(self, request: Any, _context: Any) -> Any:
        rollout = request.rollout
        rollout.name = f"{request.parent}/rollouts/{len(self.rollouts):032x}"
        rollout.state, rollout.weight, rollout.from_version = rollouts_pb2.ROLLOUT_STATE_RUNNING, rollout.steps[0], 1
        rollout.create_time.CopyFrom(_NOW)
        rollout.step_time.CopyFrom(_NOW)
        rollout.comparison.old.calls = 900
        rollout.comparison.new.calls, rollout.comparison.new.errors, rollout.comparison.new.p50_ms = 100, 4, 12.5
        rollout.comparison.errors_p, rollout.comparison.slow_p = 0.25, 1
        self.rollouts.insert(0, rollout)
        return rollouts_pb2.StartRolloutResponse(rollout=rollout)

    def PauseRollout(self, request: Any, _context: Any) -> Any:
        rollout = self._under_way(request.name)
        rollout.state, rollout.reason = rollouts_pb2.ROLLOUT_STATE_PAUSED, "paused by somebody"
        return rollouts_pb2.PauseRolloutResponse(rollout=rollout)

    def ResumeRollout(self, request: Any, _context: Any) -> Any:
        rollout = self._under_way(request.name)
        rollout.state, rollout.reason = rollouts_pb2.ROLLOUT_STATE_RUNNING, ""
        return rollouts_pb2.ResumeRolloutResponse(rollout=rollout)

    def AbortRollout(self, request: Any, _context: Any) -> Any:
        rollout = self._under_way(request.name)
        self._end(rollout, rollouts_pb2.ROLLOUT_STATE_ABORTED, 0, request.reason or "aborted by somebody")
        return rollouts_pb2.AbortRolloutResponse(rollout=rollout)

    def GetRollout(self, request: Any, _context: Any) -> Any:
        rollout = self._under_way(request.name)
        if self.is_new_version_bad:
            self._end(rollout, rollouts_pb2.ROLLOUT_STATE_ROLLED_BACK, 0, "it fails more often")
        else:
            rollout.step += 1
            rollout.weight = rollout.steps[rollout.step]
            if rollout.weight == 100:
                self._end(rollout, rollouts_pb2.ROLLOUT_STATE_DONE, 100, "")
        return rollouts_pb2.GetRolloutResponse(rollout=rollout)

    def ListRollouts(self, request: Any, _context: Any) -> Any:
        found = [each for each in self.rollouts if each.name.startswith(request.parent) and each.alias == request.alias]
        return rollouts_pb2.ListRolloutsResponse(rollouts=found)

    def RollBack(self, request: Any, _context: Any) -> Any:
        alias = aliases_pb2.Alias(name=request.name, update_time=_NOW)
        alias.routes.add(version=request.version or 1, weight=100)
        change = aliases_pb2.AliasChange(
            time=_NOW, actor="0123456789abcdef", routes_after=alias.routes, reason=request.reason
        )
        change.routes_before.add(version=2, weight=100)
        self.alias_changes.insert(0, change)
        return rollouts_pb2.RollBackResponse(alias=alias)

    def ListAliasChanges(self, _request: Any, _context: Any) -> Any:
        return aliases_pb2.ListAliasChangesResponse(changes=self.alias_changes)

    def _under_way(self, name: str) -> rollouts_pb2.Rollout:
        rollout = next(each for each in self.rollouts if each.name == name)
        if rollout.HasField("end_time"):
            raise StokerError(ErrorKind.FAILED_PRECONDITION, "ROLLOUT_ENDED", "name: it has ended; StartRollout begins")
        return rollout

    def _end(self, rollout: rollouts_pb2.Rollout, state: Any, weight: int, reason: str) -> None:
        rollout.state, rollout.weight, rollout.reason = state, weight, reason
        rollout.end_time.CopyFrom(_NOW)
        rollout.ClearField("step_time")
