/* SPDX-License-Identifier: Apache-2.0 */
#include "model/gguf.h"

#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"
#include "model/facts.h"

#include "../../tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

/* A file while it is written. */
struct out {
    struct rp_text text;
    int version;
    bool is_big;
};

static void put(struct out *out, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        size_t shift = 8 * (out->is_big ? bytes - 1 - i : i);
        char byte = (char)(value >> shift);
        rp_text_append(&out->text, &byte, 1);
    }
}

static void put_count(struct out *out, uint64_t count) {
    put(out, count, out->version == 1 ? 4 : 8);
}

static void put_string(struct out *out, const char *text) {
    put_count(out, strlen(text));
    rp_text_append(&out->text, text, strlen(text));
}

static void begin(struct out *out, uint64_t tensors, uint64_t pairs) {
    rp_text_append(&out->text, "GGUF", 4);
    put(out, (uint64_t)out->version, 4);
    put_count(out, tensors);
    put_count(out, pairs);
}

static void put_key(struct out *out, const char *key, uint64_t type) {
    put_string(out, key);
    put(out, type, 4);
}

static void put_u32(struct out *out, const char *key, uint64_t value) {
    put_key(out, key, U32);
    put(out, value, 4);
}

static void put_text(struct out *out, const char *key, const char *text) {
    put_key(out, key, STRING);
    put_string(out, text);
}

static void put_tensor(struct out *out, const char *name, uint64_t type, uint64_t rows,
                       uint64_t columns, uint64_t offset) {
    put_string(out, name);
    put(out, 2, 4);
    put_count(out, columns);
    put_count(out, rows);
    put(out, type, 4);
    put(out, offset, 8);
}

/* Up to the beginning of the data, and so much of it. */
static void put_data(struct out *out, size_t bytes) {
    while (out->text.length % 32 != 0) {
        rp_text_append(&out->text, "", 1);
    }
    for (size_t i = 0; i < bytes; i++) {
        rp_text_append(&out->text, "w", 1);
    }
}

/* A model with every figure: 256 x 4 of Q4_K (576 bytes), 256 of fp32 (1024 bytes). */
static void put_model(struct out *out) {
    begin(out, 2, 15);
    put_text(out, "general.architecture", "llama");
    put_text(out, "general.name", "A Llama");
    put_u32(out, "general.file_type", 15);
    put_u32(out, "llama.block_count", 3);
    put_u32(out, "llama.embedding_length", 256);
    put_u32(out, "llama.feed_forward_length", 1024);
    put_key(out, "llama.attention.head_count", ARRAY);
    put(out, I32, 4);
    put_count(out, 3);
    put(out, 4, 4);
    put(out, 8, 4);
    put(out, 2, 4);
    put_u32(out, "llama.attention.head_count_kv", 2);
    put_key(out, "llama.context_length", U64);
    put(out, 4096, 8);
    put_key(out, "tokenizer.ggml.tokens", ARRAY);
    put(out, STRING, 4);
    put_count(out, 3);
    put_string(out, "<s>");
    put_string(out, "");
    put_string(out, "hello");
    put_u32(out, "other.block_count", 99);
    put_key(out, "llama.expert_count", U16);
    put(out, 8, 2);
    put_key(out, "llama.expert_used_count", U8);
    put(out, 2, 1);
    put_key(out, "nested", ARRAY);
    put(out, ARRAY, 4);
    put_count(out, 2);
    for (int i = 0; i < 2; i++) {
        put(out, F64, 4);
        put_count(out, 1);
        put(out, 0, 8);
    }
    put_key(out, "a.bool", BOOL);
    put(out, 1, 1);
    put_tensor(out, "token_embd.weight", 12, 4, 256, 0);
    put_tensor(out, "norm.weight", 0, 1, 256, 576);
    put_data(out, 576 + 1024);
}

static rp_status read_bytes(const void *bytes, size_t length, rp_model_facts *facts,
                            rp_error *err) {
    struct rp_source source;
    /* A copy of exactly that many bytes: a read beyond them is seen by the sanitizer. */
    char *copy = malloc(length ? length : 1);
    memcpy(copy, bytes, length);
    rp_source_init_memory(&source, "test.gguf", copy, length);
    rp_facts_init(facts);
    rp_status status = rp_gguf_read(&source, facts, err);
    free(copy);
    return status;
}

