/* Reads signatures out of a MetaGraphDef: the wire format of protocol buffers, as much of it as
 * that needs. The numbers of fields are those of tensorflow/core/protobuf/meta_graph.proto. */
#include "signature.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is left to read of a message. */
typedef struct {
    const uint8_t *at, *end;
} Message;

typedef struct {
    uint64_t number;
    uint64_t value;  /* of a varint */
    Message content; /* of a text or a message */
} Field;

static uint64_t read_varint(Message *message)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        uint8_t byte = *message->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
    die("the description of the model is damaged");
}

/* Reads the next field; false at the end of the message. */
static bool next_field(Message *message, Field *field)
{
    enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };
    if (message->at == message->end) return false;
    uint64_t key = read_varint(message), size = 0;
    *field = (Field){.number = key >> 3};
    switch (key & 7) {
        case VARINT: field->value = read_varint(message); break;
        case FIXED64: size = 8; break;
        case BYTES: size = read_varint(message); break;
        case FIXED32: size = 4; break;
        default: die("the description of the model is damaged");
    }
    if (size > (uint64_t)(message->end - message->at)) die("the description of the model is cut off");
    field->content = (Message){message->at, message->at + size};
    message->at += size;
    return true;
}

static char *copy_content(Message content)
{
    return copy_text(content.at, (size_t)(content.end - content.at));
}

/* Splits the entry of a map: key = 1, value = 2. Returns the key, to be freed. */
static char *read_entry(Message entry, Message *value)
{
    Message key = {entry.at, entry.at};
    *value = key;
    for (Field field; next_field(&entry, &field);) {
        if (field.number == 1) key = field.content;
        if (field.number == 2) *value = field.content;
    }
    return copy_content(key);
}

/* TensorShapeProto: dim = 2, in each of them size = 1. */
static void read_shape(Message shape, Port *port)
{
    for (Field dim; next_field(&shape, &dim);) {
        if (dim.number != 2) continue;
        int64_t size = 0;
        for (Field field; next_field(&dim.content, &field);)
            if (field.number == 1) size = (int64_t)field.value;
        if (port->rank < MAX_RANK) port->sizes[port->rank] = size;
        port->rank++;
    }
}

/* An entry of the map of inputs or outputs to TensorInfo: name = 1, dtype = 2, tensor_shape = 3. */
static void read_port(Message entry, Port *ports, int *num_ports)
{
    if (*num_ports == MAX_PORTS) die("the signature has more than %d inputs or outputs", MAX_PORTS);
    Message info;
    Port *port = &ports[(*num_ports)++];
    *port = (Port){.key = read_entry(entry, &info)};
    for (Field field; next_field(&info, &field);) {
        if (field.number == 1 && !port->tensor) port->tensor = copy_content(field.content);
        if (field.number == 2) port->type = (TF_DataType)field.value;
        if (field.number == 3) read_shape(field.content, port);
    }
    bool is_known = port->type == TF_STRING || port->type == TF_FLOAT || port->type == TF_INT32;
    if (!port->tensor || !is_known)
        die("%s is neither a tensor of texts nor of numbers of 32 bits", port->key);
}

/* SignatureDef: inputs = 1, outputs = 2. */
static Signature read_signature(Message definition, char *name)
{
    Signature signature = {.name = name};
    for (Field field; next_field(&definition, &field);) {
        if (field.number == 1) read_port(field.content, signature.inputs, &signature.num_inputs);
        if (field.number == 2) read_port(field.content, signature.outputs, &signature.num_outputs);
    }
    return signature;
}

/* MetaGraphDef: signature_def = 5, a map. */
Signature find_signature(const void *data, size_t size, const char *name)
{
    Message message = {data, (const uint8_t *)data + size};
    char known[512] = "";
    for (Field field; next_field(&message, &field);) {
        if (field.number != 5) continue;
        Message definition;
        char *key = read_entry(field.content, &definition);
        if (strcmp(key, name) == 0) return read_signature(definition, key);
        size_t used = strlen(known);
        if (strncmp(key, "__", 2) != 0) /* but for __saved_model_init_op */
            snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", key);
        free(key);
    }
    die("the model has no signature %s, only %s", name, known);
}

static void delete_ports(Port *ports, int num_ports)
{
    for (int i = 0; i < num_ports; i++) {
        free(ports[i].key);
        free(ports[i].tensor);
    }
}

void delete_signature(Signature *signature)
{
    delete_ports(signature->inputs, signature->num_inputs);
    delete_ports(signature->outputs, signature->num_outputs);
    free(signature->name);
}
