/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenVINO IR, versions 10 and 11: a graph as XML, and the bytes of its constants in a file of the
 * same name with the ending .bin.
 *
 * expat reads the XML in parts. A document type is refused, and with it every entity that could
 * expand. Weights that were compressed are constants of few bits with a Convert behind them: they
 * count as what is stored. Whole numbers of 32 or 64 bits, truth values and single numbers are
 * axes, shapes and constants of formulas: they have bytes, but are no parameters.
 */
#include "model/openvino.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/facts.h"
#include "model/graph.h"
#include "model/rows.h"

#include <expat.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK_BYTES = 64 << 10, VERSION_MIN = 10, VERSION_MAX = 11, NUMBER_BYTES = 24 };

/* clang-format off */
const struct rp_openvino_type rp_openvino_types[] = {
    {"boolean", "bool",   8,  8}, {"bf16",   "bf16",  16, 8}, {"f16",    "fp16",  16, 8},
    {"f32",     "fp32",  32,  8}, {"f64",    "fp64",  64, 8}, {"i4",     "int4",   4, 8},
    {"i8",      "int8",   8,  8}, {"i16",    "int16", 16, 8}, {"i32",    "int32", 32, 8},
    {"i64",     "int64", 64,  8}, {"u1",     "uint1",  1, 8}, {"u2",     "uint2",  2, 8},
    {"u3",      "uint3",  3, 24}, {"u4",     "uint4",  4, 8}, {"u6",     "uint6",  6, 24},
    {"u8",      "uint8",  8,  8}, {"u16",    "uint16", 16, 8}, {"u32",   "uint32", 32, 8},
    {"u64",     "uint64", 64, 8}, {"nf4",    "nf4",    4, 8}, {"f8e4m3", "fp8",    8, 8},
    {"f8e5m2",  "fp8",    8,  8}, {"f8e8m0", "fp8",    8, 8}, {"f4e2m1", "fp4",    4, 8},
    {"string",  "string", 0,  8},
};
/* clang-format on */
const size_t rp_openvino_type_count = sizeof rp_openvino_types / sizeof rp_openvino_types[0];

/* A constant, and where it lies in the .bin. */
struct constant {
    uint64_t offset;
    uint64_t bytes;
    uint64_t element_count;
    const struct rp_openvino_type *type;
    char name[RP_PORT_NAME_BYTES];
};

/* An output of the model, and what feeds it. */
struct result {
    uint64_t layer;
    struct rp_port port;
    bool is_named;
};

/* An output of any layer that has a name of its own. */
struct named {
    uint64_t layer;
    uint64_t port;
    char name[RP_PORT_NAME_BYTES];
};

enum layer_kind { LAYER_OTHER, LAYER_CONST, LAYER_PARAMETER, LAYER_RESULT };

struct reader {
    const struct rp_source *source;
    rp_model_facts *facts;
    rp_error *err;
    XML_Parser parser;
    rp_status status;   /* of what stopped the parser        */
    size_t quiet_bytes; /* since something last came of them */
    size_t depth;       /* elements that are open            */
    bool is_in_layers;  /* the model's own, not a body's     */
    bool is_in_edges;
    bool is_in_compression;
    struct {
        size_t depth; /* 0: none */
        enum layer_kind kind;
        uint64_t id;
        bool is_output; /* in its outputs, not its inputs */
        char name[RP_PORT_NAME_BYTES];
    } layer;
    struct rp_port port; /* of a Parameter or a Result while it is read */
    char dimension[NUMBER_BYTES];
    size_t dimension_length;
    bool is_in_dimension;
    bool has_fake_quantize;
    char scheme[24];
    struct rp_rows constants;
    struct rp_rows results;
    struct rp_rows named;
    struct rp_graph graph;
};

/* ---- small things ---- */

static void stop(struct reader *reader, rp_status status) {
    reader->status = status;
    XML_StopParser(reader->parser, XML_FALSE);
}

