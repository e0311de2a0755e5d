/* certflipctl against a socket that answers as scripted: whole commands, and everything that can go
 * wrong. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/devices.h"
#include "control/rpc.h"
#include "scratch.h"

/* -- the daemon's part ------------------------------------------------------------------------ */

enum how {
    WHOLE,    /* one write */
    BYTEWISE, /* one byte a write */
    OTHERS,   /* lines for somebody else come first */
    RAW,      /* not wrapped into a reply */
    HALF,     /* half of it, then the end */
    CLOSE,    /* nothing, the end */
    GONE,     /* the same, and nobody listens any more */
    SILENT,   /* nothing, until the other side ends */
    CROWD,    /* a page of a crowd of devices */
};

/* Answer number n of the daemon.  `text`: "result": ... or "error": ... */
struct answer {
    enum how how;
    const char *text;
};

#define ANSWERS_MAX 16
#define CROWD_SIZE  10000

struct fake {
    char dir[64], path[96];
    int fd;
    pthread_t thread;
    bool running;
    struct answer
        answers[ANSWERS_MAX]; /* a copy: the test may be over first; ended by a NULL text */
    pthread_mutex_t lock;     /* of what was asked */
    char asked[4096];         /* "method params" lines */
    unsigned count;
};

static void send_text(int fd, const char *text, size_t n, size_t at_once)
{
    while (n > 0) {
        size_t now = n < at_once ? n : at_once;
        ssize_t sent = send(fd, text, now, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        text += sent;
        n -= (size_t)sent;
    }
}

/* The page of the crowd that the request asks for, as the daemon cuts it. */
static char *crowd_page(const json_t *params)
{
    const char *after = json_string_value(json_object_get(params, "after"));
    int first = after == NULL ? 0 : atoi(after + strlen("press-")) + 1;
    json_t *devices = json_array(), *page;
    char name[32], *text;

    for (int i = first; i < first + RPC_ROWS_MAX && i < CROWD_SIZE; i++) {
        snprintf(name, sizeof(name), "press-%05d", i);
        json_array_append_new(devices, json_pack("{s:s, s:s, s:s, s:s}", "device", name, "phase",
                                                 "steady", "active", "old", "reason",
                                                 "a text of some length, as devices have"));
    }
    page = json_pack("{s:o, s:i}", "devices", devices, "total", CROWD_SIZE);
    if (first + RPC_ROWS_MAX < CROWD_SIZE)
        json_object_set_new(page, "next", json_string(name));
    else
        json_object_set_new(page, "next", json_null());
    text = json_dumps(page, JSON_COMPACT);
    json_decref(page);
    return text;
}

static void note_request(struct fake *f, const json_t *request)
{
    if (json_is_array(request)) {
        for (size_t i = 0; i < json_array_size(request); i++)
            note_request(f, json_array_get(request, i));
        return;
    }
    char *params = json_dumps(json_object_get(request, "params"), JSON_COMPACT);
    size_t n;

    pthread_mutex_lock(&f->lock);
    n = strlen(f->asked);
    snprintf(f->asked + n, sizeof(f->asked) - n, "%s %s\n",
             json_string_value(json_object_get(request, "method")), params == NULL ? "" : params);
    pthread_mutex_unlock(&f->lock);
    free(params);
}

static void asked_was(struct fake *f, const char *expected)
{
    char asked[sizeof(f->asked)];

    pthread_mutex_lock(&f->lock);
    memcpy(asked, f->asked, sizeof(asked));
    f->asked[0] = '\0';
    pthread_mutex_unlock(&f->lock);
    assert_string_equal(asked, expected);
}

/* Answer one request.  Returns false when the connection is to be ended. */
static bool answer_one(struct fake *f, int fd, const json_t *request)
{
    const struct answer *a = &f->answers[f->count];
    const char *id = json_string_value(json_object_get(request, "id"));
    char *reply = NULL, *page = NULL;
    int n;

    if (f->answers[f->count + 1].text != NULL)
        f->count++; /* the last answer is for all that follow */
    if (a->how == GONE)
        (void)shutdown(f->fd, SHUT_RDWR); /* nobody listens any more */
    if (a->how == CLOSE || a->how == GONE)
        return false;
    if (a->how == SILENT) {
        char c;

        (void)!read(fd, &c, 1);
        return false;
    }
    if (a->how == OTHERS)
        send_text(fd,
                  "{\"jsonrpc\":\"2.0\",\"method\":\"news\"}\n"
                  "{\"jsonrpc\":\"2.0\",\"id\":\"another\",\"result\":{}}\n",
                  79, 79);
    if (a->how == CROWD)
        page = crowd_page(json_object_get(request, "params"));
    if (a->how == RAW)
        n = asprintf(&reply, "%s\n", a->text);
    else
        n = asprintf(&reply, "{\"jsonrpc\":\"2.0\",\"id\":\"%s\",%s%s}\n", id,
                     page == NULL ? a->text : "\"result\":", page == NULL ? "" : page);
    send_text(fd, reply, (size_t)n / (a->how == HALF ? 2 : 1), a->how == BYTEWISE ? 1 : 1 << 20);
    free(reply);
    free(page);
    return a->how != HALF;
}

static void serve_one(struct fake *f, int fd)
{
    FILE *from = fdopen(fd, "r");
    char *line = NULL;
    size_t cap = 0;

    while (getline(&line, &cap, from) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        bool go_on;

        note_request(f, request);
        go_on = answer_one(f, fd, request);
        json_decref(request);
        if (!go_on)
            break;
    }
    free(line);
    fclose(from);
}

static void *serve(void *arg)
{
    struct fake *f = arg;

    for (int fd; (fd = accept(f->fd, NULL, NULL)) >= 0;)
        serve_one(f, fd);
    return NULL;
}

static int fake_make(void **state)
{
    struct fake *f = calloc(1, sizeof(*f));
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    assert_non_null(f);
    pthread_mutex_init(&f->lock, NULL);
    assert_true(scratch_make(f->dir, sizeof(f->dir)));
    snprintf(f->path, sizeof(f->path), "%s/control.sock", f->dir);
    strcpy(at.sun_path, f->path);
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(f->fd, 8), 0);
    *state = f;
    return 0;
}

