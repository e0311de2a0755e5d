/* test_conf.h - loading a configuration in a test, and reading its faults. */
#ifndef TEST_CONF_H
#define TEST_CONF_H

#include <string.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "conf/load.h"

struct loaded {
    struct conf *conf; /* NULL: there were faults */
    char *faults;      /* NUL-terminated */
    unsigned count;
    struct buf text;
};

static inline struct loaded loaded_end(struct loaded l)
{
    buf_append_u8(&l.text, '\0');
    l.faults = (char *)l.text.p;
    return l;
}

/* From memory, called "t". */
static inline struct loaded load_text(const char *text)
{
    struct loaded l = {0};

    l.conf = conf_load_text("t", text, strlen(text), &l.text, &l.count);
    return loaded_end(l);
}

static inline struct loaded load_file(const char *path)
{
    struct loaded l = {0};

    l.conf = conf_load(path, &l.text, &l.count);
    return loaded_end(l);
}

static inline void unload(struct loaded *l)
{
    conf_unref(l->conf);
    buf_fini(&l->text);
}

#endif
