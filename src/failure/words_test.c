/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/words.h"

#include "../../tests/test.h"

#include <math.h>
#include <stdlib.h>

static rp_category likeliest(const char *text, double *share) {
    struct rp_words words = {.line_count = 0};
    double shares[RP_CATEGORY_COUNT];
    size_t best = 0;
    double total = 0;
    rp_words_add(&words, text, strlen(text));
    assert_true(rp_words_weigh(&words, shares));
    for (size_t i = 0; i < RP_CATEGORY_COUNT; i++) {
        assert_true(shares[i] >= 0);
        total += shares[i];
        if (shares[i] > shares[best]) best = i;
    }
    assert_true(fabs(total - 1) < 1e-6);
    *share = shares[best];
    return (rp_category)best;
}

/* Texts in the words of no library. */
static void words_speak_for_what_texts_with_them_were(void **state) {
    (void)state;
    static const struct {
        const char *text;
        rp_category category;
    } rows[] = {
        {"there was not enough video memory on the card for this allocation",
         RP_CATEGORY_OUT_OF_MEMORY_DEVICE},
        {"the disk has no space left for the download", RP_CATEGORY_DISK_FULL},
        {"the shapes of both tensors do not match at dimension 1", RP_CATEGORY_SHAPE_MISMATCH},
        {"cannot connect to the hub: the proxy refused the connection",
         RP_CATEGORY_NETWORK_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double share = 0;
        assert_int_equal(likeliest(rows[i].text, &share), rows[i].category);
        assert_true(share > 0.3);
    }
}

static void letters_of_any_size_are_the_same(void **state) {
    (void)state;
    double small = 0;
    double large = 0;
    assert_int_equal(likeliest("no space left", &small), likeliest("NO SPACE LEFT", &large));
    assert_true(fabs(small - large) < 1e-12);
}

static void a_text_without_words_says_nothing(void **state) {
    (void)state;
    struct rp_words words = {.line_count = 0};
    double shares[RP_CATEGORY_COUNT];
    assert_false(rp_words_weigh(&words, shares));
    rp_words_add(&words, "... --- \xc3\xa9 %% a", 14);
    assert_false(rp_words_weigh(&words, shares));
}

static void what_is_longer_than_a_text_can_be_does_not_count(void **state) {
    (void)state;
    struct rp_words words = {.line_count = 0};
    for (int i = 0; i < RP_WORDS_LINES_MAX; i++) {
        rp_words_add(&words, "step", 4);
    }
    struct rp_words before = words;
    rp_words_add(&words, "no space left", 13);
    assert_memory_equal(&words, &before, sizeof words);
    char *word = malloc(1 << 20);
    assert_non_null(word);
    memset(word, 'x', 1 << 20);
    struct rp_words one = {.line_count = 0};
    rp_words_add(&one, word, 1 << 20); /* one word of a million letters */
    free(word);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_speak_for_what_texts_with_them_were),
        cmocka_unit_test(letters_of_any_size_are_the_same),
        cmocka_unit_test(a_text_without_words_says_nothing),
        cmocka_unit_test(what_is_longer_than_a_text_can_be_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
