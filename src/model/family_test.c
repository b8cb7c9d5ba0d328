/* SPDX-License-Identifier: Apache-2.0 */
#include "model/family_tables.h"

#include "../../tests/test.h"

#include <resourcepool/classify.h>

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
        cmocka_unit_test(separators_and_case_do_not_count),
        cmocka_unit_test(a_name_that_says_nothing_is_unknown),
        cmocka_unit_test(a_very_long_name_is_read_as_far_as_it_goes),
        cmocka_unit_test(the_class_comes_before_the_type_the_task_and_the_name),
        cmocka_unit_test(a_head_on_sound_or_images_is_of_its_body),
        cmocka_unit_test(the_tables_are_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
