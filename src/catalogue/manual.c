/* catalogue/manual.c - writes certflip-errors(7) from the table to standard output.
 *
 * A program of the build, not of the product: compiled for the machine that builds.
 */
#include <stdio.h>
#include <string.h>

#include "catalogue/catalogue.h"

/* Text for troff: neither a command nor an escape, and hyphens that can be searched for. */
static void put_text(const char *s)
{
    if (*s == '.' || *s == '\'')
        fputs("\\&", stdout);
    for (; *s != '\0'; s++) {
        if (*s == '\\')
            fputs("\\e", stdout);
        else if (*s == '-')
            fputs("\\-", stdout);
        else if (*s == '\'')
            fputs("\\(aq", stdout);
        else
            putchar(*s);
    }
}

static void put_sentence(const char *s)
{
    if (*s == '\0')
        return;
    if (*s >= 'a' && *s <= 'z' && strncmp(s, "certflipctl", 11) != 0) {
        putchar(*s - 'a' + 'A');
        s++;
    }
    put_text(s);
    if (s[strlen(s) - 1] != '?')
        putchar('.');
    putchar('\n');
}

static void put_row(const struct catalogue_section *s, const struct catalogue_row *row)
{
    char name[80];
    const char *sep = "";

    fputs(".TP\n.B ", stdout);
    for (size_t i = 0; catalogue_name(row, i, name, sizeof(name)); i++) {
        fputs(sep, stdout);
        put_text(name);
        sep = ", ";
    }
    putchar('\n');
    if (s->kind != NULL && row->code != CATALOGUE_NO_CODE) {
        put_text(s->kind);
        putchar(' ');
        printf(s->hex          ? "0x%02x"
               : row->code < 0 ? "\\-%d"
                               : "%d",
               row->code < 0 ? -row->code : row->code);
        if (row->also != NULL) {
            fputs(", ", stdout);
            put_text(row->also);
        }
        puts(";");
    }
    printf("class\n.IR %s .\n", diag_class_name(row->class));
    put_sentence(row->sentence);
    if (row->remedy[0] != '\0') {
        puts(".br");
        fputs("\\(-> ", stdout);
        put_text(row->remedy);
        puts(".");
    }
}

static void put_section(const struct catalogue_section *s)
{
    fputs(".SS ", stdout);
    put_text(s->title);
    putchar('\n');
    put_text(s->about);
    putchar('\n');
    for (size_t i = 0; i < s->count; i++)
        put_row(s, &s->rows[i]);
}

int main(void)
{
    fputs(
        ".\\\" Written by src/catalogue/manual.c from the table of errors: do not edit.\n"
        ".TH CERTFLIP-ERRORS 7 \"\" certflip \"Miscellaneous Information\"\n"
        ".SH NAME\n"
        "certflip-errors \\- what can go wrong, and what to do about it\n"
        ".SH DESCRIPTION\n"
        "Logs, replies and\n"
        ".BR certflipctl (1)\n"
        "give every failure a stable name, a class, a sentence and a remedy.\n"
        "This is the list of them, by who noticed the failure.\n"
        ".B certflipctl explain\n"
        ".I CODE\n"
        "shows what stands here for a name, or for a number as others print it; it needs no daemon.\n"
        "A sentence of the log may say more than the one here: which certificate, which topic.\n"
        ".SH CLASSES\n",
        stdout);
    for (int c = DIAG_IDENTITY; c < DIAG_CLASSES; c++) {
        printf(".TP\n.I %s\n", diag_class_name((enum diag_class)c));
        put_sentence(diag_class_about((enum diag_class)c));
    }
    puts(".SH NAMES");
    for (int id = 0; id < CATALOGUE_SECTIONS; id++)
        put_section(catalogue_section((enum catalogue_id)id));
    fputs(".SH SEE ALSO\n"
          ".BR certflipctl (1),\n"
          ".BR certflipd (8),\n"
          ".BR certflip.conf (5)\n",
          stdout);
    return fflush(stdout) == 0 && ferror(stdout) == 0 ? 0 : 1;
}