static rp_status read_out(struct out *out, rp_model_facts *facts, rp_error *err) {
    assert_false(out->text.failed);
    rp_status status = read_bytes(out->text.bytes, out->text.length, facts, err);
    rp_text_fini(&out->text);
    return status;
}

static void the_table_of_types_is_whole(void **state) {
    (void)state;
    /* What ggml's own sources say of each: numbers of types that were taken back are missing. */
    static const unsigned char missing[] = {4, 5};
    size_t index = 0;
    for (uint32_t number = 0; number <= 41; number++) {
        if (memchr(missing, (int)number, sizeof missing)) {
            assert_null(rp_ggml_type_find(number));
            continue;
        }
        const struct rp_ggml_type *type = rp_ggml_type_find(number);
        assert_non_null(type);
        assert_ptr_equal(type, &rp_ggml_types[index++]);
        assert_true(strlen(type->name) < sizeof(((rp_stored *)0)->name));
        assert_true(type->block_bytes > 0);
        /* A block of one element is a plain number; others hold a scale beside the elements. */
        bool is_plain = type->block_elements == 1;
        assert_true(is_plain ? type->block_bytes <= 8 : type->block_bytes % 2 == 0 || number == 39);
        for (size_t i = index; i < rp_ggml_type_count; i++) {
            assert_string_not_equal(type->name, rp_ggml_types[i].name);
        }
    }
    assert_int_equal(index, rp_ggml_type_count);
    assert_null(rp_ggml_type_find(42));
}

static void blocks_have_the_bits_that_their_type_says(void **state) {
    (void)state;
    /* Bits per weight as llama.cpp documents them, in 1/10000. */
    static const struct {
        uint32_t number;
        uint32_t bits;
    } known[] = {
        {2, 45000},  {3, 50000},  {6, 55000},  {7, 60000},  {8, 85000},  {10, 26250},
        {11, 34375}, {12, 45000}, {13, 55000}, {14, 65625}, {16, 20625}, {17, 23125},
        {18, 30625}, {19, 15625}, {20, 45000}, {21, 34375}, {22, 25625}, {23, 42500},
        {29, 17500}, {34, 16875}, {35, 20625}, {39, 42500}, {40, 45000}, {41, 11250},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const struct rp_ggml_type *type = rp_ggml_type_find(known[i].number);
        uint32_t bits = type->block_bytes * 8 * 10000 / type->block_elements;
        if (bits != known[i].bits) fail_msg("%s has %u bits", type->name, bits);
    }
}

static void a_model_is_read_field_by_field(void **state) {
    (void)state;
    for (int version = 1; version <= 3; version++) {
        for (int is_big = 0; is_big < 2; is_big++) {
            rp_error err = RP_ERROR_INIT;
            rp_model_facts facts;
            struct out out = {RP_TEXT_INIT, version, is_big};
            put_model(&out);
            size_t length = out.text.length;
            assert_ok(read_out(&out, &facts, &err));
            assert_string_equal(facts.format, "gguf");
            assert_string_equal(facts.architecture, "llama");
            assert_string_equal(facts.model_type, "llama");
            assert_string_equal(facts.precision, "fp32");
            assert_string_equal(facts.quantization, "Q4_K_M");
            assert_int_equal(facts.parameter_count, 256 * 4 + 256);
            assert_int_equal(facts.parameter_method, RP_FACTS_FILE);
            assert_int_equal(facts.weights_bytes, 576 + 1024);
            assert_int_equal(facts.file_bytes, length);
            assert_int_equal(facts.file_count, 1);
            assert_int_equal(facts.tensor_count, 2);
            assert_int_equal(facts.stored_count, 2);
            assert_string_equal(facts.stored[1].name, "q4_k");
            assert_int_equal(facts.stored[1].bytes, 576);
            assert_int_equal(facts.layer_count, 3);
            assert_int_equal(facts.hidden_size, 256);
            assert_int_equal(facts.intermediate_size, 1024);
            assert_int_equal(facts.head_count, 8);
            assert_int_equal(facts.kv_head_count, 2);
            assert_int_equal(facts.head_size, 32);
            assert_int_equal(facts.vocabulary_size, 3);
            assert_int_equal(facts.context_length, 4096);
            assert_int_equal(facts.expert_count, 8);
            assert_int_equal(facts.expert_used_count, 2);
            assert_int_equal(facts.classification.family, RP_FAMILY_TEXT_GENERATION);
            assert_true(facts.classification.confidence > 0.85);
        }
    }
}