static unsigned long line_of(const struct reader *reader) {
    return (unsigned long)XML_GetCurrentLineNumber(reader->parser);
}

/* "" when there is none. */
static const char *attribute(const char **attributes, const char *name) {
    for (size_t i = 0; attributes[i]; i += 2) {
        if (strcmp(attributes[i], name) == 0) return attributes[i + 1];
    }
    return "";
}

static bool parse_number(const char *text, size_t length, uint64_t *number) {
    uint64_t value = 0;
    if (length == 0) return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) return false;
    }
    *number = value;
    return true;
}

static bool attribute_number(const char **attributes, const char *name, uint64_t *number) {
    const char *text = attribute(attributes, name);
    return parse_number(text, strlen(text), number);
}

static void set_name(char out[RP_PORT_NAME_BYTES], const char *name, size_t length) {
    rp_facts_set_text(out, RP_PORT_NAME_BYTES, name, length);
}

/* Of "5678,last_hidden_state" the first that is no number. */
static void choose_name(char out[RP_PORT_NAME_BYTES], const char *names) {
    for (const char *at = names; *at;) {
        size_t length = strcspn(at, ",");
        bool is_number = at[0] >= '0' && at[0] <= '9';
        if (length > 0 && !is_number) {
            set_name(out, at, length);
            return;
        }
        at += length;
        if (*at == ',') at++;
    }
}

/* The next of "30522, 384"; false at the end. */
static bool next_dimension(const char **shape, const char **begin, size_t *length) {
    *shape += strspn(*shape, " ");
    if (**shape == '\0') return false;
    *begin = *shape;
    *length = strcspn(*shape, ", ");
    *shape += *length;
    *shape += strspn(*shape, " ");
    if (**shape == ',') (*shape)++;
    return true;
}

static void *add_row(struct reader *reader, struct rp_rows *rows, const char *what) {
    const char *file = reader->source->name;
    if (rows->count >= RP_LIMIT_MODEL_TENSORS) {
        stop(reader, rp_fail(reader->err, RP_ERR_LIMIT, "'%s' has more than %d %s", file,
                             RP_LIMIT_MODEL_TENSORS, what));
        return NULL;
    }
    void *row = rp_rows_add(rows);
    if (!row) {
        stop(reader,
             rp_fail(reader->err, RP_ERR_MEMORY, "no memory for the %s of '%s'", what, file));
    }
    return row;
}

/* ---- constants ---- */

static void fail_constant(struct reader *reader, const char *what) {
    stop(reader, rp_fail(reader->err, RP_ERR_DATA, "'%s', line %lu: constant '%s' %s",
                         reader->source->name, line_of(reader), reader->layer.name, what));
}

static bool count_elements(const char *shape, struct constant *constant) {
    const char *begin;
    size_t length;
    constant->element_count = 1;
    while (next_dimension(&shape, &begin, &length)) {
        uint64_t dimension;
        if (!parse_number(begin, length, &dimension)) return false;
        if (__builtin_mul_overflow(constant->element_count, dimension, &constant->element_count)) {
            return false;
        }
    }
    return true;
}

static bool count_bytes(const struct constant *constant, uint64_t *bytes) {
    uint64_t unit = constant->type->unit_bits;
    uint64_t bits;
    if (__builtin_mul_overflow(constant->element_count, constant->type->bits, &bits)) return false;
    *bytes = (bits / unit + (bits % unit != 0)) * (unit / 8);
    return true;
}

static const struct rp_openvino_type *find_type(const char *name) {
    for (size_t i = 0; i < rp_openvino_type_count; i++) {
        if (strcmp(rp_openvino_types[i].name, name) == 0) return &rp_openvino_types[i];
    }
    return NULL;
}

