"""The part of the small Stoker that tells how aliases stand: what the test says, else that the target answers."""

from typing import Any

from stoker_protos.v1 import aliases_pb2, functions_pb2, rollovers_pb2


class RolloverPeer:
    """How aliases stand, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.aliases: dict[str, aliases_pb2.Alias] = {}
        self.rollovers: dict[str, rollovers_pb2.Rollover] = {}
        self.rollover_policy = functions_pb2.ROLLOVER_POLICY_SERVE_PREVIOUS
        self.max_staleness_s = 60

    def note_rollover(self, request: functions_pb2.UpdateFunctionRequest) -> None:
        """Takes in what an update of a function says of its rollovers."""
        for path in request.update_mask.paths:
            if path in ("rollover_policy", "max_staleness_s"):
                setattr(self, path, getattr(request.function, path))

    def GetRollover(self, request: Any, _context: Any) -> Any:
        targets = [
            rollovers_pb2.TargetVersion(
                version=route.version, weight=route.weight, loaded=1, answering_version=route.version
            )
            for route in self.aliases[request.name].routes
        ]
        found = self.rollovers.get(request.name) or rollovers_pb2.Rollover(
            name=request.name, targets=targets, is_usage_known=True
        )
        found.policy, found.max_staleness_s = self.rollover_policy, self.max_staleness_s
        return rollovers_pb2.GetRolloverResponse(rollover=found)
