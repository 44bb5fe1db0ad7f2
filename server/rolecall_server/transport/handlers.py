"""Registers services from their descriptors, so that every RPC declared, built or not, passes the same wrapper.

The generated add_..._to_server functions can't do that: their deserializers raise on bytes that are no message.
"""

import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from rolecall_server.errors import NotImplementedYetError
from rolecall_server.transport.calls import Call, MessageParser, MessageStream, checked, settle
from rolecall_server.transport.hooks import OpenGate, RequestGate, RpcObserver
from rolecall_server.transport.inflight import InflightCalls
from rolecall_server.transport.status import status_of

GrpcContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service. An RPC that `implementation` has no method for is answered UNIMPLEMENTED.

    implementation: its methods are named as the RPCs and raise domain errors; by kind of RPC they are
    unary: `async (request, RequestContext) -> response`; streaming responses: `async (request, RequestContext,
    MessageStream)`; streaming both ways: `async (MessageStream)`, entering the gate for each request themselves.
    gate: admission, for RPCs that cause inference; they also get the default deadline.
    """

    descriptor: ServiceDescriptor
    implementation: object = None
    gate: RequestGate | None = None


def service_of(module: Any, name: str) -> ServiceDescriptor:
    """The descriptor of a service in the generated module of its file."""
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return descriptor


@dataclass(frozen=True, slots=True)
class Wrapper:
    """What all RPCs of a server have in common."""

    inflight: InflightCalls
    observer: RpcObserver
    default_deadline_seconds: float

    def handler(self, service: Service) -> grpc.GenericRpcHandler:
        """The handler of all RPCs that the descriptor declares."""
        methods = {method.name: self._method(service, method) for method in service.descriptor.methods}
        return grpc.method_handlers_generic_handler(service.descriptor.full_name, methods)

    def _method(self, service: Service, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        name = f"{service.descriptor.full_name}/{method.name}"
        implementation = getattr(service.implementation, method.name, None)
        rpc = _Rpc(
            name,
            implementation or _not_built(name),
            gate=OpenGate() if service.gate is None or implementation is None else service.gate,
            default_seconds=math.inf if service.gate is None else self.default_deadline_seconds,
            wrapper=self,
        )
        options: dict[str, Any] = {
            "request_deserializer": MessageParser(GetMessageClass(method.input_type)),
            "response_serializer": GetMessageClass(method.output_type).SerializeToString,
        }
        match method.client_streaming, method.server_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(rpc.unary, **options)
            case False, True:
                return grpc.unary_stream_rpc_method_handler(rpc.stream_out, **options)
            case True, True:
                return grpc.stream_stream_rpc_method_handler(rpc.stream_both, **options)
        raise TypeError(f"{name}: a stream of requests with one response is a kind of RPC not handled here")


def _not_built(name: str) -> Callable[..., Awaitable[Any]]:
    async def refuse(*_: object) -> None:
        raise NotImplementedYetError(f"{name} is part of the contract and not built in this version of the server")

    return refuse


class _Rpc:
    """One RPC: the functions that grpc.aio calls, each around the implementation."""

    def __init__(
        self,
        name: str,
        implementation: Callable[..., Awaitable[Any]],
        *,
        gate: RequestGate,
        default_seconds: float,
        wrapper: Wrapper,
    ) -> None:
        self._name = name
        self._implementation = implementation
        self._gate = gate
        self._default_seconds = default_seconds
        self._inflight = wrapper.inflight
        self._observer = wrapper.observer

    async def unary(self, request: Any, grpc_context: GrpcContext) -> Any:
        call = self._call(grpc_context)
        with call.reported(self._observer):
            return await self._run(self._answer(request, call), call, grpc_context)

    async def stream_out(self, request: Any, grpc_context: GrpcContext) -> None:
        call = self._call(grpc_context)
        with call.reported(self._observer):
            await self._run(self._answer_in_parts(request, call, grpc_context), call, grpc_context)

    async def stream_both(self, _: Any, grpc_context: GrpcContext) -> None:
        call = self._call(grpc_context)
        with call.reported_if_failed(self._observer):
            await self._run(self._converse(call, grpc_context), call, grpc_context)

    def _call(self, grpc_context: GrpcContext) -> Call:
        remaining = grpc_context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        return Call(self._name, deadline, self._default_seconds)

    def _stream(self, call: Call, grpc_context: GrpcContext) -> MessageStream[Any, Any]:
        return MessageStream(call, grpc_context, inflight=self._inflight, observer=self._observer)

    async def _answer(self, request: Any, call: Call) -> Any:
        context = call.context_for(checked(request))
        with self._gate.enter():
            return await settle(self._implementation(request, context), context.deadline)

    async def _answer_in_parts(self, request: Any, call: Call, grpc_context: GrpcContext) -> None:
        context = call.context_for(checked(request))
        stream = self._stream(call, grpc_context)
        with self._gate.enter():
            await settle(self._implementation(request, context, stream), context.deadline)

    async def _converse(self, call: Call, grpc_context: GrpcContext) -> None:
        stream = self._stream(call, grpc_context)
        await settle(self._implementation(stream), math.inf if call.deadline is None else call.deadline)

    async def _run(self, work: Coroutine[Any, Any, Any], call: Call, grpc_context: GrpcContext) -> Any:
        """Every RPC's way: counted among those under way, and ended with the status of whatever error came of it."""
        try:
            with closing(work), self._inflight:
                return await work
        except Exception as error:  # noqa: BLE001  the one place where every error gets its status
            status = status_of(error)
            call.code = status.code.name
            await grpc_context.abort(status.code, status.message, trailing_metadata=status.trailing_metadata())
