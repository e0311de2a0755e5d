#include "conf/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void conf_fault(struct conf_faults *f, struct conf_place at, const char *key, const char *fmt, ...)
{
    size_t start = f->out->len;
    char *text = NULL;
    va_list ap;
    int n;

    f->count++;
    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (at.file != NULL && at.line != 0)
        buf_printf(f->out, "%s:%u: ", at.file, at.line);
    else if (at.file != NULL)
        buf_printf(f->out, "%s: ", at.file);
    buf_printf(f->out, "%s%s%s", key == NULL ? "" : key, key == NULL ? "" : ": ",
               n < 0 ? "out of memory" : text);
    if (n >= 0)
        free(text);
    for (size_t i = start; i < f->out->len; i++) {
        if (f->out->p[i] < 0x20 || f->out->p[i] == 0x7f)
            f->out->p[i] = ' ';
    }
    buf_append_u8(f->out, '\n');
}