static void add_constant(struct reader *reader, const char **attributes) {
    struct constant constant = {.type = find_type(attribute(attributes, "element_type"))};
    uint64_t bytes;
    if (!constant.type) {
        stop(reader, rp_fail(reader->err, RP_ERR_UNSUPPORTED,
                             "'%s', line %lu: constant '%s' is of type '%.40s', which is not known",
                             reader->source->name, line_of(reader), reader->layer.name,
                             attribute(attributes, "element_type")));
        return;
    }
    if (!attribute_number(attributes, "offset", &constant.offset) ||
        !attribute_number(attributes, "size", &constant.bytes)) {
        fail_constant(reader, "has no offset or no size");
        return;
    }
    if (!count_elements(attribute(attributes, "shape"), &constant)) {
        fail_constant(reader, "has a shape that is none");
        return;
    }
    if (!count_bytes(&constant, &bytes)) {
        fail_constant(reader, "has more than 2^64 bits");
        return;
    }
    if (constant.type->bits > 0 && bytes != constant.bytes) {
        stop(reader, rp_fail(reader->err, RP_ERR_DATA,
                             "'%s', line %lu: constant '%s' has %llu bytes, its shape makes %llu",
                             reader->source->name, line_of(reader), reader->layer.name,
                             (unsigned long long)constant.bytes, (unsigned long long)bytes));
        return;
    }
    memcpy(constant.name, reader->layer.name, sizeof constant.name);
    struct constant *row = add_row(reader, &reader->constants, "constants");
    if (row) *row = constant;
}

/* ---- inputs and outputs ---- */

static void add_dimension(struct rp_port *port, const char *text, size_t length) {
    uint64_t dimension = RP_UNKNOWN_U64; /* "?", "-1", "1..512" */
    if (!parse_number(text, length, &dimension)) dimension = RP_UNKNOWN_U64;
    if (port->dimension_count < RP_PORT_DIMENSIONS) {
        port->dimensions[port->dimension_count] = dimension;
    }
    port->dimension_count++;
}

static void set_shape(struct rp_port *port, const char *shape) {
    const char *begin;
    size_t length;
    port->has_shape = strcmp(shape, "...") != 0;
    while (next_dimension(&shape, &begin, &length)) {
        add_dimension(port, begin, length);
    }
}

static void begin_layer(struct reader *reader, const char **attributes) {
    static const char *const kinds[] = {
        [LAYER_CONST] = "Const", [LAYER_PARAMETER] = "Parameter", [LAYER_RESULT] = "Result"};
    const char *type = attribute(attributes, "type");
    const char *name = attribute(attributes, "name");
    bool is_own = reader->is_in_layers && reader->depth == 2;
    reader->layer.depth = reader->depth;
    reader->layer.kind = LAYER_OTHER;
    reader->layer.id = RP_UNKNOWN_U64;
    (void)attribute_number(attributes, "id", &reader->layer.id);
    set_name(reader->layer.name, name, strlen(name));
    for (size_t i = LAYER_CONST; i <= LAYER_RESULT; i++) {
        /* What a body gets and gives is not the model's. */
        bool is_it = strcmp(type, kinds[i]) == 0 && (is_own || i == LAYER_CONST);
        if (is_it) reader->layer.kind = (enum layer_kind)i;
    }
    if (strcmp(type, "FakeQuantize") == 0) reader->has_fake_quantize = true;
    reader->port = (struct rp_port){.has_shape = reader->layer.kind == LAYER_RESULT};
    if (reader->layer.kind == LAYER_RESULT) {
        choose_name(reader->port.name, attribute(attributes, "output_names"));
    }
}

/* The outputs of a layer of the model, and the one input of a Result. */
static void begin_port(struct reader *reader, const char **attributes) {
    if (!reader->layer.is_output || !reader->is_in_layers || reader->layer.depth != 2) return;
    char name[RP_PORT_NAME_BYTES] = "";
    uint64_t port;
    choose_name(name, attribute(attributes, "names"));
    if (name[0] == '\0' || !attribute_number(attributes, "id", &port)) return;
    if (reader->layer.kind == LAYER_PARAMETER && reader->port.name[0] == '\0') {
        memcpy(reader->port.name, name, sizeof name);
    }
    struct named *row = add_row(reader, &reader->named, "outputs of layers");
    if (!row) return;
    row->layer = reader->layer.id;
    row->port = port;
    memcpy(row->name, name, sizeof name);
}

