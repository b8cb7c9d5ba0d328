/* SPDX-License-Identifier: Apache-2.0 */
/* What it costs to tell a model's family, size and need from its name. */
#include "base/clock.h"
#include "base/status.h"
#include "bench/summary.h"

#include <resourcepool/bench.h>
#include <resourcepool/facts.h>

enum { TIMES = 100, NAMES = 24 };

/* Short and long ones of every family, and some that nobody knows. */
static const char *const names[NAMES] = {
    "bert-base-uncased",
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
    "BAAI/bge-reranker-v2-m3",
    "dslim/bert-base-NER",
    "gpt2",
    "meta-llama/Llama-2-70b-chat-hf",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "google/flan-t5-xxl",
    "Helsinki-NLP/opus-mt-en-de",
    "google/vit-base-patch16-224",
    "timm/convnextv2_base.fcmae_ft_in22k_in1k_384",
    "facebook/detr-resnet-50",
    "nvidia/segformer-b0-finetuned-ade-512-512",
    "openai/whisper-large-v3",
    "facebook/wav2vec2-base-960h",
    "kan-bayashi/ljspeech_joint_finetune_conformer_fastspeech2_hifigan",
    "openai/clip-vit-large-patch14",
    "llava-hf/llava-1.5-7b-hf",
    "Qwen/Qwen2.5-VL-72B-Instruct-AWQ",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "acme/frobnicator-13b-q4_k_m",
    "my-model",
    "acme/quibblewock",
};

static void classify_name(const char *name) {
    rp_classification found;
    rp_classify_name(name, &found);
    __asm__ volatile("" : : "m"(found));
}

static void tell_facts(const char *name) {
    rp_model_facts facts;
    rp_model_facts_of_name(name, NULL, &facts);
    __asm__ volatile("" : : "m"(facts));
}

static void tell_need(const char *name) {
    static rp_model_facts facts;
    rp_memory_need need;
    if (facts.size == 0) rp_model_facts_of_name(name, NULL, &facts);
    rp_model_memory_need(&facts, "fp16", NULL, &need);
    __asm__ volatile("" : : "m"(need));
}

static void classify_class(const char *name) {
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    rp_classification found;
    hints.name = name;
    hints.model_type = "bert";
    hints.architecture = "BertForMaskedLM";
    rp_classify(&hints, &found);
    __asm__ volatile("" : : "m"(found));
}

/* Microseconds of one call, over all names. */
static double time_calls(void (*call)(const char *name)) {
    int64_t start_ns = rp_clock_ns();
    for (int i = 0; i < TIMES; i++) {
        for (int j = 0; j < NAMES; j++) {
            call(names[j]);
        }
    }
    return rp_elapsed_ms(start_ns, rp_clock_ns()) * 1e3 / (TIMES * NAMES);
}

rp_status rp_bench_classify(rp_measure *rows, size_t rounds, rp_error *err) {
    static const struct {
        const char *name;
        void (*call)(const char *name);
    } ways[RP_BENCH_CLASSIFY_ROWS] = {
        {"classify a name (baseline: the promised 1 us)", classify_name},
        {"classify a class", classify_class},
        {"family, size and layers of a name", tell_facts},
        {"memory need of known facts", tell_need},
    };
    if (rounds < 3 || rounds > RP_BENCH_ROUNDS_MAX) {
        return rp_fail(err, RP_ERR_ARGUMENT, "%zu rounds: it takes 3 to %d", rounds,
                       RP_BENCH_ROUNDS_MAX);
    }
    double promised[RP_BENCH_ROUNDS_MAX];
    double us[RP_BENCH_ROUNDS_MAX];
    for (size_t way = 0; way < RP_BENCH_CLASSIFY_ROWS; way++) {
        for (size_t round = 0; round < rounds; round++) {
            us[round] = time_calls(ways[way].call);
            promised[round] = 1;
        }
        rows[way] = rp_bench_summarise(ways[way].name, "us", us, promised, rounds);
    }
    return RP_OK;
}