static void what_a_configuration_said_stays(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct rp_source source;
    struct out out = {RP_TEXT_INIT, 3, false};
    put_model(&out);
    rp_source_init_memory(&source, "test.gguf", out.text.bytes, out.text.length);
    rp_facts_init(&facts);
    snprintf(facts.architecture, sizeof facts.architecture, "LlamaForCausalLM");
    assert_ok(rp_gguf_read(&source, &facts, &err));
    assert_string_equal(facts.architecture, "LlamaForCausalLM");
    assert_string_equal(facts.model_type, "llama");
    assert_int_equal(facts.layer_count, 3);
    rp_text_fini(&out.text);
}

static void figures_before_the_architecture_are_read_too(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, 0, 3);
    put_u32(&out, "bert.block_count", 12);
    put_u32(&out, "bert.pooling_type", 1);
    put_text(&out, "general.architecture", "bert");
    assert_ok(read_out(&out, &facts, &err));
    assert_int_equal(facts.layer_count, 12);
    assert_int_equal(facts.classification.family, RP_FAMILY_EMBEDDING);
    assert_int_equal(facts.parameter_count, 0);
    assert_int_equal(facts.context_length, RP_UNKNOWN_U32);
    assert_int_equal(facts.head_count, RP_UNKNOWN_U32);
}

static void what_pools_its_output_is_an_embedding(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    for (uint64_t pooling = 0; pooling < 5; pooling++) {
        struct out out = {RP_TEXT_INIT, 3, false};
        begin(&out, 0, 2);
        put_text(&out, "general.architecture", "qwen3");
        put_u32(&out, "qwen3.pooling_type", pooling);
        assert_ok(read_out(&out, &facts, &err));
        assert_int_equal(facts.classification.family,
                         pooling ? RP_FAMILY_EMBEDDING : RP_FAMILY_TEXT_GENERATION);
    }
}

static void an_architecture_that_nobody_knows_generates_text_if_it_has_tokens(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    for (int has_tokens = 0; has_tokens < 2; has_tokens++) {
        struct out out = {RP_TEXT_INIT, 3, false};
        begin(&out, 0, has_tokens ? 3 : 2);
        put_text(&out, "general.architecture", "xqzw");
        put_u32(&out, "xqzw.context_length", 512);
        if (has_tokens) {
            put_key(&out, "tokenizer.ggml.tokens", ARRAY);
            put(&out, STRING, 4);
            put_count(&out, 0);
        }
        assert_ok(read_out(&out, &facts, &err));
        assert_int_equal(facts.classification.family,
                         has_tokens ? RP_FAMILY_TEXT_GENERATION : RP_FAMILY_UNKNOWN);
    }
}

static void the_type_of_most_bytes_stands_for_a_missing_scheme(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, 1, 1);
    put_u32(&out, "general.file_type", 5000);
    put_tensor(&out, "w", 16, 1, 256, 0);
    put_data(&out, 66);
    assert_ok(read_out(&out, &facts, &err));
    assert_string_equal(facts.quantization, "IQ2_XXS");
    out = (struct out){RP_TEXT_INIT, 3, false};
    begin(&out, 1, 1);
    put_u32(&out, "general.file_type", 1);
    put_tensor(&out, "w", 1, 1, 256, 0);
    put_data(&out, 512);
    assert_ok(read_out(&out, &facts, &err));
    assert_string_equal(facts.quantization, "");
    assert_string_equal(facts.precision, "fp16");
    out = (struct out){RP_TEXT_INIT, 3, false};
    begin(&out, 0, 1);
    put_u32(&out, "general.file_type", 1024 + 18);
    assert_ok(read_out(&out, &facts, &err));
    assert_string_equal(facts.quantization, "Q6_K");
}

static void a_negative_or_huge_figure_is_not_known(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, 0, 6);
    put_text(&out, "general.architecture", "llama");
    put_key(&out, "llama.block_count", I8);
    put(&out, 0xFF, 1);
    put_key(&out, "llama.context_length", U64);
    put(&out, 1ULL << 40, 8);
    put_u32(&out, "llama.expert_count", 0);
    put_text(&out, "llama.vocab_size", "many");
    put_u32(&out, "llama.attention.head_count", 3);
    assert_ok(read_out(&out, &facts, &err));
    assert_int_equal(facts.layer_count, RP_UNKNOWN_U32);
    assert_int_equal(facts.context_length, RP_UNKNOWN_U32);
    assert_int_equal(facts.expert_count, RP_UNKNOWN_U32);
    assert_int_equal(facts.vocabulary_size, RP_UNKNOWN_U32);
    assert_int_equal(facts.head_size, RP_UNKNOWN_U32);
}

