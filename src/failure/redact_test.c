/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/redact.h"

#include "base/memory.h"
#include "failure/report.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct rp_own_names names;

static int set_up(void **state) {
    (void)state;
    rp_own_names_add(&names, "adalove", "<user>");
    rp_own_names_add(&names, "engine7.example.org", "<host>");
    rp_own_names_add(&names, "engine7", "<host>");
    snprintf(names.home, sizeof names.home, "/srv/people/adalove");
    return 0;
}

/* The text as it is left; the caller frees it. */
static char *redacted(const char *text, size_t length) {
    struct rp_text out = RP_TEXT_INIT;
    rp_redact_as(text, length, &names, &out, NULL);
    assert_false(out.failed);
    return out.bytes;
}

/* Letters and digits of a token, so that none that looks real stands in a source file. */
#define L16 "AbCdEfGhIjKlMnO9"
#define L36 L16 L16 "xY3z"

static const struct {
    const char *text;
    const char *left;
} rows[] = {
    /* Tokens by their looks */
    {"token hf_" L36 " is not valid", "token <token> is not valid"},
    {"(hf_" L36 ")", "(<token>)"},
    {"repr: \\nhf_" L36 "\\n", "repr: \\n<token>\\n"},
    {"ghp_" L36, "<token>"},
    {"github_pat_11" L16 "_" L36, "<token>"},
    {"glpat-" L16 "xyz", "<token>"},
    {"Incorrect API key provided: sk-" L36 ".", "Incorrect API key provided: <token>."},
    {"use sk-proj-" L16 "-" L16, "use <token>"},
    {"AKIA"
     "IOSFODNN7EXAMPLE was refused",
     "<token> was refused"},
    {"AIza" L16 L16 "abc", "<token>"},
    {"xoxb-1234567890-abcdef", "<token>"},
    {"jwt eyJ" L16 ".eyJ" L16 "." L16, "jwt <token>"},
    {"header: Bearer " L16 "." L16, "header: Bearer <token>"},
    {"-H 'Authorization: Basic dXNlcjpwYXNz'", "-H 'Authorization: Basic <secret>'"},
    {"{\"Authorization\": \"Bearer abc\"}", "{\"Authorization\": \"Bearer <secret>\"}"},
    {"Authorization: Bearer hf_" L36 "\nnext", "Authorization: Bearer <secret>\nnext"},
    {"Cookie: session=1; id=2\nnext", "Cookie: <secret>\nnext"},
    {"cut: hf_AbC1...", "cut: <token>..."},
    {"cut: hf_AbC1", "cut: <token>"},
    /* Values by their keys */
    {"password=hunter2", "password=<secret>"},
    {"Password: hunter2, user", "Password: <secret>, user"},
    {"{\"password\": \"hun ter2\", \"n\": 1}", "{\"password\": \"<secret>\", \"n\": 1}"},
    {"'api_key': 'abc', 'n': 1", "'api_key': '<secret>', 'n': 1"},
    {"json: {\\\"apiKey\\\": \\\"abc\\\", \\\"n\\\": 1}",
     "json: {\\\"apiKey\\\": \\\"<secret>\\\", \\\"n\\\": 1}"},
    {"export HF_TOKEN=abc", "export HF_TOKEN=<secret>"},
    {"AWS_SECRET_ACCESS_KEY=a/b+c next", "AWS_SECRET_ACCESS_KEY=<secret> next"},
    {"MYSQL_PWD=abc", "MYSQL_PWD=<secret>"},
    {"--password hunter2 --batch 4", "--password <secret> --batch 4"},
    {"--api-key=abc", "--api-key=<secret>"},
    {"clientSecret => 'x'", "clientSecret => '<secret>'"},
    {"x-api-key: abc", "x-api-key: <secret>"},
    {"?token=abc&revision=main", "?token=<secret>&revision=main"},
    {"https://h.example/f?X-Amz-Signature=0f3a&X-Amz-Date=2", "https://h.example/f?X-Amz-Signature="
                                                              "<secret>&X-Amz-Date=2"},
    {"Server=db;Password=abc", "Server=db;Password=<secret>"},
    {"token: " L36, "token: <secret>"},
    {"token='abc123def'", "token='<secret>'"},
    {"-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----\nnext",
     "<private key>\nnext"},
    {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz", "<private key>"},
    {"os.environ[\"HF_TOKEN\"] = \"abc\"", "os.environ[\"HF_TOKEN\"] = \"<secret>\""},
    {"SECRET_KEY = b\"abc def\"", "SECRET_KEY = b\"<secret>\""},
    {"password=Rb'abc'", "password=Rb'<secret>'"},
    {"secrets=abc", "secrets=<secret>"},
    {"WANDB_KEY=" L16, "WANDB_KEY=<secret>"},
    {"AZURE_STORAGE_KEY=" L16 "==", "AZURE_STORAGE_KEY=<secret>"},
    {"DB_PASS=abc123def AUTH=" L16, "DB_PASS=<secret> AUTH=<secret>"},
    {"credentials: " L16, "credentials: <secret>"},
    /* Addresses */
    {"https://ada:pa%20ss@hub.example/x", "https://<secret>@hub.example/x"},
    {"git+https://abc@github.com/o/r", "git+https://<secret>@github.com/o/r"},
    {"postgres://u:p@q@db:5432/x", "postgres://<secret>@db:5432/x"},
    {"by Ada <ada.l+x@example.co.uk>,", "by Ada <<email>>,"},
    {"adalove@example.org wrote", "<email> wrote"},
    {"connect to 93.184.216.34:443", "connect to <ip>:443"},
    {"host=93.184.216.34 refused", "host=<ip> refused"},
    {"http://93.184.216.34/x", "http://<ip>/x"},
    {"via 2606:2800:220:1:248:1893:25c8:1946", "via <ip>"},
    {"[2001:db8::1]:443", "[<ip>]:443"},
    /* Homes and names */
    {"/home/bob/.cache/huggingface/hub", "~/.cache/huggingface/hub"},
    {"open('/home/bob/m.onnx')", "open('~/m.onnx')"},
    {"file:///home/bob/x /Users/Bob/x", "file://~/x ~/x"},
    {"cc -I/home/bob/include", "cc -I~/include"},
    {"in /home/bob.", "in ~."},
    {"C:\\Users\\Bob Low\\AppData", "~\\AppData"},
    {"'C:\\\\Users\\\\bob\\\\x'", "'~\\\\x'"},
    {"c:/users/bob/x", "~/x"},
    {"/mnt/c/Users/bob/x", "~/x"},
    {"/srv/people/adalove/models", "~/models"},
    {"/data/home/bob/x /nfs/home/bob", "~/x ~"},
    {"/scratch/adalove/models", "/scratch/<user>/models"},
    {"adalove@engine7:~$ run", "<user>@<host>:~$ run"},
    {"engine7.example.org: adalove's", "<host>: <user>'s"},
    {"adalove-token=abc123def", "<user>-token=<secret>"}, /* takes a second walk */
    /* What must stay */
    {"/root/.cache /home /home/ /Users/Shared/m", NULL},
    {"https://github.com/home/bob", NULL},
    {"PWD=/work OLDPWD=~", NULL},
    {"pass: ConvertF32ToF16 auth: basic SORT_KEY=name f['key'] = 5 b_pass=2", NULL},
    {"pad_token='x1y2z3w4' eos_token_id=50256 max_tokens=2048 num_tokens: 12345678", NULL},
    {"token: 128256", NULL},
    {"tokens: 5 tokenizer='abc123def' KeyError: 'token'", NULL},
    {"Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON", NULL},
    {"token=None use_auth_token=True password=\"\" HF_TOKEN=$HF_TOKEN ${API_KEY}", NULL},
    {"token=<your token> password=%s api_key=******** secret={secret}", NULL},
    {"password = getpass.getpass()", NULL},
    {"secrets: [a]", NULL},
    {"undefined symbol: foo, version GLIBC_2.34, foo@@GLIBCXX_3.4.29 memcpy@GLIBC_2.14", NULL},
    {"onnxruntime-web@1.17.0 @huggingface/transformers@3.0.0 icon@2x.png", NULL},
    {"attn = q@k.transpose(-2, -1) x@self.weight", NULL},
    {"git@github.com:o/r.git ssh://git@github.com/o/r", NULL},
    {"model:/models/m.onnx@cpu", NULL},
    {"cudnn 9.1.0.70, nvidia-cublas-cu12 12.4.5.8, driver 535.104.05", NULL},
    {"cudnn version: 9.1.0.70", NULL},
    {"http://127.0.0.1:8080 192.168.1.4:22 10.0.0.1:80", NULL},
    {"12:34:56.789 aa::bb std::vector 2024-01-31T12:00:00", NULL},
    {"NVIDIA GeForce RTX 3090, sm_86, 24 GiB", NULL},
    {"sk-learn-contrib-is-a-long-name risk-averse task-abcdefghijklmnop12", NULL},
    {"hf_hub_download hf_transfer", NULL},
    {"Bearer token was refused; bearer authentication", NULL},
    {"adalove_model myadalove adaloves user_name=x", NULL},
    {"expected -----BEGIN PRIVATE KEY----- there", NULL},
    {"ASIANLANGUAGES_2024_v1", NULL},
    {"0x7f3a2b1c sha256:9f86d081884c7d659a2feaa0c55ad015", NULL},
};

static void what_is_private_goes_and_what_matters_stays(void **state) {
    (void)state;
    size_t bad = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *expected = rows[i].left ? rows[i].left : rows[i].text;
        char *left = redacted(rows[i].text, strlen(rows[i].text));
        if (strcmp(left, expected) != 0) {
            print_error("row %zu: '%s'\n  became '%s'\n  not    '%s'\n", i, rows[i].text, left,
                        expected);
        }
        bad += strcmp(left, expected) != 0;
        rp_free(left);
    }
    assert_int_equal(bad, 0);
}

