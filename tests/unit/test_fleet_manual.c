/* certflip-fleet.conf(5) and the example of a campaign file say what the table of keys says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/durable.h"
#include "base/str.h"
#include "fleet/campaign.h"

static char *source(const char *name)
{
    const char *srcdir = getenv("srcdir");
    char *path = str_printf("%s/%s", srcdir == NULL ? "." : srcdir, name);
    struct buf b = {0};
    struct err err = {0};

    if (durable_read(path, 1 << 20, &b, &err) != 0)
        fail_msg("%s", err.msg);
    buf_append_u8(&b, '\0');
    free(path);
    return (char *)b.p;
}

/* The part of `text` that is about the group that `row` is in.  `begin` and `end` are printf's of
 * its name.  Returns owned. */
static char *part_of(const char *text, const struct conf_row *row, const char *mark,
                     const char *const ends[2])
{
    char top[64], *start, *part;
    const char *at, *end = NULL;

    snprintf(top, sizeof(top), "%s", row->key);
    if (strchr(top, '.') == NULL && row->kind != CONF_GROUP && row->kind != CONF_LIST)
        return strdup(text);
    if (strchr(top, '.') != NULL)
        *strchr(top, '.') = '\0';
    start = str_printf("\n%s%s = ", mark, top);
    at = strstr(text, start);
    if (at == NULL)
        fail_msg("nothing on %s", top);
    for (int i = 0; i < 2 && at != NULL; i++) {
        const char *one = strstr(at + 1, ends[i]);

        if (one != NULL && (end == NULL || one < end))
            end = one;
    }
    part = end == NULL ? strdup(at) : strndup(at, (size_t)(end - at));
    free(start);
    return part;
}

/* Every key has its item, and in it its default or that it is required. */
static void manual_documents_every_key(void **unused)
{
    static const char *const ends[] = {"\n.Ss", "\n.Sh"};
    char *text = source("src/fleet/certflip-fleet.conf.5");

    (void)unused;
    for (size_t i = 0; i < campaign_table.count; i++) {
        const struct conf_row *row = &campaign_table.rows[i];
        bool top =
            strchr(row->key, '.') == NULL && (row->kind == CONF_GROUP || row->kind == CONF_LIST);
        char *section = part_of(text, row, ".Ss ", ends);
        char *item = str_printf("\n.It Ic %s No = ", conf_row_name(row));
        char *inside = strncmp(row->key, "retire.anchors.", 15) == 0
                           ? strstr(section, "\n.It Ic anchors No = ")
                           : section;
        char *at = top ? section : strstr(inside, item), *next;

        if (at == NULL) {
            fail_msg("certflip-fleet.conf.5 has no item for %s", row->key);
            return;
        }
        next = top ? NULL : strstr(at + 1, "\n.It ");
        if (next != NULL)
            *next = '\0';
        if (row->def == conf_required && strstr(at, "\nRequired.") == NULL)
            fail_msg("certflip-fleet.conf.5 does not say that %s is required", row->key);
        if (row->def != NULL && row->def != conf_required) {
            char *def = str_printf("\nDefault:\n.Ql %s .\n", row->def);

            /* the last item has lost its newline to the next one */
            def[strlen(def) - 1] = '\0';
            if (strstr(at, def) == NULL)
                fail_msg("certflip-fleet.conf.5: %s: default %s", row->key, row->def);
            free(def);
        }
        free(item);
        free(section);
    }
    free(text);
}

/* Every key has a line "name = value", which may be commented out, and a default is shown as such.
 */
static void example_shows_every_key(void **unused)
{
    static const char *const ends[] = {"\n};", "\n);"};
    char *text = source("conf/certflip-fleet.conf");

    (void)unused;
    for (size_t i = 0; i < campaign_table.count; i++) {
        const struct conf_row *row = &campaign_table.rows[i];
        char *part = part_of(text, row, "", ends), *save = NULL;
        char *name = str_printf("%s = ", conf_row_name(row));
        bool has_default = row->def != NULL && row->def != conf_required;
        bool shown = false, right = !has_default;
        char quoted[80] = "", array[80] = "", one[84] = "";

        if (has_default) {
            snprintf(quoted, sizeof(quoted), "\"%s\"", row->def);
            snprintf(array, sizeof(array), "[%s]", row->def);
            snprintf(one, sizeof(one), "[ \"%s\" ]", row->def);
        }
        for (char *line = strtok_r(part, "\n", &save); line != NULL;
             line = strtok_r(NULL, "\n", &save)) {
            char *p = line + strspn(line, " #");

            if (strncmp(p, name, strlen(name)) != 0)
                continue;
            shown = true;
            p += strlen(name);
            p[strcspn(p, ";")] = '\0';
            if (has_default && (strcmp(p, row->def) == 0 || strcmp(p, quoted) == 0 ||
                                strcmp(p, array) == 0 || strcmp(p, one) == 0))
                right = true;
        }
        if (!shown)
            fail_msg("certflip-fleet.conf does not show %s", row->key);
        if (!right)
            fail_msg("certflip-fleet.conf: %s: default %s", row->key, row->def);
        free(part);
        free(name);
    }
    free(text);
}

static struct campaign *good(const char *text)
{
    struct buf faults = {0};
    unsigned count = 0;
    struct campaign *c = campaign_load_text("c.conf", text, strlen(text), &faults, &count);

    if (c == NULL)
        fail_msg("%.*s", (int)faults.len, (const char *)faults.p);
    buf_fini(&faults);
    return c;
}

/* As it is, and with all its defaults said aloud. */
static void example_is_a_good_campaign(void **unused)
{
    char *text = source("conf/certflip-fleet.conf");
    struct campaign *plain = good(text), *aloud;

    (void)unused;
    for (char *p = text; (p = strchr(p, '#')) != NULL; p++)
        if (p[1] >= 'a' && p[1] <= 'z')
            *p = ' ';
    aloud = good(text);
    assert_string_equal(plain->digest, aloud->digest);
    assert_int_equal(plain->waves.soak_s, aloud->waves.soak_s);
    campaign_free(plain);
    campaign_free(aloud);
    free(text);
}

static void manual_example_is_a_good_campaign(void **unused)
{
    char *text = source("src/fleet/certflip-fleet.conf.5");
    char *at = strstr(text, ".Sh EXAMPLES");
    struct campaign *c;

    (void)unused;
    at = strstr(at, ".Bd -literal -offset indent\n");
    assert_non_null(at);
    at = strchr(at, '\n') + 1;
    *strstr(at, ".Ed") = '\0';
    c = good(at);
    assert_int_equal(c->hours.count, 2);
    campaign_free(c);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manual_documents_every_key),
        cmocka_unit_test(example_shows_every_key),
        cmocka_unit_test(example_is_a_good_campaign),
        cmocka_unit_test(manual_example_is_a_good_campaign),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
