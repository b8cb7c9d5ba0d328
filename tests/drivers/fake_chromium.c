/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A browser as its debugging pipe shows it: messages that end in NUL, in by descriptor 3, out by 4.
 * Scripted: "page" is what the page returns, "blank" how often the empty page answers first, and
 * "METHOD" what happens at a method: "hang", "segv", "exit", "nonsense", "endless" or JSON
 * to answer. "no-exit" stays when the pipe closes.
 */
#include "script.h"

static void send_text(const char *text, size_t length) {
    /* In pieces, as a pipe may deliver them. */
    while (length > 0) {
        size_t piece = length < 7 ? length : 7;
        if (write(4, text, piece) != (ssize_t)piece) _exit(1);
        text += piece;
        length -= piece;
    }
}

static void reply(long id, const char *result) {
    char text[4096];
    /* An event and a stranger's reply first: both are to be passed over. */
    static const char event[] = "{\"method\": \"Target.attachedToTarget\", \"params\": {}}";
    static const char other[] = "{\"id\": 99999, \"result\": {\"product\": \"other/0\"}}";
    send_text(event, sizeof event);
    send_text(other, sizeof other);
    int length = snprintf(text, sizeof text, "{\"id\": %ld, \"result\": %s}", id, result);
    send_text(text, (size_t)length + 1);
}

static void misbehave(const char *how) {
    if (strcmp(how, "hang") == 0) {
        while (true) {
            pause();
        }
    }
    if (strcmp(how, "segv") == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    if (strcmp(how, "exit") == 0) _exit(0);
    if (strcmp(how, "nonsense") == 0) send_text("{\"id\": 1, ", 11);
    while (strcmp(how, "endless") == 0) {
        char bytes[4096];
        memset(bytes, ' ', sizeof bytes);
        if (write(4, bytes, sizeof bytes) <= 0) _exit(1);
    }
}

static long asked;

static void answer(const char *message) {
    char method[64] = "";
    char scripted[2048];
    char page[2048] = "{\"url\": \"file:///page.html\", \"gpu\": false, \"ml\": false}";
    const char *at = strstr(message, "\"id\":");
    long id = at ? strtol(at + 5, NULL, 10) : 0;
    at = strstr(message, "\"method\":\"");
    if (at) sscanf(at + 10, "%63[A-Za-z.]", method);
    if (script_find(method, scripted, sizeof scripted)) {
        if (scripted[0] == '{') {
            reply(id, scripted);
            return;
        }
        misbehave(scripted);
    }
    if (strcmp(method, "Browser.getVersion") == 0) {
        reply(id, "{\"product\": \"HeadlessChrome/156.0.1.2\"}");
    } else if (strcmp(method, "Target.createTarget") == 0) {
        reply(id, "{\"targetId\": \"T1\"}");
    } else if (strcmp(method, "Target.attachToTarget") == 0) {
        reply(id, "{\"sessionId\": \"S1\"}");
    } else if (asked++ < script_number_or("blank", 1)) {
        reply(id, "{\"result\": {\"value\": {\"url\": \"about:blank\", \"gpu\": false}}}");
    } else {
        char result[4096];
        script_find("page", page, sizeof page);
        snprintf(result, sizeof result, "{\"result\": {\"type\": \"object\", \"value\": %s}}",
                 page);
        reply(id, result);
    }
}

int main(void) {
    static char message[1 << 16];
    size_t length = 0;
    char text[16];
    script_load("FAKE_SCRIPT");
    if (script_find("start", text, sizeof text)) misbehave(text);
    while (true) {
        char byte;
        ssize_t got = read(3, &byte, 1);
        if (got <= 0) break;
        if (length + 1 < sizeof message) message[length++] = byte;
        if (byte != '\0') continue;
        answer(message);
        length = 0;
    }
    if (script_find("no-exit", text, sizeof text)) misbehave("hang");
    return 0;
}
