/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a model is: its family, from what is known of it.
 *
 * A class of the model or a task decides where it is given; the name alone is the weakest evidence.
 * Nothing is loaded, no network is asked.
 */
#ifndef RESOURCEPOOL_CLASSIFY_H
#define RESOURCEPOOL_CLASSIFY_H

#include <resourcepool/api.h>
#include <resourcepool/status.h>
#include <stddef.h>

/* One row per family: constant, number, name. Numbers never change their meaning. */
/* clang-format off */
#define RP_FAMILY_MAP(X)                        \
    X(EMBEDDING,       0, "embedding")          \
    X(TEXT_GENERATION, 1, "text_generation")    \
    X(VISION,          2, "vision")             \
    X(AUDIO,           3, "audio")              \
    X(MULTIMODAL,      4, "multimodal")         \
    X(UNKNOWN,         5, "unknown")

/* One row per subfamily: constant, number, name, family, the task it stands for. UNKNOWN: any
 * family; a preference asks for such a one, no classification finds it. */
#define RP_SUBFAMILY_MAP(X)                                                                        \
    X(NONE,                  0, NULL,                   UNKNOWN,         NULL)                     \
    X(MASKED_LM,             1, "masked_lm",            EMBEDDING,       "fill-mask")              \
    X(SENTENCE_TRANSFORMER,  2, "sentence_transformer", EMBEDDING,       "sentence-similarity")    \
    X(TOKEN_CLASSIFIER,      3, "token_classifier",     EMBEDDING,       "token-classification")   \
    X(CAUSAL_LM,             4, "causal_lm",            TEXT_GENERATION, "text-generation")        \
    X(SEQ2SEQ,               5, "seq2seq",              TEXT_GENERATION, "text2text-generation")   \
    X(CHAT_MODEL,            6, "chat_model",           TEXT_GENERATION, "text-generation")        \
    X(IMAGE_CLASSIFIER,      7, "image_classifier",     VISION,          "image-classification")   \
    X(OBJECT_DETECTOR,       8, "object_detector",      VISION,          "object-detection")       \
    X(SEGMENTATION,          9, "segmentation",         VISION,          "image-segmentation")     \
    X(DEPTH_ESTIMATION,     10, "depth_estimation",     VISION,          "depth-estimation")       \
    X(SPEECH_RECOGNITION,   11, "speech_recognition",   AUDIO, "automatic-speech-recognition")     \
    X(AUDIO_CLASSIFIER,     12, "audio_classifier",     AUDIO,           "audio-classification")   \
    X(TEXT_TO_SPEECH,       13, "text_to_speech",       AUDIO,           "text-to-speech")         \
    X(VISION_LANGUAGE,      14, "vision_language",      MULTIMODAL,      "image-text-to-text")     \
    X(IMAGE_TEXT_ENCODER,   15, "image_text_encoder",   MULTIMODAL, "zero-shot-image-classification") \
    X(DOCUMENT_QA,          16, "document_qa",          MULTIMODAL, "document-question-answering") \
    X(WEB_DEPLOYMENT,       17, "web_deployment",       UNKNOWN,         NULL)
/* clang-format on */

/** Families of models. */
typedef enum rp_family {
#define RP_FAMILY_ENUM(constant, number, name) RP_FAMILY_##constant = number,
    RP_FAMILY_MAP(RP_FAMILY_ENUM)
#undef RP_FAMILY_ENUM
} rp_family;

/** What a model of a family does. */
typedef enum rp_subfamily {
#define RP_SUBFAMILY_ENUM(constant, number, name, family, task) RP_SUBFAMILY_##constant = number,
    RP_SUBFAMILY_MAP(RP_SUBFAMILY_ENUM)
#undef RP_SUBFAMILY_ENUM
} rp_subfamily;

enum { RP_EVIDENCE_BYTES = 160 };

/** An answer. New fields go last. */
typedef struct rp_classification {
    rp_family family;
    rp_subfamily subfamily; /* RP_SUBFAMILY_NONE with an unknown family                           */
    double confidence;      /* 0 to 1: of so many answers with this figure, that part is right    */
    const char *source;     /* "database", "files", "architecture", "model_type", "graph", "task",
                               "method", "name"; static                                           */
    char evidence[RP_EVIDENCE_BYTES]; /* what spoke for it, for people; cut where it is longer */
} rp_classification;

/** What is known of a model. Borrowed; NULL and 0 where nothing is. */
typedef struct rp_model_hints {
    size_t size; /* sizeof(rp_model_hints) */
    const char *name;
    const char *model_type;   /* config.json's, "bert"             */
    const char *architecture; /* config.json's, "BertForMaskedLM" */
    const char *const *tasks; /* as hubs tag them, "fill-mask"    */
    size_t task_count;
    const struct rp_model_database *database; /* what it says of the name wins over all the rest */
    /* That its object has, "transcribe": they say less than a task and more than a name. */
    const char *const *methods;
    size_t method_count;
} rp_model_hints;

#define RP_MODEL_HINTS_INIT                                                                        \
    { sizeof(rp_model_hints), NULL, NULL, NULL, NULL, 0, NULL, NULL, 0 }

RP_BEGIN_DECLS

/** "embedding", ..., "unknown"; NULL for a number that is none. Static storage. */
RP_API const char *rp_family_name(rp_family family);

/** "masked_lm", ...; NULL for RP_SUBFAMILY_NONE and strangers. Static storage. */
RP_API const char *rp_subfamily_name(rp_subfamily subfamily);

/** The family of that name, RP_FAMILY_UNKNOWN for "unknown" and strangers. */
RP_API rp_family rp_family_of_name(const char *name);

/** The subfamily of that name, RP_SUBFAMILY_NONE for strangers. */
RP_API rp_subfamily rp_subfamily_of_name(const char *name);

/** The family that a subfamily is of; RP_FAMILY_UNKNOWN for one of any family, such as
 * RP_SUBFAMILY_WEB_DEPLOYMENT, for RP_SUBFAMILY_NONE and for strangers. */
RP_API rp_family rp_subfamily_family(rp_subfamily subfamily);

/** The task that a subfamily stands for, "fill-mask"; NULL likewise. Static storage. */
RP_API const char *rp_subfamily_task(rp_subfamily subfamily);

/**
 * The family that a name tells of: "org/some-model", a folder's or a file's name.
 *
 * name    any bytes that end in NUL; what is beyond 512 bytes is not looked at.
 * result  filled in. A name that says nothing is RP_FAMILY_UNKNOWN with a low confidence.
 * Allocates nothing, takes about a microsecond. Any thread.
 */
RP_API void rp_classify_name(const char *name, rp_classification *result);

/**
 * The family of a model of which more is known: by the user's database, else its class, else its
 * type, else the first task that leaves no choice, else its name. Likewise.
 */
RP_API void rp_classify(const rp_model_hints *hints, rp_classification *result);

RP_END_DECLS

#endif