static int fake_remove(void **state)
{
    struct fake *f = *state;

    (void)shutdown(f->fd, SHUT_RDWR); /* accept returns */
    if (f->running)
        pthread_join(f->thread, NULL);
    close(f->fd);
    (void)unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static void fake_answers(struct fake *f, const struct answer *answers)
{
    for (size_t i = 0; answers[i].text != NULL; i++) {
        assert_true(i + 1 < ANSWERS_MAX);
        f->answers[i] = answers[i];
    }
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
    f->running = true;
}

/* -- certflipctl's part -------------------------------------------------------------------------
 */

struct ran {
    enum cli_status status;
    char *out, *err; /* owned; what was written */
};

static struct ran run_on(struct fake *f, const char *const *words, bool live)
{
    struct ran r = {.out = NULL};
    struct words_line line;
    struct err err = {0};
    size_t n = 0, out_n, err_n;
    struct cli cli = {.line = &line, .live = live};

    while (words[n] != NULL)
        n++;
    if (words_parse(words, n, &line, &err) != 0)
        fail_msg("%s", err.msg);
    cli.out = (struct show){.to = open_memstream(&r.out, &out_n)};
    cli.err = (struct show){.to = open_memstream(&r.err, &err_n)};
    cli.client = client_open(f->path, &err);
    if (cli.client == NULL)
        fail_msg("%s", err.msg);
    r.status = commands_run(&cli);
    client_close(cli.client);
    fclose(cli.out.to);
    fclose(cli.err.to);
    words_fini(&line);
    return r;
}

static struct ran run(struct fake *f, const char *const *words)
{
    return run_on(f, words, false);
}

static void ran_was(struct ran r, enum cli_status status, const char *out, const char *err)
{
    assert_string_equal(r.out, out);
    assert_string_equal(r.err, err);
    assert_int_equal(r.status, status);
    free(r.out);
    free(r.err);
}

/* Words that are not exact: a path is in them. */
static void ran_failed(struct ran r, enum cli_status status, const char *err_has)
{
    assert_string_equal(r.out, "");
    if (strstr(r.err, err_has) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", r.err, err_has);
    assert_int_equal(r.status, status);
    free(r.out);
    free(r.err);
}

#define WORDS(...)        \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }
#define ANSWERS(...)        \
    (const struct answer[]) \
    {                       \
        __VA_ARGS__,        \
        {                   \
            WHOLE, NULL     \
        }                   \
    }

#define LEVELS "\"result\":{\"levels\":{\"daemon\":\"info\",\"mqtt\":\"warn\"}}"
#define LEVELS_SHOWN \
    "daemon  info\n" \
    "mqtt    warn\n"

static void answer_is_shown(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, LEVELS}));
    ran_was(run(*state, WORDS("log")), CLI_DONE, LEVELS_SHOWN, "");
}

static void answer_in_pieces_is_put_together(void **state)
{
    fake_answers(*state, ANSWERS({BYTEWISE, LEVELS}));
    ran_was(run(*state, WORDS("log")), CLI_DONE, LEVELS_SHOWN, "");
}

