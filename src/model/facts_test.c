/* SPDX-License-Identifier: Apache-2.0 */
#include "model/facts.h"

#include "base/limits.h"
#include "base/memory.h"
#include "model/folder.h"

#include "../../tests/folder.h"
#include "../../tests/json_heap.h"
#include "../../tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- folders to read ---- */

static char top[64];    /* of all of this program's files */
static char folder[96]; /* of one test                    */

static const char *in(const char *name) {
    static char path[4][320];
    static unsigned next;
    char *text = path[next++ % 4];
    snprintf(text, sizeof path[0], "%s/%s", folder, name);
    return text;
}

static void make_folder(const char *name) {
    if (mkdir(in(name), 0700) != 0) fail_msg("cannot make '%s'", in(name));
}

static int new_folder(void **state) {
    static int number;
    (void)state;
    snprintf(folder, sizeof folder, "%s/plain-%d", top, number++);
    return mkdir(folder, 0700);
}

static int make_top(void **state) {
    (void)state;
    snprintf(top, sizeof top, "/tmp/resourcepool-test-XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state) {
    (void)state;
    return folder_remove(top);
}

/* Write a text, with ' for ". */
static void write_text(const char *name, const char *text) {
    FILE *out = fopen(in(name), "w");
    assert_non_null(out);
    for (const char *at = text; *at; at++) {
        fputc(*at == '\'' ? '"' : *at, out);
    }
    assert_int_equal(fclose(out), 0);
}

/* A file with one tensor of 32-bit floats; its data is a hole, which takes no room on the disk. */
static void write_tensor(const char *name, const char *tensor, uint64_t elements) {
    char table[200];
    snprintf(table, sizeof table,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":[%llu],\"data_offsets\":[0,%llu]}}", tensor,
             (unsigned long long)elements, (unsigned long long)elements * 4);
    size_t length = strlen(table);
    unsigned char raw[8];
    for (size_t i = 0; i < sizeof raw; i++) {
        raw[i] = (unsigned char)((uint64_t)length >> 8 * i);
    }
    FILE *out = fopen(in(name), "w");
    assert_non_null(out);
    assert_int_equal(fwrite(raw, 1, 8, out), 8);
    assert_int_equal(fwrite(table, 1, length, out), length);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(truncate(in(name), (off_t)(8 + length + elements * 4)), 0);
}

static const char bert[] = "{'architectures':['BertForMaskedLM'],'model_type':'bert',"
                           "'hidden_size':768,'num_hidden_layers':12,'num_attention_heads':12,"
                           "'intermediate_size':3072,'vocab_size':30522,"
                           "'max_position_embeddings':512,'type_vocab_size':2}";

static rp_status read_facts(const char *model, rp_model_facts *facts, rp_error *err) {
    return rp_model_facts_read(model, NULL, facts, err);
}

static rp_family family(const rp_model_facts *facts) {
    return facts->classification.family;
}

/* ---- names and paths ---- */

static void a_name_is_classified_as_one(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    assert_ok(read_facts("openai/whisper-tiny", &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_AUDIO);
    assert_string_equal(facts.classification.source, "name");
    assert_null(facts.format);
    assert_int_equal(facts.file_bytes, RP_UNKNOWN_U64);
}

static void what_looks_like_a_path_must_be_there(void **state) {
    (void)state;
    static const char *const paths[] = {
        "/nowhere/model", "./nowhere",         "../nowhere/x",      "nowhere/",
        "x.safetensors",  "org/x.safetensors", "pytorch_model.bin", "m.safetensors.index.json"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts = {.size = 7};
        assert_status(read_facts(paths[i], &facts, &err), RP_ERR_NOT_FOUND);
        assert_says(err.message, paths[i]);
        assert_says(err.hint, "give a folder or a file that is there");
        assert_int_equal(facts.size, 7);
    }
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    assert_status(read_facts("", &facts, &err), RP_ERR_ARGUMENT);
    assert_status(read_facts(NULL, &facts, &err), RP_ERR_ARGUMENT);
    assert_status(read_facts("x", NULL, &err), RP_ERR_ARGUMENT);
}

static void what_is_no_model_file_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("notes.txt", "hello");
    assert_status(read_facts(in("notes.txt"), &facts, &err), RP_ERR_UNSUPPORTED);
    write_text("pytorch_model.bin", "hello");
    assert_status(read_facts(in("pytorch_model.bin"), &facts, &err), RP_ERR_UNSUPPORTED);
    assert_int_equal(mkfifo(in("model.safetensors"), 0600), 0);
    assert_status(read_facts(in("model.safetensors"), &facts, &err), RP_ERR_DATA);
}

static void a_folder_without_a_model_has_its_name_only(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    make_folder("whisper-tiny");
    assert_ok(read_facts(in("whisper-tiny/"), &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_AUDIO);
    assert_string_equal(facts.classification.source, "name");
    assert_null(facts.format);
    assert_int_equal(facts.parameter_method, RP_FACTS_NAME);
    assert_int_equal(facts.weights_bytes, RP_UNKNOWN_U64);
}

static void a_path_is_named_by_its_folder_or_its_file(void **state) {
    (void)state;
    static const char *const paths[] = {".",
                                        "./",
                                        "./.",
                                        "below/..",
                                        "../whisper-tiny",
                                        "../whisper-tiny//",
                                        "model.safetensors",
                                        "./model.safetensors",
                                        "below/whisper-base.safetensors",
                                        "../models--openai--whisper-tiny/model.safetensors"};
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(here >= 0);
    make_folder("whisper-tiny");
    make_folder("whisper-tiny/below");
    make_folder("models--openai--whisper-tiny");
    write_tensor("whisper-tiny/model.safetensors", "a", 1);
    write_tensor("whisper-tiny/below/whisper-base.safetensors", "a", 1);
    write_tensor("models--openai--whisper-tiny/model.safetensors", "a", 1);
    assert_int_equal(chdir(in("whisper-tiny")), 0);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        assert_ok(read_facts(paths[i], &facts, &err));
        if (family(&facts) != RP_FAMILY_AUDIO) {
            fail_msg("%s: %s", paths[i], facts.classification.evidence);
        }
        assert_string_equal(facts.format, "safetensors");
    }
    assert_int_equal(fchdir(here), 0);
    close(here);
}

/* ---- configuration and weights together ---- */

static void a_configuration_alone_is_enough_to_count(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("config.json", bert);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_EMBEDDING);
    assert_string_equal(facts.classification.source, "architecture");
    assert_int_equal(facts.parameter_count, 109514298);
    assert_true(facts.parameter_count_min < 109514298);
    assert_int_equal(facts.parameter_method, RP_FACTS_CONFIG);
    assert_int_equal(facts.weights_bytes, RP_UNKNOWN_U64);
    assert_null(facts.format);
    assert_string_equal(facts.task, "fill-mask");
}