/* A file of one tensor, of which one thing is wrong. */
struct wrong {
    uint64_t type;
    uint64_t rows;
    uint64_t columns;
    uint64_t offset;
    uint64_t alignment;
    rp_status status;
    const char *says;
};

static void each_wrong_thing_is_named(void **state) {
    (void)state;
    static const struct wrong wrongs[] = {
        {12, 1, 255, 0, 32, RP_ERR_DATA,
         "tensor 'blk.w' has rows of 255 elements, q4_k has blocks of 256"},
        {4, 1, 256, 0, 32, RP_ERR_UNSUPPORTED, "tensor 'blk.w' is of type 4, known are to 41"},
        {99, 1, 256, 0, 32, RP_ERR_UNSUPPORTED, "tensor 'blk.w' is of type 99"},
        {0, 1, 256, 16, 32, RP_ERR_DATA, "tensor 'blk.w' lies at 16, which is no multiple of 32"},
        {0, 1, 257, 0, 32, RP_ERR_DATA, "tensor 'blk.w' needs bytes "},
        {0, 1, 256, 1 << 20, 32, RP_ERR_DATA, "tensor 'blk.w' needs bytes "},
        {0, 1, 256, UINT64_MAX - 31, 32, RP_ERR_DATA, "tensor 'blk.w' needs bytes "},
        {0, 1ULL << 33, 1ULL << 33, 0, 32, RP_ERR_DATA, "has more than 2^64 elements"},
        {28, 1ULL << 31, 1ULL << 31, 0, 32, RP_ERR_DATA, "has more than 2^64 bytes"},
        {0, 1, 256, 0, 48, RP_ERR_DATA, "an alignment of 48, which is no power of two"},
        {0, 1, 256, 0, 0, RP_ERR_DATA, "an alignment of 0, which is no power of two"},
        {0, 1, 256, 0, 32, RP_OK, NULL},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        struct out out = {RP_TEXT_INIT, 3, false};
        begin(&out, 1, 1);
        put_u32(&out, "general.alignment", wrongs[i].alignment);
        put_tensor(&out, "blk.w", wrongs[i].type, wrongs[i].rows, wrongs[i].columns,
                   wrongs[i].offset);
        put_data(&out, 1024);
        assert_status(read_out(&out, &facts, &err), wrongs[i].status);
        if (!wrongs[i].says) continue;
        assert_says(err.message, wrongs[i].says);
        assert_says(err.message, "'test.gguf'");
        assert_null(facts.format); /* untouched */
    }
}

static void tensors_that_overlap_are_named(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, 3, 0);
    put_tensor(&out, "third", 0, 1, 8, 96);
    put_tensor(&out, "first", 0, 1, 16, 0);
    put_tensor(&out, "second", 0, 1, 9, 64);
    put_data(&out, 128);
    assert_status(read_out(&out, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "tensors 'second' and 'third' overlap at byte ");
}

static void what_is_no_gguf_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        rp_status status;
        const char *says;
    } others[] = {
        {"", 0, RP_ERR_DATA, "'test.gguf': the header needs 4 bytes at byte 0, 0 are left"},
        {"GGU", 3, RP_ERR_DATA, "the header needs 4 bytes"},
        {"ggml\3\0\0\0", 8, RP_ERR_DATA, "does not begin with 'GGUF'"},
        {"GGUF\0\0\0\0", 8, RP_ERR_UNSUPPORTED, "is GGUF version 0, known are 1 to 3"},
        {"GGUF\4\0\0\0", 8, RP_ERR_UNSUPPORTED, "is GGUF version 4"},
        {"GGUF\0\0\0\4", 8, RP_ERR_UNSUPPORTED, "is GGUF version 4"},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        assert_status(read_bytes(others[i].bytes, others[i].length, &facts, &err),
                      others[i].status);
        assert_says(err.message, others[i].says);
    }
}

static void a_file_cut_at_any_byte_is_refused(void **state) {
    (void)state;
    struct out out = {RP_TEXT_INIT, 3, false};
    put_model(&out);
    for (size_t length = 0; length < out.text.length; length++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_status status = read_bytes(out.text.bytes, length, &facts, &err);
        if (status != RP_ERR_DATA) fail_msg("%zu bytes: %s", length, rp_status_name(status));
    }
    rp_text_fini(&out.text);
}