static void lines_for_others_are_passed_over(void **state)
{
    fake_answers(*state, ANSWERS({OTHERS, LEVELS}));
    ran_was(run(*state, WORDS("log")), CLI_DONE, LEVELS_SHOWN, "");
}

static void json_is_handed_through(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, LEVELS}));
    ran_was(run(*state, WORDS("log", "--json")), CLI_DONE,
            "{\"levels\":{\"daemon\":\"info\",\"mqtt\":\"warn\"}}\n", "");
}

static void requests_are_as_the_vocabulary_has_them(void **state)
{
    struct fake *f = *state;
    /* clang-format off */
    static const struct { const char *words[12], *request; } rows[] = {
        { { "status" },                         "status {}\n" },
        { { "devices" },                        "device.list {}\n" },
        { { "devices", "press-*" },             "device.list {\"target\":\"press-*\"}\n" },
        { { "device", "press-1" },              "device.get {\"device\":\"press-1\"}\n" },
        { { "sessions", "a", "--limit", "5" },  "sessions.list {\"target\":\"a\",\"limit\":5}\n" },
        { { "flip", "a", "b-*" },               "flip {\"target\":[\"a\",\"b-*\"]}\n" },
        { { "flip", "a", "--probation", "60", "--confirm", "central", "--confirm-deadline", "90" },
          "flip {\"target\":\"a\",\"probation_s\":60,\"confirm\":\"central\",\"confirm_s\":90}\n" },
        { { "rollback", "a", "--reason", "x" }, "rollback {\"target\":\"a\",\"reason\":\"x\"}\n" },
        { { "confirm", "a", "--fingerprint",
            "AA:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
          "confirm {\"target\":\"a\",\"fingerprint\":"
          "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n" },
        { { "commit", "a" },                    "commit {\"target\":\"a\"}\n" },
        { { "quarantine", "clear", "a" },       "quarantine.clear {\"target\":\"a\"}\n" },
        { { "reload" },                         "config.reload {}\n" },
        { { "log", "*", "warn" },               "log.level {\"subsystem\":\"*\",\"level\":\"warn\"}\n" },
        { { "audit", "--limit", "3", "--after", "9" }, "audit.list {\"limit\":3,\"after\":9}\n" },
    };
    /* clang-format on */

    fake_answers(f, ANSWERS({WHOLE, "\"result\":{}"}));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ran r;

        r = run(f, rows[i].words);
        assert_int_equal(r.status, CLI_DONE);
        asked_was(f, rows[i].request);
        free(r.out);
        free(r.err);
    }
}

static void crowd_comes_page_by_page(void **state)
{
    struct fake *f = *state;
    struct client *c;
    json_t *answer = NULL, *devices;
    char name[32];

    fake_answers(f, ANSWERS({CROWD, ""}));
    c = client_open(f->path, NULL);
    assert_non_null(c);
    assert_int_equal(devices_fetch(c, NULL, &answer, NULL), 0);
    devices = json_object_get(answer, "devices");
    assert_int_equal(json_array_size(devices), CROWD_SIZE);
    for (size_t i = 0; i < CROWD_SIZE; i++) {
        snprintf(name, sizeof(name), "press-%05zu", i);
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(devices, i), "device")), name);
    }
    assert_null(json_object_get(answer, "next"));
    json_decref(answer);
    client_close(c);
}

static void names_only_are_a_line_each(void **state)
{
    fake_answers(
        *state,
        ANSWERS({WHOLE, "\"result\":{\"devices\":[{\"device\":\"a\"},{\"device\":\"b\"}]}"}));
    ran_was(run(*state, WORDS("devices", "--names")), CLI_DONE, "a\nb\n", "");
}

/* -- refusals -----------------------------------------------------------------------------------
 */

#define NO_DEVICE                                             \
    "\"error\":{\"code\":-32002,\"message\":\"no device x\"," \
    "\"data\":{\"name\":\"no-such-device\",\"remedy\":\"certflipctl devices lists them\"}}"

static void refusal_names_the_remedy(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, NO_DEVICE}));
    ran_was(run(*state, WORDS("flip", "x", "--wait")), CLI_REFUSED, "",
            "certflipctl: flip: no device x\n  certflipctl devices lists them\n");
    ran_was(run(*state, WORDS("devices", "x")), CLI_REFUSED, "",
            "certflipctl: devices: no device x\n  certflipctl devices lists them\n");
}

