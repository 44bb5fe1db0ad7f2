"""Malformed and absurd messages for every RPC, the same ones for the same seed."""

import random
import string
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from rolecall.v1 import feedback_pb2, generation_pb2, matching_pb2, model_pb2, types_pb2

METHODS: tuple[MethodDescriptor, ...] = tuple(
    method
    for module in (matching_pb2, generation_pb2, feedback_pb2, model_pb2, health_pb2, reflection_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
DEEPEST = 5
MATCHING = {"Match": 8, "MatchStream": 6, "Embed": 8}
GENERATING = {"Generate": 20, "GenerateStream": 20}
"""How often a method comes, where not once."""
STRINGS = (
    "",
    " ",
    "a",
    "encoder",
    "1",
    "\x00",
    "资深工程师",
    "👩‍⚕️",
    "\u202eمهندس",
    "\u200b",
    "</s>",
    "%n%s",
    "../..",
    "nan",
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, -3e38, float("inf"), float("-inf"), float("nan"))


@dataclass(frozen=True)
class Case:
    """One RPC: what goes over the wire, message by message."""

    method: MethodDescriptor
    messages: tuple[bytes, ...]

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


class Fuzzer:
    """dimensions: of the model, so that some embeddings have the right length. weights: by the name of the method."""

    def __init__(self, seed: int, *, dimensions: int, weights: Mapping[str, int] = MATCHING) -> None:
        self._random = random.Random(seed)
        self._dimensions = dimensions
        self._weights = weights
        self._damages: tuple[Callable[[bytes], bytes], ...] = (
            lambda data: data,
            self._noise,
            self._cut,
            self._flip,
            self._splice,
            self._lie,
        )

    def cases(self, messages: int) -> Iterator[Case]:
        """So many messages in all, over all methods."""
        chances = [self._weights.get(method.name, 1) for method in METHODS]
        while messages > 0:
            (method,) = self._random.choices(METHODS, chances)
            count = min(messages, self._random.randint(1, 4) if method.client_streaming else 1)
            messages -= count
            yield Case(method, tuple(self._message(method.input_type) for _ in range(count)))

    def _message(self, descriptor: Descriptor) -> bytes:
        data = self._sound(descriptor) if self._random.random() < 0.5 else self._absurd(descriptor, 0)
        return self._random.choice(self._damages)(data.SerializeToString())

    def _sound(self, descriptor: Descriptor) -> Message:
        """A request that is good, or nearly so."""
        one = types_pb2.Profile(id="a", text="a nurse")
        two = types_pb2.Profile(job=types_pb2.Job(title="nurse", required_skills=["care"]))
        match = matching_pb2.MatchRequest(query=one, documents=[two, one] * self._random.randint(1, 3))
        made: dict[str, Message] = {
            "MatchRequest": match,
            "MatchStreamRequest": matching_pb2.MatchStreamRequest(request=match),
            "EmbedRequest": matching_pb2.EmbedRequest(inputs=[one, two]),
            "GenerateRequest": generation_pb2.GenerateRequest(prompt=self._prompt(), decoding=self._decoding()),
            "GenerateStreamRequest": generation_pb2.GenerateStreamRequest(
                prompt=self._prompt(), decoding=self._decoding()
            ),
        }
        return made.get(descriptor.name) or self._absurd(descriptor, 0)

    def _prompt(self) -> generation_pb2.FreeText:
        return generation_pb2.FreeText(text=f"a nurse {self._random.choice(STRINGS)}")

    def _decoding(self) -> generation_pb2.Decoding:
        chance = self._random
        decoding = generation_pb2.Decoding(max_new_tokens=chance.randint(1, 12), seed=chance.randint(0, 9))
        match chance.randrange(4):
            case 0:
                decoding.num_beams = chance.randint(1, 9)
            case 1:
                decoding.do_sample = True
                decoding.temperature = chance.choice((0.5, 1.0, 99.0))
            case 2:
                decoding.stop.append(chance.choice(STRINGS))
        return decoding

    def _absurd(self, descriptor: Descriptor, depth: int) -> Message:
        message = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if self._random.random() < 0.4 or (depth >= DEEPEST and field.message_type):
                continue
            values = [self._value(field, depth) for _ in range(self._random.choice((1, 2, 5)))]
            if field.message_type and field.message_type.GetOptions().map_entry:
                for entry in values:
                    getattr(message, field.name)[entry.key] = entry.value
            elif field.is_repeated:
                getattr(message, field.name).extend(values)
            elif field.message_type:
                getattr(message, field.name).CopyFrom(values[0])
            else:
                setattr(message, field.name, values[0])
        return message

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        chance = self._random
        match field.type:
            case FieldDescriptor.TYPE_MESSAGE:
                return self._absurd(field.message_type, depth + 1)
            case FieldDescriptor.TYPE_STRING:
                return self._string()
            case FieldDescriptor.TYPE_BYTES:
                return self._bytes()
            case FieldDescriptor.TYPE_BOOL:
                return chance.random() < 0.1
            case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
                return chance.choice(FLOATS)
            case FieldDescriptor.TYPE_ENUM:
                return chance.choice((0, 1, 1, 2, 99, -1, 2**31 - 1, -(2**31)))
            case FieldDescriptor.TYPE_UINT32 | FieldDescriptor.TYPE_UINT64:
                return chance.choice((0, 1, 3, 2**31, 2**32 - 1))
            case _:
                return chance.choice((0, 1, -1, 2**31 - 1, -(2**31)))

    def _string(self) -> str:
        if self._random.random() < 0.05:
            return self._random.choice(string.printable) * self._random.choice((257, 3000))
        return self._random.choice(STRINGS)

    def _bytes(self) -> bytes:
        chance = self._random
        length = chance.choice((0, 1, 4, self._dimensions, self._dimensions, self._dimensions + 1))
        if chance.random() < 0.5:
            return struct.pack(f"<{length}f", *(chance.choice(FLOATS[:7]) for _ in range(length)))
        return chance.randbytes(4 * length)

    def _noise(self, data: bytes) -> bytes:
        return self._random.randbytes(self._random.choice((1, 8, 100, 100, 20_000)))

    def _cut(self, data: bytes) -> bytes:
        return data[: self._random.randint(0, len(data))]

    def _flip(self, data: bytes) -> bytes:
        flipped = bytearray(data)
        for _ in range(self._random.randint(1, 8) if flipped else 0):
            flipped[self._random.randrange(len(flipped))] ^= 1 << self._random.randrange(8)
        return bytes(flipped)

    def _splice(self, data: bytes) -> bytes:
        first, second = sorted(self._random.randint(0, len(data)) for _ in range(2))
        return data[:second] + data[first:]

    def _lie(self, data: bytes) -> bytes:
        """A length, somewhere, that is not that of what follows."""
        place = self._random.randint(0, len(data))
        return data[:place] + self._random.choice((b"\xff\xff\xff\xff\x0f", b"\x80" * 11, b"\x00")) + data[place + 1 :]