static void again_changes_nothing(const char *text, size_t length) {
    char *once = redacted(text, length);
    char *twice = redacted(once, strlen(once));
    if (strcmp(once, twice) != 0) {
        print_error("'%.*s'\n  once  '%s'\n  twice '%s'\n", (int)length, text, once, twice);
    }
    assert_string_equal(once, twice);
    rp_free(once);
    rp_free(twice);
}

static void a_second_time_changes_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        again_changes_nothing(rows[i].text, strlen(rows[i].text));
    }
}

/* Halves of two rows put together: every rule beside every other. */
static void a_second_time_changes_nothing_of_mixtures(void **state) {
    (void)state;
    const char *seed_text = getenv("RP_TEST_SEED");
    unsigned seed = seed_text ? (unsigned)strtoul(seed_text, NULL, 10) : 1;
    for (unsigned round = 0; round < 20000; round++) {
        char text[1024];
        size_t length = 0;
        for (int part = 0; part < 4; part++) {
            seed = seed * 1103515245U + 12345U;
            const char *row = rows[(seed >> 8) % (sizeof rows / sizeof rows[0])].text;
            size_t from = (seed >> 4) % (strlen(row) + 1);
            size_t bytes = (seed >> 20) % (strlen(row) - from + 1);
            memcpy(text + length, row + from, bytes);
            length += bytes;
        }
        text[length] = '\0';
        again_changes_nothing(text, length);
    }
}

