"""The services of rollouts: for tenants, and for the frontends that count. Translate, call, translate back."""

import grpc.aio
from stoker_protos.codestore.v1 import outcomes_pb2, outcomes_pb2_grpc
from stoker_protos.v1 import rollouts_pb2, rollouts_pb2_grpc
from stoker_service import paging
from stoker_service.metadata import Context

from stoker_codestore import names, wire
from stoker_codestore.callers import calling_tenant, cause_of
from stoker_codestore.rollout_wire import counted_by_alias, plan_of, rollout_message
from stoker_codestore.rollouts import Rollouts
from stoker_codestore.undisturbed import to_the_end

ROLLOUT_SERVICES = (
    rollouts_pb2.DESCRIPTOR.services_by_name["RolloutService"],
    outcomes_pb2.DESCRIPTOR.services_by_name["OutcomeService"],
)


def serve_rollouts(rollouts: Rollouts, server: grpc.aio.Server) -> None:
    """Adds both services to a server."""
    rollouts_pb2_grpc.add_RolloutServiceServicer_to_server(RolloutServicer(rollouts), server)
    outcomes_pb2_grpc.add_OutcomeServiceServicer_to_server(OutcomeServicer(rollouts), server)


class RolloutServicer(rollouts_pb2_grpc.RolloutServiceServicer):
    """Serves `stoker.v1.RolloutService`."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts

    async def StartRollout(
        self, request: rollouts_pb2.StartRolloutRequest, context: Context
    ) -> rollouts_pb2.StartRolloutResponse:
        """Begins a rollout."""
        function, wanted = names.function_in(request.parent), request.rollout
        rollout = await self._rollouts.start(
            calling_tenant(context), function, wanted.alias, wanted.to_version, plan_of(wanted), cause_of(context)
        )
        return rollouts_pb2.StartRolloutResponse(rollout=rollout_message(function, rollout))

    async def PauseRollout(
        self, request: rollouts_pb2.PauseRolloutRequest, context: Context
    ) -> rollouts_pb2.PauseRolloutResponse:
        """Holds a rollout."""
        function, uid = names.function_in(request.name), names.rollout_in(request.name)
        rollout = await self._rollouts.pause(calling_tenant(context), function, uid, cause_of(context))
        return rollouts_pb2.PauseRolloutResponse(rollout=rollout_message(function, rollout))

    async def ResumeRollout(
        self, request: rollouts_pb2.ResumeRolloutRequest, context: Context
    ) -> rollouts_pb2.ResumeRolloutResponse:
        """Lets a rollout go on."""
        function, uid = names.function_in(request.name), names.rollout_in(request.name)
        rollout = await self._rollouts.resume(calling_tenant(context), function, uid, cause_of(context))
        return rollouts_pb2.ResumeRolloutResponse(rollout=rollout_message(function, rollout))

    async def AbortRollout(
        self, request: rollouts_pb2.AbortRolloutRequest, context: Context
    ) -> rollouts_pb2.AbortRolloutResponse:
        """Ends a rollout."""
        function, uid = names.function_in(request.name), names.rollout_in(request.name)
        cause = cause_of(context, wire.checked_text("reason", request.reason))
        rollout = await self._rollouts.abort(calling_tenant(context), function, uid, cause)
        return rollouts_pb2.AbortRolloutResponse(rollout=rollout_message(function, rollout))

    async def GetRollout(
        self, request: rollouts_pb2.GetRolloutRequest, context: Context
    ) -> rollouts_pb2.GetRolloutResponse:
        """Returns a rollout."""
        function, uid = names.function_in(request.name), names.rollout_in(request.name)
        rollout = await self._rollouts.get(calling_tenant(context), function, uid)
        return rollouts_pb2.GetRolloutResponse(rollout=rollout_message(function, rollout))

    async def ListRollouts(
        self, request: rollouts_pb2.ListRolloutsRequest, context: Context
    ) -> rollouts_pb2.ListRolloutsResponse:
        """Lists rollouts."""
        function, size = names.function_in(request.parent), paging.page_size(request.page_size)
        before = paging.decode_token(request.page_token)
        # One more than fits tells whether there is another page.
        found = await self._rollouts.list_before(calling_tenant(context), function, request.alias, before, size + 1)
        return rollouts_pb2.ListRolloutsResponse(
            rollouts=[rollout_message(function, rollout) for rollout in found[:size]],
            next_page_token=paging.encode_token(found[size - 1].uid) if len(found) > size else "",
        )

    async def RollBack(self, request: rollouts_pb2.RollBackRequest, context: Context) -> rollouts_pb2.RollBackResponse:
        """Points an alias back."""
        function, alias_name = names.function_in(request.name), names.alias_in(request.name)
        cause = cause_of(context, wire.checked_text("reason", request.reason))
        tenant = calling_tenant(context)
        alias = await self._rollouts.roll_back(tenant, function, alias_name, request.version, cause)
        return rollouts_pb2.RollBackResponse(alias=wire.alias_message(function, alias))


class OutcomeServicer(outcomes_pb2_grpc.OutcomeServiceServicer):
    """Serves `stoker.codestore.v1.OutcomeService`."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts

    async def ReportOutcomes(
        self, request: outcomes_pb2.ReportOutcomesRequest, context: Context
    ) -> outcomes_pb2.ReportOutcomesResponse:
        """Takes what a frontend has counted."""
        for (tenant, function, alias), counted in counted_by_alias(request.counts).items():
            await to_the_end(self._rollouts.observe(tenant, function, alias, counted))
        return outcomes_pb2.ReportOutcomesResponse()
