#include "cli/devices.h"

#include <jansson.h>

/* One page after the device `after` (NULL: the first). */
static int fetch_page(struct client *c, json_t *target, json_t *after, json_t **page,
                      struct err *err)
{
    json_t *params = json_object();

    if (target != NULL)
        (void)json_object_set(params, "target", target);
    if (after != NULL)
        (void)json_object_set(params, "after", after);
    return client_call(c, "device.list", params, page, err);
}

int devices_fetch(struct client *c, json_t *target, json_t **answer, struct err *err)
{
    json_t *all = NULL, *after = NULL, *page = NULL;
    int rc;

    for (;;) {
        rc = fetch_page(c, target, after, &page, err);
        json_decref(after);
        after = NULL;
        if (rc != 0)
            break;
        if (all == NULL)
            all = json_incref(page);
        else
            (void)json_array_extend(json_object_get(all, "devices"),
                                    json_object_get(page, "devices"));
        if (json_is_string(json_object_get(page, "next")))
            after = json_incref(json_object_get(page, "next"));
        json_decref(page);
        page = NULL;
        if (after == NULL)
            break;
    }
    if (rc == 0) {
        (void)json_object_del(all, "next");
        *answer = all;
        return 0;
    }
    json_decref(all);
    *answer = page; /* the error, or NULL */
    return rc;
}