static void weights_win_over_the_configuration(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("config.json", bert);
    write_tensor("model.safetensors", "a", 1000);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.parameter_count, 1000);
    assert_int_equal(facts.parameter_count_min, 1000);
    assert_int_equal(facts.parameter_method, RP_FACTS_FILE);
    assert_int_equal(facts.weights_bytes, 4000);
    assert_int_equal(facts.file_count, 1);
    assert_int_equal(facts.layer_count, 12);
    /* The file alone takes what stands beside it. */
    rp_model_facts alone;
    assert_ok(read_facts(in("model.safetensors"), &alone, &err));
    assert_string_equal(alone.architecture, "BertForMaskedLM");
    assert_int_equal(alone.parameter_count, 1000);
    assert_int_equal(alone.file_bytes, facts.file_bytes);
}

static void a_hundred_gigabytes_are_answered_at_once(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    struct timespec begin;
    struct timespec end;
    const uint64_t elements = 25ULL << 30;
    write_tensor("model.safetensors", "a", elements);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_ok(read_facts(folder, &facts, &err));
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_int_equal(facts.weights_bytes, elements * 4);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    assert_true(seconds < 0.5); /* it takes below a millisecond; reading it would take a minute */
}

/* ---- which files count ---- */

static void the_file_for_an_engine_is_the_usual_or_the_only_one(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    struct rp_path file;
    assert_status(rp_folder_find_file(folder, "onnx", &file, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "the folder has no '*.onnx'");
    make_folder("onnx");
    write_text("onnx/model_quantized.onnx", "");
    assert_ok(rp_folder_find_file(folder, "onnx", &file, &err));
    assert_string_equal(file.text, in("onnx/model_quantized.onnx"));
    write_text("onnx/decoder.onnx", "");
    assert_status(rp_folder_find_file(folder, "onnx", &file, &err), RP_ERR_UNSUPPORTED);
    assert_says(err.message, "of its 2 files '*.onnx' none is 'model.onnx'");
    write_text("onnx/model.onnx", "");
    assert_ok(rp_folder_find_file(folder, "onnx", &file, &err));
    assert_string_equal(file.text, in("onnx/model.onnx"));
    write_text("model.onnx", "");
    make_folder("large.onnx"); /* no file */
    assert_ok(rp_folder_find_file(folder, "onnx", &file, &err));
    assert_string_equal(file.text, in("model.onnx"));
    assert_status(rp_folder_find_file(folder, "safetensors", &file, &err), RP_ERR_UNSUPPORTED);
    assert_status(rp_folder_find_file(in("nowhere"), "onnx", &file, &err), RP_ERR_NOT_FOUND);
    for (uint64_t n = 1;; n++) {
        rp_memory_fail_at(n);
        rp_status status = rp_folder_find_file(folder, "onnx", &file, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(status, pending ? RP_OK : RP_ERR_MEMORY);
        if (pending) break;
    }
}

static void an_index_of_too_many_files_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    for (int more = 0; more < 2; more++) {
        FILE *out = fopen(in("model.safetensors.index.json"), "w");
        assert_non_null(out);
        fputs("{\"weight_map\":{", out);
        for (int i = 0; i < RP_LIMIT_MODEL_FILES + more; i++) {
            fprintf(out, "%s\"t%d\":\"%d.safetensors\"", i ? "," : "", i, i);
        }
        fputs("}}", out);
        assert_int_equal(fclose(out), 0);
        rp_status status = read_facts(folder, &facts, &err);
        if (!more) assert_int_not_equal(status, RP_ERR_LIMIT);
        if (more) assert_int_equal(status, RP_ERR_LIMIT);
    }
    assert_says(err.message, "names 8193 files, a model has at most 8192");
}

static void of_several_formats_one_is_chosen(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("pytorch_model.bin", "PK\3\4 and more");
    write_text("training_args.bin", "PK\3\4 and much more than the weights themselves");
    assert_ok(read_facts(folder, &facts, &err));
    assert_string_equal(facts.format, "pytorch");
    assert_int_equal(facts.file_bytes, 13);
    assert_int_equal(facts.file_count, 1);
    assert_int_equal(facts.weights_bytes, RP_UNKNOWN_U64);
    write_tensor("model.fp16.safetensors", "a", 50);
    write_tensor("model.safetensors", "a", 100);
    write_tensor("original.safetensors", "a", 300);
    assert_ok(read_facts(folder, &facts, &err));
    assert_string_equal(facts.format, "safetensors");
    assert_int_equal(facts.parameter_count, 100);
    /* Without the usual name, the largest. */
    assert_int_equal(unlink(in("model.safetensors")), 0);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.parameter_count, 300);
    assert_int_equal(facts.file_count, 1);
}

