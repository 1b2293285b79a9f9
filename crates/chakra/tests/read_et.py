"""Reads and writes Chakra traces with the official protobuf package, for a test to compare with.

    read_et.py read FILE...     prints a JSON list of the files' content
    read_et.py write FILE       writes the content that stands on stdin as JSON

The schema is described here, field by field, so no compiler of schemas is needed. A file's content is
{"metadata": [[name, field, value], ...], "nodes": [{"id", "name", "type", "ctrl_deps", "data_deps", "duration_micros",
"attr"}, ...]}, where attributes are lists of [name, field, value].
"""

import json
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import decoder, encoder

Field = descriptor_pb2.FieldDescriptorProto

# The values of an attribute, in order of their numbers from 3, each followed by its list.
SCALARS = ["double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64",
           "fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes"]


def field(message, name, number, kind, repeated=False, message_type=None):
    added = message.field.add(name=name, number=number)
    added.label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
    added.type = getattr(Field, "TYPE_" + kind.upper())
    if message_type:
        added.type_name = ".et." + message_type
    return added


def schema():
    file = descriptor_pb2.FileDescriptorProto(name="et.proto", package="et", syntax="proto3")
    attribute = file.message_type.add(name="Attribute")
    field(attribute, "name", 1, "string")
    field(attribute, "doc_string", 2, "string")
    attribute.oneof_decl.add(name="value")
    for index, kind in enumerate(SCALARS):
        a_list = kind.capitalize() + "List"
        field(file.message_type.add(name=a_list), "values", 1, kind, repeated=True)
        field(attribute, kind + "_val", 3 + 2 * index, kind).oneof_index = 0
        field(attribute, kind + "_list", 4 + 2 * index, "message", message_type=a_list).oneof_index = 0
    metadata = file.message_type.add(name="GlobalMetadata")
    field(metadata, "version", 1, "string")
    field(metadata, "attr", 2, "message", repeated=True, message_type="Attribute")
    operands = file.message_type.add(name="IOInfo")
    for number, name in enumerate(["values", "shapes", "types"], 1):
        field(operands, name, number, "string")
    node = file.message_type.add(name="Node")
    field(node, "id", 1, "uint64")
    field(node, "name", 2, "string")
    # An enumeration of the schema. Two numberings of it exist, so it is left a number, which is encoded alike.
    field(node, "type", 3, "int32")
    field(node, "ctrl_deps", 4, "uint64", repeated=True)
    field(node, "data_deps", 5, "uint64", repeated=True)
    field(node, "start_time_micros", 6, "uint64")
    field(node, "duration_micros", 7, "uint64")
    field(node, "inputs", 8, "message", message_type="IOInfo")
    field(node, "outputs", 9, "message", message_type="IOInfo")
    field(node, "attr", 10, "message", repeated=True, message_type="Attribute")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName("et." + name)) for name in ("GlobalMetadata", "Node")]


GlobalMetadata, Node = schema()
NODE_FIELDS = ["id", "name", "type", "ctrl_deps", "data_deps", "duration_micros"]


def frames(data):
    place = 0
    while place < len(data):
        length, place = decoder._DecodeVarint32(data, place)
        assert place + length <= len(data), "a message is cut off"
        yield data[place:place + length]
        place += length


def attributes(message):
    for attr in message.attr:
        name = attr.WhichOneof("value")
        value = getattr(attr, name)
        yield [attr.name, name, list(value.values) if name.endswith("_list") else value]


def read(path):
    with open(path, "rb") as file:
        first, *rest = frames(file.read())
    nodes = []
    for frame in rest:
        node = Node.FromString(frame)
        content = {name: getattr(node, name) for name in NODE_FIELDS}
        content["ctrl_deps"], content["data_deps"] = list(node.ctrl_deps), list(node.data_deps)
        nodes.append(content | {"attr": list(attributes(node))})
    return {"metadata": list(attributes(GlobalMetadata.FromString(first))), "nodes": nodes}


def add_attributes(message, content):
    for name, kind, value in content:
        attr = message.attr.add(name=name)
        if kind.endswith("_list"):
            getattr(attr, kind).SetInParent()
            getattr(attr, kind).values.extend(value)
        else:
            setattr(attr, kind, value)


def write(path, content):
    metadata = GlobalMetadata()
    add_attributes(metadata, content["metadata"])
    messages = [metadata]
    for fields in content["nodes"]:
        node = Node(**{name: fields[name] for name in NODE_FIELDS})
        add_attributes(node, fields["attr"])
        messages.append(node)
    with open(path, "wb") as file:
        for message in messages:
            data = message.SerializeToString()
            file.write(encoder._VarintBytes(len(data)) + data)


if sys.argv[1] == "read":
    json.dump([read(path) for path in sys.argv[2:]], sys.stdout)
else:
    write(sys.argv[2], json.load(sys.stdin))