static void refusal_as_json(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, NO_DEVICE}));
    ran_was(run(*state, WORDS("flip", "x", "--json")), CLI_REFUSED,
            "{\"error\":{\"code\":-32002,\"message\":\"no device x\",\"data\":{\"name\":"
            "\"no-such-device\",\"remedy\":\"certflipctl devices lists them\"}}}\n",
            "");
}

/* What could not be read has no id in its answer. */
static void answer_without_id_is_taken(void **state)
{
    fake_answers(*state,
                 ANSWERS({RAW, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,"
                               "\"message\":\"not JSON\"}}"}));
    ran_was(run(*state, WORDS("status")), CLI_REFUSED, "", "certflipctl: status: not JSON\n");
}

#define ROW_OK(name) "{\"device\":\"" name "\",\"ok\":true,\"phase\":\"trial\",\"changed\":true}"
#define ROW_NO(name)                                                        \
    "{\"device\":\"" name "\",\"ok\":false,\"phase\":\"steady\",\"error\":" \
    "{\"code\":-32004,\"name\":\"no-identity\",\"message\":\"no new identity\",\"remedy\":\"\"}}"

static void partly_refused_is_a_failure(void **state)
{
    fake_answers(*state,
                 ANSWERS({WHOLE, "\"result\":{\"done\":1,\"refused\":1,\"devices\":[" ROW_NO(
                                     "b") "," ROW_OK("a") "]}"}));
    ran_was(run(*state, WORDS("flip", "*")), CLI_REFUSED,
            "b  refused  no new identity\n"
            "a  trial\n",
            "certflipctl: flip: 1 of 2 devices refused\n");
}

static void all_refused_lists_each(void **state)
{
    fake_answers(*state,
                 ANSWERS({WHOLE, "\"error\":{\"code\":-32004,\"message\":\"b: no new identity\","
                                 "\"data\":{\"name\":\"no-identity\",\"results\":[" ROW_NO(
                                     "b") "," ROW_NO("c") "]}}"}));
    ran_was(run(*state, WORDS("flip", "*")), CLI_REFUSED, "",
            "certflipctl: flip: b: no new identity\n"
            "b  refused  no new identity\n"
            "c  refused  no new identity\n");
}

/* -- waiting ------------------------------------------------------------------------------------
 */

#define OUTCOME(rows) "\"result\":{\"done\":1,\"refused\":0,\"devices\":[" rows "]}"
#define LIST(rows)    "\"result\":{\"devices\":[" rows "],\"total\":1,\"next\":null}"
#define LIST_BEGIN    "\"result\":{\"devices\":["
#define LIST_END      "],\"total\":1,\"next\":null}"
#define DEVICE(name, phase, waiting) \
    "{\"device\":\"" name "\",\"phase\":\"" phase "\",\"waiting\":" waiting ",\"active\":\"new\"}"

#define PROBATION(due) \
    "{\"device\":\"a\",\"phase\":\"trial\",\"waiting\":\"probation\",\"due\":\"" due "\"}"

static void wait_follows_to_the_commit(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, OUTCOME(ROW_OK("a"))},
                                 {WHOLE, LIST(DEVICE("a", "trial", "\"upstream\""))},
                                 {WHOLE, LIST(PROBATION("2031-05-02T12:05:00Z"))},
                                 {WHOLE, LIST(PROBATION("2031-05-02T12:05:01Z"))},
                                 {WHOLE, LIST(DEVICE("a", "committed", "null"))}));
    ran_was(run(*state, WORDS("flip", "a", "--wait")), CLI_DONE,
            "a  trial\n"
            "a: trial, connects upstream\n"
            "a: trial, in probation until 2031-05-02T12:05:00Z\n"
            "a: committed\n",
            "");
}

/* A daemon that is started anew goes on with its trials. */
static void wait_goes_on_after_a_restart(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, OUTCOME(ROW_OK("a"))},
                                 {WHOLE, LIST(DEVICE("a", "trial", "\"upstream\""))}, {CLOSE, ""},
                                 {HALF, LIST(DEVICE("a", "trial", "\"upstream\""))},
                                 {WHOLE, LIST(DEVICE("a", "committed", "null"))}));
    ran_was(run(*state, WORDS("flip", "a", "--wait")), CLI_DONE,
            "a  trial\n"
            "a: trial, connects upstream\n"
            "certflipd has stopped; waiting for it to come back\n"
            "a: committed\n",
            "");
}

static void wait_ends_when_the_daemon_does_not_come_back(void **state)
{
    struct fake *f = *state;
    struct ran r;

    fake_answers(f, ANSWERS({WHOLE, OUTCOME(ROW_OK("a"))}, {GONE, ""}));
    r = run(f, WORDS("flip", "a", "--wait", "--timeout", "1"));
    assert_int_equal(r.status, CLI_UNREACHABLE);
    assert_non_null(strstr(r.err, f->path));
    free(r.out);
    free(r.err);
}