static void end_layer(struct reader *reader) {
    enum layer_kind kind = reader->layer.kind;
    reader->layer.depth = 0;
    if (kind != LAYER_PARAMETER && kind != LAYER_RESULT) return;
    bool is_named = reader->port.name[0] != '\0';
    if (!is_named) {
        set_name(reader->port.name, reader->layer.name, strcspn(reader->layer.name, "/"));
    }
    if (kind == LAYER_PARAMETER) {
        rp_graph_add_input(&reader->graph, &reader->port);
        return;
    }
    struct result *row = add_row(reader, &reader->results, "results");
    if (!row) return;
    row->layer = reader->layer.id;
    row->port = reader->port;
    row->is_named = is_named;
}

static int compare_results(const void *left, const void *right) {
    const struct result *a = left;
    const struct result *b = right;
    return (a->layer > b->layer) - (a->layer < b->layer);
}

static int compare_named(const void *left, const void *right) {
    const struct named *a = left;
    const struct named *b = right;
    if (a->layer != b->layer) return a->layer < b->layer ? -1 : 1;
    return (a->port > b->port) - (a->port < b->port);
}

/* Edges come after all layers: a Result without a name has that of what feeds it. */
static void add_edge(struct reader *reader, const char **attributes) {
    struct result result;
    struct named named;
    if (!attribute_number(attributes, "to-layer", &result.layer) ||
        !attribute_number(attributes, "from-layer", &named.layer) ||
        !attribute_number(attributes, "from-port", &named.port)) {
        return;
    }
    size_t index = rp_rows_find(&reader->results, &result, compare_results);
    if (index >= reader->results.count) return;
    struct result *found = rp_rows_at(&reader->results, index);
    if (found->layer != result.layer || found->is_named) return;
    size_t from = rp_rows_find(&reader->named, &named, compare_named);
    if (from >= reader->named.count) return;
    const struct named *source = rp_rows_at(&reader->named, from);
    if (compare_named(source, &named) != 0) return;
    memcpy(found->port.name, source->name, sizeof source->name);
    found->is_named = true;
}

/* ---- what expat calls ---- */

static void begin_net(struct reader *reader, const char *element, const char **attributes) {
    uint64_t version;
    if (strcmp(element, "net") != 0) {
        stop(reader, rp_fail(reader->err, RP_ERR_DATA,
                             "'%s' is no OpenVINO IR: it begins with "
                             "<%.40s>, not with <net>",
                             reader->source->name, element));
    } else if (!attribute_number(attributes, "version", &version)) {
        stop(reader, rp_fail(reader->err, RP_ERR_DATA,
                             "'%s' does not say which version of "
                             "OpenVINO's IR it is",
                             reader->source->name));
    } else if (version < VERSION_MIN || version > VERSION_MAX) {
        stop(reader,
             rp_fail(reader->err, RP_ERR_UNSUPPORTED,
                     "'%s' is OpenVINO IR version %llu, "
                     "known are %d and %d",
                     reader->source->name, (unsigned long long)version, VERSION_MIN, VERSION_MAX));
    }
}

static void begin_part(struct reader *reader, const char *element) {
    reader->is_in_layers = strcmp(element, "layers") == 0;
    reader->is_in_edges = strcmp(element, "edges") == 0;
    if (!reader->is_in_edges) return;
    rp_rows_sort(&reader->results, compare_results);
    rp_rows_sort(&reader->named, compare_named);
}