static void counts_that_lie_cost_nothing(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, UINT64_MAX, 0);
    assert_status(read_out(&out, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "the table of tensors needs 8 bytes");
    out = (struct out){RP_TEXT_INIT, 3, false};
    begin(&out, 0, UINT64_MAX);
    assert_status(read_out(&out, &facts, &err), RP_ERR_DATA);
    static const struct {
        uint64_t type;
        uint64_t count;
    } arrays[] = {{STRING, UINT64_MAX}, {F64, UINT64_MAX}, {F64, 1ULL << 61}, {ARRAY, 1ULL << 50}};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        out = (struct out){RP_TEXT_INIT, 3, false};
        begin(&out, 0, 1);
        put_key(&out, "a", ARRAY);
        put(&out, arrays[i].type, 4);
        put(&out, arrays[i].count, 8);
        assert_status(read_out(&out, &facts, &err), RP_ERR_DATA);
    }
    out = (struct out){RP_TEXT_INIT, 3, false};
    begin(&out, 0, 1);
    put_key(&out, "a", 13);
    assert_status(read_out(&out, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "a value of type 13");
}

static void arrays_within_arrays_have_a_limit(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, 0, 1);
    put_key(&out, "a", ARRAY);
    for (int i = 0; i < 100000; i++) {
        put(&out, ARRAY, 4);
        put(&out, 1, 8);
    }
    assert_status(read_out(&out, &facts, &err), RP_ERR_LIMIT);
    assert_says(err.message, "arrays within arrays");
}

/* ---- on disk ---- */

static char folder[] = "/tmp/rp-gguf-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static const char *path_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_out(struct out *out, const char *name, uint64_t size) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, out->text.bytes, out->text.length), out->text.length);
    if (size) assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
    rp_text_fini(&out->text);
}

static rp_status read_path(const char *name, rp_model_facts *facts, rp_error *err) {
    struct rp_source source;
    char path[512];
    snprintf(path, sizeof path, "%s", path_of(name));
    assert_int_equal(rp_source_open(path, &source, err), RP_OK);
    rp_facts_init(facts);
    rp_status status = rp_gguf_read(&source, facts, err);
    rp_source_close(&source);
    return status;
}

/* Of this thread's work: what else the machine does is no part of it. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void a_file_of_100_gb_is_read_at_once(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, 1, 2);
    put_text(&out, "general.architecture", "llama");
    put_key(&out, "tokenizer.ggml.scores", ARRAY);
    put(&out, F32, 4);
    put(&out, 0, 8);
    put_tensor(&out, "w", 1, 1 << 18, 190000, 0);
    uint64_t bytes = (1ULL << 18) * 190000 * 2;
    write_out(&out, "big.gguf", bytes + 4096);
    double began = seconds();
    assert_ok(read_path("big.gguf", &facts, &err));
    assert_true(seconds() - began < 0.1);
    assert_int_equal(facts.weights_bytes, bytes);
    unlink(path_of("big.gguf"));
}

static void metadata_without_end_meet_the_limit(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct out out = {RP_TEXT_INIT, 3, false};
    struct out end = {RP_TEXT_INIT, 3, false};
    uint64_t passed_bytes = 255ULL << 20; /* of one array, which costs nothing */
    begin(&out, 0, 2);
    put_key(&out, "bytes", ARRAY);
    put(&out, U8, 4);
    put(&out, passed_bytes, 8);
    off_t end_offset = (off_t)(out.text.length + passed_bytes);
    put_key(&end, "strings", ARRAY);
    put(&end, STRING, 4);
    put(&end, 1ULL << 40, 8); /* empty ones, of which the hole in the file has enough */
    write_out(&out, "hole.gguf", 100ULL << 30);
    int fd = open(path_of("hole.gguf"), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, end.text.bytes, end.text.length, end_offset), end.text.length);
    close(fd);
    rp_text_fini(&end.text);
    assert_status(read_path("hole.gguf", &facts, &err), RP_ERR_LIMIT);
    assert_says(err.message, "the metadata goes beyond byte 268435456");
    unlink(path_of("hole.gguf"));
}