static void a_stranger_with_the_ending_of_weights_is_passed_over(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("data.bin", "0123456789, and more than the weights have");
    write_text("config.json", bert);
    assert_ok(read_facts(folder, &facts, &err));
    assert_null(facts.format);
    assert_int_equal(err.status, RP_OK);
    write_text("last.ckpt", "PK\3\4");
    assert_ok(read_facts(folder, &facts, &err));
    assert_string_equal(facts.format, "pytorch");
    assert_int_equal(facts.file_bytes, 4);
}

static void numbered_parts_are_one_model(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_tensor("model-00001-of-00003.safetensors", "a", 10);
    write_tensor("model-00002-of-00003.safetensors", "b", 20);
    write_tensor("model-00003-of-00003.safetensors", "c", 30);
    write_tensor("other.safetensors", "d", 40);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.parameter_count, 60);
    assert_int_equal(facts.file_count, 3);
    assert_int_equal(unlink(in("model-00002-of-00003.safetensors")), 0);
    assert_int_equal(unlink(in("other.safetensors")), 0);
    assert_status(read_facts(folder, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "part 2 of 3 is missing");
}

static void an_index_names_the_parts(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_tensor("model-00001-of-00002.safetensors", "a", 10);
    write_tensor("model-00002-of-00002.safetensors", "b", 20);
    write_tensor("consolidated.safetensors", "c", 1000);
    write_text(
        "model.safetensors.index.json",
        "{'metadata':{'total_size':120},'weight_map':{'a':'model-00001-of-00002.safetensors',"
        "'b':'model-00002-of-00002.safetensors'}}");
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.parameter_count, 30);
    assert_int_equal(facts.file_count, 2);
    rp_model_facts by_index;
    assert_ok(read_facts(in("model.safetensors.index.json"), &by_index, &err));
    assert_int_equal(by_index.file_bytes, facts.file_bytes);
    assert_int_equal(unlink(in("model-00002-of-00002.safetensors")), 0);
    assert_status(read_facts(folder, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "'model-00002-of-00002.safetensors' is missing");
}

