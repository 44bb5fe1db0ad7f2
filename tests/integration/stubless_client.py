"""A client of a Rolecall server that has none of its code: everything it knows comes through server reflection.

Run it as `python -I -S stubless_client.py SITE_PACKAGES ADDRESS` with a Match as JSON on standard input; it prints
what it learned and the answer, as JSON.
"""

import json
import sys

sys.path.append(sys.argv[1])

try:
    import rolecall  # noqa: F401
except ModuleNotFoundError:
    pass
else:
    sys.exit("this process can import rolecall, so it shows nothing")

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

with grpc.insecure_channel(sys.argv[2]) as channel:
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("rolecall.v1.MatchingService")
    method = service.FindMethodByName("Match")
    request_type, response_type = (GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    call = channel.unary_unary(
        f"/{service.full_name}/{method.name}",
        request_serializer=request_type.SerializeToString,
        response_deserializer=response_type.FromString,
    )
    response = call(json_format.Parse(sys.stdin.read(), request_type()), timeout=60)
    described = {
        "services": sorted(database.get_services()),
        "methods": [one.name for one in service.methods],
        "fields": [field.name for field in method.input_type.fields],
        "response": json_format.MessageToDict(response, preserving_proto_field_name=True, descriptor_pool=pool),
    }
print(json.dumps(described))
