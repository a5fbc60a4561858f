/* Asks a model of the zoo from C, by TensorFlow's C API alone.
 *
 *     ask [-d DELIMITER] EXPORT SIGNATURE INPUT=VALUES...
 *
 * EXPORT is the folder of a version, with saved_model.pb in it. Each INPUT=VALUES is a row of that
 * input: a session, an example. Its values stand between commas, or what -d says; an empty one is
 * missing ("", NaN or row 0), and shorter rows are filled up with such. The answer is printed as
 * JSON, with null for what is no number there: the score -inf of a place without an item.
 *
 * Exit code 1: there is no answer, and stderr says in a sentence why; 2: wrong usage.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "signature.h"
#include "tensorflow/c/c_api.h"

typedef struct {
    TF_Graph *graph;
    TF_Session *session;
    TF_Buffer *description; /* a serialized MetaGraphDef */
} Model;

_Noreturn void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("ask: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) die("there is not enough memory for %zu bytes", size);
    return memory;
}

char *copy_text(const void *text, size_t size)
{
    return memcpy(allocate(size + 1), text, size);
}

/* ---- Rows of the command line to tensors ---- */

/* Returns the values of an argument INPUT=VALUES of this input, or NULL. */
static const char *values_of(const char *argument, const char *key)
{
    size_t length = strlen(key);
    bool is_of = strncmp(argument, key, length) == 0 && argument[length] == '=';
    return is_of ? argument + length + 1 : NULL;
}

static void require_input(const Signature *signature, const char *argument)
{
    char known[512] = "";
    for (int i = 0; i < signature->num_inputs; i++) {
        if (values_of(argument, signature->inputs[i].key)) return;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s=...", used ? ", " : "",
                 signature->inputs[i].key);
    }
    die("%s is no input of %s, which takes %s", argument, signature->name, known);
}

/* Returns the number of an input's rows, and in `width` the number of values of its longest one. */
static int64_t count_rows(const Port *port, char **arguments, char delimiter, int64_t *width)
{
    int64_t num_rows = 0;
    *width = 0;
    for (; *arguments; arguments++) {
        const char *values = values_of(*arguments, port->key);
        if (!values) continue;
        int64_t count = 1;
        while (port->rank == 2 && (values = strchr(values, delimiter))) values++, count++;
        if (port->rank == 2 && port->sizes[1] >= 0 && count != port->sizes[1])
            die("input %s takes rows of %lld values, got %lld in %s", port->key,
                (long long)port->sizes[1], (long long)count, *arguments);
        if (count > *width) *width = count;
        num_rows++;
    }
    return num_rows;
}

/* Sets an element to the text of `size` bytes, which may be no number. */
static void set_element(TF_Tensor *tensor, const Port *port, int64_t index, const char *text,
                        size_t size)
{
    void *data = TF_TensorData(tensor);
    if (port->type == TF_STRING) {
        TF_TString *string = (TF_TString *)data + index;
        TF_StringInit(string);
        TF_StringCopy(string, text, size);
        return;
    }
    char *number = copy_text(text, size);
    char *end = number;
    errno = 0;
    if (port->type == TF_FLOAT) {
        ((float *)data)[index] = size ? strtof(number, &end) : NAN;
    } else {
        long long value = size ? strtoll(number, &end, 10) : 0;
        ((int32_t *)data)[index] = (int32_t)value;
        if (value != (int32_t)value) errno = ERANGE;
    }
    if (*end || (errno && port->type != TF_FLOAT))
        die("input %s takes %s, got %s", port->key,
            port->type == TF_FLOAT ? "numbers" : "integers of 32 bits", number);
    free(number);
}

static TF_Tensor *make_input(const Port *port, char **arguments, char delimiter)
{
    if (port->rank < 1 || port->rank > MAX_RANK) die("input %s has no rows of values", port->key);
    int64_t sizes[MAX_RANK];
    sizes[0] = count_rows(port, arguments, delimiter, &sizes[1]);
    if (!sizes[0]) die("input %s is missing: pass %s=...", port->key, port->key);
    size_t size = port->type == TF_STRING ? sizeof(TF_TString) : 4;
    TF_Tensor *tensor =
        TF_AllocateTensor(port->type, sizes, port->rank, (size_t)(sizes[0] * sizes[1]) * size);
    if (!tensor) die("there is not enough memory for input %s", port->key);
    int64_t index = 0;
    for (; *arguments; arguments++) {
        const char *value = values_of(*arguments, port->key);
        if (!value) continue;
        for (int64_t column = 0; column < sizes[1]; column++) {
            const char *end = port->rank == 2 ? strchr(value, delimiter) : NULL;
            size_t length = end ? (size_t)(end - value) : strlen(value);
            set_element(tensor, port, index++, value, length);
            /* Behind the last value stands the end of the text: an empty value, again and again. */
            value += end ? length + 1 : length;
        }
    }
    return tensor;
}

static void delete_input(TF_Tensor *tensor)
{
    if (TF_TensorType(tensor) == TF_STRING) {
        TF_TString *strings = TF_TensorData(tensor);
        for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) TF_StringDealloc(&strings[i]);
    }
    TF_DeleteTensor(tensor);
}

/* ---- Tensors to JSON ---- */

static void print_text(const TF_TString *string)
{
    const char *text = TF_StringGetDataPointer(string);
    size_t size = TF_StringGetSize(string);
    putchar('"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"' || text[i] == '\\') putchar('\\');
        if ((unsigned char)text[i] < 0x20)
            printf("\\u%04x", text[i]);
        else
            putchar(text[i]);
    }
    putchar('"');
}

