/* cli/schema_texts.h - the files of conf/schema, as they were when this was built: a certflipctl
 * tells of the daemon that came with it, wherever it was put.
 *
 * Constants; schema_texts.c is made by build-aux/embed.sh.
 */
#ifndef CLI_SCHEMA_TEXTS_H
#define CLI_SCHEMA_TEXTS_H

#include <stddef.h>

struct schema_text {
    const char *name;          /* "flip", "message.state", "common" */
    const unsigned char *text; /* JSON, not terminated */
    size_t n;                  /* bytes */
};

extern const struct schema_text schema_texts[]; /* sorted by name */
extern const size_t schema_text_count;

#endif
