/* SPDX-License-Identifier: Apache-2.0 */
#include "launcher.h"

#include "test.h"

#include <stdlib.h>

static void a_list_of_preloads_is_names_in_order(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *names;
    } rows[] = {
        {"", ""},
        {"# nothing\n\n", ""},
        {"torch\nnumpy", "torch\nnumpy\n"},
        {"torch: nn nn.functional # why\n", "torch\ntorch.nn\ntorch.nn.functional\n"},
        {"torch: nn optim\n-torch.nn\n", "torch\ntorch.optim\n"},
        {"-scipy # refused: starts threads\nscipy: linalg\nscipy2\n", "scipy2\n"},
        {"  a \t\r\n", "a\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct preloads preloads;
        assert_true(preloads_parse(rows[i].text, strlen(rows[i].text), &preloads));
        assert_int_equal(preloads.bytes, strlen(rows[i].names));
        if (preloads.bytes > 0) assert_memory_equal(preloads.text, rows[i].names, preloads.bytes);
        free(preloads.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_preloads_is_names_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
