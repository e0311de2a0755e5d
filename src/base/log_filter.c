#include "base/log_filter.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

static bool is_of_name(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

/* "press-1" is not named by "CN=press-12". */
static bool names(const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = text; n > 0 && (p = strstr(p, name)) != NULL; p++)
        if ((p == text || !is_of_name(p[-1])) && !is_of_name(p[n]))
            return true;
    return false;
}

bool log_filter_takes(const struct log_filter *f, int64_t wall_ms, enum log_level level,
                      const char *subsystem, const char *event, const char *device,
                      const char *text)
{
    if (level > f->level || wall_ms < f->since_ms)
        return false;
    if (f->event != NULL && !str_glob(f->event, event))
        return false;
    if (f->subsystem != NULL && !str_glob(f->subsystem, subsystem))
        return false;
    if (f->device != NULL &&
        !(device[0] != '\0' ? str_glob(f->device, device) : names(text, f->device)))
        return false;
    return f->grep == NULL || strcasestr(text, f->grep) != NULL;
}
