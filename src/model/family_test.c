/* SPDX-License-Identifier: Apache-2.0 */
#include "model/family_tables.h"

#include "../../tests/test.h"

#include <resourcepool/classify.h>
#include <stdbool.h>
#include <stdio.h>

static rp_family family_of(const char *name) {
    rp_classification found;
    rp_classify_name(name, &found);
    return found.family;
}

static void known_parts_decide(void **state) {
    (void)state;
    static const struct {
        const char *name;
        rp_family family;
        const char *subfamily;
    } samples[] = {
        {"bert-base-uncased", RP_FAMILY_EMBEDDING, "masked_lm"},
        {"sentence-transformers/all-MiniLM-L6-v2", RP_FAMILY_EMBEDDING, "sentence_transformer"},
        {"dslim/bert-base-NER", RP_FAMILY_EMBEDDING, "token_classifier"},
        {"gpt2", RP_FAMILY_TEXT_GENERATION, "causal_lm"},
        {"google/flan-t5-base", RP_FAMILY_TEXT_GENERATION, "seq2seq"},
        {"facebook/detr-resnet-50", RP_FAMILY_VISION, "object_detector"},
        {"google/vit-base-patch16-224", RP_FAMILY_VISION, "image_classifier"},
        {"nvidia/segformer-b0", RP_FAMILY_VISION, "segmentation"},
        {"openai/whisper-tiny", RP_FAMILY_AUDIO, "speech_recognition"},
        {"facebook/hubert-base-ls960", RP_FAMILY_AUDIO, "speech_recognition"}, /* no bert */
        {"suno/bark", RP_FAMILY_AUDIO, "text_to_speech"},
        {"llava-hf/llava-1.5-7b-hf", RP_FAMILY_MULTIMODAL, "vision_language"},
        {"someone/vit-gpt2-image-captioning", RP_FAMILY_MULTIMODAL, "vision_language"},
        {"naver/donut-base", RP_FAMILY_MULTIMODAL, "document_qa"},
    };
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        rp_classification found;
        rp_classify_name(samples[i].name, &found);
        if (found.family != samples[i].family) {
            fail_msg("%s is %s", samples[i].name, rp_family_name(found.family));
        }
        assert_string_equal(rp_subfamily_name(found.subfamily), samples[i].subfamily);
        assert_true(found.confidence >= 0.5 && found.confidence <= 1);
        assert_string_equal(found.source, "name");
    }
}

static void words_begin_at_capitals(void **state) {
    (void)state;
    rp_classification found;
    rp_classify_name("tiny-random-XDetrForObjectDetection", &found);
    assert_int_equal(found.family, RP_FAMILY_VISION);
    assert_says(found.evidence, "'detr' (vision)");
    rp_classify_name("tiny-random-Xdetr", &found);
    assert_null(strstr(found.evidence, "detr"));
    assert_int_equal(family_of("someone/tiny-random-BertModel"), RP_FAMILY_EMBEDDING);
    assert_int_equal(family_of("HUBERT"), RP_FAMILY_AUDIO);
}

static bool is_one_of(const char *families, rp_family family) {
    const char *name = rp_family_name(family);
    const char *at = strstr(families, name);
    return at && (at == families || at[-1] == '|') &&
           (at[strlen(name)] == '\0' || at[strlen(name)] == '|');
}

/* The aim of the project, on names that were written down before any of the parts that know them.
 */
static void names_that_nothing_was_learnt_from_are_recognised(void **state) {
    (void)state;
    char line[512];
    int count = 0;
    int right = 0;
    int sure = 0;
    int sure_right = 0;
    FILE *file = fopen(SOURCE_ROOT "/tests/data/names_apart.tsv", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *families = strchr(line, '\t');
        if (line[0] == '#' || !families) continue;
        *families++ = '\0';
        rp_classification found;
        rp_classify_name(line, &found);
        bool is_right = is_one_of(families, found.family);
        count++;
        right += is_right;
        sure += found.confidence >= 0.9;
        sure_right += found.confidence >= 0.9 && is_right;
    }
    fclose(file);
    print_message("%d of %d right; of %d sure ones %d\n", right, count, sure, sure_right);
    assert_true(count >= 600);
    assert_true(right >= count * 0.97);
    assert_true(sure >= count * 0.7);
    assert_true(sure_right >= sure * 0.98);
}