static void an_index_of_pytorch_gives_sizes(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("one.bin", "PK\3\4....");
    write_text("two.bin", "PK\3\4....");
    write_text("pytorch_model.bin.index.json", "{'metadata':{'total_size':12},'weight_map':{"
                                               "'a':'one.bin','b':'two.bin'}}");
    assert_ok(read_facts(folder, &facts, &err));
    assert_string_equal(facts.format, "pytorch");
    assert_int_equal(facts.file_bytes, 16);
    assert_int_equal(facts.file_count, 2);
    assert_int_equal(facts.weights_bytes, 12);
    assert_int_equal(facts.weights_method, RP_FACTS_CONFIG);
    assert_int_equal(facts.parameter_count, RP_UNKNOWN_U64);
}

static void a_snapshot_of_links_is_read(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    make_folder("models--org--some-bert");
    make_folder("models--org--some-bert/refs");
    make_folder("models--org--some-bert/blobs");
    make_folder("models--org--some-bert/snapshots");
    make_folder("models--org--some-bert/snapshots/0123abcd");
    write_text("models--org--some-bert/refs/main", "0123abcd");
    write_tensor("models--org--some-bert/blobs/1111", "a", 70);
    write_text("models--org--some-bert/blobs/2222", bert);
    const char *weights = "models--org--some-bert/snapshots/0123abcd/model.safetensors";
    assert_int_equal(symlink("../../blobs/1111", in(weights)), 0);
    assert_int_equal(
        symlink("../../blobs/2222", in("models--org--some-bert/snapshots/0123abcd/config.json")),
        0);
    static const char *const ways[] = {"models--org--some-bert/snapshots/0123abcd",
                                       "models--org--some-bert"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        assert_ok(read_facts(in(ways[i]), &facts, &err));
        assert_int_equal(facts.parameter_count, 70);
        assert_string_equal(facts.model_type, "bert");
    }
    /* A file of the store, which has no ending. */
    assert_ok(read_facts(in("models--org--some-bert/blobs/1111"), &facts, &err));
    assert_string_equal(facts.format, "safetensors");
    assert_says(facts.classification.evidence, "'bert'");
    /* A link that leads nowhere is told, not passed over. */
    assert_int_equal(unlink(in("models--org--some-bert/blobs/1111")), 0);
    assert_status(read_facts(in(ways[0]), &facts, &err), RP_ERR_NOT_FOUND);
    assert_says(err.message, "model.safetensors");
}

static void a_pipeline_is_the_sum_of_its_parts(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("model_index.json", "{'_class_name':'StableDiffusionPipeline'}");
    make_folder("unet");
    make_folder("vae");
    make_folder("tokenizer");
    write_tensor("unet/diffusion_pytorch_model.safetensors", "a", 500);
    write_tensor("vae/diffusion_pytorch_model.safetensors", "a", 50);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.parameter_count, 550);
    assert_int_equal(facts.file_count, 2);
    assert_int_equal(family(&facts), RP_FAMILY_MULTIMODAL);
    assert_string_equal(facts.classification.source, "task");
}

/* ---- what files say of the family ---- */