#define TO_PROVE(waiting, missing)                                 \
    "{\"device\":\"a\",\"phase\":\"trial\",\"waiting\":\"" waiting \
    "\",\"due\":\"2031-05-02T12:05:00Z\",\"evidence\":{\"missing\":[" missing "]}}"

/* What is to be proven yet is part of the line; that it was proven is news. */
static void wait_tells_what_is_missing(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, OUTCOME(ROW_OK("a"))},
                                 {WHOLE, LIST(TO_PROVE("probation", "\"echo\",\"central\""))},
                                 {WHOLE, LIST(TO_PROVE("probation", "\"central\""))},
                                 {WHOLE, LIST(TO_PROVE("probation", "\"central\""))},
                                 {WHOLE, LIST(TO_PROVE("confirm", "\"central\""))},
                                 {WHOLE, LIST(DEVICE("a", "committed", "null"))}));
    ran_was(run(*state, WORDS("flip", "a", "--confirm", "central", "--evidence", "echo", "--wait")),
            CLI_DONE,
            "a  trial\n"
            "a: trial, in probation until 2031-05-02T12:05:00Z, missing: the echo, confirmation\n"
            "a: trial, in probation until 2031-05-02T12:05:00Z, missing: confirmation\n"
            "a: trial, waits for confirmation until 2031-05-02T12:05:00Z\n"
            "a: committed\n",
            "");
}

/* What to do about it stands below, where it is known; and a flip that never began says so. */
static void wait_tells_remedies_and_what_was_given_up(void **state)
{
    fake_answers(
        *state,
        ANSWERS(
            {WHOLE, OUTCOME(ROW_OK("a") "," ROW_OK("b"))},
            {WHOLE,
             LIST(DEVICE("a", "trial", "\"device\"") "," DEVICE("b", "trial", "\"probation\""))},
            {WHOLE,
             LIST(DEVICE("a", "staged",
                         "null") ","
                                 "{\"device\":\"b\",\"phase\":\"rolled-back\",\"active\":\"old\","
                                 "\"reason\":\"no echo\",\"last_error\":{\"message\":\"no echo\","
                                 "\"remedy\":\"allow it\"}}")}));
    ran_was(run(*state, WORDS("flip", "a", "b", "--begin-within", "1", "--wait")), CLI_ROLLED_BACK,
            "a  trial\n"
            "b  trial\n"
            "a: trial, waits for the sensor\n"
            "b: trial, in probation\n"
            "a: given up: not accepted in time; staged again\n"
            "b: rolled-back: no echo\n"
            "  allow it\n"
            "2 devices: 0 committed, 1 rolled back, 1 failed\n",
            "");
}

/* A terminal of 24 lines: what has ended stands above, what goes on below, as far as there is room.
 */
static void terminal_is_drawn_anew_at_each_look(void **state)
{
    char going[8000] = LIST_BEGIN, expected[4000] = "\033[?7l";
    struct ran r;

    for (unsigned i = 0; i < 30; i++) {
        sprintf(going + strlen(going), "%s" DEVICE("d%02u", "trial", "\"queue\""),
                i == 0 ? "" : ",", i);
        if (i < 20)
            sprintf(expected + strlen(expected), "d%02u: trial, waits for its turn\n", i);
    }
    strcat(going, LIST_END);
    strcat(expected, "... and 10 more\n"
                     "30 devices: 0 committed, 30 not done yet (30 in the queue)\n\033[?7h"
                     "\033[22A\033[J" /* and all of it again */
                     "d00: committed\n");
    fake_answers(*state, ANSWERS({WHOLE, OUTCOME(ROW_OK("d00"))}, {WHOLE, going},
                                 {WHOLE, LIST(DEVICE("d00", "committed", "null"))}));
    r = run_on(*state, WORDS("flip", "d*", "--wait"), true);
    assert_int_equal(r.status, CLI_REFUSED); /* the others are gone */
    if (strncmp(r.out, expected, strlen(expected)) != 0)
        fail_msg("%s", r.out);
    assert_non_null(strstr(r.out, "d29: no longer there\n"));
    assert_non_null(strstr(r.out, "30 devices: 1 committed, 29 failed\n"));
    free(r.out);
    free(r.err);
}