/* A part in the place of `number` that says it is `said`. */
static void put_part(int number, int said, int count, int tensors) {
    char name[64];
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, 1, number ? 3 : 5);
    if (number == 0) {
        put_text(&out, "general.architecture", "llama");
        put_u32(&out, "general.file_type", 18);
    }
    put_key(&out, "split.no", U16);
    put(&out, (uint64_t)said, 2);
    put_key(&out, "split.count", U16);
    put(&out, (uint64_t)count, 2);
    put_key(&out, "split.tensors.count", I32);
    put(&out, (uint64_t)tensors, 4);
    put_tensor(&out, "w", 1, 1, 16, 0);
    put_data(&out, 32);
    snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", number + 1, 3);
    write_out(&out, name, 0);
}

static void any_part_of_a_split_model_stands_for_all(void **state) {
    (void)state;
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                        "m-00003-of-00003.gguf"};
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    uint64_t bytes = 0;
    for (int i = 0; i < 3; i++) {
        struct stat file;
        put_part(i, i, 3, 3);
        assert_int_equal(stat(path_of(names[i]), &file), 0);
        bytes += (uint64_t)file.st_size;
    }
    for (int i = 0; i < 3; i++) {
        assert_ok(read_path(names[i], &facts, &err));
        assert_int_equal(facts.tensor_count, 3);
        assert_int_equal(facts.weights_bytes, 96);
        assert_int_equal(facts.file_count, 3);
        assert_int_equal(facts.file_bytes, bytes);
        assert_string_equal(facts.architecture, "llama");
        assert_string_equal(facts.quantization, "Q6_K");
        assert_int_equal(facts.classification.family, RP_FAMILY_TEXT_GENERATION);
    }
    put_part(1, 2, 3, 3);
    assert_status(read_path(names[0], &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "m-00002-of-00003.gguf' says it is part 3 of 3, not 2 of 3");
    put_part(1, 1, 4, 3);
    assert_status(read_path(names[0], &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "m-00002-of-00003.gguf' says it is part 2 of 4, not 2 of 3");
    for (int i = 0; i < 3; i++) {
        put_part(i, i, 3, 5);
    }
    assert_status(read_path(names[0], &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "3 tensors in all parts, they say there are 5");
    unlink(path_of(names[1]));
    assert_status(read_path(names[2], &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "m-00002-of-00003.gguf' is missing");
    char first[512];
    snprintf(first, sizeof first, "%s", path_of(names[0]));
    assert_int_equal(rename(first, path_of("alone.gguf")), 0);
    assert_status(read_path("alone.gguf", &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "part 1 of 3: its name does not end in '-00001-of-00003.gguf'");
    unlink(path_of("alone.gguf"));
    unlink(path_of(names[2]));
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    struct out out = {RP_TEXT_INIT, 3, false};
    begin(&out, 200, 0);
    for (uint64_t i = 0; i < 200; i++) {
        put_tensor(&out, "w", 0, 1, 8, i * 32);
    }
    put_data(&out, (size_t)200 * 32);
    int64_t before = rp_memory_live_count();
    uint64_t n = 1;
    for (;; n++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_memory_fail_at(n);
        rp_status status = read_bytes(out.text.bytes, out.text.length, &facts, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            break;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
        assert_says(err.message, "no memory for the 200 tensors of 'test.gguf'");
    }
    assert_int_equal(n, 4); /* 64, 128, 256 rows */
    rp_text_fini(&out.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_types_is_whole),
        cmocka_unit_test(blocks_have_the_bits_that_their_type_says),
        cmocka_unit_test(a_model_is_read_field_by_field),
        cmocka_unit_test(what_a_configuration_said_stays),
        cmocka_unit_test(figures_before_the_architecture_are_read_too),
        cmocka_unit_test(what_pools_its_output_is_an_embedding),
        cmocka_unit_test(an_architecture_that_nobody_knows_generates_text_if_it_has_tokens),
        cmocka_unit_test(the_type_of_most_bytes_stands_for_a_missing_scheme),
        cmocka_unit_test(a_negative_or_huge_figure_is_not_known),
        cmocka_unit_test(each_wrong_thing_is_named),
        cmocka_unit_test(tensors_that_overlap_are_named),
        cmocka_unit_test(what_is_no_gguf_is_refused),
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(counts_that_lie_cost_nothing),
        cmocka_unit_test(arrays_within_arrays_have_a_limit),
        cmocka_unit_test(a_file_of_100_gb_is_read_at_once),
        cmocka_unit_test(metadata_without_end_meet_the_limit),
        cmocka_unit_test(any_part_of_a_split_model_stands_for_all),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
