/* The words of certflip-fleet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/durable.h"
#include "fleet/words.h"

#define PARSE(line, err, ...)                                                                  \
    fleet_words_parse((const char *const[]){__VA_ARGS__},                                      \
                      sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *), line, \
                      err)

static void nothing_is_help(void **state)
{
    struct fleet_line line;

    (void)state;
    assert_int_equal(fleet_words_parse(NULL, 0, &line, NULL), 0);
    assert_int_equal(line.command, FLEET_WORDS_HELP);
    assert_true(line.help);
    fleet_words_fini(&line);
    assert_int_equal(PARSE(&line, NULL, "-V"), 0);
    assert_true(line.version);
    fleet_words_fini(&line);
}

static void a_typing_error_names_the_nearest_word(void **state)
{
    struct fleet_line line;
    struct err err = {0};

    (void)state;
    assert_int_equal(PARSE(&line, &err, "hepl"), -ERR_INVALID);
    assert_string_equal(err.msg, "unknown command \"hepl\": did you mean \"help\"?");
    assert_int_equal(PARSE(&line, &err, "help", "--jsn"), -ERR_INVALID);
    assert_string_equal(err.msg, "unknown option \"--jsn\": did you mean \"--json\"?");
    assert_int_equal(PARSE(&line, &err, "help", "--json=x"), -ERR_INVALID);
    assert_string_equal(err.msg, "--json: takes no value");
    assert_int_equal(PARSE(&line, &err, "help", "help", "more"), -ERR_INVALID);
    assert_string_equal(err.msg,
                        "help: does not take \"more\": usage: certflip-fleet help [COMMAND]");
}

/* Every command has a row of its own, and help for it. */
static void every_command_is_explained(void **state)
{
    (void)state;
    for (int id = 0; id < FLEET_WORDS_COUNT; id++) {
        const struct fleet_words_command *c = fleet_words_command((enum fleet_words_id)id);
        const char *args[] = {c->word};
        struct fleet_line line = {.args = args, .arg_count = 1};
        char *text = NULL;
        size_t n = 0;
        FILE *to = open_memstream(&text, &n);

        assert_int_equal(fleet_words_help(&line, to, NULL), 0);
        fclose(to);
        assert_non_null(strstr(text, c->help));
        assert_non_null(strstr(text, c->example));
        assert_true(strncmp(c->example, c->word, strlen(c->word)) == 0);
        free(text);
    }
}

/* The text of the manual, in which every hyphen is a real one.  Returns owned. */
static char *read_manual(void)
{
    const char *srcdir = getenv("srcdir");
    char path[4096];
    struct buf text = {0};
    struct err err = {0};

    snprintf(path, sizeof(path), "%s/src/fleet/certflip-fleet.1", srcdir == NULL ? "." : srcdir);
    if (durable_read(path, 1U << 20, &text, &err) != 0 || buf_append_u8(&text, 0) != 0)
        fail_msg("%s", err.msg);
    for (char *at = (char *)text.p; (at = strstr(at, "\\-")) != NULL; at++)
        memmove(at, at + 1, strlen(at));
    return (char *)text.p;
}

/* Each command stands in certflip-fleet(1), and each option that its help names. */
static void the_manual_is_complete(void **state)
{
    char *manual = read_manual();

    (void)state;
    for (int id = 0; id < FLEET_WORDS_COUNT; id++) {
        const struct fleet_words_command *c = fleet_words_command((enum fleet_words_id)id);
        const char *args[] = {c->word};
        struct fleet_line line = {.args = args, .arg_count = 1};
        char heading[64], *text = NULL;
        size_t n = 0;
        FILE *to = open_memstream(&text, &n);

        snprintf(heading, sizeof(heading), "\n\\fB%s\\fR", c->word);
        if (strstr(manual, heading) == NULL)
            fail_msg("certflip-fleet.1: no command %s", c->word);
        assert_int_equal(fleet_words_help(&line, to, NULL), 0);
        fclose(to);
        for (char *at = text; (at = strstr(at, "--")) != NULL;) {
            at[strcspn(at, " \n")] = '\0';
            if (strstr(manual, at) == NULL)
                fail_msg("certflip-fleet.1: no option %s", at);
            at += strlen(at) + 1;
            if (at >= text + n)
                break;
        }
        free(text);
    }
    free(manual);
}

static void count_offer(void *arg, const char *word)
{
    size_t *count = arg;

    assert_true(word[0] != '\0');
    ++*count;
}

static void completion_offers_what_may_come(void **state)
{
    size_t count = 0;
    const char *file;

    (void)state;
    assert_int_equal(fleet_words_complete((const char *const[]){""}, 1, count_offer, &count, &file),
                     FLEET_WORDS_NO_MORE);
    assert_int_equal(count, FLEET_WORDS_COUNT);
    count = 0;
    (void)fleet_words_complete((const char *const[]){"help", "--js"}, 2, count_offer, &count,
                               &file);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_help),
        cmocka_unit_test(a_typing_error_names_the_nearest_word),
        cmocka_unit_test(every_command_is_explained),
        cmocka_unit_test(the_manual_is_complete),
        cmocka_unit_test(completion_offers_what_may_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
