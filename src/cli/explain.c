#include "cli/explain.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "catalogue/catalogue.h"
#include "cli/table.h"

#define NAME_BYTES 80
#define NEAREST    3

/* -- one row ---------------------------------------------------------------------------------- */

/* "TLS alert 48"; "" where there is no number. */
static void number_text(const struct catalogue_section *s, const struct catalogue_row *row,
                        char *out, size_t n)
{
    out[0] = '\0';
    if (s->kind == NULL || row->code == CATALOGUE_NO_CODE)
        return;
    if (s->hex)
        snprintf(out, n, "%s 0x%02x", s->kind, (unsigned)row->code);
    else
        snprintf(out, n, "%s %d", s->kind, row->code);
}

static void names_text(const struct catalogue_row *row, char *out, size_t bytes)
{
    char name[NAME_BYTES];
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; catalogue_name(row, i, name, sizeof(name)) && len < bytes; i++)
        len += (size_t)snprintf(out + len, bytes - len, "%s%s", i > 0 ? ", " : "", name);
}

static json_t *row_json(enum catalogue_id id, const struct catalogue_row *row)
{
    const struct catalogue_section *s = catalogue_section(id);
    json_t *names = json_array();
    bool numbered = s->kind != NULL && row->code != CATALOGUE_NO_CODE;
    char name[NAME_BYTES];

    for (size_t i = 0; catalogue_name(row, i, name, sizeof(name)); i++)
        (void)json_array_append_new(names, json_string(name));
    return json_pack("{s:o, s:s, s:s?, s:o, s:s?, s:s, s:s, s:s}", "names", names, "section",
                     s->title, "kind", numbered ? s->kind : NULL, "code",
                     numbered ? json_integer(row->code) : json_null(), "also", row->also, "class",
                     diag_class_name(row->class), "sentence", row->sentence, "remedy", row->remedy);
}

static void row_table(const struct show *to, enum catalogue_id id, const struct catalogue_row *row)
{
    const struct catalogue_section *s = catalogue_section(id);
    char names[512], number[80];
    struct table t;

    names_text(row, names, sizeof(names));
    number_text(s, row, number, sizeof(number));
    table_text(to->to, to->colour, TABLE_HEAD, names);
    fputc('\n', to->to);
    table_init(&t, 2);
    table_add(&t, TABLE_PLAIN, "  where");
    table_add(&t, TABLE_PLAIN, "%s", s->title);
    if (number[0] != '\0' || row->also != NULL) {
        table_add(&t, TABLE_PLAIN, "  known as");
        table_add(&t, TABLE_PLAIN, "%s%s%s", number,
                  number[0] != '\0' && row->also != NULL ? ", " : "",
                  row->also != NULL ? row->also : "");
    }
    table_add(&t, TABLE_PLAIN, "  class");
    table_add(&t, TABLE_PLAIN, "%s: %s", diag_class_name(row->class), diag_class_about(row->class));
    table_add(&t, TABLE_PLAIN, "  meaning");
    table_add(&t, TABLE_PLAIN, "%s", row->sentence);
    if (row->remedy[0] != '\0') {
        table_add(&t, TABLE_PLAIN, "  to do");
        table_add(&t, TABLE_GOOD, "%s", row->remedy);
    }
    table_print(&t, to->to, to->colour, to->width);
    table_fini(&t);
}

/* -- an answer -------------------------------------------------------------------------------- */

struct answer {
    const struct show *to;
    json_t *rows; /* NULL: text */
    size_t count;
};

static void take_row(void *arg, enum catalogue_id id, const struct catalogue_row *row)
{
    struct answer *a = arg;

    if (a->rows != NULL) {
        (void)json_array_append_new(a->rows, row_json(id, row));
    } else {
        if (a->count > 0)
            fputc('\n', a->to->to);
        row_table(a->to, id, row);
    }
    a->count++;
}

static void take_all(struct answer *a)
{
    for (int id = 0; id < CATALOGUE_SECTIONS; id++)
        for (size_t i = 0; i < catalogue_section((enum catalogue_id)id)->count; i++)
            take_row(a, (enum catalogue_id)id, &catalogue_section((enum catalogue_id)id)->rows[i]);
}

