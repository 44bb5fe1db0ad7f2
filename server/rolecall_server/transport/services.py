"""The services of the contract, each with its implementation where there is one."""

from rolecall.v1 import feedback_pb2, generation_pb2, matching_pb2, model_pb2

from rolecall_server.tasks.embed import EmbedInput, EmbedOutput
from rolecall_server.tasks.match import MatchInput, MatchOutput
from rolecall_server.transport.generation import Generate, GenerationServicer
from rolecall_server.transport.handlers import Service, service_of
from rolecall_server.transport.hooks import RequestGate
from rolecall_server.transport.limits import ServerFacts
from rolecall_server.transport.matching import MatchingServicer, Task
from rolecall_server.transport.models import Models, ModelServicer

GENERATION = service_of(generation_pb2, "GenerationService").full_name
"""The service that is healthy only while a generator is loaded."""


def contract_services(
    *,
    match: Task[MatchInput, MatchOutput],
    embed: Task[EmbedInput, EmbedOutput],
    generate: Generate,
    models: Models,
    gate: RequestGate,
    facts: ServerFacts,
) -> list[Service]:
    """All services that the contract declares. The gate admits what causes inference; ModelService is not behind it."""
    matching = MatchingServicer(match, embed, limits=facts.limits, gate=gate)
    return [
        Service(service_of(matching_pb2, "MatchingService"), matching, gate),
        Service(service_of(generation_pb2, "GenerationService"), GenerationServicer(generate, facts.limits), gate),
        Service(service_of(feedback_pb2, "FeedbackService")),
        Service(service_of(model_pb2, "ModelService"), ModelServicer(models, facts)),
    ]