/* In a layer, at so many elements below it. */
static void begin_in_layer(struct reader *reader, const char *element, const char **attributes) {
    size_t below = reader->depth - reader->layer.depth;
    enum layer_kind kind = reader->layer.kind;
    if (below == 1 && strcmp(element, "data") == 0) {
        if (kind == LAYER_CONST) add_constant(reader, attributes);
        if (kind == LAYER_PARAMETER) set_shape(&reader->port, attribute(attributes, "shape"));
    } else if (below == 1) {
        reader->layer.is_output = strcmp(element, "output") == 0;
    } else if (below == 2 && strcmp(element, "port") == 0) {
        begin_port(reader, attributes);
    } else if (below == 3 && strcmp(element, "dim") == 0 && kind == LAYER_RESULT) {
        reader->is_in_dimension = true;
        reader->dimension_length = 0;
    }
}

static void begin_in_information(struct reader *reader, const char *element,
                                 const char **attributes) {
    const char *value = attribute(attributes, "value");
    if (strcmp(element, "weight_compression") == 0) reader->is_in_compression = true;
    if (reader->is_in_compression && strcmp(element, "mode") == 0) {
        rp_facts_set_text(reader->scheme, sizeof reader->scheme, value, strlen(value));
    }
    if (strcmp(element, "Runtime_version") == 0) {
        char text[RP_FACTS_TEXT_BYTES];
        snprintf(text, sizeof text, "OpenVINO %.80s", value);
        rp_facts_set_text(reader->facts->producer, sizeof reader->facts->producer, text,
                          strlen(text));
    }
}

static void begin_element(void *user, const char *element, const char **attributes) {
    struct reader *reader = user;
    reader->quiet_bytes = 0;
    if (reader->status != RP_OK) return;
    if (reader->depth >= RP_LIMIT_MODEL_DEPTH) {
        stop(reader, rp_fail(reader->err, RP_ERR_LIMIT,
                             "'%s', line %lu: elements within elements, at most %d",
                             reader->source->name, line_of(reader), RP_LIMIT_MODEL_DEPTH));
        return;
    }
    if (reader->depth == 0) begin_net(reader, element, attributes);
    if (reader->depth == 1) begin_part(reader, element);
    bool is_edge = reader->is_in_edges && reader->depth == 2 && strcmp(element, "edge") == 0;
    if (is_edge) {
        add_edge(reader, attributes);
    } else if (strcmp(element, "layer") == 0) {
        begin_layer(reader, attributes);
    } else if (reader->layer.depth > 0) {
        begin_in_layer(reader, element, attributes);
    } else {
        begin_in_information(reader, element, attributes);
    }
    reader->depth++;
}

static void end_element(void *user, const char *element) {
    struct reader *reader = user;
    reader->quiet_bytes = 0;
    if (reader->status != RP_OK) return;
    reader->depth--;
    if (reader->is_in_dimension) {
        add_dimension(&reader->port, reader->dimension, reader->dimension_length);
        reader->is_in_dimension = false;
    }
    if (strcmp(element, "weight_compression") == 0) reader->is_in_compression = false;
    if (reader->layer.depth > 0 && reader->depth == reader->layer.depth) end_layer(reader);
}

static void take_text(void *user, const char *text, int length) {
    struct reader *reader = user;
    reader->quiet_bytes = 0;
    if (!reader->is_in_dimension) return;
    for (int i = 0; i < length && reader->dimension_length < sizeof reader->dimension; i++) {
        reader->dimension[reader->dimension_length++] = text[i];
    }
}

static void take_other(void *user, const char *text, int length) {
    struct reader *reader = user;
    (void)text;
    (void)length;
    reader->quiet_bytes = 0;
}

static void refuse_doctype(void *user, const char *name, const char *system_id,
                           const char *public_id, int has_internal_subset) {
    struct reader *reader = user;
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_internal_subset;
    stop(reader, rp_fail(reader->err, RP_ERR_DATA,
                         "'%s', line %lu: a document type, which OpenVINO's IR has not",
                         reader->source->name, line_of(reader)));
}

/* ---- reading ---- */

static void *grow(void *block, size_t bytes) {
    return rp_realloc_array(block, bytes, 1);
}

