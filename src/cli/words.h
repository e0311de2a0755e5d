/* cli/words.h - the words that certflipctl understands: one table for parsing, help and completion.
 *
 * Pure: looks at words, writes help to the given stream, talks to nobody.
 */
#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum words_id {
    WORDS_STATUS,
    WORDS_DEVICES,
    WORDS_DEVICE,
    WORDS_SESSIONS,
    WORDS_LINT,
    WORDS_FLIP,
    WORDS_ROLLBACK,
    WORDS_CONFIRM,
    WORDS_COMMIT,
    WORDS_QUARANTINE_CLEAR,
    WORDS_KEYGEN,
    WORDS_INSTALL,
    WORDS_DISCARD,
    WORDS_RETIRE,
    WORDS_EXPORT,
    WORDS_CRL_LIST,
    WORDS_CRL_UPDATE,
    WORDS_IMPORT,
    WORDS_REKEY,
    WORDS_TRUST_LIST,
    WORDS_TRUST_ADD,
    WORDS_TRUST_CHECK,
    WORDS_TRUST_REMOVE,
    WORDS_RELOAD,
    WORDS_LOG,
    WORDS_LOGS,
    WORDS_WATCH,
    WORDS_AUDIT,
    WORDS_SIGN,
    WORDS_EXPLAIN,
    WORDS_SCHEMA,
    WORDS_HELP,
    WORDS_COUNT
};

/* What may follow a command's words. */
enum words_shape {
    WORDS_NOTHING,
    WORDS_MAYBE_TARGET, /* [DEVICE|GLOB] */
    WORDS_ONE_DEVICE,   /* DEVICE */
    WORDS_TARGETS,      /* DEVICE|GLOB... */
    WORDS_DEVICE_FILE,  /* DEVICE FILE */
    WORDS_FILE,         /* FILE */
    WORDS_FILES,        /* FILE|DEVICE|GLOB... */
    WORDS_IMPORTS,      /* DEVICE FILE..., or none with --dir */
    WORDS_MAYBE_SET,    /* [downstream|upstream] */
    WORDS_SET_FILE,     /* downstream|upstream FILE */
    WORDS_SET_ANCHOR,   /* downstream|upstream SHA256 */
    WORDS_LEVEL,        /* [SUBSYSTEM LEVEL] */
    WORDS_METHOD,       /* METHOD [PARAMS|FILE] */
    WORDS_CODE,         /* [CODE], of one or two words */
    WORDS_SCHEMA_NAME,  /* [METHOD], or a message */
    WORDS_COMMAND,      /* [COMMAND] */
    WORDS_SHAPE_COUNT
};

struct words_command {
    const char *words; /* "quarantine clear" */
    enum words_shape shape;
    const char *help;    /* one line */
    const char *example; /* without the program's name */
};

/* What an option that may come again has named. */
struct words_files {
    const char **all; /* owned array of borrowed words */
    size_t count;
};

/* A moment, or how long ago it was; -1: not given. */
struct words_since {
    int64_t at_s, ago_s;
};

/* A command line that was understood. */
struct words_line {
    enum words_id command;
    const char **args; /* owned array of borrowed words */
    size_t arg_count;
    const char *socket; /* borrowed, like every word here; NULL: not given */
    const char *confirm, *evidence, *fingerprint, *reason;
    const char *gateway, *operator_name; /* sign's */
    int64_t expires_s;                   /* -1: not given */
    const char *purpose, *key, *device, *slot, *kind, *token, *out;
    struct words_files anchors, crls;
    int64_t at_s; /* -1: not given */
    const char *note, *only;
    int64_t probation_s, confirm_s, begin_s, limit, after, timeout_s,
        interval_s; /* -1: not given */
    const char *dir, *pattern, *password_file;
    const char *grep, *event, *subsystem, *level, *source; /* logs' */
    struct words_since since;
    bool replace, dry_run;
    bool json, follow, names, intermediate, force, wait, help, version, renew, csr, cert;
};

/* Understand the words that follow the program's name.  With --help or --version, and without any
 * word (then `help` is set), `command` is WORDS_HELP.
 * Returns 0; -ERR_INVALID: err says what is wrong and the nearest word; -ERR_NOMEM. */
int words_parse(const char *const *words, size_t n, struct words_line *out, struct err *err);
void words_fini(struct words_line *line);

const struct words_command *words_command(enum words_id id);

/* Write the help of everything, or (`line->args`) of one command.  Returns 0, or -ERR_INVALID for
 * words that are no command. */
int words_help(const struct words_line *line, FILE *to, struct err *err);

/* What the caller has to add to what was offered. */
enum words_more { WORDS_NO_MORE, WORDS_MORE_DEVICES, WORDS_MORE_FILES };

/* Offer each word that could stand for the last one of `words`, which may be unfinished or "". */
enum words_more words_complete(const char *const *words, size_t n,
                               void (*offer)(void *arg, const char *word), void *arg);

#endif
