/* conf/load.h - the configuration from memory, for tests: no file is looked at. */
#ifndef CONF_LOAD_H
#define CONF_LOAD_H

#include "conf/conf.h"

/* As conf_load, for `n` bytes of text that are called `name` in messages.  An @include is a fault,
 * there is no include_dir, and the files that it names are not looked for. */
struct conf *conf_load_text(const char *name, const char *text, size_t n, struct buf *faults,
                            unsigned *fault_count);

#endif