static void subfamilies_are_known_by_name(void **state) {
    (void)state;
    assert_int_equal(rp_subfamily_of_name("document_qa"), RP_SUBFAMILY_DOCUMENT_QA);
    assert_int_equal(rp_subfamily_of_name("web_deployment"), RP_SUBFAMILY_WEB_DEPLOYMENT);
    assert_int_equal(rp_subfamily_of_name("nonesuch"), RP_SUBFAMILY_NONE);
    assert_int_equal(rp_subfamily_family(RP_SUBFAMILY_CHAT_MODEL), RP_FAMILY_TEXT_GENERATION);
    assert_int_equal(rp_subfamily_family(RP_SUBFAMILY_WEB_DEPLOYMENT), RP_FAMILY_UNKNOWN);
    assert_int_equal(rp_subfamily_family((rp_subfamily)99), RP_FAMILY_UNKNOWN);
    assert_int_equal(rp_family_of_name("vision"), RP_FAMILY_VISION);
    assert_int_equal(rp_family_of_name("visions"), RP_FAMILY_UNKNOWN);
}

static void separators_and_case_do_not_count(void **state) {
    (void)state;
    static const char *const names[] = {"PaliGemma-3B", "pali_gemma 3b", "google/paligemma.3b/"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(family_of(names[i]), RP_FAMILY_MULTIMODAL);
    }
}

static void a_name_that_says_nothing_is_unknown(void **state) {
    (void)state;
    static const char *const names[] = {"", "/", "asdfqwer", "my-model", "\xff\xfe", "////"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        rp_classification found;
        rp_classify_name(names[i], &found);
        assert_int_equal(found.family, RP_FAMILY_UNKNOWN);
        assert_int_equal(found.subfamily, RP_SUBFAMILY_NONE);
        assert_null(rp_subfamily_name(found.subfamily));
        assert_true(found.confidence < 0.5);
    }
}

static void a_very_long_name_is_read_as_far_as_it_goes(void **state) {
    (void)state;
    char name[4096];
    memset(name, 'x', sizeof name);
    memcpy(name, "whisper-", 8);
    name[sizeof name - 1] = '\0';
    assert_int_equal(family_of(name), RP_FAMILY_AUDIO);
}

static void the_class_comes_before_the_type_the_task_and_the_name(void **state) {
    (void)state;
    static const char *const tasks[] = {"feature-extraction", "image-classification"};
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    rp_classification found;
    hints.name = "openai/whisper-tiny";
    hints.tasks = tasks;
    hints.task_count = 2;
    rp_classify(&hints, &found);
    assert_int_equal(found.family, RP_FAMILY_VISION); /* the first task leaves it open */
    assert_string_equal(found.source, "task");
    static const char *const methods[] = {"transcribe"};
    hints.methods = methods;
    hints.method_count = 1;
    rp_classify(&hints, &found);
    assert_string_equal(found.source, "task");
    hints.model_type = "llama";
    rp_classify(&hints, &found);
    assert_int_equal(found.family, RP_FAMILY_TEXT_GENERATION);
    assert_string_equal(found.source, "model_type");
    hints.architecture = "LlamaForSequenceClassification";
    rp_classify(&hints, &found);
    assert_int_equal(found.family, RP_FAMILY_EMBEDDING);
    assert_string_equal(found.source, "architecture");
    assert_string_equal(found.evidence, "the class LlamaForSequenceClassification");
}

static rp_classification by_methods(const char *name, const char *method, const char *other) {
    const char *const methods[] = {"forward", method, other};
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    rp_classification found;
    hints.name = name;
    hints.methods = methods;
    hints.method_count = 3;
    rp_classify(&hints, &found);
    return found;
}