static void the_modules_make_a_sentence_encoder(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("config.json", "{'architectures':['GPTNeoForCausalLM'],'model_type':'gpt_neo'}");
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_TEXT_GENERATION);
    write_text("modules.json", "[{'path':'','type':'sentence_transformers.models.Transformer'}]");
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_EMBEDDING);
    assert_int_equal(facts.classification.subfamily, RP_SUBFAMILY_SENTENCE_TRANSFORMER);
    assert_string_equal(facts.classification.source, "files");
}

static void an_encoder_below_its_modules_is_found(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("modules.json",
               "[{'path':'0_Transformer','type':'sentence_transformers.models.Transformer'}]");
    make_folder("0_Transformer");
    write_text("0_Transformer/config.json", bert);
    write_tensor("0_Transformer/model.safetensors", "a", 9);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.parameter_count, 9);
    assert_string_equal(facts.model_type, "bert");
    assert_int_equal(facts.classification.subfamily, RP_SUBFAMILY_SENTENCE_TRANSFORMER);
}

static void a_chat_template_makes_a_chat_model_of_a_causal_one(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("config.json", "{'architectures':['LlamaForCausalLM'],'model_type':'llama'}");
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.classification.subfamily, RP_SUBFAMILY_CAUSAL_LM);
    write_text("tokenizer_config.json", "{'chat_template':'{{ messages }}'}");
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.classification.subfamily, RP_SUBFAMILY_CHAT_MODEL);
    write_text("config.json", bert);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.classification.subfamily, RP_SUBFAMILY_MASKED_LM);
    assert_int_equal(unlink(in("tokenizer_config.json")), 0);
    write_text("config.json", "{'architectures':['LlamaForCausalLM'],'model_type':'llama'}");
    write_text("chat_template.jinja", "{{ messages }}");
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(facts.classification.subfamily, RP_SUBFAMILY_CHAT_MODEL);
}

static void an_adapter_says_what_it_belongs_to(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("adapter_config.json",
               "{'base_model_name_or_path':'meta-llama/Llama-2-7b','task_type':'CAUSAL_LM'}");
    write_tensor("adapter_model.safetensors", "lora_A", 12);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_TEXT_GENERATION);
    assert_int_equal(facts.parameter_count, 12);
    assert_says(facts.classification.evidence, "an adapter of 'meta-llama/Llama-2-7b'");
}

static void a_configuration_of_timm_is_of_images(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("config.json", "{'architecture':'nobody','pretrained_cfg':{'input_size':[3,8,8]}}");
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_VISION);
    assert_string_equal(facts.classification.source, "task");
}