static void wait_tells_a_rollback(void **state)
{
    fake_answers(
        *state,
        ANSWERS(
            {WHOLE, OUTCOME(ROW_OK("a") "," ROW_OK("b"))},
            {WHOLE, LIST(DEVICE("a", "trial", "null") "," DEVICE("b", "trial", "null") "," DEVICE(
                        "c", "staged", "null"))},
            {WHOLE,
             LIST(DEVICE("a", "committed",
                         "null") ","
                                 "{\"device\":\"b\",\"phase\":\"rolled-back\",\"active\":\"old\","
                                 "\"reason\":\"tls.unknown_ca\"}")}));
    ran_was(run(*state, WORDS("flip", "*", "--wait")), CLI_ROLLED_BACK,
            "a  trial\n"
            "b  trial\n"
            "a: trial\n"
            "b: trial\n"
            "c: staged\n"
            "a: committed\n"
            "b: rolled-back: tls.unknown_ca\n"
            "c: no longer there\n"
            "3 devices: 1 committed, 1 rolled back, 1 failed\n",
            "");
}

/* The refused one is not waited for, but it is the exit status. */
static void wait_leaves_the_refused_out(void **state)
{
    fake_answers(
        *state,
        ANSWERS({WHOLE, "\"result\":{\"done\":1,\"refused\":1,\"devices\":[" ROW_NO("b") "," ROW_OK(
                            "a") "]}"},
                {WHOLE, LIST(DEVICE("a", "committed", "null") "," DEVICE("b", "staged", "null"))}));
    ran_was(run(*state, WORDS("flip", "*", "--wait")), CLI_REFUSED,
            "b  refused  no new identity\n"
            "a  trial\n"
            "a: committed\n",
            "certflipctl: flip: 1 of 2 devices refused\n");
}

static void wait_for_a_rollback(void **state)
{
    fake_answers(
        *state,
        ANSWERS({WHOLE, OUTCOME(ROW_OK("a"))},
                {WHOLE, LIST("{\"device\":\"a\",\"phase\":\"rolled-back\",\"active\":\"old\","
                             "\"online\":true,\"upstream\":{\"slot\":\"new\","
                             "\"state\":\"accepted\"}}")},
                {WHOLE, LIST("{\"device\":\"a\",\"phase\":\"rolled-back\",\"active\":\"old\","
                             "\"online\":true,\"upstream\":{\"slot\":\"old\","
                             "\"state\":\"accepted\"}}")}));
    ran_was(run(*state, WORDS("rollback", "a", "--wait")), CLI_DONE,
            "a  trial\n"
            "a: rolled-back, connects with the old identity\n"
            "a: rolled-back\n",
            "");
}

static void wait_ends_with_its_timeout(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, OUTCOME(ROW_OK("a"))},
                                 {WHOLE, LIST(DEVICE("a", "trial", "\"confirm\""))}));
    ran_was(run(*state, WORDS("flip", "a", "--wait", "--timeout", "1")), CLI_REFUSED,
            "a  trial\n"
            "a: trial, waits for confirmation\n"
            "1 device: 0 committed, 1 not done yet (1 to be confirmed)\n",
            "");
}

static void wait_as_json_is_one_object(void **state)
{
    fake_answers(*state, ANSWERS({WHOLE, OUTCOME(ROW_OK("a"))},
                                 {WHOLE, LIST(DEVICE("a", "committed", "null"))}));
    ran_was(run(*state, WORDS("flip", "a", "--wait", "--json")), CLI_DONE,
            "{\"outcome\":{\"done\":1,\"refused\":0,\"devices\":[" ROW_OK(
                "a") "]},"
                     "\"devices\":[" DEVICE("a", "committed", "null") "]}\n",
            "");
}

static void daemon_that_ends_meanwhile_is_told(void **state)
{
    struct ran r;

    fake_answers(*state, ANSWERS({WHOLE, OUTCOME(ROW_OK("a"))}, {CLOSE, ""}));
    r = run(*state, WORDS("flip", "a", "--wait", "--timeout", "1"));
    assert_int_equal(r.status, CLI_UNREACHABLE);
    assert_string_equal(r.out, "a  trial\ncertflipd has stopped; waiting for it to come back\n");
    assert_non_null(strstr(r.err, "closed the connection before it answered"));
    free(r.out);
    free(r.err);
}

/* -- a daemon that misbehaves, or is not there ----------------------------------------------------
 */

static void closed_connection_is_told(void **state)
{
    fake_answers(*state, ANSWERS({CLOSE, ""}));
    ran_failed(run(*state, WORDS("status")), CLI_UNREACHABLE,
               "control.sock: certflipd closed the connection before it answered");
}

