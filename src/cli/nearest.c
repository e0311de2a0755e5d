#include "cli/nearest.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

struct nearest nearest_to(const char *typed)
{
    struct nearest near = {.typed = typed, .distance = strlen(typed) < 4 ? 2 : 3};

    return near;
}

void nearest_try(struct nearest *near, const char *word)
{
    unsigned distance = str_distance(near->typed, word, near->distance);

    if (distance < near->distance) {
        near->distance = distance;
        snprintf(near->word, sizeof(near->word), "%s", word);
    }
}

int nearest_fail(const struct nearest *near, const char *what, const char *list, struct err *err)
{
    if (near->word[0] != '\0')
        return err_set(err, ERR_INVALID, "unknown %s \"%s\": did you mean \"%s\"?", what,
                       near->typed, near->word);
    return err_set(err, ERR_INVALID, "unknown %s \"%s\": %s lists them all", what, near->typed,
                   list);
}