static void a_mark_stays_at_its_word(void **state) {
    (void)state;
    static const char text[] = "/home/bob/x password=hunter2 HERE hf_" L36;
    struct rp_text out = RP_TEXT_INIT;
    size_t mark = (size_t)(strstr(text, "HERE") - text);
    rp_text_append(&out, "so: ", 4);
    rp_redact_as(text, strlen(text), &names, &out, &mark);
    assert_string_equal(out.bytes, "so: ~/x password=<secret> HERE <token>");
    assert_memory_equal(out.bytes + mark, "HERE", 4);
    out.length = 0;
    mark = strlen(text);
    rp_redact_as(text, strlen(text), &names, &out, &mark);
    assert_int_equal(mark, out.length);
    rp_text_fini(&out);
}

/* A report is JSON, which has no half letters. */
static void a_long_name_is_cut_between_letters(void **state) {
    (void)state;
    static const char *const heads[] = {"/home/", "C:\\Users\\", "C:\\Users\\a b "};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        for (size_t more = 0; more < 3; more++) {
            char text[512];
            size_t length =
                (size_t)snprintf(text, sizeof text, "%s%.*s", heads[i], (int)more, "xx");
            for (int letter = 0; letter < 120; letter++, length += 3) {
                memcpy(text + length, "\xE3\x81\x82", 3);
            }
            char *left = redacted(text, length);
            assert_int_equal(rp_text_utf8_error_at(left, strlen(left)), strlen(left));
            assert_null(strstr(left, "Users"));
            rp_free(left);
        }
    }
}