static void half_an_answer_is_none(void **state)
{
    fake_answers(*state, ANSWERS({HALF, LEVELS}));
    ran_failed(run(*state, WORDS("log")), CLI_UNREACHABLE, "closed the connection");
}

static void what_is_no_json_is_told(void **state)
{
    fake_answers(*state, ANSWERS({RAW, "HTTP/1.1 400 Bad Request"}));
    ran_failed(run(*state, WORDS("status")), CLI_UNREACHABLE, "is this certflipd's socket?");
}

/* Several questions in one message: what comes back has to be their answers, one for each. */
static void answers_to_several_questions_are_checked(void **state)
{
    struct fake *f = *state;

    fake_answers(f, ANSWERS({RAW, "[]"}, {RAW, "{}"},
                            {RAW, "[{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{}},"
                                  "{\"jsonrpc\":\"2.0\",\"id\":\"y\",\"result\":{}}]"}));
    for (int i = 0; i < 3; i++) {
        struct client_question all[] = {{"status", NULL, 0, NULL},
                                        {"log.recent", json_pack("{s:i}", "limit", 1), 0, NULL}};
        struct err err = {0};
        struct client *c = client_open(f->path, &err);

        assert_int_equal(client_ask(c, all, 2, &err), -ERR_SYNTAX);
        assert_null(all[0].answer);
        assert_null(all[1].answer);
        asked_was(f, "status \nlog.recent {\"limit\":1}\n");
        client_close(c);
    }
}

static void silent_daemon_is_told(void **state)
{
    struct fake *f = *state;
    struct err err = {0};
    json_t *answer = NULL;
    struct client *c;

    fake_answers(f, ANSWERS({SILENT, ""}));
    c = client_open(f->path, &err);
    client_set_patience(c, 30);
    assert_int_equal(client_call(c, "status", NULL, &answer, &err), -ERR_TIMEOUT);
    assert_null(answer);
    assert_non_null(strstr(err.msg, "certflipd is silent"));
    client_close(c);
}

/* A peer that goes away while a long request is written must not kill us by SIGPIPE. */
static void peer_that_goes_away_is_told(void **state)
{
    struct fake *f = *state;
    struct err err = {0};
    size_t n = RPC_LINE_MAX - 1000;
    char *large = malloc(n + 1);
    json_t *answer = NULL;
    struct client *c;
    int fd;

    memset(large, 'x', n);
    large[n] = '\0';
    c = client_open(f->path, &err);
    fd = accept(f->fd, NULL, NULL);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(client_call(c, "flip", json_pack("{s:s}", "target", large), &answer, &err),
                     -ERR_CLOSED);
    assert_null(answer);
    client_close(c);
    free(large);
}

static void request_that_is_too_long_is_not_sent(void **state)
{
    struct fake *f = *state;
    struct err err = {0};
    char *large = calloc(1, RPC_LINE_MAX + 1);
    json_t *answer = NULL;
    struct client *c = client_open(f->path, &err);

    memset(large, 'x', RPC_LINE_MAX);
    assert_int_equal(client_call(c, "flip", json_pack("{s:s}", "target", large), &answer, &err),
                     -ERR_TOO_BIG);
    assert_non_null(strstr(err.msg, "use a glob"));
    client_close(c);
    free(large);
}

static void opening_fails(const char *path, const char *saying)
{
    struct err err = {0};

    assert_null(client_open(path, &err));
    if (strstr(err.msg, saying) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.msg, saying);
}

static void missing_daemon_is_explained(void **state)
{
    struct fake *f = *state;
    char longest[200];

    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    opening_fails("/nonexistent/control.sock", "no such socket: is certflipd running");
    opening_fails(longest, "longer than the 107 bytes");
    close(f->fd); /* the file stays, nobody listens */
    opening_fails(f->path, "nobody listens: certflipd has stopped");
    f->fd = -1;
}