static void files_stand_above_hints_and_hints_above_names(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    const char *tasks[] = {"image-classification"};
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    hints.model_type = "whisper";
    assert_ok(rp_model_facts_read(folder, &hints, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_AUDIO);
    write_text("config.json", bert);
    assert_ok(rp_model_facts_read(folder, &hints, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_EMBEDDING);
    hints = (rp_model_hints)RP_MODEL_HINTS_INIT;
    hints.tasks = tasks;
    hints.task_count = 1;
    assert_ok(rp_model_facts_read(folder, &hints, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_EMBEDDING);
    write_text("config.json", "{'hidden_size':16}");
    write_text("generation_config.json", "{}");
    assert_ok(rp_model_facts_read(folder, &hints, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_VISION);
    assert_ok(read_facts(folder, &facts, &err));
    assert_int_equal(family(&facts), RP_FAMILY_TEXT_GENERATION);
}

/* ---- damage ---- */

static void damage_is_told_where_it_matters(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    write_text("config.json", bert);
    write_text("tokenizer_config.json", "{");
    write_text("modules.json", "{'a':");
    assert_ok(read_facts(folder, &facts, &err));
    write_text("config.json", "{'a':");
    assert_status(read_facts(folder, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "config.json");
    write_text("config.json", bert);
    write_text("model.safetensors", "version https://example/spec/v1\noid sha256:0\nsize 1\n");
    assert_status(read_facts(folder, &facts, &err), RP_ERR_DATA);
    assert_says(err.hint, "git lfs pull");
    write_text("model.safetensors", "<html>not found, sorry</html>");
    assert_status(read_facts(folder, &facts, &err), RP_ERR_DATA);
    assert_says(err.message, "model.safetensors");
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    write_text("config.json", bert);
    write_text("modules.json", "[{'path':'','type':'sentence_transformers.models.Transformer'}]");
    write_tensor("model-00001-of-00002.safetensors", "a", 10);
    write_tensor("model-00002-of-00002.safetensors", "b", 20);
    int64_t before = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        rp_model_facts facts;
        rp_memory_fail_at(n);
        rp_status status = read_facts(folder, &facts, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        assert_int_equal(rp_memory_live_count(), before);
        if (pending) {
            assert_int_equal(status, RP_OK);
            assert_true(n > 60);
            return;
        }
        /* jansson takes a text that it has no memory for as damaged. */
        assert_true(status == RP_ERR_MEMORY || status == RP_ERR_DATA || status == RP_OK);
        assert_int_equal(err.status, status);
    }
}

/* What only the name of a folder tells must not look as if its files did. */
static void a_folder_without_a_model_says_so(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    make_folder("gpt2");
    assert_ok(rp_model_facts_read(in("gpt2"), NULL, &facts, &err));
    assert_int_equal(facts.classification.family, RP_FAMILY_TEXT_GENERATION);
    assert_says(facts.classification.evidence, "the folder has no files of a model");
    write_text("gpt2/config.json", "{'architectures': ['BertForMaskedLM']}");
    assert_ok(rp_model_facts_read(in("gpt2"), NULL, &facts, &err));
    assert_null(strstr(facts.classification.evidence, "no files"));
}

static void an_empty_name_is_refused(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    rp_model_facts facts;
    assert_status(rp_model_facts_read("", NULL, &facts, &err), RP_ERR_ARGUMENT);
    assert_says(err.message, "the name of the model is empty");
}

static void methods_have_names(void **state) {
    (void)state;
    assert_string_equal(rp_facts_method_name(RP_FACTS_UNKNOWN), "unknown");
    assert_string_equal(rp_facts_method_name(RP_FACTS_FILE), "file");
    assert_null(rp_facts_method_name((rp_facts_method)9));
}

int main(void) {
    json_heap_is_ours();
    json_object_seed(1);
#define IN_FOLDER(test) cmocka_unit_test_setup(test, new_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_have_names),
        cmocka_unit_test(an_empty_name_is_refused),
        IN_FOLDER(a_folder_without_a_model_says_so),
        cmocka_unit_test(a_name_is_classified_as_one),
        cmocka_unit_test(what_looks_like_a_path_must_be_there),
        IN_FOLDER(what_is_no_model_file_is_refused),
        IN_FOLDER(a_folder_without_a_model_has_its_name_only),
        IN_FOLDER(a_path_is_named_by_its_folder_or_its_file),
        IN_FOLDER(a_configuration_alone_is_enough_to_count),
        IN_FOLDER(weights_win_over_the_configuration),
        IN_FOLDER(a_hundred_gigabytes_are_answered_at_once),
        IN_FOLDER(the_file_for_an_engine_is_the_usual_or_the_only_one),
        IN_FOLDER(an_index_of_too_many_files_is_refused),
        IN_FOLDER(of_several_formats_one_is_chosen),
        IN_FOLDER(a_stranger_with_the_ending_of_weights_is_passed_over),
        IN_FOLDER(numbered_parts_are_one_model),
        IN_FOLDER(an_index_names_the_parts),
        IN_FOLDER(an_index_of_pytorch_gives_sizes),
        IN_FOLDER(a_snapshot_of_links_is_read),
        IN_FOLDER(a_pipeline_is_the_sum_of_its_parts),
        IN_FOLDER(the_modules_make_a_sentence_encoder),
        IN_FOLDER(an_encoder_below_its_modules_is_found),
        IN_FOLDER(a_chat_template_makes_a_chat_model_of_a_causal_one),
        IN_FOLDER(an_adapter_says_what_it_belongs_to),
        IN_FOLDER(a_configuration_of_timm_is_of_images),
        IN_FOLDER(files_stand_above_hints_and_hints_above_names),
        IN_FOLDER(damage_is_told_where_it_matters),
        IN_FOLDER(every_allocation_may_fail),
    };
#undef IN_FOLDER
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
