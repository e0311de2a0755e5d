/* certflip.conf(5) and the example file say what the table of keys says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/durable.h"
#include "base/str.h"
#include "conf/schema.h"
#include "scratch.h"
#include "test_conf.h"

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

/* The default as it is for an installation in the usual places. */
static const char *usual(const struct conf_row *row, char *out, size_t n)
{
    static const char *const places[][2] = {
        {CERTFLIP_STATE_DIR, "/var/lib/certflip"},
        {CERTFLIP_RUN_DIR, "/run/certflip"},
    };

    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(places[i][0]);

        if (strncmp(row->def, places[i][0], len) == 0) {
            snprintf(out, n, "%s%s", places[i][1], row->def + len);
            return out;
        }
    }
    snprintf(out, n, "%s", row->def);
    return out;
}

/* From "name = {" or "name = (" at this depth, so that keys of one name do not stand in for each
 * other.  Returns where the part of `key` begins; its end comes with the next part. */
static const char *part_of(const char *text, const struct conf_row *row, const char *mark,
                           size_t *len)
{
    const char *end;
    const char *at;
    char top[64];
    char *start;

    snprintf(top, sizeof(top), "%s", row->key);
    if (strchr(top, '.') == NULL) {
        *len = strlen(text);
        return text;
    }
    *strchr(top, '.') = '\0';
    start = str_printf("\n%s%s = ", mark, top);
    at = strstr(text, start);
    if (at == NULL) {
        fail_msg("nothing on %s", top);
        return "";
    }
    end = mark[0] == '\0' ? strstr(at, "\n}") : strstr(at + 1, "\n.S");
    if (mark[0] == '\0' && (strstr(at, "\n)") != NULL && (end == NULL || strstr(at, "\n)") < end)))
        end = strstr(at, "\n)");
    *len = end == NULL ? strlen(at) : (size_t)(end - at);
    free(start);
    return at;
}

/* Every key has its item, and in it its default or that it is required. */
static void manual_documents_every_key(void **unused)
{
    char *text = source("src/conf/certflip.conf.5");

    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];
        size_t len;
        const char *part = part_of(text, row, ".Ss ", &len);
        char *section = strndup(part, len);
        char *item = str_printf("\n.It Ic %s No = ", conf_row_name(row));
        char *at;
        char def[256];
        char reach[16];
        bool top =
            strchr(row->key, '.') == NULL && (row->kind == CONF_GROUP || row->kind == CONF_LIST);

        if (top) { /* has a section in the place of an item */
            free(item);
            item = str_printf("\n.Ss %s = ", row->key);
        }
        at = strstr(section, item);
        if (at == NULL)
            fail_msg("certflip.conf.5 has no item for %s", row->key);
        if (!top) {
            char *next = strstr(at + 1, "\n.It ");

            if (next != NULL)
                *next = '\0';
            snprintf(reach, sizeof(reach), "Bq %s\n",
                     row->reload == RELOAD_NOW    ? "now"
                     : row->reload == RELOAD_NEXT ? "next"
                                                  : "restart");
            if (strcmp(row->key, "devices.match") != 0 && strstr(at, reach) == NULL)
                fail_msg("certflip.conf.5: %s: a reload reaches \"%s\"", row->key, reach);
        }
        if (row->def == conf_required && strstr(at, "Required") == NULL)
            fail_msg("certflip.conf.5 does not say that %s is required", row->key);
        if (row->def != NULL && row->def != conf_required) {
            char *said = strstr(at, "Default:");

            if (said == NULL || strstr(said, usual(row, def, sizeof(def))) == NULL)
                fail_msg("certflip.conf.5: %s: default %s", row->key, row->def);
        }
        free(section);
        free(item);
    }
    free(text);
}

/* Every key has a line "name = value", which may be commented out, and a default is shown as such.
 */