static void missing_permission_names_the_group(void **state)
{
    struct fake *f = *state;
    struct err err = {0};
    int status = -1;
    pid_t pid;

    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(chmod(f->path, 0), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool is_user = getuid() != 0 || setresuid(65534, 65534, 65534) == 0;
        struct client *c = client_open(f->path, &err);

        if (!is_user || c != NULL || err.code != ERR_DENIED)
            _exit(1);
        if (strstr(err.msg, "permission denied: be root, or a member of group") == NULL)
            _exit(2);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* -- the program itself ---------------------------------------------------------------------------
 */

/* Run the built certflipctl by the shell; what it writes (both streams) goes to `out`.  One that is
 * built for another machine runs under what CERTFLIP_EMULATOR names, as this program does. */
static int run_program(struct fake *f, const char *args, char *out, size_t n)
{
    const char *top = getenv("builddir"), *emulator = getenv("CERTFLIP_EMULATOR");
    char command[512];
    FILE *from;
    size_t got;
    int status;

    snprintf(command, sizeof(command), "{ CERTFLIP_SOCKET=%s %s %s/certflipctl %s; } 2>&1", f->path,
             emulator == NULL ? "" : emulator, top == NULL ? "." : top, args);
    from = popen(command, "r");
    assert_non_null(from);
    got = fread(out, 1, n - 1, from);
    out[got] = '\0';
    status = pclose(from);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void program_ends_with_the_documented_status(void **state)
{
    struct fake *f = *state;
    char out[8192];

    fake_answers(f, ANSWERS({WHOLE, LEVELS}, {WHOLE, NO_DEVICE}, {CLOSE, ""}));
    assert_int_equal(run_program(f, "log", out, sizeof(out)), CLI_DONE);
    assert_string_equal(out, LEVELS_SHOWN);
    assert_int_equal(run_program(f, "device x", out, sizeof(out)), CLI_REFUSED);
    assert_int_equal(run_program(f, "status", out, sizeof(out)), CLI_UNREACHABLE);
    assert_int_equal(run_program(f, "flpi", out, sizeof(out)), CLI_USAGE);
    assert_string_equal(out, "certflipctl: unknown command \"flpi\": did you mean \"flip\"?\n");
    assert_int_equal(run_program(f, "-s /nonexistent status", out, sizeof(out)), CLI_UNREACHABLE);
    assert_int_equal(run_program(f, "--version", out, sizeof(out)), CLI_DONE);
    assert_string_equal(out, "certflipctl " PACKAGE_VERSION "\n");
    assert_int_equal(run_program(f, "help > /dev/full", out, sizeof(out)), CLI_REFUSED);
    assert_string_equal(out, "certflipctl: cannot write the output: No space left on device\n");
}

static void program_completes_device_names(void **state)
{
    struct fake *f = *state;
    char out[8192];

    fake_answers(
        f, ANSWERS({WHOLE, "\"result\":{\"devices\":[{\"device\":\"press-1\"}]}"}, {CLOSE, ""}));
    assert_int_equal(run_program(f, "complete flip pre", out, sizeof(out)), 0);
    assert_string_equal(out, "press-1\n");
    asked_was(f, "device.list {\"target\":\"pre*\"}\n");
    assert_int_equal(run_program(f, "complete flip x", out, sizeof(out)), 0);
    assert_string_equal(out, "");
    assert_int_equal(run_program(f, "complete qu", out, sizeof(out)), 0);
    assert_string_equal(out, "quarantine\n");
    assert_int_equal(run_program(f, "complete -s ''", out, sizeof(out)), 1);
    assert_string_equal(out, "");
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, fake_make, fake_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(answer_is_shown),
        ROW(answer_in_pieces_is_put_together),
        ROW(lines_for_others_are_passed_over),
        ROW(json_is_handed_through),
        ROW(requests_are_as_the_vocabulary_has_them),
        ROW(crowd_comes_page_by_page),
        ROW(names_only_are_a_line_each),
        ROW(refusal_names_the_remedy),
        ROW(refusal_as_json),
        ROW(answer_without_id_is_taken),
        ROW(partly_refused_is_a_failure),
        ROW(all_refused_lists_each),
        ROW(wait_follows_to_the_commit),
        ROW(wait_goes_on_after_a_restart),
        ROW(wait_ends_when_the_daemon_does_not_come_back),
        ROW(wait_tells_what_is_missing),
        ROW(terminal_is_drawn_anew_at_each_look),
        ROW(wait_tells_remedies_and_what_was_given_up),
        ROW(wait_tells_a_rollback),
        ROW(wait_leaves_the_refused_out),
        ROW(wait_for_a_rollback),
        ROW(wait_ends_with_its_timeout),
        ROW(wait_as_json_is_one_object),
        ROW(daemon_that_ends_meanwhile_is_told),
        ROW(closed_connection_is_told),
        ROW(half_an_answer_is_none),
        ROW(what_is_no_json_is_told),
        ROW(answers_to_several_questions_are_checked),
        ROW(silent_daemon_is_told),
        ROW(peer_that_goes_away_is_told),
        ROW(request_that_is_too_long_is_not_sent),
        ROW(missing_daemon_is_explained),
        ROW(missing_permission_names_the_group),
        ROW(program_ends_with_the_documented_status),
        ROW(program_completes_device_names),
    };

    return cmocka_run_group_tests_name("cli: client", tests, NULL, NULL);
}
