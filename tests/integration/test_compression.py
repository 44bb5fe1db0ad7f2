"""Compressed messages are refused: a small one may unpack to more memory than the server has."""

import grpc
import pytest
from rolecall.v1 import matching_pb2, matching_pb2_grpc, types_pb2

from tests.servers import serve_process


def test_a_compressed_message_is_refused_with_a_clear_code() -> None:
    request = matching_pb2.EmbedRequest(inputs=[types_pb2.Profile(text="a" * 1_000_000)])
    with serve_process("--backend", "fake") as server, grpc.insecure_channel(server.address) as channel:
        stub = matching_pb2_grpc.MatchingServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Embed(request, compression=grpc.Compression.Gzip, timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert len(stub.Embed(request, timeout=20).embeddings) == 1