static void methods_count_where_little_else_is_known(void **state) {
    (void)state;
    rp_classification found = by_methods("my-model", "generate", "transcribe");
    assert_int_equal(found.family, RP_FAMILY_AUDIO);
    assert_string_equal(found.source, "method");
    assert_string_equal(found.evidence, "the method transcribe");
    /* Many kinds generate: the name knows better, where it knows. */
    assert_int_equal(by_methods("whisper-tiny", "generate", "save").family, RP_FAMILY_AUDIO);
    assert_int_equal(by_methods("my-model", "generate", "save").family, RP_FAMILY_TEXT_GENERATION);
    assert_true(by_methods("my-model", "generate", "save").confidence < 0.9);
    assert_int_equal(by_methods("my-model", "save", "load").family, RP_FAMILY_UNKNOWN);
}

/* A program that was compiled when there were no methods. */
static void hints_of_an_earlier_version_have_no_methods(void **state) {
    (void)state;
    static const char *const methods[] = {"transcribe"};
    rp_model_hints hints = RP_MODEL_HINTS_INIT;
    rp_classification found;
    hints.name = "my-model";
    hints.methods = methods;
    hints.method_count = 1;
    hints.size = offsetof(rp_model_hints, methods);
    rp_classify(&hints, &found);
    assert_string_equal(found.source, "name");
}

static void a_head_on_sound_or_images_is_of_its_body(void **state) {
    (void)state;
    static const struct {
        const char *architecture;
        rp_family family;
    } samples[] = {
        {"Wav2Vec2ForSequenceClassification", RP_FAMILY_AUDIO},
        {"TFBertForMaskedLM", RP_FAMILY_EMBEDDING},
        {"T5EncoderModel", RP_FAMILY_EMBEDDING},
        {"T5ForConditionalGeneration", RP_FAMILY_TEXT_GENERATION},
        {"WhisperForConditionalGeneration", RP_FAMILY_AUDIO},
        {"LlavaForConditionalGeneration", RP_FAMILY_MULTIMODAL},
        {"MusicgenForCausalLM", RP_FAMILY_AUDIO},
        {"ResNetBackbone", RP_FAMILY_VISION},
        {"RoFormerForMaskedLM", RP_FAMILY_EMBEDDING}, /* two "For" */
        {"Mask2FormerModel", RP_FAMILY_VISION},
        {"DPRContextEncoder", RP_FAMILY_EMBEDDING},
        {"CLIPTextModelWithProjection", RP_FAMILY_EMBEDDING},
        {"PerceiverForOpticalFlow", RP_FAMILY_VISION},
        {"LlavaLlamaForCausalLM", RP_FAMILY_MULTIMODAL},
        {"InternVLChatModel", RP_FAMILY_MULTIMODAL},
    };
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        rp_model_hints hints = RP_MODEL_HINTS_INIT;
        rp_classification found;
        hints.architecture = samples[i].architecture;
        rp_classify(&hints, &found);
        if (found.family != samples[i].family) {
            fail_msg("%s is %s", samples[i].architecture, rp_family_name(found.family));
        }
    }
}

static void the_tables_are_in_order(void **state) {
    (void)state;
    for (size_t i = 1; i < rp_model_type_count; i++) {
        assert_true(strcmp(rp_model_types[i - 1].name, rp_model_types[i].name) < 0);
    }
    for (int i = 0; i <= RP_FAMILY_UNKNOWN; i++) {
        assert_non_null(rp_family_name((rp_family)i));
    }
    assert_null(rp_family_name((rp_family)99));
    assert_null(rp_subfamily_task((rp_subfamily)99));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_parts_decide),
        cmocka_unit_test(words_begin_at_capitals),
        cmocka_unit_test(names_that_nothing_was_learnt_from_are_recognised),
        cmocka_unit_test(subfamilies_are_known_by_name),
        cmocka_unit_test(separators_and_case_do_not_count),
        cmocka_unit_test(a_name_that_says_nothing_is_unknown),
        cmocka_unit_test(a_very_long_name_is_read_as_far_as_it_goes),
        cmocka_unit_test(the_class_comes_before_the_type_the_task_and_the_name),
        cmocka_unit_test(methods_count_where_little_else_is_known),
        cmocka_unit_test(hints_of_an_earlier_version_have_no_methods),
        cmocka_unit_test(a_head_on_sound_or_images_is_of_its_body),
        cmocka_unit_test(the_tables_are_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
