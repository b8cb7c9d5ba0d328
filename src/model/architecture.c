/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The family of a model by its class: "BertForMaskedLM", "bert", "fill-mask".
 *
 * The end of a class's name tells what it does (its head), the beginning what it is made of. Types
 * that are not in the table (data/architectures.txt) are read as names.
 */
#include "model/family_tables.h"

#include <ctype.h>
#include <resourcepool/classify.h>
#include <resourcepool/model_database.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_BYTES = 96 };

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text);
    size_t end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* What a head says, wherever it stands in the name of a class. The first that fits counts. */
static const struct head {
    const char *part;
    rp_family family;
    rp_subfamily subfamily;
    bool is_of_body; /* on a body of several inputs, sound or images it is still that body's */
} heads[] = {
    {"ForCausalLM", RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CAUSAL_LM, true},
    {"ForMaskedLM", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM, true},
    {"ForSequenceClassification", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM, true},
    {"ForTokenClassification", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_TOKEN_CLASSIFIER, true},
    {"ForVisualQuestionAnswering", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE, false},
    {"ForDocumentQuestionAnswering", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_DOCUMENT_QA, false},
    {"ForQuestionAnswering", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM, true},
    {"ForMultipleChoice", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM, true},
    {"ForNextSentencePrediction", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM, true},
    {"TextEncoder", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER, true},
    {"ForAudioClassification", RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER, false},
    {"ForAudioFrameClassification", RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER, false},
    {"ForXVector", RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER, false},
    {"ForCTC", RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION, false},
    {"ForSpeechSeq2Seq", RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION, false},
    {"ForSpeechToText", RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION, false},
    {"ForTextToSpeech", RP_FAMILY_AUDIO, RP_SUBFAMILY_TEXT_TO_SPEECH, false},
    {"ForImageClassification", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER, false},
    {"ForVideoClassification", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER, false},
    {"ForMaskedImageModeling", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER, true},
    {"ForObjectDetection", RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR, true},
    {"ForKeypointDetection", RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR, true},
    {"ForPoseEstimation", RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR, true},
    {"Segmentation", RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION, true},
    {"ForImageMatting", RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION, true},
    {"ForDepthEstimation", RP_FAMILY_VISION, RP_SUBFAMILY_DEPTH_ESTIMATION, true},
    {"ForImageSuperResolution", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER, true},
    {"ForOpticalFlow", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER, false},
    {"ForMultimodalAutoencoding", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE, false},
    {"ForVideoGrounding", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE, false},
    {"ForImageAndTextRetrieval", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_IMAGE_TEXT_ENCODER, false},
    {"ForImageTextRetrieval", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_IMAGE_TEXT_ENCODER, false},
    {"TextModelWithProjection", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER, false},
    {"VisionModel", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER, false},
    {"Backbone", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER, true},
    {"ForImageTextToText", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE, false},
    {"ForRetrieval", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_IMAGE_TEXT_ENCODER, true},
};

