/* cli/logs_journal.c - lines out of the journal, by sd-journal(3): the only file that includes it.
 */
#include "cli/logs_inside.h"

#include <stdlib.h>
#include <string.h>

#ifdef HAVE_SYSTEMD

#    include <ctype.h>
#    include <jansson.h>
#    include <stdio.h>
#    include <systemd/sd-journal.h>

#    include "base/str.h"

#    define MATCH  "SYSLOG_IDENTIFIER=certflipd"
#    define PREFIX "CERTFLIP_"

struct logs_journal {
    sd_journal *j;
};

static int fail(struct err *err, const char *what, int rc)
{
    return err_set(err, ERR_IO, "the journal: %s: %s", what, strerrordesc_np(-rc));
}

struct logs_journal *logs_journal_open(struct err *err)
{
    struct logs_journal *j = calloc(1, sizeof(*j));
    int rc;

    if (j == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    rc = sd_journal_open(&j->j, SD_JOURNAL_LOCAL_ONLY);
    if (rc < 0 || (rc = sd_journal_add_match(j->j, MATCH, 0)) < 0 ||
        (rc = sd_journal_seek_tail(j->j)) < 0 || (rc = sd_journal_previous(j->j)) < 0) {
        fail(err, "cannot be read", rc);
    } else if (rc == 0) {
        err_set(err, ERR_NOT_FOUND,
                "the journal has no line of certflipd, or you may not read it: see it as root, or "
                "as a member of the group systemd-journal");
    } else {
        return j;
    }
    logs_journal_close(j);
    return NULL;
}

void logs_journal_close(struct logs_journal *j)
{
    if (j == NULL)
        return;
    sd_journal_close(j->j);
    free(j);
}

/* -- an entry -- */

struct entry {
    struct logs_line line;
    char *message; /* owned */
    char level_digit;
};

/* "CERTFLIP_DEVICE" is the field "device". */
static void take_field(struct entry *e, const char *name, size_t n, const char *value,
                       size_t value_n)
{
    char key[80], *text;
    json_t *v;

    if (n >= sizeof(key))
        return;
    for (size_t i = 0; i < n; i++)
        key[i] = (char)tolower((unsigned char)name[i]);
    key[n] = '\0';
    text = strndup(value, value_n);
    if (text == NULL)
        return;
    v = json_string(text);
    if (v == NULL) { /* bytes that are no text */
        str_tidy(text);
        v = json_string(text);
    }
    free(text);
    if (v != NULL)
        json_object_set_new(e->line.fields, key, v);
}

static void take_data(struct entry *e, const char *data, size_t n)
{
    const char *equals = memchr(data, '=', n);
    size_t name_n = equals == NULL ? n : (size_t)(equals - data);
    const char *value = data + name_n + 1;
    size_t value_n = equals == NULL ? 0 : n - name_n - 1;

    if (equals == NULL)
        return;
    if (name_n == 7 && memcmp(data, "MESSAGE", 7) == 0) {
        free(e->message);
        e->message = strndup(value, value_n);
    } else if (name_n == 8 && memcmp(data, "PRIORITY", 8) == 0 && value_n == 1) {
        e->level_digit = *value;
    } else if (name_n > strlen(PREFIX) && memcmp(data, PREFIX, strlen(PREFIX)) == 0) {
        take_field(e, data + strlen(PREFIX), name_n - strlen(PREFIX), value, value_n);
    }
}

/* A field that is shown elsewhere; returns its text, kept in the object `kept`. */
static const char *move_field(json_t *from, json_t *kept, const char *name)
{
    json_t *v = json_object_get(from, name);

    if (v == NULL)
        return "";
    json_object_set(kept, name, v);
    json_object_del(from, name);
    return json_string_value(json_object_get(kept, name));
}

static const char *text_of(const json_t *fields, const char *name)
{
    const char *s = json_string_value(json_object_get(fields, name));

    return s == NULL ? "" : s;
}

/* Read the present entry; its line borrows from `e` and `kept`. */
static int read_entry(struct logs_journal *j, struct entry *e, json_t *kept)
{
    const void *data;
    uint64_t usec = 0;
    size_t n;
    int rc = sd_journal_get_realtime_usec(j->j, &usec);

    if (rc < 0)
        return rc;
    *e = (struct entry){.line.fields = json_object(), .level_digit = '6'};
    SD_JOURNAL_FOREACH_DATA(j->j, data, n)
    take_data(e, data, n);
    e->line.wall_ms = (int64_t)(usec / 1000);
    e->line.level = e->level_digit <= '3'   ? LOG_ERROR_
                    : e->level_digit >= '7' ? LOG_DEBUG_
                                            : (enum log_level)(e->level_digit - '3');
    e->line.subsystem = move_field(e->line.fields, kept, "subsystem");
    e->line.event = move_field(e->line.fields, kept, "event");
    e->line.device = text_of(e->line.fields, "device");
    e->line.text = e->message == NULL ? "" : e->message;
    return 0;
}

static void entry_fini(struct entry *e)
{
    json_decref(e->line.fields);
    free(e->message);
}

/* -- going through -- */

/* Returns 1 when the present entry is wanted (and shown, where there is somebody to show it), 0, 2:
 * no more, or a negative errno. */
static int look(struct logs_journal *j, const struct logs_wanted *w, logs_line_fn *show, void *arg)
{
    json_t *kept = json_object();
    struct entry e;
    int rc = read_entry(j, &e, kept);

    if (rc == 0) {
        rc = log_filter_takes(&w->filter, e.line.wall_ms, e.line.level, e.line.subsystem,
                              e.line.event, e.line.device, e.line.text);
        if (rc == 1 && show != NULL && !show(arg, &e.line))
            rc = 2;
        entry_fini(&e);
    }
    json_decref(kept);
    return rc;
}

/* Go back until so many are found.  Returns 1 on the oldest of what is wanted, or on what comes
 * just before it; 0: there is nothing. */
static int go_back(struct logs_journal *j, const struct logs_wanted *w)
{
    int64_t found = 0;
    uint64_t usec = 0;
    int rc = sd_journal_seek_tail(j->j);

    while (rc >= 0 && (rc = sd_journal_previous(j->j)) > 0) {
        if (w->filter.since_ms > 0 && sd_journal_get_realtime_usec(j->j, &usec) == 0 &&
            (int64_t)(usec / 1000) < w->filter.since_ms)
            return 1;
        rc = look(j, w, NULL, NULL);
        if (rc < 0)
            return rc;
        found += rc == 1;
        if (w->limit >= 0 && found >= w->limit)
            return 1;
    }
    if (rc < 0)
        return rc;
    rc = sd_journal_seek_head(j->j);
    return rc < 0 ? rc : sd_journal_next(j->j);
}

static int go_on(struct logs_journal *j, const struct logs_wanted *w, int rc, logs_line_fn *show,
                 void *arg)
{
    for (; rc > 0; rc = sd_journal_next(j->j)) {
        int got = look(j, w, show, arg);

        if (got < 0)
            return got;
        if (got == 2)
            return 2;
    }
    return rc;
}

int logs_journal_show(struct logs_journal *j, const struct logs_wanted *w, logs_line_fn *show,
                      void *arg, struct err *err)
{
    int rc = go_back(j, w);

    if (rc >= 0)
        rc = go_on(j, w, rc, show, arg);
    while (rc == 0 && w->follow) {
        rc = sd_journal_wait(j->j, (uint64_t)-1);
        if (rc >= 0)
            rc = go_on(j, w, sd_journal_next(j->j), show, arg);
    }
    return rc < 0 ? fail(err, "cannot be read on", rc) : 0;
}

#else

struct logs_journal *logs_journal_open(struct err *err)
{
    err_set(err, ERR_NOT_FOUND,
            "this certflipctl was built without libsystemd: it reads no journal");
    return NULL;
}

int logs_journal_show(struct logs_journal *j, const struct logs_wanted *w, logs_line_fn *show,
                      void *arg, struct err *err)
{
    (void)j;
    (void)w;
    (void)show;
    (void)arg;
    return err_set(err, ERR_NOT_FOUND, "there is no journal");
}

void logs_journal_close(struct logs_journal *j)
{
    free(j);
}

#endif