static rp_status fail_xml(const struct reader *reader) {
    enum XML_Error error = XML_GetErrorCode(reader->parser);
    const char *file = reader->source->name;
    if (error == XML_ERROR_NO_MEMORY) {
        return rp_fail(reader->err, RP_ERR_MEMORY, "no memory to read '%s'", file);
    }
    return rp_fail(reader->err, RP_ERR_DATA, "'%s', line %lu (byte %lld): %s", file,
                   line_of(reader), (long long)XML_GetCurrentByteIndex(reader->parser),
                   XML_ErrorString(error));
}

static rp_status parse(struct reader *reader, char *chunk) {
    const struct rp_source *source = reader->source;
    for (uint64_t at = 0; at < source->size;) {
        uint64_t left = source->size - at;
        size_t length = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        rp_status status = rp_source_read(source, at, chunk, length, "the graph", reader->err);
        if (status != RP_OK) return status;
        at += length;
        reader->quiet_bytes += length;
        enum XML_Status parsed = XML_Parse(reader->parser, chunk, (int)length, at == source->size);
        if (reader->status != RP_OK) return reader->status;
        if (parsed != XML_STATUS_OK) return fail_xml(reader);
        /* expat keeps what is not whole and begins it again with each part. */
        if (reader->quiet_bytes > RP_LIMIT_MODEL_XML_BYTES) {
            return rp_fail(reader->err, RP_ERR_LIMIT,
                           "'%s', line %lu: more than %d bytes for one element or comment",
                           source->name, line_of(reader), RP_LIMIT_MODEL_XML_BYTES);
        }
    }
    return RP_OK;
}

static rp_status read_graph(struct reader *reader) {
    static const XML_Memory_Handling_Suite heap = {rp_alloc, grow, rp_free};
    rp_status status;
    char *chunk = rp_alloc(CHUNK_BYTES);
    reader->parser = chunk ? XML_ParserCreate_MM(NULL, &heap, NULL) : NULL;
    if (!reader->parser) {
        status =
            rp_fail(reader->err, RP_ERR_MEMORY, "no memory to read '%s'", reader->source->name);
    } else {
        XML_SetUserData(reader->parser, reader);
        XML_SetElementHandler(reader->parser, begin_element, end_element);
        XML_SetCharacterDataHandler(reader->parser, take_text);
        XML_SetDefaultHandler(reader->parser, take_other);
        XML_SetStartDoctypeDeclHandler(reader->parser, refuse_doctype);
        status = parse(reader, chunk);
        XML_ParserFree(reader->parser);
    }
    rp_free(chunk);
    return status;
}

static int compare_constants(const void *left, const void *right) {
    const struct constant *a = left;
    const struct constant *b = right;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* The size of the .bin beside the .xml. */
static rp_status size_weights(struct reader *reader, uint64_t *size) {
    const char *name = reader->source->name;
    char path[RP_LIMIT_NAME_BYTES];
    struct rp_source weights;
    size_t length = strlen(name);
    size_t stem = length > 4 && strcmp(name + length - 4, ".xml") == 0 ? length - 4 : length;
    if (stem + sizeof ".bin" > sizeof path) {
        return rp_fail(reader->err, RP_ERR_DATA, "'%.100s...': a name of %zu bytes", name, length);
    }
    snprintf(path, sizeof path, "%.*s.bin", (int)stem, name);
    rp_status status = rp_source_open(path, &weights, reader->err);
    if (status == RP_ERR_NOT_FOUND) {
        status = rp_fail(reader->err, RP_ERR_DATA,
                         "'%s' has its weights in '%s', which is not there", name, path);
        rp_hint(reader->err, "put the .bin of the same name beside the .xml");
    }
    if (status != RP_OK) return status;
    *size = weights.size;
    rp_source_close(&weights);
    return RP_OK;
}

static rp_status check_constants(struct reader *reader) {
    const struct constant *last = NULL;
    for (size_t i = 0; i < reader->constants.count; i++) {
        const struct constant *constant = rp_rows_at(&reader->constants, i);
        if (constant->bytes > 0) last = constant;
    }
    reader->facts->file_count = 1;
    reader->facts->file_bytes = reader->source->size;
    if (!last || reader->source->fd < 0) return RP_OK; /* in memory: there is no folder */
    uint64_t size = 0;
    rp_status status = size_weights(reader, &size);
    if (status != RP_OK) return status;
    for (size_t i = 0; i < reader->constants.count; i++) {
        const struct constant *constant = rp_rows_at(&reader->constants, i);
        if (constant->bytes <= size && constant->offset <= size - constant->bytes) continue;
        status = rp_fail(reader->err, RP_ERR_DATA,
                         "'%s': constant '%s' needs %llu bytes from byte %llu of its .bin, which "
                         "has %llu",
                         reader->source->name, constant->name, (unsigned long long)constant->bytes,
                         (unsigned long long)constant->offset, (unsigned long long)size);
        rp_hint(reader->err, "was the whole file downloaded?");
        return status;
    }
    reader->facts->file_count = 2;
    reader->facts->file_bytes += size;
    return RP_OK;
}

static bool is_parameter(const struct constant *constant) {
    static const char *const others[] = {"i32", "i64", "u32", "u64", "boolean", "string"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(constant->type->name, others[i]) == 0) return false;
    }
    return constant->element_count > 1;
}