/* Everything, a line each. */
static void list(const struct show *to)
{
    static const char *const titles[] = {"NAME", "CODE", "CLASS", "MEANING"};
    struct table t;

    table_init(&t, 4);
    table_head(&t, titles);
    for (int id = 0; id < CATALOGUE_SECTIONS; id++) {
        const struct catalogue_section *s = catalogue_section((enum catalogue_id)id);

        for (size_t i = 0; i < s->count; i++) {
            char name[NAME_BYTES] = "", number[80];

            (void)catalogue_name(&s->rows[i], 0, name, sizeof(name));
            number_text(s, &s->rows[i], number, sizeof(number));
            table_add(&t, TABLE_PLAIN, "%s", name);
            table_add(&t, TABLE_PLAIN, "%s", strrchr(number, ' ') ? strrchr(number, ' ') + 1 : "-");
            table_add(&t, TABLE_PLAIN, "%s", diag_class_name(s->rows[i].class));
            table_add(&t, TABLE_PLAIN, "%s", s->rows[i].sentence);
        }
    }
    table_print(&t, to->to, to->colour, to->width);
    table_fini(&t);
}

/* -- nothing is found ------------------------------------------------------------------------- */

struct near {
    const char *typed;
    char name[NEAREST][NAME_BYTES];
    unsigned distance[NEAREST];
    size_t count;
};

static void near_try(struct near *near, const char *part, const char *name)
{
    size_t n = strlen(near->typed);
    unsigned bound = n < 9 ? (unsigned)(n / 3 + 1) : 4;
    unsigned distance = str_distance(near->typed, part, bound);
    size_t at;

    if (distance > bound)
        return;
    for (at = 0; at < near->count; at++)
        if (strcmp(near->name[at], name) == 0)
            return;
    for (at = 0; at < near->count && near->distance[at] <= distance; at++)
        ;
    if (at == NEAREST)
        return;
    near->count += near->count < NEAREST;
    for (size_t i = near->count - 1; i > at; i--) {
        memcpy(near->name[i], near->name[i - 1], NAME_BYTES);
        near->distance[i] = near->distance[i - 1];
    }
    snprintf(near->name[at], NAME_BYTES, "%s", name);
    near->distance[at] = distance;
}

static int not_found(const char *question, struct err *err)
{
    struct near near = {.typed = question};

    for (int id = 0; id < CATALOGUE_SECTIONS; id++) {
        const struct catalogue_section *s = catalogue_section((enum catalogue_id)id);

        for (size_t i = 0; i < s->count; i++) {
            char name[NAME_BYTES];

            for (size_t n = 0; catalogue_name(&s->rows[i], n, name, sizeof(name)); n++) {
                near_try(&near, name, name);
                if (n == 0)
                    near_try(&near, s->rows[i].word, name);
            }
            if (s->rows[i].also != NULL)
                near_try(&near, s->rows[i].also, s->rows[i].also);
        }
    }
    if (near.count == 0)
        return err_set(err, ERR_NOT_FOUND,
                       "nothing is known of \"%s\": certflipctl explain lists all names", question);
    return err_set(err, ERR_NOT_FOUND, "nothing is known of \"%s\": did you mean %s%s%s%s%s?",
                   question, near.name[0],
                   near.count > 2   ? ", "
                   : near.count > 1 ? " or "
                                    : "",
                   near.count > 1 ? near.name[1] : "", near.count > 2 ? " or " : "",
                   near.count > 2 ? near.name[2] : "");
}

/* -- what others call ------------------------------------------------------------------------- */

int explain(const char *question, bool json, const struct show *to, struct err *err)
{
    struct answer a = {.to = to, .rows = json ? json_array() : NULL};
    json_t *whole;

    if (json && a.rows == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (question == NULL && !json) {
        list(to);
        return 0;
    }
    if (question == NULL)
        take_all(&a);
    else
        (void)catalogue_find(question, take_row, &a);
    if (a.count == 0) {
        json_decref(a.rows);
        return not_found(question, err);
    }
    if (json) {
        whole = json_pack("{s:o}", "errors", a.rows);
        (void)json_dumpf(whole, to->to, JSON_COMPACT);
        fputc('\n', to->to);
        json_decref(whole);
    }
    return 0;
}

void explain_names(const char *partial, void (*offer)(void *arg, const char *word), void *arg)
{
    for (int id = 0; id < CATALOGUE_SECTIONS; id++) {
        const struct catalogue_section *s = catalogue_section((enum catalogue_id)id);

        for (size_t i = 0; i < s->count; i++) {
            char name[NAME_BYTES];

            for (size_t n = 0; catalogue_name(&s->rows[i], n, name, sizeof(name)); n++)
                if (strncmp(name, partial, strlen(partial)) == 0 && strchr(name, '*') == NULL)
                    offer(arg, name);
        }
    }
}
