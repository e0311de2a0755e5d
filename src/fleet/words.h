/* fleet/words.h - the words that certflip-fleet understands: one table for parsing, help and
 * completion.
 *
 * Pure: looks at words, writes help to the given stream, talks to nobody.
 */
#ifndef FLEET_WORDS_H
#define FLEET_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum fleet_words_id {
    FLEET_WORDS_HELP,
    FLEET_WORDS_INVENTORY,
    FLEET_WORDS_DOCTOR,
    FLEET_WORDS_PLAN,
    FLEET_WORDS_RUN,
    FLEET_WORDS_PAUSE,
    FLEET_WORDS_RESUME,
    FLEET_WORDS_ABORT,
    FLEET_WORDS_ROLLBACK,
    FLEET_WORDS_SKIP,
    FLEET_WORDS_STATUS,
    FLEET_WORDS_WATCH,
    FLEET_WORDS_STRAGGLERS,
    FLEET_WORDS_REPORT,
    FLEET_WORDS_COUNT
};

/* What may follow a command's word. */
enum fleet_words_shape {
    FLEET_WORDS_FILE,         /* FILE */
    FLEET_WORDS_FILE_DEVICES, /* FILE GATEWAY/DEVICE... */
    FLEET_WORDS_COMMAND,      /* [COMMAND] */
    FLEET_WORDS_SHAPE_COUNT
};

struct fleet_words_command {
    const char *word;
    enum fleet_words_shape shape;
    const char *help;    /* one line */
    const char *example; /* without the program's name */
};

/* A command line that was understood. */
struct fleet_line {
    enum fleet_words_id command;
    const char **args; /* owned array of borrowed words: FILE first */
    size_t arg_count;
    bool json, yes, help, version;
    int64_t wave; /* -1: not given */
    bool all, renew;
    const char *html, *json_out;  /* files, borrowed; "-": standard output; NULL: not given */
    const char *gateway, *device; /* globs; NULL: not given */
    int64_t expiring, timeout_s;  /* days, seconds; -1: not given */
    bool gateways, csv;
};

/* Understand the words that follow the program's name.  With --help or --version, and without any
 * word (then `help` is set), `command` is FLEET_WORDS_HELP.
 * Returns 0; -ERR_INVALID: err says what is wrong and the nearest word; -ERR_NOMEM. */
int fleet_words_parse(const char *const *words, size_t n, struct fleet_line *out, struct err *err);
void fleet_words_fini(struct fleet_line *line);

const struct fleet_words_command *fleet_words_command(enum fleet_words_id id);

/* Write the help of everything, or (`line->args`) of one command.  Returns 0, or -ERR_INVALID for a
 * word that is no command. */
int fleet_words_help(const struct fleet_line *line, FILE *to, struct err *err);

/* What the caller has to add to what was offered. */
enum fleet_words_more {
    FLEET_WORDS_NO_MORE,
    FLEET_WORDS_MORE_FILES,
    FLEET_WORDS_MORE_DEVICES /* GATEWAY/DEVICE of the campaign in *file */
};

/* Offer each word that could stand for the last one of `words`, which may be unfinished or "".
 * *file: the campaign file that was named, borrowed; NULL: none was. */
enum fleet_words_more fleet_words_complete(const char *const *words, size_t n,
                                           void (*offer)(void *arg, const char *word), void *arg,
                                           const char **file);

#endif