/* Layers that share their bytes share one constant: the writer stores equal ones once. */
static rp_status count_constants(struct reader *reader) {
    rp_model_facts *facts = reader->facts;
    const struct constant *before = NULL;
    uint64_t parameter_count = 0;
    rp_rows_sort(&reader->constants, compare_constants);
    for (size_t i = 0; i < reader->constants.count; i++) {
        const struct constant *constant = rp_rows_at(&reader->constants, i);
        bool is_same = before && constant->bytes > 0 && compare_constants(before, constant) == 0;
        before = constant;
        if (is_same) continue;
        if (is_parameter(constant)) parameter_count += constant->element_count;
        rp_status status =
            rp_facts_add_tensor(facts, constant->type->stored, constant->element_count,
                                constant->bytes, reader->source, reader->err);
        if (status != RP_OK) return status;
    }
    rp_graph_tell_parameters(facts, parameter_count);
    return RP_OK;
}

static void tell(struct reader *reader) {
    rp_model_facts *facts = reader->facts;
    for (size_t i = 0; i < reader->results.count; i++) {
        const struct result *result = rp_rows_at(&reader->results, i);
        rp_graph_add_output(&reader->graph, &result->port);
    }
    rp_graph_tell(&reader->graph, facts);
    const char *scheme = reader->has_fake_quantize ? "FakeQuantize" : reader->scheme;
    if (scheme[0]) snprintf(facts->quantization, sizeof facts->quantization, "%s", scheme);
    facts->format = "openvino";
}

rp_status rp_openvino_read(const struct rp_source *source, rp_model_facts *facts, rp_error *err) {
    rp_model_facts gathered = *facts;
    struct reader reader = {
        .source = source,
        .facts = &gathered,
        .err = err,
        .constants = RP_ROWS_INIT(struct constant),
        .results = RP_ROWS_INIT(struct result),
        .named = RP_ROWS_INIT(struct named),
    };
    if (source->size > RP_LIMIT_MODEL_HEADER_BYTES) {
        return rp_fail(err, RP_ERR_LIMIT, "'%s' has %llu bytes, a graph at most %d", source->name,
                       (unsigned long long)source->size, RP_LIMIT_MODEL_HEADER_BYTES);
    }
    if (source->size == 0) return rp_fail(err, RP_ERR_DATA, "'%s' is empty", source->name);
    rp_graph_init(&reader.graph);
    rp_status status = read_graph(&reader);
    if (status == RP_OK) status = check_constants(&reader);
    if (status == RP_OK) status = count_constants(&reader);
    if (status == RP_OK) {
        tell(&reader);
        *facts = gathered;
    }
    rp_rows_fini(&reader.constants);
    rp_rows_fini(&reader.results);
    rp_rows_fini(&reader.named);
    return status;
}
