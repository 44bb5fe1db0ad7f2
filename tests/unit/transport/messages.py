"""Arbitrary messages of the contract, made from their descriptors: any field set or not, any value of its type."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.text(max_size=40),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=24),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_ENUM: st.integers(-(2**31), 2**31 - 1) | st.integers(0, 7),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Any:
    """A message of the type; of each oneof at most one field is set, as everywhere in protobuf."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if draw(st.integers(0, 2)) == 0:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            values = st.dictionaries(SCALARS[key.type], SCALARS[value.type], max_size=2)
            getattr(message, field.name).update(draw(values))
        elif field.message_type is not None and field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(messages(field.message_type), max_size=3)))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(draw(messages(field.message_type)))
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(SCALARS[field.type], max_size=3)))
        else:
            setattr(message, field.name, draw(SCALARS[field.type]))
    return message