static void print_number(float number)
{
    if (isfinite(number))
        printf("%.9g", number);
    else
        fputs("null", stdout);
}

static void print_element(const TF_Tensor *tensor, int64_t index)
{
    const void *data = TF_TensorData(tensor);
    switch (TF_TensorType(tensor)) {
        case TF_STRING: print_text((const TF_TString *)data + index); break;
        case TF_INT32: printf("%d", ((const int32_t *)data)[index]); break;
        default: print_number(((const float *)data)[index]);
    }
}

/* Prints the part of a tensor from an axis on, and moves `index` behind it. */
static void print_tensor(const TF_Tensor *tensor, int axis, int64_t *index)
{
    if (axis == TF_NumDims(tensor)) {
        print_element(tensor, (*index)++);
        return;
    }
    putchar('[');
    for (int64_t i = 0; i < TF_Dim(tensor, axis); i++) {
        if (i) fputs(", ", stdout);
        print_tensor(tensor, axis + 1, index);
    }
    putchar(']');
}

/* ---- The model ---- */

static Model load_model(const char *path)
{
    const char *tags[] = {"serve"};
    TF_Status *status = TF_NewStatus();
    TF_SessionOptions *options = TF_NewSessionOptions();
    Model model = {.graph = TF_NewGraph(), .description = TF_NewBuffer()};
    model.session = TF_LoadSessionFromSavedModel(options, NULL, path, tags, 1, model.graph,
                                                 model.description, status);
    if (TF_GetCode(status) != TF_OK)
        die("the model in %s cannot be loaded: %s", path, TF_Message(status));
    TF_DeleteSessionOptions(options);
    TF_DeleteStatus(status);
    return model;
}

static void delete_model(Model *model)
{
    TF_Status *status = TF_NewStatus();
    TF_CloseSession(model->session, status);
    TF_DeleteSession(model->session, status);
    TF_DeleteGraph(model->graph);
    TF_DeleteBuffer(model->description);
    TF_DeleteStatus(status);
}

/* Returns where the graph has an input or an output. */
static TF_Output find_output(const Model *model, const Port *port)
{
    const char *colon = strrchr(port->tensor, ':');
    char *operation = strdup(port->tensor);
    if (!colon || !operation) die("%s is no name of a tensor", port->tensor);
    operation[colon - port->tensor] = '\0';
    TF_Output output = {TF_GraphOperationByName(model->graph, operation), atoi(colon + 1)};
    if (!output.oper) die("the graph has no operation %s", operation);
    free(operation);
    return output;
}

/* Runs a signature; `answers` takes a new tensor for each output. */
static void answer(const Model *model, const Signature *signature, TF_Tensor *const *inputs,
                   TF_Tensor **answers)
{
    TF_Output from[MAX_PORTS], to[MAX_PORTS];
    for (int i = 0; i < signature->num_inputs; i++)
        from[i] = find_output(model, &signature->inputs[i]);
    for (int i = 0; i < signature->num_outputs; i++)
        to[i] = find_output(model, &signature->outputs[i]);
    TF_Status *status = TF_NewStatus();
    TF_SessionRun(model->session, NULL, from, inputs, signature->num_inputs, to, answers,
                  signature->num_outputs, NULL, 0, NULL, status);
    if (TF_GetCode(status) != TF_OK) die("%s has no answer: %s", signature->name, TF_Message(status));
    TF_DeleteStatus(status);
}

static void print_answers(const Signature *signature, TF_Tensor *const *answers)
{
    for (int i = 0; i < signature->num_outputs; i++) {
        int64_t index = 0;
        printf("%s\"%s\": ", i ? ", " : "{", signature->outputs[i].key);
        print_tensor(answers[i], 0, &index);
    }
    puts("}");
    if (fflush(stdout)) die("the answer cannot be written: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    char delimiter = ',';
    for (int option; (option = getopt(argc, argv, "d:")) != -1;) {
        if (option == 'd' && strlen(optarg) == 1)
            delimiter = *optarg;
        else
            optind = argc; /* too few arguments */
    }
    if (argc - optind < 3) {
        fputs("usage: ask [-d DELIMITER] EXPORT SIGNATURE INPUT=VALUES...\n", stderr);
        return 2;
    }
    Model model = load_model(argv[optind]);
    Signature signature =
        find_signature(model.description->data, model.description->length, argv[optind + 1]);
    char **rows = argv + optind + 2;
    for (char **row = rows; *row; row++) require_input(&signature, *row);

    TF_Tensor *inputs[MAX_PORTS], *answers[MAX_PORTS] = {NULL};
    for (int i = 0; i < signature.num_inputs; i++) {
        inputs[i] = make_input(&signature.inputs[i], rows, delimiter);
        if (TF_Dim(inputs[i], 0) != TF_Dim(inputs[0], 0))
            die("%s has %lld rows and %s %lld: give all inputs as many", signature.inputs[0].key,
                (long long)TF_Dim(inputs[0], 0), signature.inputs[i].key,
                (long long)TF_Dim(inputs[i], 0));
    }
    answer(&model, &signature, inputs, answers);
    print_answers(&signature, answers);
    for (int i = 0; i < signature.num_outputs; i++) TF_DeleteTensor(answers[i]);
    for (int i = 0; i < signature.num_inputs; i++) delete_input(inputs[i]);
    delete_signature(&signature);
    delete_model(&model);
    return 0;
}