static void example_shows_every_key(void **unused)
{
    char *text = source("conf/certflip.conf");

    (void)unused;
    for (size_t i = 0; i < conf_row_count; i++) {
        const struct conf_row *row = &conf_rows[i];
        size_t len;
        const char *part = part_of(text, row, "", &len);
        char *section = strndup(part, len);
        char *name = str_printf("%s = ", conf_row_name(row));
        bool shown = false;
        bool right = row->def == NULL || row->def == conf_required;
        char def[256];
        char quoted[260];
        char *save = NULL;

        if (!right)
            snprintf(quoted, sizeof(quoted), "\"%s\"", usual(row, def, sizeof(def)));
        for (char *line = strtok_r(section, "\n", &save); line != NULL;
             line = strtok_r(NULL, "\n", &save)) {
            char *p = line + strspn(line, " #");

            if (strncmp(p, name, strlen(name)) != 0)
                continue;
            shown = true;
            p += strlen(name);
            p[strcspn(p, ";")] = '\0';
            if (!right && (strcmp(p, quoted) == 0 || strcmp(p, def) == 0))
                right = true;
        }
        if (!shown)
            fail_msg("certflip.conf does not show %s", row->key);
        if (!right)
            fail_msg("certflip.conf: %s: default %s", row->key, row->def);
        free(section);
        free(name);
    }
    free(text);
}

static char dir[64];

static void put(const char *name, const char *text)
{
    char *path = str_printf("%s/%s", dir, name);

    assert_int_equal(durable_write(path, text, strlen(text), 0644, NULL), 0);
    free(path);
}

static void example_passes(void)
{
    char *path = str_printf("%s/certflip.conf", dir);
    struct loaded l = load_file(path);

    assert_string_equal(l.faults, "");
    assert_int_equal(l.conf->listener_count, 1);
    unload(&l);
    free(path);
}

/* As shipped, and with all its defaults said aloud, once the files that it names are there. */
static void example_is_a_good_configuration(void **unused)
{
    static const char *const files[] = {
        "certflip.conf",     "tls/server-chain.pem", "tls/server-key.pem",
        "tls/broker-ca.pem", "tls/devices-ca.pem",
    };
    char *text = source("conf/certflip.conf");
    char *tls;
    char *confd;

    (void)unused;
    assert_true(scratch_make(dir, sizeof(dir)));
    tls = str_printf("%s/tls", dir);
    confd = str_printf("%s/conf.d", dir);
    mkdir(tls, 0755);
    mkdir(confd, 0755);
    for (size_t i = 1; i < sizeof(files) / sizeof(files[0]); i++)
        put(files[i], strstr(files[i], "key") != NULL ? "-----BEGIN PRIVATE KEY-----\n"
                                                      : "-----BEGIN CERTIFICATE-----\n");
    put(files[0], text);
    example_passes();
    for (char *p = text; (p = strchr(p, '#')) != NULL; p++) {
        if (p[1] >= 'a' && p[1] <= 'z')
            *p = ' ';
    }
    /* The folder need not be there by default, but must when it is named. */
    char *identities = strstr(text, " identities = ");
    assert_non_null(identities);
    *identities = '#';
    put(files[0], text);
    example_passes();
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char *path = str_printf("%s/%s", dir, files[i]);

        unlink(path);
        free(path);
    }
    rmdir(tls);
    rmdir(confd);
    rmdir(dir);
    free(tls);
    free(confd);
    free(text);
}

/* The longer examples of the manual hold as well. */
static void manual_example_is_a_good_configuration(void **unused)
{
    char *text = source("src/conf/certflip.conf.5");
    char *at = strstr(text, ".Sh EXAMPLES");
    struct loaded l;
    char *hex;

    (void)unused;
    assert_non_null(at);
    at = strstr(at, ".Bd -literal -offset indent\n");
    assert_non_null(at);
    at = strchr(at, '\n') + 1;
    *strstr(at, ".Ed") = '\0';
    hex = strstr(at, "315f...94ed"); /* is cut to fit the page */
    assert_non_null(hex);
    *hex = '\0';
    hex = str_printf("%s%064d%s", at, 0, hex + strlen("315f...94ed"));
    l = load_text(hex);
    assert_string_equal(l.faults, "");
    assert_int_equal(l.conf->rule_count, 4);
    unload(&l);
    free(hex);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manual_documents_every_key),
        cmocka_unit_test(example_shows_every_key),
        cmocka_unit_test(example_is_a_good_configuration),
        cmocka_unit_test(manual_example_is_a_good_configuration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
