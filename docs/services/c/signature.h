/* What a SavedModel says of its signatures. */
#ifndef SIGNATURE_H_
#define SIGNATURE_H_

#include <stddef.h>
#include <stdint.h>

#include "tensorflow/c/c_api.h"

enum { MAX_PORTS = 16, MAX_RANK = 2 };

/* An input or an output of a signature: texts, floats or integers of 32 bits. */
typedef struct {
    char *key;               /* what callers call it */
    char *tensor;            /* what the graph calls it: "operation:0" */
    TF_DataType type;
    int rank;
    int64_t sizes[MAX_RANK]; /* of its first dimensions; -1: any */
} Port;

typedef struct {
    char *name;
    Port inputs[MAX_PORTS], outputs[MAX_PORTS];
    int num_inputs, num_outputs;
} Signature;

/* Returns a signature of a serialized MetaGraphDef, to be freed by `delete_signature`. Ends the
 * program where there is none of that name. */
Signature find_signature(const void *data, size_t size, const char *name);

void delete_signature(Signature *signature);

/* Ends the program with exit code 1 and a sentence. */
_Noreturn void die(const char *format, ...);

/* Returns memory filled with zeros, to be freed; or ends the program. */
void *allocate(size_t size);

/* Returns a copy with a zero behind it, to be freed. */
char *copy_text(const void *text, size_t size);

#endif