/* Tasks as hubs tag them; those that leave the family open are not here. */
static const struct {
    const char *task;
    rp_family family;
    rp_subfamily subfamily;
} tasks[] = {
    {"fill-mask", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM},
    {"sentence-similarity", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER},
    {"text-ranking", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER},
    {"text-classification", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM},
    {"zero-shot-classification", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM},
    {"question-answering", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM},
    {"multiple-choice", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM},
    {"next-sentence-prediction", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_MASKED_LM},
    {"token-classification", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_TOKEN_CLASSIFIER},
    {"text-generation", RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CAUSAL_LM},
    {"conversational", RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CHAT_MODEL},
    {"text2text-generation", RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_SEQ2SEQ},
    {"summarization", RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_SEQ2SEQ},
    {"translation", RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_SEQ2SEQ},
    {"image-classification", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER},
    {"image-feature-extraction", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER},
    {"video-classification", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER},
    {"image-to-image", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER},
    {"object-detection", RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR},
    {"keypoint-detection", RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR},
    {"image-segmentation", RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION},
    {"mask-generation", RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION},
    {"depth-estimation", RP_FAMILY_VISION, RP_SUBFAMILY_DEPTH_ESTIMATION},
    {"automatic-speech-recognition", RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION},
    {"audio-classification", RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER},
    {"audio-feature-extraction", RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER},
    {"voice-activity-detection", RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER},
    {"audio-to-audio", RP_FAMILY_AUDIO, RP_SUBFAMILY_AUDIO_CLASSIFIER},
    {"text-to-speech", RP_FAMILY_AUDIO, RP_SUBFAMILY_TEXT_TO_SPEECH},
    {"text-to-audio", RP_FAMILY_AUDIO, RP_SUBFAMILY_TEXT_TO_SPEECH},
    {"image-text-to-text", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
    {"image-to-text", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
    {"video-text-to-text", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
    {"visual-question-answering", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
    {"any-to-any", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
    {"text-to-image", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
    {"text-to-video", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE},
    {"document-question-answering", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_DOCUMENT_QA},
    {"visual-document-retrieval", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_DOCUMENT_QA},
    {"zero-shot-image-classification", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_IMAGE_TEXT_ENCODER},
    {"zero-shot-object-detection", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_IMAGE_TEXT_ENCODER},
};

/*
 * What the object of a model can be asked, as libraries call it. Many kinds of models generate,
 * encode or classify: those methods count only where the name leaves the family open.
 */
static const struct {
    const char *method;
    rp_family family;
    rp_subfamily subfamily;
    bool is_weak;
} methods[] = {
    {"get_image_features", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_IMAGE_TEXT_ENCODER, false},
    {"encode_image", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_IMAGE_TEXT_ENCODER, false},
    {"answer_question", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE, true},
    {"caption", RP_FAMILY_MULTIMODAL, RP_SUBFAMILY_VISION_LANGUAGE, true},
    {"transcribe", RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION, false},
    {"detect_language", RP_FAMILY_AUDIO, RP_SUBFAMILY_SPEECH_RECOGNITION, true},
    {"generate_speech", RP_FAMILY_AUDIO, RP_SUBFAMILY_TEXT_TO_SPEECH, false},
    {"text_to_speech", RP_FAMILY_AUDIO, RP_SUBFAMILY_TEXT_TO_SPEECH, false},
    {"synthesize", RP_FAMILY_AUDIO, RP_SUBFAMILY_TEXT_TO_SPEECH, false},
    {"post_process_object_detection", RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR, false},
    {"detect_objects", RP_FAMILY_VISION, RP_SUBFAMILY_OBJECT_DETECTOR, false},
    {"post_process_semantic_segmentation", RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION, false},
    {"segment", RP_FAMILY_VISION, RP_SUBFAMILY_SEGMENTATION, true},
    {"post_process_depth_estimation", RP_FAMILY_VISION, RP_SUBFAMILY_DEPTH_ESTIMATION, false},
    {"estimate_depth", RP_FAMILY_VISION, RP_SUBFAMILY_DEPTH_ESTIMATION, false},
    {"classify_image", RP_FAMILY_VISION, RP_SUBFAMILY_IMAGE_CLASSIFIER, false},
    {"embed_query", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER, false},
    {"embed_documents", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER, false},
    {"embed", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER, true},
    {"encode", RP_FAMILY_EMBEDDING, RP_SUBFAMILY_SENTENCE_TRANSFORMER, true},
    {"chat", RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CHAT_MODEL, true},
    {"generate", RP_FAMILY_TEXT_GENERATION, RP_SUBFAMILY_CAUSAL_LM, true},
};

/* "Qwen2_5_VL" and "qwen2-5-vl" as the table has them: "qwen25vl". */
static void squeeze(char out[TYPE_BYTES], const char *text, size_t length) {
    size_t used = 0;
    for (size_t i = 0; i < length && used + 1 < TYPE_BYTES; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalnum(c)) out[used++] = (char)tolower(c);
    }
    out[used] = '\0';
}

static int compare_types(const void *key, const void *row) {
    return strcmp(key, ((const struct rp_model_type *)row)->name);
}

/* The family of what a model is made of; RP_FAMILY_UNKNOWN. */
static rp_family find_body(const char *squeezed) {
    const struct rp_model_type *row = bsearch(squeezed, rp_model_types, rp_model_type_count,
                                              sizeof rp_model_types[0], compare_types);
    return row ? (rp_family)row->family : RP_FAMILY_UNKNOWN;
}

/* The "For" that begins a head, "RoFormerForMaskedLM" has two; NULL. */
static const char *find_head(const char *architecture) {
    const char *at = strstr(architecture, "For");
    while (at && (at == architecture || !isupper((unsigned char)at[3]))) {
        at = strstr(at + 1, "For");
    }
    return at;
}

/* How much of a class's name stands before its head; a prefix of another framework is passed. */
static size_t body_length(const char **architecture) {
    static const char *const prefixes[] = {"TF", "Flax"};
    static const char *const ends[] = {"Model",    "LMHeadModel",     "WithLMHeadModel",
                                       "Encoder",  "EncoderModel",    "ContextEncoder",
                                       "Backbone", "PreTrainedModel", "MTModel"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t prefix = strlen(prefixes[i]);
        bool is_prefix = strncmp(*architecture, prefixes[i], prefix) == 0 &&
                         isupper((unsigned char)(*architecture)[prefix]);
        if (is_prefix) *architecture += prefix;
    }
    size_t whole = strlen(*architecture);
    const char *head = find_head(*architecture);
    if (head) return (size_t)(head - *architecture);
    size_t length = whole;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t end = strlen(ends[i]);
        bool is_end = whole > end && ends_with(*architecture, ends[i]);
        if (is_end && whole - end < length) length = whole - end;
    }
    return length;
}

static void answer(rp_classification *result, rp_family family, rp_subfamily subfamily,
                   double confidence, const char *source, const char *kind, const char *what) {
    *result = (rp_classification){
        .family = family, .subfamily = subfamily, .confidence = confidence, .source = source};
    snprintf(result->evidence, sizeof result->evidence, "the %s %.100s", kind, what);
}

/* Whether a class's name without its head is its type's. */
static bool is_type_of(const char *type, const char *stem, size_t stem_length) {
    char wanted[TYPE_BYTES];
    char found[TYPE_BYTES];
    squeeze(wanted, type ? type : stem, type ? strlen(type) : stem_length);
    squeeze(found, stem, stem_length);
    return strcmp(wanted, found) == 0;
}

/* By class and type; false when they say nothing. */
static bool classify_class(const char *architecture, const char *type, rp_classification *result) {
    char squeezed[TYPE_BYTES] = "";
    rp_family body = RP_FAMILY_UNKNOWN;
    rp_classification by_name = {.family = RP_FAMILY_UNKNOWN};
    const char *stem = architecture;
    size_t stem_length = architecture ? body_length(&stem) : 0;
    if (type) {
        squeeze(squeezed, type, strlen(type));
        body = find_body(squeezed);
    }
    if (body == RP_FAMILY_UNKNOWN && stem_length > 0) {
        squeeze(squeezed, stem, stem_length);
        body = find_body(squeezed);
    }
    if (body == RP_FAMILY_UNKNOWN && (squeezed[0] || type)) {
        rp_classify_name(type ? type : squeezed, &by_name);
        body = by_name.family;
    }
    /* "Cohere2VisionModel" is the whole of the type cohere2_vision, not a part of it that sees. */
    bool is_whole = architecture && ends_with(architecture, "VisionModel") &&
                    body == RP_FAMILY_MULTIMODAL && is_type_of(type, stem, stem_length);
    for (size_t i = 0; architecture && i < sizeof heads / sizeof heads[0]; i++) {
        const struct head *head = &heads[i];
        if (!strstr(architecture, head->part)) continue;
        bool is_other =
            body == RP_FAMILY_MULTIMODAL || body == RP_FAMILY_VISION || body == RP_FAMILY_AUDIO;
        bool is_body = head->is_of_body && is_other && body != head->family;
        if (is_body || is_whole) break;
        answer(result, head->family, head->subfamily, 0.98, "architecture", "class", architecture);
        return true;
    }
    if (body == RP_FAMILY_UNKNOWN) return false;
    rp_classify_name(squeezed, &by_name);
    bool is_table = find_body(squeezed) != RP_FAMILY_UNKNOWN;
    bool is_encoder = architecture && body == RP_FAMILY_TEXT_GENERATION &&
                      (ends_with(architecture, "EncoderModel"));
    if (is_encoder) body = RP_FAMILY_EMBEDDING;
    rp_subfamily subfamily = rp_family_first_subfamily(body);
    if (by_name.family == body) subfamily = by_name.subfamily;
    /* A type says what a model is made of, its head may be another. */
    double confidence = is_table ? architecture ? 0.96 : 0.88 : 0.8;
    answer(result, body, subfamily, confidence, architecture ? "architecture" : "model_type",
           architecture ? "class" : "type", architecture ? architecture : type);
    return true;
}

static bool classify_task(const char *task, rp_classification *result) {
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        if (strcmp(task, tasks[i].task) != 0) continue;
        answer(result, tasks[i].family, tasks[i].subfamily, 0.95, "task", "task", task);
        return true;
    }
    return false;
}

/* The first row of the table that is among an object's methods; false: there is none. */
static bool classify_methods(const rp_model_hints *hints, bool is_weak, rp_classification *result) {
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (methods[i].is_weak != is_weak) continue;
        for (size_t j = 0; j < hints->method_count; j++) {
            if (strcmp(hints->methods[j], methods[i].method) != 0) continue;
            answer(result, methods[i].family, methods[i].subfamily, is_weak ? 0.7 : 0.9, "method",
                   "method", methods[i].method);
            return true;
        }
    }
    return false;
}

void rp_classify(const rp_model_hints *hints, rp_classification *result) {
    /* Callers that were compiled with an earlier version have fewer fields. */
    bool has_database = hints->size >= offsetof(rp_model_hints, methods) && hints->database;
    bool has_methods = hints->size >= sizeof *hints && hints->method_count > 0;
    if (has_database && hints->name &&
        rp_model_database_find(hints->database, hints->name, result)) {
        return;
    }
    if ((hints->architecture || hints->model_type) &&
        classify_class(hints->architecture, hints->model_type, result)) {
        return;
    }
    for (size_t i = 0; i < hints->task_count; i++) {
        if (classify_task(hints->tasks[i], result)) return;
    }
    if (has_methods && classify_methods(hints, false, result)) return;
    rp_classify_name(hints->name ? hints->name : "", result);
    rp_classification by_method;
    if (has_methods && result->confidence < 0.7 && classify_methods(hints, true, &by_method)) {
        *result = by_method;
    }
}