static void a_zero_byte_ends_nothing(void **state) {
    (void)state;
    rp_error err = RP_ERROR_INIT;
    char *out = NULL;
    static const char text[] = "a\0password=hunter2";
    assert_ok(rp_redact(text, sizeof text - 1, &out, &err));
    assert_string_equal(out, "a?password=<secret>");
    rp_free(out);
    assert_ok(rp_redact("", 0, &out, &err));
    assert_string_equal(out, "");
    rp_free(out);
}

static double seconds_of(const char *text, size_t length) {
    struct timespec start;
    struct timespec end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    rp_free(redacted(text, length));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    return (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
}

/* Texts made to be slow: a constant bounds the work of a byte, so 8 times as much takes 8 times as
 * long. */
static void hard_texts_take_linear_time(void **state) {
    (void)state;
    static const char *const hard[] = {
        "token=token=",
        "password=x(",
        "-----BEGIN PRIVATE KEY-----",
        "a.b@c.d",
        "://a@",
        "eyJaaaaaaaaaa.",
        "/home/a",
        "1.2.3.4",
        "Bearer aaaaaaaaaaa",
        "\"\\\"\\\\'",
        "2001:db8::",
        "sk-sk-sk-",
        "password=\"\\\\",
        "C:\\Users\\a b",
        "authorization: authorization: ",
        "hf_aaaaaaaaaa",
        "-----BEGIN PRIVATE KEY-----a-----END ",
    };
    enum { SMALL = 64 << 10, LARGE = 8 * SMALL };
    char *text = rp_alloc(LARGE + 64);
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++) {
        size_t step = strlen(hard[i]);
        for (size_t at = 0; at < LARGE; at += step) {
            memcpy(text + at, hard[i], step);
        }
        double small = seconds_of(text, SMALL);
        double large = seconds_of(text, LARGE);
        if (large > 0.05 && large > 30 * small) {
            fail_msg("'%s': %.3f s, then %.3f s for 8 times as much", hard[i], small, large);
        }
        if (large > 4) fail_msg("'%s': %.1f s for 512 KiB", hard[i], large);
    }
    rp_free(text);
}

static void words_of_everybody_are_no_names(void **state) {
    (void)state;
    struct rp_own_names own = {0};
    static const char *const words[] = {"root", "ubuntu", "gpu0", "node17", "ab",
                                        "",     "max",    "12",   "Admin",  "python3"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        rp_own_names_add(&own, words[i], "<user>");
    }
    rp_own_names_add(&own, NULL, "<user>");
    assert_int_equal(own.words[0].length, 0);
    rp_own_names_add(&own, "maxwell", "<user>");
    rp_own_names_add(&own, "maxwell", "<host>");
    assert_string_equal(own.words[0].text, "maxwell");
    assert_int_equal(own.words[1].length, 0);
    assert_non_null(rp_own_names_of_process());
}

static void without_memory_it_says_so(void **state) {
    (void)state;
    static const char text[] = "password=hunter2 and /home/bob/x";
    int64_t live = rp_memory_live_count();
    for (uint64_t n = 1;; n++) {
        rp_error err = RP_ERROR_INIT;
        char *out = NULL;
        rp_memory_fail_at(n);
        rp_status status = rp_redact(text, strlen(text), &out, &err);
        int pending = rp_memory_fail_pending();
        rp_memory_fail_at(0);
        if (pending) {
            assert_int_equal(status, RP_OK);
            rp_free(out);
            break;
        }
        assert_int_equal(status, RP_ERR_MEMORY);
        assert_null(out);
        assert_int_equal(rp_memory_live_count(), live);
    }
    assert_int_equal(rp_memory_live_count(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_private_goes_and_what_matters_stays),
        cmocka_unit_test(a_second_time_changes_nothing),
        cmocka_unit_test(a_second_time_changes_nothing_of_mixtures),
        cmocka_unit_test(a_mark_stays_at_its_word),
        cmocka_unit_test(a_long_name_is_cut_between_letters),
        cmocka_unit_test(a_zero_byte_ends_nothing),
        cmocka_unit_test(hard_texts_take_linear_time),
        cmocka_unit_test(words_of_everybody_are_no_names),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
